/* SPDX-License-Identifier: BSD-2-Clause */

/* Queues: a record of the user is a record of the ring. */
#include <channel/channel.h>

#include <errno.h>

static bool
is_queue(const struct ivshmem_channel *channel)
{
	return channel->kind == IVSHMEM_QUEUE && channel->phase != LAYOUT_LISTENING;
}

EXPORT int
ivshmem_queue_reserve(struct ivshmem_channel *channel, size_t length, void **ret_record)
{
	if (!is_queue(channel))
		return -EINVAL;
	if (length > ring_max_record(channel->writer.size))
		return -EMSGSIZE;
	return channel_reserve(channel, (uint32_t)length, ret_record);
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

EXPORT int64_t
ivshmem_queue_peek(struct ivshmem_channel *channel, const void **ret_record)
{
	uint32_t length;
	int r;

	if (!is_queue(channel))
		return -EINVAL;
	r = channel_peek(channel, true, ret_record, &length);
	return r < 0 ? r : (int64_t)length;
}

EXPORT int
ivshmem_queue_release(struct ivshmem_channel *channel)
{
	if (!is_queue(channel) || !channel->reader.peeked)
		return -EINVAL;
	channel_release(channel);
	return 0;
}

EXPORT int64_t
ivshmem_queue_receive(struct ivshmem_channel *channel, void *buffer, size_t size)
{
	const void *place;
	uint32_t length;
	int r;

	if (!is_queue(channel))
		return -EINVAL;
	r = channel_peek(channel, true, &place, &length);
	if (r < 0)
		return r;
	if (length > size)
		return -EMSGSIZE;
	channel_copy_out(channel, buffer, place, length);
	r = channel_confirm(channel);
	if (r < 0)
		return r;
	channel_release(channel);
	return (int64_t)length;
}
