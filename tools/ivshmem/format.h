/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_FORMAT_H
#define IVSHMEM_FORMAT_H

#include "session.h"

/* Complain if somebody uses channels in this memory, and say what to do instead of ending it. What else
 * is in the memory does not matter. */
enum status check_channels_unused(const struct session *session, const char *otherwise);

#endif
