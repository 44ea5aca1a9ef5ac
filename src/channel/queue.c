/* SPDX-License-Identifier: BSD-2-Clause */

/* Queues: a record of the user is a record of the ring, or a loan that is described there. */
#include <channel/channel.h>

#include <errno.h>

static int
reserve(struct ivshmem_channel *channel, size_t length, void **ret_record)
{
	if (length > ring_max_record(channel->writer.size))
		return -EMSGSIZE;
	if (channel_reserve_here(channel, (uint32_t)length, ret_record))
		return 0;
	return channel_reserve(channel, (uint32_t)length, ret_record);
}

EXPORT int
ivshmem_queue_reserve(struct ivshmem_channel *channel, size_t length, void **ret_record)
{
	return channel_is_queue(channel) ? reserve(channel, length, ret_record) : -EINVAL;
}

EXPORT int
ivshmem_queue_commit(struct ivshmem_channel *channel, size_t length)
{
	if (!channel->writer.reserving || length > channel->writer.reserved)
		return -EINVAL;
	if (participant_is_lost(channel->participant))
		return channel->participant->lost;
	ring_commit(&channel->writer, (uint32_t)length);
	return 0;
}

EXPORT int
ivshmem_queue_publish(struct ivshmem_channel *channel)
{
	if (!channel_is_queue(channel))
		return -EINVAL;
	if (!participant_is_lost(channel->participant))
		ring_publish(&channel->writer);
	return channel_send_error(channel);
}

EXPORT int
ivshmem_queue_flush(struct ivshmem_channel *channel)
{
	if (!channel_is_queue(channel))
		return -EINVAL;
	channel_flush(channel);
	return channel_send_error(channel);
}

EXPORT int
ivshmem_queue_send(struct ivshmem_channel *channel, const void *record, size_t length)
{
	void *place;
	int r = ivshmem_queue_reserve(channel, length, &place);

	if (r < 0)
		return r;
	channel_copy_in(channel, place, record, length);
	ring_commit(&channel->writer, (uint32_t)length);
	channel_flush(channel);
	return 0;
}

/* Put as many of these records into the ring as find their place at once. */
static size_t
put_here(struct ivshmem_channel *channel, const struct ivshmem_record *records, size_t n)
{
	/* A copy stays in registers. For all that the compiler knows, a store to the ring changes the
	 * channel. */
	const struct ring_writer writer = channel->writer;
	struct ring_run run = ring_run_begin(&writer);
	bool is_first = writer.tail == writer.published;
	size_t i;

	if (participant_is_lost(channel->participant) || channel_send_error(channel) != 0)
		return 0;
	for (i = 0; i < n && ring_run_fits(&run, records[i].length); i++) {
		channel_copy_in(
			channel, run.place + RING_HEADER, records[i].bytes, records[i].length);
		ring_run_put(&writer, &run, records[i].length, is_first && i == 0);
	}
	ring_run_end(&channel->writer, &run);
	if (i > 0)
		channel->failed &= ~IVSHMEM_WRITABLE;
	return i;
}

EXPORT int64_t
ivshmem_queue_send_many(
	struct ivshmem_channel *channel, const struct ivshmem_record *records, size_t n)
{
	size_t sent = 0;
	int r = 0;

	if (!channel_is_queue(channel))
		return -EINVAL;
	for (;;) {
		void *place;

		sent += put_here(channel, records + sent, n - sent);
		if (sent == n)
			break;
		r = reserve(channel, records[sent].length, &place);
		if (r < 0)
			break;
		channel_copy_in(channel, place, records[sent].bytes, records[sent].length);
		ring_commit(&channel->writer, (uint32_t)records[sent].length);
		sent++;
	}
	channel_flush(channel);
	return sent > 0 ? (int64_t)sent : r;
}

/* Where channel_peek_here() finds nothing. Apart, so that the usual way needs no stack. */
static int64_t
peek(struct ivshmem_channel *channel, const void **ret_record)
{
	uint32_t length;
	int r = channel_peek(channel, true, ret_record, &length);

	return r < 0 ? r : (int64_t)length;
}

/* What is there, whoever has the area by now. */
static int64_t
next_record(struct ivshmem_channel *channel, const void **ret_record)
{
	int64_t length;

	if (!channel_is_queue(channel))
		return -EINVAL;
	length = channel_peek_here(channel, ret_record);
	return length >= 0 ? length : peek(channel, ret_record);
}

EXPORT int64_t
ivshmem_queue_peek(struct ivshmem_channel *channel, const void **ret_record)
{
	const void *place;
	int64_t length = next_record(channel, &place);
	int r = length < 0 ? 0 : channel_confirm(channel);

	if (r < 0)
		return r;
	if (length >= 0)
		*ret_record = place;
	return length;
}

EXPORT int64_t
ivshmem_queue_peek_many(
	struct ivshmem_channel *channel, struct ivshmem_record *ret_records, size_t n)
{
	struct ring_reader reader;
	struct ring_look look;
	const void *place;
	int64_t length;
	size_t i = 0;
	int r;

	if (n == 0)
		return -EINVAL;
	length = next_record(channel, &place);
	if (length < 0)
		return length;
	/* A copy stays in registers. For all that the compiler knows, storing a result changes the
	 * channel. */
	reader = channel->reader;
	look = ring_look_at(&reader, reader.next);
	do {
		ret_records[i++] = (struct ivshmem_record){place, (size_t)length};
	} while (i < n && (length = ring_look_next(&reader, &look, &place)) >= 0);
	if (i > 1)
		ring_look_end(&channel->reader, &look);
	r = channel_confirm(channel);
	return r < 0 ? r : (int64_t)i;
}

static void
release(struct ivshmem_channel *channel)
{
	if (channel->loans)
		loans_release(channel);
	channel_release(channel);
}

EXPORT int
ivshmem_queue_release(struct ivshmem_channel *channel)
{
	int r;

	if (!channel_is_queue(channel) || !ring_has_peeked(&channel->reader))
		return -EINVAL;
	r = channel->error != 0 ? channel->error : channel_confirm(channel);
	if (r < 0)
		return r;
	release(channel);
	return 0;
}

EXPORT int64_t
ivshmem_queue_receive(struct ivshmem_channel *channel, void *buffer, size_t size)
{
	const void *place;
	int64_t length = next_record(channel, &place);
	bool fits = length >= 0 && (uint64_t)length <= size;
	int r;

	if (length < 0)
		return length;
	if (fits)
		channel_copy_out(channel, buffer, place, (size_t)length);
	r = channel_confirm(channel);
	if (r < 0)
		return r;
	if (!fits)
		return -EMSGSIZE;
	release(channel);
	return length;
}
