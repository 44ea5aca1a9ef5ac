/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * What the client makes of each message in each state: rows 41 to 67 of the behaviours that
 * docs/protocol.md lists, as far as they need no socket.
 */

#include <group/follower.h>

#include <ivshmem/common.h>

#include <marks.h>
#include <test.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const struct follower_event untouched = {
	.type = (enum follower_event_type)77, .peer = 77, .fd = 77};

static const char state_names[][8] = {"VERSION", "ID", "ID_LAST", "MEMORY", "RUNNING", "FAILED"};

/* One message into a follower. */
struct step {
	int r;
	struct follower_event event;
	struct ivshmem_error error;
};

static struct step
step(struct follower *follower, int64_t number, int fd)
{
	struct wire_message message = {.number = number, .fd = fd};
	struct step step = {.event = untouched};

	step.r = follower_step(follower, &message, &step.event, &step.error);
	if (step.r < 0) {
		CHECK_EQ(follower->state, FOLLOWER_FAILED);
		CHECK_EQ(step.event.type, untouched.type);
		CHECK_EQ(step.event.fd, untouched.fd);
		CHECK_EQ(step.error.code, step.r);
		CHECK(strlen(step.error.message) > 10);
		CHECK(strlen(step.error.message) < sizeof(step.error.message) - 1);
	}
	return step;
}

static bool
is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

static int
descriptor(bool wanted)
{
	return wanted ? mark_new(1) : -1;
}

/* Which of the two it understands. */
static void
init(struct follower *follower, bool either)
{
	if (either)
		follower_init_either(follower);
	else
		follower_init(follower);
	CHECK_EQ(follower->state, FOLLOWER_VERSION);
}

/* A follower with id 5 that came as far as `state`. */
static struct follower
follower_as(bool either, enum follower_state state)
{
	struct follower follower;

	init(&follower, either);
	if (state == FOLLOWER_ID_LAST) {
		struct step memory = step(&follower, -1, mark_new(1));

		CHECK_EQ(memory.r, 0);
		close(memory.event.fd);
		CHECK_EQ(follower.state, state);
		return follower;
	}
	if (state == FOLLOWER_FAILED) {
		CHECK_EQ(step(&follower, 65536, -1).r, -EPROTONOSUPPORT);
		return follower;
	}
	if (state >= FOLLOWER_ID)
		CHECK_EQ(step(&follower, 0, -1).r, 0);
	if (state >= FOLLOWER_MEMORY)
		CHECK_EQ(step(&follower, 5, -1).r, 0);
	if (state >= FOLLOWER_RUNNING) {
		struct step memory = step(&follower, -1, mark_new(1));

		CHECK_EQ(memory.r, 0);
		close(memory.event.fd);
	}
	CHECK_EQ(follower.state, state);
	CHECK(!follower.is_2010);
	return follower;
}

static struct follower
follower_in(enum follower_state state)
{
	return follower_as(false, state);
}

/* ---- every kind of message in every state --------------------------------------------------- */

#define NONE   FOLLOWER_EVENT_NONE
#define MEMORY FOLLOWER_EVENT_MEMORY
#define VECTOR FOLLOWER_EVENT_VECTOR
#define LEFT   FOLLOWER_EVENT_LEFT
#define JUNK   FOLLOWER_EVENT_NONSENSE

/* Result per state: a negative errno, or the type of the event; follower_in() has the id 5. */
static const struct {
	int64_t number;
	bool with_fd;
	int version, id, memory, running;
} table[] = {
	{0, false, NONE, NONE, LEFT, LEFT},
	{0, true, -EPROTO, -EPROTO, VECTOR, VECTOR},
	{1, false, -EPROTONOSUPPORT, NONE, LEFT, LEFT},
	{1, true, -EPROTONOSUPPORT, -EPROTO, VECTOR, VECTOR},
	{5, false, -EPROTONOSUPPORT, NONE, JUNK, JUNK},
	{5, true, -EPROTONOSUPPORT, -EPROTO, VECTOR, VECTOR},
	{65535, false, -EPROTONOSUPPORT, NONE, LEFT, LEFT},
	{65535, true, -EPROTONOSUPPORT, -EPROTO, VECTOR, VECTOR},
	{65536, false, -EPROTONOSUPPORT, -EPROTO, -EPROTO, -EPROTO},
	{65536, true, -EPROTONOSUPPORT, -EPROTO, -EPROTO, -EPROTO},
	{0x100000000, false, -EPROTONOSUPPORT, -EPROTO, -EPROTO, -EPROTO},
	{0x100000005, true, -EPROTONOSUPPORT, -EPROTO, -EPROTO, -EPROTO},
	{INT64_MAX, false, -EPROTONOSUPPORT, -EPROTO, -EPROTO, -EPROTO},
	{INT64_MAX, true, -EPROTONOSUPPORT, -EPROTO, -EPROTO, -EPROTO},
	{-1, false, -EPROTONOSUPPORT, -EPROTO, -EPROTO, JUNK},
	{-1, true, -EPROTONOSUPPORT, -EPROTO, MEMORY, JUNK},
	{-2, false, -EPROTONOSUPPORT, -EPROTO, -EPROTO, -EPROTO},
	{-2, true, -EPROTONOSUPPORT, -EPROTO, -EPROTO, -EPROTO},
	{-4095, false, -EPROTONOSUPPORT, -EPROTO, -EPROTO, -EPROTO},
	{-4096, false, -EPROTONOSUPPORT, -EPROTO, -EPROTO, -EPROTO},
	{-65536, true, -EPROTONOSUPPORT, -EPROTO, -EPROTO, -EPROTO},
	{INT32_MIN, false, -EPROTONOSUPPORT, -EPROTO, -EPROTO, -EPROTO},
	{-4294967296, true, -EPROTONOSUPPORT, -EPROTO, -EPROTO, -EPROTO},
	{-4294967297, true, -EPROTONOSUPPORT, -EPROTO, -EPROTO, -EPROTO},
	{INT64_MIN, false, -EPROTONOSUPPORT, -EPROTO, -EPROTO, -EPROTO},
	{INT64_MIN, true, -EPROTONOSUPPORT, -EPROTO, -EPROTO, -EPROTO},
};

static void
check_row(size_t row, bool either, enum follower_state state, int expected)
{
	struct follower follower = follower_as(either, state);
	int fd = descriptor(table[row].with_fd);
	struct step got = step(&follower, table[row].number, fd);

	fprintf(stderr, "%lld %s in state %s%s\n", (long long)table[row].number,
		table[row].with_fd ? "with descriptor" : "alone", state_names[state],
		either ? ", either dialect" : "");
	if (expected < 0) {
		CHECK_EQ(got.r, expected);
	} else {
		CHECK_EQ(got.r, 0);
		CHECK_EQ(got.event.type, expected);
	}
	/* A descriptor is in the event, or closed. */
	if (expected == MEMORY || expected == VECTOR) {
		CHECK_EQ(got.event.fd, fd);
		CHECK(is_open(fd));
		close(fd);
	} else if (fd >= 0) {
		CHECK(!is_open(fd));
	}
	if (expected >= 0 && expected != MEMORY && expected != VECTOR)
		CHECK_EQ(got.event.fd, -1);
	if (expected == VECTOR || expected == LEFT)
		CHECK_EQ(got.event.peer, table[row].number);
	if (expected == JUNK)
		CHECK(strlen(got.error.message) > 10);
}

TEST(every_message_in_every_state)
{
	for (size_t row = 0; row < sizeof(table) / sizeof(table[0]); row++) {
		check_row(row, false, FOLLOWER_VERSION, table[row].version);
		check_row(row, false, FOLLOWER_ID, table[row].id);
		for (int either = 0; either <= 1; either++) {
			check_row(row, either, FOLLOWER_MEMORY, table[row].memory);
			check_row(row, either, FOLLOWER_RUNNING, table[row].running);
			check_row(row, either, FOLLOWER_FAILED, -EPROTO);
		}
	}
}

/* Where the dialect of 2010 is allowed, the greeting has more that makes sense. */
TEST(every_message_of_a_greeting_in_either_dialect)
{
	for (size_t row = 0; row < sizeof(table) / sizeof(table[0]); row++) {
		int64_t number = table[row].number;
		bool is_id = number >= 0 && number <= 65535;
		int version = table[row].version, id = table[row].id;

		if (is_id && !table[row].with_fd)
			version = NONE;
		if (number == -1 && table[row].with_fd)
			version = MEMORY;
		/* The 0 before it was an id. */
		if (table[row].with_fd)
			id = table[row].memory;
		check_row(row, true, FOLLOWER_VERSION, version);
		check_row(row, true, FOLLOWER_ID, id);
		check_row(row, true, FOLLOWER_ID_LAST, table[row].id);
	}
}

TEST(every_id_is_understood)
{
	for (int64_t id = 0; id <= 65535; id++) {
		struct follower follower = follower_in(FOLLOWER_ID);

		CHECK_EQ(step(&follower, id, -1).r, 0);
		CHECK_EQ(follower.id, id);
	}
}

/* ---- rows of the list ----------------------------------------------------------------------- */

TEST(behaviour_41_normal_sequence)
{
	struct follower follower;
	struct step got;
	int memory = mark_new(10), vector = mark_new(11);

	follower_init(&follower);
	CHECK_EQ(step(&follower, 0, -1).event.type, NONE);
	CHECK_EQ(follower.state, FOLLOWER_ID);
	CHECK_EQ(step(&follower, 3, -1).event.type, NONE);
	CHECK_EQ(follower.state, FOLLOWER_MEMORY);
	CHECK_EQ(follower.id, 3);
	got = step(&follower, -1, memory);
	CHECK_EQ(got.event.type, MEMORY);
	CHECK_EQ(got.event.fd, memory);
	CHECK_EQ(follower.state, FOLLOWER_RUNNING);
	got = step(&follower, 0, vector);
	CHECK_EQ(got.event.type, VECTOR);
	CHECK_EQ(got.event.peer, 0);
	CHECK_EQ(got.event.fd, vector);
	got = step(&follower, 0, -1);
	CHECK_EQ(got.event.type, LEFT);
	CHECK_EQ(got.event.peer, 0);
	CHECK_EQ(follower.state, FOLLOWER_RUNNING);
	close(memory);
	close(vector);
}

TEST(behaviour_42_wrong_version_names_both)
{
	struct follower follower = follower_in(FOLLOWER_VERSION);
	struct step got = step(&follower, 4242, -1);

	CHECK_EQ(got.r, -EPROTONOSUPPORT);
	CHECK(strstr(got.error.message, "4242"));
	CHECK(strstr(got.error.message, "0"));
}

TEST(behaviour_51_peers_before_the_memory)
{
	struct follower follower = follower_in(FOLLOWER_MEMORY);
	int fd = mark_new(1);

	CHECK_EQ(step(&follower, 9, fd).event.type, VECTOR);
	CHECK_EQ(step(&follower, 9, -1).event.type, LEFT);
	CHECK_EQ(follower.state, FOLLOWER_MEMORY);
	CHECK_EQ(step(&follower, -1, fd).event.type, MEMORY);
	close(fd);
}

TEST(behaviour_52_own_vector_before_the_memory)
{
	struct follower follower = follower_in(FOLLOWER_MEMORY);
	int fd = mark_new(1);
	struct step got = step(&follower, 5, fd);

	CHECK_EQ(got.event.type, VECTOR);
	CHECK_EQ(got.event.peer, 5);
	CHECK_EQ(step(&follower, -1, fd).event.type, MEMORY);
	close(fd);
}

TEST(behaviour_59_peer_that_comes_again)
{
	struct follower follower = follower_in(FOLLOWER_RUNNING);
	int fd = mark_new(1);

	for (int i = 0; i < 3; i++) {
		CHECK_EQ(step(&follower, 9, fd).event.type, VECTOR);
		CHECK_EQ(step(&follower, 9, -1).event.type, LEFT);
	}
	close(fd);
}

TEST(behaviour_60_leave_twice_and_of_a_stranger)
{
	struct follower follower = follower_in(FOLLOWER_RUNNING);

	/* The follower does not remember who is there: its user does, and ignores strangers. */
	CHECK_EQ(step(&follower, 9, -1).event.type, LEFT);
	CHECK_EQ(step(&follower, 9, -1).event.type, LEFT);
	CHECK_EQ(follower.state, FOLLOWER_RUNNING);
}

TEST(behaviour_61_and_62_nonsense_does_not_end_the_connection)
{
	struct follower follower = follower_in(FOLLOWER_RUNNING);

	CHECK_EQ(step(&follower, 5, -1).event.type, JUNK);
	CHECK_EQ(step(&follower, -1, mark_new(1)).event.type, JUNK);
	CHECK_EQ(step(&follower, -1, -1).event.type, JUNK);
	CHECK_EQ(follower.state, FOLLOWER_RUNNING);
	CHECK_EQ(step(&follower, 6, -1).event.type, LEFT);
}

/* ---- the dialect of 2010 -------------------------------------------------------------------- */

TEST(id_of_2010)
{
	for (int64_t id = 1; id <= 65535; id++) {
		struct follower follower;

		init(&follower, true);
		CHECK_EQ(step(&follower, id, -1).event.type, NONE);
		CHECK_EQ(follower.state, FOLLOWER_MEMORY);
		CHECK_EQ(follower.id, id);
		CHECK(follower.is_2010);
	}
}

TEST(id_0_of_2010_shows_by_the_memory)
{
	struct follower follower;
	int memory = mark_new(1);
	struct step got;

	init(&follower, true);
	CHECK_EQ(step(&follower, 0, -1).event.type, NONE);
	CHECK_EQ(follower.state, FOLLOWER_ID);
	CHECK(!follower.is_2010);
	got = step(&follower, -1, memory);
	CHECK_EQ(got.event.type, MEMORY);
	CHECK_EQ(got.event.fd, memory);
	CHECK_EQ(follower.state, FOLLOWER_RUNNING);
	CHECK_EQ(follower.id, 0);
	CHECK(follower.is_2010);
	CHECK_EQ(step(&follower, 0, -1).event.type, JUNK);
	close(memory);
}

TEST(id_0_of_2010_shows_by_a_vector)
{
	struct follower follower;
	int fd = mark_new(1);
	struct step got;

	init(&follower, true);
	CHECK_EQ(step(&follower, 0, -1).r, 0);
	got = step(&follower, 65535, fd);
	CHECK_EQ(got.event.type, VECTOR);
	CHECK_EQ(got.event.peer, 65535);
	CHECK_EQ(got.event.fd, fd);
	CHECK_EQ(follower.state, FOLLOWER_MEMORY);
	CHECK_EQ(follower.id, 0);
	CHECK(follower.is_2010);
	CHECK_EQ(step(&follower, -1, fd).event.type, MEMORY);
	close(fd);
}

TEST(memory_of_2010_before_the_id)
{
	static const int64_t ids[] = {0, 1, 5, 65535};

	for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
		struct follower follower;
		int memory = mark_new(1);
		struct step got;

		init(&follower, true);
		got = step(&follower, -1, memory);
		CHECK_EQ(got.event.type, MEMORY);
		CHECK_EQ(got.event.fd, memory);
		CHECK_EQ(follower.state, FOLLOWER_ID_LAST);
		CHECK_EQ(step(&follower, ids[i], -1).event.type, NONE);
		CHECK_EQ(follower.state, FOLLOWER_RUNNING);
		CHECK_EQ(follower.id, ids[i]);
		CHECK(follower.is_2010);
		CHECK_EQ(step(&follower, -1, memory).event.type, JUNK);
	}
}

TEST(version_0_where_2010_is_allowed)
{
	static const int64_t ids[] = {0, 1, 5, 65535};

	for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
		struct follower follower;

		init(&follower, true);
		CHECK_EQ(step(&follower, 0, -1).event.type, NONE);
		CHECK_EQ(step(&follower, ids[i], -1).event.type, NONE);
		CHECK_EQ(follower.state, FOLLOWER_MEMORY);
		CHECK_EQ(follower.id, ids[i]);
		CHECK(!follower.is_2010);
	}
}

TEST(dialect_of_2010_where_it_is_not_allowed)
{
	struct follower follower = follower_in(FOLLOWER_VERSION);
	int memory = mark_new(1);
	struct step got = step(&follower, 7, -1);

	CHECK_EQ(got.r, -EPROTONOSUPPORT);
	CHECK(strstr(got.error.message, "speaks version 7"));
	CHECK(!follower.is_2010);

	follower = follower_in(FOLLOWER_ID);
	got = step(&follower, -1, memory);
	CHECK_EQ(got.r, -EPROTO);
	CHECK(strstr(got.error.message, "a server from before QEMU 2.5?"));
	CHECK(!is_open(memory));
	CHECK(!follower.is_2010);
}

/* ---- words ---------------------------------------------------------------------------------- */

TEST(refusal_is_put_into_words)
{
	static const struct {
		int code;
		const char *words;
	} refusals[] = {{-ENOSPC, "id"}, {-EUSERS, "peers"}, {-EMFILE, "descriptor"},
		{-EPERM, "not permitted"}};

	for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
		struct follower follower = follower_in(FOLLOWER_VERSION);
		struct step got = step(&follower, refusals[i].code, -1);

		CHECK_EQ(got.r, -EPROTONOSUPPORT);
		CHECK(strstr(got.error.message, "refused"));
		CHECK(strstr(got.error.message, refusals[i].words));
	}
}

TEST(without_an_error_to_fill_in)
{
	for (size_t row = 0; row < sizeof(table) / sizeof(table[0]); row++) {
		for (unsigned state = FOLLOWER_VERSION; state <= FOLLOWER_FAILED; state++) {
			/* The other dialect does not lead there. */
			bool either = row % 2 || state == FOLLOWER_ID_LAST;
			struct follower follower = follower_as(either, (enum follower_state)state);
			int fd = descriptor(table[row].with_fd);
			struct wire_message message = {.number = table[row].number, .fd = fd};
			struct follower_event event = {.fd = -1};

			if (follower_step(&follower, &message, &event, NULL) == 0 && event.fd >= 0)
				close(event.fd);
		}
	}
}

/* ---- observers ------------------------------------------------------------------------------ */

static struct follower
observer_as(enum follower_state state)
{
	struct follower follower;

	follower_init_observer(&follower);
	if (state >= FOLLOWER_ID)
		CHECK_EQ(step(&follower, 65536, -1).r, 0);
	if (state >= FOLLOWER_MEMORY)
		CHECK_EQ(step(&follower, 4, -1).r, 0);
	if (state >= FOLLOWER_RUNNING) {
		struct step memory = step(&follower, -1, mark_new(1));

		CHECK_EQ(memory.r, 0);
		close(memory.event.fd);
	}
	CHECK_EQ(follower.state, state);
	return follower;
}

TEST(observer_follows_its_own_greeting)
{
	struct follower follower = observer_as(FOLLOWER_RUNNING);
	struct step next;

	CHECK_EQ(follower.n_vectors, 4);
	CHECK(!follower.complete);
	next = step(&follower, -2, -1);
	CHECK_EQ(next.r, 0);
	CHECK_EQ(next.event.type, FOLLOWER_EVENT_NONE);
	CHECK(follower.complete);
	/* A second time is senseless, and no more. */
	next = step(&follower, -2, -1);
	CHECK_EQ(next.r, 0);
	CHECK_EQ(next.event.type, FOLLOWER_EVENT_NONSENSE);
}

TEST(observer_is_nobody_so_that_anybody_can_leave)
{
	struct follower follower = observer_as(FOLLOWER_RUNNING);
	struct step left = step(&follower, 0, -1);

	CHECK_EQ(left.r, 0);
	CHECK_EQ(left.event.type, FOLLOWER_EVENT_LEFT);
	CHECK_EQ(left.event.peer, 0);
}

TEST(observer_refuses_what_makes_no_sense)
{
	static const struct {
		enum follower_state state;
		int64_t number;
		bool descriptor;
		int r;
	} senseless[] = {
		{FOLLOWER_VERSION, 0, false, -EPROTONOSUPPORT},
		{FOLLOWER_VERSION, 1, false, -EPROTONOSUPPORT},
		{FOLLOWER_VERSION, -EUSERS, false, -EPROTONOSUPPORT},
		{FOLLOWER_VERSION, 65536, true, -EPROTO},
		{FOLLOWER_ID, -1, false, -EPROTO},
		{FOLLOWER_ID, 2049, false, -EPROTO},
		{FOLLOWER_ID, 2, true, -EPROTO},
		{FOLLOWER_MEMORY, -1, false, -EPROTO},
		{FOLLOWER_RUNNING, -2, true, -EPROTO},
		{FOLLOWER_RUNNING, -3, false, -EPROTO},
		{FOLLOWER_RUNNING, 65536, false, -EPROTO},
	};

	for (size_t i = 0; i < sizeof(senseless) / sizeof(senseless[0]); i++) {
		struct follower follower = observer_as(senseless[i].state);
		int fd = descriptor(senseless[i].descriptor);

		CHECK_EQ(step(&follower, senseless[i].number, fd).r, senseless[i].r);
		CHECK(fd < 0 || !is_open(fd));
	}
}

TEST(only_an_observer_is_told_that_this_is_all)
{
	struct follower follower = follower_as(false, FOLLOWER_RUNNING);

	CHECK_EQ(step(&follower, -2, -1).r, -EPROTO);
	/* And it takes the observers' version neither for a version nor, in the old dialect, for an id. */
	follower = follower_as(true, FOLLOWER_VERSION);
	CHECK_EQ(step(&follower, 65536, -1).r, -EPROTONOSUPPORT);
}
