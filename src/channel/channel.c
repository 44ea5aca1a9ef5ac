/* SPDX-License-Identifier: BSD-2-Clause */

#include <channel/channel.h>

#include <base/error.h>
#include <base/sized.h>
#include <trace/trace.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_RING 262144

static struct ivshmem_channel *
channel_of(struct list *link)
{
	return container_of(link, struct ivshmem_channel, link);
}

/* ---- entries of our area --------------------------------------------------------------------- */

void
channel_publish(struct ivshmem_channel *channel, enum layout_phase phase)
{
	channel->phase = phase;
	word_release(&channel->own->state,
		layout_state(channel->entry_generation, channel->kind, phase));
}

void
channel_refer(struct ivshmem_channel *channel)
{
	if (!channel->has_peer) {
		channel->has_peer = true;
		participant_link(channel->participant, channel->peer_area);
	}
	word_store(&channel->own->peer, layout_reference(channel->peer_area, channel->peer_entry,
						channel->peer_entry_generation));
	__atomic_store_n(
		&channel->own->peer_generation, channel->peer_area_generation, __ATOMIC_RELAXED);
}

/* Tell the other end, which is to look at its entry, or is looking for ours. */
void
channel_tell_peer(struct ivshmem_channel *channel)
{
	struct ivshmem_participant *participant = channel->participant;

	word_fence();
	if (neighbour_know(participant, channel->peer_area, channel->peer_area_generation))
		channel->n_rings += participant_tell(participant, channel->peer_area,
			LAYOUT_NOTICE_ENTRIES | channel_bit(channel->peer_entry));
}

void
channel_tell_everybody(struct ivshmem_participant *participant)
{
	word_fence();
	for (unsigned area = 0; area < participant->map.n_areas; area++) {
		uint64_t claim = word_acquire(map_claim(&participant->map, area));

		if (layout_claim_state(claim) == LAYOUT_OWNED &&
			neighbour_know(participant, area, layout_claim_generation(claim)))
			participant_tell(participant, area, LAYOUT_NOTICE_ENTRIES);
	}
}

/* ---- making and freeing ---------------------------------------------------------------------- */

/* What a ring of this size becomes. 0: as large as it is wise. */
static int
ring_size(struct ivshmem_participant *participant, uint64_t wanted, uint32_t *ret_size)
{
	uint64_t size = RING_MIN_SIZE;
	uint64_t largest = heap_largest(&participant->heap) / 2;

	if (wanted > RING_MAX_SIZE)
		return -EINVAL;
	if (wanted == 0)
		while (size * 2 <= DEFAULT_RING && size * 2 <= largest)
			size *= 2;
	else
		while (size < wanted)
			size *= 2;
	*ret_size = (uint32_t)size;
	return 0;
}

/* 0 is none. */
static void
next_generation(uint32_t *generation)
{
	if (++*generation == 0)
		*generation = 1;
}

static int
find_entry(const struct ivshmem_participant *participant)
{
	for (unsigned entry = 0; entry < participant->map.n_entries; entry++)
		if (!participant->entries[entry])
			return (int)entry;
	return -ENOSPC;
}

/* A channel with an entry that is not published yet, and the ring it sends through. */
int
channel_new(struct ivshmem_channel **ret_channel, struct ivshmem_participant *participant,
	enum ivshmem_channel_kind kind, const char *name, uint64_t wanted, bool with_ring)
{
	struct ivshmem_channel *channel;
	struct layout_entry *own;
	int entry = find_entry(participant);
	uint32_t size;
	int r = ring_size(participant, wanted, &size);

	if (entry < 0)
		return entry;
	if (r < 0)
		return r;
	channel = calloc(1, sizeof(*channel));
	if (!channel)
		return -ENOMEM;
	if (with_ring) {
		r = heap_allocate(&participant->heap, size, &channel->block);
		if (r < 0) {
			free(channel);
			return r;
		}
		ring_writer_init(&channel->writer,
			map_area(&participant->map, participant->area) + channel->block->offset,
			size, participant->map.drain);
	}
	channel->participant = participant;
	channel->kind = kind;
	strcpy(channel->name, name);
	channel->ring_size = size;
	channel->fd = channel->ready = -1;
	list_init(&channel->ready_link);

	own = channel->own = map_entry(&participant->map, participant->area, (unsigned)entry);
	channel->entry = (unsigned)entry;
	next_generation(&participant->entry_generations[entry]);
	channel->entry_generation = participant->entry_generations[entry];
	participant->entries[entry] = channel;
	list_append(&participant->channels, &channel->link);

	word_store(&own->peer, 0);
	__atomic_store_n(&own->ring_size, with_ring ? size : 0, __ATOMIC_RELAXED);
	word_store(&own->ring_offset, with_ring ? channel->block->offset : 0);
	for (unsigned i = 0; i < LAYOUT_MAX_NAME; i++)
		__atomic_store_n(&own->name[i], channel->name[i], __ATOMIC_RELAXED);
	word_store(&own->end, 0);
	word_store(&own->shut, 0);
	word_store(&own->ended, 0);
	word_store(&own->head, 0);
	word_store(&own->tail, 0);
	word_store(&own->resume, 0);
	word_store(&own->begun, 0);
	word_store(&own->done, 0);
	word_store(&own->loans, 0);
	word_store(&own->wake_at, LAYOUT_NEVER);
	word_store(&own->space_at, LAYOUT_NEVER);
	word_store(&own->loans_at, 0);
	/* The first try will tell whether it is. */
	channel_signal(channel);
	*ret_channel = channel;
	return 0;
}

static void
forget(struct ivshmem_channel *channel)
{
	if (channel->has_peer)
		participant_unlink(channel->participant, channel->peer_area);
	subscribers_forget(channel);
	channel->participant->entries[channel->entry] = NULL;
	list_remove(&channel->link);
	loans_free(channel);
	heap_free(channel->block);
	free(channel->calls);
	channel_ready_done(channel);
	free(channel);
}

/* Give the entry and the ring back. */
void
channel_discard(struct ivshmem_channel *channel)
{
	if (!participant_is_lost(channel->participant))
		channel_publish(channel, LAYOUT_UNUSED);
	forget(channel);
}

void
channel_free_all(struct ivshmem_participant *participant)
{
	list_for_each_safe (link, &participant->channels)
		forget(channel_of(link));
}

/* ---- what the other end does ----------------------------------------------------------------- */

void
channel_fail(struct ivshmem_channel *channel, int error)
{
	if (channel->error == 0) {
		TRACE(channel_failed, channel->entry, channel->peer_area, error);
		channel->error = error;
		if (error == -EPROTO)
			participant_violated(channel->participant, channel->peer_area);
	}
	channel_signal(channel);
}

int
channel_take_ring(struct ivshmem_channel *channel, const struct layout_entry *entry)
{
	const struct map *map = &channel->participant->map;
	uint64_t offset = word_load(&entry->ring_offset);
	uint32_t size = half_load(&entry->ring_size);

	if (size < RING_MIN_SIZE || size > RING_MAX_SIZE || (size & (size - 1)) != 0 ||
		offset % LAYOUT_LINE != 0 || offset < map->heap_offset || offset > map->area_size ||
		size > map->area_size - offset)
		return -EPROTO;
	ring_reader_init(&channel->reader, map_area(map, channel->peer_area) + offset, size);
	return 0;
}

bool
channel_is_meant(const struct ivshmem_channel *channel, const struct layout_entry *entry)
{
	return word_load(&entry->peer) == layout_reference(channel->participant->area,
						  channel->entry, channel->entry_generation) &&
	       half_load(&entry->peer_generation) == channel->participant->generation;
}

/* Our connection was accepted if the listener's area has an entry that refers to ours. */
static bool
find_acceptor(struct ivshmem_channel *channel)
{
	const struct map *map = &channel->participant->map;

	for (unsigned i = 0; i < map->n_entries; i++) {
		struct layout_entry *entry = map_entry(map, channel->peer_area, i);
		uint64_t state = word_acquire(&entry->state);

		if (layout_state_phase(state) != LAYOUT_CONNECTED ||
			layout_state_kind(state) != channel->kind ||
			!channel_is_meant(channel, entry))
			continue;
		channel->peer_entry = i;
		channel->peer_entry_generation = layout_state_generation(state);
		channel->theirs = entry;
		return true;
	}
	return false;
}

static void
connected(struct ivshmem_channel *channel)
{
	if (channel_take_ring(channel, channel->theirs) < 0) {
		channel_fail(channel, -EPROTO);
		return;
	}
	channel_refer(channel);
	channel_publish(channel, LAYOUT_CONNECTED);
	channel->connected = true;
	TRACE(channel_connected, channel->entry, channel->peer_area, channel->peer_entry,
		channel->kind);
	/* What we have sent so far: does it sleep? */
	channel_flush(channel);
}

static void
look_for_acceptor(struct ivshmem_channel *channel, uint64_t claim)
{
	const struct layout_entry *listener =
		map_entry(&channel->participant->map, channel->peer_area, channel->peer_entry);
	/* Before we look for its entry: it might accept, and be closed then. */
	uint64_t state = word_acquire(&listener->state);

	if (find_acceptor(channel))
		connected(channel);
	else if (layout_claim_state(claim) != LAYOUT_OWNED ||
		 layout_state_phase(state) != LAYOUT_LISTENING ||
		 layout_state_generation(state) != channel->peer_entry_generation) {
		channel->participant->unannounced |= layout_claim_state(claim) == LAYOUT_DEAD;
		channel_fail(channel, -ECONNREFUSED);
	}
}

void
channel_look(struct ivshmem_channel *channel)
{
	struct ivshmem_participant *participant = channel->participant;
	uint64_t claim = word_acquire(map_claim(&participant->map, channel->peer_area));
	uint64_t state, shut;

	if (channel->error != 0 || channel->phase == LAYOUT_LISTENING)
		return;
	if (layout_claim_generation(claim) != channel->peer_area_generation) {
		participant->unannounced = true;
		channel_fail(channel, channel->connected ? -ECONNRESET : -ECONNREFUSED);
		return;
	}
	if (!channel->connected)
		look_for_acceptor(channel, claim);
	if (!channel->connected)
		return;
	state = word_acquire(&channel->theirs->state);
	if (layout_state_generation(state) != channel->peer_entry_generation ||
		layout_state_phase(state) == LAYOUT_UNUSED) {
		/* It took its ring back; that is only right if we have ended. */
		channel_fail(channel, -ECONNRESET);
		return;
	}
	shut = word_acquire(&channel->theirs->shut);
	if (!channel->they_shut && shut != LAYOUT_SHUT_NOT) {
		channel->their_end = word_load(&channel->theirs->end);
		channel->they_shut = true;
		channel->they_aborted = shut == LAYOUT_SHUT_EARLY;
	}
	if (word_acquire(&channel->theirs->ended))
		channel->they_ended = true;
	/* Who has left has ended before, unless it lies. */
	if (layout_claim_state(claim) != LAYOUT_OWNED && !channel->they_died) {
		participant->unannounced |= layout_claim_state(claim) == LAYOUT_DEAD;
		channel->they_died = true;
	}
}

/* Nobody reads the ring any more, and nobody will. */
static bool
is_over(const struct ivshmem_channel *channel)
{
	return channel->error != 0 || channel->they_ended || channel->they_died;
}

/* Whether the other end has seen ours. One that connected and ended before we accepted it waits for
 * that, and then it needs to find our entry. */
static bool
is_seen(const struct ivshmem_channel *channel)
{
	return !channel->accepted || channel->error != 0 || channel->they_died ||
	       layout_state_phase(word_acquire(&channel->theirs->state)) != LAYOUT_CONNECTING;
}

/* All that looking can change. */
static unsigned
what_is_known(const struct ivshmem_channel *channel)
{
	return (channel->error != 0) | (unsigned)channel->connected << 1 |
	       (unsigned)channel->they_shut << 2 | (unsigned)channel->they_ended << 3 |
	       (unsigned)channel->they_died << 4;
}

/* Look at the other end. One who polls is woken if there was a notice, or if there is news. */
static void
look_again(struct ivshmem_channel *channel, bool noticed)
{
	unsigned known = what_is_known(channel);

	channel_look(channel);
	if (channel->orphan && is_over(channel) && is_seen(channel)) {
		struct ivshmem_participant *participant = channel->participant;
		unsigned area = channel->peer_area, entry = channel->peer_entry;
		bool tell = channel->connected && channel->error == 0;

		channel_discard(channel);
		/* It may be waiting for this to free its own end. */
		word_fence();
		if (tell)
			participant_tell(participant, area, channel_bit(entry));
		return;
	}
	if (noticed || what_is_known(channel) != known)
		channel_signal(channel);
}

void
channel_area_changed(struct ivshmem_participant *participant, unsigned area, uint64_t bits)
{
	uint64_t claim = word_acquire(map_claim(&participant->map, area));
	bool entries = bits == 0 || (bits & LAYOUT_NOTICE_ENTRIES) != 0;

	neighbour_know(participant, area, layout_claim_generation(claim));
	participant->n_changes += (bits & LAYOUT_NOTICE_ENTRIES) != 0;
	list_for_each_safe (link, &participant->channels) {
		struct ivshmem_channel *channel = channel_of(link);
		bool noticed = (bits & channel_bit(channel->entry)) != 0;

		if (channel->phase == LAYOUT_LISTENING) {
			if (channel->orphan && entries && subscribers_look(channel) == 0) {
				channel_discard(channel);
				continue;
			}
			/* Readers that are new are to be rung if we die. */
			if (bits & LAYOUT_NOTICE_ENTRIES && channel_is_publisher(channel))
				subscribers_look(channel);
			if (noticed || (bits & LAYOUT_NOTICE_ENTRIES) != 0)
				channel_signal(channel);
		} else if (channel->peer_area == area && (entries || noticed)) {
			look_again(channel, noticed);
		}
	}
}

int
channel_fail_protocol(struct ivshmem_channel *channel)
{
	channel_look(channel);
	channel_fail(channel, -EPROTO);
	return channel->error;
}

/* ---- ending ---------------------------------------------------------------------------------- */

/* Say where what we send ends. */
static void
shut(struct ivshmem_channel *channel, enum layout_shut how)
{
	if (channel->we_shut)
		return;
	channel->we_shut = true;
	/* Nothing comes after the end. */
	channel->writer.reserving = false;
	ring_publish(&channel->writer);
	word_store(&channel->own->end, channel->writer.published);
	word_release(&channel->own->shut, how);
}

static void
end(struct ivshmem_channel *channel)
{
	if (channel_is_publisher(channel)) {
		shut(channel, LAYOUT_SHUT);
		word_release(&channel->own->ended, 1);
	} else if (channel->phase == LAYOUT_LISTENING) {
		channel_publish(channel, LAYOUT_UNUSED);
	} else {
		shut(channel, LAYOUT_SHUT);
		/* The other end wants to know whether it was all. */
		word_store(&channel->own->head, channel->reader.position);
		word_release(&channel->own->ended, 1);
	}
}

void
channel_lose_all(struct ivshmem_participant *participant)
{
	list_for_each (link, &participant->channels)
		channel_fail(channel_of(link), participant->lost);
}

void
channel_end_all(struct ivshmem_participant *participant)
{
	if (participant_is_lost(participant))
		return;
	list_for_each (link, &participant->channels) {
		struct ivshmem_channel *channel = channel_of(link);
		bool listened = channel->phase == LAYOUT_LISTENING;

		end(channel);
		if (!listened)
			channel_tell_peer(channel);
	}
	channel_tell_everybody(participant);
}

EXPORT struct ivshmem_channel *
ivshmem_channel_close(struct ivshmem_channel *channel)
{
	struct ivshmem_participant *participant;

	if (!channel)
		return NULL;
	participant = channel->participant;
	TRACE(channel_closed, channel->entry, channel->writer.published, channel->reader.position);
	if (participant_is_lost(participant)) {
		forget(channel);
		return NULL;
	}
	end(channel);
	if (channel->phase == LAYOUT_UNUSED) {
		forget(channel);
		channel_tell_everybody(participant);
		return NULL;
	}
	channel_ready_done(channel);
	channel->orphan = true;
	loans_drop_unsent(channel);
	if (channel_is_publisher(channel)) {
		channel_tell_everybody(participant);
		/* Readers may take what they have not read yet. */
		participant->n_changes++;
		if (subscribers_look(channel) == 0)
			channel_discard(channel);
		return NULL;
	}
	channel_tell_peer(channel);
	if (channel_is_subscription(channel)) {
		/* Nobody receives what a subscriber sends, which is nothing. */
		unsigned area = channel->peer_area;

		channel_discard(channel);
		word_fence();
		participant_tell(participant, area, LAYOUT_NOTICE_ENTRIES);
	} else {
		look_again(channel, true);
	}
	return NULL;
}

EXPORT struct ivshmem_channel *
ivshmem_channel_abort(struct ivshmem_channel *channel)
{
	if (channel && channel->phase != LAYOUT_LISTENING &&
		!participant_is_lost(channel->participant)) {
		TRACE(channel_aborted, channel->entry);
		shut(channel, LAYOUT_SHUT_EARLY);
	}
	return ivshmem_channel_close(channel);
}

EXPORT int
ivshmem_channel_shutdown(struct ivshmem_channel *channel)
{
	int r = channel_send_error(channel);

	if (channel->phase == LAYOUT_LISTENING || channel_is_subscription(channel))
		return -EINVAL;
	if (r < 0)
		return r;
	if (participant_is_lost(channel->participant))
		return channel->participant->lost;
	shut(channel, LAYOUT_SHUT);
	channel_tell_peer(channel);
	return 0;
}

/* ---- what it is like ------------------------------------------------------------------------- */

EXPORT const char *
ivshmem_channel_kind_name(enum ivshmem_channel_kind kind)
{
	static const char *const names[] = {[IVSHMEM_STREAM] = "stream",
		[IVSHMEM_QUEUE] = "queue",
		[IVSHMEM_CALL] = "call",
		[IVSHMEM_STATE] = "state",
		[IVSHMEM_TOPIC] = "topic"};

	return (unsigned)kind < IVSHMEM_CHANNEL_KINDS && names[kind] ? names[kind] : "unknown";
}

static int
end_for_receivers(const struct ivshmem_channel *channel)
{
	if (channel->error != 0)
		return channel->error;
	if (channel->they_shut && channel->reader.position == channel->their_end)
		return channel->they_aborted ? -ECONNRESET : -EPIPE;
	return channel->they_died ? -ECONNRESET : 0;
}

static uint64_t
max_record(const struct ivshmem_channel *channel)
{
	switch (channel->kind) {
	case IVSHMEM_STATE:
		return channel->ring_size;
	case IVSHMEM_TOPIC:
		return ring_max_record(channel->ring_size) - sizeof(uint64_t);
	case IVSHMEM_STREAM:
	case IVSHMEM_QUEUE:
	case IVSHMEM_CALL:
	case IVSHMEM_CHANNEL_KINDS:
		break;
	}
	return channel->phase == LAYOUT_LISTENING ? 0 : ring_max_record(channel->writer.size);
}

EXPORT int
ivshmem_channel_status(
	const struct ivshmem_channel *channel, struct ivshmem_channel_status *ret_status)
{
	const struct ivshmem_participant *participant = channel->participant;
	bool listening = channel->phase == LAYOUT_LISTENING;
	struct ivshmem_channel_status status = {
		.kind = channel->kind,
		.listening = listening,
		.connected = channel->connected,
		.error = end_for_receivers(channel),
		.max_record = max_record(channel),
		.sent = channel->writer.published,
		.received = channel->reader.position,
		.rings = channel->n_rings,
		.sleeps = channel->n_sleeps,
		.spins = channel->n_spins,
	};
	int r = SIZED_CHECK(struct ivshmem_channel_status, peer_name, ret_status, NULL);

	if (r < 0)
		return r;
	if (!listening && participant->lost != -ENODEV)
		map_copy_name(status.peer_name,
			map_identity(&participant->map, channel->peer_area)->name);
	status.struct_size = ret_status->struct_size;
	sized_out(ret_status, ret_status->struct_size, &status, sizeof(status));
	return 0;
}
