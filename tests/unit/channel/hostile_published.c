/* SPDX-License-Identifier: BSD-2-Clause */

/* A hostile participant publishes a state or a topic, or reads one, and breaks one rule at a time. */

#include "hostile_scene.h"

#include <errno.h>
#include <string.h>

#define RING        STAGE_RING
#define SLOT        1152 /* between two slots of a state */
#define RECORD_STEP 120  /* between two records of a topic */

/* ---- the rules ------------------------------------------------------------------------------- */

/* The hostile one has published SENT records. */
enum role {
	FOUND,   /* the victim connects after the rule is broken */
	READ,    /* the victim connected before they were published, and reads after it */
	READS,   /* the victim publishes, and the hostile one has connected; nobody waits for it */
	HOLDS_UP /* the same, and the victim waits for slow readers */
};

/* Where it writes. */
enum place {
	CLAIM,
	IDENTITY,
	ENTRY,
	VALUE,    /* the slot of the latest value */
	RECORD_1, /* of a topic, with its header */
	RECORD_2,
};

#define IN_CLAIM           CLAIM, 0, 8
#define IN_IDENTITY(field) IDENTITY, BYTES_OF(layout_identity, field)
#define IN_ENTRY(field)    ENTRY, BYTES_OF(layout_entry, field)
#define IN_NUMBER          VALUE, 0, 8
#define IN_LENGTH          VALUE, 8, 8
#define IN_HEADER_1        RECORD_1, 0, 8
#define IN_HEADER_2        RECORD_2, 0, 8
#define IN_NUMBER_1        RECORD_1, 8, 8

#define S IVSHMEM_STATE
#define T IVSHMEM_TOPIC

struct row {
	const char *name;
	enum ivshmem_channel_kind kind;
	enum role role;
	enum place place;
	size_t offset, size;
	enum how how;
	uint64_t value;
	/* What the victim gets: from connecting; then so many values or records, and this. If the
	 * hostile one reads: 0; so many readers; and this from publishing. */
	int first, number, then;
};

static const struct row rows[] = {
	{"state: nothing: found", S, FOUND, IN_ENTRY(padding_1[0]), SET, 1, 0, 1, -EAGAIN},
	{"state: nothing: read", S, READ, IN_ENTRY(padding_1[0]), SET, 1, 0, 1, -EAGAIN},
	{"state: nothing: reads", S, READS, IN_ENTRY(padding_1[0]), SET, 1, 0, 2, 0},
	{"topic: nothing: found", T, FOUND, IN_ENTRY(padding_1[0]), SET, 1, 0, 0, -EAGAIN},
	{"topic: nothing: read", T, READ, IN_ENTRY(padding_1[0]), SET, 1, 0, SENT, -EAGAIN},
	{"topic: nothing: reads", T, READS, IN_ENTRY(padding_1[0]), SET, 1, 0, 2, 0},
	{"topic: nothing: holds up", T, HOLDS_UP, IN_ENTRY(padding_1[0]), SET, 1, 0, 2, -EAGAIN},

	/* Who it is. */
	{"state: claim 0", S, READ, IN_CLAIM, SET, 0, 0, 0, -ECONNRESET},
	{"state: claimed anew", S, READ, IN_CLAIM, ADD, GENERATION, 0, 0, -ECONNRESET},
	{"state: claim: left", S, READ, IN_CLAIM, XOR, 3, 0, 1, -ECONNRESET},
	{"state: claim: dead", S, READ, IN_CLAIM, XOR, 2, 0, 1, -ECONNRESET},
	{"state: claim: dead: found", S, FOUND, IN_CLAIM, XOR, 2, -ENOENT, 0, 0},
	{"state: claim: dead: reads", S, READS, IN_CLAIM, XOR, 2, 0, 1, 0},
	{"state: claimed anew: reads", S, READS, IN_CLAIM, ADD, GENERATION, 0, 1, 0},
	{"state: not ready", S, READ, IN_IDENTITY(ready), SET, 0, 0, 1, -EAGAIN},
	{"state: not ready: reads", S, READS, IN_IDENTITY(ready), SET, 0, 0, 1, 0},
	{"state: started", S, READ, IN_IDENTITY(started), ADD, 1, 0, 1, -ECONNRESET},
	{"topic: claim 0", T, READ, IN_CLAIM, SET, 0, 0, 0, -ECONNRESET},
	{"topic: claimed anew", T, READ, IN_CLAIM, ADD, GENERATION, 0, 0, -ECONNRESET},
	{"topic: claim: left", T, READ, IN_CLAIM, XOR, 3, 0, SENT, -ECONNRESET},
	{"topic: claim: dead", T, READ, IN_CLAIM, XOR, 2, 0, SENT, -ECONNRESET},
	{"topic: claim: dead: found", T, FOUND, IN_CLAIM, XOR, 2, -ENOENT, 0, 0},
	{"topic: claim: dead: holds up", T, HOLDS_UP, IN_CLAIM, XOR, 2, 0, 1, 0},
	{"topic: claimed anew: holds up", T, HOLDS_UP, IN_CLAIM, ADD, GENERATION, 0, 1, 0},
	{"topic: not ready", T, READ, IN_IDENTITY(ready), SET, 0, 0, SENT, -EAGAIN},
	{"topic: not ready: holds up", T, HOLDS_UP, IN_IDENTITY(ready), SET, 0, 0, 1, 0},
	{"topic: started: holds up", T, HOLDS_UP, IN_IDENTITY(started), ADD, 1, 0, 1, 0},

	/* The entry of a state, before somebody reads it. */
	{"state: kind: found", S, FOUND, IN_ENTRY(state), XOR, 1 << 8, -EPROTOTYPE, 0, 0},
	{"state: phase: found", S, FOUND, IN_ENTRY(state), XOR, 0xf0, -ENOENT, 0, 0},
	{"state: generation: found", S, FOUND, IN_ENTRY(state), ADD, GENERATION, 0, 1, -EAGAIN},
	{"state: a peer: found", S, FOUND, IN_ENTRY(peer), SET, UINT64_MAX, 0, 1, -EAGAIN},
	{"state: no name", S, FOUND, IN_ENTRY(name), SET, 0, -ENOENT, 0, 0},
	{"state: long name", S, FOUND, IN_ENTRY(name), SET, 0xff, -ENOENT, 0, 0},
	{"state: ended: found", S, FOUND, IN_ENTRY(ended), SET, UINT64_MAX, -ENOENT, 0, 0},
	{"state: shut: found", S, FOUND, IN_ENTRY(shut), SET, 1, 0, 1, -EAGAIN},
	{"state: length 0", S, FOUND, IN_ENTRY(ring_size), SET, 0, -EPROTO, 0, 0},
	{"state: length across the end", S, FOUND, IN_ENTRY(ring_size), SET, AREA / 4, -EPROTO, 0,
		0},
	{"state: length of 1 GiB", S, FOUND, IN_ENTRY(ring_size), SET, 1 << 30, -EPROTO, 0, 0},
	{"state: length of 4 GiB", S, FOUND, IN_ENTRY(ring_size), SET, UINT32_MAX, -EPROTO, 0, 0},
	{"state: shorter than it is", S, FOUND, IN_ENTRY(ring_size), SET, 1, 0, 0, -EAGAIN},
	{"state: at 0", S, FOUND, IN_ENTRY(ring_offset), SET, 0, -EPROTO, 0, 0},
	{"state: before the heap", S, FOUND, IN_ENTRY(ring_offset), ADD, -(uint64_t)LAYOUT_LINE,
		-EPROTO, 0, 0},
	{"state: beside a line", S, FOUND, IN_ENTRY(ring_offset), ADD, 8, -EPROTO, 0, 0},
	{"state: across the end", S, FOUND, IN_ENTRY(ring_offset), SET,
		AREA - 4 * SLOT + LAYOUT_LINE, -EPROTO, 0, 0},
	{"state: behind the end", S, FOUND, IN_ENTRY(ring_offset), SET, AREA, -EPROTO, 0, 0},
	{"state: far away", S, FOUND, IN_ENTRY(ring_offset), SET, UINT64_C(1) << 63, -EPROTO, 0, 0},
	{"state: before 2^64", S, FOUND, IN_ENTRY(ring_offset), SET, -(uint64_t)LAYOUT_LINE,
		-EPROTO, 0, 0},
	{"state: elsewhere", S, FOUND, IN_ENTRY(ring_offset), ADD, LAYOUT_LINE, 0, 0, -EAGAIN},

	/* The same when somebody reads it; and its values. */
	{"state: unused", S, READ, IN_ENTRY(state), SET, 0, 0, 0, -ECONNRESET},
	{"state: used anew", S, READ, IN_ENTRY(state), ADD, GENERATION, 0, 0, -ECONNRESET},
	{"state: kind", S, READ, IN_ENTRY(state), XOR, 1 << 8, 0, 1, -EAGAIN},
	{"state: phase", S, READ, IN_ENTRY(state), XOR, 0xf0, 0, 0, -EAGAIN},
	{"state: becomes long", S, READ, IN_ENTRY(ring_size), SET, UINT32_MAX, 0, 1, -EAGAIN},
	{"state: moves", S, READ, IN_ENTRY(ring_offset), SET, UINT64_MAX, 0, 1, -EAGAIN},
	{"state: another name", S, READ, IN_ENTRY(name), SET, 0xff, 0, 1, -EAGAIN},
	{"state: ended", S, READ, IN_ENTRY(ended), SET, UINT64_MAX, 0, 1, -EPIPE},
	{"state: shut", S, READ, IN_ENTRY(shut), SET, UINT64_MAX, 0, 1, -EAGAIN},
	{"state: an end", S, READ, IN_ENTRY(end), SET, UINT64_MAX, 0, 1, -EAGAIN},
	{"state: no value", S, READ, IN_ENTRY(head), SET, 0, 0, 0, -EAGAIN},
	{"state: an older value", S, READ, IN_ENTRY(head), ADD, -UINT64_C(1), 0, 1, -EAGAIN},
	{"state: a value that is not there", S, READ, IN_ENTRY(head), ADD, 1, 0, 0, -EAGAIN},
	{"state: the value before in its slot", S, READ, IN_ENTRY(head), ADD, 4, 0, 0, -EAGAIN},
	{"state: the last value of all", S, READ, IN_ENTRY(head), SET, UINT64_MAX, 0, 0, -EAGAIN},
	{"state: words of a topic", S, READ, IN_ENTRY(tail), SET, UINT64_MAX, 0, 1, -EAGAIN},
	{"state: is to be woken", S, READ, IN_ENTRY(wake_at), SET, 0, 0, 1, -EAGAIN},
	{"state: waits for room", S, READ, IN_ENTRY(space_at), SET, 0, 0, 1, -EAGAIN},
	{"state: number 0", S, READ, IN_NUMBER, SET, 0, 0, 0, -EAGAIN},
	{"state: another number", S, READ, IN_NUMBER, ADD, 4, 0, 0, -EAGAIN},
	{"state: value of no bytes", S, READ, IN_LENGTH, SET, 0, 0, 1, -EAGAIN},
	{"state: value as long as can be", S, READ, IN_LENGTH, SET, RING, 0, 1, -EAGAIN},
	{"state: value too long", S, READ, IN_LENGTH, SET, RING + 1, 0, 0, -EPROTO},
	{"state: value of 4 GiB", S, READ, IN_LENGTH, ADD, GENERATION, 0, 0, -EPROTO},
	{"state: value without end", S, READ, IN_LENGTH, SET, UINT64_MAX, 0, 0, -EPROTO},

	/* The entry of one who reads a state. */
	{"state: unused: reads", S, READS, IN_ENTRY(state), SET, 0, 0, 1, 0},
	{"state: kind: reads", S, READS, IN_ENTRY(state), XOR, 1 << 8, 0, 1, 0},
	{"state: phase: reads", S, READS, IN_ENTRY(state), XOR, 0xf0, 0, 1, 0},
	{"state: generation: reads", S, READS, IN_ENTRY(state), ADD, GENERATION, 0, 2, 0},
	{"state: another entry: reads", S, READS, IN_ENTRY(peer), XOR, 1, 0, 1, 0},
	{"state: no area: reads", S, READS, IN_ENTRY(peer), SET, UINT64_MAX, 0, 1, 0},
	{"state: an older area: reads", S, READS, IN_ENTRY(peer_generation), ADD, -UINT64_C(1), 0,
		1, 0},
	{"state: a ring: reads", S, READS, IN_ENTRY(ring_size), SET, UINT32_MAX, 0, 2, 0},
	{"state: a head: reads", S, READS, IN_ENTRY(head), SET, UINT64_MAX, 0, 2, 0},
	{"state: ended: reads", S, READS, IN_ENTRY(ended), SET, 1, 0, 2, 0},
	{"state: wake at once", S, READS, IN_ENTRY(wake_at), SET, 0, 0, 2, 0},
	{"state: wake late", S, READS, IN_ENTRY(wake_at), SET, UINT64_MAX - 1, 0, 2, 0},

	/* The entry of a topic, before somebody reads it. */
	{"topic: kind: found", T, FOUND, IN_ENTRY(state), XOR, 1 << 8, -EPROTOTYPE, 0, 0},
	{"topic: phase: found", T, FOUND, IN_ENTRY(state), XOR, 0xf0, -ENOENT, 0, 0},
	{"topic: generation: found", T, FOUND, IN_ENTRY(state), ADD, GENERATION, 0, 0, -EAGAIN},
	{"topic: a peer: found", T, FOUND, IN_ENTRY(peer), SET, UINT64_MAX, 0, 0, -EAGAIN},
	{"topic: no name", T, FOUND, IN_ENTRY(name), SET, 0, -ENOENT, 0, 0},
	{"topic: ended: found", T, FOUND, IN_ENTRY(ended), SET, UINT64_MAX, -ENOENT, 0, 0},
	{"topic: shut: found", T, FOUND, IN_ENTRY(shut), SET, 1, 0, 0, -EPROTO},
	{"topic: ring: none", T, FOUND, IN_ENTRY(ring_size), SET, 0, -EPROTO, 0, 0},
	{"topic: ring: 128", T, FOUND, IN_ENTRY(ring_size), SET, 128, -EPROTO, 0, 0},
	{"topic: ring: 768", T, FOUND, IN_ENTRY(ring_size), SET, 768, -EPROTO, 0, 0},
	{"topic: ring too large", T, FOUND, IN_ENTRY(ring_size), SET, AREA, -EPROTO, 0, 0},
	{"topic: ring: 4 GiB", T, FOUND, IN_ENTRY(ring_size), SET, UINT32_MAX, -EPROTO, 0, 0},
	{"topic: ring at 0", T, FOUND, IN_ENTRY(ring_offset), SET, 0, -EPROTO, 0, 0},
	{"topic: ring before the heap", T, FOUND, IN_ENTRY(ring_offset), ADD,
		-(uint64_t)LAYOUT_LINE, -EPROTO, 0, 0},
	{"topic: ring beside a line", T, FOUND, IN_ENTRY(ring_offset), ADD, 8, -EPROTO, 0, 0},
	{"topic: ring across the end", T, FOUND, IN_ENTRY(ring_offset), SET,
		AREA - RING + LAYOUT_LINE, -EPROTO, 0, 0},
	{"topic: ring far away", T, FOUND, IN_ENTRY(ring_offset), SET, UINT64_C(1) << 63, -EPROTO,
		0, 0},
	{"topic: ring before 2^64", T, FOUND, IN_ENTRY(ring_offset), SET, -(uint64_t)RING, -EPROTO,
		0, 0},
	{"topic: head after all: found", T, FOUND, IN_ENTRY(head), SET, 1 << 20, 0, 0, -EPROTO},
	{"topic: tail beside a header", T, FOUND, IN_ENTRY(tail), ADD, 4, -EPROTO, 0, 0},
	{"topic: tail in a record", T, FOUND, IN_ENTRY(tail), SET, 8, 0, 0, -EPROTO},
	{"topic: tail before the last number", T, FOUND, IN_ENTRY(tail), SET, 0, 0, 0, -EPROTO},
	{"topic: tail a lap later", T, FOUND, IN_ENTRY(tail), SET, RING, 0, 0, -EPROTO},
	{"topic: tail before 2^64", T, FOUND, IN_ENTRY(tail), SET, -UINT64_C(8), 0, 0, -EPROTO},
	{"topic: resume: found", T, FOUND, IN_ENTRY(resume), SET, UINT64_MAX, 0, 0, -EAGAIN},
	{"topic: begun", T, FOUND, IN_ENTRY(begun), ADD, 1, 0, 0, -EAGAIN},
	{"topic: done", T, FOUND, IN_ENTRY(done), SET, UINT64_MAX, 0, 0, -EAGAIN},

	/* The same when somebody reads it. */
	{"topic: unused", T, READ, IN_ENTRY(state), SET, 0, 0, 0, -ECONNRESET},
	{"topic: used anew", T, READ, IN_ENTRY(state), ADD, GENERATION, 0, 0, -ECONNRESET},
	{"topic: kind", T, READ, IN_ENTRY(state), XOR, 1 << 8, 0, SENT, -EAGAIN},
	{"topic: phase", T, READ, IN_ENTRY(state), XOR, 0xf0, 0, SENT, -EAGAIN},
	{"topic: ring becomes large", T, READ, IN_ENTRY(ring_size), SET, UINT32_MAX, 0, SENT,
		-EAGAIN},
	{"topic: ring moves", T, READ, IN_ENTRY(ring_offset), SET, UINT64_MAX, 0, SENT, -EAGAIN},
	{"topic: shut where nothing was", T, READ, IN_ENTRY(shut), SET, 1, 0, SENT, -EPROTO},
	{"topic: ended", T, READ, IN_ENTRY(ended), SET, 1, 0, SENT, -EAGAIN},
	{"topic: an end", T, READ, IN_ENTRY(end), SET, UINT64_MAX, 0, SENT, -EAGAIN},
	{"topic: overtakes, and resumes before", T, READ, IN_ENTRY(head), SET, 8, 0, 0, -EPROTO},
	{"topic: head after all", T, READ, IN_ENTRY(head), SET, INT64_MAX, 0, 0, -EPROTO},
	{"topic: head before 2^64", T, READ, IN_ENTRY(head), SET, UINT64_MAX, 0, SENT, -EAGAIN},
	{"topic: resume", T, READ, IN_ENTRY(resume), SET, UINT64_MAX, 0, SENT, -EAGAIN},
	{"topic: tail", T, READ, IN_ENTRY(tail), SET, UINT64_MAX, 0, SENT, -EAGAIN},
	{"topic: begun later", T, READ, IN_ENTRY(begun), SET, UINT64_MAX, 0, SENT, -EAGAIN},
	{"topic: done later", T, READ, IN_ENTRY(done), SET, UINT64_MAX, 0, SENT, -EAGAIN},
	{"topic: space at once", T, READ, IN_ENTRY(space_at), SET, 0, 0, SENT, -EAGAIN},
	{"topic: space before 2^64", T, READ, IN_ENTRY(space_at), SET, UINT64_MAX - 1, 0, SENT,
		-EAGAIN},
	{"topic: wake at once", T, READ, IN_ENTRY(wake_at), SET, 0, 0, SENT, -EAGAIN},

	/* Its records. */
	{"topic: record 0", T, READ, IN_HEADER_1, SET, 0, 0, 0, -EAGAIN},
	{"topic: record of ones", T, READ, IN_HEADER_1, SET, UINT64_MAX, 0, 0, -EPROTO},
	{"topic: record: mark", T, READ, IN_HEADER_1, XOR, UINT64_C(1) << 63, 0, 0, -EPROTO},
	{"topic: record: what", T, READ, IN_HEADER_1, XOR, UINT64_C(4) << 48, 0, 0, -EPROTO},
	{"topic: record of another lap", T, READ, IN_HEADER_1, ADD, GENERATION, 0, 0, -EPROTO},
	{"topic: record too long", T, READ, IN_HEADER_1, ADD, RING / 2 - 15 - RECORD - 8, 0, 0,
		-EPROTO},
	{"topic: record of 4 GiB", T, READ, IN_HEADER_1, ADD, UINT32_MAX - RECORD - 8, 0, 0,
		-EPROTO},
	{"topic: record without a number", T, READ, IN_HEADER_1, ADD, -(uint64_t)(RECORD + 1), 0, 0,
		-EPROTO},
	{"topic: record longer than it was", T, READ, IN_HEADER_1, ADD, RECORD_STEP, 0, 1, -EAGAIN},
	{"topic: filler at the start", T, READ, IN_HEADER_1, XOR, UINT64_C(3) << 48, 0, 0, -EPROTO},
	{"topic: filler of any length", T, READ, IN_HEADER_2, XOR, UINT64_C(3) << 48, 0, 1,
		-EPROTO},
	{"topic: number 0", T, READ, IN_NUMBER_1, SET, 0, 0, 0, -EPROTO},
	{"topic: number of the next one", T, READ, IN_NUMBER_1, SET, 2, 0, 1, -EPROTO},
	{"topic: the last number of all", T, READ, IN_NUMBER_1, SET, UINT64_MAX, 0, 1, -EPROTO},

	/* The entry of one who reads a topic. */
	{"topic: unused: holds up", T, HOLDS_UP, IN_ENTRY(state), SET, 0, 0, 1, 0},
	{"topic: kind: holds up", T, HOLDS_UP, IN_ENTRY(state), XOR, 1 << 8, 0, 1, 0},
	{"topic: phase: holds up", T, HOLDS_UP, IN_ENTRY(state), XOR, 0xf0, 0, 1, 0},
	{"topic: generation: holds up", T, HOLDS_UP, IN_ENTRY(state), ADD, GENERATION, 0, 2,
		-EAGAIN},
	{"topic: another entry: holds up", T, HOLDS_UP, IN_ENTRY(peer), XOR, 1, 0, 1, 0},
	{"topic: no area: holds up", T, HOLDS_UP, IN_ENTRY(peer), SET, UINT64_MAX, 0, 1, 0},
	{"topic: an older area: holds up", T, HOLDS_UP, IN_ENTRY(peer_generation), ADD,
		-UINT64_C(1), 0, 1, 0},
	{"topic: a ring: holds up", T, HOLDS_UP, IN_ENTRY(ring_size), SET, UINT32_MAX, 0, 2,
		-EAGAIN},
	{"topic: head 1: holds up", T, HOLDS_UP, IN_ENTRY(head), SET, 1, 0, 2, -EAGAIN},
	{"topic: head after all: holds up", T, HOLDS_UP, IN_ENTRY(head), SET, 100 * RING, 0, 2, 0},
	{"topic: head before 2^63: holds up", T, HOLDS_UP, IN_ENTRY(head), SET, INT64_MAX, 0, 2, 0},
	{"topic: head before 2^64: holds up", T, HOLDS_UP, IN_ENTRY(head), SET, UINT64_MAX, 0, 2,
		0},
	{"topic: head 1: reads", T, READS, IN_ENTRY(head), SET, 1, 0, 2, 0},
	{"topic: head after all: reads", T, READS, IN_ENTRY(head), SET, 100 * RING, 0, 2, 0},
	{"topic: head before 2^64: reads", T, READS, IN_ENTRY(head), SET, UINT64_MAX, 0, 2, 0},
	{"topic: wake at once: reads", T, READS, IN_ENTRY(wake_at), SET, 0, 0, 2, 0},
	{"topic: wake late: reads", T, READS, IN_ENTRY(wake_at), SET, UINT64_MAX - 1, 0, 2, 0},
	{"topic: space at once: reads", T, READS, IN_ENTRY(space_at), SET, 0, 0, 2, 0},
};

/* ---- how they are broken --------------------------------------------------------------------- */

/* A channel of the hostile one: it publishes, or reads. */
static uint8_t *
place_of(struct ivshmem_channel *theirs, enum place place)
{
	uint8_t *block = map_area(&stage.map, HOSTILE) + theirs->own->ring_offset;

	switch (place) {
	case CLAIM:
		return (uint8_t *)map_claim(&stage.map, HOSTILE);
	case IDENTITY:
		return (uint8_t *)map_identity(&stage.map, HOSTILE);
	case ENTRY:
		return (uint8_t *)theirs->own;
	case VALUE:
		return block + SENT % 4 * SLOT;
	case RECORD_1:
		return block;
	case RECORD_2:
		return block + RECORD_STEP;
	}
	return NULL;
}

static int
publish(struct ivshmem_channel *channel, unsigned number)
{
	uint8_t record[RECORD];

	stage_fill(record, RECORD, number);
	return channel->kind == IVSHMEM_STATE ? ivshmem_state_publish(channel, record, RECORD)
					      : ivshmem_topic_publish(channel, record, RECORD);
}

/* How many values or records there are, and how it ended. */
static int
read_all(struct ivshmem_channel *channel, uint64_t *number, int *ret_n)
{
	/* Whoever copied so much would leave the shared memory. */
	static uint8_t record[3 * AREA];
	uint64_t missed;
	int64_t r;

	for (*ret_n = 0;; ++*ret_n) {
		r = channel->kind == IVSHMEM_STATE
			    ? ivshmem_state_read(channel, record, sizeof(record), number)
			    : ivshmem_topic_receive(channel, record, sizeof(record), &missed);
		if (r < 0)
			return (int)r;
		CHECK(*ret_n < 100);
	}
}

static void
victim_reads(struct ivshmem_channel *channel, const struct row *row)
{
	uint64_t number = 0;
	int n;

	/* As polling would. */
	CHECK(ivshmem_channel_fd(channel) >= 0);
	CHECK_EQ(read_all(channel, &number, &n), row->then);
	CHECK_EQ(n, row->number);
	if (row->then == -EAGAIN)
		return;
	CHECK_EQ(read_all(channel, &number, &n), row->then);
	CHECK_EQ(n, 0);
	CHECK_EQ(ivshmem_channel_wait(channel, IVSHMEM_READABLE, 1000), IVSHMEM_READABLE);
}

/* An honest reader loses nothing by the other one. */
static void
victim_publishes(
	struct ivshmem_channel *channel, struct ivshmem_channel *honest, const struct row *row)
{
	uint64_t number = 0;
	int r = 0, n;

	CHECK_EQ(subscribers_look(channel), row->number);
	for (unsigned i = 0; i < 50 && r == 0; i++) {
		r = publish(channel, i);
		CHECK_EQ(read_all(honest, &number, &n), -EAGAIN);
		CHECK_EQ(n, r == 0);
	}
	CHECK_EQ(r, row->then);
	CHECK_EQ(ivshmem_channel_wait(channel, IVSHMEM_WRITABLE, 0),
		row->then == 0 ? IVSHMEM_WRITABLE : -ETIMEDOUT);
}

static struct ivshmem_channel *
listen_as(struct ivshmem_participant *participant, const struct row *row)
{
	struct ivshmem_channel_options options = stage_options;
	struct ivshmem_channel *channel = NULL;

	options.patience_ms = row->role == HOLDS_UP ? -1 : 0;
	CHECK_EQ(ivshmem_listen(&channel, participant, STAGE_NAME, row->kind, &options, NULL), 0);
	return channel;
}

static void
break_one(unsigned i)
{
	const struct row *row = &rows[i];
	bool hostile_reads = row->role == READS || row->role == HOLDS_UP;
	struct ivshmem_channel *honest = NULL;
	struct scene scene;
	uint8_t *place;

	scene_open(&scene);
	scene.listener = listen_as(hostile_reads ? scene.victim : scene.hostile, row);
	scene.theirs = scene.listener;
	if (hostile_reads) {
		honest = stage_connect(scene.bystander, row->kind);
		scene.theirs = stage_connect(scene.hostile, row->kind);
	}
	if (row->role == READ)
		scene.channel = stage_connect(scene.victim, row->kind);
	for (unsigned n = 0; n < SENT && !hostile_reads; n++)
		CHECK_EQ(publish(scene.listener, n), 0);
	place = place_of(scene.theirs, row->place) + row->offset;
	scene_break(place, row->size, row->how, row->value);
	scene_look_at(scene.victim, scene.channel);
	CHECK_EQ(stage_check(scene.victim), 0);
	if (row->role == FOUND)
		CHECK_EQ(ivshmem_connect(&scene.channel, scene.victim, STAGE_NAME, row->kind, NULL,
				 0, NULL),
			row->first);
	if (scene.channel)
		victim_reads(scene.channel, row);
	if (hostile_reads)
		victim_publishes(scene.listener, honest, row);
	scene_look_at(scene.victim, scene.channel);

	/* Nothing is left of it. */
	ivshmem_channel_close(scene.channel);
	ivshmem_channel_close(honest);
	if (hostile_reads)
		ivshmem_channel_close(scene.listener);
	ivshmem_participant_close(scene.hostile);
	CHECK_EQ(stage_check(scene.victim), 0);
	CHECK_EQ(stage_entries(scene.victim), 0);
	stage_prove(scene.victim, scene.bystander);
	ivshmem_participant_close(scene.victim);
	ivshmem_participant_close(scene.bystander);
	stage_close();
}

static const char *
name_of(unsigned i)
{
	return rows[i].name;
}

TEST_WITH(one_rule_at_a_time, .timeout_s = 120)
{
	scene_run_rows(sizeof(rows) / sizeof(rows[0]), break_one, name_of);
}
