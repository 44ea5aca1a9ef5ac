/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef CHANNEL_LAYOUT_H
#define CHANNEL_LAYOUT_H

/*
 * What lies where in the shared memory. docs/channels.md says the same in words.
 *
 *	region	header page | area 0 | area 1 | ...
 *	area	identity | a notice for each other area | entries | heap: rings and loans
 *
 * An area belongs to one participant. Only its owner writes to it, and everybody reads it. Only the
 * words of the header page have several writers, who change them by compare-and-swap. So nobody
 * ever repairs what another one left half-written, and a participant can lie only in its own area.
 *
 * All numbers are little-endian. Each word is read once, by map.h or with the functions below, and
 * checked in private memory before it is used.
 */

#include <stdint.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the region's numbers are little-endian");

#define LAYOUT_PAGE 4096 /* the header, and what areas are multiples of */

/* What two sides write lies this far apart: two cache lines, for prefetchers. */
#define LAYOUT_LINE 128

/* "IVCHAN", and the version of the layout in the last two bytes. */
#define LAYOUT_VERSION 1
#define LAYOUT_MAGIC   (UINT64_C(0x00004e4148435649) | (uint64_t)LAYOUT_VERSION << 48)

/* "IVREST": the memory is being restored from a snapshot, or somebody who did that has died. */
#define LAYOUT_RESTORING UINT64_C(0x0000545345525649)

#define LAYOUT_MIN_AREAS 2
#define LAYOUT_MAX_AREAS 256
#define LAYOUT_MAX_NAME  56 /* with its terminating 0 */

/* The header needs nothing but three words, each of which is set once, from 0. So zeroed memory can
 * be formatted by any number of participants at the same time, and none that dies can leave it in
 * between. */
struct layout_header {
	uint64_t magic; /* LAYOUT_MAGIC; the last one to be set. Or LAYOUT_RESTORING */
	uint64_t shape; /* layout_shape() */
	uint64_t epoch; /* random; a new one tells everybody to connect anew */
	uint64_t unused[13];
	uint64_t claims[LAYOUT_MAX_AREAS]; /* layout_claim(), one for each area */
};

static inline uint64_t
layout_shape(unsigned n_areas, uint64_t area_size)
{
	return (uint64_t)n_areas << 48 | area_size / LAYOUT_PAGE;
}

/* A claim: how often the area was claimed, and what became of the last owner. */
enum layout_claim_state {
	LAYOUT_FREE,
	LAYOUT_OWNED,
	LAYOUT_LEFT, /* the owner ended well; what it sent last can still be read */
	LAYOUT_DEAD, /* somebody knows that the owner ended without a word */
};

static inline uint64_t
layout_claim(uint32_t generation, enum layout_claim_state state)
{
	return (uint64_t)generation << 32 | (uint32_t)state;
}

static inline uint32_t
layout_claim_generation(uint64_t claim)
{
	return (uint32_t)(claim >> 32);
}

static inline enum layout_claim_state
layout_claim_state(uint64_t claim)
{
	return (enum layout_claim_state)(claim & 0xff);
}

#define LAYOUT_CAN_RING    1u /* the owner can ring others */
#define LAYOUT_CAN_BE_RUNG 2u /* it has an interrupt; otherwise it looks every now and then */

struct layout_identity {
	uint64_t ready; /* the claim's generation, once the area can be read */
	uint32_t features;
	uint16_t peer; /* whom to ring, and on which vector */
	uint16_t vector;
	uint64_t kernel;  /* who has the same here and the same pid namespace can ask whether `pid`
			   lives */
	uint64_t started; /* when that process started, in ticks since that kernel's */
	uint32_t pid;
	uint32_t unused;
	uint64_t heartbeat; /* grows while the owner looks after its channels */
	char name[LAYOUT_MAX_NAME];
	uint64_t padding[19];
};

/*
 * What the owner tells one other participant: "look at these". There is a bit for each of the
 * other's channels (its entry modulo 63), and one for the entries of the own area. A bit that
 * differs from the other's copy of it, which is in the other's area, is a notice that the other has
 * not seen.
 */
#define LAYOUT_NOTICE_CHANNELS 63
#define LAYOUT_NOTICE_ENTRIES  (UINT64_C(1) << 63)
struct layout_notice {
	uint64_t bits; /* for the other */
	uint64_t seen; /* the copy of the other's `bits` */
};

enum layout_phase {
	LAYOUT_UNUSED,
	LAYOUT_LISTENING,
	LAYOUT_CONNECTING, /* the peer is a listener */
	LAYOUT_CONNECTED,  /* the peer is an entry that is connected, or connecting, to this one */
};

/* The state of an entry: how often it was used, the kind of the channel, the phase. */
static inline uint64_t
layout_state(uint32_t generation, unsigned kind, enum layout_phase phase)
{
	return (uint64_t)generation << 32 | (uint64_t)kind << 8 | (uint64_t)phase;
}

static inline uint32_t
layout_state_generation(uint64_t state)
{
	return (uint32_t)(state >> 32);
}

static inline unsigned
layout_state_kind(uint64_t state)
{
	return (unsigned)(state >> 8 & 0xff);
}

static inline enum layout_phase
layout_state_phase(uint64_t state)
{
	return (enum layout_phase)(state & 0xff);
}

enum layout_shut {
	LAYOUT_SHUT_NOT,
	LAYOUT_SHUT,
	LAYOUT_SHUT_EARLY, /* there should have been more */
};

/* A reference to an entry of another area, which goes stale when either of them is used anew. */
static inline uint64_t
layout_reference(unsigned area, unsigned entry, uint32_t entry_generation)
{
	return (uint64_t)entry_generation << 32 | (uint64_t)area << 16 | entry;
}

/* A listener, or one end of a channel. The parts have different readers and are written at
 * different times. */
struct layout_entry {
	/* Written before `state`, except for `end` and what follows. */
	uint64_t state;
	uint64_t peer;            /* layout_reference() */
	uint32_t peer_generation; /* of the area */
	uint32_t ring_size;       /* of what this end sends; a power of two, 0: it sends nothing */
	uint64_t ring_offset;     /* in bytes from the start of the area */
	char name[LAYOUT_MAX_NAME];
	uint64_t end;   /* a position */
	uint64_t shut;  /* enum layout_shut; nothing will be sent after `end` */
	uint64_t ended; /* not 0: nothing more will be received */
	uint64_t padding_1[18];

	/* How far this end has received: a position in the peer's ring. Of a state: the number of
	 * the latest value. Of a topic: what lies before this position may be overwritten. */
	uint64_t head;
	uint64_t tail;   /* of a topic: what was published ends here */
	uint64_t resume; /* of a topic: a record begins here, within the last half of the ring */
	uint64_t begun;  /* of a topic: the number of the last record, before it changes `tail` */
	uint64_t done;   /* and after that */
	uint64_t
		loans; /* of a queue: a bit for each loan of the peer, changed when it is given back */
	uint64_t padding_2[10];

	uint64_t wake_at;  /* ring me when you have sent past this position */
	uint64_t space_at; /* ring me when you have received past this position */
	uint64_t loans_at; /* of a queue, not 0: ring me when you have given a loan back */
	uint64_t padding_3[13];
};

/* Nobody ever sends past this position. */
#define LAYOUT_NEVER UINT64_MAX

/* What the record of a loan contains: which one of the sender's loans it is, and where its bytes lie
 * in the sender's area. */
#define LAYOUT_LOANS 64
struct layout_loan {
	uint64_t number; /* from 0, less than LAYOUT_LOANS */
	uint64_t offset; /* in bytes from the start of the area, a multiple of LAYOUT_LINE */
	uint64_t length; /* in bytes */
};

_Static_assert(sizeof(struct layout_header) <= LAYOUT_PAGE, "");
_Static_assert(sizeof(struct layout_identity) == 2 * LAYOUT_LINE, "");
_Static_assert(sizeof(struct layout_entry) == 4 * LAYOUT_LINE, "");
_Static_assert(__builtin_offsetof(struct layout_entry, head) == 2 * LAYOUT_LINE, "");
_Static_assert(__builtin_offsetof(struct layout_entry, wake_at) == 3 * LAYOUT_LINE, "");

/* ---- the words ------------------------------------------------------------------------------- */

/* One load, which the compiler cannot repeat. */
static inline uint64_t
word_load(const uint64_t *word)
{
	return __atomic_load_n(word, __ATOMIC_RELAXED);
}

/* What the writer stored before this word is seen, too. */
static inline uint64_t
word_acquire(const uint64_t *word)
{
	return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

static inline void
word_store(uint64_t *word, uint64_t value)
{
	__atomic_store_n(word, value, __ATOMIC_RELAXED);
}

/* All that was stored before is seen by whoever sees this. */
static inline void
word_release(uint64_t *word, uint64_t value)
{
	__atomic_store_n(word, value, __ATOMIC_RELEASE);
}

/* 32-bit words, which need no order. */
static inline uint32_t
half_load(const uint32_t *word)
{
	return __atomic_load_n(word, __ATOMIC_RELAXED);
}

/*
 * What was stored before is visible before anything that is loaded afterwards. Whoever is about to
 * sleep has this between "wake me" and its last look; whoever has something new has it between that
 * and its look at "wake me". So at least one of them sees the other.
 */
static inline void
word_fence(void)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

#endif
