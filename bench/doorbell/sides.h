/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef BENCH_DOORBELL_SIDES_H
#define BENCH_DOORBELL_SIDES_H

/*
 * What is compared. Of every server that is named here, the first client is one that never reads its
 * eventfds: IDLE_ID.
 */

#include "guest.h"

#include <stdbool.h>
#include <stdint.h>

#define IDLE_ID 0

/* Where the processors of two guests stay: -1 is anywhere. */
struct cpus {
	int a, b;
};

/* Two guests that can ring each other, and IDLE_ID. */
struct pair {
	const char *name;
	struct guest a, b;
};

/* By ioeventfds and irqfds set by hand. */
void pair_bare(struct pair *pair, struct cpus cpus);
/* By our library. */
void pair_embedded(struct pair *pair, struct cpus cpus, const char *server);
/* The memory that this group shares. */
uint8_t *pair_memory(struct pair *pair);
/* By an ivshmem-device each, whose sockets these are; with ioeventfds, or each ring a message. */
void pair_remote(
	struct pair *pair, struct cpus cpus, const char *a, const char *b, bool ioeventfds);
/* By QEMU's device: processes and the files of their guests' memory. */
void pair_qemu(struct pair *pair, pid_t a, const char *a_memory, pid_t b, const char *b_memory);
void pair_free(struct pair *pair);

/* A guest whose device has this many doorbells of others, of whom the last one joined last. */
struct scale {
	const char *way;
	unsigned doorbells;
	struct guest guest;
	uint32_t value, word; /* of the last one: for the register, and where its word is */
};

/* How many vectors each client has then. */
unsigned scale_vectors(unsigned doorbells);
/* `device` is NULL, and the library is used, or the socket of an ivshmem-device. */
void scale_make(
	struct scale *scale, int cpu, unsigned doorbells, const char *server, const char *device);
void scale_free(struct scale *scale);

#endif
