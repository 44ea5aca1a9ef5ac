/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_INFO_H
#define IVSHMEM_INFO_H

#include "session.h"

/* What we are attached to, and who else is. */
enum status info_show(const struct session *session);
enum status peers_show(const struct session *session);

#endif
