/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SERVER_SERVER_PARTS_H
#define SERVER_SERVER_PARTS_H

/* What a server is made of: for server.c, and for server_record.c, which writes it down. */

#include <base/pace.h>
#include <server/admission.h>
#include <server/clients.h>
#include <server/roster.h>

struct server_config;

/* Of server_write(). */
#define SERVER_RECORD_NAME    "server"
#define SERVER_RECORD_VERSION 1

struct server {
	struct roster roster;
	struct clients clients;
	struct admission admission;
	struct pace warnings; /* that clients can cause */
};

/* Without doors and clients. */
int server_new_parts(struct server **ret_server, const struct server_config *config);

#endif
