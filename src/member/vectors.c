/* SPDX-License-Identifier: BSD-2-Clause */

/* The eventfds: ours, and those of the peers. */

#include <member/membership.h>

#include <base/eventfd.h>
#include <base/fd.h>
#include <trace/trace.h>

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

/* So many eventfds are polled together. */
#define POLL_BATCH 256U

/* ---- our own --------------------------------------------------------------------------------- */

/* Its eventfd is about to be read. */
static void
note_ring(struct member *member, unsigned vector)
{
	struct member_kept *kept = member->kept;

	if (!kept)
		return;
	kept->rung[vector / 64] |= UINT64_C(1) << vector % 64;
	__atomic_store_n(&kept->is_rung, true, __ATOMIC_RELEASE);
}

static void
rung(struct loop_source *source, uint32_t events)
{
	struct own_vector *own = container_of(source, struct own_vector, source);
	uint64_t count;
	int r;

	(void)events;
	note_ring(own->member, own->vector);
	r = eventfd_take(source->fd, &count);
	if (r == 0) {
		own->wakeups++;
		own->rings += count;
		TRACE(member_rung, own->member->id, own->vector, count);
		ivshmem_device_interrupt(own->member->device, own->vector);
	} else if (r != -EAGAIN && r != -EINTR) {
		/* Or the loop would report it for ever. */
		pace_printf(&own->member->uplink.complaints,
			"our vector %u cannot be read: %s; it is ignored from now on", own->vector,
			strerror(-r));
		loop_del(source);
	}
}

/* Watch it, or stop watching, as the state demands. */
static void
own_sync(struct own_vector *own)
{
	bool wanted = own->member->device && !own->yielded && own->fd >= 0;
	int r;

	if (!wanted) {
		loop_del(&own->source);
		return;
	}
	if (own->source.loop)
		return;
	r = loop_add(own->member->uplink.loop, &own->source, own->fd, EPOLLIN, rung);
	if (r < 0)
		pace_printf(&own->member->uplink.complaints,
			"our vector %u cannot be watched: %s; it is ignored", own->vector,
			strerror(-r));
}

static int
own_add(struct member *member, int fd)
{
	struct own_vector **list, *own;

	list = reallocarray(member->own, member->n_own + 1, sizeof(struct own_vector *));
	if (!list)
		return -ENOMEM;
	member->own = list;
	own = calloc(1, sizeof(*own));
	if (!own)
		return -ENOMEM;
	own->member = member;
	own->vector = member->n_own;
	own->fd = fd;
	member->own[member->n_own++] = own;
	own_sync(own);
	return 0;
}

/* To be called before their eventfds are closed. */
static void
own_truncate(struct member *member, unsigned n)
{
	while (member->n_own > n) {
		struct own_vector *own = member->own[--member->n_own];

		loop_del(&own->source);
		free(own);
	}
}

/* ---- the table and the device ---------------------------------------------------------------- */

static void
truncate_vectors(struct member *member, struct remote *remote, unsigned n)
{
	if (uplink_is_self(&member->uplink, remote->id))
		own_truncate(member, n);
	uplink_truncate(&member->uplink, remote, n);
}

/* Announce the vectors of a peer from `first` on, and drop those that the device does not want. */
static void
announce(struct member *member, struct remote *remote, unsigned first)
{
	for (unsigned i = first; i < remote->n_vectors; i++) {
		if (ivshmem_device_add_vector(member->device, remote->id) >= 0)
			continue;
		if (remote->id == member->id && !member->told_of_more_vectors) {
			log_warning(member->log,
				"the server gives us more vectors than the %u that the device has: a ring of another one is lost; give the device and the server the same number",
				i);
			member->told_of_more_vectors = true;
		}
		log_debug(member->log, "the device has no use for vector %u of peer %u", i,
			remote->id);
		truncate_vectors(member, remote, i);
		return;
	}
}

int
vectors_add(struct member *member, struct remote *remote)
{
	unsigned last = remote->n_vectors - 1;
	int r = 0;

	if (uplink_is_self(&member->uplink, remote->id))
		r = own_add(member, remote->vectors[last]);
	if (r == 0 && member->device)
		announce(member, remote, last);
	return r;
}

void
vectors_remove_peer(struct member *member, struct remote *remote)
{
	/* The device removes its triggers before its eventfds are closed. */
	if (member->device)
		ivshmem_device_remove_peer(member->device, remote->id);
	truncate_vectors(member, remote, 0);
}

void
vectors_attach(struct member *member)
{
	for (uint32_t id = 0; id <= IVSHMEM_MAX_ID; id++) {
		struct remote *remote = peers_find(&member->uplink.peers, (uint16_t)id);

		if (remote)
			announce(member, remote, 0);
	}
	for (unsigned i = 0; i < member->n_own; i++)
		own_sync(member->own[i]);
}

void
vectors_detach(struct member *member)
{
	for (unsigned i = 0; i < member->n_own; i++) {
		member->own[i]->yielded = false;
		own_sync(member->own[i]);
	}
}

void
vectors_close(struct member *member)
{
	own_truncate(member, 0);
	free(member->own);
	member->own = NULL;
}

/* ---- for the ops of the device --------------------------------------------------------------- */

int
member_eventfd(const struct member *member, uint16_t peer, unsigned vector)
{
	return uplink_eventfd(&member->uplink, peer, vector);
}

void
member_ring(struct member *member, uint16_t peer, unsigned vector)
{
	TRACE(member_ring, member->id, peer, vector);
	/* If this fails, the eventfd's owner is to blame, and there is nobody to tell. */
	uplink_ring(&member->uplink, peer, vector);
}

bool
member_take_ring(struct member *member, unsigned vector)
{
	uint64_t count;

	if (vector >= member->n_own || member->own[vector]->fd < 0)
		return false;
	note_ring(member, vector);
	return eventfd_take(member->own[vector]->fd, &count) == 0;
}

void
member_repeat_rings(struct member *member)
{
	for (unsigned i = 0; member->device && i < member->n_own; i++)
		if (member->kept->rung[i / 64] >> i % 64 & 1)
			ivshmem_device_interrupt(member->device, i);
}

/* Mostly none of thousands of vectors was rung. To poll many costs little more than to poll one. */
void
member_drop_rings(struct member *member)
{
	struct pollfd rung[POLL_BATCH];

	for (unsigned first = 0, n; first < member->n_own; first += n) {
		for (n = 0; n < POLL_BATCH && first + n < member->n_own; n++)
			rung[n] = (struct pollfd){member->own[first + n]->fd, POLLIN, 0};
		if (poll(rung, n, 0) <= 0)
			continue;
		for (unsigned i = 0; i < n; i++)
			if (rung[i].revents)
				member_take_ring(member, first + i);
	}
}

void
member_watch(struct member *member, unsigned vector, bool watch)
{
	if (vector >= member->n_own)
		return;
	member->own[vector]->yielded = !watch;
	own_sync(member->own[vector]);
}

unsigned
member_own_vectors(const struct member *member)
{
	return member->n_own;
}

void
member_count_rings(const struct member *member, unsigned vector, uint64_t *ret_rings,
	uint64_t *ret_wakeups, bool *ret_watched)
{
	const struct own_vector *own = member->own[vector];

	*ret_rings = own->rings;
	*ret_wakeups = own->wakeups;
	*ret_watched = !own->yielded;
}
