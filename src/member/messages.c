/* SPDX-License-Identifier: BSD-2-Clause */

/* What the server says, and how to wait for it. */

#include <member/membership.h>

#include <base/clock.h>
#include <base/fd.h>
#include <trace/trace.h>

#include <errno.h>

/* ---- what the server says ---------------------------------------------------------------------- */

static struct member *
member_of(struct uplink *uplink)
{
	return container_of(uplink, struct member, uplink);
}

static void
identified(struct uplink *uplink)
{
	const struct follower *follower = &uplink->follower;
	struct member *member = member_of(uplink);

	member->id = follower->id;
	log_debug(member->log, "our id is %u%s", follower->id,
		follower->is_2010 ? "; the server speaks the dialect of 2010" : "");
	/* take_memory() tells it of the memory, which may come before the id or after it. */
	if (member->device)
		ivshmem_device_set_id(member->device, follower->id);
}

static int
take_memory(struct uplink *uplink, int *fd, struct ivshmem_error *reterr)
{
	struct member *member = member_of(uplink);
	int r = memory_take(member, fd, reterr);

	if (r < 0)
		return r;
	r = memory_tell_device(member, reterr);
	/* Nobody may get memory that the device has refused. */
	if (r < 0)
		memory_release(member);
	return r;
}

static int
take_vector(struct uplink *uplink, struct remote *remote)
{
	struct member *member = member_of(uplink);

	if (remote->n_vectors == 1 && !uplink_is_self(uplink, remote->id)) {
		TRACE(member_peer_joined, member->id, remote->id);
		log_debug(member->log, "peer %u joined", remote->id);
	}
	return vectors_add(member, remote);
}

static void
take_left(struct uplink *uplink, struct remote *remote)
{
	struct member *member = member_of(uplink);

	TRACE(member_peer_left, member->id, remote->id);
	log_debug(member->log, "peer %u left", remote->id);
	vectors_remove_peer(member, remote);
}

static void
handled(struct uplink *uplink)
{
	struct member *member = member_of(uplink);
	void (*joined)(struct member *, void *) = member->joined;

	if (!joined || member->id < 0 || !member->memory)
		return;
	TRACE(member_joined, member->id, member->n_own, member->size);
	member->joined = NULL;
	joined(member, member->data);
}

static void
lost(struct uplink *uplink, const struct ivshmem_error *error)
{
	struct member *member = member_of(uplink);

	TRACE(member_lost, member->id, error->code);
	if (member->lost)
		member->lost(member, error, member->data);
}

const struct uplink_ops member_uplink_ops = {
	.identified = identified,
	.memory = take_memory,
	.vector = take_vector,
	.left = take_left,
	.handled = handled,
	.lost = lost,
};

/* ---- joining --------------------------------------------------------------------------------- */

/* Wait for `vectors` vectors of our own, or until no more seem to come. */
static int
settle(struct member *member, uint64_t deadline, unsigned vectors, struct ivshmem_error *reterr)
{
	int r = vectors == 0 ? 0
			     : uplink_settle(&member->uplink, vectors, 0, SETTLE, deadline, reterr);

	if (r == 0 && member->n_own < vectors)
		log_warning(member->log,
			"the server gave us %u vector%s, but the device has %u: nobody can ring the others; give the device and the server the same number",
			member->n_own, member->n_own == 1 ? "" : "s", vectors);
	return r;
}

/* Wait for the id, the memory and our vectors. */
static int
greet(struct member *member, const struct member_config *config, uint64_t deadline,
	struct ivshmem_error *reterr)
{
	int r;

	if (config->late)
		deadline = clock_now() + config->late_ms * NSEC_PER_MSEC;
	r = uplink_greet(&member->uplink, deadline, reterr);
	if (config->late && r == -ETIMEDOUT) {
		log_warning(member->log,
			"the server has not sent %s yet: until it does, the guest reads -1 as its id, and a VMM that comes before reaches the memory by messages only, which is slow",
			member->memory ? "our id" : "the memory");
		return 0;
	}
	return r < 0 ? r : settle(member, deadline, config->vectors, reterr);
}

int
messages_open(struct member *member, const struct member_config *config, uint64_t deadline,
	struct ivshmem_error *reterr)
{
	bool goes_on = config->kept && wire_log_has_begun(config->kept->wire_log);
	int r = uplink_open(&member->uplink, config->late ? UPLINK_EITHER : UPLINK_MEMBER,
		config->server, deadline, reterr);

	if (r == 0 && !goes_on && !member->joined && (!config->late || config->late_ms > 0))
		r = greet(member, config, deadline, reterr);
	return r < 0 ? r : uplink_listen(&member->uplink, reterr);
}
