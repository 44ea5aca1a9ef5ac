/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Who is told what and when: chosen sequences. tests/model compares random ones with a naive model.
 */

#include <server/roster.h>

#include <base/eventfd.h>
#include <test.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define MEMORY_FD 4712 /* passes through as a number */

/* Everybody by the id; those without one of their own, behind. */
enum { OBSERVER = 65536, HOLDER, EVERYBODY };

static struct peer *peers[EVERYBODY];
static struct roster roster;
static uint64_t now;
static struct peer *seats[2];
static unsigned n_seats;

void
test_before(void)
{
	roster_init(&roster, MEMORY_FD, 2);
}

void
test_after(void)
{
	roster_done(&roster);
	while (n_seats > 0) {
		/* The eventfds outlive the holders: they are the seat's. */
		CHECK_SYS(fcntl(seats[--n_seats]->vectors[0], F_GETFD));
		CHECK(peer_free(seats[n_seats]) == NULL);
	}
}

static void
join(unsigned id, unsigned n_vectors)
{
	CHECK_EQ(peer_new(&peers[id], (uint16_t)id, n_vectors), 0);
	CHECK_EQ(roster_join(&roster, peers[id], ++now), 0);
}

static void
leave(unsigned id)
{
	roster_leave(&roster, peers[id]);
}

/*
 * What a peer is told next, as text: "0" a number without descriptor, "-1m" the memory, "5.2" vector
 * 2 of peer 5. At most `max` messages are asked for and `sent` of them told.
 */
static const char *
tell(unsigned id, unsigned max, unsigned sent)
{
	static char text[4096];
	struct wire_message messages[256];
	size_t length = 0;
	int n = roster_next(&roster, peers[id], messages, max);

	CHECK(n >= 0);
	CHECK(n <= (int)max);
	if (sent > (unsigned)n)
		sent = (unsigned)n;
	text[0] = 0;
	for (unsigned i = 0; i < sent; i++) {
		long long number = messages[i].number;

		length += (size_t)snprintf(
			text + length, sizeof(text) - length, "%s%lld", i ? " " : "", number);
		if (number == -1) {
			CHECK_EQ(messages[i].fd, MEMORY_FD);
			length += (size_t)snprintf(text + length, sizeof(text) - length, "m");
		} else if (messages[i].fd >= 0) {
			const struct peer *subject = peers[number];
			unsigned vector = 0;

			while (vector < subject->n_vectors &&
				subject->vectors[vector] != messages[i].fd)
				vector++;
			CHECK(vector < subject->n_vectors);
			length += (size_t)snprintf(
				text + length, sizeof(text) - length, ".%u", vector);
		}
	}
	roster_told(&roster, peers[id], sent);
	return text;
}

static void
check_told(unsigned id, const char *expected)
{
	CHECK_STR(tell(id, 256, 256), expected);
	CHECK_STR(tell(id, 256, 256), "");
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

TEST(newcomer_is_told_of_the_others_in_their_order_and_then_of_itself)
{
	join(0, 2);
	join(1, 2);
	check_told(0, "0 0 -1m 0.0 0.1 1.0 1.1");
	check_told(1, "0 1 -1m 0.0 0.1 1.0 1.1");
	CHECK(peers[0]->announced && peers[1]->announced);
	/* By the order of joining, not by number. */
	join(7, 1);
	join(5, 1);
	check_told(0, "7.0 5.0");
	check_told(7, "0 7 -1m 0.0 0.1 1.0 1.1 7.0 5.0");
}

TEST(vectors_are_eventfds_that_close_on_exec)
{
	join(0, 3);
	CHECK_EQ(peers[0]->n_vectors, 3);
	for (unsigned i = 0; i < 3; i++) {
		CHECK(eventfd_is(peers[0]->vectors[i]));
		CHECK(fcntl(peers[0]->vectors[i], F_GETFD) & FD_CLOEXEC);
		CHECK(fcntl(peers[0]->vectors[i], F_GETFL) & O_NONBLOCK);
	}
}

/* ---- telling in pieces ---------------------------------------------------------------------- */

TEST(the_same_again_until_it_was_sent)
{
	join(0, 2);
	join(1, 1);
	for (int i = 0; i < 3; i++)
		CHECK_STR(tell(0, 256, 0), "");
	CHECK_STR(tell(0, 256, 2), "0 0");
	CHECK_STR(tell(0, 256, 2), "-1m 0.0");
	CHECK_STR(tell(0, 1, 1), "0.1");
	CHECK_STR(tell(0, 256, 0), "");
	CHECK_STR(tell(0, 256, 1), "1.0");
	CHECK_STR(tell(0, 256, 1), "");
}

/* ---- leaving -------------------------------------------------------------------------------- */

TEST(leave_in_the_middle_of_being_announced)
{
	join(0, 1);
	join(1, 3);
	join(2, 1);
	CHECK_STR(tell(0, 256, 6), "0 0 -1m 0.0 1.0 1.1");
	leave(1);
	/* The third vector is dropped, the next peer comes from its first vector, and the leave. */
	check_told(0, "2.0 1");
	check_told(2, "0 2 -1m 0.0 2.0");
}

TEST(slow_reader_pays_later)
{
	join(0, 1);
	join(1, 1);
	join(2, 1);
	check_told(0, "0 0 -1m 0.0 1.0 2.0");
	check_told(1, "0 1 -1m 0.0 1.0 2.0");
	leave(2);
	check_told(0, "2");
	CHECK_EQ(log_length(), 3);
	/* The id comes again (never so soon in the server, but the roster does not care). */
	join(2, 1);
	check_told(0, "2.0");
	check_told(1, "2 2.0");
	CHECK_EQ(log_length(), 3);
}

TEST(left_peer_has_closed_its_vectors_whoever_was_not_told_yet)
{
	unsigned open_fds = test_open_fds();

	join(0, 1);
	join(1, 50);
	CHECK_EQ(test_open_fds(), open_fds + 51);
	CHECK_HAS(tell(0, 256, 256), "0 0 -1m 0.0 1.0 1.1 1.2 ");
	leave(1);
	CHECK_EQ(test_open_fds(), open_fds + 1);
	roster_done(&roster);
	CHECK_EQ(test_open_fds(), open_fds);
	roster_init(&roster, MEMORY_FD, 2);
}

TEST(log_stays_short_while_somebody_does_not_read)
{
	join(0, 1);
	join(1, 1);
	check_told(0, "0 0 -1m 0.0 1.0");
	tell(1, 256, 256);
	for (int i = 0; i < 1000; i++) {
		join(2, 2);
		check_told(1, "2.0 2.1");
		leave(2);
		check_told(1, "2");
	}
	CHECK_EQ(log_length(), 2);
	CHECK_EQ(roster.n_slots, 64);
	check_told(0, "");
}

/* ---- many ----------------------------------------------------------------------------------- */

TEST(more_peers_than_one_word_of_bits)
{
	char expected[64];

	for (unsigned i = 0; i < 300; i++)
		join(i, 1);
	for (unsigned i = 0; i < 300; i++) {
		CHECK(tell(i, 256, 256)[0]);
		while (tell(i, 256, 256)[0])
			;
	}
	for (unsigned i = 299; i > 0; i--) {
		leave(i);
		snprintf(expected, sizeof(expected), "%u", i);
		for (unsigned j = 0; j < i; j += 50)
			check_told(j, expected);
	}
	check_told(0, "");
	CHECK_EQ(roster.n_present, 1);
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

/* ---- observers, and seats with their holders ------------------------------------------------- */

static void
join_observer(unsigned who)
{
	CHECK_EQ(peer_new_observer(&peers[who]), 0);
	CHECK_EQ(roster_join(&roster, peers[who], ++now), 0);
}

static void
join_holder(unsigned who, unsigned seat)
{
	CHECK_EQ(peer_new_holder(&peers[who], peers[seat]), 0);
	CHECK_EQ(roster_join(&roster, peers[who], ++now), 0);
}

/* One that is told of from the first holder on. */
static void
join_seat(unsigned id)
{
	CHECK_EQ(peer_new_seat(&peers[id], (uint16_t)id, 2), 0);
	seats[n_seats++] = peers[id];
	CHECK_EQ(roster_join(&roster, peers[id], ++now), 0);
}

TEST(observer_does_not_count_among_those_who_remember)
{
	join_observer(OBSERVER);
	CHECK_EQ(roster_oldest(&roster), UINT64_MAX);
	CHECK(roster_oldest_peer(&roster) == NULL);
	join(0, 2);
	CHECK_EQ(roster_oldest(&roster), peers[0]->joined);
	CHECK(roster_oldest_peer(&roster) == peers[0]);
	tell(OBSERVER, 256, 256);
	/* Told, and yet nobody knows of it who must not hear of its id again. */
	CHECK(!peers[0]->announced);
	leave(0);
	/* The same id at once: the leave comes before it. */
	join(0, 2);
	check_told(OBSERVER, "0 0.0 0.1");
}

TEST(observer_in_the_middle_of_an_announcement_when_the_id_comes_again)
{
	join_observer(OBSERVER);
	join(9, 2);
	CHECK_STR(tell(OBSERVER, 5, 5), "65536 2 -1m -2 9.0");
	leave(9);
	join(9, 2);
	check_told(OBSERVER, "9 9.0 9.1");
}

TEST(members_are_told_of_a_seat_once_and_observers_of_each_holder)
{
	join(0, 2);
	join_observer(OBSERVER);
	check_told(0, "0 0 -1m 0.0 0.1");
	check_told(OBSERVER, "65536 2 -1m 0.0 0.1 -2");
	join_seat(1);
	for (int turn = 0; turn < 3; turn++) {
		join_holder(HOLDER, 1);
		check_told(HOLDER, "0 1 -1m 0.0 0.1 1.0 1.1");
		check_told(0, turn == 0 ? "1.0 1.1" : "");
		check_told(OBSERVER, "1.0 1.1");
		leave(HOLDER);
		check_told(0, "");
		check_told(OBSERVER, "1");
	}
}
