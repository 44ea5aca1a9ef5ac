/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_BUS_ERROR_H
#define IVSHMEM_BUS_ERROR_H

/* SIGBUS: saying why a page of the shared memory is not there, and ending, or going on without it. */

#include <ivshmem/client.h>

/* Handle SIGBUS from now on. The sentences name the target. */
void bus_error_handle(const char *target);

/* It is about this client's memory. Nobody touches the memory once the client is detached. */
void bus_error_watch(const struct ivshmem_client *client);

/*
 * Call `access`, which must do nothing but look at that memory and calculate: it may end at any of its
 * loads, and only what it stored behind `data` is kept. NULL, or why a page was not there, in a static
 * sentence.
 */
const char *bus_error_guard(void (*access)(void *data), void *data);

/* What else is to be done before SIGBUS ends us. As for a signal handler. May be NULL. */
extern void (*bus_error_before_end)(void);

#endif
