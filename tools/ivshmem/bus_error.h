/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_BUS_ERROR_H
#define IVSHMEM_BUS_ERROR_H

/* SIGBUS: saying why a page of the shared memory is not there, and ending. */

#include <ivshmem/client.h>

/* Handle SIGBUS from now on. The sentences name the target. */
void bus_error_handle(const char *target);

/* It is about this client's memory. Nobody touches the memory once the client is detached. */
void bus_error_watch(const struct ivshmem_client *client);

/* What else is to be done before SIGBUS ends us. As for a signal handler. May be NULL. */
extern void (*bus_error_before_end)(void);

#endif
