/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * The record of a server (record.h):
 *
 *	vectors of each newcomer
 *	how many seats there are
 *	each of them, in ascending order: id
 *	1 if the next member has its id already, or 0; and the id
 *	the record of the ids
 *	the record of the roster
 *	each reader, in the order of the roster:
 *		1 if it has never been up to date, or 0
 *		1 if its socket was full, or 0
 *		its socket goes along
 *
 * Which door a client came in through follows from the kind of its peer, and its process is asked
 * from its socket anew.
 */
#include <server/server.h>

#include <ivshmem/abi.h>

#include <base/error.h>
#include <base/eventfd.h>
#include <base/fd.h>
#include <server/record.h>
#include <server/server_parts.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* ---- writing --------------------------------------------------------------------------------- */

static void
write_seats(const struct admission *admission, struct record *record)
{
	record_put(record, admission->n_seats);
	for (uint32_t id = 0, left = admission->n_seats; left > 0; id++) {
		if (!admission_is_seat(admission, (uint16_t)id))
			continue;
		record_put(record, id);
		left--;
	}
}

static void
write_parts(const struct server *server, struct record *record)
{
	struct record ids = {0}, roster = {0};

	if (ids_write(server->admission.ids, &ids) < 0 ||
		roster_write(&server->roster, &roster) < 0)
		record->failed = true;
	record_put_record(record, &ids);
	record_put_record(record, &roster);
	record_done(&ids);
	record_done(&roster);
}

static void
find_clients(const struct clients *clients, const struct client **ret_by_slot)
{
	for (unsigned i = 0; i < CLIENT_STATES; i++)
		list_for_each (link, &clients->states[i]) {
			const struct client *client = container_of(link, struct client, link);

			ret_by_slot[client->peer->slot] = client;
		}
}

static void
write_clients(const struct server *server, struct record *record)
{
	const struct client **clients =
		calloc(server->roster.n_slots + 1, sizeof(const struct client *));

	if (!clients) {
		record->failed = true;
		return;
	}
	find_clients(&server->clients, clients);
	list_for_each (link, &server->roster.readers) {
		const struct client *client = clients[peer_at(link)->slot];

		record_put(record, client->fresh);
		record_put(record, client->full_since != 0);
		record_put_fds(record, &client->source.fd, 1);
	}
	free(clients);
}

int
server_write(const struct server *server, struct record *ret_record)
{
	const struct peer *prepared = server->admission.prepared;

	record_begin(ret_record, SERVER_RECORD_NAME, SERVER_RECORD_VERSION);
	record_put(ret_record, server->admission.n_vectors);
	write_seats(&server->admission, ret_record);
	record_put(ret_record, prepared != NULL);
	if (prepared)
		record_put(ret_record, prepared->id);
	write_parts(server, ret_record);
	write_clients(server, ret_record);
	return record_end(ret_record);
}

/* ---- reading --------------------------------------------------------------------------------- */

struct reading {
	struct record_reader in;
	struct server *server;
	const struct server_config *config;
	bool prepared;
	uint16_t prepared_id;
	bool holds[IVSHMEM_MAX_ID + 1]; /* ids of seats, members and the prepared one */
	uint32_t n_held;
};

/* Nobody else may have this id, and it must be taken. */
static void
claim(struct reading *reading, uint16_t id)
{
	if (reading->holds[id] || !reading->server->admission.ids->used[id])
		record_refuse(&reading->in, "an id that is in use is free, or is used twice");
	reading->holds[id] = true;
	reading->n_held++;
}

static void
read_seats(struct reading *reading, bool *seats)
{
	const struct server_config *config = reading->config;
	struct record_reader *in = &reading->in;
	uint64_t first = 0;

	record_get(in, "number of seats", config->n_seats, config->n_seats);
	for (unsigned i = 0; i < config->n_seats && in->error == 0; i++) {
		uint16_t id = (uint16_t)record_get(in, "seat", first, IVSHMEM_MAX_ID);

		first = id + UINT64_C(1);
		seats[id] = true;
	}
	for (unsigned i = 0; i < config->n_seats; i++)
		if (!seats[config->seats[i].id])
			record_refuse(in, "the seats are others");
}

static void
read_ids(struct reading *reading, const bool *seats)
{
	struct admission *admission = &reading->server->admission;
	struct record_reader *in = &reading->in;
	struct ids *ids;
	struct record record;

	record_get_record(in, "size of the ids", &record);
	if (in->error < 0)
		return;
	in->error = ids_read(&ids, &record, in->reterr);
	if (in->error < 0)
		return;
	free(admission->ids);
	admission->ids = ids;
	for (uint32_t id = 0; id <= IVSHMEM_MAX_ID; id++)
		if (seats[id])
			claim(reading, (uint16_t)id);
	if (reading->prepared)
		claim(reading, reading->prepared_id);
}

static bool
are_eventfds(const int *fds, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (!eventfd_is(fds[i]))
			return false;
	return true;
}

/* What the roster and the ids say of each other must be the same. */
static void
read_roster(struct reading *reading, const bool *seats)
{
	struct server *server = reading->server;
	struct record_reader *in = &reading->in;
	struct record record;

	record_get_record(in, "size of the roster", &record);
	if (in->error < 0)
		return;
	if (!are_eventfds(record.fds, (unsigned)record.n_fds))
		record_refuse(in, "a descriptor that goes along is no eventfd");
	if (in->error == 0)
		in->error = roster_read(&server->roster, &record, server->admission.ids->now,
			server->roster.memory_fd, in->reterr);
	if (in->error < 0)
		return;
	list_for_each (link, &server->roster.log) {
		const struct event *event = event_at(link);

		if (event->peer->kind == PEER_MEMBER && !event->leave)
			claim(reading, event->peer->id);
		if (event->peer->kind == PEER_SEAT && !seats[event->peer->id])
			record_refuse(in, "the seats are others");
	}
	if (reading->n_held != server->admission.ids->n_used)
		record_refuse(in, "an id is in use that nobody has");
}

static int
open_doors(struct reading *reading)
{
	const struct server_config *config = reading->config;
	struct admission *admission = &reading->server->admission;
	int r = reading->prepared ? admission_prepare(admission, reading->prepared_id) : 0;

	for (unsigned i = 0; r == 0 && i < config->n_seats; i++)
		r = admission_continue_seat(
			admission, config->seats[i].id, config->seats[i].listen_fd);
	if (r == 0)
		r = admission_open_members(admission, config->listen_fd);
	if (r == 0 && config->max_observers > 0)
		r = admission_open_observers(admission, config->observer_listen_fd);
	return r;
}

static bool
is_stream_socket(int fd)
{
	socklen_t length = sizeof(int);
	int family = 0, type = 0;

	return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &length) == 0 &&
	       getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) == 0 && family == AF_UNIX &&
	       type == SOCK_STREAM;
}

static void
read_client(struct reading *reading, struct peer *peer)
{
	struct admission *admission = &reading->server->admission;
	struct record_reader *in = &reading->in;
	bool fresh = record_get(in, "mark of a newcomer", 0, 1);
	bool full = record_get(in, "mark of a full socket", 0, 1);
	int socket;

	if (fresh && peer->kind == PEER_OBSERVER)
		record_refuse(in, "an observer is no newcomer");
	if (record_fds_left(in) == 0)
		record_refuse(in, "no socket goes along");
	if (in->error < 0)
		return;
	socket = *record_get_fds(in, 1);
	if (!is_stream_socket(socket)) {
		record_refuse(in, "its descriptor is no UNIX stream socket");
		return;
	}
	in->error = admission_continue(admission, peer, socket, fresh, full);
	if (in->error == -ENXIO)
		in->error = error_set(in->reterr, -EINVAL,
			"an observer is connected, and there is no socket for observers any more");
	else if (in->error < 0)
		error_set(in->reterr, in->error, "cannot go on with a client: %s",
			strerror(-in->error));
}

static void
read_clients(struct reading *reading)
{
	struct record_reader *in = &reading->in;

	in->part = "client";
	in->number = 0;
	list_for_each (link, &reading->server->roster.readers) {
		if (in->error == 0)
			read_client(reading, peer_at(link));
		in->number++;
	}
}

static int
read_all(struct reading *reading, const struct record *record, struct ivshmem_error *reterr)
{
	struct record_reader *in = &reading->in;
	bool *seats = calloc(IVSHMEM_MAX_ID + 1, sizeof(*seats));
	int r;

	if (!seats)
		return error_set(reterr, -ENOMEM, "there is no memory");
	record_open(in, record, SERVER_RECORD_NAME, SERVER_RECORD_VERSION, reterr);
	record_get(in, "number of vectors", reading->config->n_vectors, reading->config->n_vectors);
	read_seats(reading, seats);
	reading->prepared = record_get(in, "mark of a next member", 0, 1);
	if (reading->prepared)
		reading->prepared_id = (uint16_t)record_get(in, "next id", 0, IVSHMEM_MAX_ID);
	read_ids(reading, seats);
	read_roster(reading, seats);
	free(seats);
	if (in->error == 0) {
		r = open_doors(reading);
		if (r < 0)
			in->error = error_set(reterr, r, "cannot go on serving: %s", strerror(-r));
	}
	read_clients(reading);
	return record_close(in);
}

/* Seats on the roster whose doors never came to be belong to nobody. They go after the roster. */
static void
drop(struct server *server)
{
	struct peer **seats = calloc(IVSHMEM_MAX_ID + 2, sizeof(struct peer *));
	unsigned n = 0;

	list_for_each (link, &server->roster.log) {
		struct peer *peer = event_at(link)->peer;

		if (seats && peer->kind == PEER_SEAT &&
			!admission_is_seat(&server->admission, peer->id))
			seats[n++] = peer;
	}
	server_free(server);
	while (n > 0)
		peer_free(seats[--n]);
	free(seats);
}

int
server_continue(struct server **ret_server, const struct server_config *config,
	const struct record *record, struct ivshmem_error *reterr)
{
	struct reading *reading = calloc(1, sizeof(*reading));
	int r;

	if (!reading)
		return error_set(reterr, -ENOMEM, "there is no memory");
	reading->config = config;
	r = server_new_parts(&reading->server, config);
	if (r < 0) {
		error_set(reterr, r, "cannot start serving: %s", strerror(-r));
	} else {
		r = read_all(reading, record, reterr);
		if (r == 0)
			*ret_server = reading->server;
		else
			drop(reading->server);
	}
	free(reading);
	return r;
}
