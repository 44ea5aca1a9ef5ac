/* SPDX-License-Identifier: BSD-2-Clause */

/* What everybody can see of all participants and channels. */
#include <channel/channel.h>

#include <ivshmem/client.h>

#include <errno.h>

static const char *
phase_name(enum layout_phase phase, bool ended)
{
	switch (phase) {
	case LAYOUT_LISTENING:
		return ended ? "ended" : "listening";
	case LAYOUT_CONNECTING:
		return ended ? "ended" : "connecting";
	case LAYOUT_CONNECTED:
		return ended ? "ended" : "connected";
	case LAYOUT_UNUSED:
		break;
	}
	return NULL;
}

static int
show_entry(const struct map *map, unsigned area, unsigned i,
	int (*fn)(void *data, const struct ivshmem_channel_info *info), void *data)
{
	const struct layout_entry *entry = map_entry(map, area, i);
	uint64_t state = word_acquire(&entry->state);
	uint64_t peer = word_load(&entry->peer);
	struct ivshmem_channel_info info = {
		.area = area,
		.entry = i,
		.kind = (enum ivshmem_channel_kind)layout_state_kind(state),
		.phase = phase_name(layout_state_phase(state), word_load(&entry->ended) != 0),
		.has_peer = peer != 0,
		.peer_area = (unsigned)(peer >> 16 & 0xffff),
		.peer_entry = (unsigned)(peer & 0xffff),
		.ring_size = half_load(&entry->ring_size),
		.received = word_load(&entry->head),
	};

	if (!info.phase)
		return 0;
	map_copy_name(info.name, entry->name);
	return fn(data, &info);
}

static int
show_entries(const struct map *map, unsigned area,
	int (*fn)(void *data, const struct ivshmem_channel_info *info), void *data)
{
	int r = 0;

	for (unsigned i = 0; r == 0 && i < map->n_entries; i++)
		r = show_entry(map, area, i, fn, data);
	return r;
}

static int
show_participant(const struct map *map, unsigned area, bool ourselves,
	int (*fn)(void *data, const struct ivshmem_participant_info *info), void *data)
{
	const struct layout_identity *identity = map_identity(map, area);
	struct ivshmem_participant_info info = {
		.area = area,
		.generation = (uint32_t)word_acquire(&identity->ready),
		.ourselves = ourselves,
		.has_peer = (half_load(&identity->features) & LAYOUT_CAN_BE_RUNG) != 0,
		.peer = __atomic_load_n(&identity->peer, __ATOMIC_RELAXED),
		.vector = __atomic_load_n(&identity->vector, __ATOMIC_RELAXED),
		.pid = half_load(&identity->pid),
	};

	map_copy_name(info.name, identity->name);
	return fn(data, &info);
}

/* ---- for participants ------------------------------------------------------------------------ */

/* Whether somebody who lives has the area. */
static bool
lives(struct ivshmem_participant *participant, unsigned area)
{
	uint64_t claim = neighbour_check(participant, area);

	return layout_claim_state(claim) == LAYOUT_OWNED &&
	       neighbour_know(participant, area, layout_claim_generation(claim));
}

EXPORT int
ivshmem_channels(struct ivshmem_participant *participant,
	int (*fn)(void *data, const struct ivshmem_channel_info *info), void *data)
{
	int r = ivshmem_participant_dispatch(participant);

	if (r == -ENODEV)
		return r;
	r = 0;
	for (unsigned area = 0; r == 0 && area < participant->map.n_areas; area++)
		if (lives(participant, area))
			r = show_entries(&participant->map, area, fn, data);
	return r;
}

EXPORT int
ivshmem_participants(struct ivshmem_participant *participant,
	int (*fn)(void *data, const struct ivshmem_participant_info *info), void *data)
{
	int r = ivshmem_participant_dispatch(participant);

	if (r == -ENODEV)
		return r;
	r = 0;
	for (unsigned area = 0; r == 0 && area < participant->map.n_areas; area++)
		if (lives(participant, area))
			r = show_participant(
				&participant->map, area, area == participant->area, fn, data);
	return r;
}

/* ---- for others ------------------------------------------------------------------------------ */

static bool
client_lacks(const struct ivshmem_client *client, uint16_t peer)
{
	return ivshmem_peers(client, NULL, 0) >= 0 && ivshmem_peer_vectors(client, peer) < 0 &&
	       !(ivshmem_has_id(client) && ivshmem_id(client) == peer);
}

/* The same as far as one can tell who writes nothing. */
static bool
seems_to_live(
	const struct map *map, unsigned area, const struct ivshmem_client *client, uint64_t kernel)
{
	const struct layout_identity *identity = map_identity(map, area);
	uint64_t claim = word_acquire(map_claim(map, area));

	if (layout_claim_state(claim) != LAYOUT_OWNED ||
		word_acquire(&identity->ready) != layout_claim_generation(claim))
		return false;
	if (neighbour_is_ours(identity, kernel))
		return !neighbour_process_is_gone(identity);
	return !(half_load(&identity->features) & LAYOUT_CAN_BE_RUNG) ||
	       !client_lacks(client, __atomic_load_n(&identity->peer, __ATOMIC_RELAXED));
}

EXPORT int
ivshmem_channels_look(const struct ivshmem_client *client,
	int (*participant_fn)(void *data, const struct ivshmem_participant_info *info),
	int (*channel_fn)(void *data, const struct ivshmem_channel_info *info), void *data,
	struct ivshmem_error *reterr)
{
	uint64_t kernel = neighbour_kernel();
	struct map map;
	int r = map_look(&map, ivshmem_memory(client), ivshmem_size(client), reterr);

	if (r < 0)
		return r == -ENODATA ? 0 : r;
	for (unsigned area = 0; area < map.n_areas; area++) {
		if (!seems_to_live(&map, area, client, kernel))
			continue;
		if (participant_fn)
			r = show_participant(&map, area, false, participant_fn, data);
		if (r == 0 && channel_fn)
			r = show_entries(&map, area, channel_fn, data);
		if (r != 0)
			return r;
	}
	return (int)map.n_areas;
}

EXPORT int
ivshmem_channels_format(void *memory, uint64_t size, unsigned areas, struct ivshmem_error *reterr)
{
	return map_format(memory, size, areas, reterr);
}
