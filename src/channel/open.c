/* SPDX-License-Identifier: BSD-2-Clause */

/* Opening a participant over any transport, and closing it. */
#include <channel/channel.h>

#include <base/clock.h>
#include <base/error.h>
#include <base/fd.h>
#include <base/sized.h>
#include <trace/trace.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

/* A ring takes microseconds, unless whoever rings has to wait for a processor. Only who waits for a ring
 * that was lost waits for so long, and no ring must be lost. */
#define PATIENCE NSEC_PER_SEC

/* The area is ours, and nobody reads it before its identity is ready: make it empty. */
static void
move_in(struct ivshmem_participant *participant)
{
	const struct map *map = &participant->map;
	struct layout_identity *identity = map_identity(map, participant->area);
	uint32_t features = (participant->transport.ring ? LAYOUT_CAN_RING : 0) |
			    (participant->transport.fd >= 0 ? LAYOUT_CAN_BE_RUNG : 0);

	for (unsigned i = 0; i < map->n_entries; i++) {
		struct layout_entry *entry = map_entry(map, participant->area, i);

		/* The generations go on, so that old references stay stale. */
		participant->entry_generations[i] =
			layout_state_generation(word_load(&entry->state));
		word_store(&entry->state,
			layout_state(participant->entry_generations[i], 0, LAYOUT_UNUSED));
	}
	for (unsigned other = 0; other < map->n_areas; other++) {
		struct layout_notice *notice = map_notice(map, participant->area, other);

		word_store(&notice->bits, 0);
		word_store(&notice->seen, 0);
	}
	__atomic_store_n(&identity->features, features, __ATOMIC_RELAXED);
	__atomic_store_n(&identity->peer, participant->transport.peer, __ATOMIC_RELAXED);
	__atomic_store_n(
		&identity->vector, (uint16_t)participant->transport.vector, __ATOMIC_RELAXED);
	neighbour_identify(participant, identity);
	word_store(&identity->heartbeat, 1);
	for (unsigned i = 0; i < LAYOUT_MAX_NAME; i++)
		__atomic_store_n(&identity->name[i], participant->name[i], __ATOMIC_RELAXED);
	word_release(&identity->ready, participant->generation);
	/* Who looks for us after this finds us, or we find what it did before. */
	word_fence();
}

/* Take an area of the region that we have opened, and not of one that somebody made meanwhile. */
static int
take_area(struct ivshmem_participant *participant, struct ivshmem_error *reterr)
{
	const struct layout_header *header = map_header(&participant->map);
	int r = neighbours_claim(participant, reterr);
	uint64_t claim;

	if (r < 0 || (word_load(&header->magic) == LAYOUT_MAGIC &&
			     word_load(&header->epoch) == participant->epoch))
		return r;
	claim = layout_claim(participant->generation, LAYOUT_OWNED);
	__atomic_compare_exchange_n(participant_own_claim(participant), &claim,
		layout_claim(participant->generation, LAYOUT_LEFT), false, __ATOMIC_ACQ_REL,
		__ATOMIC_RELAXED);
	return error_set(reterr, -EINPROGRESS,
		"somebody formats or restores the memory at this moment: try again");
}

static int
set_up(struct ivshmem_participant *participant, const struct ivshmem_transport *transport,
	const struct ivshmem_participant_options *given, struct ivshmem_error *reterr)
{
	struct ivshmem_participant_options options = {0};
	struct map *map = &participant->map;
	int r = SIZED_IN(
		struct ivshmem_transport, data, &participant->transport, transport, reterr);

	if (r == 0 && given)
		r = SIZED_IN(struct ivshmem_participant_options, areas, &options, given, reterr);
	if (r < 0)
		return r;
	transport = &participant->transport;
	if (!transport->memory || (uintptr_t)transport->memory % LAYOUT_LINE != 0 ||
		(transport->fd >= 0 && (!transport->clear || transport->vector > UINT16_MAX)))
		return error_set(reterr, -EINVAL,
			"the memory of a transport begins at a multiple of %d, a descriptor needs a "
			"function that clears it, and a vector is a number below 65536",
			LAYOUT_LINE);
	if (!options.name)
		options.name = program_invocation_short_name;
	if (options.name == program_invocation_short_name && !map_name_is_valid(options.name))
		options.name = "?";
	if (!map_name_is_valid(options.name))
		return error_set(reterr, -EINVAL,
			"'%s' cannot be the name of a participant: it needs 1 to %d bytes without "
			"control characters",
			options.name, LAYOUT_MAX_NAME - 1);
	strcpy(participant->name, options.name);
	r = map_open(map, transport->memory, transport->size, options.areas, reterr);
	if (r < 0)
		return r;
	map->drain = transport->uncached;
	participant->epoch = map->epoch;
	participant->pause = PARTICIPANT_MIN_PAUSE;
	participant->kernel = neighbour_kernel();
	participant->patience = PATIENCE;
	participant->may_spin = sysconf(_SC_NPROCESSORS_ONLN) > 1;
	participant->neighbours = calloc(map->n_areas, sizeof(*participant->neighbours));
	participant->entries = calloc(map->n_entries, sizeof(struct ivshmem_channel *));
	participant->entry_generations =
		calloc(map->n_entries, sizeof(*participant->entry_generations));
	if (!participant->neighbours || !participant->entries || !participant->entry_generations)
		return error_set(reterr, -ENOMEM, "out of memory");
	participant->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (participant->timer < 0)
		return error_set(reterr, -errno, "cannot make a timer: %s", strerror(errno));
	r = take_area(participant, reterr);
	if (r < 0)
		return r;
	heap_init(&participant->heap, map->heap_offset, map->area_size);
	move_in(participant);
	participant_leave_word(participant);
	return 0;
}

static void
free_participant(struct ivshmem_participant *participant)
{
	if (participant->neighbours)
		for (unsigned area = 0; area < participant->map.n_areas; area++)
			free(participant->neighbours[area].taken);
	free(participant->neighbours);
	free(participant->entries);
	free(participant->entry_generations);
	fd_close(participant->timer);
	fd_close(participant->fd);
	fd_close(participant->ready);
	free(participant);
}

EXPORT int
ivshmem_participant_open_over(struct ivshmem_participant **ret_participant,
	const struct ivshmem_transport *transport,
	const struct ivshmem_participant_options *options, struct ivshmem_error *reterr)
{
	struct ivshmem_participant *participant = calloc(1, sizeof(*participant));
	int r;

	if (!participant)
		return error_set(reterr, -ENOMEM, "out of memory");
	participant->timer = participant->fd = participant->ready = -1;
	list_init(&participant->channels);
	list_init(&participant->ready_channels);
	participant->area_changed = channel_area_changed;
	participant->area_lost = channel_lose_all;
	r = set_up(participant, transport, options, reterr);
	if (r < 0) {
		free_participant(participant);
		return r;
	}
	*ret_participant = participant;
	return 0;
}

EXPORT struct ivshmem_participant *
ivshmem_participant_close(struct ivshmem_participant *participant)
{
	if (!participant)
		return NULL;
	/* Others learn of the ends of our channels from the entries, which stay. */
	channel_end_all(participant);
	TRACE(area_left, participant->area);
	participant_take_word_back(participant);
	if (!participant->lost) {
		uint64_t claim = layout_claim(participant->generation, LAYOUT_OWNED);

		__atomic_compare_exchange_n(participant_own_claim(participant), &claim,
			layout_claim(participant->generation, LAYOUT_LEFT), false, __ATOMIC_ACQ_REL,
			__ATOMIC_RELAXED);
	}
	channel_free_all(participant);
	heap_done(&participant->heap);
	if (participant->transport.close)
		participant->transport.close(participant->transport.data);
	free_participant(participant);
	return NULL;
}
