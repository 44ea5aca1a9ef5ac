/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef UNIT_DEATHS_PLAY_H
#define UNIT_DEATHS_PLAY_H

/*
 * A participant is killed between any two of its stores to the shared memory. The others still work,
 * receive what it sent as it was sent, learn of its death, and somebody takes its area.
 *
 * The process that dies does its part in turns. Between them the survivors do theirs, so that all of
 * them are in the middle of something. In its last turn it cannot write to the memory: each store is
 * a fault, and is counted, and is let through, or is where the process stands still and is killed.
 */

#include "channel_room.h"

#define AREA      16384
#define DEAD_AREA 2 /* its area, and its peer */

struct play {
	enum ivshmem_channel_kind kind;
	bool listens;    /* who dies listens, and the survivor connects; or the other way round */
	int patience_ms; /* of a topic */
	bool lends;      /* some records of a queue are loans */

	/* What the process that dies does; it ends each of its turns with play_end_turn(). */
	void (*die)(const struct play *play);
	unsigned turns;

	/* What the survivors do: at first; after each turn; and when the other one is dead. `taken`:
	 * somebody has its area already, and has written something else there. They close their
	 * channels then. */
	void (*open)(const struct play *play);
	void (*act)(const struct play *play);
	void (*learn)(const struct play *play, bool taken);
	/* And with whom has the area next. NULL: nothing. */
	void (*carry_on)(const struct play *play, struct ivshmem_participant *next);
};

/* What the process that dies has done; not in the memory that it shares as a participant. */
struct progress {
	unsigned sent;   /* completely: records, bytes of a stream, values, calls or answers */
	unsigned stores; /* in its last turn */
};

/* Who survives, in areas 0 and 1. */
extern struct cast {
	struct ivshmem_participant *survivor, *bystander;
	struct progress *progress;
} cast;

void play_end_turn(void);

/* The process that dies has sent so much. Others may pass NULL. */
void play_note(struct progress *progress, unsigned sent);

/* The record with this number, which has up to PLAY_RECORD bytes: its length; whether this is it. */
#define PLAY_RECORD 120
uint32_t play_fill(uint8_t *record, unsigned number);
bool play_is_record(const uint8_t *record, int64_t length, unsigned number);

/* How calls end when the other one is dead, or has ended before. */
bool play_is_end(int64_t error);

/* The stage, and the survivors; then what they do when the other one is dead and buried. */
void play_begin(const struct play *play);
void play_end(const struct play *play, bool taken);

/* The process dies everywhere, if there is time; else at some places, which differ from run to run. */
void play_everywhere(const struct play *play);

#endif
