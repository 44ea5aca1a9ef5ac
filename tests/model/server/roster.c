/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * The server's event log against the plainest thing that could do its work: a queue of messages for each
 * client. Peers join, leave, read a little, read all, or stop reading, at random, and so do observers and
 * holders of seats. In half of the sequences, not everybody sees everybody. What the roster has for a client must always be what lies in its queue. Now and then
 * the roster is written down and read back, and the sequence goes on with what was read.
 */

#include <random.h>
#include <reread.h>
#include <server/roster.h>
#include <test.h>

#include <ivshmem/abi.h>

#define PEERS      48
#define SEATS      3
#define N_VECTORS  3 /* what observers are told that there are */
#define MEMORY_FD  4713
#define STEPS      4000
#define MAX_ASKED  64
#define NO_SUBJECT UINT32_MAX

/* ---- the naive model ------------------------------------------------------------------------ */

/* A message as the model has it: about whom, and which vector of it; or a part of the greeting. */
struct item {
	struct list link;
	uint32_t subject; /* serial number of a member, or NO_SUBJECT */
	int64_t number;
	int fd;
	bool leave;
};

struct member {
	struct peer *peer; /* NULL: this place is free */
	uint32_t serial;
	uint64_t stamp;
	bool stopped; /* does not read for a long time */
	bool announced;
	struct list queue; /* item::link */
	bool *told;        /* by serial number: was told of it, and not yet that it left */
};

static struct member members[PEERS];
static unsigned n_members;

/* As subjects; they read nothing. */
static struct member seats[SEATS];
static struct member *holders[SEATS]; /* NULL: the seat is free */
static bool taken[SEATS];             /* it has had a holder */
static uint32_t next_serial;
static uint64_t now;
static struct roster roster;

static void
queue_add(struct member *member, uint32_t subject, int64_t number, int fd, bool leave)
{
	struct item *item = calloc(1, sizeof(*item));

	CHECK(item);
	*item = (struct item){.subject = subject, .number = number, .fd = fd, .leave = leave};
	list_append(&member->queue, &item->link);
}

static void
queue_add_vectors(struct member *member, const struct member *subject)
{
	for (unsigned i = 0; i < subject->peer->n_vectors; i++)
		queue_add(member, subject->serial, subject->peer->id, subject->peer->vectors[i],
			false);
}

static void
queue_clear(struct member *member)
{
	list_for_each_safe (link, &member->queue) {
		list_remove(link);
		free(container_of(link, struct item, link));
	}
}

/* In the order of joining. */
static int
compare_members(const void *a, const void *b)
{
	const struct member *left = *(const struct member *const *)a;
	const struct member *right = *(const struct member *const *)b;

	return left->serial < right->serial ? -1 : 1;
}

static bool
observes(const struct member *member)
{
	return member->peer->kind == PEER_OBSERVER;
}

/* Do the views of the two let one see the other? */
static bool
sees(const struct member *reader, const struct member *subject)
{
	const struct view *one = &reader->peer->view, *other = &subject->peer->view;

	if (observes(reader) || one->kind == VIEW_ALL || other->kind == VIEW_ALL)
		return true;
	return one->kind == VIEW_CIRCLE && other->kind == VIEW_CIRCLE &&
	       one->circle == other->circle;
}

/* Is one told of another one? */
static bool
hears_of(const struct member *reader, const struct member *subject)
{
	if (!sees(reader, subject))
		return false;
	switch (subject->peer->kind) {
	case PEER_MEMBER:
		return true;
	case PEER_SEAT:
		return !observes(reader) && reader->peer->seat != subject->peer;
	case PEER_HOLDER:
		return observes(reader);
	case PEER_OBSERVER:
		return false;
	}
	return false;
}

/* Somebody, or a seat, that the others are told of. */
static void
model_announce(struct member *subject)
{
	for (unsigned i = 0; i < PEERS; i++)
		if (members[i].peer && &members[i] != subject && hears_of(&members[i], subject))
			queue_add_vectors(&members[i], subject);
}

static void
model_join(struct member *newcomer)
{
	struct member *others[PEERS + SEATS];
	unsigned n = 0;

	list_init(&newcomer->queue);
	newcomer->told = calloc(STEPS + SEATS, sizeof(bool));
	CHECK(newcomer->told);
	if (observes(newcomer)) {
		queue_add(newcomer, NO_SUBJECT, IVSHMEM_WIRE_OBSERVER, -1, false);
		queue_add(newcomer, NO_SUBJECT, N_VECTORS, -1, false);
	} else {
		queue_add(newcomer, NO_SUBJECT, 0, -1, false);
		queue_add(newcomer, NO_SUBJECT, newcomer->peer->id, -1, false);
	}
	queue_add(newcomer, NO_SUBJECT, -1, MEMORY_FD, false);
	for (unsigned i = 0; i < PEERS; i++)
		if (members[i].peer && &members[i] != newcomer)
			others[n++] = &members[i];
	for (unsigned i = 0; i < SEATS; i++)
		if (taken[i])
			others[n++] = &seats[i];
	qsort(others, n, sizeof(others[0]), compare_members);
	for (unsigned i = 0; i < n; i++)
		if (hears_of(newcomer, others[i]))
			queue_add_vectors(newcomer, others[i]);
	model_announce(newcomer);
	if (observes(newcomer))
		queue_add(newcomer, NO_SUBJECT, IVSHMEM_WIRE_COMPLETE, -1, false);
	else
		queue_add_vectors(newcomer, newcomer);
	n_members++;
}

static void
model_leave(struct member *leaver)
{
	for (unsigned i = 0; i < PEERS; i++) {
		struct member *member = &members[i];

		if (!member->peer || member == leaver)
			continue;
		list_for_each_safe (link, &member->queue) {
			struct item *item = container_of(link, struct item, link);

			if (item->subject == leaver->serial) {
				list_remove(link);
				free(item);
			}
		}
		if (member->told[leaver->serial])
			queue_add(member, leaver->serial, leaver->peer->id, -1, true);
	}
	for (unsigned i = 0; i < SEATS; i++)
		if (holders[i] == leaver)
			holders[i] = NULL;
	queue_clear(leaver);
	free(leaver->told);
	leaver->peer = NULL;
	n_members--;
}

static void
model_deliver(struct member *member, struct item *item)
{
	if (item->subject != NO_SUBJECT) {
		member->told[item->subject] = !item->leave;
		for (unsigned i = 0; i < PEERS; i++)
			if (members[i].peer && members[i].serial == item->subject &&
				&members[i] != member && !observes(member))
				members[i].announced = true;
	}
	list_remove(&item->link);
	free(item);
}

/* Does somebody who is there have this id? */
static bool
id_is_present(uint16_t id)
{
	for (unsigned i = 0; i < PEERS; i++)
		if (members[i].peer && !observes(&members[i]) && members[i].peer->id == id)
			return true;
	return false;
}

/* ---- both side by side ---------------------------------------------------------------------- */

static struct view
any_view(struct random_source *source)
{
	struct view view = {VIEW_ALL, 0};

	if (!roster.split)
		return view;
	view.kind = (enum view_kind)random_below(source, VIEW_CIRCLE + 1);
	if (view.kind == VIEW_CIRCLE)
		view.circle = random_below(source, 3) * CIRCLE_BUCKETS;
	return view;
}

static void
do_join(struct random_source *source)
{
	struct member *member = members;
	unsigned what = random_below(source, 4), seat = random_below(source, SEATS);
	struct peer *peer;

	while (member->peer)
		member++;
	if (what == 0) {
		CHECK_EQ(peer_new_observer(&peer), 0);
	} else if (what == 1 && !holders[seat]) {
		if (!taken[seat]) {
			taken[seat] = true;
			seats[seat].serial = next_serial++;
			seats[seat].peer->view = any_view(source);
			CHECK_EQ(roster_join(&roster, seats[seat].peer, ++now), 0);
			model_announce(&seats[seat]);
		}
		CHECK_EQ(peer_new_holder(&peer, seats[seat].peer), 0);
		holders[seat] = member;
	} else {
		uint16_t id;

		/* Few different ids, so that they come again soon: the roster must not mind. */
		do
			id = (uint16_t)(SEATS + random_below(source, 2 * PEERS));
		while (id_is_present(id));
		CHECK_EQ(peer_new(&peer, id, random_below(source, 5)), 0);
		peer->view = any_view(source);
	}
	*member = (struct member){.peer = peer, .serial = next_serial++, .stamp = ++now};
	CHECK_EQ(roster_join(&roster, member->peer, member->stamp), 0);
	model_join(member);
}

static void
do_leave(struct member *member)
{
	struct peer *peer = member->peer;

	CHECK_EQ(peer->announced, member->announced);
	model_leave(member);
	roster_leave(&roster, peer);
}

/* Ask for some messages and take `take` of them. */
static void
do_read(struct random_source *source, struct member *member, unsigned take)
{
	struct wire_message messages[MAX_ASKED];
	unsigned asked = 1 + random_below(source, MAX_ASKED), n = 0;
	int r = roster_next(&roster, member->peer, messages, asked);

	CHECK(r >= 0 && r <= (int)asked);
	list_for_each (link, &member->queue) {
		const struct item *item = container_of(link, struct item, link);

		if (n == asked)
			break;
		CHECK(n < (unsigned)r);
		CHECK_EQ(messages[n].number, item->number);
		CHECK_EQ(messages[n].fd, item->fd);
		n++;
	}
	CHECK_EQ(r, n);
	if (take > n)
		take = n;
	roster_told(&roster, member->peer, take);
	while (take-- > 0)
		model_deliver(member, container_of(member->queue.next, struct item, link));
}

static void
do_read_all(struct random_source *source, struct member *member)
{
	while (!list_empty(&member->queue))
		do_read(source, member, MAX_ASKED);
	do_read(source, member, MAX_ASKED);
}

static struct member *
any_member(struct random_source *source)
{
	struct member *member;

	do
		member = &members[random_below(source, PEERS)];
	while (!member->peer);
	return member;
}

/* What must be true at any time. */
static void
check_bounds(void)
{
	uint64_t oldest = UINT64_MAX;
	unsigned n_events = 0, n_joins = 0, n_leaves = 0, n_left_alive = 0;
	unsigned n_observers = 0, n_taken = 0;

	for (unsigned i = 0; i < PEERS; i++) {
		if (members[i].peer && observes(&members[i]))
			n_observers++;
		else if (members[i].peer && members[i].stamp < oldest)
			oldest = members[i].stamp;
	}
	for (unsigned i = 0; i < SEATS; i++)
		n_taken += taken[i];
	CHECK_EQ(roster_oldest(&roster), oldest);
	CHECK_EQ(roster.n_observers, n_observers);
	CHECK_EQ(roster.n_present, n_members - n_observers);
	list_for_each (link, &roster.log) {
		const struct event *event = container_of(link, struct event, link);

		n_events++;
		n_joins += !event->leave;
		n_leaves += event->leave;
	}
	/* One join for each who is present, one leave for each who left and is still believed present. */
	CHECK_EQ(n_joins, n_members + n_taken);
	for (uint32_t serial = 0; serial < next_serial; serial++) {
		bool present = false, believed = false;

		for (unsigned i = 0; i < PEERS; i++) {
			if (!members[i].peer)
				continue;
			present |= members[i].serial == serial;
			believed |= members[i].told[serial];
		}
		for (unsigned i = 0; i < SEATS; i++)
			present |= taken[i] && seats[i].serial == serial;
		n_left_alive += believed && !present;
	}
	CHECK_EQ(n_leaves, n_left_alive);
}

static void
reread(void)
{
	struct peer **peers[PEERS + SEATS];

	for (unsigned i = 0; i < PEERS; i++)
		peers[i] = &members[i].peer;
	for (unsigned i = 0; i < SEATS; i++)
		peers[PEERS + i] = &seats[i].peer;
	roster_reread(&roster, now, peers, PEERS + SEATS);
}

static void
roster_sequence(struct random_source *source)
{
	/* Some sequences have many who stop reading, some have none, some churn, some grow. */
	unsigned join_weight = 1 + random_below(source, 30),
		 leave_weight = 1 + random_below(source, 30);
	unsigned stop_weight = random_below(source, 2) * random_below(source, 10);

	roster_init(&roster, MEMORY_FD, N_VECTORS);
	roster.split = random_below(source, 2);
	next_serial = 0;
	for (unsigned i = 0; i < SEATS; i++) {
		taken[i] = false;
		CHECK_EQ(peer_new_seat(&seats[i].peer, (uint16_t)i, random_below(source, 5)), 0);
	}
	for (unsigned step = 0; step < STEPS; step++) {
		unsigned what =
			random_below(source, 100 + join_weight + leave_weight + stop_weight);
		struct member *member;

		if (n_members == 0 || (what < join_weight && n_members < PEERS)) {
			do_join(source);
			continue;
		}
		member = any_member(source);
		what -= what < join_weight ? what : join_weight;
		if (what < leave_weight)
			do_leave(member);
		else if (what < leave_weight + stop_weight)
			member->stopped = !member->stopped;
		else if (member->stopped)
			do_read(source, member, 0);
		else if (what % 3 == 0)
			do_read_all(source, member);
		else
			do_read(source, member, random_below(source, 8));
		if (step % 64 == 0)
			check_bounds();
		if (random_below(source, 50) == 0)
			reread();
	}
	for (unsigned i = 0; i < PEERS; i++)
		if (members[i].peer)
			do_read_all(source, &members[i]);
	check_bounds();
	/* Everybody knows everything, so no leave is owed. */
	list_for_each (link, &roster.log)
		CHECK(!container_of(link, struct event, link)->leave);
	for (unsigned i = 0; i < PEERS; i++)
		if (members[i].peer && random_below(source, 2))
			do_leave(&members[i]);
	for (unsigned i = 0; i < PEERS; i++)
		if (members[i].peer)
			model_leave(&members[i]);
	roster_done(&roster);
	for (unsigned i = 0; i < SEATS; i++)
		seats[i].peer = peer_free(seats[i].peer);
}

TEST_WITH(roster_against_queues, .timeout_s = 600)
{
	random_sequences(roster_sequence);
}
