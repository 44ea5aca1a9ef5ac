/* SPDX-License-Identifier: BSD-2-Clause */

/* Queues: a record of the user is a record of the ring. */
#include <channel/channel.h>

#include <errno.h>

static bool
is_queue(const struct ivshmem_channel *channel)
{
	return channel->kind == IVSHMEM_QUEUE && channel->phase != LAYOUT_LISTENING;
}

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
	return is_queue(channel) ? reserve(channel, length, ret_record) : -EINVAL;
}

EXPORT int
ivshmem_queue_commit(struct ivshmem_channel *channel, size_t length)
{
	if (!channel->writer.reserving || length > channel->writer.reserved)
		return -EINVAL;
	if (participant_is_lost(channel->participant))
		return -ESTALE;
	ring_commit(&channel->writer, (uint32_t)length);
	return 0;
}

EXPORT int
ivshmem_queue_publish(struct ivshmem_channel *channel)
{
	if (!is_queue(channel))
		return -EINVAL;
	if (!participant_is_lost(channel->participant))
		ring_publish(&channel->writer);
	return channel_send_error(channel);
}

EXPORT int
ivshmem_queue_flush(struct ivshmem_channel *channel)
{
	if (!is_queue(channel))
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

/* Where channel_peek_here() finds nothing. Apart, so that the usual way needs no stack. */
static int64_t
peek(struct ivshmem_channel *channel, const void **ret_record)
{
	uint32_t length;
	int r = channel_peek(channel, true, ret_record, &length);

	return r < 0 ? r : (int64_t)length;
}

EXPORT int64_t
ivshmem_queue_peek(struct ivshmem_channel *channel, const void **ret_record)
{
	int64_t length;

	if (!is_queue(channel))
		return -EINVAL;
	length = channel_peek_here(channel, ret_record);
	return length >= 0 ? length : peek(channel, ret_record);
}

EXPORT int
ivshmem_queue_release(struct ivshmem_channel *channel)
{
	if (!is_queue(channel) || !ring_has_peeked(&channel->reader))
		return -EINVAL;
	channel_release(channel);
	return 0;
}

EXPORT int64_t
ivshmem_queue_receive(struct ivshmem_channel *channel, void *buffer, size_t size)
{
	const void *place;
	int64_t length = ivshmem_queue_peek(channel, &place);
	int r;

	if (length < 0)
		return length;
	if ((uint64_t)length > size)
		return -EMSGSIZE;
	channel_copy_out(channel, buffer, place, (size_t)length);
	r = channel_confirm(channel);
	if (r < 0)
		return r;
	channel_release(channel);
	return length;
}
