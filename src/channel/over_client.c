/* SPDX-License-Identifier: BSD-2-Clause */

/* Participants over libivshmem: a transport that is a client. */
#include <channel/participant.h>

#include <base/clock.h>
#include <base/error.h>
#include <base/sized.h>

#include <ivshmem/client.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The server announces each peer that is there within this time. */
#define ANNOUNCED (3 * NSEC_PER_SEC)
#define PEERS     65536

struct over_client {
	struct ivshmem_client *client;
	struct ivshmem_participant *participant;
	struct ivshmem_options attach; /* the user's */
	struct ivshmem_ops user;       /* its callbacks */
	bool knows_peers;              /* the server tells who is there */
	bool is_rung;                  /* the participant dispatches when it is rung */
	bool is_unplugged;             /* the device left */
	uint8_t has_left[PEERS / 8];   /* a bit for each peer */
	/* clock_now() of the first question about a peer that is not there; 0: there was none. */
	uint64_t unknown_since[PEERS];
};

/* ---- who is there ---------------------------------------------------------------------------- */

static void
peer_joined(struct ivshmem_client *client, uint16_t peer, unsigned vectors, void *data)
{
	struct over_client *over = data;

	(void)client;
	(void)vectors;
	over->has_left[peer / 8] &= (uint8_t) ~(1u << peer % 8);
	over->unknown_since[peer] = 0;
}

static void
peer_left(struct ivshmem_client *client, uint16_t peer, void *data)
{
	struct over_client *over = data;

	(void)client;
	over->has_left[peer / 8] |= (uint8_t)(1u << peer % 8);
	/* Its areas are those of a dead participant now. */
	if (over->participant)
		over->participant->next_check = 0;
}

/* vfio leaves the memory here until we detach, so others can be told. Through our driver it is
 * gone. */
static void
end_participant(struct over_client *over)
{
	if (strcmp(ivshmem_backend(over->client), "vfio") == 0)
		participant_mark_dead(over->participant);
	participant_lose(over->participant, -ENODEV);
}

static void
lost(struct ivshmem_client *client, const struct ivshmem_error *error, void *data)
{
	struct over_client *over = data;

	over->knows_peers = false;
	over->is_unplugged = error->code == -ENODEV;
	if (over->is_unplugged && over->participant)
		end_participant(over);
	if (over->user.lost)
		over->user.lost(client, error, over->attach.data);
}

static void
log_for_user(struct ivshmem_client *client, enum ivshmem_log_level level, const char *message,
	void *data)
{
	struct over_client *over = data;

	over->user.log(client, level, message, over->attach.data);
}

static bool
is_gone(void *data, uint16_t peer)
{
	struct over_client *over = data;
	uint64_t now = clock_now();

	/* Nobody asks the participant to look for interrupts that we would take here. */
	if (!over->is_rung)
		ivshmem_dispatch(over->client, 0);
	if (!over->knows_peers || ivshmem_peer_vectors(over->client, peer) >= 0 ||
		(ivshmem_has_id(over->client) && ivshmem_id(over->client) == peer))
		return false;
	if (over->has_left[peer / 8] >> peer % 8 & 1)
		return true;
	if (over->unknown_since[peer] == 0)
		over->unknown_since[peer] = now;
	return now - over->unknown_since[peer] > ANNOUNCED;
}

/* ---- ringing and being rung ------------------------------------------------------------------ */

static int
ring(void *data, uint16_t peer, unsigned vector)
{
	struct over_client *over = data;

	return ivshmem_ring(over->client, peer, vector);
}

static void
clear(void *data)
{
	struct over_client *over = data;

	ivshmem_dispatch(over->client, 0);
}

static int
on_close(void *data, const struct ivshmem_store *stores, size_t n_stores,
	const struct ivshmem_target *targets, size_t n_targets)
{
	struct over_client *over = data;

	return ivshmem_on_close(over->client, stores, n_stores, targets, n_targets);
}

static void
close_client(void *data)
{
	struct over_client *over = data;

	ivshmem_detach(over->client);
	free(over);
}

/* ---- opening --------------------------------------------------------------------------------- */

static int
open_over(struct ivshmem_participant **ret_participant, struct over_client *over,
	const char *target, const struct ivshmem_participant_options *options,
	struct ivshmem_error *reterr)
{
	struct ivshmem_client *client = over->client;
	unsigned vector = options->vector;
	struct ivshmem_transport transport = {
		.struct_size = sizeof(transport),
		.memory = ivshmem_memory(client),
		.size = ivshmem_size(client),
		.uncached = ivshmem_memory_mapping(client) != IVSHMEM_MAPPING_WRITE_BACK,
		.ring = strcmp(ivshmem_doorbell(client), "none") == 0 ? NULL : ring,
		.fd = -1,
		.is_gone = is_gone,
		.on_close = on_close,
		.close = close_client,
		.data = over,
	};

	if (ivshmem_read_only(client))
		return error_set(reterr, -EACCES,
			"%s is mapped for reading only, and channels write to it: %s", target,
			strstr(target, ",ro")
				? "leave out the ,ro at its end"
				: "the server's policy decides (--read-only-user, --read-only-group)");
	over->knows_peers = ivshmem_peers(client, NULL, 0) >= 0;
	if (ivshmem_has_id(client) && ivshmem_vectors(client) > 0) {
		if (vector >= ivshmem_vectors(client))
			return error_set(reterr, -EINVAL,
				"%s has no vector %u: it has %u, numbered from 0", target, vector,
				ivshmem_vectors(client));
		transport.fd = ivshmem_fd(client);
		transport.clear = clear;
		transport.peer = ivshmem_id(client);
		transport.vector = vector;
	}
	return ivshmem_participant_open_over(ret_participant, &transport, options, reterr);
}

static int
attach(struct over_client *over, const char *target,
	const struct ivshmem_participant_options *participant, struct ivshmem_error *reterr)
{
	struct ivshmem_ops ops = {
		.struct_size = sizeof(ops),
		.peer_joined = peer_joined,
		.peer_left = peer_left,
		.lost = lost,
	};
	const struct ivshmem_options *given = participant->attach;
	struct ivshmem_options options;
	int r = given ? SIZED_IN(struct ivshmem_options, backend, &over->attach, given, reterr) : 0;

	if (r == 0 && over->attach.ops)
		r = SIZED_IN(struct ivshmem_ops, log, &over->user, over->attach.ops, reterr);
	if (r < 0)
		return r;
	if (over->user.log)
		ops.log = log_for_user;
	options = over->attach;
	options.struct_size = sizeof(options);
	options.ops = &ops;
	options.data = over;
	options.vectors = &participant->vector;
	options.n_vectors = 1;
	return ivshmem_attach(&over->client, target, &options, reterr);
}

EXPORT const struct ivshmem_client *
ivshmem_participant_client(const struct ivshmem_participant *participant)
{
	const struct over_client *over = participant->transport.data;

	return participant->transport.close == close_client ? over->client : NULL;
}

EXPORT int
ivshmem_participant_open(struct ivshmem_participant **ret_participant, const char *target,
	const struct ivshmem_participant_options *given, struct ivshmem_error *reterr)
{
	struct ivshmem_participant_options options = {.struct_size = sizeof(options)};
	struct over_client *over;
	int r = given ? SIZED_IN(struct ivshmem_participant_options, areas, &options, given, reterr)
		      : 0;

	if (r < 0)
		return r;
	options.struct_size = sizeof(options);
	over = calloc(1, sizeof(*over));
	if (!over)
		return error_set(reterr, -ENOMEM, "out of memory");
	r = attach(over, target, &options, reterr);
	if (r == 0)
		r = open_over(ret_participant, over, target, &options, reterr);
	if (r < 0) {
		close_client(over);
		return r;
	}
	over->participant = *ret_participant;
	over->is_rung = over->participant->transport.fd >= 0;
	if (over->is_unplugged)
		end_participant(over);
	return 0;
}
