/* SPDX-License-Identifier: BSD-2-Clause */
#include <capacity.h>

#include <base/fd.h>
#include <base/log.h>
#include <control/control.h>
#include <handover.h>

#include <ivshmem/abi.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>

/* The number of observers without --max-observers: so many, but not more than this part of the
 * descriptors. */
#define OBSERVERS_MAX  64
#define OBSERVERS_PART 16

unsigned long
capacity_descriptors(const struct options *options)
{
	unsigned long limit = fd_raise_limit();
	unsigned long room = options->keep_clients ? handover_room(limit) : limit;

	return room < limit ? room : limit;
}

/* How many descriptors are open: the kernel gives out the lowest free number. All of them, if none
 * is left. */
static unsigned
descriptors_used(const struct sockets *sockets, unsigned long limit)
{
	int fd = fcntl(sockets->clients.fd, F_DUPFD_CLOEXEC, 0);

	fd_close(fd);
	if (fd >= 0)
		return (unsigned)fd;
	return limit < UINT_MAX ? (unsigned)limit : UINT_MAX;
}

unsigned
capacity_observers(
	const struct options *options, const struct sockets *sockets, unsigned long limit)
{
	unsigned long part = limit / OBSERVERS_PART;

	if (sockets->observers.fd < 0)
		return 0;
	if (options->max_observers)
		return options->max_observers;
	if (part == 0)
		return 1;
	return part < OBSERVERS_MAX ? (unsigned)part : OBSERVERS_MAX;
}

int
capacity_tell(const struct options *options, const struct sockets *sockets,
	const struct server_config *config, unsigned long limit, const struct log *log)
{
	unsigned used = descriptors_used(sockets, limit), capacity;

	/* The server has already made the vectors of the first client. */
	used -= used < options->n_vectors ? used : options->n_vectors;
	if (sockets->control.fd >= 0)
		used += CONTROL_DESCRIPTORS;
	/* Observers and members must not take the room of the holders of seats. */
	capacity = server_capacity(
		limit, used + config->max_observers + config->n_seats, options->n_vectors);
	if (capacity == 0)
		return -EMFILE;
	capacity += config->n_seats;
	if (capacity > IVSHMEM_MAX_ID + 1)
		capacity = IVSHMEM_MAX_ID + 1;
	if (options->max_peers && options->max_peers < capacity)
		capacity = options->max_peers;
	else if (options->max_peers > capacity)
		log_warning(log,
			"the limit of %lu file descriptors allows fewer peers than --max-peers %u",
			limit, options->max_peers);
	log_info(log, "room for %u peers of %u vector%s each (%lu file descriptors)", capacity,
		options->n_vectors, options->n_vectors == 1 ? "" : "s", limit);
	return 0;
}
