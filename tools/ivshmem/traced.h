/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_TRACED_H
#define IVSHMEM_TRACED_H

/*
 * A process that is traced: the rings of events in its memory, and what is new in them.
 *
 * Theory of operation: src/trace/trace.h says what a ring looks like. A process can have several, one
 * of the program and one of each library. They are copied, and then each entry is checked: whatever
 * the process does, what is shown are events of known shape, at most 4096 of each ring at a time.
 */

#include "trace_memory.h"

#include <trace/layout.h>

#define TRACED_RINGS 4

/* An event of one of the processes. */
struct traced_event {
	struct trace_entry entry;
	uint64_t time; /* clock_now() of then */
	unsigned process;
	unsigned round; /* of those who ask again and again */
};

struct traced_events {
	struct traced_event *events;
	size_t n, room;
};

struct traced_ring {
	uint64_t anchor;
	uint64_t seen; /* the number of the first event that was not looked at yet */
	bool looked;
};

struct traced {
	pid_t pid;        /* 0: a core */
	char program[64]; /* safe to print */
	struct traced_memory memory;
	struct traced_ring rings[TRACED_RINGS];
	unsigned n_rings;
	bool ended;
	uint64_t missed; /* events that were gone before we looked */
};

/* 0, or a negative errno and the sentence. */
int traced_open(struct traced *traced, pid_t pid, struct ivshmem_error *reterr);
int traced_open_core(struct traced *traced, const char *path, struct ivshmem_error *reterr);
void traced_close(struct traced *traced);

/*
 * Append what is new, as events of process `process` and of this round. Sets traced->ended if the
 * process has. 0 or -ENOMEM.
 */
int traced_look(
	struct traced *traced, struct traced_events *events, unsigned process, unsigned round);

#endif
