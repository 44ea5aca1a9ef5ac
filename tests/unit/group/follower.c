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

/* The dialect of today, that or the one of 2010, and what observers are told. */
enum kind { TODAY, EITHER, OBSERVER };

static void
init(struct follower *follower, enum kind kind)
{
	if (kind == TODAY)
		follower_init(follower);
	else if (kind == EITHER)
		follower_init_either(follower);
	else
		follower_init_observer(follower);
	CHECK_EQ(follower->state, FOLLOWER_VERSION);
}

static void
give_memory(struct follower *follower)
{
	struct step memory = step(follower, -1, mark_new(1));

	CHECK_EQ(memory.r, 0);
	close(memory.event.fd);
}

/* One that came as far as `state`; with id 5, or as an observer of peers with 4 vectors. */
static struct follower
follower_as(enum kind kind, enum follower_state state)
{
	struct follower follower;

	init(&follower, kind);
	if (state == FOLLOWER_FAILED)
		CHECK_EQ(step(&follower, 65537, -1).r, -EPROTONOSUPPORT);
	else if (state == FOLLOWER_ID_LAST)
		give_memory(&follower);
	else if (state >= FOLLOWER_ID)
		CHECK_EQ(step(&follower, kind == OBSERVER ? 65536 : 0, -1).r, 0);
	if (state == FOLLOWER_MEMORY || state == FOLLOWER_RUNNING)
		CHECK_EQ(step(&follower, kind == OBSERVER ? 4 : 5, -1).r, 0);
	if (state == FOLLOWER_RUNNING)
		give_memory(&follower);
	CHECK_EQ(follower.state, state);
	CHECK(!follower.is_2010);
	return follower;
}

static struct follower
follower_in(enum follower_state state)
{
	return follower_as(TODAY, state);
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
check_row(size_t row, enum kind kind, enum follower_state state, int expected)
{
	struct follower follower = follower_as(kind, state);
	int fd = descriptor(table[row].with_fd);
	struct step got = step(&follower, table[row].number, fd);

	fprintf(stderr, "%lld %s in state %s%s\n", (long long)table[row].number,
		table[row].with_fd ? "with descriptor" : "alone", state_names[state],
		kind == EITHER ? ", either dialect" : "");
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
	/* Behaviours 51, 52, 59 to 62: it remembers nobody, and nonsense does not end the connection. */
	if (expected >= 0 && (state == FOLLOWER_MEMORY || state == FOLLOWER_RUNNING))
		CHECK_EQ(follower.state, expected == MEMORY ? FOLLOWER_RUNNING : state);
}

TEST(every_message_in_every_state)
{
	for (size_t row = 0; row < sizeof(table) / sizeof(table[0]); row++) {
		check_row(row, TODAY, FOLLOWER_VERSION, table[row].version);
		check_row(row, TODAY, FOLLOWER_ID, table[row].id);
		for (enum kind kind = TODAY; kind <= EITHER; kind++) {
			check_row(row, kind, FOLLOWER_MEMORY, table[row].memory);
			check_row(row, kind, FOLLOWER_RUNNING, table[row].running);
			check_row(row, kind, FOLLOWER_FAILED, -EPROTO);
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
		check_row(row, EITHER, FOLLOWER_VERSION, version);
		check_row(row, EITHER, FOLLOWER_ID, id);
		check_row(row, EITHER, FOLLOWER_ID_LAST, table[row].id);
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

/* ---- the normal sequence --------------------------------------------------------------------- */

TEST(behaviour_41_normal_sequence)
{
	struct follower follower;
	struct step got;
	_test_close_ int memory = mark_new(10), vector = mark_new(11);

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
}

/* ---- the dialect of 2010 -------------------------------------------------------------------- */

TEST(id_of_2010)
{
	for (int64_t id = 1; id <= 65535; id++) {
		struct follower follower;

		init(&follower, EITHER);
		CHECK_EQ(step(&follower, id, -1).event.type, NONE);
		CHECK_EQ(follower.state, FOLLOWER_MEMORY);
		CHECK_EQ(follower.id, id);
		CHECK(follower.is_2010);
	}
}

TEST(what_tells_the_dialects_apart)
{
	static const struct {
		const char *name;
		bool is_2010;
		struct {
			int64_t number;
			bool with_fd;
			int event;
		} messages[3];
		uint16_t id;
	} greetings[] = {
		{"memory after id 0", true,
			{{0, false, NONE}, {-1, true, MEMORY}, {0, false, JUNK}}, 0},
		{"vector after id 0", true,
			{{0, false, NONE}, {65535, true, VECTOR}, {-1, true, MEMORY}}, 0},
		{"memory before id 0", true,
			{{-1, true, MEMORY}, {0, false, NONE}, {-1, true, JUNK}}, 0},
		{"memory before id 1", true,
			{{-1, true, MEMORY}, {1, false, NONE}, {1, false, JUNK}}, 1},
		{"memory before id 65535", true,
			{{-1, true, MEMORY}, {65535, false, NONE}, {0, false, LEFT}}, 65535},
		{"version and id 0", false,
			{{0, false, NONE}, {0, false, NONE}, {-1, true, MEMORY}}, 0},
		{"version and id 1", false,
			{{0, false, NONE}, {1, false, NONE}, {-1, true, MEMORY}}, 1},
		{"version and id 65535", false,
			{{0, false, NONE}, {65535, false, NONE}, {-1, true, MEMORY}}, 65535},
	};

	for (size_t i = 0; i < sizeof(greetings) / sizeof(greetings[0]); i++) {
		struct follower follower;

		fprintf(stderr, "%s\n", greetings[i].name);
		init(&follower, EITHER);
		for (unsigned n = 0; n < 3; n++) {
			int fd = descriptor(greetings[i].messages[n].with_fd);
			struct step got = step(&follower, greetings[i].messages[n].number, fd);
			bool takes = got.event.type == MEMORY || got.event.type == VECTOR;

			CHECK_EQ(got.r, 0);
			CHECK_EQ(got.event.type, greetings[i].messages[n].event);
			CHECK_EQ(got.event.fd, takes ? fd : -1);
			test_close(&got.event.fd);
			/* The id is known, and which dialect it is, as soon as it can be. */
			CHECK_EQ(got.event.identifies, n == 1);
			CHECK_EQ(follower.identified, n >= 1);
			CHECK_EQ(follower.is_2010, n >= 1 && greetings[i].is_2010);
		}
		CHECK_EQ(follower.id, greetings[i].id);
		CHECK_EQ(follower.state, FOLLOWER_RUNNING);
	}
}

/* ---- words ---------------------------------------------------------------------------------- */

TEST(failures_are_put_into_words)
{
	static const struct {
		enum follower_state state;
		int64_t number;
		bool with_fd;
		const char *words[2];
	} failures[] = {
		{FOLLOWER_VERSION, 4242, false, {"version 4242", "version 0"}},
		{FOLLOWER_VERSION, 7, false, {"speaks version 7", "we speak version 0"}},
		{FOLLOWER_VERSION, 0, true, {"descriptor", "its version"}},
		{FOLLOWER_VERSION, -ENOSPC, false, {"refused", "id"}},
		{FOLLOWER_VERSION, -EUSERS, false, {"refused", "peers"}},
		{FOLLOWER_VERSION, -EMFILE, false, {"refused", "descriptor"}},
		{FOLLOWER_VERSION, -EBUSY, false, {"refused", "--member"}},
		{FOLLOWER_VERSION, -ETOOMANYREFS, false, {"refused", "unread"}},
		{FOLLOWER_VERSION, -EPERM, false, {"refused", "not permitted"}},
		{FOLLOWER_ID, -1, true, {"our id", "a server from before QEMU 2.5?"}},
		{FOLLOWER_ID, 1, true, {"descriptor", "our id"}},
		{FOLLOWER_ID, 65536, false, {"65536", "our id"}},
		{FOLLOWER_MEMORY, -1, false, {"memory", "without its descriptor"}},
		{FOLLOWER_RUNNING, -2, true, {"-2", "neither a peer nor the memory"}},
	};

	for (size_t i = 0; i < sizeof(failures) / sizeof(failures[0]); i++) {
		struct follower follower = follower_in(failures[i].state);
		int fd = descriptor(failures[i].with_fd);
		struct step got = step(&follower, failures[i].number, fd);

		CHECK(got.r < 0);
		CHECK_HAS(got.error.message, failures[i].words[0]);
		CHECK_HAS(got.error.message, failures[i].words[1]);
		CHECK(!follower.is_2010);
	}
}

TEST(without_an_error_to_fill_in)
{
	for (size_t row = 0; row < sizeof(table) / sizeof(table[0]); row++) {
		for (unsigned state = FOLLOWER_VERSION; state <= FOLLOWER_FAILED; state++) {
			/* The other dialect does not lead there. */
			enum kind kind = row % 2 || state == FOLLOWER_ID_LAST ? EITHER : TODAY;
			struct follower follower = follower_as(kind, (enum follower_state)state);
			int fd = descriptor(table[row].with_fd);
			struct wire_message message = {.number = table[row].number, .fd = fd};
			struct follower_event event = {.fd = -1};

			if (follower_step(&follower, &message, &event, NULL) == 0 && event.fd >= 0)
				close(event.fd);
		}
	}
}

/* ---- observers ------------------------------------------------------------------------------ */

TEST(observer_follows_its_own_greeting)
{
	struct follower follower = follower_as(OBSERVER, FOLLOWER_RUNNING);
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
	struct follower follower = follower_as(OBSERVER, FOLLOWER_RUNNING);
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
		struct follower follower = follower_as(OBSERVER, senseless[i].state);
		int fd = descriptor(senseless[i].descriptor);

		CHECK_EQ(step(&follower, senseless[i].number, fd).r, senseless[i].r);
		CHECK(fd < 0 || !is_open(fd));
	}
}

TEST(only_an_observer_is_told_that_this_is_all)
{
	struct follower follower = follower_as(TODAY, FOLLOWER_RUNNING);

	CHECK_EQ(step(&follower, -2, -1).r, -EPROTO);
	/* And it takes the observers' version neither for a version nor, in the old dialect, for an id. */
	follower = follower_as(EITHER, FOLLOWER_VERSION);
	CHECK_EQ(step(&follower, 65536, -1).r, -EPROTONOSUPPORT);
}
