/* SPDX-License-Identifier: BSD-2-Clause */

/* Records through the rings of a channel: sending, receiving, and asking to be rung. */
#include <channel/channel.h>

#include <base/clock.h>

#include <errno.h>

/* After this many looks at an empty ring, the sender learns our position. After each so many, one who
 * only tries looks after its channels. */
#define IDLE 64

/* How often a call looks at notices of one who gives them all the time. */
#define LOOKS 4

/* How long to spin at first, in ns: about what it costs to be woken. After so many sleeps without
 * spinning, this is tried again. */
#define FIRST_SPIN UINT64_C(50000)
#define AGAIN      16

/* ---- asking to be rung ----------------------------------------------------------------------- */

/* Where the other end says how far it is. */
static const uint64_t *
their_head(const struct ivshmem_channel *channel)
{
	static const uint64_t none;

	return channel->connected ? &channel->theirs->head : &none;
}

void
channel_tell_position(struct ivshmem_channel *channel)
{
	uint64_t told = channel->reader.told;
	uint64_t position = channel->reader.position;
	uint64_t space_at;

	if (told == position || !channel->connected || participant_is_lost(channel->participant))
		return;
	channel->reader.told = position;
	word_release(&channel->own->head, position);
	word_fence();
	space_at = word_load(&channel->theirs->space_at);
	if (told <= space_at && space_at < position)
		channel->n_rings += participant_tell(
			channel->participant, channel->peer_area, channel_bit(channel->peer_entry));
}

void
channel_arm(struct ivshmem_channel *channel, int events)
{
	if (channel->phase == LAYOUT_LISTENING && channel->kind != IVSHMEM_TOPIC)
		return;
	if (participant_is_lost(channel->participant))
		return;
	if (channel_is_subscription(channel) && channel->kind == IVSHMEM_STATE) {
		word_store(&channel->own->wake_at, channel->number);
	} else if (events & IVSHMEM_READABLE && !channel_is_publisher(channel)) {
		channel_tell_position(channel);
		word_store(&channel->own->wake_at, channel->reader.position);
	}
	if (events & IVSHMEM_WRITABLE && channel->loan_wanted)
		loans_arm(channel);
	else if (events & IVSHMEM_WRITABLE && !channel_is_subscription(channel) &&
		 !ring_has_space(&channel->writer, channel->wanted))
		word_store(
			&channel->own->space_at, ring_space_at(&channel->writer, channel->wanted));
	word_fence();
}

/* Whether there is room for what a call had no room for before, or much room. */
static bool
has_room(struct ivshmem_channel *channel)
{
	return channel->loan_wanted ? loans_have_room(channel)
				    : ring_has_space(&channel->writer, channel->wanted);
}

/* Whether one of `events`, for which a call has failed, may be there by now. */
static bool
is_worth_a_try(struct ivshmem_channel *channel, int events)
{
	const void *bytes;
	uint32_t length;

	if (events & IVSHMEM_READABLE &&
		(channel->they_shut || channel->they_died ||
			(channel->connected &&
				(ring_has_peeked(&channel->reader) ||
					ring_peek(&channel->reader, &bytes, &length) != -EAGAIN))))
		return true;
	return events & IVSHMEM_WRITABLE &&
	       (channel_send_error(channel) != 0 ||
		       ring_refresh(&channel->writer, their_head(channel)) < 0 ||
		       has_room(channel));
}

void
channel_ask(struct ivshmem_channel *channel, int events)
{
	channel_poll_again(channel);
	channel_arm(channel, events);
	participant_look(channel->participant);
	/* What we knew of the other direction, we have just forgotten. */
	if (is_worth_a_try(channel, channel->failed & ~events))
		channel_signal(channel);
}

/* ---- sending --------------------------------------------------------------------------------- */

void
channel_flush(struct ivshmem_channel *channel)
{
	struct ivshmem_participant *participant = channel->participant;
	uint64_t wake_at;

	if (participant_is_lost(participant))
		return;
	ring_publish(&channel->writer);
	if (channel->flushed == channel->writer.published)
		return;
	if (!channel->connected) {
		/* Once it has accepted, we come here again. */
		if (participant_has_notice(participant, channel->peer_area))
			participant_look(participant);
		return;
	}
	word_fence();
	wake_at = word_load(&channel->theirs->wake_at);
	if (channel->flushed <= wake_at && wake_at < channel->writer.published)
		channel->n_rings += participant_tell(
			participant, channel->peer_area, channel_bit(channel->peer_entry));
	channel->flushed = channel->writer.published;
}

int
channel_reserve(struct ivshmem_channel *channel, uint32_t length, void **ret_bytes)
{
	struct ivshmem_participant *participant = channel->participant;
	unsigned looks = 0;
	bool asked = false;

	for (;;) {
		int r = participant_is_lost(participant) ? participant->lost
							 : channel_send_error(channel);

		channel->failed &= ~IVSHMEM_WRITABLE;
		if (r == 0)
			r = ring_reserve(&channel->writer, length, their_head(channel), ret_bytes);
		if (r == -EPROTO && channel->error == 0)
			return channel_fail_protocol(channel);
		if (r != -EAGAIN) {
			if (channel->wanted)
				participant_found_something(participant);
			channel->wanted = 0;
			return r;
		}
		channel->wanted = length;
		channel->loan_wanted = 0;
		if (looks++ < LOOKS && participant_has_notice(participant, channel->peer_area)) {
			participant_look(participant);
			continue;
		}
		channel->failed |= IVSHMEM_WRITABLE;
		if (asked)
			return r;
		asked = true;
		/* The other end cannot make room for more before it sees what we have committed. */
		channel_flush(channel);
		if (channel_is_polled(channel))
			channel_ask(channel, IVSHMEM_WRITABLE);
		else
			participant_look(participant);
	}
}

/* ---- receiving ------------------------------------------------------------------------------- */

/* There is nothing more, and there will be nothing more. */
static int
receive_error(struct ivshmem_channel *channel)
{
	if (channel->they_shut && channel->reader.position != channel->their_end)
		return channel_fail_protocol(channel);
	if (channel->they_shut && !channel->they_aborted)
		return -EPIPE;
	channel_fail(channel, -ECONNRESET);
	return channel->error;
}

int
channel_peek(
	struct ivshmem_channel *channel, bool may_ask, const void **ret_bytes, uint32_t *ret_length)
{
	struct ivshmem_participant *participant = channel->participant;
	unsigned looks = 0;
	bool asked = false;

	for (;;) {
		bool ended = channel->they_shut || channel->they_died;
		int r = -EAGAIN;

		if (may_ask)
			channel->failed &= ~IVSHMEM_READABLE;
		if (channel->error != 0)
			return channel->error;
		if (channel->connected)
			r = ring_peek(&channel->reader, ret_bytes, ret_length);
		if (r > 0)
			r = channel->kind == IVSHMEM_QUEUE
				    ? loans_peek(channel, *ret_bytes, ret_bytes, ret_length)
				    : -EPROTO;
		if (r == -ENOMEM)
			return r;
		if (r < 0 && channel->kind == IVSHMEM_TOPIC && topic_is_overtaken(channel))
			return -EAGAIN;
		if (r == -EPROTO)
			return channel_fail_protocol(channel);
		if (r == 0) {
			channel->idle = 0;
			return 0;
		}
		/* It was empty after they had said that there will be no more. */
		if (ended)
			return receive_error(channel);
		if (looks++ < LOOKS && participant_has_notice(participant, channel->peer_area)) {
			participant_look(participant);
			continue;
		}
		if (++channel->idle == 1)
			participant_found_something(participant);
		if (channel->idle == IDLE)
			channel_tell_position(channel);
		if (!may_ask)
			return -EAGAIN;
		channel->failed |= IVSHMEM_READABLE;
		if (asked || (!channel_is_polled(channel) && channel->idle % IDLE != 0))
			return -EAGAIN;
		asked = true;
		if (channel_is_polled(channel))
			channel_ask(channel, IVSHMEM_READABLE);
		else
			participant_look(participant);
	}
}

/* ---- what is there --------------------------------------------------------------------------- */

static bool
is_readable(struct ivshmem_channel *channel)
{
	const void *bytes;
	uint32_t length;

	if (channel_is_subscription(channel))
		return channel->kind == IVSHMEM_STATE ? state_is_readable(channel)
						      : topic_is_readable(channel);
	if (channel->phase == LAYOUT_LISTENING)
		return channel_can_accept(channel);
	/* One more look would forget that several were peeked at. */
	if (ring_has_peeked(&channel->reader))
		return true;
	return channel_peek(channel, false, &bytes, &length) != -EAGAIN;
}

static bool
is_writable(struct ivshmem_channel *channel)
{
	if (channel_is_publisher(channel))
		return channel->kind == IVSHMEM_STATE || topic_is_writable(channel);
	if (channel_is_subscription(channel) || channel_send_error(channel) != 0)
		return true;
	if (ring_refresh(&channel->writer, their_head(channel)) < 0) {
		channel_fail_protocol(channel);
		return true;
	}
	return has_room(channel);
}

int
channel_ready(struct ivshmem_channel *channel, int events)
{
	int ready = 0;

	if (channel->error != 0)
		return events;
	if (events & IVSHMEM_READABLE && is_readable(channel))
		ready |= IVSHMEM_READABLE;
	if (events & IVSHMEM_WRITABLE &&
		(channel->phase != LAYOUT_LISTENING || channel_is_publisher(channel)) &&
		is_writable(channel))
		ready |= IVSHMEM_WRITABLE;
	return ready;
}

/* ---- waiting --------------------------------------------------------------------------------- */

struct channel_waiter {
	struct ivshmem_channel *channel;
	int events;
	int ready;
};

static bool
channel_there(void *data)
{
	struct channel_waiter *waiter = data;

	if (waiter->channel->phase == LAYOUT_LISTENING)
		participant_look(waiter->channel->participant);
	waiter->ready = channel_ready(waiter->channel, waiter->events);
	return waiter->ready != 0;
}

static void
arm_channel(void *data)
{
	const struct channel_waiter *waiter = data;

	channel_arm(waiter->channel, waiter->events);
}

int
channel_wait(struct ivshmem_channel *channel, int events, uint64_t deadline)
{
	struct channel_waiter data = {.channel = channel, .events = events};
	struct waiter waiter = {
		.there = channel_there,
		.arm = arm_channel,
		.data = &data,
		.budget = &channel->budget,
	};
	int r;

	if (channel_there(&data))
		return data.ready;
	if (channel->phase != LAYOUT_LISTENING)
		channel_flush(channel);
	if (channel->budget == 0 && channel->n_sleeps % AGAIN == 0)
		channel->budget = FIRST_SPIN;
	r = wait_for(channel->participant, &waiter, deadline);
	channel->n_sleeps += waiter.slept;
	channel->n_spins += waiter.spun;
	if (channel->participant->lost)
		return events;
	return r < 0 ? r : data.ready;
}

EXPORT int
ivshmem_channel_wait(struct ivshmem_channel *channel, int events, int timeout_ms)
{
	if (events == 0 || (events & ~(IVSHMEM_READABLE | IVSHMEM_WRITABLE)) != 0)
		return -EINVAL;
	return channel_wait(channel, events, clock_deadline(timeout_ms));
}

static bool
is_drained(void *data)
{
	struct ivshmem_channel *channel = data;

	if (channel->error != 0 || channel->they_died || channel->they_ended)
		return true;
	return channel->connected &&
	       word_acquire(&channel->theirs->head) == channel->writer.published;
}

static void
arm_drain(void *data)
{
	struct ivshmem_channel *channel = data;

	word_store(&channel->own->space_at, channel->writer.published - 1);
	word_fence();
}

EXPORT int
ivshmem_channel_drain(struct ivshmem_channel *channel, int timeout_ms)
{
	struct waiter waiter = {.there = is_drained, .arm = arm_drain, .data = channel};
	int r;

	if (channel->phase == LAYOUT_LISTENING || channel_is_subscription(channel))
		return -EINVAL;
	channel_flush(channel);
	r = wait_for(channel->participant, &waiter, clock_deadline(timeout_ms));
	if (r < 0)
		return channel->participant->lost ? channel->error : r;
	if (channel->error != 0)
		return channel->error;
	if (channel->connected && word_acquire(&channel->theirs->head) == channel->writer.published)
		return 0;
	return channel->they_died ? -ECONNRESET : -EPIPE;
}
