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

/* ---- how much was sent ----------------------------------------------------------------------- */

/* So many headers and entries are looked at for the channels of one area: rings of empty records,
 * which many entries name, must not keep us here. */
#define MOST_STEPS (1u << 20)

/* A writer that fills its ring while we look at it: look again, so often. */
#define TRIES 4

/* An entry that is looked at. Its words were read once. */
struct look {
	const struct map *map;
	unsigned area;
	unsigned i;
	const struct layout_entry *entry;
	uint64_t state;
	uint64_t peer;
	unsigned *steps; /* that are left for this area */
};

static uint32_t
area_generation(const struct map *map, unsigned area)
{
	return (uint32_t)word_acquire(&map_identity(map, area)->ready);
}

/* The entry that this one refers to, if it is still there; else NULL. */
static const struct layout_entry *
entry_referred_to(const struct look *look)
{
	const struct map *map = look->map;
	unsigned area = (unsigned)(look->peer >> 16 & 0xffff);
	unsigned i = (unsigned)(look->peer & 0xffff);
	const struct layout_entry *entry;

	if (area >= map->n_areas || i >= map->n_entries ||
		area_generation(map, area) != half_load(&look->entry->peer_generation))
		return NULL;
	entry = map_entry(map, area, i);
	return layout_state_generation(word_acquire(&entry->state)) == look->peer >> 32 ? entry
											: NULL;
}

static bool
refers_to(const struct layout_entry *entry, const struct look *look)
{
	return word_load(&entry->peer) == layout_reference(look->area, look->i,
						  layout_state_generation(look->state)) &&
	       half_load(&entry->peer_generation) == area_generation(look->map, look->area);
}

/* The end that receives what a connecting one sends, which does not know of it yet; NULL: none. */
static const struct layout_entry *
find_acceptor(const struct look *look)
{
	unsigned area = (unsigned)(look->peer >> 16 & 0xffff);

	if (!entry_referred_to(look))
		return NULL;
	for (unsigned i = 0; i<look->map->n_entries && * look->steps> 0; i++) {
		const struct layout_entry *entry = map_entry(look->map, area, i);

		--*look->steps;
		if (layout_state_phase(word_acquire(&entry->state)) == LAYOUT_CONNECTED &&
			refers_to(entry, look))
			return entry;
	}
	return NULL;
}

/* Where what lies in the ring ends; the record at `position` is the first one that counts. -EPROTO: none
 * begins there. */
static int
find_end(const struct look *look, uint64_t position, uint64_t *ret_end)
{
	const struct map *map = look->map;
	uint64_t offset = word_load(&look->entry->ring_offset);
	uint32_t size = half_load(&look->entry->ring_size);
	struct ring_reader reader;
	const void *bytes;
	uint32_t length;
	int r = 0;

	if (size < RING_MIN_SIZE || size > RING_MAX_SIZE || (size & (size - 1)) != 0 ||
		offset % LAYOUT_LINE != 0 || size > map->area_size ||
		offset > map->area_size - size || position % RING_HEADER != 0)
		return -EPROTO;
	ring_reader_init(&reader, map_area(map, look->area) + offset, size);
	ring_move(&reader, position);
	while (*look->steps > 0 && reader.position - position < size) {
		--*look->steps;
		r = ring_peek(&reader, &bytes, &length);
		if (r < 0)
			break;
		ring_release(&reader);
	}
	*ret_end = reader.position;
	return r == -EPROTO ? r : 0;
}

/* Nobody says how far an end has sent: that is seen from the headers in its ring. */
static void
look_at_ring(const struct look *look, struct ivshmem_channel_info *info)
{
	bool connecting = layout_state_phase(look->state) == LAYOUT_CONNECTING;
	const struct layout_entry *receiver =
		connecting ? find_acceptor(look) : entry_referred_to(look);

	if (!connecting && (!receiver || !refers_to(receiver, look)))
		return;
	for (unsigned i = 0; i < TRIES; i++) {
		/* Before it is accepted, nothing of what it sends is received. */
		uint64_t received = receiver ? word_acquire(&receiver->head) : 0;
		uint64_t end;

		if (find_end(look, received, &end) < 0)
			continue;
		info->sent = end;
		if (receiver)
			received = word_acquire(&receiver->head);
		info->unread = (int64_t)(end - received) > 0 ? end - received : 0;
		return;
	}
}

static void
look_at_topic(const struct look *look, struct ivshmem_channel_info *info)
{
	const struct layout_entry *publisher = entry_referred_to(look);
	uint64_t head, tail;

	if (!publisher)
		return;
	tail = word_acquire(&publisher->tail);
	head = word_acquire(&publisher->head);
	/* What was overwritten, it cannot read any more. */
	if ((int64_t)(info->received - head) > 0)
		head = info->received;
	info->unread = (int64_t)(tail - head) > 0 ? tail - head : 0;
}

static void
look_at_position(const struct look *look, struct ivshmem_channel_info *info)
{
	bool listening = layout_state_phase(look->state) == LAYOUT_LISTENING;

	switch (info->kind) {
	case IVSHMEM_STREAM:
	case IVSHMEM_QUEUE:
	case IVSHMEM_CALL:
		if (!listening)
			look_at_ring(look, info);
		break;
	case IVSHMEM_TOPIC:
		if (listening) {
			info->sent = word_acquire(&look->entry->tail);
			info->number = word_load(&look->entry->done);
		} else {
			look_at_topic(look, info);
		}
		break;
	case IVSHMEM_STATE:
		if (listening)
			info->number = info->received;
		break;
	case IVSHMEM_CHANNEL_KINDS:
		break;
	}
}

/* ---- showing --------------------------------------------------------------------------------- */

static int
show_entry(const struct map *map, unsigned area, unsigned i, unsigned *steps,
	int (*fn)(void *data, const struct ivshmem_channel_info *info), void *data)
{
	const struct layout_entry *entry = map_entry(map, area, i);
	uint64_t state = word_acquire(&entry->state);
	uint64_t peer = word_load(&entry->peer);
	const struct look look = {map, area, i, entry, state, peer, steps};
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
		.generation = layout_state_generation(state),
	};

	if (!info.phase)
		return 0;
	map_copy_name(info.name, entry->name);
	look_at_position(&look, &info);
	return fn(data, &info);
}

static int
show_entries(const struct map *map, unsigned area,
	int (*fn)(void *data, const struct ivshmem_channel_info *info), void *data)
{
	unsigned steps = MOST_STEPS;
	int r = 0;

	for (unsigned i = 0; r == 0 && i < map->n_entries; i++)
		r = show_entry(map, area, i, &steps, fn, data);
	return r;
}

static int
show_participant(const struct map *map, unsigned area, bool ourselves, uint64_t kernel,
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
		.here = neighbour_is_ours(identity, kernel),
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
			r = show_participant(&participant->map, area, area == participant->area,
				participant->kernel, fn, data);
	return r;
}

static int
fate(uint64_t claim, uint32_t generation)
{
	if (layout_claim_generation(claim) != generation)
		return -ENOENT;
	switch (layout_claim_state(claim)) {
	case LAYOUT_OWNED:
		return 1;
	case LAYOUT_LEFT:
		return 0;
	case LAYOUT_DEAD:
		return -ECONNRESET;
	case LAYOUT_FREE:
		break;
	}
	return -ENOENT;
}

EXPORT int
ivshmem_participant_fate(
	struct ivshmem_participant *participant, unsigned area, uint32_t generation)
{
	uint64_t claim;

	if (participant->lost == -ENODEV)
		return -ENODEV;
	if (area >= participant->map.n_areas)
		return -ENOENT;
	claim = word_acquire(map_claim(&participant->map, area));
	return fate(claim, generation);
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
			r = show_participant(&map, area, false, kernel, participant_fn, data);
		if (r == 0 && channel_fn)
			r = show_entries(&map, area, channel_fn, data);
		if (r != 0)
			return r;
	}
	return (int)map.n_areas;
}

EXPORT int
ivshmem_channels_fate(const struct ivshmem_client *client, unsigned area, uint32_t generation)
{
	struct map map;
	int r = map_look(&map, ivshmem_memory(client), ivshmem_size(client), NULL);

	if (r < 0 || area >= map.n_areas)
		return -ENOENT;
	r = fate(word_acquire(map_claim(&map, area)), generation);
	if (r == 1 && !seems_to_live(&map, area, client, neighbour_kernel()))
		/* It may have left, or another one may have come, while we looked. */
		r = fate(word_acquire(map_claim(&map, area)), generation) == 1 ? -ECONNRESET : r;
	return r;
}

EXPORT int
ivshmem_channels_format(void *memory, uint64_t size, unsigned areas, struct ivshmem_error *reterr)
{
	return map_format(memory, size, areas, reterr);
}
