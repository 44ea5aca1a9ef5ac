/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TRACE_LAYOUT_H
#define TRACE_LAYOUT_H

/*
 * What a ring of events looks like in the memory of a process, for those who write it, and for those
 * who read it from outside: `ivshmem trace` and debuggers. trace.h has the theory.
 */

#include <stdbool.h>
#include <stdint.h>

#define TRACE_ENTRIES 4096
#define TRACE_ARGS    4

/* With its 0, 16 bytes. Another layout gets another number. */
#define TRACE_MAGIC "ivshmem trace 1"

struct trace_entry {
	uint64_t number; /* so many events were before it; its place is this modulo TRACE_ENTRIES */
	uint64_t ticks;  /* trace_ticks() */
	uint64_t what;   /* bits 0 to 31: the event (events.h), bits 32 to 63: the thread */
	uint64_t args[TRACE_ARGS];
	uint64_t check; /* trace_check() of all that is before it */
};

/* The same moment, by both clocks. */
struct trace_moment {
	uint64_t ticks;
	uint64_t ns; /* clock_now(); 0: there is none yet */
};

/* A process of 32 bits has 0 in the upper half. */
union trace_address {
	const void *pointer;
	uint64_t number;
};

/* An anchor begins at a multiple of this. */
#define TRACE_ALIGNMENT 128

/* It is in the writable data of the program or library whose ring it is. */
struct trace_anchor {
	char magic[16];
	uint32_t entry_size;
	uint32_t n_entries;
	union trace_address entries;
	uint64_t on;                     /* 0: nothing is recorded */
	struct trace_moment first, last; /* of the first event, and of one of the last ones */
	uint8_t unused[8];
	uint64_t next; /* the number of the next event; on a cache line of its own */
} __attribute__((aligned(TRACE_ALIGNMENT)));

_Static_assert(sizeof(struct trace_entry) == 64, "an entry is a cache line");
_Static_assert(sizeof(struct trace_anchor) == TRACE_ALIGNMENT, "an anchor has no gap behind it");

/*
 * A sum that depends on the place of each word. So an entry that is only half written, or that two
 * threads write at a time, is recognised, however it came about.
 */
static inline uint64_t
trace_check(const struct trace_entry *entry)
{
	const uint64_t words[] = {entry->number, entry->ticks, entry->what, entry->args[0],
		entry->args[1], entry->args[2], entry->args[3]};
	uint64_t sum = UINT64_C(0x9e3779b97f4a7c15);

	for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		sum = (sum << 9 | sum >> 55) + words[i];
	return sum;
}

/* Whether a private copy of an entry is whole, and is that of event `number`. */
static inline bool
trace_is_whole(const struct trace_entry *entry, uint64_t number)
{
	return entry->number == number && entry->check == trace_check(entry);
}

static inline uint32_t
trace_event_of(const struct trace_entry *entry)
{
	return (uint32_t)entry->what;
}

static inline uint32_t
trace_thread_of(const struct trace_entry *entry)
{
	return (uint32_t)(entry->what >> 32);
}

/* The number of the oldest event that can still be there if the next one has number `next`. */
static inline uint64_t
trace_oldest(uint64_t next)
{
	return next > TRACE_ENTRIES ? next - TRACE_ENTRIES : 0;
}

/* What clock_now() was at `ticks`, if the clocks agreed in `first` and `last`. */
static inline uint64_t
trace_time(uint64_t ticks, const struct trace_moment *first, const struct trace_moment *last)
{
	double rate = 0;

	if (last->ticks > first->ticks && last->ns > first->ns)
		rate = (double)(last->ns - first->ns) / (double)(last->ticks - first->ticks);
	/* A time that cannot be is that of the nearer end. */
	if (ticks <= first->ticks || rate <= 0 || rate > 1e6 ||
		ticks - first->ticks > UINT64_MAX / 4)
		return first->ns;
	if ((double)(ticks - first->ticks) * rate > 9e18)
		return last->ns;
	return first->ns + (uint64_t)((double)(ticks - first->ticks) * rate);
}

#endif
