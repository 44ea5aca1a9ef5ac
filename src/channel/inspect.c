/* SPDX-License-Identifier: BSD-2-Clause */

/* What everybody can see of all participants and channels. */
#include <channel/channel.h>

static const char *
phase_name(enum layout_phase phase, bool ended)
{
	switch (phase) {
	case LAYOUT_LISTENING:
		return "listening";
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
show_entry(const struct ivshmem_participant *participant, unsigned area, unsigned i,
	int (*fn)(void *data, const struct ivshmem_channel_info *info), void *data)
{
	const struct layout_entry *entry = map_entry(&participant->map, area, i);
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

EXPORT int
ivshmem_channels(struct ivshmem_participant *participant,
	int (*fn)(void *data, const struct ivshmem_channel_info *info), void *data)
{
	ivshmem_participant_dispatch(participant);
	for (unsigned area = 0; area < participant->map.n_areas; area++) {
		uint64_t claim = neighbour_check(participant, area);

		if (layout_claim_state(claim) != LAYOUT_OWNED ||
			!neighbour_know(participant, area, layout_claim_generation(claim)))
			continue;
		for (unsigned i = 0; i < participant->map.n_entries; i++) {
			int r = show_entry(participant, area, i, fn, data);

			if (r != 0)
				return r;
		}
	}
	return 0;
}

EXPORT int
ivshmem_participants(struct ivshmem_participant *participant,
	int (*fn)(void *data, const struct ivshmem_participant_info *info), void *data)
{
	ivshmem_participant_dispatch(participant);
	for (unsigned area = 0; area < participant->map.n_areas; area++) {
		uint64_t claim = neighbour_check(participant, area);
		const struct layout_identity *identity = map_identity(&participant->map, area);
		const struct neighbour *neighbour =
			neighbour_know(participant, area, layout_claim_generation(claim));
		struct ivshmem_participant_info info = {
			.area = area, .ourselves = area == participant->area};
		int r;

		if (layout_claim_state(claim) != LAYOUT_OWNED || !neighbour)
			continue;
		info.generation = neighbour->generation;
		info.has_peer = (neighbour->features & LAYOUT_CAN_BE_RUNG) != 0;
		info.peer = neighbour->peer;
		info.vector = neighbour->vector;
		info.pid = half_load(&identity->pid);
		map_copy_name(info.name, identity->name);
		r = fn(data, &info);
		if (r != 0)
			return r;
	}
	return 0;
}

EXPORT int
ivshmem_channels_format(void *memory, uint64_t size, unsigned areas, struct ivshmem_error *reterr)
{
	return map_format(memory, size, areas, reterr);
}
