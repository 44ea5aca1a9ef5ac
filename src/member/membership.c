/* SPDX-License-Identifier: BSD-2-Clause */

/* Joining and leaving. */

#include <member/membership.h>

#include <base/clock.h>
#include <base/error.h>
#include <trace/trace.h>

#include <errno.h>
#include <stdlib.h>

#define DEFAULT_TIMEOUT_MS 5000

/* ---- life ------------------------------------------------------------------------------------ */

int
member_open(struct member **ret_member, struct loop *loop, const struct member_config *config,
	const struct log *log, struct ivshmem_error *reterr)
{
	unsigned timeout_ms = config->timeout_ms ? config->timeout_ms : DEFAULT_TIMEOUT_MS;
	struct member *member = calloc(1, sizeof(*member));
	int r;

	if (!member)
		return error_set(reterr, -ENOMEM, "out of memory");
	member->log = log;
	member->lost = config->lost;
	member->joined = config->joined;
	member->data = config->data;
	member->has_server = config->server != NULL;
	member->id = member->has_server ? IVSHMEM_DEVICE_NO_ID : 0;
	member->memory_fd = -1;
	uplink_init(&member->uplink, &member_uplink_ops, loop, log,
		config->cancel > 0 ? config->cancel : -1);
	ringer_prepare(&member->uplink.ringer);
	member->kept = config->kept;
	if (member->kept)
		member->uplink.wire_log = member->kept->wire_log;
	if (member->has_server)
		r = messages_open(member, config,
			config->joined ? 0 : clock_now() + timeout_ms * NSEC_PER_MSEC, reterr);
	else
		r = memory_open(member, config, reterr);
	if (r < 0) {
		member_close(member);
		return r;
	}
	if (!config->joined)
		TRACE(member_joined, member->id, member->n_own, member->size);
	*ret_member = member;
	return 0;
}

struct member *
member_close(struct member *member)
{
	if (!member)
		return NULL;
	TRACE(member_left, member->id);
	member->device = NULL;
	vectors_close(member);
	uplink_close(&member->uplink);
	memory_release(member);
	free(member);
	return NULL;
}

/* ---- the device ------------------------------------------------------------------------------ */

int
member_attach(struct member *member, struct ivshmem_device *device, struct ivshmem_error *reterr)
{
	int r;

	member->device = device;
	if (member->id >= 0 && ivshmem_device_id(device) == IVSHMEM_DEVICE_NO_ID)
		ivshmem_device_set_id(device, (uint16_t)member->id);
	r = memory_tell_device(member, reterr);
	if (r < 0) {
		member->device = NULL;
		return r;
	}
	vectors_attach(member);
	return 0;
}

void
member_detach(struct member *member)
{
	member->device = NULL;
	vectors_detach(member);
}

/* ---- what there is --------------------------------------------------------------------------- */

struct member_kept *
member_kept(const struct member *member)
{
	return member->kept;
}

bool
member_has_server(const struct member *member)
{
	return member->has_server;
}

int32_t
member_id(const struct member *member)
{
	return member->id;
}

size_t
member_peers(const struct member *member, uint16_t *ids, size_t max)
{
	return peers_list(&member->uplink.peers, NULL, ids, max);
}
