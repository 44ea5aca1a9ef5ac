/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_BUS_ERROR_H
#define IVSHMEM_BUS_ERROR_H

/* What is told when a page of the shared memory turns out not to be there: SIGBUS. */

#include <ivshmem/client.h>

/* From now on; the sentences name the target. */
void bus_error_handle(const char *target);

/* Whose memory it is about; valid until that is detached, and then nobody touches it. */
void bus_error_watch(const struct ivshmem_client *client);

#endif
