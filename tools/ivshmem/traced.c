/* SPDX-License-Identifier: BSD-2-Clause */
#include "traced.h"

#include <base/clock.h>
#include <base/error.h>
#include <trace/trace.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PIECE ((size_t)64 << 10)

/* ---- finding the rings ----------------------------------------------------------------------- */

/* Whether a ring like this can be read. */
static bool
is_anchor(const struct trace_anchor *anchor)
{
	return memcmp(anchor->magic, TRACE_MAGIC, sizeof(anchor->magic)) == 0 &&
	       anchor->entry_size == sizeof(struct trace_entry) &&
	       anchor->n_entries == TRACE_ENTRIES && anchor->entries.number != 0 &&
	       anchor->entries.number % 8 == 0;
}

static void
search(struct traced *traced, const struct segment *segment)
{
	static uint8_t bytes[PIECE];

	for (uint64_t done = 0; done < segment->size; done += PIECE) {
		size_t length =
			segment->size - done < PIECE ? (size_t)(segment->size - done) : PIECE;

		if (traced_memory_read(&traced->memory, segment->address + done, bytes, length) < 0)
			return;
		for (size_t at = 0; at + sizeof(struct trace_anchor) <= length;
			at += TRACE_ALIGNMENT) {
			struct trace_anchor anchor;

			memcpy(&anchor, bytes + at, sizeof(anchor));
			if (is_anchor(&anchor) && traced->n_rings < TRACED_RINGS)
				traced->rings[traced->n_rings++].anchor =
					segment->address + done + at;
		}
	}
}

static int
find_rings(struct traced *traced, const char *who, struct ivshmem_error *reterr)
{
	for (unsigned i = 0; i < traced->memory.n_segments; i++)
		if (traced->memory.segments[i].is_searched)
			search(traced, &traced->memory.segments[i]);
	if (traced->n_rings > 0)
		return 0;
	traced_close(traced);
	return error_set(reterr, -ENODATA,
		"%s has no trace: it is no program of ours, and uses no library of ours of this version",
		who);
}

static void
find_program(struct traced *traced)
{
	char path[32];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/comm", (int)traced->pid);
	file = fopen(path, "re");
	if (!file || !fgets(traced->program, sizeof(traced->program), file))
		strcpy(traced->program, "?");
	if (file)
		fclose(file);
	traced->program[strcspn(traced->program, "\n")] = 0;
}

/* Whoever named it may have thought of our terminal. */
static void
clean_program(struct traced *traced)
{
	for (char *c = traced->program; *c; c++)
		if (*c < ' ' || *c > '~')
			*c = '?';
}

int
traced_open(struct traced *traced, pid_t pid, struct ivshmem_error *reterr)
{
	char who[32];
	int r;

	*traced = (struct traced){.pid = pid};
	r = traced_memory_open(&traced->memory, pid, reterr);
	if (r < 0)
		return r;
	find_program(traced);
	clean_program(traced);
	snprintf(who, sizeof(who), "process %d", (int)pid);
	return find_rings(traced, who, reterr);
}

int
traced_open_core(struct traced *traced, const char *path, struct ivshmem_error *reterr)
{
	const char *slash = strrchr(path, '/');
	int r;

	*traced = (struct traced){.pid = 0};
	r = traced_memory_open_core(&traced->memory, path, reterr);
	if (r < 0)
		return r;
	snprintf(traced->program, sizeof(traced->program), "%s", slash ? slash + 1 : path);
	clean_program(traced);
	return find_rings(traced, path, reterr);
}

void
traced_close(struct traced *traced)
{
	traced_memory_close(&traced->memory);
}

/* ---- what is new ----------------------------------------------------------------------------- */

static int
add_event(struct traced_events *events, const struct traced_event *event)
{
	if (events->n == events->room) {
		size_t room = events->room ? 2 * events->room : TRACE_ENTRIES;
		struct traced_event *more =
			reallocarray(events->events, room, sizeof(*events->events));

		if (!more)
			return -ENOMEM;
		events->events = more;
		events->room = room;
	}
	events->events[events->n++] = *event;
	return 0;
}

static int
look_at_ring(struct traced *traced, struct traced_ring *ring, struct traced_events *events,
	struct traced_event *event)
{
	static struct trace_entry entries[TRACE_ENTRIES];
	struct trace_moment now = trace_moment_now();
	struct trace_anchor anchor;
	uint64_t number;
	int r = traced_memory_read(&traced->memory, ring->anchor, &anchor, sizeof(anchor));

	if (r == 0 && is_anchor(&anchor) && anchor.next != ring->seen)
		r = traced_memory_read(
			&traced->memory, anchor.entries.number, entries, sizeof(entries));
	if (r < 0 || !is_anchor(&anchor)) {
		traced->ended = true;
		return 0;
	}
	if (traced->memory.is_core)
		now = anchor.last;
	number = trace_oldest(anchor.next);
	if (ring->looked && ring->seen < number)
		traced->missed += number - ring->seen;
	if (ring->looked && ring->seen > number)
		number = ring->seen;
	for (; number < anchor.next && r == 0; number++) {
		event->entry = entries[number % TRACE_ENTRIES];
		event->time = trace_time(event->entry.ticks, &anchor.first, &now);
		if (trace_is_whole(&event->entry, number))
			r = add_event(events, event);
		else
			traced->missed += ring->looked;
	}
	ring->looked = true;
	ring->seen = anchor.next;
	return r;
}

int
traced_look(struct traced *traced, struct traced_events *events, unsigned process, unsigned round)
{
	struct traced_event event = {.process = process, .round = round};
	int r = 0;

	for (unsigned i = 0; i < traced->n_rings && r == 0 && !traced->ended; i++)
		r = look_at_ring(traced, &traced->rings[i], events, &event);
	return r;
}
