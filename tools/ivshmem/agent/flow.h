/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_AGENT_FLOW_H
#define IVSHMEM_AGENT_FLOW_H

/*
 * Streams of bytes in a queue, several of them, in both directions, between descriptors at its two
 * ends.
 *
 * Theory of operation. The records of all streams share one ring, and a signal or an exit status must
 * get through while nobody reads a stream. So each side always takes all records that come, and who
 * receives a stream limits it: it gives the sender credit for as many bytes as it has room for, and
 * more when bytes have gone to its descriptor. Who sends more than it has credit for breaks the
 * protocol. At first there is no credit.
 *
 * A stream ends with RECORD_END. If its receiver cannot get rid of the bytes, because nobody reads the
 * descriptor any more, it says RECORD_UNWANTED; the sender closes what the bytes come from, so that
 * who writes there learns of it.
 *
 * The functions do not wait. -EAGAIN is for the channel: it has no room.
 */

#include "records.h"

#include <ivshmem/channel.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How many bytes a receiver has room for. */
#define FLOW_WINDOW (256 * 1024)

/* ---- sending ---------------------------------------------------------------------------------- */

struct flow_out {
	uint8_t stream;
	int fd;        /* borrowed */
	bool readable; /* worth a try */
	size_t most;   /* the most bytes in a record */
	uint64_t left; /* so many more, and then it ends */
	bool last;     /* nobody writes there any more: what is not there now never comes */

	uint32_t credit;
	bool ended;    /* nothing more is to be sent */
	bool unwanted; /* they said so */
	bool told;     /* RECORD_END was sent */
	uint64_t bytes;
	int error; /* why reading failed; then nothing more is sent, not even an end */
};

/* `max_record` is the longest record that the channel takes. */
void flow_out_begin(struct flow_out *flow, uint8_t stream, int fd, size_t max_record);

/* RECORD_CREDIT came. 0 or -EPROTO. */
int flow_out_credit(struct flow_out *flow, uint32_t bytes);

/* RECORD_UNWANTED came. */
void flow_out_unwanted(struct flow_out *flow);

/* Send what there is, up to one record. 1: something was done, 0: nothing can be done, or how the
 * channel failed. ivshmem_queue_flush() is for later. */
int flow_out_run(struct flow_out *flow, struct ivshmem_channel *channel);

/* ---- receiving -------------------------------------------------------------------------------- */

struct flow_in {
	uint8_t stream;
	int fd;        /* borrowed; -1: bytes are discarded */
	bool writable; /* worth a try */
	size_t most;   /* write at most so many at a time */

	char *bytes; /* of FLOW_WINDOW; NULL until it is needed */
	size_t start, end;
	uint32_t credit, owed; /* what they have, and what they are to get */
	bool ended;            /* RECORD_END came */
	bool unwanted;         /* the descriptor takes nothing more */
	bool told;             /* and they know */
	int error;             /* why it takes nothing more */
	char last;             /* what was received last */
	uint64_t received;
};

void flow_in_begin(struct flow_in *flow, uint8_t stream, int fd);
void flow_in_free(struct flow_in *flow);

/* RECORD_DATA came. 0, -EPROTO or -ENOMEM. */
int flow_in_take(struct flow_in *flow, const char *bytes, size_t length);

/* RECORD_END came. 0 or -EPROTO. */
int flow_in_end(struct flow_in *flow);

/* Write what there is. Whether something was done. */
bool flow_in_run(struct flow_in *flow);

/* Nobody wants the bytes. */
void flow_in_refuse(struct flow_in *flow);

/* Tell the sender what it must know. 1: something was sent, 0: nothing is to be said, or how the
 * channel failed. */
int flow_in_tell(struct flow_in *flow, struct ivshmem_channel *channel);

static inline size_t
flow_in_waiting(const struct flow_in *flow)
{
	return flow->end - flow->start;
}

#endif
