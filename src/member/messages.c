/* SPDX-License-Identifier: BSD-2-Clause */

/* What the server says. */

#include <member/membership.h>

#include <base/clock.h>
#include <base/eventfd.h>
#include <base/fd.h>

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>

/* Messages read before others have their turn. The lock of whoever dispatches is held meanwhile,
 * and the guest's accesses wait for it. */
#define RECEIVE_BATCH 64

static int
take_vector(struct member *member, uint16_t peer, int received, struct error *reterr)
{
	bool is_new = peer != member->id && !peers_find(&member->peers, peer);
	_fd_cleanup_ int fd = received;
	int r;

	if (!eventfd_is(fd)) {
		if (++member->impostors > IMPOSTORS_MAX)
			return error_set(reterr, -EPROTO,
				"the server sent %u descriptors that should be eventfds and are "
				"not",
				member->impostors);
		pace_printf(&member->complaints,
			"the server sent something else than an eventfd for peer %u", peer);
		/* It keeps its number, or the vectors after it would get wrong ones. */
		fd = fd_close(fd);
	}
	r = vectors_add(member, peer, &fd);
	if (r == -ENOSPC) {
		pace_printf(&member->complaints,
			"the server sent more than %d vectors for peer %u; it is ignored",
			IVSHMEM_MAX_VECTORS, peer);
		return 0;
	}
	if (r == 0 && is_new)
		log_debug(member->log, "peer %u joined", peer);
	return r < 0 ? error_set(
			       reterr, r, "cannot keep a vector of peer %u: %s", peer, strerror(-r))
		     : 0;
}

static void
take_left(struct member *member, uint16_t peer)
{
	if (vectors_remove_peer(member, peer) == 0) {
		log_debug(member->log, "peer %u left", peer);
		return;
	}
	pace_printf(&member->complaints, "the server said that unknown peer %u left; it is ignored",
		peer);
}

static int
take_memory(struct member *member, int received, struct error *reterr)
{
	_fd_cleanup_ int fd = received;
	int r = member_take_memory(member, &fd, reterr);

	if (r < 0)
		return r;
	r = member_tell_device(member, reterr);
	/* Nobody must be given what the device has refused, and has not seen. */
	if (r < 0)
		member_release_memory(member);
	return r;
}

static void
take_id(struct member *member)
{
	const struct follower *follower = &member->uplink.follower;

	if (member->id >= 0 || follower->state < FOLLOWER_MEMORY)
		return;
	member->id = follower->id;
	log_debug(member->log, "our id is %u%s", follower->id,
		follower->is_2010 ? "; the server speaks the dialect of 2010" : "");
	/* The memory is told of when it comes, be it before or after. */
	if (member->device)
		ivshmem_device_set_id(member->device, follower->id);
}

/* Act on a message. 0, or what makes the connection useless. */
static int
handle(void *data, const struct follower_event *event, struct error *reterr)
{
	struct member *member = data;

	/* The message may be the one that settles it. */
	take_id(member);
	switch (event->type) {
	case FOLLOWER_EVENT_MEMORY:
		return take_memory(member, event->fd, reterr);
	case FOLLOWER_EVENT_VECTOR:
		return take_vector(member, event->peer, event->fd, reterr);
	case FOLLOWER_EVENT_LEFT:
		take_left(member, event->peer);
		return 0;
	case FOLLOWER_EVENT_NONSENSE:
		pace_printf(&member->complaints, "%s", reterr->message);
		return 0;
	case FOLLOWER_EVENT_NONE:
		return 0;
	}
	return 0;
}

void
messages_close(struct member *member)
{
	loop_del(&member->source);
	uplink_close(&member->uplink);
}

/* The last thing that is done: the member may be closed by it. */
static void
tell_joined(struct member *member)
{
	void (*joined)(struct member *, void *) = member->joined;

	if (!joined || member->id < 0 || !member->memory)
		return;
	member->joined = NULL;
	joined(member, member->data);
}

static void
readable(struct loop_source *source, uint32_t events)
{
	struct member *member = container_of(source, struct member, source);
	struct error error = {0};
	int r = 0;

	(void)events;
	for (unsigned i = 0; i < RECEIVE_BATCH && r == 0; i++) {
		struct follower_event event;

		r = uplink_receive(&member->uplink, &event, &error);
		if (r == 0)
			r = handle(member, &event, &error);
	}
	if (r == 0 || r == -EAGAIN) {
		tell_joined(member);
		return;
	}
	messages_close(member);
	/* The last thing done here: the member may be closed by it. */
	if (member->lost)
		member->lost(member, &error, member->data);
}

/* Receive until our first `vectors` vectors are there, or until no more seem to come. */
static int
settle(struct member *member, uint64_t deadline, unsigned vectors, struct error *reterr)
{
	uint64_t silent = clock_now() + SETTLE;

	while (member->n_own < vectors) {
		struct follower_event event;
		int r = uplink_receive(&member->uplink, &event, reterr);

		if (r == 0) {
			r = handle(member, &event, reterr);
			silent = clock_now() + SETTLE;
		} else if (r == -EAGAIN) {
			r = uplink_wait(&member->uplink, silent < deadline ? silent : deadline);
			if (r == -ECANCELED)
				return error_set(
					reterr, r, "told to end while it waited for our vectors");
		}
		if (r < 0)
			return r;
		if (clock_now() >= (silent < deadline ? silent : deadline))
			break;
	}
	if (member->n_own < vectors)
		log_warning(member->log,
			"the server gave us %u vector%s, but the device has %u: nobody can ring "
			"the others; give the device and the server the same number",
			member->n_own, member->n_own == 1 ? "" : "s", vectors);
	return 0;
}

/* Wait for the id, the memory and our vectors. */
static int
greet(struct member *member, const struct member_config *config, uint64_t deadline,
	struct error *reterr)
{
	int r;

	if (config->late)
		deadline = clock_now() + config->late_ms * NSEC_PER_MSEC;
	r = uplink_greet(&member->uplink, deadline, handle, member, reterr);
	if (config->late && r == -ETIMEDOUT) {
		log_warning(member->log,
			"the server has not sent %s yet: until it does, the guest reads -1 as its "
			"id, and a VMM that comes before reaches the memory by messages only, "
			"which is slow",
			member->memory ? "our id" : "the memory");
		return 0;
	}
	return r < 0 ? r : settle(member, deadline, config->vectors, reterr);
}

int
messages_open(struct member *member, const struct member_config *config, uint64_t deadline,
	struct error *reterr)
{
	int r = uplink_connect(&member->uplink, config->server, deadline, reterr);

	if (r < 0)
		return r;
	if (config->late)
		follower_init_either(&member->uplink.follower);
	if (!member->joined && (!config->late || config->late_ms > 0))
		r = greet(member, config, deadline, reterr);
	if (r < 0)
		return r;
	r = loop_add(member->loop, &member->source, member->uplink.socket, EPOLLIN, readable);
	return r < 0 ? error_set(reterr, r, "cannot watch the server's socket: %s", strerror(-r))
		     : 0;
}
