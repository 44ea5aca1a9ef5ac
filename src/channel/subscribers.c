/* SPDX-License-Identifier: BSD-2-Clause */

/* Who reads what a listener publishes, without being accepted: entries that are connecting to it. */
#include <channel/channel.h>

#include <stdlib.h>

static void
add(struct ivshmem_channel *listener, const struct subscriber *subscriber)
{
	unsigned n = listener->n_subscribers;

	/* Grows to 1, 2, 4, ... */
	if ((n & (n - 1)) == 0) {
		struct subscriber *more =
			realloc(listener->subscribers, (n ? 2 * n : 1) * sizeof(*more));

		/* Who cannot be told finds out by looking, once a second. */
		if (!more)
			return;
		listener->subscribers = more;
	}
	listener->subscribers[listener->n_subscribers++] = *subscriber;
}

static void
scan(struct ivshmem_channel *listener)
{
	struct ivshmem_participant *participant = listener->participant;
	const struct map *map = &participant->map;
	uint64_t connecting = layout_state(0, listener->kind, LAYOUT_CONNECTING);

	unsigned before;

	listener->n_subscribers = 0;
	for (unsigned area = 0; area < map->n_areas; area++) {
		uint64_t claim = word_acquire(map_claim(map, area));
		uint32_t generation = layout_claim_generation(claim);

		if (layout_claim_state(claim) != LAYOUT_OWNED ||
			!neighbour_know(participant, area, generation))
			continue;
		before = listener->n_subscribers;
		for (unsigned entry = 0; entry < map->n_entries; entry++) {
			const struct layout_entry *theirs = map_entry(map, area, entry);

			if ((uint32_t)word_acquire(&theirs->state) == (uint32_t)connecting &&
				channel_is_meant(listener, theirs))
				add(listener,
					&(struct subscriber){area, entry, generation, theirs});
		}
		/* Those of one who died without a word are none. */
		if (listener->n_subscribers > before &&
			layout_claim_state(neighbour_check(participant, area)) != LAYOUT_OWNED)
			listener->n_subscribers = before;
	}
}

unsigned
subscribers_look(struct ivshmem_channel *listener)
{
	struct ivshmem_participant *participant = listener->participant;

	if (listener->scanned != participant->n_changes) {
		listener->scanned = participant->n_changes;
		scan(listener);
	}
	return listener->n_subscribers;
}

void
subscribers_tell(struct ivshmem_channel *listener, uint64_t from, uint64_t to)
{
	struct ivshmem_participant *participant = listener->participant;

	participant_look(participant);
	subscribers_look(listener);
	word_fence();
	for (unsigned i = 0; i < listener->n_subscribers; i++) {
		const struct subscriber *subscriber = &listener->subscribers[i];
		uint64_t wake_at = word_load(&subscriber->theirs->wake_at);

		if (from <= wake_at && wake_at < to &&
			neighbour_know(participant, subscriber->area, subscriber->area_generation))
			listener->n_rings += participant_tell(
				participant, subscriber->area, channel_bit(subscriber->entry));
	}
}
