/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * GET_REGION_IO_FDS: an eventfd for each vector of each peer. For the region of the registers, it
 * comes with the value for the doorbell register that rings it. For the region of the doorbell
 * words, it comes with the place of its word. If a VMM gives these to KVM as ioeventfds, rings no
 * longer pass through our process.
 *
 * There may be thousands, and a message takes few descriptors. So, as an extension, `count` in the
 * request is the number of the first entry wanted. The specification has 0 there, which asks for
 * the first ones. argsz in the reply is the size of all entries from that one on: a client that got
 * fewer asks again.
 */
#include <base/error.h>
#include <function/function.h>
#include <vfio_user/handlers.h>

#include <ivshmem/abi.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

struct listing {
	const struct function *function;
	uint32_t region;
	unsigned vectors; /* of each peer, at most; 0: the region has no entries */
	uint64_t skip;    /* entries before the first one wanted */
	uint64_t total;   /* entries from the first one wanted on */
	uint32_t max;     /* as many as fit */
};

static unsigned
offered_vectors(const struct function *function, uint32_t region)
{
	switch (region) {
	case VFIO_USER_REGION_BAR0:
		return function->io_vectors;
	case VFIO_USER_REGION_BAR4:
		return function->io_words;
	default:
		return 0;
	}
}

static struct vfio_user_io_fd
entry_for(const struct listing *listing, uint16_t peer, uint16_t vector)
{
	struct vfio_user_io_fd entry = {
		.size = sizeof(uint32_t),
		.type = VFIO_USER_IO_FD_IOEVENTFD,
	};

	if (listing->region == VFIO_USER_REGION_BAR0) {
		entry.offset = IVSHMEM_REG_DOORBELL;
		entry.flags = VFIO_USER_IO_FD_DATAMATCH;
		entry.datamatch = ivshmem_doorbell_value(peer, vector);
	} else {
		entry.offset = ivshmem_doorbell_offset(
			peer, vector, ivshmem_device_doorbell_shift(listing->function->device));
	}
	return entry;
}

/* Count all entries of one peer, and add to the reply those that fit. */
static int
list_peer(struct listing *listing, uint16_t peer, struct reply *reply)
{
	const struct function *function = listing->function;
	unsigned n = ivshmem_device_peer_vectors(function->device, peer);

	if (n > listing->vectors)
		n = listing->vectors;

	for (unsigned vector = 0; vector < n; vector++) {
		struct vfio_user_io_fd entry = entry_for(listing, peer, (uint16_t)vector);
		int eventfd = member_eventfd(function->member, peer, vector), fd;

		/* The server gave something else for this vector. */
		if (eventfd < 0)
			continue;
		if (listing->skip > 0) {
			listing->skip--;
			continue;
		}
		listing->total++;
		if (reply->n_fds >= listing->max)
			continue;
		/* A copy, because the peer may be gone before the reply is sent. */
		fd = fcntl(eventfd, F_DUPFD_CLOEXEC, 0);
		if (fd < 0)
			return -errno;
		entry.fd_index = reply->n_fds;
		reply->fds[reply->n_fds++] = fd;
		reply_add(reply, &entry, sizeof(entry));
	}
	return 0;
}

static int
list_all(struct listing *listing, struct reply *reply)
{
	size_t n = member_peers(listing->function->member, NULL, 0);
	uint16_t *peers = malloc((n + 1) * sizeof(*peers));
	int r = 0;

	if (!peers)
		return -ENOMEM;
	member_peers(listing->function->member, peers, n);
	for (size_t i = 0; i < n && r == 0; i++)
		r = list_peer(listing, peers[i], reply);
	free(peers);
	return r;
}

int
handle_io_fds(struct session *session, struct request *request, struct reply *reply)
{
	struct vfio_user_io_fds head;
	struct listing listing = {.function = session->function};
	uint64_t need;
	int r;

	memcpy(&head, request->body, sizeof(head));
	if (head.argsz < sizeof(head) || head.flags != 0 || head.index >= VFIO_USER_N_REGIONS)
		return error_set(&session->error, -EINVAL,
			"argsz %u must be at least %zu, flags 0x%x must be 0, and there must be a region %u",
			head.argsz, sizeof(head), head.flags, head.index);
	listing.region = head.index;
	listing.vectors = offered_vectors(session->function, head.index);
	listing.skip = head.count;
	listing.max = (uint32_t)((head.argsz - sizeof(head)) / sizeof(struct vfio_user_io_fd));
	if (listing.max > session->max_fds)
		listing.max = session->max_fds;
	head.count = 0;
	reply_add(reply, &head, sizeof(head));
	if (listing.vectors > 0) {
		r = list_all(&listing, reply);
		if (r < 0)
			return error_set(&session->error, r,
				"the eventfds cannot be copied: %s (raise the limit of file descriptors, ulimit -n)",
				strerror(-r));
	}
	need = sizeof(head) + listing.total * sizeof(struct vfio_user_io_fd);
	head.argsz = need > UINT32_MAX ? UINT32_MAX : (uint32_t)need;
	head.count = reply->n_fds;
	session->function->tally.io_fds += reply->n_fds;
	memcpy(reply->body, &head, sizeof(head));
	return 0;
}
