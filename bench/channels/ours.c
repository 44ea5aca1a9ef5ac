/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Channels, between two participants of a server's group.
 *
 *	queue	records are copied into the ring and out of it; a flush for each 32
 *	send	the same by ivshmem_queue_send() and ivshmem_queue_receive(), one at a time
 *	round	a record there and back; both sides look all the time
 *	stream	writes and reads of the record's length
 *	many	16 participants send in turns, as for `queue`, and one receives from all
 *	one	the same as `queue`, measured next to `many`
 *	lend	loans of the record's length, whose bytes nobody touches
 *	poll	a record there and back; both sides sleep in poll()
 *	call	an empty call, by ivshmem_call(); the other side looks all the time
 *	call-poll  the same in steps; both sides sleep in poll()
 *	idle-wait, idle-poll  processor time of one who waits for 2 seconds, in ns
 */
#include "sides.h"

#include <measure.h>

#include <ivshmem/channel.h>

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define BATCH      32u
#define USUAL      64u /* bytes of a record */
#define MANY       16u
#define RING       262144u
#define MANY_RING  65536u
#define SMALL_RING 4096u
#define IDLE_MS    2000

struct end {
	struct ivshmem_participant *participant;
	struct ivshmem_channel *listener, *channel;
};

/* ---- setting up ------------------------------------------------------------------------------ */

static void
must(int64_t r, const char *what)
{
	if (r < 0)
		sides_die(what, (int)r);
}

static void
must_error(int r, const struct ivshmem_error *error)
{
	if (r < 0)
		sides_die(error->message, r);
}

static struct end
end_new(const struct sides *sides)
{
	struct ivshmem_error error;
	struct end end = {0};

	must_error(ivshmem_participant_open(&end.participant, sides->target, NULL, &error), &error);
	return end;
}

static struct end
end_connect(const struct sides *sides, enum ivshmem_channel_kind kind, uint64_t ring_size)
{
	const struct ivshmem_channel_options options = {
		.struct_size = sizeof(options), .ring_size = ring_size};
	struct ivshmem_error error;
	struct end end = end_new(sides);

	must_error(ivshmem_connect(
			   &end.channel, end.participant, "bench", kind, &options, 10000, &error),
		&error);
	return end;
}

/* Wait until the other side has accepted. */
static void
end_settle(struct end *end)
{
	struct ivshmem_channel_status status = {.struct_size = sizeof(status)};

	do {
		must(ivshmem_participant_dispatch(end->participant), "dispatch");
		must(ivshmem_channel_status(end->channel, &status), "status");
		usleep(1000);
	} while (!status.connected);
}

static struct end
end_listen(const struct sides *sides, enum ivshmem_channel_kind kind, uint64_t ring_size)
{
	const struct ivshmem_channel_options options = {
		.struct_size = sizeof(options), .ring_size = ring_size};
	struct ivshmem_error error;
	struct end end = end_new(sides);

	must_error(ivshmem_listen(&end.listener, end.participant, "bench", kind, &options, &error),
		&error);
	return end;
}

static void
end_accept(struct end *end)
{
	must(ivshmem_channel_wait(end->listener, IVSHMEM_READABLE, 10000), "wait for a connection");
	must(ivshmem_accept(&end->channel, end->listener), "accept");
}

/* Stay until the other side has received everything. */
static void
end_close(struct end *end)
{
	ivshmem_channel_drain(end->channel, 10000);
	ivshmem_participant_close(end->participant);
}

/* ---- one way --------------------------------------------------------------------------------- */

static void
send_to(struct sides *sides, struct end *ends, size_t n_ends)
{
	char *record = sides_buffer(sides);
	struct ivshmem_record batch[BATCH];

	for (unsigned i = 0; i < BATCH; i++)
		batch[i] = (struct ivshmem_record){record, sides->length};
	sides_begin(sides);
	for (uint64_t sent = 0; sent < sides->count;)
		for (size_t i = 0; i < n_ends && sent < sides->count; i++) {
			uint64_t left = sides->count - sent;
			int64_t n = ivshmem_queue_send_many(
				ends[i].channel, batch, left < BATCH ? left : BATCH);

			if (n == -EAGAIN) {
				sides_relax();
				continue;
			}
			must(n, "send");
			sent += (uint64_t)n;
		}
	free(record);
}

/* As by a program that knows how long most of its records are: without a call for those. */
static void
copy_out(char *buffer, const struct ivshmem_record *record)
{
	if (record->length == USUAL)
		memcpy(buffer, record->bytes, USUAL);
	else
		memcpy(buffer, record->bytes, record->length);
	/* It is not left out because nobody reads it. */
	__asm__ volatile("" : : "r"(buffer) : "memory");
}

static void
receive_from(struct sides *sides, struct end *ends, size_t n_ends)
{
	char *buffer = sides_buffer(sides);
	struct ivshmem_record batch[BATCH];

	sides_begin(sides);
	for (uint64_t received = 0; received < sides->count;)
		for (size_t i = 0; i < n_ends; i++) {
			int64_t n = ivshmem_queue_peek_many(ends[i].channel, batch, BATCH);

			/* One that has sent its share may have left. */
			if (n == -EAGAIN || n == -EPIPE) {
				sides_relax();
				continue;
			}
			must(n, "peek");
			for (int64_t k = 0; k < n; k++)
				copy_out(buffer, &batch[k]);
			ivshmem_queue_release(ends[i].channel);
			received += (uint64_t)n;
		}
	sides_end(sides);
	free(buffer);
}

static void
send_through(struct sides *sides, size_t n_ends, uint64_t ring_size)
{
	struct end ends[MANY];

	for (size_t i = 0; i < n_ends; i++)
		ends[i] = end_connect(sides, IVSHMEM_QUEUE, ring_size);
	for (size_t i = 0; i < n_ends; i++)
		end_settle(&ends[i]);
	send_to(sides, ends, n_ends);
	for (size_t i = 0; i < n_ends; i++)
		end_close(&ends[i]);
}

static void
receive_through(struct sides *sides, size_t n_ends)
{
	struct end listener = end_listen(sides, IVSHMEM_QUEUE, SMALL_RING);
	struct end ends[MANY];

	for (size_t i = 0; i < n_ends; i++) {
		end_accept(&listener);
		ends[i] = listener;
	}
	receive_from(sides, ends, n_ends);
	ivshmem_participant_close(listener.participant);
}

static void
send_one(struct sides *sides)
{
	send_through(sides, 1, RING);
}

static void
receive_one(struct sides *sides)
{
	receive_through(sides, 1);
}

static void
send_many(struct sides *sides)
{
	send_through(sides, MANY, MANY_RING);
}

static void
receive_many(struct sides *sides)
{
	receive_through(sides, MANY);
}

static void
send_each(struct sides *sides)
{
	struct end end = end_connect(sides, IVSHMEM_QUEUE, RING);
	char *record = sides_buffer(sides);

	end_settle(&end);
	sides_begin(sides);
	for (uint64_t i = 0; i < sides->count; i++) {
		int r;

		while ((r = ivshmem_queue_send(end.channel, record, sides->length)) == -EAGAIN)
			sides_relax();
		must(r, "send");
	}
	free(record);
	end_close(&end);
}

static void
receive_each(struct sides *sides)
{
	struct end end = end_listen(sides, IVSHMEM_QUEUE, RING);
	char *buffer = sides_buffer(sides);

	end_accept(&end);
	sides_begin(sides);
	for (uint64_t i = 0; i < sides->count; i++) {
		int64_t n;

		while ((n = ivshmem_queue_receive(end.channel, buffer, sides->length)) == -EAGAIN)
			sides_relax();
		must(n, "receive");
	}
	sides_end(sides);
	free(buffer);
	ivshmem_participant_close(end.participant);
}

static void
send_loans(struct sides *sides)
{
	struct end end = end_connect(sides, IVSHMEM_QUEUE, RING);

	end_settle(&end);
	sides_begin(sides);
	for (uint64_t i = 0; i < sides->count; i++) {
		void *bytes;
		int r;

		while ((r = ivshmem_loan_take(end.channel, sides->length, &bytes)) == -EAGAIN)
			sides_relax();
		must(r, "take a loan");
		while ((r = ivshmem_loan_send(end.channel, bytes, sides->length)) == -EAGAIN)
			sides_relax();
		must(r, "send a loan");
	}
	end_close(&end);
}

static void
receive_loans(struct sides *sides)
{
	struct end end = end_listen(sides, IVSHMEM_QUEUE, RING);

	end_accept(&end);
	sides_begin(sides);
	for (uint64_t i = 0; i < sides->count; i++) {
		const void *bytes;
		int64_t n;

		while ((n = ivshmem_queue_peek(end.channel, &bytes)) == -EAGAIN)
			sides_relax();
		if (n != (int64_t)sides->length)
			sides_die("a loan has another length", (int)n);
		must(ivshmem_queue_release(end.channel), "give a loan back");
	}
	sides_end(sides);
	ivshmem_participant_close(end.participant);
}

static void
send_stream(struct sides *sides)
{
	struct end end = end_connect(sides, IVSHMEM_STREAM, RING);
	char *bytes = sides_buffer(sides);

	end_settle(&end);
	sides_begin(sides);
	for (uint64_t i = 0; i < sides->count; i++)
		for (size_t written = 0; written < sides->length;) {
			int64_t n = ivshmem_stream_write(
				end.channel, bytes + written, sides->length - written);

			if (n == -EAGAIN) {
				sides_relax();
				continue;
			}
			must(n, "write");
			written += (size_t)n;
		}
	free(bytes);
	end_close(&end);
}

static void
receive_stream(struct sides *sides)
{
	struct end end = end_listen(sides, IVSHMEM_STREAM, RING);
	char *buffer = sides_buffer(sides);

	end_accept(&end);
	sides_begin(sides);
	for (uint64_t left = sides->count * sides->length; left > 0;) {
		int64_t n = ivshmem_stream_read(end.channel, buffer, sides->length);

		if (n == -EAGAIN) {
			sides_relax();
			continue;
		}
		must(n, "read");
		left -= (uint64_t)n;
	}
	sides_end(sides);
	free(buffer);
	ivshmem_participant_close(end.participant);
}

/* ---- there and back -------------------------------------------------------------------------- */

/* Called when there is nothing to receive. */
typedef void wait_fn(struct ivshmem_channel *channel);

static void
wait_by_looking(struct ivshmem_channel *channel)
{
	(void)channel;
	sides_relax();
}

static void
wait_by_poll(struct ivshmem_channel *channel)
{
	struct pollfd fd = {.fd = ivshmem_channel_fd(channel), .events = POLLIN};

	if (poll(&fd, 1, -1) < 0)
		sides_die("poll", errno);
}

static void
receive_record(struct ivshmem_channel *channel, char *buffer, size_t size, wait_fn *wait)
{
	int64_t n;

	while ((n = ivshmem_queue_receive(channel, buffer, size)) == -EAGAIN)
		wait(channel);
	must(n, "receive");
}

static void
answer(struct sides *sides, wait_fn *wait)
{
	struct end end = end_connect(sides, IVSHMEM_QUEUE, RING);
	char *record = sides_buffer(sides);

	end_settle(&end);
	if (wait == wait_by_poll)
		must(ivshmem_channel_fd(end.channel), "fd");
	sides_begin(sides);
	for (uint64_t i = 0; i < sides->count; i++) {
		receive_record(end.channel, record, sides->length, wait);
		must(ivshmem_queue_send(end.channel, record, sides->length), "send");
	}
	free(record);
	end_close(&end);
}

static void
ask(struct sides *sides, wait_fn *wait)
{
	struct end end = end_listen(sides, IVSHMEM_QUEUE, RING);
	char *record = sides_buffer(sides);

	end_accept(&end);
	if (wait == wait_by_poll)
		must(ivshmem_channel_fd(end.channel), "fd");
	sides_begin(sides);
	for (uint64_t i = 0; i < sides->count; i++) {
		must(ivshmem_queue_send(end.channel, record, sides->length), "send");
		receive_record(end.channel, record, sides->length, wait);
	}
	sides_end(sides);
	free(record);
	ivshmem_participant_close(end.participant);
}

static void
answer_looking(struct sides *sides)
{
	answer(sides, wait_by_looking);
}

static void
ask_looking(struct sides *sides)
{
	ask(sides, wait_by_looking);
}

static void
answer_polling(struct sides *sides)
{
	answer(sides, wait_by_poll);
}

static void
ask_polling(struct sides *sides)
{
	ask(sides, wait_by_poll);
}

/* ---- calls ----------------------------------------------------------------------------------- */

static void
answer_calls(struct sides *sides, wait_fn *wait)
{
	struct end end = end_listen(sides, IVSHMEM_CALL, RING);

	end_accept(&end);
	if (wait == wait_by_poll)
		must(ivshmem_channel_fd(end.channel), "fd");
	sides_begin(sides);
	for (uint64_t i = 0; i < sides->count; i++) {
		uint64_t call;
		int64_t n;

		while ((n = ivshmem_call_receive(end.channel, &call, NULL, 0)) == -EAGAIN)
			wait(end.channel);
		must(n, "receive a call");
		must(ivshmem_call_answer(end.channel, call, 0, NULL, 0), "answer");
	}
	end_close(&end);
}

static void
answer_calls_looking(struct sides *sides)
{
	answer_calls(sides, wait_by_looking);
}

static void
answer_calls_polling(struct sides *sides)
{
	answer_calls(sides, wait_by_poll);
}

static void
call(struct sides *sides)
{
	struct end end = end_connect(sides, IVSHMEM_CALL, RING);

	end_settle(&end);
	sides_begin(sides);
	for (uint64_t i = 0; i < sides->count; i++)
		must(ivshmem_call(end.channel, NULL, 0, NULL, 0, 10000), "call");
	sides_end(sides);
	ivshmem_participant_close(end.participant);
}

static void
call_polling(struct sides *sides)
{
	struct end end = end_connect(sides, IVSHMEM_CALL, RING);

	end_settle(&end);
	must(ivshmem_channel_fd(end.channel), "fd");
	sides_begin(sides);
	for (uint64_t i = 0; i < sides->count; i++) {
		uint64_t started, answered;
		int64_t n;
		int status;

		must(ivshmem_call_start(end.channel, NULL, 0, 10000, &started), "call");
		while ((n = ivshmem_call_reply(end.channel, &answered, &status, NULL, 0)) ==
			-EAGAIN)
			wait_by_poll(end.channel);
		must(n < 0 ? n : status, "take a reply");
	}
	sides_end(sides);
	ivshmem_participant_close(end.participant);
}

/* ---- idle ------------------------------------------------------------------------------------ */

static double
processor_time(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e9 +
	       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e3;
}

static void
be_there(struct sides *sides)
{
	struct end end = end_connect(sides, IVSHMEM_QUEUE, RING);

	end_settle(&end);
	sides_begin(sides);
	ivshmem_channel_wait(end.channel, IVSHMEM_READABLE, -1);
	ivshmem_participant_close(end.participant);
}

static void
idle_wait(struct sides *sides)
{
	struct end end = end_listen(sides, IVSHMEM_QUEUE, RING);
	double before;

	end_accept(&end);
	sides_begin(sides);
	before = processor_time();
	if (ivshmem_channel_wait(end.channel, IVSHMEM_READABLE, IDLE_MS) != -ETIMEDOUT)
		sides_die("wait", EPROTO);
	sides_result(sides, processor_time() - before);
	ivshmem_participant_close(end.participant);
}

static void
idle_poll(struct sides *sides)
{
	struct end end = end_listen(sides, IVSHMEM_QUEUE, RING);
	uint64_t now, until;
	double before;

	end_accept(&end);
	must(ivshmem_channel_fd(end.channel), "fd");
	sides_begin(sides);
	before = processor_time();
	until = clock_ns(CLOCK_MONOTONIC) + IDLE_MS * 1000000u;
	while ((now = clock_ns(CLOCK_MONOTONIC)) < until) {
		struct pollfd fd = {.fd = ivshmem_channel_fd(end.channel), .events = POLLIN};
		const void *record;

		if (ivshmem_queue_peek(end.channel, &record) != -EAGAIN)
			sides_die("peek", EPROTO);
		poll(&fd, 1, (int)((until - now) / 1000000) + 1);
	}
	sides_result(sides, processor_time() - before);
	ivshmem_participant_close(end.participant);
}

int
main(int argc, char **argv)
{
	static const struct sides_case cases[] = {
		{"queue", send_one, receive_one},
		{"send", send_each, receive_each},
		{"round", answer_looking, ask_looking},
		{"stream", send_stream, receive_stream},
		{"many", send_many, receive_many},
		{"lend", send_loans, receive_loans},
		{"one", send_one, receive_one},
		{"poll", answer_polling, ask_polling},
		{"call", call, answer_calls_looking},
		{"call-poll", call_polling, answer_calls_polling},
		{"idle-wait", be_there, idle_wait},
		{"idle-poll", be_there, idle_poll},
	};

	return sides_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
