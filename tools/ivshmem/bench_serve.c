/* SPDX-License-Identifier: BSD-2-Clause */
#include "bench.h"

#include "output.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* What is sent back is short, and there is little of it at a time. */
#define RING_SIZE 4096

static const enum ivshmem_channel_kind kinds[] = {IVSHMEM_QUEUE, IVSHMEM_STREAM, IVSHMEM_CALL};

#define N_KINDS (sizeof(kinds) / sizeof(kinds[0]))

/* What was received, as a user would have it. */
static char received[BENCH_MOST];

/* ---- one channel -------------------------------------------------------------------------- */

/* Wait until there is something to receive. 0, or how the channel ended, or -EINTR to end. */
static int
wait_readable(struct ivshmem_channel *channel)
{
	while (!participate_quit) {
		int r = ivshmem_channel_wait(channel, IVSHMEM_READABLE, PARTICIPATE_STEP_MS);

		if (r != -EINTR && r != -ETIMEDOUT)
			return r < 0 ? r : 0;
	}
	return -EINTR;
}

static int
sleep_until_readable(struct ivshmem_channel *channel)
{
	struct pollfd fd = {.fd = ivshmem_channel_fd(channel), .events = POLLIN};

	if (fd.fd < 0)
		return fd.fd;
	poll(&fd, 1, PARTICIPATE_STEP_MS);
	return participate_quit ? -EINTR : 0;
}

static int
take_records(struct ivshmem_channel *channel)
{
	struct ivshmem_record records[BENCH_BATCH];

	for (;;) {
		int64_t n = ivshmem_queue_peek_many(channel, records, BENCH_BATCH);

		if (n == -EAGAIN)
			n = wait_readable(channel);
		if (n < 0)
			return (int)n;
		for (int64_t i = 0; i < n; i++)
			memcpy(received, records[i].bytes,
				records[i].length < BENCH_MOST ? records[i].length : BENCH_MOST);
		if (n > 0)
			ivshmem_queue_release(channel);
	}
}

/* Who measures waits for each answer, so there is always room. */
static int
must_have_room(int r)
{
	return r == -EAGAIN ? -EPROTO : r;
}

static int
echo_records(struct ivshmem_channel *channel, int (*wait)(struct ivshmem_channel *channel))
{
	for (;;) {
		int64_t n = ivshmem_queue_receive(channel, received, BENCH_ECHO_MOST);

		if (n >= 0)
			n = must_have_room(ivshmem_queue_send(channel, received, (size_t)n));
		else if (n == -EAGAIN)
			n = wait(channel);
		if (n < 0)
			return (int)n;
	}
}

static int
serve_queue(struct ivshmem_channel *channel)
{
	char wish;
	int64_t n;

	while ((n = ivshmem_queue_receive(channel, &wish, 1)) == -EAGAIN)
		if ((n = wait_readable(channel)) < 0)
			break;
	if (n < 0)
		return (int)n;
	if (n == 0)
		return -EPROTO;
	switch (wish) {
	case BENCH_TAKE:
		return take_records(channel);
	case BENCH_ECHO:
		return echo_records(channel, wait_readable);
	case BENCH_SLEEP:
		n = ivshmem_channel_fd(channel);
		return n < 0 ? (int)n : echo_records(channel, sleep_until_readable);
	default:
		return -EPROTO;
	}
}

static int
serve_stream(struct ivshmem_channel *channel)
{
	for (;;) {
		int64_t n = ivshmem_stream_read(channel, received, sizeof(received));

		if (n == 0)
			return -EPIPE;
		if (n == -EAGAIN)
			n = wait_readable(channel);
		if (n < 0)
			return (int)n;
	}
}

static int
serve_call(struct ivshmem_channel *channel)
{
	for (;;) {
		uint64_t call;
		int64_t n = ivshmem_call_receive(channel, &call, received, BENCH_ECHO_MOST);

		if (n >= 0)
			n = must_have_room(ivshmem_call_answer(channel, call, 0, received,
				n < BENCH_ECHO_MOST ? (size_t)n : BENCH_ECHO_MOST));
		else if (n == -EAGAIN)
			n = wait_readable(channel);
		if (n < 0)
			return (int)n;
	}
}

/* Until the other end has closed it. */
static void
serve(const struct bench *bench, struct ivshmem_channel *channel, enum ivshmem_channel_kind kind)
{
	int r = kind == IVSHMEM_QUEUE    ? serve_queue(channel)
		: kind == IVSHMEM_STREAM ? serve_stream(channel)
					 : serve_call(channel);

	if (r != -EPIPE && r != -EINTR)
		channel_fail(channel, bench->name, r);
	ivshmem_channel_close(channel);
}

/* ---- listening ---------------------------------------------------------------------------- */

static enum status
listen_for_all(const struct bench *bench, struct ivshmem_channel *listeners[N_KINDS])
{
	const struct ivshmem_channel_options options = {
		.struct_size = sizeof(options), .ring_size = RING_SIZE};
	struct ivshmem_error error;
	char name[BENCH_NAME_SIZE];

	for (unsigned i = 0; i < N_KINDS; i++)
		if (ivshmem_listen(&listeners[i], bench->participant,
			    bench_channel_name(name, bench->name, kinds[i]), kinds[i], &options,
			    &error) < 0)
			return fail("%s", error.message);
	return STATUS_OK;
}

/* Serve whoever waits. 0 if nobody did, 1, or how a listener ended. */
static int
accept_one(const struct bench *bench, struct ivshmem_channel *listeners[N_KINDS])
{
	for (unsigned i = 0; i < N_KINDS; i++) {
		struct ivshmem_channel *channel;
		int r = ivshmem_accept(&channel, listeners[i]);

		if (r == 0) {
			serve(bench, channel, kinds[i]);
			return 1;
		}
		if (r != -EAGAIN)
			return r;
	}
	return 0;
}

enum status
bench_serve(const struct bench *bench, int ready)
{
	struct ivshmem_channel *listeners[N_KINDS];
	struct pollfd fds[N_KINDS];
	int r;

	participate_take_signals();
	if (listen_for_all(bench, listeners) != STATUS_OK)
		return STATUS_FAILURE;
	for (unsigned i = 0; i < N_KINDS; i++) {
		fds[i] = (struct pollfd){.fd = ivshmem_channel_fd(listeners[i]), .events = POLLIN};
		if (fds[i].fd < 0)
			return channel_fail(listeners[i], bench->name, fds[i].fd);
	}
	if (ready >= 0 && write(ready, "r", 1) != 1)
		return STATUS_FAILURE;
	while (!participate_quit) {
		r = accept_one(bench, listeners);
		if (r < 0)
			return channel_fail(listeners[0], bench->name, r);
		if (r == 0)
			poll(fds, N_KINDS, PARTICIPATE_STEP_MS);
	}
	return STATUS_OK;
}
