/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * A camera: lends one frame after the other to who listens under NAME.
 *
 *	producer [--skip] NAME FRAMES PER_SECOND
 *
 * When all buffers are at the consumer, it waits for one, or with --skip leaves this frame out.
 */
#include "frame.h"

#include <ivshmem/channel.h>

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

struct camera {
	struct ivshmem_channel *channel;
	bool skips;
	uint64_t sent, skipped;
	uint64_t *latencies; /* of each frame that was seen */
	uint64_t n_seen, max_seen;
};

/* Where a frame goes: 0, -EAGAIN if it is to be left out, or how the channel ended. */
static int
take_buffer(struct camera *camera, void **ret_frame)
{
	int r;

	while ((r = ivshmem_loan_take(camera->channel, FRAME_SIZE, ret_frame)) == -EAGAIN) {
		if (camera->skips)
			return r;
		r = ivshmem_channel_wait(camera->channel, IVSHMEM_WRITABLE, -1);
		if (r < 0)
			return r;
	}
	return r;
}

/* A picture that moves: each line has one shade. The pixels are written where the consumer reads them. */
static void
make_picture(struct frame *frame)
{
	uint8_t *pixels = (uint8_t *)(frame + 1);

	for (unsigned line = 0; line < FRAME_HEIGHT * 3 / 2; line++)
		memset(pixels + (size_t)line * FRAME_WIDTH, (int)((line + frame->number) & 0xff),
			FRAME_WIDTH);
	frame->checksum = frame_checksum(pixels);
}

static int
send_frame(struct camera *camera, uint64_t number)
{
	struct frame *frame;
	void *buffer;
	int r = take_buffer(camera, &buffer);

	if (r == -EAGAIN) {
		camera->skipped++;
		return 0;
	}
	if (r < 0)
		return r;
	frame = buffer;
	frame->number = number;
	make_picture(frame);
	frame->sent_at = now_ns();
	while ((r = ivshmem_loan_send(camera->channel, frame, FRAME_SIZE)) == -EAGAIN) {
		r = ivshmem_channel_wait(camera->channel, IVSHMEM_WRITABLE, -1);
		if (r < 0)
			return r;
	}
	camera->sent += r == 0;
	return r;
}

/* Take what the consumer has said. -EAGAIN: that was all for now. */
static int
take_answers(struct camera *camera)
{
	struct frame_seen seen;
	int64_t length;

	while ((length = ivshmem_queue_receive(camera->channel, &seen, sizeof(seen))) >= 0)
		if (length == sizeof(seen) && camera->n_seen < camera->max_seen)
			camera->latencies[camera->n_seen++] = now_ns() - seen.sent_at;
	return (int)length;
}

/* Take answers as they come, until it is time for the next frame. */
static int
wait_until(struct camera *camera, uint64_t ns)
{
	int r;

	while ((r = take_answers(camera)) == -EAGAIN) {
		uint64_t now = now_ns();

		if (now >= ns)
			return 0;
		r = ivshmem_channel_wait(
			camera->channel, IVSHMEM_READABLE, (int)((ns - now) / 1000000) + 1);
		if (r < 0 && r != -ETIMEDOUT && r != -EINTR)
			return r;
	}
	return r;
}

static int
send_frames(struct camera *camera, uint64_t n, uint64_t per_second)
{
	uint64_t begin = now_ns();

	for (uint64_t i = 0; i < n; i++) {
		int r = send_frame(camera, i + 1);

		if (r == 0)
			r = wait_until(camera, begin + (i + 1) * 1000000000 / per_second);
		if (r < 0)
			return r;
	}
	return ivshmem_channel_shutdown(camera->channel);
}

/* What the consumer still says, up to its end. */
static int
take_last_answers(struct camera *camera)
{
	int r;

	while ((r = take_answers(camera)) == -EAGAIN) {
		r = ivshmem_channel_wait(camera->channel, IVSHMEM_READABLE, -1);
		if (r < 0)
			return r;
	}
	return r == -EPIPE ? 0 : r;
}

static int
compare(const void *one, const void *other)
{
	uint64_t a = *(const uint64_t *)one, b = *(const uint64_t *)other;

	return (a > b) - (a < b);
}

static void
report(struct camera *camera)
{
	uint64_t n = camera->n_seen;

	printf("sent %" PRIu64 " frames, skipped %" PRIu64, camera->sent, camera->skipped);
	qsort(camera->latencies, n, sizeof(*camera->latencies), compare);
	if (n > 0)
		printf(", seen and answered after %" PRIu64 " us (median), %" PRIu64
		       " us (longest)",
			camera->latencies[n / 2] / 1000, camera->latencies[n - 1] / 1000);
	putchar('\n');
}

int
main(int argc, char **argv)
{
	/* Large areas: each has room for some frames. */
	const struct ivshmem_participant_options options = {
		.struct_size = sizeof(options), .areas = 3};
	struct ivshmem_participant *me = NULL;
	struct camera camera = {.skips = argc == 5 && strcmp(argv[1], "--skip") == 0};
	struct ivshmem_error error = {.message = ""};
	uint64_t per_second;
	int r;

	if (argc != 4 + camera.skips) {
		fprintf(stderr, "usage: producer [--skip] NAME FRAMES PER_SECOND\n");
		return 2;
	}
	argv += camera.skips;
	camera.max_seen = strtoull(argv[2], NULL, 10);
	per_second = strtoull(argv[3], NULL, 10);
	camera.latencies = calloc(camera.max_seen, sizeof(*camera.latencies));
	if (!camera.latencies || per_second == 0) {
		fprintf(stderr, "producer: FRAMES is too large, or PER_SECOND is no number\n");
		return 2;
	}
	r = ivshmem_participant_open(&me, target(), &options, &error);
	if (r == 0)
		r = ivshmem_connect(&camera.channel, me, argv[1], IVSHMEM_QUEUE, NULL, -1, &error);
	if (r == 0)
		r = send_frames(&camera, camera.max_seen, per_second);
	if (r == 0)
		r = take_last_answers(&camera);
	report(&camera);
	if (r < 0)
		fprintf(stderr, "producer: %s\n", error.message[0] ? error.message : strerror(-r));
	ivshmem_participant_close(me);
	free(camera.latencies);
	return r < 0;
}
