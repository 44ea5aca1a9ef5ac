/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Looks at the frames that come to NAME, up to their end.
 *
 *	consumer [--latest] NAME [MS]
 *
 * With --latest, it looks at the newest frame that is there, and gives older ones back unseen. It takes
 * MS milliseconds for each frame, besides the time for its checksum.
 */
#include "frame.h"

#include <ivshmem/channel.h>

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

struct screen {
	struct ivshmem_channel *channel;
	bool latest;
	uint64_t work_ms;
	uint64_t frames, wrong, missed, last;
	uint64_t begin;
};

/* The next record, which is ours until it is returned: its length, or how the channel ended. */
static int64_t
take(struct screen *screen, const void **ret_frame)
{
	int64_t length = ivshmem_queue_peek(screen->channel, ret_frame);
	int r;

	if (length < 0)
		return length;
	/* Records that are no loans cannot be kept, and are no frames. */
	r = ivshmem_loan_keep(screen->channel, *ret_frame);
	if (r == -EINVAL)
		return -EPROTO;
	r = ivshmem_queue_release(screen->channel);
	return r < 0 ? r : length;
}

/* Wait for a frame, and with --latest take the newest one. */
static int64_t
wait_for_frame(struct screen *screen, const void **ret_frame)
{
	const void *next;
	int64_t length, r;

	while ((length = take(screen, ret_frame)) == -EAGAIN) {
		r = ivshmem_channel_wait(screen->channel, IVSHMEM_READABLE, -1);
		if (r < 0)
			return r;
	}
	while (screen->latest && length >= 0 && (r = take(screen, &next)) >= 0) {
		ivshmem_loan_return(screen->channel, *ret_frame);
		*ret_frame = next;
		length = r;
	}
	return length;
}

/* The producer could change the frame while we look, so what counts is copied first. */
static void
look_at(struct screen *screen, const void *bytes, int64_t length)
{
	const struct timespec work = {.tv_sec = (time_t)(screen->work_ms / 1000),
		.tv_nsec = (long)(screen->work_ms % 1000) * 1000000};
	struct frame_seen seen;
	struct frame frame;
	bool right;
	int r;

	if (length != (int64_t)FRAME_SIZE) {
		screen->wrong++;
		return;
	}
	memcpy(&frame, bytes, sizeof(frame));
	seen = (struct frame_seen){.number = frame.number, .sent_at = frame.sent_at};
	/* If there is no room, the producer learns of one frame less. */
	ivshmem_queue_send(screen->channel, &seen, sizeof(seen));
	right = frame_checksum((const struct frame *)bytes + 1) == frame.checksum;
	nanosleep(&work, NULL);
	r = ivshmem_loan_return(screen->channel, bytes);
	/* The producer died, and its memory is somebody else's: we do not know what we have seen. */
	if (r < 0)
		return;
	screen->frames++;
	screen->wrong += !right;
	screen->missed += frame.number - screen->last - 1;
	screen->last = frame.number;
}

static int
look_at_frames(struct screen *screen)
{
	const void *frame;
	int64_t length;

	while ((length = wait_for_frame(screen, &frame)) >= 0) {
		if (screen->begin == 0)
			screen->begin = now_ns();
		look_at(screen, frame, length);
	}
	return length == -EPIPE ? 0 : (int)length;
}

static void
report(const struct screen *screen)
{
	double seconds = screen->begin ? (double)(now_ns() - screen->begin) / 1e9 : 1;
	double rate = (double)screen->frames / seconds;

	printf("saw %" PRIu64 " frames, %" PRIu64 " wrong, %" PRIu64 " missed, "
	       "%.1f frames/s, %.0f MiB/s\n",
		screen->frames, screen->wrong, screen->missed, rate,
		rate * (double)FRAME_SIZE / (1 << 20));
}

static int
accept_producer(struct ivshmem_participant *me, const char *name,
	struct ivshmem_channel **ret_channel, struct ivshmem_error *reterr)
{
	struct ivshmem_channel *listener;
	int r = ivshmem_listen(&listener, me, name, IVSHMEM_QUEUE, NULL, reterr);

	if (r < 0)
		return r;
	while ((r = ivshmem_accept(ret_channel, listener)) == -EAGAIN) {
		r = ivshmem_channel_wait(listener, IVSHMEM_READABLE, -1);
		if (r < 0)
			return r;
	}
	ivshmem_channel_close(listener);
	return r;
}

int
main(int argc, char **argv)
{
	/* Large areas: each has room for some frames. */
	const struct ivshmem_participant_options options = {
		.struct_size = sizeof(options), .areas = 3};
	struct screen screen = {.latest = argc > 1 && strcmp(argv[1], "--latest") == 0};
	struct ivshmem_error error = {.message = ""};
	struct ivshmem_participant *me = NULL;
	int r;

	argc -= screen.latest;
	argv += screen.latest;
	if (argc != 2 && argc != 3) {
		fprintf(stderr, "usage: consumer [--latest] NAME [MS]\n");
		return 2;
	}
	screen.work_ms = argc > 2 ? strtoull(argv[2], NULL, 10) : 0;
	r = ivshmem_participant_open(&me, target(), &options, &error);
	if (r == 0)
		r = accept_producer(me, argv[1], &screen.channel, &error);
	if (r == 0)
		r = look_at_frames(&screen);
	report(&screen);
	if (r < 0)
		fprintf(stderr, "consumer: %s\n", error.message[0] ? error.message : strerror(-r));
	ivshmem_participant_close(me);
	return r < 0 || screen.wrong > 0;
}
