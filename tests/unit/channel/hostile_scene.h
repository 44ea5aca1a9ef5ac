/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef UNIT_HOSTILE_SCENE_H
#define UNIT_HOSTILE_SCENE_H

/*
 * A victim, a bystander, and a participant that writes into its area, and into the header, whatever it
 * likes. Whatever that is, all calls of the others return, say how the channel ended, and work with
 * everybody else.
 */

#include "channel_room.h"

#include <stddef.h>

#define AREA    16384
#define HOSTILE 1 /* its peer and its area */
#define SENT    2 /* records that it sent before it was hostile */
#define RECORD  100

#define GENERATION (UINT64_C(1) << 32)

struct scene {
	struct ivshmem_participant *victim, *hostile, *bystander;
	struct ivshmem_channel *listener; /* of either */
	struct ivshmem_channel *theirs;   /* the hostile one's end */
	struct ivshmem_channel *channel;  /* the victim's */
};

/* When the hostile one begins to be hostile. It ... */
enum situation {
	LISTENS,   /* and the victim connects after this */
	IS_ASKED,  /* listens; the victim has connected */
	ACCEPTED,  /* has accepted, and the victim has not noticed */
	CONNECTED, /* has connected, and the victim accepts after this */
	TALKS,     /* has connected, and the victim has accepted */
};

/* The three of them, without a channel. */
void scene_open(struct scene *scene);
/* And with a queue, or what there is of it in this situation. */
void scene_open_queue(struct scene *scene, enum situation situation);

/* What it does to some bytes of a struct in the shared memory: a number of up to 8 bytes, or all of a
 * name. */
enum how { SET, ADD, XOR };
#define BYTES_OF(type, field) offsetof(struct type, field), sizeof(((struct type *)NULL)->field)
void scene_break(uint8_t *bytes, size_t size, enum how how, uint64_t value);

/* Run each of `n` rows of a table in a process of its own; those that fail are named. */
void scene_run_rows(unsigned n, void (*run)(unsigned row), const char *(*name)(unsigned row));

/* All that only looks. */
void scene_look_at(struct ivshmem_participant *participant, struct ivshmem_channel *channel);

/* All records that there are, or as many as there is room for; how it ended. */
int scene_receive_all(struct ivshmem_channel *channel, int *ret_records);
int scene_send_all(struct ivshmem_channel *channel);

#endif
