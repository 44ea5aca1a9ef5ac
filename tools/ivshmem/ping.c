/* SPDX-License-Identifier: BSD-2-Clause */
#include "ping.h"

#include "await.h"
#include "heard.h"
#include "json.h"
#include "output.h"
#include "ring.h"
#include "times.h"

#include <base/clock.h>

#include <errno.h>
#include <inttypes.h>

/* ---- ping --------------------------------------------------------------------------------- */

static void
print_times(
	const struct session *session, const struct bell *bell, uint64_t sent, struct times *times)
{
	struct json json = JSON_BEGIN;
	char text[TIMES_TEXT_MAX];

	times_sort(times);
	if (session->cli->json) {
		json_object(&json, NULL);
		json_number(&json, "peer", bell->peer);
		json_number(&json, "vector", bell->vector);
		json_number(&json, "sent", sent);
		json_number(&json, "received", times->n);
		times_json(times, &json);
		json_finish(&json);
	} else if (times->n > 0) {
		print_line("peer %u vector %u: %s", bell->peer, bell->vector,
			times_text(times, 1, text));
	}
}

enum ping_end { PING_GOES_ON, PING_ENDED, PING_TIMED_OUT };

/* Sleep until `deadline` or, if `for_ring`, until `vector` is rung. */
static enum ping_end
ping_sleep(struct session *session, unsigned vector, bool for_ring, uint64_t deadline)
{
	for (;;) {
		unsigned wake = session_step(session, -1, deadline);

		if (for_ring && session_take(session, vector, UINT64_MAX) > 0)
			return PING_GOES_ON;
		if (wake & (SESSION_QUIT | SESSION_GONE))
			return PING_ENDED;
		if (wake & SESSION_TIMEOUT)
			return for_ring ? PING_TIMED_OUT : PING_GOES_ON;
	}
}

enum status
ping_peer(struct session *session, const struct bell *bell, uint64_t count, uint64_t interval,
	uint64_t timeout)
{
	enum status status = session_await_vector(session, (int)bell->vector, SESSION_FOREVER);
	enum ping_end end;
	uint64_t sent = 0, received;
	struct times times;

	if (status != STATUS_OK)
		return status;
	if (times_new(&times, (size_t)count) < 0)
		return fail("out of memory");
	session_mute(session, (int)bell->vector);

	/* Receive the rings from before, which are no answers. They are dropped below. */
	end = ping_sleep(session, 0, false, clock_now());
	while (sent < count && end == PING_GOES_ON) {
		uint64_t start;
		int r;

		session_take(session, bell->vector, UINT64_MAX);
		start = clock_now();
		r = ivshmem_ring(session->client, bell->peer, bell->vector);
		if (r < 0) {
			status = ring_fail(session, bell->peer, bell->vector, r);
			break;
		}
		sent++;
		end = ping_sleep(session, bell->vector, true, start + timeout);
		if (end == PING_GOES_ON)
			times_add(&times, clock_now() - start);
		if (end == PING_GOES_ON && interval > 0 && sent < count)
			end = ping_sleep(session, 0, false, start + interval);
	}

	print_times(session, bell, sent, &times);
	received = times.n;
	times_free(&times);
	session_unmute(session);
	if (end == PING_TIMED_OUT) {
		fail("timed out: peer %u did not ring back on our vector %u; run \"ivshmem echo %u:%u\" there",
			bell->peer, bell->vector, ivshmem_id(session->client), bell->vector);
		return STATUS_TIMEOUT;
	}
	if (end == PING_ENDED && session->quit)
		return fail("interrupted: %" PRIu64 " of %" PRIu64 " round trips were made",
			received, count);
	if (end == PING_ENDED)
		return session_check_attached(session);
	return status;
}

static struct {
	uint64_t count, interval, timeout;
} ping_given = {PING_COUNT, 0, PING_TIMEOUT_NS};

static const struct argument ping_options[] = {
	{"count", "N", "make N round trips (default: 100)", .letter = 'c',
		.count = &ping_given.count, .min = 1, .max = PING_COUNT_MAX},
	{"interval", "SECONDS",
		"the shortest time between two rings, which may be a fraction (default: 0, ring as "
		"soon as the answer has arrived)",
		.letter = 'i', .ns = &ping_given.interval, .max = TIME_YEAR},
	{"timeout", "SECONDS", "give up when an answer takes longer than this (default: 5)",
		.letter = 'w', .ns = &ping_given.timeout, .max = TIME_YEAR},
};

static enum status
ping_run(const struct cli *cli, char *const *operands)
{
	_session_free_ struct session *session = session_new();
	struct bell bell;
	enum status status;

	if (!session)
		return STATUS_FAILURE;
	if (operand_single_bell(operands[0], &bell) < 0)
		return STATUS_USAGE;
	session->needs_peers = true;
	session->hears = (int)bell.vector;
	status = session_open(session, cli, session_event_note, true, STATUS_FAILURE);
	if (status == STATUS_OK)
		status = session_await_vector(session, (int)bell.vector, SESSION_FOREVER);
	if (status != STATUS_OK)
		return status;
	note(cli, "ringing as peer %u", ivshmem_id(session->client));
	return ping_peer(session, &bell, ping_given.count, ping_given.interval, ping_given.timeout);
}

const struct command command_ping = {
	.name = "ping",
	.operands = "PEER[:VECTOR]",
	.min_operands = 1,
	.max_operands = 1,
	.summary = "measure round trips to a peer that runs echo",
	.description =
		"Rings VECTOR (default: 0) of PEER, waits until our own vector of the same number is "
		"rung, and repeats this. Then prints the shortest, the median, the 99th percentile "
		"and the longest time in microseconds. The peer must run echo with our id.\n"
		"A ring does not tell who rang, so any ring on that vector counts as the answer. "
		"Pinging our own id is possible, and measures this process and its kernel alone.\n"
		"SIGINT and SIGTERM end it: the command prints what it measured, and the exit code "
		"is 1.",
	CLI_OPTIONS(ping_options),
	.json = "{\"peer\":P,\"vector\":V,\"sent\":N,\"received\":N,\n"
		" " TIMES_JSON_HELP "}\n"
		"The times are null if nothing was received.",
	.statuses =
		"3 if an answer did not arrive in time; what was measured until then was printed.",
	.examples = "ivshmem ping 1:1 --count 1000\n"
		    "ivshmem --json ping 0 --interval 0.01",
	.run = ping_run,
};

/* ---- echo --------------------------------------------------------------------------------- */

struct echo {
	struct session *session;
	const struct bell *bell;
	uint64_t count, done;
	bool waiting; /* the peer cannot be rung now */
};

/* The most rings between two looks at the signals: how many there are is up to the peers. */
#define ECHO_BATCH 1024

/* Ring back once for each ring that arrived. If the peer cannot be rung yet, try again later. */
static enum status
echo_answer(struct echo *echo)
{
	const struct bell *bell = echo->bell;
	struct session *session = echo->session;

	for (unsigned i = 0; i < ECHO_BATCH; i++) {
		int r;

		if (echo->done == echo->count || session->vectors[bell->vector].unconsumed == 0)
			break;
		r = ivshmem_ring(session->client, bell->peer, bell->vector);
		if (r == -ENOENT || r == -EINVAL) {
			if (!echo->waiting)
				note(session->cli,
					"peer %u has no vector %u yet: it is rung when it has",
					bell->peer, bell->vector);
			echo->waiting = true;
			return STATUS_OK;
		}
		if (r < 0)
			return ring_fail(session, bell->peer, bell->vector, r);
		session_take(session, bell->vector, 1);
		echo->done++;
		echo->waiting = false;
	}
	return STATUS_OK;
}

static void
echo_print(const struct echo *echo)
{
	struct json json = JSON_BEGIN;

	if (!echo->session->cli->json) {
		print_line("peer %u vector %u: rang back %" PRIu64 " time%s", echo->bell->peer,
			echo->bell->vector, echo->done, echo->done == 1 ? "" : "s");
		return;
	}
	json_object(&json, NULL);
	json_number(&json, "peer", echo->bell->peer);
	json_number(&json, "vector", echo->bell->vector);
	json_number(&json, "echoed", echo->done);
	json_finish(&json);
}

enum status
echo_peer(struct session *session, const struct bell *bell, uint64_t count, uint64_t timeout)
{
	struct echo echo = {.session = session, .bell = bell, .count = count};
	uint64_t deadline = session_deadline(timeout);
	enum status status = session_await_vector(session, (int)bell->vector, deadline);
	unsigned wake = 0;

	if (status != STATUS_OK)
		return status;
	session_mute(session, (int)bell->vector);
	for (;;) {
		uint64_t before = echo.done;
		bool more;

		status = echo_answer(&echo);
		if (echo.done > before) {
			deadline = session_deadline(timeout);
			wake &= ~(unsigned)SESSION_TIMEOUT;
		}
		if (status != STATUS_OK || echo.done == count ||
			wake & (SESSION_QUIT | SESSION_TIMEOUT))
			break;
		more = session->vectors[bell->vector].unconsumed > 0 && !echo.waiting;
		wake = session_step(session, -1, more ? 0 : deadline);
		if (wake & SESSION_GONE)
			break;
		if (more)
			wake &= ~(unsigned)SESSION_TIMEOUT;
	}
	echo_print(&echo);
	session_unmute(session);

	if (status != STATUS_OK || echo.done == count)
		return status;
	if (wake & SESSION_GONE)
		return session_check_attached(session);
	if (wake & SESSION_QUIT) {
		if (count == UINT64_MAX)
			return STATUS_OK;
		return fail("interrupted: rang back %" PRIu64 " of %" PRIu64 " times", echo.done,
			count);
	}
	fail("timed out: nothing came on our vector %u for long", bell->vector);
	return STATUS_TIMEOUT;
}

static struct {
	uint64_t count, timeout;
} echo_given = {UINT64_MAX, SESSION_FOREVER};

static const struct argument echo_options[] = {
	{"count", "N", "end after N rings back (default: go on for ever)", .letter = 'c',
		.count = &echo_given.count, .min = 1},
	{"timeout", "SECONDS", "give up when no interrupt has arrived for SECONDS (default: never)",
		.letter = 'w', .ns = &echo_given.timeout, .max = TIME_YEAR},
};

static enum status
echo_run(const struct cli *cli, char *const *operands)
{
	_session_free_ struct session *session = session_new();
	struct bell bell;
	enum status status;

	if (!session)
		return STATUS_FAILURE;
	if (operand_single_bell(operands[0], &bell) < 0)
		return STATUS_USAGE;
	session->needs_peers = true;
	session->hears = (int)bell.vector;
	status = session_open(session, cli, session_event_note, true,
		echo_given.count == UINT64_MAX ? STATUS_OK : STATUS_FAILURE);
	if (status == STATUS_OK)
		status = session_await_vector(
			session, (int)bell.vector, session_deadline(echo_given.timeout));
	if (status != STATUS_OK)
		return status;
	note(cli, "echoing as peer %u", ivshmem_id(session->client));
	return echo_peer(session, &bell, echo_given.count, echo_given.timeout);
}

const struct command command_echo = {
	.name = "echo",
	.operands = "PEER[:VECTOR]",
	.min_operands = 1,
	.max_operands = 1,
	.summary = "ring back for each interrupt, the other end of ping",
	.description =
		"Rings VECTOR (default: 0) of PEER once for each ring of our own vector of the same "
		"number, also if several rings arrive together. At the end, prints how many there "
		"were.\n"
		"PEER need not be connected yet: the command rings it as soon as it is there, so "
		"echo can be started before ping.\n"
		"SIGINT and SIGTERM end it, with exit code 0, or 1 if there were fewer rings than "
		"--count asks for.",
	CLI_OPTIONS(echo_options),
	.json = "{\"peer\":P,\"vector\":V,\"echoed\":N}",
	.statuses = "3 if no interrupt arrived for the time of --timeout.",
	.examples = "ivshmem echo 0:1\n"
		    "ivshmem echo 2 --count 1000 --timeout 30",
	.run = echo_run,
};
