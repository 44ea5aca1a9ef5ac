/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Calls: requests from the end that connected, replies from the end that accepted.
 *
 * Each record begins with a head: the number of the call, and what the record is. Each request gets
 * exactly one reply, even if the caller has cancelled the call; so both sides know which calls are
 * under way, and a reply to anything else breaks the rules. A cancellation may cross the reply, and
 * is ignored then.
 */
#include <channel/channel.h>

#include <base/clock.h>

#include <errno.h>
#include <limits.h>
#include <stdlib.h>

enum message { REQUEST = 1, REPLY = 2, CANCEL = 3 };

struct head {
	uint64_t call;
	uint32_t message;
	int32_t status;
};

struct call {
	uint64_t number;
	uint64_t deadline; /* clock_now(); UINT64_MAX: never */
	bool cancelled;
};

struct calls {
	uint64_t last; /* the number of the last call */
	unsigned n;    /* under way, in no order */
	struct call calls[IVSHMEM_CALLS_MAX];
};

/* ---- which are under way --------------------------------------------------------------------- */

/* Whether this end calls (or answers), with its table. 0, -EINVAL, -ENOMEM. */
static int
begin(struct ivshmem_channel *channel, bool answers)
{
	if (channel->kind != IVSHMEM_CALL || channel->phase == LAYOUT_LISTENING ||
		channel->accepted != answers)
		return -EINVAL;
	if (!channel->calls)
		channel->calls = calloc(1, sizeof(*channel->calls));
	return channel->calls ? 0 : -ENOMEM;
}

static struct call *
find(struct calls *calls, uint64_t number)
{
	for (unsigned i = 0; i < calls->n; i++)
		if (calls->calls[i].number == number)
			return &calls->calls[i];
	return NULL;
}

static void
add(struct calls *calls, uint64_t number, uint64_t deadline)
{
	calls->calls[calls->n++] = (struct call){.number = number, .deadline = deadline};
}

static void
drop(struct calls *calls, struct call *call)
{
	*call = calls->calls[--calls->n];
}

/* ---- messages -------------------------------------------------------------------------------- */

static int
send(struct ivshmem_channel *channel, const struct head *head, const void *bytes, size_t length)
{
	void *place;
	int r;

	if (length > ring_max_record(channel->writer.size) - sizeof(*head))
		return -EMSGSIZE;
	r = channel_reserve(channel, (uint32_t)(sizeof(*head) + length), &place);
	if (r < 0)
		return r;
	/* Records begin at multiples of 8. */
	word_store((uint64_t *)place, head->call);
	word_store((uint64_t *)place + 1, (uint64_t)(uint32_t)head->status << 32 | head->message);
	channel_copy_in(channel, (char *)place + sizeof(*head), bytes, length);
	ring_commit(&channel->writer, (uint32_t)(sizeof(*head) + length));
	channel_flush(channel);
	return 0;
}

/* The next message: its head and up to `size` bytes of its content, whose length is returned. It is
 * not released yet. */
static int64_t
look(struct ivshmem_channel *channel, struct head *head, void *bytes, size_t size)
{
	const void *place;
	uint32_t length;
	int r = channel_peek(channel, true, &place, &length);

	if (r < 0)
		return r;
	if (length < sizeof(*head))
		return channel_fail_protocol(channel);
	channel_copy_out(channel, head, place, sizeof(*head));
	length -= (uint32_t)sizeof(*head);
	channel_copy_out(
		channel, bytes, (const char *)place + sizeof(*head), length < size ? length : size);
	r = channel_confirm(channel);
	return r < 0 ? r : (int64_t)length;
}

/* ---- calling --------------------------------------------------------------------------------- */

static void
cancel(struct ivshmem_channel *channel, struct call *call)
{
	const struct head head = {.call = call->number, .message = CANCEL};

	call->cancelled = true;
	/* If there is no room for this, the other end does its work in vain. */
	send(channel, &head, NULL, 0);
}

EXPORT int
ivshmem_call_start(struct ivshmem_channel *channel, const void *request, size_t length,
	int timeout_ms, uint64_t *ret_call)
{
	int r = begin(channel, false);
	struct head head = {.message = REQUEST};

	if (r < 0)
		return r;
	if (channel->calls->n == IVSHMEM_CALLS_MAX)
		return -EAGAIN;
	head.call = channel->calls->last + 1;
	r = send(channel, &head, request, length);
	if (r < 0)
		return r;
	channel->calls->last = head.call;
	add(channel->calls, head.call, clock_deadline(timeout_ms));
	*ret_call = head.call;
	return 0;
}

EXPORT int
ivshmem_call_cancel(struct ivshmem_channel *channel, uint64_t number)
{
	int r = begin(channel, false);
	struct call *call;

	if (r < 0)
		return r;
	call = find(channel->calls, number);
	if (!call || call->cancelled)
		return -ENOENT;
	cancel(channel, call);
	return 0;
}

/* A call whose time is over, as its reply. */
static bool
take_late(struct ivshmem_channel *channel, uint64_t *ret_call, int *ret_status)
{
	struct calls *calls = channel->calls;
	uint64_t now = clock_now();

	for (unsigned i = 0; i < calls->n; i++) {
		if (calls->calls[i].cancelled || now < calls->calls[i].deadline)
			continue;
		*ret_call = calls->calls[i].number;
		*ret_status = -ETIMEDOUT;
		cancel(channel, &calls->calls[i]);
		return true;
	}
	return false;
}

EXPORT int64_t
ivshmem_call_reply(struct ivshmem_channel *channel, uint64_t *ret_call, int *ret_status,
	void *reply, size_t size)
{
	int r = begin(channel, false);

	if (r < 0)
		return r;
	for (;;) {
		struct head head = {0};
		struct call *call;
		bool wanted;
		int64_t length = look(channel, &head, reply, size);

		if (length < 0)
			return length == -EAGAIN && take_late(channel, ret_call, ret_status)
				       ? 0
				       : length;
		call = find(channel->calls, head.call);
		if (head.message != REPLY || !call || head.status > 0 || head.status == INT_MIN)
			return channel_fail_protocol(channel);
		wanted = !call->cancelled;
		drop(channel->calls, call);
		channel_release(channel);
		/* At most IVSHMEM_CALLS_MAX of them are not. */
		if (!wanted)
			continue;
		*ret_call = head.call;
		*ret_status = head.status;
		return length;
	}
}

/* Wait until the call can go on. Not after the deadline, even if something is there: the other end
 * could go on like that for ever. */
static int
wait_until(struct ivshmem_channel *channel, int events, uint64_t deadline)
{
	return clock_now() < deadline ? channel_wait(channel, events, deadline) : -ETIMEDOUT;
}

EXPORT int64_t
ivshmem_call(struct ivshmem_channel *channel, const void *request, size_t length, void *reply,
	size_t size, int timeout_ms)
{
	uint64_t number, answered, deadline;
	int64_t n;
	int status;
	int r = begin(channel, false);

	if (r < 0)
		return r;
	for (unsigned i = 0; i < channel->calls->n; i++)
		if (!channel->calls->calls[i].cancelled)
			return -EBUSY;
	r = ivshmem_call_start(channel, request, length, -1, &number);
	/* The other end works while we ask for the time. */
	deadline = clock_deadline(timeout_ms);
	while (r == -EAGAIN) {
		/* Replies to calls that were cancelled take up the table, and the other end's room.
		 * Room in the ring is of no use while the table is full. */
		int wanted = channel->calls->n == IVSHMEM_CALLS_MAX
				     ? IVSHMEM_READABLE
				     : IVSHMEM_READABLE | IVSHMEM_WRITABLE;

		n = ivshmem_call_reply(channel, &answered, &status, reply, size);
		r = n == -EAGAIN ? wait_until(channel, wanted, deadline) : (int)n;
		if (r < 0)
			return r;
		r = ivshmem_call_start(channel, request, length, -1, &number);
	}
	if (r < 0)
		return r;
	while ((n = ivshmem_call_reply(channel, &answered, &status, reply, size)) == -EAGAIN) {
		r = wait_until(channel, IVSHMEM_READABLE, deadline);
		if (r < 0) {
			ivshmem_call_cancel(channel, number);
			return r;
		}
	}
	return n < 0 || status == 0 ? n : status;
}

/* ---- answering ------------------------------------------------------------------------------- */

static int
answer(struct ivshmem_channel *channel, struct call *call, int status, const void *reply,
	size_t length)
{
	const struct head head = {.call = call->number, .message = REPLY, .status = status};
	int r = send(channel, &head, reply, length);

	if (r == 0)
		drop(channel->calls, call);
	return r;
}

EXPORT int64_t
ivshmem_call_receive(
	struct ivshmem_channel *channel, uint64_t *ret_call, void *request, size_t size)
{
	int r = begin(channel, true);

	if (r < 0)
		return r;
	for (unsigned n = 0; n < 2 * IVSHMEM_CALLS_MAX; n++) {
		struct head head = {0};
		struct call *call;
		int64_t length = look(channel, &head, request, size);

		if (length < 0)
			return length;
		call = find(channel->calls, head.call);
		if (head.message == REQUEST) {
			if (call || channel->calls->n == IVSHMEM_CALLS_MAX)
				return channel_fail_protocol(channel);
			add(channel->calls, head.call, UINT64_MAX);
			channel_release(channel);
			*ret_call = head.call;
			return length;
		}
		if (head.message != CANCEL)
			return channel_fail_protocol(channel);
		if (call)
			call->cancelled = true;
		channel_release(channel);
	}
	/* Nobody cancels more calls than there can be. */
	return channel_fail_protocol(channel);
}

EXPORT bool
ivshmem_call_is_cancelled(struct ivshmem_channel *channel, uint64_t number)
{
	const struct call *call = begin(channel, true) == 0 ? find(channel->calls, number) : NULL;

	return call && call->cancelled;
}

EXPORT int
ivshmem_call_answer(struct ivshmem_channel *channel, uint64_t number, int status, const void *reply,
	size_t length)
{
	int r = begin(channel, true);
	struct call *call;

	if (r < 0)
		return r;
	if (status > 0 || status == INT_MIN)
		return -EINVAL;
	call = find(channel->calls, number);
	return call ? answer(channel, call, status, reply, length) : -ENOENT;
}
