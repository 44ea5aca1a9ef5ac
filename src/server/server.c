/* SPDX-License-Identifier: BSD-2-Clause */
#include <server/server.h>

#include <ivshmem/abi.h>

#include <server/server_parts.h>
#include <trace/trace.h>

#include <errno.h>
#include <stdlib.h>

static int
open_doors(struct server *server, const struct server_config *config)
{
	struct admission *admission = &server->admission;
	int r = 0;

	for (unsigned i = 0; r == 0 && i < config->n_seats; i++)
		r = admission_open_seat(admission, config->seats[i].id, config->seats[i].listen_fd);
	if (r == 0)
		r = admission_open_members(admission, config->listen_fd);
	if (r == 0 && config->max_observers > 0)
		r = admission_open_observers(admission, config->observer_listen_fd);
	return r;
}

int
server_new_parts(struct server **ret_server, const struct server_config *config)
{
	struct server *server = calloc(1, sizeof(*server));
	int r;

	if (!server)
		return -ENOMEM;
	server->warnings = (struct pace){.log = config->log, .level = LOG_LEVEL_WARNING};
	roster_init(&server->roster, config->memory_fd, config->n_vectors);
	server->clients = (struct clients){
		.loop = config->loop,
		.log = config->log,
		.roster = &server->roster,
		.warnings = &server->warnings,
		.stall_limit_ns = config->stall_limit_ns,
		.left = admission_left,
	};
	clients_init(&server->clients);
	server->admission = (struct admission){
		.loop = config->loop,
		.clients = &server->clients,
		.warnings = &server->warnings,
		.n_vectors = config->n_vectors,
		.max_peers = config->max_peers,
		.max_observers = config->max_observers,
	};
	r = admission_init(&server->admission);
	if (r < 0) {
		server_free(server);
		return r;
	}
	*ret_server = server;
	return 0;
}

int
server_new(struct server **ret_server, const struct server_config *config)
{
	struct server *server;
	int r = server_new_parts(&server, config);

	if (r < 0)
		return r;
	r = open_doors(server, config);
	if (r < 0) {
		server_free(server);
		return r;
	}
	TRACE(server_started, config->n_vectors, config->max_peers);
	*ret_server = server;
	return 0;
}

struct server *
server_free(struct server *server)
{
	if (!server)
		return NULL;
	TRACE(server_ended, server->roster.n_present);
	pace_end(&server->warnings);
	clients_done(&server->clients);
	roster_done(&server->roster);
	admission_done(&server->admission);
	free(server);
	return NULL;
}

void
server_keep_journal(struct server *server, struct journal *journal)
{
	server->clients.journal = journal;
}

void
server_admit(struct server *server, int listen_fd, int socket)
{
	admission_admit(&server->admission, listen_fd, socket);
}

uint32_t
server_n_peers(const struct server *server)
{
	return server->roster.n_present;
}

unsigned
server_capacity(unsigned long limit, unsigned used, unsigned n_vectors)
{
	unsigned long peers = limit > used ? (limit - used) / (1 + n_vectors) : 0;

	return peers > IVSHMEM_MAX_ID + 1 ? IVSHMEM_MAX_ID + 1 : (unsigned)peers;
}
