/* SPDX-License-Identifier: BSD-2-Clause */
#include "bench.h"

#include "json.h"
#include "output.h"
#include "progress.h"
#include "times.h"

#include <base/clock.h>
#include <base/parse.h>

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

/* Round trips that are not measured: until both ends know each other, and spin for as long as it pays. */
#define WARM_UP 1000
/* We do not remember more of them. */
#define MOST_TIMES 1000000

/* One measurement. */
struct measuring {
	const struct bench *bench;
	const struct measure *measure;
	struct ivshmem_channel *channel;
	struct progress progress;

	uint64_t alive; /* clock_now() at a sign of the other end */

	/* One way. */
	uint64_t end;     /* clock_now() when it is long enough */
	uint64_t records; /* of a queue */
	uint64_t bytes;
	double took; /* seconds */

	/* There and back. */
	struct times times;
};

struct measure {
	enum ivshmem_channel_kind kind;
	size_t length;
	const char *what;
	enum bench_wish wish; /* of a queue */
	int (*one_way)(struct measuring *measuring);
	int (*round_trip)(struct measuring *measuring);
};

/* What we send. */
static char content[BENCH_MOST];

/* ---- waiting ------------------------------------------------------------------------------ */

static int
check_alive(const struct measuring *measuring)
{
	uint64_t timeout = measuring->bench->timeout;

	return timeout != UINT64_MAX && clock_now() - measuring->alive > timeout ? -ETIMEDOUT : 0;
}

/* 0, or how the channel ended, or -ETIMEDOUT. */
static int
wait_for(struct measuring *measuring, int events)
{
	for (;;) {
		int r = ivshmem_channel_wait(measuring->channel, events, PARTICIPATE_STEP_MS);

		if (r >= 0)
			return 0;
		if (r == -ETIMEDOUT)
			r = check_alive(measuring);
		if (r < 0 && r != -EINTR)
			return r;
	}
}

/* The same for one who sleeps; it may be woken for nothing. */
static int
sleep_until_readable(struct measuring *measuring)
{
	struct pollfd fd = {.fd = ivshmem_channel_fd(measuring->channel), .events = POLLIN};

	if (fd.fd < 0)
		return fd.fd;
	poll(&fd, 1, PARTICIPATE_STEP_MS);
	return check_alive(measuring);
}

/* Until the other end has received everything. */
static int
drain(struct measuring *measuring)
{
	for (;;) {
		int r = ivshmem_channel_drain(measuring->channel, PARTICIPATE_STEP_MS);

		if (r == 0)
			return 0;
		if (r == -ETIMEDOUT)
			r = check_alive(measuring);
		if (r < 0 && r != -EINTR)
			return r;
	}
}

static int
send_record(struct measuring *measuring, const void *record, size_t length)
{
	int r;

	while ((r = ivshmem_queue_send(measuring->channel, record, length)) == -EAGAIN)
		if ((r = wait_for(measuring, IVSHMEM_WRITABLE)) < 0)
			break;
	return r;
}

/* ---- one way ------------------------------------------------------------------------------ */

static int
send_records(struct measuring *measuring)
{
	struct ivshmem_record batch[BENCH_BATCH];

	for (unsigned i = 0; i < BENCH_BATCH; i++)
		batch[i] = (struct ivshmem_record){content, measuring->measure->length};
	while ((measuring->alive = clock_now()) < measuring->end) {
		int64_t n = ivshmem_queue_send_many(measuring->channel, batch, BENCH_BATCH);

		if (n == -EAGAIN)
			n = wait_for(measuring, IVSHMEM_WRITABLE);
		if (n < 0)
			return (int)n;
		measuring->records += (uint64_t)n;
		measuring->bytes += (uint64_t)n * measuring->measure->length;
		progress_show(&measuring->progress, measuring->bytes);
	}
	return 0;
}

static int
write_bytes(struct measuring *measuring)
{
	while ((measuring->alive = clock_now()) < measuring->end) {
		int64_t n = ivshmem_stream_write(
			measuring->channel, content, measuring->measure->length);

		if (n == -EAGAIN)
			n = wait_for(measuring, IVSHMEM_WRITABLE);
		if (n < 0)
			return (int)n;
		measuring->bytes += (uint64_t)n;
		progress_show(&measuring->progress, measuring->bytes);
	}
	return 0;
}

/* From the first byte until the other end has received the last one. */
static int
measure_one_way(struct measuring *measuring)
{
	uint64_t start = clock_now();
	int r;

	measuring->end = start + measuring->bench->duration;
	r = measuring->measure->one_way(measuring);
	if (r == 0)
		r = drain(measuring);
	measuring->took = (double)(clock_now() - start) / NSEC_PER_SEC;
	return r;
}

/* ---- there and back ----------------------------------------------------------------------- */

static int
exchange(struct measuring *measuring)
{
	char record[BENCH_ECHO_MOST];
	int64_t n = send_record(measuring, content, measuring->measure->length);

	while (n == 0) {
		n = ivshmem_queue_receive(measuring->channel, record, sizeof(record));
		if (n != -EAGAIN)
			break;
		n = measuring->measure->wish == BENCH_SLEEP ? sleep_until_readable(measuring)
							    : wait_for(measuring, IVSHMEM_READABLE);
	}
	if (n >= 0 && (size_t)n != measuring->measure->length)
		return -EPROTO;
	return n < 0 ? (int)n : 0;
}

static int
call(struct measuring *measuring)
{
	size_t length = measuring->measure->length;
	char reply[BENCH_ECHO_MOST];
	int64_t n;

	do {
		uint64_t timeout = measuring->bench->timeout;
		int ms = timeout == UINT64_MAX
				 ? -1
				 : channel_timeout(measuring->alive + timeout, INT32_MAX);

		n = ivshmem_call(measuring->channel, content, length, reply, sizeof(reply), ms);
	} while (n == -EINTR);
	if (n >= 0 && (size_t)n != length)
		return -EPROTO;
	return n < 0 ? (int)n : 0;
}

static int
measure_round_trips(struct measuring *measuring)
{
	uint64_t duration = measuring->bench->duration;
	uint64_t start, before;
	int r = 0;

	start = clock_now();
	for (unsigned i = 0; r == 0 && i < WARM_UP && clock_now() < start + duration; i++) {
		measuring->alive = clock_now();
		r = measuring->measure->round_trip(measuring);
	}
	start = before = clock_now();
	while (r == 0 && before < start + duration && measuring->times.n < MOST_TIMES) {
		measuring->alive = before;
		r = measuring->measure->round_trip(measuring);
		if (r == 0)
			times_add(&measuring->times, clock_now() - before);
		progress_count(&measuring->progress, measuring->times.n);
		before = clock_now();
	}
	return r;
}

/* ---- one measurement ---------------------------------------------------------------------- */

/* Whether a record finds its place, and what the other end is to do with all others. */
static int
begin(struct measuring *measuring)
{
	const struct measure *measure = measuring->measure;
	struct ivshmem_channel_status status = {.struct_size = sizeof(status)};
	char wish = (char)measure->wish;
	int r = ivshmem_channel_status(measuring->channel, &status);

	if (r == 0 && measure->kind == IVSHMEM_QUEUE && status.max_record < measure->length)
		return -EMSGSIZE;
	if (r == 0 && measure->wish == BENCH_SLEEP)
		r = ivshmem_channel_fd(measuring->channel);
	if (r >= 0 && measure->kind == IVSHMEM_QUEUE)
		r = send_record(measuring, &wish, 1);
	/* After this, the other end is there, and waits for us. */
	return r < 0 ? r : drain(measuring);
}

/* Nothing comes any more. -EAGAIN, or how the channel ended; what is not negative is nonsense. */
static int64_t
receive_end(struct ivshmem_channel *channel, enum ivshmem_channel_kind kind)
{
	char bytes[BENCH_ECHO_MOST];
	uint64_t number;
	int64_t n;
	int status;

	if (kind == IVSHMEM_QUEUE)
		return ivshmem_queue_receive(channel, bytes, sizeof(bytes));
	if (kind == IVSHMEM_CALL)
		return ivshmem_call_reply(channel, &number, &status, bytes, sizeof(bytes));
	n = ivshmem_stream_read(channel, bytes, sizeof(bytes));
	return n == 0 ? -EPIPE : n;
}

/* Until the other end has closed the channel: the next one gets the room of its ring. */
static int
finish(struct measuring *measuring)
{
	int r = ivshmem_channel_shutdown(measuring->channel);

	while (r == 0) {
		int64_t n = receive_end(measuring->channel, measuring->measure->kind);

		if (n == -EAGAIN)
			r = wait_for(measuring, IVSHMEM_READABLE);
		else
			r = n < 0 ? (int)n : -EPROTO;
	}
	return r == -EPIPE ? 0 : r;
}

static void
print_result(const struct measuring *measuring)
{
	const struct measure *measure = measuring->measure;
	double rate = (double)measuring->bytes / measuring->took;
	char size[SIZE_TEXT_MAX], text[TIMES_TEXT_MAX], bytes[RATE_TEXT_MAX];

	printf("%s, %s, %s: ", ivshmem_channel_kind_name(measure->kind),
		format_size(measure->length, size), measure->what);
	if (measure->round_trip)
		print_line("%s", times_text(&measuring->times, 2, text));
	else if (measure->kind == IVSHMEM_QUEUE)
		print_line("%.0f records/s, %s", (double)measuring->records / measuring->took,
			rate_text(rate, bytes));
	else
		print_line("%s", rate_text(rate, bytes));
}

static void
print_json(const struct measuring *measuring)
{
	const struct measure *measure = measuring->measure;
	struct json json = JSON_BEGIN;

	json_object(&json, NULL);
	json_string(&json, "kind", ivshmem_channel_kind_name(measure->kind));
	json_number(&json, "length", measure->length);
	json_string(&json, "what", measure->what);
	if (measure->round_trip) {
		json_number(&json, "round_trips", measuring->times.n);
		times_json(&measuring->times, &json);
	} else {
		json_decimal(&json, "seconds", measuring->took, 6);
		json_number(&json, "bytes", measuring->bytes);
		json_decimal(
			&json, "bytes_per_second", (double)measuring->bytes / measuring->took, 1);
	}
	if (measure->one_way && measure->kind == IVSHMEM_QUEUE) {
		json_number(&json, "records", measuring->records);
		json_decimal(&json, "records_per_second",
			(double)measuring->records / measuring->took, 1);
	}
	json_finish(&json);
}

static enum status
explain(const struct measuring *measuring, int r)
{
	const char *name = measuring->bench->name;

	if (r == -ETIMEDOUT) {
		fail("timed out: the other end of '%s' does nothing", name);
		return STATUS_TIMEOUT;
	}
	if (r == -EMSGSIZE)
		return fail(
			"the areas of the memory are too small for records of %zu bytes: cut it into "
			"fewer (ivshmem format --areas N), or take larger memory",
			measuring->measure->length);
	return channel_fail(measuring->channel, name, r);
}

static enum status
measure_through(struct measuring *measuring)
{
	const struct measure *measure = measuring->measure;
	int r;

	if (measure->round_trip && times_new(&measuring->times, MOST_TIMES) < 0)
		return fail("out of memory");
	measuring->alive = clock_now();
	r = begin(measuring);
	progress_begin(&measuring->progress, measuring->bench->cli,
		measure->round_trip ? "round trips" : "sent");
	if (r == 0)
		r = measure->round_trip ? measure_round_trips(measuring)
					: measure_one_way(measuring);
	progress_end(&measuring->progress);
	if (r == 0)
		r = finish(measuring);
	if (r < 0)
		return explain(measuring, r);
	times_sort(&measuring->times);
	if (measuring->bench->cli->json)
		print_json(measuring);
	else
		print_result(measuring);
	return output_failure() < 0 ? STATUS_FAILURE : STATUS_OK;
}

static enum status
measure(const struct bench *bench, const struct measure *measure)
{
	struct measuring measuring = {.bench = bench, .measure = measure};
	char name[BENCH_NAME_SIZE];
	enum status status = channel_connect(bench->cli, bench->participant,
		bench_channel_name(name, bench->name, measure->kind), measure->kind, 0,
		bench->timeout, &measuring.channel);

	if (status == STATUS_OK)
		status = measure_through(&measuring);
	times_free(&measuring.times);
	ivshmem_channel_close(measuring.channel);
	return status;
}

enum status
bench_measure(const struct bench *bench)
{
	static const struct measure measures[] = {
		{IVSHMEM_QUEUE, 64, "one way", BENCH_TAKE, .one_way = send_records},
		{IVSHMEM_QUEUE, 4096, "one way", BENCH_TAKE, .one_way = send_records},
		{IVSHMEM_STREAM, 65536, "one way", .one_way = write_bytes},
		{IVSHMEM_QUEUE, 8, "there and back", BENCH_ECHO, .round_trip = exchange},
		{IVSHMEM_CALL, 8, "there and back", .round_trip = call},
		{IVSHMEM_QUEUE, 8, "there and back, asleep", BENCH_SLEEP, .round_trip = exchange},
	};

	/* Pages that nobody has written to would all be one. */
	memset(content, 'b', sizeof(content));
	for (size_t i = 0; i < sizeof(measures) / sizeof(measures[0]); i++) {
		enum status status = measure(bench, &measures[i]);

		if (status != STATUS_OK)
			return status;
	}
	return STATUS_OK;
}
