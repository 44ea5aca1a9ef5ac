/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Topics: records of one publisher, for any number of readers.
 *
 * Theory of operation. There is one ring, in the publisher's area, as in a queue, and each reader
 * has a position of its own. Each record begins with its number. The publisher may overwrite what
 * readers have not read yet: it says so before it does, by moving `head` of its entry, before which
 * nothing is valid. A reader looks at `head` after it has copied a record, and drops what it copied
 * if that was overwritten. Then it goes on at `resume`, where the publisher says that a record
 * begins, and the next number tells how many it has missed.
 *
 * How long a reader can keep the publisher from overwriting is the publisher's patience. A reader
 * that was overtaken does not count until it has gone on.
 */
#include <channel/channel.h>

#include <base/clock.h>

#include <errno.h>

/* A reader that is overtaken more often than this comes back later. */
#define TRIES  64
#define PREFIX ((uint32_t)sizeof(uint64_t)) /* the number */

/* ---- publishing ------------------------------------------------------------------------------ */

/* How far the slowest reader is that was not overtaken; or `tail`. */
static uint64_t
slowest(struct ivshmem_channel *channel)
{
	const struct ring_writer *writer = &channel->writer;
	uint64_t least = writer->tail;

	for (unsigned i = 0; i < subscribers_look(channel); i++) {
		uint64_t head = word_acquire(&channel->subscribers[i].theirs->head);

		/* Before `head`, or past the end, is where it cannot be. */
		if (head - writer->head <= writer->tail - writer->head &&
			head - writer->head < least - writer->head)
			least = head;
	}
	return least;
}

/* From here on, nobody may be reading what is overwritten. */
static void
overtake(struct ivshmem_channel *channel, uint64_t head)
{
	struct ring_writer *writer = &channel->writer;

	if (head == writer->head)
		return;
	/* Whoever sees that it was overtaken finds a place to go on that is not. */
	if (channel->resume - writer->head < head - writer->head) {
		channel->resume = writer->tail;
		word_store(&channel->own->resume, channel->resume);
	}
	writer->head = head;
	word_release(&channel->own->head, head);
	/* Before the first byte of what overwrites it. */
	word_fence();
}

/* Up to where a record may overwrite that needs what is before `needed`. What was published lately
 * stays, if possible, for those who were overtaken. */
static uint64_t
droppable(struct ivshmem_channel *channel, uint64_t needed)
{
	uint64_t head = channel->writer.head;
	uint64_t enough = (int64_t)(needed - channel->resume) > 0 ? needed : channel->resume;
	uint64_t least = slowest(channel);

	return least - head < enough - head ? least : enough;
}

/* Whether we have waited for slow readers as long as we may. */
static bool
is_out_of_patience(struct ivshmem_channel *channel)
{
	uint64_t now, end;

	if (channel->patience_ms <= 0)
		return channel->patience_ms == 0;
	now = clock_now();
	if (channel->slow_since == 0)
		channel->slow_since = now;
	end = channel->slow_since + (uint64_t)channel->patience_ms * NSEC_PER_MSEC;
	if (now >= end)
		return true;
	participant_look_at(channel->participant, end);
	return false;
}

/* Make room for a record of this length, and some more. -EAGAIN: a reader needs it. */
static int
make_room(struct ivshmem_channel *channel, uint32_t length)
{
	struct ring_writer *writer = &channel->writer;
	uint64_t needed = ring_needs(writer, length);
	uint64_t more = needed + writer->size / 8;

	participant_look(channel->participant);
	if (channel->error != 0)
		return channel->error;
	overtake(channel, droppable(channel, needed));
	if ((int64_t)(needed - writer->head) > 0) {
		if (!is_out_of_patience(channel))
			return -EAGAIN;
		overtake(
			channel, more - writer->head < writer->tail - writer->head ? more : needed);
	}
	channel->slow_since = 0;
	return 0;
}

bool
topic_is_writable(struct ivshmem_channel *channel)
{
	struct ring_writer writer = channel->writer;

	writer.head = slowest(channel);
	if (!ring_has_space(&writer, channel->wanted))
		return is_out_of_patience(channel);
	channel->slow_since = 0;
	return true;
}

/* The reader that was overtaken goes on in the middle of what there is. */
static void
move_resume(struct ivshmem_channel *channel, uint64_t start)
{
	if (start - channel->resume <= channel->writer.size / 4)
		return;
	channel->resume = start;
	word_release(&channel->own->resume, start);
}

static int
reserve(struct ivshmem_channel *channel, uint32_t length, void **ret_place)
{
	int r = ring_reserve(&channel->writer, length, &channel->writer.head, ret_place);

	if (r != -EAGAIN)
		return r;
	r = make_room(channel, length);
	channel->wanted = r == -EAGAIN ? length : 0;
	if (r == -EAGAIN && channel_is_polled(channel)) {
		channel_ask(channel, IVSHMEM_WRITABLE);
		r = make_room(channel, length);
	}
	return r < 0 ? r : ring_reserve(&channel->writer, length, &channel->writer.head, ret_place);
}

EXPORT int
ivshmem_topic_publish(struct ivshmem_channel *channel, const void *record, size_t length)
{
	uint64_t number = channel->number + 1;
	uint64_t from = channel->writer.published;
	void *place;
	int r;

	if (channel->kind != IVSHMEM_TOPIC || !channel_is_publisher(channel))
		return -EINVAL;
	if (participant_is_lost(channel->participant))
		return channel->error;
	if (length > ring_max_record(channel->writer.size) - PREFIX)
		return -EMSGSIZE;
	r = reserve(channel, (uint32_t)length + PREFIX, &place);
	if (r < 0)
		return r;
	channel_copy_in(channel, place, &number, PREFIX);
	channel_copy_in(channel, (char *)place + PREFIX, record, length);
	ring_commit(&channel->writer, (uint32_t)length + PREFIX);
	ring_publish(&channel->writer);
	move_resume(channel, from);
	word_store(&channel->own->begun, number);
	channel_settle(channel);
	word_release(&channel->own->tail, channel->writer.published);
	channel_settle(channel);
	word_release(&channel->own->done, number);
	channel->number = number;
	channel->flushed = channel->writer.published;
	subscribers_tell(channel, from, channel->writer.published);
	return channel->error;
}

/* ---- reading --------------------------------------------------------------------------------- */

int
topic_subscribe(struct ivshmem_channel *channel)
{
	int r;

	channel->theirs =
		map_entry(&channel->participant->map, channel->peer_area, channel->peer_entry);
	r = channel_take_ring(channel, channel->theirs);
	if (r < 0)
		return r;
	channel->ring_size = channel->reader.size;
	/* The number is right if it did not change while we looked; otherwise the first record
	 * tells. */
	for (unsigned tries = 0; tries < TRIES && !channel->numbered; tries++) {
		channel->number = word_acquire(&channel->theirs->done);
		channel->reader.position = word_acquire(&channel->theirs->tail);
		channel->numbered = word_load(&channel->theirs->begun) == channel->number;
	}
	ring_move(&channel->reader, channel->reader.position);
	word_release(&channel->own->head, channel->reader.position);
	channel->connected = true;
	return channel->reader.position % RING_HEADER == 0 ? 0 : -EPROTO;
}

bool
topic_is_overtaken(const struct ivshmem_channel *channel)
{
	/* After what was copied, and before `resume`. */
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return (int64_t)(word_acquire(&channel->theirs->head) - channel->reader.position) > 0;
}

/* Go on where the publisher says. 0, or -EPROTO. */
static int
go_on(struct ivshmem_channel *channel)
{
	uint64_t resume = word_acquire(&channel->theirs->resume);

	if (resume % RING_HEADER != 0 || (int64_t)(resume - channel->reader.position) <= 0)
		return channel_fail_protocol(channel);
	channel->reader.position = channel->reader.next = resume;
	channel_tell_position(channel);
	return 0;
}

/* The next record, with its number: 0, or -EAGAIN, or how it ended. It may be overtaken
 * meanwhile. */
static int
next_record(
	struct ivshmem_channel *channel, bool may_ask, const void **ret_place, uint32_t *ret_length)
{
	for (unsigned tries = 0; tries < TRIES; tries++) {
		int r;

		if (channel->error != 0)
			return channel->error;
		if (topic_is_overtaken(channel)) {
			r = go_on(channel);
			if (r < 0)
				return r;
			continue;
		}
		r = channel_peek(channel, may_ask, ret_place, ret_length);
		if (r != -EAGAIN || !topic_is_overtaken(channel))
			return r;
	}
	return -EAGAIN;
}

bool
topic_is_readable(struct ivshmem_channel *channel)
{
	const void *place;
	uint32_t length;

	return next_record(channel, false, &place, &length) != -EAGAIN;
}

EXPORT int64_t
ivshmem_topic_receive(
	struct ivshmem_channel *channel, void *buffer, size_t size, uint64_t *ret_missed)
{
	uint64_t number = 0;
	uint32_t length;
	const void *place;
	int r;

	if (channel->kind != IVSHMEM_TOPIC || !channel_is_subscription(channel))
		return -EINVAL;
	for (unsigned tries = 0;; tries++) {
		r = next_record(channel, true, &place, &length);
		if (r < 0)
			return r;
		if (length >= PREFIX) {
			channel_copy_out(channel, &number, place, PREFIX);
			channel_copy_out(channel, buffer, (const char *)place + PREFIX,
				length - PREFIX < size ? length - PREFIX : size);
		}
		r = channel_confirm(channel);
		if (r < 0)
			return r;
		if (!topic_is_overtaken(channel))
			break;
		if (tries == TRIES)
			return -EAGAIN;
	}
	if (length < PREFIX)
		return channel_fail_protocol(channel);
	length -= PREFIX;
	if (channel->numbered && number <= channel->number)
		return channel_fail_protocol(channel);
	if (length > size)
		return -EMSGSIZE;
	*ret_missed = channel->numbered ? number - channel->number - 1 : 0;
	channel->number = number;
	channel->numbered = true;
	channel_release(channel);
	return (int64_t)length;
}
