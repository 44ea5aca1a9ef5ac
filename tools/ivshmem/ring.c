/* SPDX-License-Identifier: BSD-2-Clause */
#include "ring.h"

#include "await.h"
#include "json.h"
#include "output.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Say who is connected, as far as it fits: "0, 2, 5 and 12 more are". */
static void
describe_peers(const struct session *session, char *buffer, size_t size)
{
	uint16_t ids[16];
	int n = ivshmem_peers(session->client, ids, 16);
	size_t used = 0;

	if (n <= 0) {
		snprintf(buffer, size, "nobody else is");
		return;
	}
	for (int i = 0; i < n && i < 16 && used < size; i++)
		used += (size_t)snprintf(
			buffer + used, size - used, "%s%u", i > 0 ? ", " : "", ids[i]);
	if (n > 16 && used < size)
		used += (size_t)snprintf(buffer + used, size - used, " and %d more", n - 16);
	if (used < size)
		snprintf(buffer + used, size - used, n == 1 ? " is" : " are");
}

enum status
ring_fail(const struct session *session, uint16_t peer, unsigned vector, int error)
{
	char text[VECTORS_TEXT_MAX], others[160];
	int vectors;

	switch (-error) {
	case ENOENT:
		describe_peers(session, others, sizeof(others));
		return fail("cannot ring peer %u: it is not connected (%s)", peer, others);
	case EINVAL:
		vectors = ivshmem_peer_vectors(session->client, peer);
		if (vectors == 0)
			return fail("cannot ring peer %u on vector %u: it has no vectors", peer,
				vector);
		if (vectors > 0)
			return fail("cannot ring peer %u on vector %u: it has %s, counted from 0",
				peer, vector, vectors_text((unsigned)vectors, text));
		return fail(
			"cannot ring peer %u on vector %u: there is no such vector", peer, vector);
	case ENODEV:
		return fail("cannot ring peer %u: the device is gone, it was unplugged", peer);
	default:
		return fail("cannot ring peer %u on vector %u: %s", peer, vector, strerror(-error));
	}
}

struct ringing {
	struct session *session;
	uint64_t count;
	struct json json;
	enum status status;
};

/* Ring once. If the server may still announce the peer or the vector, wait for it. */
static int
ring_once(struct session *session, uint16_t peer, unsigned vector)
{
	for (;;) {
		int r = ivshmem_ring(session->client, peer, vector);

		if ((r != -ENOENT && r != -EINVAL) || !session_await_news(session))
			return r;
	}
}

static void
ring_vector(struct ringing *ringing, uint16_t peer, unsigned vector)
{
	for (uint64_t i = 0; i < ringing->count; i++) {
		int r = ring_once(ringing->session, peer, vector);

		if (i % 4096 == 4095 && session_interrupted(ringing->session)) {
			ringing->status = STATUS_FAILURE;
			return;
		}
		if (r < 0) {
			ringing->status = ring_fail(ringing->session, peer, vector, r);
			return;
		}
	}
	if (ringing->session->cli->json) {
		json_object(&ringing->json, NULL);
		json_number(&ringing->json, "peer", peer);
		json_number(&ringing->json, "vector", vector);
		json_number(&ringing->json, "count", ringing->count);
		json_end(&ringing->json);
	}
}

static void
ring_peer(struct ringing *ringing, uint16_t peer, const struct bell *bell)
{
	int vectors;

	if (!bell->all_vectors) {
		ring_vector(ringing, peer, bell->vector);
		return;
	}
	vectors = ivshmem_peer_vectors(ringing->session->client, peer);
	if (vectors == -EOPNOTSUPP) {
		ringing->status = fail(
			"in a guest the device does not tell how many vectors peer %u has: name them, such as %u:0 %u:1",
			peer, peer, peer);
	} else if (vectors < 0) {
		ringing->status = ring_fail(ringing->session, peer, 0, vectors);
	}
	for (int i = 0; i < vectors; i++)
		ring_vector(ringing, peer, (unsigned)i);
}

static void
ring_all(struct ringing *ringing, const struct bell *bell)
{
	const struct ivshmem_client *client = ringing->session->client;
	int n = ivshmem_peers(client, NULL, 0);
	uint16_t *ids;

	if (n == -EOPNOTSUPP) {
		ringing->status = fail(
			"in a guest the device does not tell who is connected: name the peers, such as 0:1 2:1");
		return;
	}
	if (n < 0) {
		ringing->status = fail("cannot list the peers: %s", strerror(-n));
		return;
	}
	if (n == 0) {
		note(ringing->session->cli, "nobody was rung: no other peer is connected");
		return;
	}
	ids = calloc((size_t)n, sizeof(*ids));
	if (!ids) {
		ringing->status = fail("out of memory");
		return;
	}
	n = ivshmem_peers(client, ids, (size_t)n);
	for (int i = 0; i < n; i++)
		ring_peer(ringing, ids[i], bell);
	free(ids);
}

enum status
ring_bells(struct session *session, const struct bell *bells, unsigned n_bells, uint64_t count)
{
	struct ringing ringing = {
		.session = session,
		.count = count,
		.json = JSON_BEGIN,
		.status = STATUS_OK,
	};

	if (session_check_attached(session) != STATUS_OK ||
		session_check_peers(session) != STATUS_OK)
		return STATUS_FAILURE;
	if (session->cli->json) {
		json_object(&ringing.json, NULL);
		json_array(&ringing.json, "rung");
	}
	for (unsigned i = 0; i < n_bells; i++) {
		if (bells[i].all_peers)
			ring_all(&ringing, &bells[i]);
		else
			ring_peer(&ringing, bells[i].peer, &bells[i]);
	}
	if (session->cli->json)
		json_finish(&ringing.json);
	return ringing.status;
}

static uint64_t given_count = 1;

static const struct argument ring_options[] = {
	{"count", "N", "ring each of them N times (default: 1)", .letter = 'c',
		.count = &given_count, .min = 1},
};

static enum status
ring_run(const struct cli *cli, char *const *operands)
{
	_session_free_ struct session *session = session_new();
	enum status status = STATUS_OK;
	unsigned n_bells = 1;
	struct bell *bells;

	if (!session)
		return STATUS_FAILURE;
	while (operands[n_bells])
		n_bells++;
	bells = calloc(n_bells, sizeof(*bells));
	if (!bells)
		return fail("out of memory");
	for (unsigned i = 0; i < n_bells && status == STATUS_OK; i++) {
		if (operand_bell(operands[i], &bells[i]) < 0)
			status = STATUS_USAGE;
	}
	session->looks = true;
	session->needs_peers = true;
	if (status == STATUS_OK)
		status = session_open(session, cli, NULL, false, STATUS_OK);
	if (status == STATUS_OK)
		status = ring_bells(session, bells, n_bells, given_count);
	free(bells);
	return status;
}

const struct command command_ring = {
	.name = "ring",
	.operands = "PEER[:VECTOR]...",
	.min_operands = 1,
	.max_operands = INT_MAX,
	.summary = "interrupt other peers",
	.description =
		"Rings each of the peers given, on vector 0 unless a vector follows the colon. "
		"PEER:all means all vectors of that peer, all means all vectors of all peers but "
		"ourselves, and all:VECTOR means that vector of all peers but ourselves.\n"
		"Everything that was stored to the memory before the ring is visible to the peer "
		"when it wakes up. Rings of one vector add up until the peer takes them, and do not "
		"tell who rang.\n"
		"If the server has no socket for observers, it announces peers and vectors one by "
		"one. The command then waits for a missing peer or vector as long as others arrive, "
		"and for 2 seconds after the last one.\n"
		"In a guest, a ring to a peer or vector that does not exist is silently lost, and "
		"the forms with all are not possible, because the device does not tell who is "
		"connected.",
	CLI_OPTIONS(ring_options),
	.json = "{\"rung\":[{\"peer\":P,\"vector\":V,\"count\":N},...]}",
	.statuses = "1 if one of them could not be rung; the others were.",
	.examples = "ivshmem ring 1\n"
		    "ivshmem ring 1:0 2:3 --count 5\n"
		    "ivshmem ring all",
	.run = ring_run,
};
