/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_INFO_H
#define IVSHMEM_INFO_H

#include "json.h"
#include "session.h"

/* Print what we are attached to, and who else is. */
enum status info_show(const struct session *session);
enum status peers_show(const struct session *session);

/* Write "id" and "vectors". The help of info describes them. */
void info_json_id(const struct session *session, struct json *json);

#endif
