/* SPDX-License-Identifier: BSD-2-Clause */
#include "wait.h"

#include "await.h"
#include "heard.h"
#include "json.h"
#include "output.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>

struct waiting {
	struct session *session;
	int vector;
	uint64_t missing;
	uint64_t got[IVSHMEM_MAX_VECTORS];
};

static void
take_rings(struct waiting *waiting)
{
	unsigned first = 0, end = IVSHMEM_MAX_VECTORS;

	if (waiting->vector != IVSHMEM_ANY_VECTOR) {
		first = (unsigned)waiting->vector;
		end = first + 1;
	}
	for (unsigned i = first; i < end && waiting->missing > 0; i++) {
		uint64_t taken = session_take(waiting->session, i, waiting->missing);

		waiting->got[i] += taken;
		waiting->missing -= taken;
	}
}

static void
print_rings(const struct waiting *waiting, bool timed_out)
{
	struct json json = JSON_BEGIN;

	if (!waiting->session->cli->json) {
		for (unsigned i = 0; i < IVSHMEM_MAX_VECTORS; i++) {
			if (waiting->got[i] > 0)
				print_line("vector %u count %" PRIu64, i, waiting->got[i]);
		}
		return;
	}
	json_object(&json, NULL);
	json_array(&json, "vectors");
	for (unsigned i = 0; i < IVSHMEM_MAX_VECTORS; i++) {
		if (waiting->got[i] == 0)
			continue;
		json_object(&json, NULL);
		json_number(&json, "vector", i);
		json_number(&json, "count", waiting->got[i]);
		json_end(&json);
	}
	json_end(&json);
	json_bool(&json, "timed_out", timed_out);
	json_finish(&json);
}

enum status
wait_for_rings(struct session *session, int vector, uint64_t count, uint64_t deadline)
{
	struct waiting waiting = {.session = session, .vector = vector, .missing = count};
	unsigned wake = 0;

	if (session_await_vector(session, vector, deadline) != STATUS_OK)
		return STATUS_FAILURE;
	session_mute(session, vector);
	for (;;) {
		take_rings(&waiting);
		if (waiting.missing == 0 || wake & (SESSION_QUIT | SESSION_GONE | SESSION_TIMEOUT))
			break;
		wake = session_step(session, -1, deadline);
	}
	print_rings(&waiting, waiting.missing > 0 && wake & SESSION_TIMEOUT);
	session_unmute(session);

	if (waiting.missing == 0)
		return STATUS_OK;
	if (wake & SESSION_QUIT)
		return fail("interrupted: %" PRIu64 " of %" PRIu64 " interrupts came",
			count - waiting.missing, count);
	if (wake & SESSION_GONE)
		return session_check_attached(session);
	fail("timed out: %" PRIu64 " of %" PRIu64 " interrupts came", count - waiting.missing,
		count);
	return STATUS_TIMEOUT;
}

static struct {
	unsigned vector; /* UINT_MAX: any */
	uint64_t count, timeout;
} given = {UINT_MAX, 1, SESSION_FOREVER};

static const struct argument wait_options[] = {
	{"vector", "V", "wait for interrupts on vector V only (default: any)", .letter = 'V',
		.number = &given.vector, .max = IVSHMEM_MAX_VECTORS - 1},
	{"count", "N", "wait for N interrupts (default: 1)", .letter = 'c', .count = &given.count,
		.min = 1},
	{"timeout", "SECONDS",
		"give up after SECONDS, which may be a fraction (default: wait for ever)",
		.letter = 'w', .ns = &given.timeout, .max = TIME_YEAR},
};

static enum status
wait_run(const struct cli *cli, char *const *operands)
{
	_session_free_ struct session *session = session_new();
	int vector = given.vector == UINT_MAX ? IVSHMEM_ANY_VECTOR : (int)given.vector;
	enum status status;
	uint64_t deadline;

	(void)operands;
	if (!session)
		return STATUS_FAILURE;
	session->needs_peers = true;
	session->hears = vector;
	status = session_open(session, cli, session_event_note, true, STATUS_FAILURE);
	if (status != STATUS_OK)
		return status;
	deadline = session_deadline(given.timeout);
	status = session_await_vector(session, vector, deadline);
	if (status != STATUS_OK)
		return status;
	note(cli, "waiting as peer %u", ivshmem_id(session->client));
	return wait_for_rings(session, vector, given.count, deadline);
}

const struct command command_wait = {
	.name = "wait",
	.operands = "",
	.summary = "wait for interrupts",
	.description =
		"Waits until the requested number of interrupts has arrived, then prints a line "
		"\"vector V count C\" for each vector that was rung. The counts add up to the "
		"requested number; rings beyond it are not taken.\n"
		"A host process is a new peer each time it attaches, so the command notes its id on "
		"stderr before it begins to wait.\n"
		"A server announces our vectors one by one. If vector V is not there yet, the "
		"command waits for it as long as more vectors arrive, and for 2 seconds after the "
		"last one.\n"
		"SIGINT and SIGTERM end the wait: the command prints the interrupts that arrived, "
		"and the exit code is 1. If the server goes away, the wait goes on, because "
		"connected peers can still ring.",
	CLI_OPTIONS(wait_options),
	.json = "{\"vectors\":[{\"vector\":V,\"count\":C},...],\"timed_out\":BOOL}",
	.statuses = "3 if it timed out; what arrived until then was printed.",
	.examples = "ivshmem wait\n"
		    "ivshmem wait --vector 1 --count 3 --timeout 10",
	.run = wait_run,
};
