/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_CHANNEL_H
#define IVSHMEM_CHANNEL_H

/*
 * Channels: messages and bytes through the shared memory, between processes on the host and in
 * guests.
 *
 *	struct ivshmem_participant *me;
 *	struct ivshmem_channel *channel;
 *
 *	ivshmem_participant_open(&me, "pci:auto", NULL, NULL);
 *	ivshmem_connect(&channel, me, "frames", IVSHMEM_QUEUE, NULL, -1, NULL);
 *	ivshmem_queue_send(channel, frame, length);
 *
 * A process that uses channels is a participant. It takes one area of the shared memory, and only
 * it writes there: the rings of what it sends are in its own area, and others read them. Whoever
 * comes first formats the memory, if its beginning is 0 (docs/channels.md has the layout). Several
 * processes of one guest are several participants.
 *
 * A channel has two ends and goes both ways. One participant listens under a name, others connect
 * to the name, and each accepted connection is a channel of its own. There are five kinds, and both
 * ends must say the same:
 *
 *	IVSHMEM_STREAM	bytes, as in a pipe or a socket
 *	IVSHMEM_QUEUE	records: each is received as a whole, as it was sent; without copying, if
 *			wanted, and of any size
 *	IVSHMEM_CALL	requests from the end that connected, and a reply to each from the end that
 *			accepted
 *	IVSHMEM_STATE	the latest value of something: who listens publishes it, and all who
 *			connected read it
 *	IVSHMEM_TOPIC	records: who listens publishes them, and all who connected receive each of
 *			them, from then on
 *
 * Whoever connects may send at once. What was sent before the other side accepts waits in the ring.
 *
 * How a channel ends is the same for all kinds:
 *	-EPIPE		the other end was closed, or will send no more, and all that it sent was
 *			received; or, from a call that sends: the other end was closed, or this one
 *			was shut down
 *	-ECONNREFUSED	the listener did not accept the connection, or was closed
 *	-ECONNRESET	the other participant died, or its area belongs to another one now; what it
 *			had completely sent before can be received first, while its area is not
 *			needed. Or the other end gave up (ivshmem_channel_abort())
 *	-EPROTO		what the other participant wrote makes no sense. Nothing of it was handed
 *			out
 *	-ESTALE		the own area is lost: somebody declared this participant dead, or formatted
 *			the memory. Open another participant
 *	-ENODEV		the device was unplugged. Close the participant: a device that is used
 *			through vfio does not leave before. Memory through our driver leaves at
 *			once, and is not to be touched any more (SIGBUS)
 * All of these last: the channel can only be closed, or after -EPIPE from a call that sends, still
 * receive.
 *
 * What the other side writes is never trusted: all lengths and positions are read once and checked,
 * and memory outside of its ring is never read for it.
 *
 * Calls do not block, unless they have a time-out. Those that would have to wait return -EAGAIN.
 * Then either use ivshmem_channel_wait(), or poll the descriptor of ivshmem_channel_fd(), or, for
 * all channels at once, that of ivshmem_participant_fd().
 *
 * Interrupts wake whoever waits. Where there are none (memory alone, or a device without
 * interrupts), the library looks at the memory every now and then instead: at first after 50 us,
 * then more and more seldom, up to every 10 ms.
 *
 * Threads: one thread at a time may use a participant and all its channels. Different participants
 * are independent, also in one process. Errors are as in client.h: 0 or a count, or a negative
 * errno; output parameters are not touched on failure; nothing is printed. Besides the errors that
 * are listed, a function for another kind of channel, or for the other end, returns -EINVAL, and
 * one that needs private memory -ENOMEM.
 */

#include <ivshmem/common.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct ivshmem_client;  /* client.h */
struct ivshmem_options; /* client.h */
struct ivshmem_participant;
struct ivshmem_channel;

/* ---- taking part ----------------------------------------------------------------------------- */

struct ivshmem_participant_options {
	size_t struct_size; /* sizeof(struct ivshmem_participant_options); common.h */

	/* Who we are, for people. 1 to 55 bytes without control characters; NULL: the name of the
	 * program. Copied. */
	const char *name;

	/* Which of our vectors others are to ring. Nobody else should use it. */
	unsigned vector;

	/* If we are the first: into how many areas the memory is cut, from 2 to 256, which is how
	 * many participants there can be at a time. 0: from 2 to 64, as many as have 640 KiB, or,
	 * if these are less than 8, up to 8 that have 256 KiB. */
	unsigned areas;

	/* How ivshmem_participant_open() attaches. Of its callbacks, it takes `log` and `lost` only,
	 * and it hears `vector` only. May be NULL. */
	const struct ivshmem_options *attach;
};

/*
 * Take part through `target`, which is any of client.h. Blocks as ivshmem_attach() does, and for up
 * to 3 seconds more while somebody else takes the last area.
 *
 *	ret_participant	release it with ivshmem_participant_close()
 *	options		may be NULL
 *	reterr		may be NULL; filled in on failure only
 *
 * Returns 0, an error of ivshmem_attach(), or
 *	-EINVAL		the memory is too small, or an option makes no sense
 *	-ENOSPC		every area belongs to a participant that lives
 *	-EMEDIUMTYPE	there is something else in the memory
 *	-EINPROGRESS	the memory is being restored from a snapshot, or who did that has died
 *	-EPROTONOSUPPORT, -EPROTO  the memory was formatted by another version, or for other memory
 *	-EACCES		the memory is mapped for reading only
 */
int ivshmem_participant_open(struct ivshmem_participant **ret_participant, const char *target,
	const struct ivshmem_participant_options *options, struct ivshmem_error *reterr);

/*
 * The same over any memory and any interrupts, such as a program's own device or a test. The
 * functions are called in the thread that uses the participant. The struct is copied. If opening
 * fails, `close` is not called.
 */
struct ivshmem_transport {
	size_t struct_size; /* sizeof(struct ivshmem_transport); common.h */

	/* At a multiple of 128. It must stay until the participant is closed. */
	void *memory;
	uint64_t size;

	/* Whether it is mapped uncached or write-combining. Then it is accessed in aligned words,
	 * with fences. */
	bool uncached;

	/* Interrupt `vector` of `peer`, after all stores before. NULL: we cannot. */
	int (*ring)(void *data, uint16_t peer, unsigned vector);

	/* Readable when we were rung; -1: we are never rung. `clear` makes it unreadable again. */
	int fd;
	void (*clear)(void *data);
	/* How others ring us. */
	uint16_t peer;
	unsigned vector;

	/* Whether this peer is known to be gone, so that areas of its processes can be given to
	 * others. NULL: we do not know. Of a device's peers, a server's client knows. */
	bool (*is_gone)(void *data, uint16_t peer);

	/* What is to happen when this process has ended without a word (ivshmem_on_close()). Others
	 * learn of it at once then. NULL: nobody can do that. */
	int (*on_close)(void *data, const struct ivshmem_store *stores, size_t n_stores,
		const struct ivshmem_target *targets, size_t n_targets);

	/* Called at the end of ivshmem_participant_close(). May be NULL. */
	void (*close)(void *data);

	void *data; /* passed to each */
};

int ivshmem_participant_open_over(struct ivshmem_participant **ret_participant,
	const struct ivshmem_transport *transport,
	const struct ivshmem_participant_options *options, struct ivshmem_error *reterr);

/*
 * Close all channels and leave. NULL is allowed; returns NULL. What was sent stays readable until
 * another participant needs the area, so see ivshmem_channel_drain(). The channels must not be used
 * after this, nor closed.
 */
struct ivshmem_participant *ivshmem_participant_close(struct ivshmem_participant *participant);

/*
 * Look after all channels: take interrupts, notice who connects, closes and dies, and wake the
 * descriptors of channels. Functions that return -EAGAIN do so, those that receive from a channel
 * without a descriptor each 64th time; only a program that waits for nothing for a long time, but
 * wants to be seen as alive, must call it. 0, -ESTALE or -ENODEV.
 */
int ivshmem_participant_dispatch(struct ivshmem_participant *participant);

/* The client that ivshmem_participant_open() attached, to be asked for its id or its memory. It
 * belongs to the participant. NULL if there is none. */
const struct ivshmem_client *ivshmem_participant_client(
	const struct ivshmem_participant *participant);

/* The number of our area, from 0. */
unsigned ivshmem_participant_area(const struct ivshmem_participant *participant);

/*
 * How often somebody who slept was not woken, and found by looking that there was something to do.
 * It must be 0 where there are interrupts; anything else is a fault in this library, in a VMM or in
 * a driver.
 */
uint64_t ivshmem_participant_rescues(const struct ivshmem_participant *participant);

/*
 * How often another participant broke the rules: channels that ended with -EPROTO, and connections
 * that were refused because they could not be. Anything but 0 is a fault in somebody's program, or an
 * attack.
 */
uint64_t ivshmem_participant_violations(const struct ivshmem_participant *participant);

/* ---- channels -------------------------------------------------------------------------------- */

enum ivshmem_channel_kind {
	IVSHMEM_STREAM = 1,
	IVSHMEM_QUEUE = 2,
	IVSHMEM_CALL = 3,
	IVSHMEM_STATE = 4,
	IVSHMEM_TOPIC = 5,
	IVSHMEM_CHANNEL_KINDS /* one more than the last */
};

/* "stream", "queue", "call", "state", "topic"; a static string. */
const char *ivshmem_channel_kind_name(enum ivshmem_channel_kind kind);

struct ivshmem_channel_options {
	size_t struct_size; /* sizeof(struct ivshmem_channel_options); common.h */

	/*
	 * The size in bytes of the ring that this end sends through, which becomes a power of two,
	 * from 256 bytes to 2 GiB. A record has at most half of it, less 16 bytes. 0: 256 KiB, or
	 * half of the largest free piece of our area if that is less. The fastest rings have 256
	 * KiB or more, and fit into the processor's second-level cache. Of a listener, it is the
	 * size for each connection that it accepts. For states and topics, see below.
	 */
	uint64_t ring_size;

	/*
	 * Of one who publishes a topic: for how many milliseconds a reader that does not keep up
	 * may hold the publisher up, each time that there is no room. After that, it misses
	 * records. 0: not at all. -1: for ever.
	 */
	int patience_ms;
};

/*
 * Listen under `name`, 1 to 55 bytes without control characters.
 *	-EADDRINUSE	somebody listens under this name already
 *	-EINVAL		the name or an option makes no sense
 *	-ENOSPC		our area has no room for another channel
 *	-ESTALE, -ENODEV  see above
 */
int ivshmem_listen(struct ivshmem_channel **ret_channel, struct ivshmem_participant *participant,
	const char *name, enum ivshmem_channel_kind kind,
	const struct ivshmem_channel_options *options, struct ivshmem_error *reterr);

/*
 * The next connection, with the listener's kind and options.
 *	-EAGAIN		there is none
 *	-ENOSPC		our area has no room for another channel. The connection waits: close a
 *			channel, and try again
 *	-EINVAL		the channel is no listener, or publishes: nobody accepts those who read that
 *	-ESTALE, -ENODEV  see above
 */
int ivshmem_accept(struct ivshmem_channel **ret_channel, struct ivshmem_channel *listener);

/*
 * Connect to who listens under `name`; wait at most `timeout_ms` milliseconds for somebody to do so
 * (0: do not wait, -1: for ever). Does not wait until the connection is accepted.
 *	-ENOENT		nobody listens under this name
 *	-EPROTOTYPE	who listens there has another kind of channel
 *	-EPROTO		what the publisher of a state or a topic wrote makes no sense
 *	-EINVAL, -ENOSPC  as for ivshmem_listen()
 *	-EINTR		a signal came while we waited
 *	-ESTALE, -ENODEV  see above
 */
int ivshmem_connect(struct ivshmem_channel **ret_channel, struct ivshmem_participant *participant,
	const char *name, enum ivshmem_channel_kind kind,
	const struct ivshmem_channel_options *options, int timeout_ms,
	struct ivshmem_error *reterr);

/* Close a channel or a listener, and free it. NULL is allowed; returns NULL. The other end still
 * receives what was sent. Connections that a listener has not accepted are refused. */
struct ivshmem_channel *ivshmem_channel_close(struct ivshmem_channel *channel);

/* The same if there should have been more. What was sent does not look complete: after it, the other
 * end gets -ECONNRESET. After ivshmem_channel_shutdown(), it is complete. */
struct ivshmem_channel *ivshmem_channel_abort(struct ivshmem_channel *channel);

/* Send no more. The other end gets -EPIPE, a stream's end 0, after it has received everything. What
 * was committed to a queue is sent; what is only reserved is not. 0, or how the channel ended,
 * which is -EPIPE the second time. -EINVAL: a listener, or one who reads what is published. */
int ivshmem_channel_shutdown(struct ivshmem_channel *channel);

/* Wait until the other end has received everything, for at most `timeout_ms`; loans that it keeps
 * count as received. 0, -ETIMEDOUT, -EINTR, or how the channel ended. -EINVAL: a listener, also one
 * who publishes, or one who reads that. */
int ivshmem_channel_drain(struct ivshmem_channel *channel, int timeout_ms);

#define IVSHMEM_READABLE 1 /* something can be received, or accepted */
#define IVSHMEM_WRITABLE 2 /* half of the ring is free, or what a call had no room for before */

/*
 * Wait until one of `events` is there, for at most `timeout_ms` (-1: for ever). A channel that has
 * ended is both. It first spins for up to 200 us, as long as that has been worth it lately. Returns
 * those that are there, or -ETIMEDOUT, -EINTR.
 *
 * For what never comes, it waits in vain: that a listener is writable, or that one who publishes
 * has something to receive. A state can always be published. One who reads what is published is
 * always writable.
 */
int ivshmem_channel_wait(struct ivshmem_channel *channel, int events, int timeout_ms);

/*
 * A descriptor that becomes readable when a call that returned -EAGAIN is worth another try. It
 * belongs to the channel: poll it, do not read it. Call it before the first -EAGAIN that matters;
 * from then on, each -EAGAIN asks the other side for an interrupt. It is readable without a reason
 * now and then, at least once a second. It speaks for both directions: if a call to receive
 * returned -EAGAIN, it may be readable for a record that came, also for one who only wants to send
 * by now. -EMFILE, -ENOMEM.
 */
int ivshmem_channel_fd(struct ivshmem_channel *channel);

/*
 * The same for one who has many channels: one descriptor for all of them, and those channels that
 * are worth another try. The cost of a wake-up does not grow with the number of descriptors.
 *
 *	fd	becomes readable when there is such a channel, and without a reason now and then. It
 *		belongs to the participant: poll it, do not read it. Call it before the first -EAGAIN
 *		that matters, as with ivshmem_channel_fd(). -EMFILE, -ENOMEM
 *	ready	looks after all channels, and returns one that is worth another try, or NULL: then
 *		poll again. Go on with a channel until a call returns -EAGAIN, or remember it: it
 *		need not be returned again before that. A new channel is returned, too. After its
 *		end (-ESTALE and -ENODEV are the end of all), a channel is returned once
 *	data	what the user wants to find with a channel; NULL at first
 */
int ivshmem_participant_fd(struct ivshmem_participant *participant);
struct ivshmem_channel *ivshmem_participant_ready(struct ivshmem_participant *participant);
void ivshmem_channel_set_data(struct ivshmem_channel *channel, void *data);
void *ivshmem_channel_data(const struct ivshmem_channel *channel);

/* What a channel is like. */
struct ivshmem_channel_status {
	size_t struct_size; /* sizeof(struct ivshmem_channel_status); common.h */
	enum ivshmem_channel_kind kind;
	bool listening;
	bool connected;          /* the other end has accepted */
	int error;               /* 0, or how the channel ended for those who receive */
	uint64_t max_record;     /* the longest record that can be sent */
	uint64_t sent, received; /* bytes, with the headers of records */
	uint64_t rings;          /* how often we rang the other end */
	/* How often ivshmem_channel_wait() slept, and found something while it spun. */
	uint64_t sleeps, spins;
	char peer_name[64]; /* who the other participant says it is */
};
/* 0, or an error of common.h. */
int ivshmem_channel_status(
	const struct ivshmem_channel *channel, struct ivshmem_channel_status *ret_status);

/* ---- queues ---------------------------------------------------------------------------------- */

/*
 * Send a record of `length` bytes, and ring the other end if it sleeps. 0, or -EAGAIN (no room),
 * -EMSGSIZE (longer than max_record), or how the channel ended.
 */
int ivshmem_queue_send(struct ivshmem_channel *channel, const void *record, size_t length);

/*
 * The same in steps. Reserve room in the ring, and write the record there; commit it, with the
 * length that it has become; publish all that was committed, so that one who looks sees it; and
 * flush, which publishes and rings one who sleeps. Nobody rings one who sleeps before a flush, so
 * flush after the last record; ivshmem_channel_wait() before it sleeps, and a reservation without
 * room, do so, too. A record that is reserved and not committed is replaced by the next
 * reservation. Reserve returns what ivshmem_queue_send() returns; publish and flush 0, or how the
 * channel ended; commit 0, -EINVAL if nothing, or less, was reserved, or -ESTALE, -ENODEV.
 *
 * One flush for many records is much faster than one for each: the processor has to wait for its
 * stores.
 */
int ivshmem_queue_reserve(struct ivshmem_channel *channel, size_t length, void **ret_record);
int ivshmem_queue_commit(struct ivshmem_channel *channel, size_t length);
int ivshmem_queue_publish(struct ivshmem_channel *channel);
int ivshmem_queue_flush(struct ivshmem_channel *channel);

/* One of many records. */
struct ivshmem_record {
	const void *bytes;
	size_t length;
};

/*
 * Send up to `n` records, and flush once, which is the fastest way. Returns how many were sent; if
 * it was none, what ivshmem_queue_send() returns.
 */
int64_t ivshmem_queue_send_many(
	struct ivshmem_channel *channel, const struct ivshmem_record *records, size_t n);

/*
 * Receive the next record into `buffer`. Returns its length, or -EAGAIN, -EMSGSIZE (it is longer
 * than `size` and stays where it is), or how the channel ended.
 */
int64_t ivshmem_queue_receive(struct ivshmem_channel *channel, void *buffer, size_t size);

/*
 * The same without copying: look at the next record where it is, and release it. Until then, a
 * second peek gives the same record, and the sender cannot use its room. The bytes may change under
 * you if the sender wants to harm you: copy what you check before you use it. Release returns 0,
 * -EINVAL if there was no peek, or how the channel ended. After -ECONNRESET, forget what you have
 * read there: it may be what another participant has in its area, which was the sender's.
 */
int64_t ivshmem_queue_peek(struct ivshmem_channel *channel, const void **ret_record);
int ivshmem_queue_release(struct ivshmem_channel *channel);

/*
 * Look at up to `n` records (at least 1) where they are. Returns how many; if there is none, what
 * ivshmem_queue_peek() returns. It need not be all that are there. Release releases all of them.
 */
int64_t ivshmem_queue_peek_many(
	struct ivshmem_channel *channel, struct ivshmem_record *ret_records, size_t n);

/*
 * Loans are for big records: a record that is longer than the ring allows, that is written over
 * some time while others are sent, or that the other end wants to keep for a while. Such a record
 * lies in our area, but not in the ring, and only its description, of 32 bytes, goes through that.
 * So it costs the same however long it is. For the other end, it is a record like any other one.
 *
 *	take	borrow `size` bytes (1 to 2 GiB) of our area, at a multiple of 128. Their content is
 *		undefined
 *	send	write the record there, and send it with the length that it has become. The bytes are
 *		not ours any more from now on: the other end reads them, and when it has given them
 *		back, a later loan may get them
 *	drop	we do not want to send it after all
 *
 * What take and send return:
 *	-EAGAIN		take: there is no room until the other end gives a loan back, or
 *			IVSHMEM_LOANS_MAX are under way. send: the ring is full; the loan stays
 *			ours. ivshmem_channel_wait() for IVSHMEM_WRITABLE waits for what failed last
 *	-ENOSPC		take: there is no room in our area, and the other end has nothing to give
 *			back. Larger areas may help: see `areas` of struct ivshmem_participant_options
 *	-EINVAL		there is no such loan, or it is smaller than that
 *	-ENOMEM		take
 *	how the channel ended
 *
 * Loans that were not sent end with the channel. A record that was reserved and not committed is
 * forgotten when a loan is sent.
 */
#define IVSHMEM_LOANS_MAX 64

int ivshmem_loan_take(struct ivshmem_channel *channel, size_t size, void **ret_bytes);
int ivshmem_loan_send(struct ivshmem_channel *channel, void *bytes, size_t length);
int ivshmem_loan_drop(struct ivshmem_channel *channel, void *bytes);

/*
 * The other end. ivshmem_queue_peek() gives a loan as it gives any record, and releasing it gives
 * it back. Before that, `keep` makes it stay after the release. Then `return` gives it back, in any
 * order, or closing the channel does; the record must not be read after that. Its bytes may change
 * under you if the sender wants to harm you, and when the sender has died, and another participant
 * has taken its area.
 *
 * What keep and return return:
 *	-EINVAL		keep: this is not what the last peek has found, or no loan (an ordinary
 *			record cannot be kept: copy it). return: nothing that we have
 *	-ECONNRESET	return: the sender's area belongs to another participant now. What was read
 *			of the record may be something else than what was sent
 *	-ESTALE, -ENODEV	return: the same, because our own area or the device is lost
 * After return the record is not ours any more, except after -EINVAL.
 *
 * IVSHMEM_LOANS_MAX loans can be kept at a time. Whoever keeps them all gets no more.
 */
int ivshmem_loan_keep(struct ivshmem_channel *channel, const void *record);
int ivshmem_loan_return(struct ivshmem_channel *channel, const void *record);

/* ---- streams --------------------------------------------------------------------------------- */

/* Send up to `length` bytes, as many as there is room for. Returns how many, or -EAGAIN, or how the
 * channel ended. */
int64_t ivshmem_stream_write(struct ivshmem_channel *channel, const void *bytes, size_t length);

/* Receive up to `size` bytes. Returns how many, 0 at the end, or -EAGAIN, or how the channel
 * ended. */
int64_t ivshmem_stream_read(struct ivshmem_channel *channel, void *buffer, size_t size);

/* ---- calls ----------------------------------------------------------------------------------- */

/* How many calls can be under way in one channel. */
#define IVSHMEM_CALLS_MAX 1024

/*
 * Call: send a request, and wait at most `timeout_ms` (-1: for ever) for its reply. Returns the
 * length of the reply, of which at most `size` bytes are stored, or
 *	-ETIMEDOUT	there was no reply in time. The call is cancelled
 *	-EBUSY		other calls are under way in this channel
 *	-EMSGSIZE	the request is longer than max_record - 16
 *	-EINTR		a signal came. The call is cancelled
 *	what the other end gave as the status of its answer, or how the channel ended
 */
int64_t ivshmem_call(struct ivshmem_channel *channel, const void *request, size_t length,
	void *reply, size_t size, int timeout_ms);

/*
 * The same in steps, for many calls at a time. Start sends a request and gives the call a number; a
 * call that has no reply after `timeout_ms` (-1: never) is cancelled, when ivshmem_call_reply()
 * notices. 0, -EAGAIN (no room in the ring, or IVSHMEM_CALLS_MAX calls are under way), -EMSGSIZE,
 * or how the channel ended. After -EAGAIN, take the replies that are there before you wait for
 * room: the other end may need room for its answers before it receives more requests.
 */
int ivshmem_call_start(struct ivshmem_channel *channel, const void *request, size_t length,
	int timeout_ms, uint64_t *ret_call);

/*
 * The next reply, in the order in which the other end has answered. Says which call it belongs to,
 * and the status that the other end gave, 0 or a negative errno, or -ETIMEDOUT if the call is
 * cancelled because its time is over. Returns the length of the reply, of which at most `size`
 * bytes are stored, or -EAGAIN, or how the channel ended. Neither ivshmem_channel_wait() nor the
 * descriptor of the channel tells when a call's time is over: they wait for a reply, so wait no
 * longer than that time.
 */
int64_t ivshmem_call_reply(struct ivshmem_channel *channel, uint64_t *ret_call, int *ret_status,
	void *reply, size_t size);

/* The reply is not wanted any more. The other end is told, if there is room in the ring. 0, or
 * -ENOENT: there is no such call under way. */
int ivshmem_call_cancel(struct ivshmem_channel *channel, uint64_t call);

/*
 * The other end: the next request, to be answered with the number of the call. Returns its length,
 * of which at most `size` bytes are stored, or -EAGAIN, or how the channel ended.
 */
int64_t ivshmem_call_receive(
	struct ivshmem_channel *channel, uint64_t *ret_call, void *request, size_t size);

/* Whether the caller has lost its interest in this call, as far as we have received: a cancellation
 * comes after the requests that were sent before it. The call must be answered nevertheless. */
bool ivshmem_call_is_cancelled(struct ivshmem_channel *channel, uint64_t call);

/*
 * Answer a call, with a status of 0 or a negative errno; in any order. 0, -EAGAIN (no room in the
 * ring), -ENOENT (no such call waits for an answer), -EMSGSIZE (longer than max_record - 16),
 * -EINVAL (no such status), or how the channel ended.
 */
int ivshmem_call_answer(struct ivshmem_channel *channel, uint64_t call, int status,
	const void *reply, size_t length);

/* ---- states ---------------------------------------------------------------------------------- */

/*
 * A state has a latest value, such as a configuration, a position or a picture. Its owner makes it
 * with ivshmem_listen() and kind IVSHMEM_STATE, where ring_size is the size in bytes of its longest
 * value (0: 4096; at most 1 GiB), of which four must fit into the own area. Any number of others
 * read it after ivshmem_connect(), and never hold the owner up. When the owner has closed it, the
 * latest value can be read once more, and then it is -EPIPE.
 */

/* Publish a value. 0, -EMSGSIZE (longer than the longest), or -ESTALE, -ENODEV. */
int ivshmem_state_publish(struct ivshmem_channel *channel, const void *value, size_t length);

/*
 * Read the latest value if its number is not `*number`: store at most `size` bytes of it, and its
 * number, which grows by one with each value. Give 0 for the number if you have none yet; also
 * after connecting anew, because each owner counts from 1. Returns the length of the value, or
 * -EAGAIN (there is none, or none that is newer, or values come so quickly that none could be read
 * whole), or how the state ended. ivshmem_channel_wait() and ivshmem_channel_fd() wait for a value
 * that is newer than the one that was read last.
 */
int64_t ivshmem_state_read(
	struct ivshmem_channel *channel, void *buffer, size_t size, uint64_t *number);

/* ---- topics ---------------------------------------------------------------------------------- */

/*
 * Publish a record in a topic of ours, which is a listener: ivshmem_listen() with kind
 * IVSHMEM_TOPIC, where ring_size is that of the one ring that all read.
 * 0, -EAGAIN (a reader needs the room; wait until the topic is writable), -EMSGSIZE (longer than
 * max_record), or -ESTALE, -ENODEV. What was published last can be received after the topic was
 * closed.
 */
int ivshmem_topic_publish(struct ivshmem_channel *channel, const void *record, size_t length);

/*
 * Receive the next record that was published since we connected. Returns its length; `*ret_missed`
 * says how many were missed just before it, because we did not keep up. Or -EAGAIN, -EMSGSIZE (it
 * is longer than `size`, and stays), or how the topic ended.
 */
int64_t ivshmem_topic_receive(
	struct ivshmem_channel *channel, void *buffer, size_t size, uint64_t *ret_missed);

/* ---- everybody ------------------------------------------------------------------------------- */

/* A participant, as everybody sees it. */
struct ivshmem_participant_info {
	unsigned area;
	uint32_t generation; /* of the area */
	bool ourselves;
	char name[64];
	bool has_peer; /* whether it can be rung, and as whom */
	uint16_t peer;
	unsigned vector;
	uint32_t pid; /* in its own machine */
	bool here;    /* its machine is this one, and `pid` is one of those that we see */
};

/* A listener or an end of a channel, as everybody sees it. */
struct ivshmem_channel_info {
	unsigned area, entry;
	enum ivshmem_channel_kind kind;
	const char *phase; /* "listening", "connecting", "connected" or "ended" */
	char name[64];     /* which was listened for, or connected to */
	bool has_peer;
	unsigned peer_area, peer_entry; /* the other end */
	uint64_t ring_size;             /* of what this end sends; of a state, its longest value */
	/* Its position in the other end's ring, in bytes; of one who publishes, `head` in
	 * docs/channels.md. The end says how far it is once in an eighth of the ring, and before it
	 * sleeps, so it may have received more. */
	uint64_t received;

	/* How far this end has sent: the position in its own ring, in bytes; of a topic, where what
	 * was published ends. 0 for all others, and if the other end is another one by now. */
	uint64_t sent;
	/* How much of that the other end has not said it has received, where a loan counts as its
	 * description; for one who reads a topic, how much it has yet to read. As `received` is
	 * late, and nobody stops while we look, it is at most about this. In an area where more
	 * than a million records wait, not all are counted. */
	uint64_t unread;
	/* Of one who publishes: the number of the latest value or record, which is how many there
	 * were. */
	uint64_t number;
	/* How often the entry was used: another number means that it is another channel. */
	uint32_t generation;
};

/* Callbacks for each participant that lives, and each of its channels. What is not 0 ends the
 * search, and is returned; else 0, or -ENODEV. The structs are valid during the call. */
int ivshmem_participants(struct ivshmem_participant *participant,
	int (*fn)(void *data, const struct ivshmem_participant_info *info), void *data);
int ivshmem_channels(struct ivshmem_participant *participant,
	int (*fn)(void *data, const struct ivshmem_channel_info *info), void *data);

/* What became of a participant that was told of before: 1 if it lives, as far as is known; 0 if it
 * left in good order; or -ECONNRESET if it died, -ENOENT if another one has its area by now, so that
 * nobody knows, or -ENODEV. */
int ivshmem_participant_fate(
	struct ivshmem_participant *participant, unsigned area, uint32_t generation);

/*
 * The same for one who takes no part, through any client, also one that has no id or may only read.
 * It takes no area and writes nothing. For each participant, `participant_fn` is called, and then
 * `channel_fn` for each of its channels; each may be NULL. It leaves out who is known to have died.
 *
 * Returns how many areas there are; 0 if there are no channels in the memory yet; what is not 0 of
 * a callback; or
 *	-EINVAL		the memory is too small for channels
 *	-EMEDIUMTYPE, -EINPROGRESS, -EPROTONOSUPPORT, -EPROTO  as for ivshmem_participant_open()
 */
int ivshmem_channels_look(const struct ivshmem_client *client,
	int (*participant_fn)(void *data, const struct ivshmem_participant_info *info),
	int (*channel_fn)(void *data, const struct ivshmem_channel_info *info), void *data,
	struct ivshmem_error *reterr);

/*
 * The same as ivshmem_participant_fate() for one who takes no part, as far as one can tell who writes
 * nothing: one whose process is gone, or whose peer has left, and that nobody has marked as dead yet, has
 * died. -ENOENT also if there are no channels in the memory any more.
 */
int ivshmem_channels_fate(const struct ivshmem_client *client, unsigned area, uint32_t generation);

/*
 * Format memory for channels, whatever it contains. Nobody may be using it for channels at this
 * time; those who do get -ESTALE.
 *	memory	at a multiple of 128
 *	areas	see struct ivshmem_participant_options
 *	-EINVAL	the memory is too small for so many, or the number is out of range
 */
int ivshmem_channels_format(
	void *memory, uint64_t size, unsigned areas, struct ivshmem_error *reterr);

/*
 * Give the memory the content of a snapshot, whatever uses it; 'ivshmem restore' is made of these.
 *
 *	ivshmem_channels_restore_check(snapshot, size, &error);
 *	ivshmem_channels_restore_begin(memory, size, &error);
 *	... store all that follows the first IVSHMEM_CHANNELS_HEADER bytes of the snapshot ...
 *	ivshmem_channels_restore_end(memory, size, snapshot, &error);
 *
 * After the second call, participants get -ESTALE from their next call, or within a second if they
 * sleep, and nobody can take part (-EINPROGRESS). After the last one they can. If the snapshot has
 * channels, all areas are free then, because those who owned them when it was made are gone; only
 * this differs from the snapshot, and a number that is new. The rest is as in the snapshot, byte
 * for byte. If the process ends in between, the memory stays half-restored until these functions or
 * ivshmem_channels_format() make something whole of it. One process at a time may do this.
 *	memory	at a multiple of 128
 *	size	of the memory and of the snapshot, at least IVSHMEM_CHANNELS_HEADER
 *	header	the first IVSHMEM_CHANNELS_HEADER bytes of the snapshot, in private memory
 *	-EINVAL		memory or size are not like that
 *	-EINPROGRESS	the snapshot is of memory that was half-restored
 *	-EPROTONOSUPPORT  the channels in the snapshot have another layout
 */
#define IVSHMEM_CHANNELS_HEADER 4096
int ivshmem_channels_restore_check(const void *header, uint64_t size, struct ivshmem_error *reterr);
int ivshmem_channels_restore_begin(void *memory, uint64_t size, struct ivshmem_error *reterr);
int ivshmem_channels_restore_end(
	void *memory, uint64_t size, const void *header, struct ivshmem_error *reterr);

#ifdef __cplusplus
}
#endif

#endif
