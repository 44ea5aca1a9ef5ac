/* SPDX-License-Identifier: BSD-2-Clause */

/* Who neither waits nor polls, but tries again and again. */

#include "channel_room.h"

#include <channel/channel.h>

#include <errno.h>

enum attempt { RECEIVE, PEEK, SEND, READ, WRITE, REPLY, START, TOPIC, STATE, PUBLISH, ATTEMPTS };

static const enum ivshmem_channel_kind kinds[ATTEMPTS] = {
	[RECEIVE] = IVSHMEM_QUEUE,
	[PEEK] = IVSHMEM_QUEUE,
	[SEND] = IVSHMEM_QUEUE,
	[READ] = IVSHMEM_STREAM,
	[WRITE] = IVSHMEM_STREAM,
	[REPLY] = IVSHMEM_CALL,
	[START] = IVSHMEM_CALL,
	[TOPIC] = IVSHMEM_TOPIC,
	[STATE] = IVSHMEM_STATE,
	[PUBLISH] = IVSHMEM_TOPIC,
};

static int64_t
attempt(struct ivshmem_channel *channel, enum attempt what)
{
	char buffer[100] = {0};
	const void *record;
	uint64_t number = 0;
	int status;

	switch (what) {
	case RECEIVE:
		return ivshmem_queue_receive(channel, buffer, sizeof(buffer));
	case PEEK:
		return ivshmem_queue_peek(channel, &record);
	case SEND:
		return ivshmem_queue_send(channel, buffer, sizeof(buffer));
	case READ:
		return ivshmem_stream_read(channel, buffer, sizeof(buffer));
	case WRITE:
		return ivshmem_stream_write(channel, buffer, sizeof(buffer));
	case REPLY:
		return ivshmem_call_reply(channel, &number, &status, buffer, sizeof(buffer));
	case START:
		return ivshmem_call_start(channel, buffer, sizeof(buffer), -1, &number);
	case TOPIC:
		return ivshmem_topic_receive(channel, buffer, sizeof(buffer), &number);
	case STATE:
		return ivshmem_state_read(channel, buffer, sizeof(buffer), &number);
	case PUBLISH:
	case ATTEMPTS:
		break;
	}
	return ivshmem_topic_publish(channel, buffer, sizeof(buffer));
}

TEST(who_only_tries_learns_that_the_other_one_died)
{
	const struct ivshmem_channel_options options = {
		.struct_size = sizeof(options), .ring_size = 1024, .patience_ms = -1};

	for (enum attempt what = 0; what < ATTEMPTS; what++) {
		struct ivshmem_participant *here, *there;
		struct ivshmem_channel *listener, *channel;
		struct room room;
		int64_t r = 0;

		room_open_pair(&room, &here, &there);
		CHECK_EQ(ivshmem_listen(&listener, what == PUBLISH ? here : there, "room",
				 kinds[what], &options, NULL),
			0);
		CHECK_EQ(ivshmem_connect(&channel, what == PUBLISH ? there : here, "room",
				 kinds[what], &options, 0, NULL),
			0);
		if (what == PUBLISH)
			channel = listener;
		else if (!kind_is_published(kinds[what]))
			CHECK_EQ(ivshmem_accept(&listener, listener), 0);
		CHECK_EQ(ivshmem_participant_dispatch(here), 0);
		for (unsigned i = 0; i < 200 && r >= 0; i++)
			r = attempt(channel, what);
		CHECK_EQ(r, -EAGAIN);
		/* A process of another kernel, with which its peer has ended. */
		map_identity(&there->map, 1)->kernel = 0;
		room.gone[1] = true;
		here->next_check = 0;
		for (unsigned i = 0; i < 200 && r == -EAGAIN; i++)
			r = attempt(channel, what);
		CHECK_EQ(r, what == PUBLISH ? 0 : -ECONNRESET);
		room_close_pair(&room, here, there);
	}
}
