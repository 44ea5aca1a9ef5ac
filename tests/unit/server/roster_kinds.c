/* SPDX-License-Identifier: BSD-2-Clause */

/* Who is told what and when: observers, and seats with their holders. */

#include <server/roster.h>

#include <test.h>

#include <fcntl.h>
#include <stdio.h>

#define MEMORY_FD 4712 /* passes through as a number */
#define N_VECTORS 2

static struct roster roster;
static uint64_t now;

static struct peer *
join(struct peer *peer)
{
	CHECK_EQ(roster_join(&roster, peer, ++now), 0);
	return peer;
}

static struct peer *
join_member(uint16_t id)
{
	struct peer *peer;

	CHECK_EQ(peer_new(&peer, id, N_VECTORS), 0);
	return join(peer);
}

static struct peer *
join_observer(void)
{
	struct peer *peer;

	CHECK_EQ(peer_new_observer(&peer), 0);
	return join(peer);
}

static struct peer *
join_holder(struct peer *seat)
{
	struct peer *peer;

	CHECK_EQ(peer_new_holder(&peer, seat), 0);
	return join(peer);
}

static struct peer *
new_seat(uint16_t id)
{
	struct peer *peer;

	CHECK_EQ(peer_new_seat(&peer, id, N_VECTORS), 0);
	return peer;
}

/* The next messages as text, at most `max`: "5" a number without descriptor, "5+" one with. */
static const char *
tell(struct peer *peer, unsigned max)
{
	static char text[1024];
	struct wire_message messages[64];
	int n = roster_next(&roster, peer, messages, max), length = 0;

	CHECK(n >= 0);
	text[0] = 0;
	for (int i = 0; i < n; i++)
		length += snprintf(text + length, sizeof(text) - (size_t)length, "%s%lld%s",
			i ? " " : "", (long long)messages[i].number,
			messages[i].fd >= 0 ? "+" : "");
	roster_told(&roster, peer, (unsigned)n);
	return text;
}

TEST(observer_is_told_of_all_and_then_that_this_is_all)
{
	struct peer *observer, *member;

	roster_init(&roster, MEMORY_FD, N_VECTORS);
	member = join_member(5);
	observer = join_observer();
	join_member(7);
	CHECK_STR(tell(observer, 64), "65536 2 -1+ 5+ 5+ -2 7+ 7+");
	CHECK_STR(tell(observer, 64), "");
	roster_leave(&roster, member);
	CHECK_STR(tell(observer, 64), "5");
	roster_done(&roster);
}

TEST(nobody_is_told_of_an_observer)
{
	struct peer *member, *one, *two;

	roster_init(&roster, MEMORY_FD, N_VECTORS);
	one = join_observer();
	member = join_member(0);
	two = join_observer();
	CHECK_EQ(roster.n_present, 1);
	CHECK_EQ(roster.n_observers, 2);
	CHECK_STR(tell(member, 64), "0 0 -1+ 0+ 0+");
	CHECK_STR(tell(two, 64), "65536 2 -1+ 0+ 0+ -2");
	roster_leave(&roster, two);
	CHECK_STR(tell(member, 64), "");
	CHECK_STR(tell(one, 64), "65536 2 -1+ -2 0+ 0+");
	roster_leave(&roster, one);
	CHECK_STR(tell(member, 64), "");
	CHECK_EQ(roster.n_observers, 0);
	roster_done(&roster);
}

TEST(observer_does_not_count_among_those_who_remember)
{
	struct peer *observer, *member;

	roster_init(&roster, MEMORY_FD, N_VECTORS);
	observer = join_observer();
	CHECK_EQ(roster_oldest(&roster), UINT64_MAX);
	CHECK(roster_oldest_peer(&roster) == NULL);
	member = join_member(0);
	CHECK_EQ(roster_oldest(&roster), member->joined);
	CHECK(roster_oldest_peer(&roster) == member);
	tell(observer, 64);
	/* Told, and yet nobody knows of it who must not hear of its id again. */
	CHECK(!member->announced);
	roster_leave(&roster, member);
	/* The same id at once: the leave comes before it. */
	join_member(0);
	CHECK_STR(tell(observer, 64), "0 0+ 0+");
	roster_done(&roster);
}

TEST(observer_in_the_middle_of_an_announcement_when_the_id_comes_again)
{
	struct peer *observer, *member;

	roster_init(&roster, MEMORY_FD, N_VECTORS);
	observer = join_observer();
	member = join_member(9);
	CHECK_STR(tell(observer, 5), "65536 2 -1+ -2 9+");
	roster_leave(&roster, member);
	join_member(9);
	CHECK_STR(tell(observer, 64), "9 9+ 9+");
	roster_done(&roster);
}

TEST(members_are_told_of_a_seat_once_and_observers_of_each_holder)
{
	struct peer *seat = new_seat(1), *member, *observer, *holder;

	roster_init(&roster, MEMORY_FD, N_VECTORS);
	member = join_member(0);
	observer = join_observer();
	CHECK_STR(tell(member, 64), "0 0 -1+ 0+ 0+");
	CHECK_STR(tell(observer, 64), "65536 2 -1+ 0+ 0+ -2");
	join(seat);
	for (int turn = 0; turn < 3; turn++) {
		holder = join_holder(seat);
		CHECK_STR(tell(holder, 64), "0 1 -1+ 0+ 0+ 1+ 1+");
		CHECK_STR(tell(member, 64), turn == 0 ? "1+ 1+" : "");
		CHECK_STR(tell(observer, 64), "1+ 1+");
		roster_leave(&roster, holder);
		CHECK_STR(tell(member, 64), "");
		CHECK_STR(tell(observer, 64), "1");
	}
	/* The eventfds outlive the holders: they are the seat's. */
	CHECK_SYS(fcntl(seat->vectors[0], F_GETFD));
	roster_done(&roster);
	CHECK(peer_free(seat) == NULL);
}

TEST(who_was_in_the_middle_of_a_seat_goes_on_whoever_comes_and_goes)
{
	struct peer *seat = new_seat(1), *member;

	roster_init(&roster, MEMORY_FD, N_VECTORS);
	member = join_member(0);
	join(seat);
	roster_leave(&roster, join_holder(seat));
	CHECK_STR(tell(member, 6), "0 0 -1+ 0+ 0+ 1+");
	join_holder(seat);
	CHECK_STR(tell(member, 64), "1+");
	roster_done(&roster);
	CHECK(peer_free(seat) == NULL);
}

TEST(holders_are_told_of_other_seats)
{
	struct peer *first = new_seat(0), *second = new_seat(1), *one, *two;

	roster_init(&roster, MEMORY_FD, N_VECTORS);
	join(first);
	one = join_holder(first);
	join(second);
	two = join_holder(second);
	CHECK_EQ(roster.n_present, 2);
	CHECK(roster_oldest_peer(&roster) == one);
	CHECK_STR(tell(two, 64), "0 1 -1+ 0+ 0+ 1+ 1+");
	CHECK_STR(tell(one, 64), "0 0 -1+ 0+ 0+ 1+ 1+");
	roster_done(&roster);
	CHECK(peer_free(first) == NULL);
	CHECK(peer_free(second) == NULL);
}
