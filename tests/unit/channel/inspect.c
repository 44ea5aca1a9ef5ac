/* SPDX-License-Identifier: BSD-2-Clause */

/* What everybody sees of channels: how much was sent, and was not received. */

#include "channel_room.h"

#include <test.h>

#include <ivshmem/client.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define RING     4096
#define RECORD   100
#define STEP     112 /* with its header, up to the next one */
#define EIGHTH   (RING / 8)
#define NOWHERE  UINT64_C(0x123456789abcde)
#define BIG_RING (UINT32_C(1) << 24)

struct search {
	unsigned area, entry;
	struct ivshmem_channel_info found;
};

static int
search_channel(void *data, const struct ivshmem_channel_info *info)
{
	struct search *search = data;

	if (info->area != search->area || info->entry != search->entry)
		return 0;
	search->found = *info;
	return 1;
}

static struct ivshmem_channel_info
look_at(const struct ivshmem_channel *channel)
{
	struct search search = {channel->participant->area, channel->entry, {.area = 0}};

	CHECK_EQ(ivshmem_channels(channel->participant, search_channel, &search), 1);
	return search.found;
}

static void
send_some(struct ivshmem_channel *channel, unsigned n)
{
	static const char record[RECORD];

	for (unsigned i = 0; i < n; i++)
		CHECK_EQ(ivshmem_queue_send(channel, record, RECORD), 0);
}

static void
receive_some(struct ivshmem_channel *channel, unsigned n)
{
	char record[RECORD];

	for (unsigned i = 0; i < n; i++)
		CHECK_EQ(ivshmem_queue_receive(channel, record, RECORD), RECORD);
}

/* Who looks at an empty ring again and again says how far it has received. */
static void
find_nothing(struct ivshmem_channel *channel)
{
	const void *record;

	for (unsigned i = 0; i < 100; i++)
		CHECK_EQ(ivshmem_queue_peek(channel, &record), -EAGAIN);
}

struct pair {
	struct room room;
	struct ivshmem_participant *here, *there;
	struct ivshmem_channel *one, *other;
};

static void
pair_open(struct pair *pair, enum ivshmem_channel_kind kind)
{
	room_open_pair(&pair->room, &pair->here, &pair->there);
	room_connect(pair->here, pair->there, kind, RING, &pair->one, &pair->other);
}

static void
pair_close(struct pair *pair)
{
	room_close_pair(&pair->room, pair->here, pair->there);
}

/* ---- rings ----------------------------------------------------------------------------------- */

TEST(what_was_sent_and_not_received)
{
	struct ivshmem_channel_info one, other;
	struct pair pair;

	pair_open(&pair, IVSHMEM_QUEUE);
	for (unsigned round = 0; round < 100; round++) {
		uint64_t before = look_at(pair.one).sent;

		CHECK_EQ(look_at(pair.one).unread, 0);
		send_some(pair.one, 20);
		one = look_at(pair.one);
		CHECK_EQ(one.unread, one.sent - before);
		/* There may be a filler. */
		CHECK(one.unread >= 20 * STEP && one.unread < 20 * STEP + STEP);
		receive_some(pair.other, 10);
		/* The reader says late how far it is. */
		one = look_at(pair.one);
		CHECK(one.unread >= 10 * STEP && one.unread < 10 * STEP + STEP + EIGHTH);
		receive_some(pair.other, 10);
		find_nothing(pair.other);
		other = look_at(pair.other);
		CHECK_EQ(other.received, look_at(pair.one).sent);
		CHECK(other.sent == 0 && other.unread == 0 && other.number == 0);
	}
	CHECK(look_at(pair.one).sent > 50 * RING);
	pair_close(&pair);
}

TEST(what_was_committed_only_is_not_sent)
{
	struct pair pair;
	void *place;

	pair_open(&pair, IVSHMEM_QUEUE);
	CHECK_EQ(ivshmem_queue_reserve(pair.one, RECORD, &place), 0);
	CHECK_EQ(ivshmem_queue_commit(pair.one, RECORD), 0);
	CHECK_EQ(look_at(pair.one).sent, 0);
	CHECK_EQ(ivshmem_queue_flush(pair.one), 0);
	CHECK_EQ(look_at(pair.one).sent, STEP);
	pair_close(&pair);
}

TEST(streams_and_calls_have_rings_too)
{
	struct pair pair;
	char bytes[1000] = {0};
	uint64_t call;

	pair_open(&pair, IVSHMEM_STREAM);
	CHECK_EQ(ivshmem_stream_write(pair.other, bytes, sizeof(bytes)), sizeof(bytes));
	CHECK(look_at(pair.other).unread > sizeof(bytes));
	CHECK_EQ(look_at(pair.one).unread, 0);
	pair_close(&pair);

	pair_open(&pair, IVSHMEM_CALL);
	CHECK_EQ(ivshmem_call_start(pair.one, bytes, RECORD, -1, &call), 0);
	CHECK_EQ(look_at(pair.one).unread, STEP + 16);
	pair_close(&pair);
}

TEST(a_loan_is_a_short_record)
{
	struct pair pair;
	void *bytes;

	pair_open(&pair, IVSHMEM_QUEUE);
	CHECK_EQ(ivshmem_loan_take(pair.one, 10000, &bytes), 0);
	CHECK_EQ(ivshmem_loan_send(pair.one, bytes, 10000), 0);
	send_some(pair.one, 1);
	CHECK_EQ(look_at(pair.one).unread, 8 + sizeof(struct layout_loan) + STEP);
	pair_close(&pair);
}

/* Nobody has accepted yet; and whoever connected does not know yet that somebody has. */
TEST(what_waits_for_a_listener)
{
	struct ivshmem_channel *listener, *one, *other;
	struct ivshmem_participant *here, *there;
	struct room room;

	room_open_pair(&room, &here, &there);
	CHECK_EQ(ivshmem_listen(&listener, there, "a", IVSHMEM_QUEUE, NULL, NULL), 0);
	CHECK_EQ(ivshmem_connect(&one, here, "a", IVSHMEM_QUEUE, NULL, 0, NULL), 0);
	send_some(one, 3);
	CHECK_EQ(look_at(one).unread, 3 * STEP);
	CHECK_EQ(look_at(listener).unread, 0);

	CHECK_EQ(ivshmem_accept(&other, listener), 0);
	receive_some(other, 3);
	find_nothing(other);
	/* It is `there` who looks: `here` would notice. */
	struct search search = {here->area, one->entry, {.area = 0}};
	CHECK_EQ(ivshmem_channels(there, search_channel, &search), 1);
	CHECK_STR(search.found.phase, "connecting");
	CHECK_EQ(search.found.sent, 3 * STEP);
	CHECK_EQ(search.found.unread, 0);
	room_close_pair(&room, here, there);
}

TEST(an_entry_that_is_used_again_is_another_channel)
{
	struct ivshmem_channel *listener;
	struct ivshmem_participant *here, *there;
	uint32_t before;
	struct room room;

	room_open_pair(&room, &here, &there);
	CHECK_EQ(ivshmem_listen(&listener, here, "a", IVSHMEM_QUEUE, NULL, NULL), 0);
	before = look_at(listener).generation;
	ivshmem_channel_close(listener);
	CHECK_EQ(ivshmem_listen(&listener, here, "a", IVSHMEM_QUEUE, NULL, NULL), 0);
	CHECK_EQ(look_at(listener).entry, 0);
	CHECK_EQ(look_at(listener).generation, before + 1);
	room_close_pair(&room, here, there);
}

/* The reader may have gone on with another channel: nobody knows then what it has received of this one. */
TEST(an_other_end_that_is_another_one_by_now)
{
	struct pair pair;

	pair_open(&pair, IVSHMEM_QUEUE);
	send_some(pair.one, 3);
	CHECK_EQ(look_at(pair.one).unread, 3 * STEP);
	pair.other->own->peer++;
	CHECK_EQ(look_at(pair.one).unread, 0);
	CHECK_EQ(look_at(pair.one).sent, 0);
	pair.other->own->peer--;
	pair.other->own->peer_generation++;
	CHECK_EQ(look_at(pair.one).sent, 0);
	pair.other->own->peer_generation--;
	CHECK_EQ(look_at(pair.one).sent, 3 * STEP);
	pair_close(&pair);
}

/* ---- what is published ----------------------------------------------------------------------- */

static void
open_published(struct pair *pair, enum ivshmem_channel_kind kind)
{
	const struct ivshmem_channel_options options = {
		.struct_size = sizeof(options), .ring_size = RING};

	room_open_pair(&pair->room, &pair->here, &pair->there);
	CHECK_EQ(ivshmem_listen(&pair->one, pair->here, "a", kind, &options, NULL), 0);
	CHECK_EQ(ivshmem_connect(&pair->other, pair->there, "a", kind, NULL, 0, NULL), 0);
}

TEST(what_a_reader_of_a_topic_has_yet_to_read)
{
	struct ivshmem_channel_info publisher;
	struct pair pair;
	char record[RECORD] = {0};
	uint64_t missed;

	open_published(&pair, IVSHMEM_TOPIC);
	for (unsigned i = 0; i < 3; i++)
		CHECK_EQ(ivshmem_topic_publish(pair.one, record, RECORD), 0);
	publisher = look_at(pair.one);
	CHECK_EQ(publisher.number, 3);
	CHECK_EQ(publisher.sent, 3 * (STEP + 8));
	CHECK_EQ(publisher.unread, 0);
	CHECK_EQ(look_at(pair.other).unread, publisher.sent);
	while (ivshmem_topic_receive(pair.other, record, RECORD, &missed) >= 0)
		;
	CHECK_EQ(ivshmem_channel_wait(pair.other, IVSHMEM_READABLE, 1), -ETIMEDOUT);
	CHECK_EQ(look_at(pair.other).unread, 0);
	CHECK_EQ(look_at(pair.other).received, publisher.sent);
	/* It cannot have more to read than was not overwritten. */
	for (unsigned i = 0; i < 1000; i++)
		CHECK_EQ(ivshmem_topic_publish(pair.one, record, RECORD), 0);
	CHECK(look_at(pair.other).unread <= RING);
	CHECK_EQ(look_at(pair.one).number, 1003);
	pair_close(&pair);
}

TEST(how_many_values_a_state_had)
{
	struct pair pair;
	char value[RECORD] = {0};

	open_published(&pair, IVSHMEM_STATE);
	for (unsigned i = 0; i < 7; i++)
		CHECK_EQ(ivshmem_state_publish(pair.one, value, RECORD), 0);
	CHECK_EQ(look_at(pair.one).number, 7);
	CHECK_EQ(look_at(pair.one).sent, 0);
	CHECK_EQ(look_at(pair.other).unread, 0);
	pair_close(&pair);
}

/* ---- participants ---------------------------------------------------------------------------- */

TEST(what_became_of_a_participant)
{
	struct ivshmem_participant *here, *left, *dead;
	struct room room;

	room_open_pair(&room, &here, &left);
	dead = room_join(&room, 2);
	CHECK_EQ(ivshmem_participant_fate(here, 0, 1), 1);
	CHECK_EQ(ivshmem_participant_fate(here, 1, 1), 1);
	CHECK_EQ(ivshmem_participant_fate(here, 1, 2), -ENOENT);
	CHECK_EQ(ivshmem_participant_fate(here, 3, 0), -ENOENT);
	CHECK_EQ(ivshmem_participant_fate(here, here->map.n_areas, 0), -ENOENT);
	ivshmem_participant_close(left);
	room_die(&room, 2);
	CHECK_EQ(ivshmem_participant_fate(here, 1, 1), 0);
	CHECK_EQ(ivshmem_participant_fate(here, 2, 1), -ECONNRESET);
	/* There may be any state. */
	*map_claim(&here->map, 2) = UINT64_MAX;
	CHECK_EQ(ivshmem_participant_fate(here, 2, UINT32_MAX), -ENOENT);
	ivshmem_participant_close(dead);
	ivshmem_participant_close(here);
	room_close(&room);
}

/* The same for those who only look: through a client of memory alone. */
static struct ivshmem_client *
look_on(const struct room *room)
{
	char target[64];
	struct ivshmem_client *client;
	int fd = memfd_create("region", MFD_CLOEXEC);

	CHECK_SYS(fd);
	CHECK_EQ(write(fd, room->memory, room->size), (ssize_t)room->size);
	snprintf(target, sizeof(target), "file:/proc/self/fd/%d,ro", fd);
	CHECK_EQ(ivshmem_attach(&client, target, NULL, NULL), 0);
	CHECK_SYS(close(fd));
	return client;
}

static int
count_those_here(void *data, const struct ivshmem_participant_info *info)
{
	unsigned *n = data;

	CHECK_EQ(info->pid, getpid());
	*n += info->here;
	return 0;
}

TEST(what_an_onlooker_sees_of_a_participant)
{
	struct ivshmem_participant *here, *left;
	struct ivshmem_client *client;
	struct room room;
	unsigned n = 0;

	room_open_pair(&room, &here, &left);
	client = look_on(&room);
	CHECK_EQ(ivshmem_channels_fate(client, 0, 1), 1);
	CHECK_EQ(ivshmem_channels_fate(client, 1, 2), -ENOENT);
	CHECK_EQ(ivshmem_channels_fate(client, 99, 1), -ENOENT);
	CHECK(ivshmem_channels_look(client, count_those_here, NULL, &n, NULL) > 0);
	CHECK_EQ(n, 2);
	ivshmem_detach(client);

	/* One whose process has another start time, and so is gone; one of another machine. */
	map_identity(&here->map, 0)->started++;
	map_identity(&here->map, 1)->kernel++;
	client = look_on(&room);
	CHECK_EQ(ivshmem_channels_fate(client, 0, 1), -ECONNRESET);
	CHECK_EQ(ivshmem_channels_fate(client, 1, 1), 1);
	n = 0;
	CHECK(ivshmem_channels_look(client, count_those_here, NULL, &n, NULL) > 0);
	CHECK_EQ(n, 0);
	ivshmem_detach(client);

	ivshmem_participant_close(left);
	client = look_on(&room);
	CHECK_EQ(ivshmem_channels_fate(client, 1, 1), 0);
	ivshmem_detach(client);
	ivshmem_participant_close(here);
	memset(room.memory, 0, room.size);
	client = look_on(&room);
	CHECK_EQ(ivshmem_channels_fate(client, 0, 1), -ENOENT);
	ivshmem_detach(client);
	room_close(&room);
}

/* ---- nonsense -------------------------------------------------------------------------------- */

TEST(words_that_make_no_sense)
{
	struct pair pair;

	pair_open(&pair, IVSHMEM_QUEUE);
	send_some(pair.one, 3);
	/* The reader's position. */
	for (uint64_t head = 0; head < 2 * RING; head++) {
		pair.other->own->head = head;
		CHECK(look_at(pair.one).unread <= RING);
	}
	pair.other->own->head = NOWHERE;
	CHECK_EQ(look_at(pair.one).unread, 0);
	pair.other->own->head = 0;
	CHECK_EQ(look_at(pair.one).unread, 3 * STEP);
	/* Where the ring is. */
	for (unsigned shift = 0; shift < 64; shift++) {
		uint64_t offset = pair.one->own->ring_offset;

		pair.one->own->ring_offset = (UINT64_C(1) << shift) - LAYOUT_LINE;
		CHECK(look_at(pair.one).unread <= RING);
		pair.one->own->ring_offset = offset;
	}
	for (unsigned shift = 0; shift < 32; shift++) {
		pair.one->own->ring_size = (UINT32_C(1) << shift) + (shift % 2);
		CHECK(look_at(pair.one).unread <= RING);
	}
	pair.one->own->ring_size = RING;
	/* Who the other end is. */
	for (unsigned shift = 0; shift < 64; shift++) {
		pair.one->own->peer ^= UINT64_C(1) << shift;
		CHECK_EQ(look_at(pair.one).sent, 0);
		pair.one->own->peer ^= UINT64_C(1) << shift;
	}
	CHECK_EQ(look_at(pair.one).unread, 3 * STEP);
	pair_close(&pair);
}

static int
count_senders(void *data, const struct ivshmem_channel_info *info)
{
	unsigned *n = data;

	if (info->sent == 0)
		return 0;
	++*n;
	CHECK(info->sent > 8 * 1000000 && info->sent < BIG_RING);
	return 0;
}

/* Each entry of an area names the same ring, which is full of empty records. */
TEST(work_has_a_bound)
{
	struct ivshmem_participant *hostile, *other;
	unsigned n = 0;
	uint64_t *ring;

	stage_open(2, 2 * BIG_RING);
	hostile = stage_join(0);
	other = stage_join(1);
	ring = (uint64_t *)(void *)(map_area(&hostile->map, 0) + hostile->map.heap_offset);
	for (uint32_t i = 0; i < BIG_RING / sizeof(*ring); i++)
		ring[i] = RING_RECORD;
	for (unsigned i = 0; i < hostile->map.n_entries; i++) {
		struct layout_entry *entry = map_entry(&hostile->map, 0, i);

		entry->ring_offset = hostile->map.heap_offset;
		entry->ring_size = BIG_RING;
		entry->state = layout_state(1, IVSHMEM_QUEUE, LAYOUT_CONNECTING);
	}
	CHECK_EQ(ivshmem_channels(other, count_senders, &n), 0);
	CHECK_EQ(n, 1);
	ivshmem_participant_close(hostile);
	ivshmem_participant_close(other);
	stage_close();
}
