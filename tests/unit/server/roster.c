/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Who is told what and when: chosen sequences. tests/model compares random ones with a naive model.
 */

#include <server/roster.h>

#include <test.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define MEMORY_FD 4712 /* passes through as a number */

static struct roster roster;
static uint64_t now;

static void
open_roster(void)
{
	roster_init(&roster, MEMORY_FD, 0);
}

static struct peer *
join(uint16_t id, unsigned n_vectors)
{
	struct peer *peer;

	CHECK_EQ(peer_new(&peer, id, n_vectors), 0);
	CHECK_EQ(roster_join(&roster, peer, ++now), 0);
	return peer;
}

/*
 * What `peer` is told next, as text: "0" a number without descriptor, "-1m" the memory, "5.2"
 * vector 2 of peer 5. At most `max` messages are asked for and `sent` of them told.
 */
static const char *
tell(struct peer *peer, unsigned max, unsigned sent)
{
	static char text[4096];
	struct wire_message messages[256];
	size_t length = 0;
	int n = roster_next(&roster, peer, messages, max);

	CHECK(n >= 0);
	CHECK(n <= (int)max);
	if (sent > (unsigned)n)
		sent = (unsigned)n;
	text[0] = 0;
	for (unsigned i = 0; i < sent; i++) {
		const char *space = i ? " " : "";
		char *end = text + length;
		size_t room = sizeof(text) - length;
		long long number = messages[i].number;

		if (messages[i].fd < 0) {
			length += (size_t)snprintf(end, room, "%s%lld", space, number);
		} else if (number == -1) {
			CHECK_EQ(messages[i].fd, MEMORY_FD);
			length += (size_t)snprintf(end, room, "%s-1m", space);
		} else {
			unsigned vector = 0;
			struct peer *subject = NULL;

			list_for_each (link, &roster.readers) {
				struct peer *candidate = container_of(link, struct peer, link);

				if (candidate->id == number)
					subject = candidate;
			}
			CHECK(subject);
			while (vector < subject->n_vectors &&
				subject->vectors[vector] != messages[i].fd)
				vector++;
			CHECK(vector < subject->n_vectors);
			length += (size_t)snprintf(end, room, "%s%lld.%u", space, number, vector);
		}
	}
	roster_told(&roster, peer, sent);
	return text;
}

static void
check_told(struct peer *peer, const char *expected)
{
	CHECK_STR(tell(peer, 256, 256), expected);
	CHECK_STR(tell(peer, 256, 256), "");
}

static unsigned
log_length(void)
{
	unsigned n = 0;

	list_for_each (link, &roster.log)
		n++;
	return n;
}

/* ---- greeting ------------------------------------------------------------------------------- */

TEST(first_peer_is_told_of_itself)
{
	struct peer *peer;

	open_roster();
	peer = join(0, 2);
	CHECK_EQ(roster.n_present, 1);
	check_told(peer, "0 0 -1m 0.0 0.1");
	CHECK(!peer->announced);
	roster_leave(&roster, peer);
	CHECK_EQ(roster.n_present, 0);
	roster_done(&roster);
}

TEST(newcomer_is_told_of_the_others_in_their_order_and_then_of_itself)
{
	struct peer *zero, *one, *seven;

	open_roster();
	zero = join(0, 2);
	one = join(1, 2);
	check_told(zero, "0 0 -1m 0.0 0.1 1.0 1.1");
	check_told(one, "0 1 -1m 0.0 0.1 1.0 1.1");
	CHECK(zero->announced && one->announced);
	/* By the order of joining, not by number. */
	seven = join(7, 1);
	join(5, 1);
	check_told(zero, "7.0 5.0");
	check_told(seven, "0 7 -1m 0.0 0.1 1.0 1.1 7.0 5.0");
	roster_done(&roster);
}

TEST(peers_without_vectors_are_never_mentioned)
{
	struct peer *zero, *one, *two;

	open_roster();
	zero = join(0, 0);
	one = join(1, 0);
	check_told(zero, "0 0 -1m");
	check_told(one, "0 1 -1m");
	two = join(2, 1);
	check_told(zero, "2.0");
	check_told(two, "0 2 -1m 2.0");
	roster_leave(&roster, one);
	check_told(zero, "");
	roster_leave(&roster, two);
	check_told(zero, "2");
	roster_done(&roster);
}

TEST(oldest_is_who_has_been_there_longest)
{
	struct peer *one, *two, *three;

	open_roster();
	now = 100;
	CHECK_EQ(roster_oldest(&roster), UINT64_MAX);
	one = join(1, 1);
	two = join(2, 1);
	three = join(3, 1);
	CHECK_EQ(roster_oldest(&roster), 101);
	roster_leave(&roster, two);
	CHECK_EQ(roster_oldest(&roster), 101);
	roster_leave(&roster, one);
	CHECK_EQ(roster_oldest(&roster), 103);
	roster_leave(&roster, three);
	CHECK_EQ(roster_oldest(&roster), UINT64_MAX);
	roster_done(&roster);
}

TEST(vectors_are_eventfds_that_close_on_exec)
{
	struct peer *peer;

	open_roster();
	peer = join(0, 3);
	CHECK_EQ(peer->n_vectors, 3);
	for (unsigned i = 0; i < 3; i++) {
		char path[64], target[64] = "";

		snprintf(path, sizeof(path), "/proc/self/fd/%d", peer->vectors[i]);
		CHECK(readlink(path, target, sizeof(target) - 1) > 0);
		CHECK_STR(target, "anon_inode:[eventfd]");
		CHECK(fcntl(peer->vectors[i], F_GETFD) & FD_CLOEXEC);
		CHECK(fcntl(peer->vectors[i], F_GETFL) & O_NONBLOCK);
	}
	roster_done(&roster);
}

/* ---- telling in pieces ---------------------------------------------------------------------- */

TEST(the_same_again_until_it_was_sent)
{
	struct peer *peer;

	open_roster();
	peer = join(0, 2);
	join(1, 1);
	for (int i = 0; i < 3; i++)
		CHECK_STR(tell(peer, 256, 0), "");
	CHECK_STR(tell(peer, 256, 2), "0 0");
	CHECK_STR(tell(peer, 256, 2), "-1m 0.0");
	CHECK_STR(tell(peer, 1, 1), "0.1");
	CHECK_STR(tell(peer, 256, 0), "");
	CHECK_STR(tell(peer, 256, 1), "1.0");
	CHECK_STR(tell(peer, 256, 1), "");
	roster_done(&roster);
}

TEST(every_way_of_cutting_a_greeting)
{
	/* 3 + 2 + 3 messages; bit i of `cuts` is a cut before message i + 1; asked for in any size.
	 */
	for (unsigned cuts = 0; cuts < 128; cuts++) {
		for (unsigned ask = 1; ask <= 9; ask += 4) {
			char all[256] = "";
			struct peer *peer;
			unsigned sent = 0;

			open_roster();
			join(5, 2);
			peer = join(6, 3);
			while (sent < 8) {
				unsigned length = 1;
				const char *text;

				while (sent + length < 8 && !(cuts >> (sent + length - 1) & 1))
					length++;
				if (length > ask)
					length = ask;
				text = tell(peer, ask, length);
				snprintf(all + strlen(all), sizeof(all) - strlen(all), "%s ", text);
				sent += length;
			}
			CHECK_STR(all, "0 6 -1m 5.0 5.1 6.0 6.1 6.2 ");
			CHECK_STR(tell(peer, 256, 256), "");
			roster_done(&roster);
		}
	}
}

/* ---- leaving -------------------------------------------------------------------------------- */

TEST(leave_is_told_once_to_those_who_knew)
{
	struct peer *zero, *one, *two;

	open_roster();
	zero = join(0, 1);
	one = join(1, 2);
	two = join(2, 1);
	check_told(zero, "0 0 -1m 0.0 1.0 1.1 2.0");
	check_told(two, "0 2 -1m 0.0 1.0 1.1 2.0");
	roster_leave(&roster, one);
	check_told(zero, "1");
	check_told(two, "1");
	CHECK_EQ(log_length(), 2);
	roster_done(&roster);
}

TEST(leave_is_not_told_to_who_never_knew)
{
	struct peer *zero, *one;

	open_roster();
	zero = join(0, 1);
	check_told(zero, "0 0 -1m 0.0");
	/* Came and went while zero did not read. */
	one = join(1, 1);
	CHECK(!one->announced);
	roster_leave(&roster, one);
	check_told(zero, "");
	CHECK_EQ(log_length(), 1);
	roster_done(&roster);
}

TEST(leave_in_the_middle_of_being_announced)
{
	struct peer *zero, *one, *two;

	open_roster();
	zero = join(0, 1);
	one = join(1, 3);
	two = join(2, 1);
	CHECK_STR(tell(zero, 256, 6), "0 0 -1m 0.0 1.0 1.1");
	roster_leave(&roster, one);
	/* The third vector is dropped, the next peer comes from its first vector, and the leave. */
	check_told(zero, "2.0 1");
	check_told(two, "0 2 -1m 0.0 2.0");
	roster_done(&roster);
}

TEST(leave_of_the_one_that_is_being_told)
{
	struct peer *zero, *one;

	open_roster();
	zero = join(0, 1);
	one = join(1, 1);
	CHECK_STR(tell(one, 256, 4), "0 1 -1m 0.0");
	roster_leave(&roster, one);
	check_told(zero, "0 0 -1m 0.0");
	/* one knew of zero; nothing of that stays behind. */
	roster_leave(&roster, zero);
	CHECK_EQ(log_length(), 0);
	roster_done(&roster);
}

TEST(leaves_of_several_come_in_their_order)
{
	struct peer *watcher, *others[5];

	open_roster();
	watcher = join(100, 1);
	for (uint16_t i = 0; i < 5; i++)
		others[i] = join(i, 1);
	check_told(watcher, "0 100 -1m 100.0 0.0 1.0 2.0 3.0 4.0");
	roster_leave(&roster, others[3]);
	roster_leave(&roster, others[0]);
	roster_leave(&roster, others[4]);
	check_told(watcher, "3 0 4");
	roster_done(&roster);
}

TEST(joins_and_leaves_keep_their_order)
{
	struct peer *watcher, *one, *two;

	open_roster();
	watcher = join(0, 1);
	one = join(1, 1);
	check_told(watcher, "0 0 -1m 0.0 1.0");
	two = join(2, 1);
	roster_leave(&roster, one);
	join(3, 1);
	check_told(watcher, "2.0 1 3.0");
	check_told(two, "0 2 -1m 0.0 2.0 3.0");
	roster_done(&roster);
}

TEST(slow_reader_pays_later)
{
	struct peer *fast, *slow, *gone;

	open_roster();
	fast = join(0, 1);
	slow = join(1, 1);
	gone = join(2, 1);
	check_told(fast, "0 0 -1m 0.0 1.0 2.0");
	check_told(slow, "0 1 -1m 0.0 1.0 2.0");
	roster_leave(&roster, gone);
	check_told(fast, "2");
	CHECK_EQ(log_length(), 3);
	/* The id comes again (never so soon in the server, but the roster does not care). */
	gone = join(2, 1);
	check_told(fast, "2.0");
	check_told(slow, "2 2.0");
	CHECK_EQ(log_length(), 3);
	roster_done(&roster);
}

TEST(slow_reader_that_leaves_takes_its_debts_along)
{
	struct peer *slow, *gone;

	open_roster();
	slow = join(0, 1);
	gone = join(1, 1);
	join(2, 1);
	check_told(slow, "0 0 -1m 0.0 1.0 2.0");
	roster_leave(&roster, gone);
	CHECK_EQ(log_length(), 3);
	roster_leave(&roster, slow);
	CHECK_EQ(log_length(), 1);
	roster_done(&roster);
}

TEST(left_peer_has_closed_its_vectors_whoever_was_not_told_yet)
{
	unsigned open_fds = test_open_fds();
	struct peer *slow, *gone;

	open_roster();
	slow = join(0, 1);
	gone = join(1, 50);
	CHECK_EQ(test_open_fds(), open_fds + 51);
	check_told(slow,
		"0 0 -1m 0.0 1.0 1.1 1.2 1.3 1.4 1.5 1.6 1.7 1.8 1.9 1.10 1.11 1.12 1.13 1.14 1.15 "
		"1.16 1.17 1.18 1.19 1.20 1.21 1.22 1.23 1.24 1.25 1.26 1.27 1.28 1.29 1.30 1.31 "
		"1.32 1.33 1.34 1.35 1.36 1.37 1.38 1.39 1.40 1.41 1.42 1.43 1.44 1.45 1.46 1.47 "
		"1.48 1.49");
	roster_leave(&roster, gone);
	CHECK_EQ(test_open_fds(), open_fds + 1);
	roster_done(&roster);
	CHECK_EQ(test_open_fds(), open_fds);
}

TEST(log_stays_short_while_somebody_does_not_read)
{
	struct peer *stopped, *reader;

	open_roster();
	stopped = join(0, 1);
	reader = join(1, 1);
	check_told(stopped, "0 0 -1m 0.0 1.0");
	tell(reader, 256, 256);
	for (int i = 0; i < 1000; i++) {
		struct peer *guest = join(2, 2);

		check_told(reader, "2.0 2.1");
		roster_leave(&roster, guest);
		check_told(reader, "2");
	}
	CHECK_EQ(log_length(), 2);
	CHECK_EQ(roster.n_slots, 64);
	check_told(stopped, "");
	roster_done(&roster);
}

TEST(done_with_everybody_there_and_debts_open)
{
	struct peer *peers[100];

	open_roster();
	for (uint16_t i = 0; i < 100; i++) {
		peers[i] = join(i, 2);
		if (i % 3)
			tell(peers[i], 256, i);
	}
	for (unsigned i = 0; i < 100; i += 7)
		roster_leave(&roster, peers[i]);
	/* The sanitizer and the harness say whether something stayed behind. */
	roster_done(&roster);
}

/* ---- many ----------------------------------------------------------------------------------- */

TEST(more_peers_than_one_word_of_bits)
{
	static struct peer *peers[300];
	char expected[64];

	open_roster();
	for (uint16_t i = 0; i < 300; i++)
		peers[i] = join(i, 1);
	for (int i = 0; i < 300; i++) {
		unsigned n = 0;

		while (tell(peers[i], 256, 256)[0])
			n++;
		CHECK(n > 0);
	}
	for (int i = 299; i > 0; i--) {
		roster_leave(&roster, peers[i]);
		snprintf(expected, sizeof(expected), "%d", i);
		for (int j = 0; j < i; j += 50)
			check_told(peers[j], expected);
	}
	check_told(peers[0], "");
	CHECK_EQ(roster.n_present, 1);
	roster_done(&roster);
}

/* ---- lack of everything --------------------------------------------------------------------- */

TEST(new_peer_without_descriptors_left)
{
	unsigned open_fds = test_open_fds();
	struct peer *untouched = (struct peer *)&roster, *peer = untouched;

	for (unsigned room = 0; room < 8; room++) {
		CHECK_SYS(setrlimit(RLIMIT_NOFILE, &(struct rlimit){open_fds + room, 1024}));
		CHECK_EQ(peer_new(&peer, 0, 8), -EMFILE);
		CHECK(peer == untouched);
		CHECK_SYS(setrlimit(RLIMIT_NOFILE, &(struct rlimit){1024, 1024}));
		CHECK_EQ(test_open_fds(), open_fds);
	}
	CHECK_EQ(peer_new(&peer, 0, 8), 0);
	CHECK_EQ(test_open_fds(), open_fds + 8);
	CHECK(peer_free(peer) == NULL);
	CHECK_EQ(test_open_fds(), open_fds);
	CHECK(peer_free(NULL) == NULL);
}
