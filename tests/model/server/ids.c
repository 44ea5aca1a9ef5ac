/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * The allocator of ids against the rule itself, spelt out: for every client the set of ids whose announced
 * holder left while it was connected. An id in the set of anybody who is connected must not be used.
 *
 * Peers come, and are put on a roster, as src/server does it: an id is taken ahead of time, given back if the
 * client never comes, and so on. Clients follow their messages as a QEMU does, which is damaged by hearing of
 * an id, that it left, and of it again. Now and then all is written down and read back, and goes on with that.
 */

#include <random.h>
#include <reread.h>
#include <server/ids.h>
#include <server/roster.h>
#include <test.h>

#include <errno.h>
#include <string.h>

#define CLIENTS 40
#define NONE    UINT32_MAX

struct client {
	struct peer *peer;           /* NULL: this place is free */
	uint8_t seen[IDS_COUNT / 8]; /* the rule: ids whose announced holder left in its presence */
	/* what it was told, and thinks */
	unsigned greeting;
	uint8_t heard[IDS_COUNT / 8], left[IDS_COUNT / 8];
};

static struct ids *ids;
static struct roster roster;
static struct client *clients;
static bool used[IDS_COUNT];       /* the model's own */
static uint32_t next_id;           /* where its search starts */
static uint32_t spoilt[IDS_COUNT]; /* how many connected clients have it in their set */
static bool had_holder[IDS_COUNT];
static uint32_t prepared;
static uint64_t n_joined, n_refused, n_reused;

static bool
bit(const uint8_t *bits, uint32_t n)
{
	return bits[n / 8] >> n % 8 & 1;
}

static void
set_bit(uint8_t *bits, uint32_t n, bool value)
{
	bits[n / 8] = (uint8_t)((bits[n / 8] & ~(1u << n % 8)) | (unsigned)value << n % 8);
}

/* ---- the rule ------------------------------------------------------------------------------- */

static uint32_t
model_take(void)
{
	for (uint32_t i = 0; i < IDS_COUNT; i++) {
		uint32_t id = (next_id + i) % IDS_COUNT;

		if (used[id] || spoilt[id] > 0)
			continue;
		used[id] = true;
		next_id = (id + 1) % IDS_COUNT;
		return id;
	}
	return NONE;
}

static void
model_release(uint32_t id, bool announced)
{
	used[id] = false;
	had_holder[id] |= announced;
	for (unsigned i = 0; announced && i < CLIENTS; i++) {
		if (!clients[i].peer || bit(clients[i].seen, id))
			continue;
		set_bit(clients[i].seen, id, true);
		spoilt[id]++;
	}
}

static void
model_forget(struct client *client)
{
	for (uint32_t byte = 0; byte < IDS_COUNT / 8; byte++)
		for (uint32_t n = 0; client->seen[byte] && n < 8; n++)
			spoilt[byte * 8 + n] -= client->seen[byte] >> n & 1;
}

/* ---- a client's view ------------------------------------------------------------------------ */

static void
client_hear(struct client *client, const struct wire_message *message)
{
	uint32_t id;

	if (client->greeting < 3) {
		client->greeting++;
		return;
	}
	CHECK(message->number >= 0 && message->number < IDS_COUNT);
	id = (uint32_t)message->number;
	if (message->fd >= 0) {
		/* This is where a QEMU is damaged. */
		CHECK(!bit(client->left, id));
		set_bit(client->heard, id, true);
	} else {
		CHECK(bit(client->heard, id));
		CHECK(!bit(client->left, id));
		set_bit(client->left, id, true);
	}
}

static void
client_read(struct client *client, unsigned max)
{
	struct wire_message messages[64];
	int n = roster_next(&roster, client->peer, messages, max);

	CHECK(n >= 0);
	for (int i = 0; i < n; i++)
		client_hear(client, &messages[i]);
	roster_told(&roster, client->peer, (unsigned)n);
}

/* ---- as the server does it ------------------------------------------------------------------ */

static void
prepare(void)
{
	uint32_t expected = model_take();
	uint16_t id = 4711;
	int r = ids_take(ids, roster_oldest(&roster), &id);

	CHECK_EQ(r, expected == NONE ? -ENOSPC : 0);
	prepared = NONE;
	if (r < 0) {
		CHECK_EQ(id, 4711);
		n_refused++;
		return;
	}
	CHECK_EQ(id, expected);
	prepared = id;
}

static void
unprepare(void)
{
	ids_release(ids, (uint16_t)prepared, false);
	model_release(prepared, false);
	prepared = NONE;
}

static void
join(struct client *client)
{
	/* Still safe, although it was chosen a while ago. */
	CHECK_EQ(spoilt[prepared], 0);
	memset(client, 0, sizeof(*client));
	CHECK_EQ(peer_new(&client->peer, (uint16_t)prepared, 1), 0);
	CHECK_EQ(roster_join(&roster, client->peer, ids_stamp(ids)), 0);
	n_joined++;
	n_reused += had_holder[prepared];
	prepared = NONE;
}

static void
leave(struct client *client)
{
	struct peer *peer = client->peer;
	bool announced = peer->announced;

	client->peer = NULL;
	model_forget(client);
	model_release(peer->id, announced);
	ids_release(ids, peer->id, announced);
	roster_leave(&roster, peer);
}

/* Use up ids as if clients came and went, without the work of it. */
static void
burn(struct random_source *source, unsigned n)
{
	while (n-- > 0 && prepared != NONE) {
		uint32_t id = prepared;
		bool announced = random_below(source, 8) > 0;

		ids_release(ids, (uint16_t)id, announced);
		model_release(id, announced);
		prepare();
	}
}

static void
reread(void)
{
	struct peer **peers[CLIENTS];
	struct record record;
	struct ids *old = ids;

	CHECK_EQ(ids_write(ids, &record), 0);
	CHECK_EQ(ids_read(&ids, &record, NULL), 0);
	CHECK(memcmp(ids, old, sizeof(*ids)) == 0);
	record_done(&record);
	free(old);
	for (unsigned i = 0; i < CLIENTS; i++)
		peers[i] = &clients[i].peer;
	roster_reread(&roster, ids->now, peers, CLIENTS);
}

static void
live(struct random_source *source, unsigned n_old)
{
	unsigned place = random_below(source, CLIENTS);
	struct client *client = &clients[place];

	if (random_below(source, 200) == 0)
		reread();
	if (prepared == NONE)
		prepare();
	else if (random_below(source, 50) == 0)
		unprepare();
	if (!client->peer) {
		if (prepared != NONE)
			join(client);
	} else if (prepared == NONE ? random_below(source, 20) == 0
		   : place >= n_old ? random_below(source, 2) == 0
				    : random_below(source, 2000) == 0) {
		leave(client);
	} else {
		client_read(client, 1 + random_below(source, 64));
	}
}

static void
ids_sequence(struct random_source *source)
{
	/* Those in the first places stay long, and spoil ids for as long as they do. */
	unsigned n_old = random_below(source, 4);

	memset(used, 0, sizeof(used));
	memset(spoilt, 0, sizeof(spoilt));
	memset(had_holder, 0, sizeof(had_holder));
	next_id = 0;
	prepared = NONE;
	n_joined = n_refused = n_reused = 0;
	ids = calloc(1, sizeof(*ids));
	clients = calloc(CLIENTS, sizeof(*clients));
	CHECK(ids && clients);
	ids_init(ids);
	roster_init(&roster, 0, 0);

	for (unsigned round = 0; round < 4; round++) {
		for (unsigned step = 0; step < 1500; step++)
			live(source, n_old);
		burn(source, random_below(source, 2 * IDS_COUNT));
	}
	printf("%ju joined, %ju with ids used before, %ju times refused\n", (uintmax_t)n_joined,
		(uintmax_t)n_reused, (uintmax_t)n_refused);
	for (unsigned i = 0; i < CLIENTS; i++)
		if (clients[i].peer)
			leave(&clients[i]);
	roster_done(&roster);
	free(clients);
	free(ids);
}

TEST_WITH(ids_against_the_rule, .timeout_s = 600)
{
	random_sequences(ids_sequence);
}
