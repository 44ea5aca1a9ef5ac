/* SPDX-License-Identifier: BSD-2-Clause */
#include <recover.h>

#include <base/error.h>
#include <base/fd.h>
#include <server/journal.h>
#include <server/replay.h>

#include <ivshmem/abi.h>
#include <ivshmem/common.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#define FIRST_FD 3

/* More than a worker has open besides what the journal knows, seats, and what a client has. */
#define SLACK 256

/* ---- which descriptors are whose --------------------------------------------------------------- */

struct known {
	bool *fds;
	size_t n; /* the length of the array */
};

static void
know(struct known *known, int fd)
{
	if (fd >= 0 && (size_t)fd < known->n)
		known->fds[fd] = true;
}

/*
 * No number from here on is known, or a newcomer's: the kernel gives out the lowest free one, and so
 * a newcomer's is not greater than the count of descriptors that were open then.
 */
static size_t
end_of_known(const struct handover *handover, const struct options *options)
{
	const struct record *record = &handover->server;
	size_t n = record->n_fds + (size_t)options->n_members * options->n_vectors +
		   2 * (size_t)IVSHMEM_MAX_VECTORS + SLACK;

	for (size_t i = 0; i < record->n_fds; i++)
		if (record->fds[i] >= 0 && (size_t)record->fds[i] >= n)
			n = (size_t)record->fds[i] + 1;
	return handover->bag >= 0 && (size_t)handover->bag >= n ? (size_t)handover->bag + 1 : n;
}

static int
find_known(struct known *ret_known, const struct handover *handover, const struct journal *journal,
	const struct sockets *sockets, const struct region *region, const struct options *options,
	int own)
{
	struct known known = {.n = end_of_known(handover, options)};

	known.fds = calloc(known.n, sizeof(*known.fds));
	if (!known.fds)
		return -ENOMEM;
	for (size_t i = 0; i < handover->server.n_fds; i++)
		know(&known, handover->server.fds[i]);
	know(&known, region->fd);
	know(&known, sockets->clients.fd);
	know(&known, sockets->observers.fd);
	for (unsigned i = 0; i < options->n_members; i++)
		know(&known, sockets->members[i].fd);
	know(&known, handover->bag);
	know(&known, own);
	for (size_t fd = FIRST_FD; fd < known.n; fd++)
		known.fds[fd] |= journal_owns(journal, (int)fd);
	*ret_known = known;
	return 0;
}

/* ---- those that nobody knows ------------------------------------------------------------------- */

static bool
same_address(int a, int b)
{
	struct sockaddr_un of_a = {0}, of_b = {0};
	socklen_t length_a = sizeof(of_a), length_b = sizeof(of_b);

	return getsockname(a, (struct sockaddr *)&of_a, &length_a) == 0 &&
	       getsockname(b, (struct sockaddr *)&of_b, &length_b) == 0 && length_a == length_b &&
	       memcmp(&of_a, &of_b, length_a) == 0;
}

/* The listening socket at which this one was accepted, or -1. */
static int
find_door(const struct sockets *sockets, const struct options *options, int socket)
{
	socklen_t length = sizeof(int);
	int listens = 1;

	if (getsockopt(socket, SOL_SOCKET, SO_ACCEPTCONN, &listens, &length) < 0 || listens)
		return -1;
	if (sockets->clients.fd >= 0 && same_address(socket, sockets->clients.fd))
		return sockets->clients.fd;
	if (sockets->observers.fd >= 0 && same_address(socket, sockets->observers.fd))
		return sockets->observers.fd;
	for (unsigned i = 0; i < options->n_members; i++)
		if (same_address(socket, sockets->members[i].fd))
			return sockets->members[i].fd;
	return -1;
}

static void
clear_up(const struct known *known, const struct sockets *sockets, const struct options *options,
	int closing, struct newcomers *newcomers)
{
	for (int fd = FIRST_FD; (size_t)fd < known->n; fd++) {
		int door;

		if (known->fds[fd] || fcntl(fd, F_GETFD) < 0)
			continue;
		door = fd == closing ? -1 : find_door(sockets, options, fd);
		if (door < 0 || newcomers->n == NEWCOMERS_MAX) {
			fd_close(fd);
			continue;
		}
		newcomers->of[newcomers->n].listen_fd = door;
		newcomers->of[newcomers->n].socket = fd;
		newcomers->n++;
	}
	close_range((unsigned)known->n, ~0U, 0);
}

/* It was perhaps taken, and closed. */
static int
find_bag(const struct journal_notes *notes)
{
	socklen_t length = sizeof(int);
	int type = 0;

	if (notes->bag < 0 || getsockopt(notes->bag, SOL_SOCKET, SO_TYPE, &type, &length) < 0 ||
		type != SOCK_SEQPACKET)
		return -1;
	return notes->bag;
}

int
recover(struct handover *ret_handover, struct newcomers *ret_newcomers, struct journal *journal,
	struct sockets *sockets, struct region *region, const struct options *options, int own,
	struct ivshmem_error *reterr)
{
	struct handover handover;
	struct record record, after = {0};
	struct known known = {0};
	int closing = -1, r = journal_read(journal, &record);

	if (r < 0)
		return error_set(reterr, r, "cannot read the journal: %s", strerror(-r));
	r = handover_read(&handover, &record, sockets, region, options, reterr);
	if (r == 0) {
		r = replay(journal, &handover.server, &after, &closing, reterr);
		handover.server = after;
	}
	if (r == 0) {
		journal_notes(journal)->bag = handover.bag = find_bag(journal_notes(journal));
		r = find_known(&known, &handover, journal, sockets, region, options, own);
		if (r < 0)
			error_set(reterr, r, "there is no memory to go on");
	}
	if (r < 0) {
		record_done(&after);
		record_done(&handover.record);
		return r;
	}
	*ret_newcomers = (struct newcomers){0};
	clear_up(&known, sockets, options, closing, ret_newcomers);
	free(known.fds);
	/* From here on, its own part of the record is all that is needed. */
	record_done(&handover.record);
	handover.record = after;
	*ret_handover = handover;
	return 0;
}
