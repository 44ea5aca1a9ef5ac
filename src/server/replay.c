/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Theory of operation
 *
 * ids and roster are read from the checkpoint, and do again what they did in the server: both are
 * pure, so they come to the same state. What the entries do not say, follows from that state. What
 * they say is compared with it, and an entry that does not fit is refused, because whoever goes on
 * with a wrong state would break the promises of roster.h and ids.h.
 *
 * Not the same as in the server: which sockets are full. Those of the checkpoint that were sent to
 * since are not any more, and who is full now is found out with the next message.
 */
#include <server/replay.h>

#include <ivshmem/abi.h>

#include <base/error.h>
#include <server/ids.h>
#include <server/journal.h>
#include <server/record.h>
#include <server/roster.h>
#include <server/server_parts.h>

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* More than a process has: so a wrong number takes no memory without end. */
#define DESCRIPTORS_MAX (1u << 24)

/* A client, by the number of its socket. */
struct seen {
	struct peer *peer; /* NULL: there is none */
	bool fresh, full;
};

struct image {
	unsigned n_vectors;
	uint64_t n_seats;
	bool seats[IVSHMEM_MAX_ID + 1];
	bool prepared;
	uint16_t prepared_id;
	struct ids *ids;
	struct roster roster;
	struct seen *clients;
	size_t n_clients; /* the length of the array */
	int closing;
};

/* ---- the checkpoint, and the record of the image ---------------------------------------------- */

static int
note_client(struct image *image, int socket, struct seen client)
{
	size_t n = (size_t)socket + 1;

	if (socket < 0 || n > DESCRIPTORS_MAX)
		return -EINVAL;
	if (n > image->n_clients) {
		struct seen *grown;

		n = n > 2 * image->n_clients ? n : 2 * image->n_clients;
		grown = reallocarray(image->clients, n, sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		memset(grown + image->n_clients, 0, (n - image->n_clients) * sizeof(*grown));
		image->clients = grown;
		image->n_clients = n;
	}
	image->clients[socket] = client;
	return 0;
}

static void
read_clients(struct image *image, struct record_reader *in)
{
	list_for_each (link, &image->roster.readers) {
		struct seen client = {.peer = peer_at(link)};

		client.fresh = record_get(in, "mark of a newcomer", 0, 1);
		client.full = record_get(in, "mark of a full socket", 0, 1);
		if (record_fds_left(in) == 0)
			record_refuse(in, "no socket goes along");
		if (in->error == 0)
			in->error = note_client(image, *record_get_fds(in, 1), client);
		if (in->error < 0)
			return;
	}
}

static int
read_checkpoint(struct image *image, const struct record *before, struct ivshmem_error *reterr)
{
	struct record_reader in;
	struct record inner;

	record_open(&in, before, SERVER_RECORD_NAME, SERVER_RECORD_VERSION, reterr);
	image->n_vectors = (unsigned)record_get(&in, "number of vectors", 0, IVSHMEM_MAX_VECTORS);
	image->n_seats = record_get(&in, "number of seats", 0, IVSHMEM_MAX_ID + 1);
	for (uint64_t i = 0; i < image->n_seats && in.error == 0; i++)
		image->seats[record_get(&in, "seat", 0, IVSHMEM_MAX_ID)] = true;
	image->prepared = record_get(&in, "mark of a next member", 0, 1);
	if (image->prepared)
		image->prepared_id = (uint16_t)record_get(&in, "next id", 0, IVSHMEM_MAX_ID);
	record_get_record(&in, "size of the ids", &inner);
	if (in.error == 0)
		in.error = ids_read(&image->ids, &inner, reterr);
	record_get_record(&in, "size of the roster", &inner);
	if (in.error == 0)
		in.error = roster_read(&image->roster, &inner, image->ids->now, -1, reterr);
	if (in.error == 0)
		read_clients(image, &in);
	return record_close(&in);
}

static int
write_image(const struct image *image, struct record *record)
{
	struct record ids = {0}, roster = {0};
	int *sockets = calloc(image->roster.n_slots + 1, sizeof(int));

	record_begin(record, SERVER_RECORD_NAME, SERVER_RECORD_VERSION);
	record_put(record, image->n_vectors);
	record_put(record, image->n_seats);
	for (uint32_t id = 0; id <= IVSHMEM_MAX_ID; id++)
		if (image->seats[id])
			record_put(record, id);
	record_put(record, image->prepared);
	if (image->prepared)
		record_put(record, image->prepared_id);
	if (!sockets || ids_write(image->ids, &ids) < 0 ||
		roster_write(&image->roster, &roster) < 0)
		record->failed = true;
	record_put_record(record, &ids);
	record_put_record(record, &roster);
	record_done(&ids);
	record_done(&roster);
	for (size_t i = 0; sockets && i < image->n_clients; i++)
		if (image->clients[i].peer)
			sockets[image->clients[i].peer->slot] = (int)i;
	if (sockets)
		list_for_each (link, &image->roster.readers) {
			const int *socket = &sockets[peer_at(link)->slot];

			record_put(record, image->clients[*socket].fresh);
			record_put(record, image->clients[*socket].full);
			record_put_fds(record, socket, 1);
		}
	free(sockets);
	return record_end(record);
}

/* ---- entries ----------------------------------------------------------------------------------- */

struct entry {
	const uint32_t *words;
	uint32_t n; /* so many are left of the row */
};

static struct seen *
client_of(struct image *image, uint32_t socket)
{
	if (socket >= image->n_clients || !image->clients[socket].peer)
		return NULL;
	return &image->clients[socket];
}

/* Eventfds of the entry, from this word on: first how many. Returns the words taken, or 0. */
static uint32_t
take_vectors(const struct entry *entry, uint32_t at, struct peer *peer)
{
	uint32_t n = entry->words[at];

	if (n > IVSHMEM_MAX_VECTORS || entry->n - at - 1 < n)
		return 0;
	if (n > 0) {
		peer->vectors = calloc(n, sizeof(int));
		if (!peer->vectors)
			return 0;
	}
	for (uint32_t i = 0; i < n; i++)
		peer->vectors[i] = (int)entry->words[at + 1 + i];
	peer->n_vectors = n;
	return n + 1;
}

/* From this word on: what kind, and the number of the circle. */
static bool
take_view(const struct entry *entry, uint32_t at, struct view *ret_view)
{
	uint32_t kind = entry->words[at], circle = entry->words[at + 1];

	*ret_view = (struct view){(enum view_kind)kind, circle};
	return kind <= VIEW_CIRCLE && (kind == VIEW_CIRCLE || circle == 0);
}

/* Not peer_free(): the descriptors are not ours. */
static void
drop_peer(struct peer *peer)
{
	if (peer) {
		peer->n_vectors = 0;
		peer_free(peer);
	}
}

static int
do_prepared(struct image *image, const struct entry *entry)
{
	uint64_t oldest = roster_oldest(&image->roster);
	uint32_t id;

	if (entry->n < 2)
		return -EINVAL;
	id = entry->words[1];
	if (image->prepared || id > IVSHMEM_MAX_ID || image->ids->used[id] ||
		image->ids->retired[id] >= oldest)
		return -EINVAL;
	image->ids->used[id] = true;
	image->ids->n_used++;
	image->ids->next = (id + 1) % IDS_COUNT;
	image->prepared = true;
	image->prepared_id = (uint16_t)id;
	return 2;
}

static struct peer *
find_seat(const struct roster *roster, uint32_t id)
{
	list_for_each (link, &roster->log) {
		struct peer *peer = event_at(link)->peer;

		if (peer->kind == PEER_SEAT && peer->id == id)
			return peer;
	}
	return NULL;
}

static int
do_seat(struct image *image, const struct entry *entry)
{
	struct peer *seat;
	uint32_t taken;

	struct view view;

	if (entry->n < 5 || entry->words[1] > IVSHMEM_MAX_ID || !image->seats[entry->words[1]] ||
		find_seat(&image->roster, entry->words[1]) || !take_view(entry, 2, &view))
		return -EINVAL;
	seat = peer_new_blank(PEER_SEAT);
	if (!seat)
		return -ENOMEM;
	seat->id = (uint16_t)entry->words[1];
	seat->view = view;
	taken = take_vectors(entry, 4, seat);
	if (taken == 0 || roster_join(&image->roster, seat, ids_stamp(image->ids)) < 0) {
		drop_peer(seat);
		return -EINVAL;
	}
	return (int)(4 + taken);
}

/* What kind it is, and so what it has. Returns the words of its eventfds, or 0. */
static uint32_t
fill_peer(struct image *image, const struct entry *entry, struct peer *peer)
{
	uint32_t id = entry->words[3], taken = 1;

	if (peer->kind == PEER_MEMBER) {
		if (!image->prepared || image->prepared_id != id)
			return 0;
		taken = take_vectors(entry, 7, peer);
		if (peer->n_vectors != image->n_vectors)
			return 0;
		image->prepared = false;
	} else if (peer->kind == PEER_HOLDER) {
		peer->seat = find_seat(&image->roster, id);
		if (!peer->seat)
			return 0;
		for (size_t i = 0; i < image->n_clients; i++)
			if (image->clients[i].peer && image->clients[i].peer->seat == peer->seat)
				return 0;
		if (peer->view.kind != peer->seat->view.kind ||
			peer->view.circle != peer->seat->view.circle)
			return 0;
		peer->vectors = peer->seat->vectors;
		peer->n_vectors = peer->seat->n_vectors;
	} else if (peer->kind != PEER_OBSERVER || id != 0 || peer->view.kind != VIEW_ALL) {
		return 0;
	}
	peer->id = (uint16_t)id;
	return taken;
}

static int
do_joined(struct image *image, const struct entry *entry)
{
	struct peer *peer;
	struct view view;
	uint32_t taken, socket;
	int r;

	if (entry->n < 8 || entry->words[1] > PEER_OBSERVER || entry->words[2] > INT_MAX ||
		client_of(image, entry->words[2]) || entry->words[4] > 1 ||
		!take_view(entry, 5, &view))
		return -EINVAL;
	socket = entry->words[2];
	peer = peer_new_blank((enum peer_kind)entry->words[1]);
	if (!peer)
		return -ENOMEM;
	peer->view = view;
	peer->read_only = entry->words[4] != 0;
	taken = fill_peer(image, entry, peer);
	if (taken == 0) {
		drop_peer(peer);
		return -EINVAL;
	}
	r = note_client(image, (int)socket,
		(struct seen){.peer = peer, .fresh = peer->kind != PEER_OBSERVER});
	if (r == 0)
		r = roster_join(&image->roster, peer, ids_stamp(image->ids));
	if (r < 0) {
		if (client_of(image, socket))
			image->clients[socket].peer = NULL;
		drop_peer(peer);
		return r;
	}
	return (int)(7 + taken);
}

static int
do_telling(struct image *image, const struct journal *journal, const struct entry *entry)
{
	struct wire_message messages[WIRE_SEND_MAX];
	struct seen *client;
	uint32_t n, sent;

	if (entry->n < 4)
		return -EINVAL;
	client = client_of(image, entry->words[1]);
	n = entry->words[2];
	sent = entry->words[3];
	if (!client || n == 0 || n > WIRE_SEND_MAX)
		return -EINVAL;
	if (sent == JOURNAL_UNKNOWN && entry->n == 4)
		sent = journal_n_sent(journal);
	if (sent > n ||
		roster_next(&image->roster, client->peer, messages, WIRE_SEND_MAX) != (int)n)
		return -EINVAL;
	roster_told(&image->roster, client->peer, sent);
	client->full = false;
	if (sent == n && n < WIRE_SEND_MAX)
		client->fresh = false;
	return 4;
}

static int
do_leaving(struct image *image, const struct entry *entry)
{
	struct seen *client;
	struct peer *peer;
	bool member, announced;
	uint16_t id;

	client = entry->n < 2 ? NULL : client_of(image, entry->words[1]);
	if (!client)
		return -EINVAL;
	peer = client->peer;
	member = peer->kind == PEER_MEMBER;
	announced = peer->announced;
	id = peer->id;
	client->peer = NULL;
	peer->n_vectors = 0; /* the roster closes none */
	roster_leave(&image->roster, peer);
	if (member)
		ids_release(image->ids, id, announced);
	image->closing = (int)entry->words[1];
	return 2;
}

static int
do_refusing(struct image *image, const struct journal *journal, const struct entry *entry)
{
	if (entry->n < 2 || entry->words[1] > INT_MAX || client_of(image, entry->words[1]))
		return -EINVAL;
	/* Whoever was told nothing yet is still a newcomer. */
	if (entry->n > 2 || journal_n_sent(journal) > 0)
		image->closing = (int)entry->words[1];
	return 2;
}

/* Returns the words of the entry. */
static int
do_entry(struct image *image, const struct journal *journal, const struct entry *entry)
{
	/* Entries follow what is being closed only when it is closed. */
	if (image->closing >= 0 && entry->words[0] != CLOSED)
		return -EINVAL;
	switch (entry->words[0]) {
	case PREPARED:
		return do_prepared(image, entry);
	case SEAT:
		return do_seat(image, entry);
	case JOINED:
		return do_joined(image, entry);
	case TELLING:
		return do_telling(image, journal, entry);
	case LEAVING:
		return do_leaving(image, entry);
	case REFUSING:
		return do_refusing(image, journal, entry);
	case CLOSED:
		if (image->closing < 0)
			return -EINVAL;
		image->closing = -1;
		return 1;
	default:
		return -EINVAL;
	}
}

static int
do_row(struct image *image, const struct journal *journal, struct ivshmem_error *reterr)
{
	struct entry entry;
	unsigned number = 0;

	for (entry.words = journal_row(journal, &entry.n); entry.n > 0; number++) {
		int n = do_entry(image, journal, &entry);

		if (n == -ENOMEM)
			return error_set(reterr, n, "there is no memory to read the journal");
		if (n < 0)
			return error_set(reterr, n,
				"entry %u of the journal, of type %u, does not fit those before it",
				number, entry.words[0]);
		entry.words += n;
		entry.n -= (uint32_t)n;
	}
	return 0;
}

/* ---- all of it --------------------------------------------------------------------------------- */

/* All descriptors stay open. */
static void
drop_image(struct image *image)
{
	struct peer **seats = calloc(image->roster.n_slots + 1, sizeof(struct peer *));
	size_t n = 0;

	list_for_each (link, &image->roster.log) {
		struct peer *peer = event_at(link)->peer;

		peer->n_vectors = 0;
		if (seats && peer->kind == PEER_SEAT)
			seats[n++] = peer;
	}
	roster_done(&image->roster);
	while (n > 0)
		peer_free(seats[--n]);
	free(seats);
	free(image->clients);
	free(image->ids);
	free(image);
}

int
replay(const struct journal *journal, const struct record *before, struct record *ret_after,
	int *ret_closing, struct ivshmem_error *reterr)
{
	struct image *image = calloc(1, sizeof(*image));
	int r;

	if (!image)
		return error_set(reterr, -ENOMEM, "there is no memory to read the journal");
	image->closing = -1;
	roster_init(&image->roster, -1, 0);
	r = read_checkpoint(image, before, reterr);
	if (r == 0)
		r = do_row(image, journal, reterr);
	if (r == 0) {
		*ret_closing = image->closing;
		r = write_image(image, ret_after);
		if (r < 0)
			record_done(ret_after);
	}
	drop_image(image);
	return r;
}
