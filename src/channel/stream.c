/* SPDX-License-Identifier: BSD-2-Clause */

/* Streams: bytes, in records as large as there is room for. Where one ends has no meaning. */
#include <channel/channel.h>

#include <errno.h>

/* At most this part of the ring is one record, so that one side can write while the other reads. */
#define PARTS 8

static bool
is_stream(const struct ivshmem_channel *channel)
{
	return channel->kind == IVSHMEM_STREAM && channel->phase != LAYOUT_LISTENING;
}

EXPORT int64_t
ivshmem_stream_write(struct ivshmem_channel *channel, const void *bytes, size_t length)
{
	uint32_t part = channel->writer.size / PARTS - RING_HEADER;
	size_t written = 0;
	int r = 0;

	if (!is_stream(channel))
		return -EINVAL;
	/* More in one call would not be of use to anybody. */
	if (length > SIZE_MAX / 2)
		length = SIZE_MAX / 2;
	while (written < length) {
		uint32_t n = length - written < part ? (uint32_t)(length - written) : part;
		void *place;

		r = channel_reserve(channel, n, &place);
		if (r < 0)
			break;
		channel_copy_in(channel, place, (const char *)bytes + written, n);
		ring_commit(&channel->writer, n);
		ring_publish(&channel->writer);
		written += n;
	}
	if (written == 0)
		return r < 0 ? r : channel_send_error(channel);
	channel_flush(channel);
	return (int64_t)written;
}

EXPORT int64_t
ivshmem_stream_read(struct ivshmem_channel *channel, void *buffer, size_t size)
{
	size_t n_read = 0;

	if (!is_stream(channel))
		return -EINVAL;
	if (size > SIZE_MAX / 2)
		size = SIZE_MAX / 2;
	while (n_read < size) {
		const void *place;
		uint32_t length;
		uint32_t n;
		int r = channel_peek(channel, n_read == 0, &place, &length);

		if (r < 0 && n_read == 0)
			return r == -EPIPE ? 0 : r;
		if (r < 0)
			break;
		/* Nobody writes empty records, which could keep us here for ever; nor makes one
		 * shorter that we have read a part of. */
		if (length <= channel->consumed)
			return n_read == 0 ? channel_fail_protocol(channel) : (int64_t)n_read;
		length -= channel->consumed;
		n = size - n_read < length ? (uint32_t)(size - n_read) : length;
		channel_copy_out(channel, (char *)buffer + n_read,
			(const char *)place + channel->consumed, n);
		r = channel_confirm(channel);
		if (r < 0)
			return n_read == 0 ? r : (int64_t)n_read;
		n_read += n;
		if (n < length) {
			channel->consumed += n;
			break;
		}
		channel->consumed = 0;
		channel_release(channel);
	}
	return (int64_t)n_read;
}
