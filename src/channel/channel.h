/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef CHANNEL_CHANNEL_H
#define CHANNEL_CHANNEL_H

/*
 * Listeners and ends of channels: the inside of struct ivshmem_channel.
 *
 * Theory of operation. Everybody writes to entries of the own area only, and looks at those of
 * others.
 *
 *	listener	LISTENING, with a name.
 *	connector	finds the listener's entry, and makes an entry CONNECTING that refers to it
 *			and names the ring that the connector sends through. It can send from now
 *			on.
 *	acceptor	the listener's owner finds such an entry, and makes an entry CONNECTED that
 *			refers to it.
 *	connector	finds that entry, refers to it from now on, and is CONNECTED, too.
 *	either		shuts: says at which position what it sends ends. Ends: shuts, and receives
 *			no more. Whoever has ended and knows that the other end has, too, makes the
 *			entry UNUSED and takes the ring back.
 *
 * An end whose user has closed it stays as an orphan until then, because the other end may still be
 * reading its ring. Each reference has the generations of the area and of the entry, so one that is
 * out of date refers to nothing. Each change is followed by a notice.
 *
 *	channel		what all have in common; what the other end does; ending
 *	connect		listening, connecting, accepting
 *	transfer	sending and receiving records
 *	ready	descriptors for those who poll
 *	queue, stream, call	what the user sends and receives
 *	loans	records of a queue that lie in the area's heap instead of the ring
 *	state		the latest value: one publishes, others read
 *	topic		records: one publishes, others read
 *	subscribers	who these are
 */

#include <channel/participant.h>

#include <base/words.h>

#include <errno.h>
#include <string.h>

struct ivshmem_channel {
	struct list link; /* participant::channels */
	struct ivshmem_participant *participant;
	enum ivshmem_channel_kind kind;
	enum layout_phase phase;
	bool orphan; /* the user has closed it */
	char name[LAYOUT_MAX_NAME];

	unsigned entry;
	uint32_t entry_generation;
	struct layout_entry *own;
	struct heap_block *block; /* of the ring */
	uint32_t ring_size;       /* a listener's: for each connection */

	/* The other end; while connecting, the listener. Its area does not change. */
	bool has_peer;
	unsigned peer_area, peer_entry;
	uint32_t peer_area_generation, peer_entry_generation;
	const struct layout_entry *theirs;
	bool connected; /* `theirs` is an end, and `reader` is its ring */

	struct ring_writer writer;
	struct ring_reader reader;
	uint64_t flushed;  /* up to this position we have looked whether the other end sleeps */
	uint32_t consumed; /* bytes of the next record that were read from a stream */
	uint32_t wanted;   /* bytes for which there was no room */
	unsigned idle;     /* looks at an empty ring since the last record */

	/* Of a listener whose kind has subscribers: who they are, as of `scanned`. */
	struct subscriber *subscribers;
	unsigned n_subscribers;
	uint64_t scanned; /* participant::n_changes when we last saw nobody new; 0: never */
	uint64_t number;  /* of the value or record that was published last, or read last */
	bool numbered;    /* we know the number of the record before our position in a topic */
	int patience_ms;  /* a topic's */
	uint64_t resume;  /* a topic's: what its entry says */
	/* A topic's: when it began to wait for a slow reader; 0: it does not. */
	uint64_t slow_since;

	bool accepted;        /* we are the end that accepted */
	struct calls *calls;  /* call.c; NULL: none yet */
	struct loans *loans;  /* loans.c; NULL: none yet */
	uint32_t loan_wanted; /* bytes of a loan for which there was no room; 0: there was */

	bool we_shut;
	bool they_shut;    /* they send nothing after `their_end` */
	bool they_aborted; /* and there should have been more */
	uint64_t their_end;
	bool they_ended; /* they do not receive any more */
	bool they_died;  /* they do nothing any more; the ring is still theirs */
	int error;       /* how it ended for good; -EPIPE is not among these */

	/* For one who polls: an epoll descriptor with what rings us, the timer, and `ready`. -1:
	 * nobody does. */
	int fd, ready;
	bool is_ready;          /* `ready` is readable */
	struct list ready_link; /* participant::ready_channels */
	void *data;             /* the user's */
	int failed;             /* the events for which the last call has returned -EAGAIN */

	uint64_t budget; /* how long to spin before the next sleep, ns */
	uint64_t n_rings, n_sleeps, n_spins;
};

/* One end of a queue. */
static inline bool
channel_is_queue(const struct ivshmem_channel *channel)
{
	return channel->kind == IVSHMEM_QUEUE && channel->phase != LAYOUT_LISTENING;
}

/* Whether who listens publishes, and nobody accepts those who connect. */
static inline bool
kind_is_published(enum ivshmem_channel_kind kind)
{
	return kind == IVSHMEM_STATE || kind == IVSHMEM_TOPIC;
}

/* The end of one who reads what is published. */
static inline bool
channel_is_subscription(const struct ivshmem_channel *channel)
{
	return kind_is_published(channel->kind) && channel->phase == LAYOUT_CONNECTING;
}

/* And its other end. */
static inline bool
channel_is_publisher(const struct ivshmem_channel *channel)
{
	return kind_is_published(channel->kind) && channel->phase == LAYOUT_LISTENING;
}

/* Its bit in a notice. */
static inline uint64_t
channel_bit(unsigned entry)
{
	return UINT64_C(1) << (entry % LAYOUT_NOTICE_CHANNELS);
}

/* Write-combining memory forgets the order of stores, also of those with release. */
static inline void
channel_settle(const struct ivshmem_channel *channel)
{
	if (channel->participant->map.drain)
		word_fence();
}

/* ---- channel --------------------------------------------------------------------------------- */

/* A channel whose entry is not published yet, with a ring to send through of about `wanted` bytes
 * (0: as large as is wise), or for a listener without. -ENOSPC, -ENOMEM, -EINVAL. */
int channel_new(struct ivshmem_channel **ret_channel, struct ivshmem_participant *participant,
	enum ivshmem_channel_kind kind, const char *name, uint64_t wanted, bool with_ring);
/* Give the entry and the ring back, and free the channel. */
void channel_discard(struct ivshmem_channel *channel);
/* Free all channels, and leave their entries as they are. */
void channel_free_all(struct ivshmem_participant *participant);

/* From now on the entry is this to everybody. */
void channel_publish(struct ivshmem_channel *channel, enum layout_phase phase);
/* The entry refers to the peer that the channel has now. */
void channel_refer(struct ivshmem_channel *channel);
/* Whether an entry of another area refers to ours. */
bool channel_is_meant(const struct ivshmem_channel *channel, const struct layout_entry *entry);
/* Receive from the ring that the entry names: 0, or -EPROTO if it does not lie in its area's
 * heap. */
int channel_take_ring(struct ivshmem_channel *channel, const struct layout_entry *entry);

/* Tell the other end that our entry has changed, or everybody. */
void channel_tell_peer(struct ivshmem_channel *channel);
void channel_tell_everybody(struct ivshmem_participant *participant);

/* Look at the other end. */
void channel_look(struct ivshmem_channel *channel);
/* An area has a notice with these bits; or 0: there is none, and we want to know everything that
 * has to do with it. */
void channel_area_changed(struct ivshmem_participant *participant, unsigned area, uint64_t bits);

/* The channel is at its end, for good. The first reason counts. */
void channel_fail(struct ivshmem_channel *channel, int error);
/* The other end broke the rules, unless it is another one by now. Returns the error. */
int channel_fail_protocol(struct ivshmem_channel *channel);
/* Every channel ends: for the other ends. */
void channel_end_all(struct ivshmem_participant *participant);
/* Every channel ends for those who use it, with the error that participant_lose() was given. */
void channel_lose_all(struct ivshmem_participant *participant);

/* ---- ready ----------------------------------------------------------------------------------- */

/* Whether the user polls the channel, or the participant: then each -EAGAIN asks for an interrupt. */
static inline bool
channel_is_polled(const struct ivshmem_channel *channel)
{
	return channel->fd >= 0 || channel->participant->fd >= 0;
}

/* Tell the one who polls: a call is worth another try. */
void channel_signal(struct ivshmem_channel *channel);
/* Take that back, before one more look, after which the user sleeps. */
void channel_poll_again(struct ivshmem_channel *channel);
/* Nobody polls it any more. */
void channel_ready_done(struct ivshmem_channel *channel);

/* ---- connect --------------------------------------------------------------------------------- */

/* Whether a listener has a connection. */
bool channel_can_accept(struct ivshmem_channel *listener);

/* ---- state ----------------------------------------------------------------------------------- */

/* The longest value. */
#define STATE_MAX_LENGTH (UINT32_C(1) << 30)

/* Make room for values of at most `size` bytes (0: 4096) in a new listener. -ENOSPC, -ENOMEM. */
int state_open(struct ivshmem_channel *listener, uint64_t size);
/* Read from the listener that the channel refers to: 0, or -EPROTO if its values do not lie in its
 * area's heap. */
int state_subscribe(struct ivshmem_channel *channel);
/* Whether there is a newer value, or there will be none. */
bool state_is_readable(const struct ivshmem_channel *channel);

/* ---- topic ----------------------------------------------------------------------------------- */

/* The same for records. */
int topic_subscribe(struct ivshmem_channel *channel);
bool topic_is_readable(struct ivshmem_channel *channel);
/* Whether what lies at the reader's position was, or is being, overwritten. */
bool topic_is_overtaken(const struct ivshmem_channel *channel);
/* Whether there is room that no reader needs. */
bool topic_is_writable(struct ivshmem_channel *channel);

/* ---- subscribers ----------------------------------------------------------------------------- */

struct subscriber {
	unsigned area;
	unsigned entry;
	uint32_t area_generation;
	const struct layout_entry *theirs;
};

/* Find out who the listener's subscribers are now; how many. */
unsigned subscribers_look(struct ivshmem_channel *listener);

/* They are none any more. */
void subscribers_forget(struct ivshmem_channel *listener);

/* Look for new subscribers, and ring those who wait for something in [from, to). */
void subscribers_tell(struct ivshmem_channel *listener, uint64_t from, uint64_t to);

/* ---- loans ----------------------------------------------------------------------------------- */

/* The record at the reader's position describes a loan: where the loan's bytes are, and their
 * length. 0, -ENOMEM, or -EPROTO: there is no such loan. */
int loans_peek(struct ivshmem_channel *channel, const void *description, const void **ret_bytes,
	uint32_t *ret_length);
/* That record is released: so is the loan, unless it is kept. */
void loans_release(struct ivshmem_channel *channel);
/* Whether there is room for the loan that is wanted, or will never be. */
bool loans_have_room(struct ivshmem_channel *channel);
/* Ask to be rung when one is given back. */
void loans_arm(struct ivshmem_channel *channel);
/* The user has closed the channel: those that were not sent are not needed any more. */
void loans_drop_unsent(struct ivshmem_channel *channel);
/* Nor are any others. */
void loans_free(struct ivshmem_channel *channel);

/* ---- transfer -------------------------------------------------------------------------------- */

/* How sending has ended, or 0. */
static inline int
channel_send_error(const struct ivshmem_channel *channel)
{
	if (channel->error != 0)
		return channel->error;
	if (channel->we_shut || channel->they_ended)
		return -EPIPE;
	return channel->they_died ? -ECONNRESET : 0;
}

/* Room for a record: 0, or what to return. Asks for an interrupt if there is none, and somebody
 * polls. */
int channel_reserve(struct ivshmem_channel *channel, uint32_t length, void **ret_bytes);

/* The same if there is nothing to wait for; else false. */
static inline bool
channel_reserve_here(struct ivshmem_channel *channel, uint32_t length, void **ret_bytes)
{
	if (participant_is_lost(channel->participant) || channel_send_error(channel) != 0 ||
		!ring_reserve_here(&channel->writer, length, ret_bytes))
		return false;
	channel->wanted = 0;
	channel->failed &= ~IVSHMEM_WRITABLE;
	return true;
}

/* Publish, and ring one who sleeps. */
void channel_flush(struct ivshmem_channel *channel);

/* The next record: 0, or what to return. `may_ask`: if there is none, and somebody polls, ask for
 * an interrupt. */
int channel_peek(struct ivshmem_channel *channel, bool may_ask, const void **ret_bytes,
	uint32_t *ret_length);

/* The same if there is one that begins here: its length, or negative. */
static inline int64_t
channel_peek_here(struct ivshmem_channel *channel, const void **ret_bytes)
{
	int64_t length = -1;

	if (channel->error == 0 && channel->connected)
		length = ring_peek_here(&channel->reader, ret_bytes);
	if (length >= 0) {
		channel->idle = 0;
		channel->failed &= ~IVSHMEM_READABLE;
	}
	return length;
}

/* Whether what was read after channel_peek() is what was sent: the area is not another one's by now.
 * 0, or -ECONNRESET. */
static inline int
channel_confirm(struct ivshmem_channel *channel)
{
	uint64_t claim;

	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	claim = word_load(map_claim(&channel->participant->map, channel->peer_area));
	if (layout_claim_generation(claim) == channel->peer_area_generation)
		return 0;
	channel_fail(channel, -ECONNRESET);
	return channel->error;
}

/* Tell the other end how far we have received, and ring it if it waits for that. */
void channel_tell_position(struct ivshmem_channel *channel);

/* The record that was peeked at was received. */
static inline void
channel_release(struct ivshmem_channel *channel)
{
	if (ring_release(&channel->reader))
		channel_tell_position(channel);
}

/* Which of `events` are there. */
int channel_ready(struct ivshmem_channel *channel, int events);

/* Ask to be rung when one of `events` is there. After this, look whether it is there already. */
void channel_arm(struct ivshmem_channel *channel, int events);

/* The same for one who polls: before the last look. */
void channel_ask(struct ivshmem_channel *channel, int events);

/* ivshmem_channel_wait() until `deadline` (clock_deadline()). */
int channel_wait(struct ivshmem_channel *channel, int events, uint64_t deadline);

/* memcpy() without a call for short records, where the call costs as much as the copy. */
static inline void
copy_short(void *to, const void *from, size_t length)
{
	size_t i = 0;

	if (length < 16 || length > 128) {
		if (length > 0)
			memcpy(to, from, length);
		return;
	}
	do {
		memcpy((char *)to + i, (const char *)from + i, 16);
		i += 16;
	} while (i + 16 <= length);
	if (i < length)
		memcpy((char *)to + length - 16, (const char *)from + length - 16, 16);
}

/* Copying between private memory and the ring. */
static inline void
channel_copy_in(const struct ivshmem_channel *channel, void *ring, const void *bytes, size_t length)
{
	if (channel->writer.drain)
		words_store(ring, bytes, length);
	else
		copy_short(ring, bytes, length);
}

static inline void
channel_copy_out(
	const struct ivshmem_channel *channel, void *bytes, const void *ring, size_t length)
{
	if (channel->participant->map.drain)
		words_load(bytes, ring, length);
	else
		copy_short(bytes, ring, length);
}

#endif
