/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * States: the latest value, of one owner and any number of readers.
 *
 * Theory of operation. The owner has four slots in its heap, and values get numbers, from 1 on. The
 * value with number n goes into slot n modulo 4, and then n into `head` of the owner's entry. A
 * slot begins with the number of its value, which is 0 while the value is being written. So a
 * reader that finds the number before and after it has copied the value has copied one value. It is
 * disturbed only if the owner publishes three more values meanwhile.
 */
#include <channel/channel.h>

#include <errno.h>
#include <stddef.h>

#define SLOTS          4
#define DEFAULT_LENGTH 4096
/* A reader that is disturbed more often than this comes back later. */
#define TRIES 16

struct slot {
	uint64_t number; /* 0: not complete */
	uint64_t length;
	uint8_t value[];
};

/* Slots are LAYOUT_LINE apart, or a multiple. */
static uint64_t
slot_size(uint64_t length)
{
	return (sizeof(struct slot) + length + LAYOUT_LINE - 1) / LAYOUT_LINE * LAYOUT_LINE;
}

static struct slot *
slot_of(uint8_t *slots, uint32_t length, uint64_t number)
{
	return (struct slot *)(void *)(slots + number % SLOTS * slot_size(length));
}

/* ---- publishing ------------------------------------------------------------------------------ */

int
state_open(struct ivshmem_channel *listener, uint64_t size)
{
	const struct map *map = &listener->participant->map;
	uint64_t length = size == 0 ? DEFAULT_LENGTH : size;
	uint8_t *area = map_area(map, listener->participant->area);
	int r;

	r = heap_allocate(
		&listener->participant->heap, SLOTS * slot_size(length), &listener->block);
	if (r < 0)
		return r;
	listener->ring_size = (uint32_t)length;
	/* There is no ring, but values are stored as records are. */
	listener->writer.drain = map->drain;
	for (uint64_t number = 0; number < SLOTS; number++)
		word_store(&slot_of(area + listener->block->offset, listener->ring_size, number)
				    ->number,
			0);
	word_store(&listener->own->ring_offset, listener->block->offset);
	__atomic_store_n(&listener->own->ring_size, listener->ring_size, __ATOMIC_RELAXED);
	return 0;
}

EXPORT int
ivshmem_state_publish(struct ivshmem_channel *channel, const void *value, size_t length)
{
	struct ivshmem_participant *participant = channel->participant;
	uint64_t number = channel->number + 1;
	struct slot *slot;

	if (channel->kind != IVSHMEM_STATE || !channel_is_publisher(channel))
		return -EINVAL;
	if (participant_is_lost(participant))
		return channel->error;
	if (length > channel->ring_size)
		return -EMSGSIZE;
	slot = slot_of(map_area(&participant->map, participant->area) + channel->block->offset,
		channel->ring_size, number);
	word_store(&slot->number, 0);
	/* Nobody sees a byte of the new value before that. */
	__atomic_thread_fence(__ATOMIC_RELEASE);
	channel_settle(channel);
	word_store(&slot->length, length);
	channel_copy_in(channel, slot->value, value, length);
	channel_settle(channel);
	word_release(&slot->number, number);
	channel_settle(channel);
	word_release(&channel->own->head, number);
	subscribers_tell(channel, channel->number, number);
	channel->number = number;
	return channel->error;
}

/* ---- reading --------------------------------------------------------------------------------- */

int
state_subscribe(struct ivshmem_channel *channel)
{
	const struct map *map = &channel->participant->map;
	const struct layout_entry *entry = map_entry(map, channel->peer_area, channel->peer_entry);
	uint64_t offset = word_load(&entry->ring_offset);
	uint64_t length = half_load(&entry->ring_size);

	if (length == 0 || length > STATE_MAX_LENGTH || offset % LAYOUT_LINE != 0 ||
		offset < map->heap_offset || offset > map->area_size ||
		SLOTS * slot_size(length) > map->area_size - offset)
		return -EPROTO;
	channel->ring_size = (uint32_t)length;
	channel->reader.data = map_area(map, channel->peer_area) + offset;
	channel->theirs = entry;
	channel->connected = true;
	return 0;
}

bool
state_is_readable(const struct ivshmem_channel *channel)
{
	return word_acquire(&channel->theirs->head) != channel->number || channel->they_ended ||
	       channel->they_died;
}

/* Whether the value was copied whole. Its length, or -EAGAIN, or -EPROTO. */
static int64_t
copy(struct ivshmem_channel *channel, uint64_t number, void *buffer, size_t size)
{
	const uint8_t *place =
		channel->reader.data + number % SLOTS * slot_size(channel->ring_size);
	const struct slot *slot = (const struct slot *)(const void *)place;
	uint64_t length;

	if (word_acquire(&slot->number) != number)
		return -EAGAIN;
	length = word_load(&slot->length);
	if (length <= channel->ring_size)
		channel_copy_out(
			channel, buffer, slot->value, length < size ? (size_t)length : size);
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	if (word_load(&slot->number) != number)
		return -EAGAIN;
	return length <= channel->ring_size ? (int64_t)length : -EPROTO;
}

/* Whether the slots are still those of this state. */
static bool
is_still_there(const struct ivshmem_channel *channel)
{
	uint64_t state = word_load(&channel->theirs->state);
	uint64_t claim = word_load(map_claim(&channel->participant->map, channel->peer_area));

	return layout_state_generation(state) == channel->peer_entry_generation &&
	       layout_state_phase(state) == LAYOUT_LISTENING &&
	       layout_claim_generation(claim) == channel->peer_area_generation;
}

/* The latest value, if there is a newer one. */
static int64_t
read_latest(struct ivshmem_channel *channel, void *buffer, size_t size, uint64_t *number)
{
	for (unsigned i = 0; i < TRIES; i++) {
		uint64_t latest = word_acquire(&channel->theirs->head);
		int64_t length;

		if (latest == 0 || latest == *number)
			break;
		length = copy(channel, latest, buffer, size);
		if (!is_still_there(channel))
			break;
		if (length == -EPROTO)
			return channel_fail_protocol(channel);
		if (length == -EAGAIN)
			continue;
		*number = channel->number = latest;
		return length;
	}
	return -EAGAIN;
}

EXPORT int64_t
ivshmem_state_read(struct ivshmem_channel *channel, void *buffer, size_t size, uint64_t *number)
{
	struct ivshmem_participant *participant = channel->participant;
	int64_t length;

	if (channel->kind != IVSHMEM_STATE || !channel_is_subscription(channel))
		return -EINVAL;
	if (channel->error != 0)
		return channel->error;
	length = read_latest(channel, buffer, size, number);
	if (length != -EAGAIN)
		return length;
	channel->number = *number;
	participant_look(participant);
	if (channel_is_polled(channel))
		channel_ask(channel, IVSHMEM_READABLE);
	/* After having asked; and after having learnt that this is the last one. */
	length = read_latest(channel, buffer, size, number);
	if (length != -EAGAIN)
		return length;
	if (channel->error != 0)
		return channel->error;
	if (channel->they_ended)
		return -EPIPE;
	return channel->they_died ? -ECONNRESET : -EAGAIN;
}
