/* SPDX-License-Identifier: BSD-2-Clause */

/* Loans: big records of queues, which lie in the sender's area and not in the ring. */

#include "channel_room.h"

#include <test.h>

#include <errno.h>
#include <string.h>

#define RING 4096

struct pair {
	struct room room;
	struct ivshmem_participant *here, *there;
	struct ivshmem_channel *one, *other;
};

static void
pair_open(struct pair *pair)
{
	room_open_pair(&pair->room, &pair->here, &pair->there);
	room_connect(pair->here, pair->there, IVSHMEM_QUEUE, RING, &pair->one, &pair->other);
}

static void
pair_close(struct pair *pair)
{
	room_close_pair(&pair->room, pair->here, pair->there);
}

static uint8_t *
take(struct ivshmem_channel *channel, size_t size)
{
	void *bytes;

	CHECK_EQ(ivshmem_loan_take(channel, size, &bytes), 0);
	CHECK_EQ((uintptr_t)bytes % 128, 0);
	return bytes;
}

/* A loan whose bytes tell its number. */
static void
lend(struct ivshmem_channel *channel, uint32_t length, unsigned number)
{
	uint8_t *bytes = take(channel, length);

	stage_fill(bytes, length, number);
	CHECK_EQ(ivshmem_loan_send(channel, bytes, length), 0);
}

static const void *
peek(struct ivshmem_channel *channel, uint32_t length, unsigned number)
{
	const void *record;

	CHECK_EQ(ivshmem_queue_peek(channel, &record), length);
	CHECK(stage_is_filled(record, length, number));
	return record;
}

static const void *
keep(struct ivshmem_channel *channel, uint32_t length, unsigned number)
{
	const void *record = peek(channel, length, number);

	CHECK_EQ(ivshmem_loan_keep(channel, record), 0);
	CHECK_EQ(ivshmem_queue_release(channel), 0);
	return record;
}

static size_t
free_heap(struct ivshmem_participant *participant)
{
	return (size_t)heap_largest(&participant->heap);
}

/* ---- what it is for -------------------------------------------------------------------------- */

/* Longer than the ring, and it is the sender's bytes that are read. */
TEST(a_loan_is_received_where_it_was_written)
{
	struct pair pair;
	size_t room;
	uint8_t *bytes;

	pair_open(&pair);
	room = free_heap(pair.here);
	for (unsigned i = 0; i < 1000; i++) {
		bytes = take(pair.one, 10 * RING);
		stage_fill(bytes, 10 * RING, i);
		CHECK_EQ(ivshmem_loan_send(pair.one, bytes, 10 * RING), 0);
		CHECK(peek(pair.other, 10 * RING, i) == bytes);
		CHECK(peek(pair.other, 10 * RING, i) == bytes);
		CHECK_EQ(ivshmem_queue_release(pair.other), 0);
		CHECK_EQ(ivshmem_queue_release(pair.other), -EINVAL);
		/* Looking for room takes back what is there. */
		bytes = take(pair.one, 1);
		CHECK_EQ(ivshmem_loan_drop(pair.one, bytes), 0);
		CHECK_EQ(free_heap(pair.here), room);
	}
	pair_close(&pair);
}

TEST(loans_and_records_keep_their_order)
{
	struct ivshmem_record records[8];
	const char *expected[] = {"a", "loan", "b", "c"};
	struct pair pair;
	unsigned next = 0;
	uint8_t *bytes;

	pair_open(&pair);
	bytes = take(pair.one, 100);
	CHECK_EQ(ivshmem_queue_send(pair.one, "a", 1), 0);
	memcpy(bytes, "loan", 4);
	/* It becomes shorter. */
	CHECK_EQ(ivshmem_loan_send(pair.one, bytes, 4), 0);
	CHECK_EQ(ivshmem_queue_send(pair.one, "b", 1), 0);
	CHECK_EQ(ivshmem_queue_send(pair.one, "c", 1), 0);
	while (next < 4) {
		int64_t n = ivshmem_queue_peek_many(pair.other, records, 8);

		CHECK(n > 0);
		for (int64_t i = 0; i < n; i++, next++) {
			CHECK_EQ(records[i].length, strlen(expected[next]));
			CHECK_MEM(records[i].bytes, expected[next], records[i].length);
		}
		CHECK_EQ(ivshmem_queue_release(pair.other), 0);
	}
	CHECK_EQ(ivshmem_queue_peek_many(pair.other, records, 8), -EAGAIN);
	pair_close(&pair);
}

TEST(a_loan_is_received_by_copying_too)
{
	static uint8_t buffer[20000];
	struct pair pair;

	pair_open(&pair);
	lend(pair.one, 20000, 5);
	CHECK_EQ(ivshmem_queue_receive(pair.other, buffer, 19999), -EMSGSIZE);
	CHECK_EQ(ivshmem_queue_receive(pair.other, buffer, 20000), 20000);
	CHECK(stage_is_filled(buffer, 20000, 5));
	CHECK_EQ(ivshmem_queue_receive(pair.other, buffer, 20000), -EAGAIN);
	pair_close(&pair);
}

TEST(several_loans_are_written_at_a_time_and_sent_in_any_order)
{
	struct pair pair;
	uint8_t *first, *second;

	pair_open(&pair);
	first = take(pair.one, 500);
	second = take(pair.one, 600);
	CHECK(second >= first + 500 || first >= second + 600);
	stage_fill(second, 600, 2);
	stage_fill(first, 500, 1);
	CHECK_EQ(ivshmem_loan_send(pair.one, second, 600), 0);
	CHECK_EQ(ivshmem_loan_send(pair.one, first, 500), 0);
	peek(pair.other, 600, 2);
	CHECK_EQ(ivshmem_queue_release(pair.other), 0);
	peek(pair.other, 500, 1);
	pair_close(&pair);
}

TEST(kept_loans_are_returned_in_any_order)
{
	const void *kept[3];
	struct pair pair;
	size_t room;

	pair_open(&pair);
	room = free_heap(pair.here);
	for (unsigned i = 0; i < 3; i++) {
		lend(pair.one, 1000, i);
		kept[i] = keep(pair.other, 1000, i);
	}
	CHECK_EQ(ivshmem_loan_return(pair.other, kept[1]), 0);
	CHECK_EQ(ivshmem_loan_return(pair.other, kept[1]), -EINVAL);
	/* What was returned is used anew; the others are not. */
	CHECK(take(pair.one, 1000) == kept[1]);
	CHECK(stage_is_filled(kept[0], 1000, 0));
	CHECK(stage_is_filled(kept[2], 1000, 2));
	CHECK_EQ(ivshmem_loan_return(pair.other, kept[0]), 0);
	CHECK_EQ(ivshmem_loan_return(pair.other, kept[2]), 0);
	CHECK_EQ(ivshmem_loan_drop(pair.one, (void *)(uintptr_t)kept[1]), 0);
	CHECK_EQ(ivshmem_loan_drop(pair.one, take(pair.one, 1)), 0);
	CHECK_EQ(free_heap(pair.here), room);
	pair_close(&pair);
}

TEST(a_loan_that_is_returned_before_its_release)
{
	const void *record;
	struct pair pair;

	pair_open(&pair);
	lend(pair.one, 1000, 1);
	record = peek(pair.other, 1000, 1);
	CHECK_EQ(ivshmem_loan_keep(pair.other, record), 0);
	CHECK_EQ(ivshmem_loan_return(pair.other, record), 0);
	/* It is the next record until then. */
	peek(pair.other, 1000, 1);
	CHECK(take(pair.one, 1000) != record);
	CHECK_EQ(ivshmem_queue_release(pair.other), 0);
	CHECK_EQ(ivshmem_loan_return(pair.other, record), -EINVAL);
	CHECK(take(pair.one, 1000) == record);
	pair_close(&pair);
}

/* ---- room ------------------------------------------------------------------------------------ */

TEST(as_many_loans_as_there_can_be)
{
	const void *kept[IVSHMEM_LOANS_MAX];
	struct pair pair;
	void *bytes;

	pair_open(&pair);
	for (unsigned i = 0; i < IVSHMEM_LOANS_MAX; i++) {
		lend(pair.one, 100, i);
		kept[i] = keep(pair.other, 100, i);
	}
	CHECK_EQ(ivshmem_loan_take(pair.one, 100, &bytes), -EAGAIN);
	CHECK_EQ(ivshmem_channel_wait(pair.one, IVSHMEM_WRITABLE, 0), -ETIMEDOUT);
	CHECK_EQ(ivshmem_loan_return(pair.other, kept[63]), 0);
	CHECK_EQ(ivshmem_channel_wait(pair.one, IVSHMEM_WRITABLE, 0), IVSHMEM_WRITABLE);
	CHECK(take(pair.one, 100) == kept[63]);
	/* That has not been sent, and no other one comes back. */
	CHECK_EQ(ivshmem_loan_take(pair.one, 100, &bytes), -EAGAIN);
	/* Records need no loans. */
	CHECK_EQ(ivshmem_queue_send(pair.one, "x", 1), 0);
	pair_close(&pair);
}

TEST(an_area_without_room)
{
	struct pair pair;
	void *bytes;
	size_t room;

	pair_open(&pair);
	room = free_heap(pair.here);
	CHECK_EQ(ivshmem_loan_take(pair.one, room + 1, &bytes), -ENOSPC);
	CHECK_EQ(ivshmem_channel_wait(pair.one, IVSHMEM_WRITABLE, 0), IVSHMEM_WRITABLE);
	lend(pair.one, (uint32_t)room, 1);
	CHECK_EQ(ivshmem_loan_take(pair.one, 1, &bytes), -EAGAIN);
	peek(pair.other, (uint32_t)room, 1);
	CHECK_EQ(ivshmem_loan_take(pair.one, 1, &bytes), -EAGAIN);
	CHECK_EQ(ivshmem_queue_release(pair.other), 0);
	take(pair.one, room);
	/* Nobody but ourselves has it. */
	CHECK_EQ(ivshmem_loan_take(pair.one, 1, &bytes), -ENOSPC);
	pair_close(&pair);
}

/* When nothing can come back any more, there is no sense in waiting for it. */
TEST(who_waits_for_more_than_there_can_be)
{
	struct pair pair;
	const void *kept;
	size_t room;
	void *bytes;

	pair_open(&pair);
	room = free_heap(pair.here);
	lend(pair.one, 1000, 1);
	kept = keep(pair.other, 1000, 1);
	CHECK_EQ(ivshmem_loan_take(pair.one, room + 1, &bytes), -EAGAIN);
	CHECK_EQ(ivshmem_channel_wait(pair.one, IVSHMEM_WRITABLE, 0), -ETIMEDOUT);
	CHECK_EQ(ivshmem_loan_return(pair.other, kept), 0);
	CHECK_EQ(ivshmem_channel_wait(pair.one, IVSHMEM_WRITABLE, 0), IVSHMEM_WRITABLE);
	CHECK_EQ(ivshmem_loan_take(pair.one, room + 1, &bytes), -ENOSPC);
	pair_close(&pair);
}

TEST(a_full_ring_leaves_the_loan_to_its_sender)
{
	char buffer[64] = {0};
	struct pair pair;
	uint8_t *bytes;

	pair_open(&pair);
	bytes = take(pair.one, 5000);
	stage_fill(bytes, 5000, 1);
	while (ivshmem_queue_send(pair.one, buffer, 24) == 0)
		;
	CHECK_EQ(ivshmem_loan_send(pair.one, bytes, 5000), -EAGAIN);
	while (ivshmem_queue_receive(pair.other, buffer, 64) >= 0)
		;
	CHECK_EQ(ivshmem_channel_wait(pair.one, IVSHMEM_WRITABLE, 0), IVSHMEM_WRITABLE);
	CHECK_EQ(ivshmem_loan_send(pair.one, bytes, 5000), 0);
	peek(pair.other, 5000, 1);
	pair_close(&pair);
}

/* The largest ring, with the largest records, and loans of the largest size, one of them beyond 4 GiB. Only
 * the ends of each are written, so most of this memory is never there. */
TEST(the_largest_records_and_loans)
{
#if UINTPTR_MAX > UINT32_MAX
	const uint64_t area_size = UINT64_C(7) << 30;
	const struct ivshmem_channel_options options = {
		.struct_size = sizeof(options), .ring_size = RING_MAX_SIZE};
	struct ivshmem_channel_status status = {.struct_size = sizeof(status)};
	struct ivshmem_participant *here, *there;
	struct ivshmem_channel *one, *other;
	uint8_t *bytes;
	const uint8_t *record;

	stage_open(2, area_size);
	here = stage_join(0);
	there = stage_join(1);
	other = stage_listen(there, IVSHMEM_QUEUE);
	CHECK_EQ(ivshmem_connect(&one, here, STAGE_NAME, IVSHMEM_QUEUE, &options, 0, NULL), 0);
	other = stage_accept(other);
	CHECK_EQ(ivshmem_channel_status(one, &status), 0);
	CHECK_EQ(status.max_record, (UINT64_C(1) << 30) - 16);
	for (unsigned i = 0; i < 5; i++) {
		CHECK_EQ(ivshmem_queue_reserve(one, status.max_record, (void **)&bytes), 0);
		bytes[0] = bytes[status.max_record - 1] = (uint8_t)(i + 1);
		CHECK_EQ(ivshmem_queue_commit(one, status.max_record), 0);
		CHECK_EQ(ivshmem_queue_flush(one), 0);
		CHECK_EQ(ivshmem_queue_peek(other, (const void **)&record), status.max_record);
		CHECK_EQ(record[0], i + 1);
		CHECK_EQ(record[status.max_record - 1], i + 1);
		CHECK_EQ(ivshmem_queue_release(other), 0);
	}
	for (unsigned i = 0; i < 2; i++) {
		bytes = take(one, RING_MAX_SIZE);
		bytes[0] = bytes[RING_MAX_SIZE - 1] = (uint8_t)(i + 10);
		CHECK_EQ(ivshmem_loan_send(one, bytes, RING_MAX_SIZE), 0);
		CHECK_EQ(ivshmem_queue_peek(other, (const void **)&record), RING_MAX_SIZE);
		CHECK_EQ(ivshmem_loan_keep(other, record), 0);
		CHECK_EQ(ivshmem_queue_release(other), 0);
		CHECK_EQ(record[0], i + 10);
		CHECK_EQ(record[RING_MAX_SIZE - 1], i + 10);
	}
	CHECK(record - map_area(&stage.map, here->area) > (int64_t)UINT32_MAX);
	ivshmem_participant_close(here);
	ivshmem_participant_close(there);
	stage_close();
#else
	SKIP("an area of 7 GiB needs pointers of 64 bits");
#endif
}

/* ---- mistakes -------------------------------------------------------------------------------- */

TEST(what_is_no_loan)
{
	const void *record;
	struct pair pair;
	uint8_t *bytes;
	void *place;

	pair_open(&pair);
	CHECK_EQ(ivshmem_loan_take(pair.one, 0, &place), -EINVAL);
	CHECK_EQ(ivshmem_loan_take(pair.one, (size_t)RING_MAX_SIZE + 1, &place), -EINVAL);
	CHECK_EQ(ivshmem_loan_send(pair.one, pair.room.memory, 1), -EINVAL);
	CHECK_EQ(ivshmem_loan_drop(pair.one, NULL), -EINVAL);
	bytes = take(pair.one, 100);
	CHECK_EQ(ivshmem_loan_send(pair.one, bytes, 101), -EINVAL);
	CHECK_EQ(ivshmem_loan_send(pair.one, bytes + 1, 1), -EINVAL);
	CHECK_EQ(ivshmem_loan_send(pair.other, bytes, 1), -EINVAL);
	CHECK_EQ(ivshmem_loan_send(pair.one, bytes, 0), 0);
	CHECK_EQ(ivshmem_loan_send(pair.one, bytes, 0), -EINVAL);
	CHECK_EQ(ivshmem_loan_drop(pair.one, bytes), -EINVAL);

	CHECK_EQ(ivshmem_loan_keep(pair.other, NULL), -EINVAL);
	CHECK_EQ(ivshmem_queue_peek(pair.other, &record), 0);
	CHECK_EQ(ivshmem_loan_keep(pair.other, NULL), -EINVAL);
	CHECK_EQ(ivshmem_loan_keep(pair.other, (const char *)record + 1), -EINVAL);
	CHECK_EQ(ivshmem_queue_release(pair.other), 0);
	CHECK_EQ(ivshmem_loan_keep(pair.other, record), -EINVAL);
	CHECK_EQ(ivshmem_loan_return(pair.other, record), -EINVAL);
	CHECK_EQ(ivshmem_loan_return(pair.other, NULL), -EINVAL);

	/* An ordinary record cannot be kept. */
	CHECK_EQ(ivshmem_queue_send(pair.one, "x", 1), 0);
	CHECK_EQ(ivshmem_queue_peek(pair.other, &record), 1);
	CHECK_EQ(ivshmem_loan_keep(pair.other, record), -EINVAL);
	pair_close(&pair);
}

TEST(other_kinds_have_no_loans)
{
	struct ivshmem_participant *here, *there;
	struct ivshmem_channel *one, *other, *listener;
	struct room room;
	void *bytes;

	room_open_pair(&room, &here, &there);
	room_connect(here, there, IVSHMEM_STREAM, RING, &one, &other);
	CHECK_EQ(ivshmem_loan_take(one, 100, &bytes), -EINVAL);
	CHECK_EQ(ivshmem_listen(&listener, here, "q", IVSHMEM_QUEUE, NULL, NULL), 0);
	CHECK_EQ(ivshmem_loan_take(listener, 100, &bytes), -EINVAL);
	room_close_pair(&room, here, there);
}

/* ---- endings --------------------------------------------------------------------------------- */

/* Who closes leaves its loans to the other end, which still receives them. */
TEST(loans_outlive_the_channel_that_sent_them)
{
	struct pair pair;
	const void *record;
	size_t room;

	pair_open(&pair);
	room = free_heap(pair.here);
	lend(pair.one, 50000, 1);
	take(pair.one, 50000); /* not sent: nobody needs it */
	ivshmem_channel_close(pair.one);
	CHECK(free_heap(pair.here) >= room - 50000 - 128);
	record = keep(pair.other, 50000, 1);
	CHECK_EQ(ivshmem_queue_peek(pair.other, &record), -EPIPE);
	ivshmem_channel_close(pair.other);
	CHECK_EQ(ivshmem_participant_dispatch(pair.here), 0);
	/* With the ring. */
	CHECK(free_heap(pair.here) >= room + RING);
	pair_close(&pair);
}

TEST(who_closes_with_loans_gives_them_back)
{
	struct pair pair;
	size_t room;
	void *bytes;

	pair_open(&pair);
	room = free_heap(pair.here);
	lend(pair.one, 50000, 1);
	keep(pair.other, 50000, 1);
	ivshmem_channel_close(pair.other);
	CHECK_EQ(ivshmem_participant_dispatch(pair.here), 0);
	CHECK_EQ(ivshmem_loan_take(pair.one, 100, &bytes), -EPIPE);
	ivshmem_channel_close(pair.one);
	CHECK(free_heap(pair.here) >= room + RING);
	pair_close(&pair);
}

/* The sender dies, and another one takes its area, which becomes zero. */
static void
take_area_over(struct pair *pair)
{
	unsigned area = pair->here->area;

	participant_mark_dead(pair->here);
	/* Areas that nobody ever had come first. */
	do {
		ivshmem_participant_close(pair->here);
		pair->here = room_join(&pair->room, 2);
	} while (pair->here->area != area);
}

TEST(a_loan_whose_sender_s_area_has_another_owner)
{
	const void *first, *second, *record;
	struct pair pair;

	pair_open(&pair);
	lend(pair.one, 1000, 1);
	lend(pair.one, 1000, 2);
	lend(pair.one, 1000, 3);
	first = keep(pair.other, 1000, 1);
	second = keep(pair.other, 1000, 2);
	record = peek(pair.other, 1000, 3);
	CHECK_EQ(ivshmem_loan_keep(pair.other, record), 0);
	/* While nobody needs the area, the dead one's records are what it has sent. */
	participant_mark_dead(pair.here);
	CHECK_EQ(ivshmem_loan_return(pair.other, first), 0);
	take_area_over(&pair);
	CHECK_EQ(ivshmem_loan_return(pair.other, first), -EINVAL);
	CHECK_EQ(ivshmem_loan_return(pair.other, second), -ECONNRESET);
	CHECK_EQ(ivshmem_loan_return(pair.other, second), -EINVAL);
	/* This one was not released yet. */
	CHECK_EQ(ivshmem_loan_return(pair.other, record), -ECONNRESET);
	CHECK_EQ(ivshmem_queue_release(pair.other), -ECONNRESET);
	CHECK_EQ(ivshmem_queue_peek(pair.other, &record), -ECONNRESET);
	ivshmem_channel_close(pair.other);
	pair_close(&pair);
}

/* Why the channel has ended before says nothing of the loan. */
TEST(a_loan_of_a_channel_that_has_failed)
{
	const void *first, *second;
	struct pair pair;

	pair_open(&pair);
	lend(pair.one, 1000, 1);
	lend(pair.one, 1000, 2);
	first = keep(pair.other, 1000, 1);
	second = keep(pair.other, 1000, 2);
	channel_fail(pair.other, -EPROTO);
	CHECK_EQ(ivshmem_loan_return(pair.other, first), 0);
	take_area_over(&pair);
	CHECK_EQ(ivshmem_loan_return(pair.other, second), -ECONNRESET);
	pair_close(&pair);
}

/* Then the sender takes back what it has lent. */
TEST(a_loan_of_one_who_was_declared_dead)
{
	struct pair pair;
	const void *kept;

	pair_open(&pair);
	lend(pair.one, 1000, 1);
	kept = keep(pair.other, 1000, 1);
	participant_mark_dead(pair.there);
	CHECK_EQ(ivshmem_loan_return(pair.other, kept), -ESTALE);
	CHECK_EQ(ivshmem_loan_return(pair.other, kept), -EINVAL);
	pair_close(&pair);
}

/* Before the other end has accepted. */
TEST(loans_that_wait_to_be_accepted)
{
	struct ivshmem_channel *listener, *channel, *other;
	struct ivshmem_participant *here, *there;
	struct room room;
	void *bytes;

	room_open_pair(&room, &here, &there);
	CHECK_EQ(ivshmem_listen(&listener, there, "q", IVSHMEM_QUEUE, NULL, NULL), 0);
	CHECK_EQ(ivshmem_connect(&channel, here, "q", IVSHMEM_QUEUE, NULL, 0, NULL), 0);
	for (unsigned i = 0; i < IVSHMEM_LOANS_MAX; i++)
		lend(channel, 200, i);
	CHECK_EQ(ivshmem_loan_take(channel, 200, &bytes), -EAGAIN);
	CHECK_EQ(ivshmem_accept(&other, listener), 0);
	for (unsigned i = 0; i < IVSHMEM_LOANS_MAX; i++) {
		peek(other, 200, i);
		CHECK_EQ(ivshmem_queue_release(other), 0);
	}
	CHECK_EQ(ivshmem_participant_dispatch(here), 0);
	take(channel, 200);
	room_close_pair(&room, here, there);
}

/* ---- waking ---------------------------------------------------------------------------------- */

TEST(who_waits_for_a_loan_is_rung_once)
{
	struct pair pair;
	const void *first, *second;
	unsigned rings;
	void *bytes;
	int fd;

	pair_open(&pair);
	fd = ivshmem_channel_fd(pair.one);
	CHECK(fd >= 0);
	for (unsigned round = 0; round < 50; round++) {
		lend(pair.one, 200000, 1);
		lend(pair.one, 1000, 2);
		first = keep(pair.other, 200000, 1);
		second = keep(pair.other, 1000, 2);
		CHECK_EQ(ivshmem_loan_take(pair.one, 200000, &bytes), -EAGAIN);
		CHECK(!is_readable(fd));
		rings = pair.room.n_rings;
		CHECK_EQ(ivshmem_loan_return(pair.other, first), 0);
		CHECK_EQ(ivshmem_loan_return(pair.other, second), 0);
		CHECK_EQ(pair.room.n_rings, rings + 1);
		CHECK(is_readable(fd));
		CHECK(take(pair.one, 200000) == first);
		CHECK_EQ(ivshmem_loan_drop(pair.one, (void *)(uintptr_t)first), 0);
		/* Nobody waits now. */
		lend(pair.one, 1000, 3);
		rings = pair.room.n_rings;
		CHECK_EQ(ivshmem_loan_return(pair.other, keep(pair.other, 1000, 3)), 0);
		CHECK_EQ(pair.room.n_rings, rings);
	}
	CHECK_EQ(ivshmem_participant_rescues(pair.here), 0);
	pair_close(&pair);
}
