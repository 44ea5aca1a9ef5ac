/* SPDX-License-Identifier: BSD-2-Clause */

/* Who reads what a listener publishes, without being accepted: entries that are connecting to
 * it. */
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
	participant_link(listener->participant, subscriber->area);
}

static void
scan_area(struct ivshmem_channel *listener, unsigned area)
{
	struct ivshmem_participant *participant = listener->participant;
	const struct map *map = &participant->map;
	uint64_t connecting = layout_state(0, listener->kind, LAYOUT_CONNECTING);
	uint64_t claim = word_acquire(map_claim(map, area));
	uint32_t generation = layout_claim_generation(claim);
	unsigned before = listener->n_subscribers;

	if (layout_claim_state(claim) != LAYOUT_OWNED ||
		!neighbour_know(participant, area, generation))
		return;
	for (unsigned entry = 0; entry < map->n_entries; entry++) {
		const struct layout_entry *theirs = map_entry(map, area, entry);

		if ((uint32_t)word_acquire(&theirs->state) != (uint32_t)connecting ||
			!channel_is_meant(listener, theirs))
			continue;
		/* Those of one who died without a word are none. */
		if (listener->n_subscribers == before &&
			layout_claim_state(neighbour_check(participant, area)) != LAYOUT_OWNED)
			return;
		add(listener, &(struct subscriber){area, entry, generation, theirs});
	}
}

static void
forget(struct ivshmem_participant *participant, struct subscriber *subscribers, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		participant_unlink(participant, subscribers[i].area);
	free(subscribers);
}

static void
scan(struct ivshmem_channel *listener)
{
	struct subscriber *before = listener->subscribers;
	unsigned n_before = listener->n_subscribers;

	listener->subscribers = NULL;
	listener->n_subscribers = 0;
	for (unsigned area = 0; area < listener->participant->map.n_areas; area++)
		scan_area(listener, area);
	/* After those of now, so that nothing changes for those who stay. */
	forget(listener->participant, before, n_before);
}

void
subscribers_forget(struct ivshmem_channel *listener)
{
	forget(listener->participant, listener->subscribers, listener->n_subscribers);
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

	/* Who comes at this moment gives a notice, and looks at what there is then. Who sleeps has
	 * asked, and looks. After the fence we see either, or they see what we have published. */
	word_fence();
	participant_look(participant);
	subscribers_look(listener);
	for (unsigned i = 0; i < listener->n_subscribers; i++) {
		const struct subscriber *subscriber = &listener->subscribers[i];
		uint64_t wake_at = word_load(&subscriber->theirs->wake_at);

		if (from <= wake_at && wake_at < to &&
			neighbour_know(participant, subscriber->area, subscriber->area_generation))
			listener->n_rings += participant_tell(
				participant, subscriber->area, channel_bit(subscriber->entry));
	}
}
