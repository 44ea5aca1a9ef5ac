/* SPDX-License-Identifier: BSD-2-Clause */

/* Listening, connecting and accepting. channel.h has the theory. */
#include <channel/channel.h>

#include <base/clock.h>
#include <base/error.h>
#include <base/sized.h>
#include <trace/trace.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* How many connections with impossible rings a call refuses; the next one goes on. */
#define REFUSALS 64

/* How many publishers that close while we come are too many at a time. */
#define TRIES 16

/* ---- listening and connecting ---------------------------------------------------------------- */

static int
get_options(struct ivshmem_channel_options *options, const struct ivshmem_channel_options *given,
	const char *name, enum ivshmem_channel_kind kind, struct ivshmem_error *reterr)
{
	int r = given ? SIZED_IN(
				struct ivshmem_channel_options, patience_ms, options, given, reterr)
		      : 0;

	if (r < 0)
		return r;
	if (!map_name_is_valid(name))
		return error_set(reterr, -EINVAL,
			"'%s' cannot be the name of a channel: it needs 1 to %d bytes without "
			"control characters",
			name, LAYOUT_MAX_NAME - 1);
	if (kind < IVSHMEM_STREAM || kind >= IVSHMEM_CHANNEL_KINDS)
		return error_set(reterr, -EINVAL, "there is no kind %d of channels", (int)kind);
	if (kind == IVSHMEM_STATE && options->ring_size > STATE_MAX_LENGTH)
		return error_set(reterr, -EINVAL, "a value of a state has at most %u bytes",
			STATE_MAX_LENGTH);
	if (options->ring_size > RING_MAX_SIZE)
		return error_set(reterr, -EINVAL, "a ring has at most %u bytes", RING_MAX_SIZE);
	return 0;
}

static int
explain(struct ivshmem_participant *participant, int r, struct ivshmem_error *reterr)
{
	if (r == -ENOSPC)
		return error_set(reterr, r,
			"our area of the shared memory has no room for another channel: close some, take "
			"smaller rings, or format the memory for fewer areas ('ivshmem format')");
	if (r == -ESTALE)
		return error_set(reterr, r,
			"area %u of the shared memory is not ours any more: open another participant",
			participant->area);
	if (r == -ENODEV)
		return error_set(reterr, r, "the device was unplugged");
	return r < 0 ? error_set(reterr, r, "cannot make a channel: %s", strerror(-r)) : 0;
}

/* Whether this entry listens under the name. */
static bool
listens(const struct layout_entry *entry, const char *name, uint64_t *ret_state)
{
	char found[LAYOUT_MAX_NAME];
	uint64_t state = word_acquire(&entry->state);

	if (layout_state_phase(state) != LAYOUT_LISTENING || word_load(&entry->ended) != 0)
		return false;
	map_copy_name(found, entry->name);
	*ret_state = state;
	return strcmp(found, name) == 0;
}

struct listener {
	unsigned area, entry;
	uint32_t area_generation, entry_generation;
	unsigned kind;
};

/* Somebody who listens, except for `but`. */
static int
find_listener(struct ivshmem_participant *participant, const char *name,
	const struct layout_entry *but, struct listener *ret_listener)
{
	const struct map *map = &participant->map;

	for (unsigned area = 0; area < map->n_areas; area++) {
		uint64_t claim = word_acquire(map_claim(map, area));
		uint32_t generation = layout_claim_generation(claim);

		if (layout_claim_state(claim) != LAYOUT_OWNED ||
			!neighbour_know(participant, area, generation))
			continue;
		for (unsigned i = 0; i < map->n_entries; i++) {
			struct layout_entry *entry = map_entry(map, area, i);
			uint64_t state;

			if (entry == but || !listens(entry, name, &state))
				continue;
			/* It may have died without a word. */
			if (layout_claim_state(neighbour_check(participant, area)) != LAYOUT_OWNED)
				break;
			*ret_listener = (struct listener){
				.area = area,
				.entry = i,
				.area_generation = generation,
				.entry_generation = layout_state_generation(state),
				.kind = layout_state_kind(state),
			};
			return 0;
		}
	}
	return -ENOENT;
}

static int
in_use(const char *name, const struct listener *listener, struct ivshmem_error *reterr)
{
	return error_set(reterr, -EADDRINUSE,
		"somebody listens under the name '%s' already: the participant of area %u (see "
		"'ivshmem channels')",
		name, listener->area);
}

EXPORT int
ivshmem_listen(struct ivshmem_channel **ret_channel, struct ivshmem_participant *participant,
	const char *name, enum ivshmem_channel_kind kind,
	const struct ivshmem_channel_options *given, struct ivshmem_error *reterr)
{
	struct ivshmem_channel_options options = {0};
	struct ivshmem_channel *channel = NULL;
	struct listener other;
	int r = get_options(&options, given, name, kind, reterr);

	if (r < 0)
		return r;
	r = ivshmem_participant_dispatch(participant);
	if (r < 0)
		return explain(participant, r, reterr);
	if (find_listener(participant, name, NULL, &other) == 0)
		return in_use(name, &other, reterr);
	r = channel_new(
		&channel, participant, kind, name, options.ring_size, kind == IVSHMEM_TOPIC);
	if (r < 0)
		return explain(participant, r, reterr);
	channel->patience_ms = options.patience_ms;
	if (kind == IVSHMEM_STATE)
		r = state_open(channel, options.ring_size);
	if (r < 0) {
		channel_discard(channel);
		return explain(participant, r, reterr);
	}
	channel_publish(channel, LAYOUT_LISTENING);
	word_fence();
	/* Of two who do this at the same time, at least one sees the other here. */
	if (find_listener(participant, name, channel->own, &other) == 0) {
		channel_discard(channel);
		return in_use(name, &other, reterr);
	}
	TRACE(channel_listening, channel->entry, kind, TRACE_NAME(name));
	channel_tell_everybody(participant);
	*ret_channel = channel;
	return 0;
}

/* Read what is published. -EAGAIN: the publisher closes, and may not have seen us. */
static int
subscribe(struct ivshmem_channel *channel)
{
	const struct layout_entry *entry =
		map_entry(&channel->participant->map, channel->peer_area, channel->peer_entry);
	uint64_t listening =
		layout_state(channel->peer_entry_generation, channel->kind, LAYOUT_LISTENING);
	int r;

	/* Either we see that it closes, or it sees us and keeps its memory for us. */
	word_fence();
	r = channel->kind == IVSHMEM_STATE ? state_subscribe(channel) : topic_subscribe(channel);
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	if (word_load(&entry->ended) != 0 || word_load(&entry->state) != listening)
		return -EAGAIN;
	return r;
}

/* A connection that is wanted. */
struct attempt {
	struct ivshmem_channel *channel; /* if it has come about */
	struct ivshmem_participant *participant;
	const char *name;
	enum ivshmem_channel_kind kind;
	struct ivshmem_channel_options options;
	struct ivshmem_error *reterr;
	int r;
};

/* Connect to who was found. With a sentence for -EPROTOTYPE and -EPROTO. */
static int
connect_to(struct attempt *attempt, const struct listener *found)
{
	struct ivshmem_channel *channel;
	int r;

	if (found->kind != attempt->kind)
		return error_set(attempt->reterr, -EPROTOTYPE,
			"'%s' is a %s, not a %s: both ends must say the same", attempt->name,
			ivshmem_channel_kind_name((enum ivshmem_channel_kind)found->kind),
			ivshmem_channel_kind_name(attempt->kind));
	r = channel_new(&channel, attempt->participant, attempt->kind, attempt->name,
		attempt->options.ring_size, !kind_is_published(attempt->kind));
	if (r < 0)
		return r;
	channel->peer_area = found->area;
	channel->peer_area_generation = found->area_generation;
	channel->peer_entry = found->entry;
	channel->peer_entry_generation = found->entry_generation;
	TRACE(channel_connecting, channel->entry, found->area, TRACE_NAME(attempt->name));
	channel_refer(channel);
	channel_publish(channel, LAYOUT_CONNECTING);
	if (kind_is_published(attempt->kind))
		r = subscribe(channel);
	if (r < 0) {
		if (r == -EPROTO)
			participant_violated(attempt->participant, found->area);
		/* Whoever has seen us learns that we read no more. */
		ivshmem_channel_close(channel);
		return r == -EAGAIN ? r
				    : error_set(attempt->reterr, r,
					      "'%s' is broken: area %u says what cannot be",
					      attempt->name, found->area);
	}
	channel_tell_peer(channel);
	attempt->channel = channel;
	return 0;
}

/* Whether somebody listens; then the connection is made, or has failed. A publisher that closes
 * meanwhile does not count; there may be another one. */
static bool
try_to_connect(void *data)
{
	struct attempt *attempt = data;
	struct listener found;

	for (unsigned tries = 0; tries < TRIES; tries++) {
		if (find_listener(attempt->participant, attempt->name, NULL, &found) < 0)
			return false;
		attempt->r = connect_to(attempt, &found);
		if (attempt->r != -EAGAIN)
			return true;
	}
	return false;
}

EXPORT int
ivshmem_connect(struct ivshmem_channel **ret_channel, struct ivshmem_participant *participant,
	const char *name, enum ivshmem_channel_kind kind,
	const struct ivshmem_channel_options *given, int timeout_ms, struct ivshmem_error *reterr)
{
	struct attempt attempt = {
		.participant = participant, .name = name, .kind = kind, .reterr = reterr};
	struct waiter waiter = {.there = try_to_connect, .data = &attempt};
	int r = get_options(&attempt.options, given, name, kind, reterr);

	if (r < 0)
		return r;
	r = ivshmem_participant_dispatch(participant);
	if (r == 0)
		r = wait_for(participant, &waiter, clock_deadline(timeout_ms));
	if (r == -ETIMEDOUT)
		return error_set(reterr, -ENOENT, "nobody listens under the name '%s'", name);
	if (r == -EINTR)
		return error_set(reterr, r, "interrupted by a signal");
	if (r == 0)
		r = attempt.r;
	if (r == -EPROTO || r == -EPROTOTYPE)
		return r;
	if (r < 0)
		return explain(participant, r, reterr);
	*ret_channel = attempt.channel;
	return 0;
}

/* ---- accepting ------------------------------------------------------------------------------- */

/* An entry of `area` that wants to connect to the listener, and was not accepted before: its
 * number, or -1. */
static int
find_connector(struct ivshmem_channel *listener, unsigned area, uint64_t *ret_state)
{
	struct ivshmem_participant *participant = listener->participant;
	struct neighbour *neighbour = &participant->neighbours[area];
	const struct map *map = &participant->map;

	for (unsigned i = 0; i < map->n_entries; i++) {
		struct layout_entry *entry = map_entry(map, area, i);
		uint64_t state = word_acquire(&entry->state);

		if (layout_state_phase(state) != LAYOUT_CONNECTING ||
			layout_state_kind(state) != listener->kind ||
			!channel_is_meant(listener, entry) ||
			(neighbour->taken && neighbour->taken[i] == layout_state_generation(state)))
			continue;
		*ret_state = state;
		return (int)i;
	}
	return -1;
}

/* Somebody who wants to connect: the entry, and its area; or -1. */
static int
next_connector(struct ivshmem_channel *listener, unsigned *ret_area, uint64_t *ret_state)
{
	struct ivshmem_participant *participant = listener->participant;
	uint64_t changes = participant->n_changes;

	if (kind_is_published(listener->kind) || listener->scanned == changes)
		return -1;
	for (unsigned area = 0; area < participant->map.n_areas; area++) {
		uint64_t claim = word_acquire(map_claim(&participant->map, area));
		int entry;

		/* Who has left may have sent something before. */
		if (!neighbour_know(participant, area, layout_claim_generation(claim)))
			continue;
		entry = find_connector(listener, area, ret_state);
		if (entry < 0)
			continue;
		*ret_area = area;
		return entry;
	}
	listener->scanned = changes;
	return -1;
}

bool
channel_can_accept(struct ivshmem_channel *listener)
{
	unsigned area;
	uint64_t state;

	return next_connector(listener, &area, &state) >= 0;
}

static int
mark_taken(struct neighbour *neighbour, unsigned n_entries, unsigned entry, uint32_t generation)
{
	if (!neighbour->taken)
		neighbour->taken = calloc(n_entries, sizeof(*neighbour->taken));
	if (!neighbour->taken)
		return -ENOMEM;
	neighbour->taken[entry] = generation;
	return 0;
}

static int
accept_connector(struct ivshmem_channel **ret_channel, struct ivshmem_channel *listener,
	unsigned area, unsigned entry, uint64_t state)
{
	struct ivshmem_participant *participant = listener->participant;
	struct neighbour *neighbour = &participant->neighbours[area];
	struct ivshmem_channel *channel;
	int r = channel_new(
		&channel, participant, listener->kind, listener->name, listener->ring_size, true);

	if (r < 0)
		return r;
	r = mark_taken(
		neighbour, participant->map.n_entries, entry, layout_state_generation(state));
	if (r < 0) {
		channel_discard(channel);
		return r;
	}
	channel->peer_area = area;
	channel->peer_area_generation = neighbour->generation;
	channel->peer_entry = entry;
	channel->peer_entry_generation = layout_state_generation(state);
	channel->theirs = map_entry(&participant->map, area, entry);
	r = channel_take_ring(channel, channel->theirs);
	if (r < 0) {
		/* It can have no channel with a ring like this. */
		channel_discard(channel);
		return r;
	}
	channel_refer(channel);
	channel->accepted = true;
	channel->connected = true;
	TRACE(channel_accepted, channel->entry, area, entry, channel->kind);
	channel_publish(channel, LAYOUT_CONNECTED);
	channel_tell_peer(channel);
	channel_look(channel);
	*ret_channel = channel;
	return 0;
}

EXPORT int
ivshmem_accept(struct ivshmem_channel **ret_channel, struct ivshmem_channel *listener)
{
	struct ivshmem_participant *participant = listener->participant;
	unsigned refused = 0;
	bool asked = false;

	if (listener->phase != LAYOUT_LISTENING || kind_is_published(listener->kind))
		return -EINVAL;
	for (;;) {
		unsigned area;
		uint64_t state;
		int entry;
		int r = participant_look(participant);

		if (r < 0)
			return r;
		entry = next_connector(listener, &area, &state);
		if (entry >= 0) {
			r = accept_connector(ret_channel, listener, area, (unsigned)entry, state);
			if (r != -EPROTO)
				return r;
			participant_violated(participant, area);
			if (++refused == REFUSALS) {
				channel_signal(listener);
				return -EAGAIN;
			}
		} else if (asked || !channel_is_polled(listener)) {
			return -EAGAIN;
		} else {
			asked = true;
			channel_poll_again(listener);
		}
	}
}
