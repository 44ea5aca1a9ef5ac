/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TRACE_TABLE_H
#define TRACE_TABLE_H

/* What the events are called, and what their arguments mean. Async-signal-safe. */

#include <trace/layout.h>

#include <stddef.h>

struct trace_event {
	const char *name;
	uint32_t number;
	const char *arguments; /* events.h says what is in it */
	const char *what;
};

extern const struct trace_event trace_events[];
extern const unsigned trace_n_events;

/* NULL: this version does not know it. */
const struct trace_event *trace_find_event(uint32_t number);

/* An argument of an entry, and how to show it. */
struct trace_argument {
	const char *name; /* `name_length` bytes */
	int name_length;
	char kind;         /* one of those of events.h; 'u' if it names none */
	uint64_t value;    /* unless it is text */
	char text[16 + 1]; /* if it is: what is not printable ASCII is a ? */
	const char *next;  /* for the next call */
	unsigned n_words;  /* so many words of the entry are used up */
};

/* Begin with *argument = TRACE_NO_ARGUMENT. False: there are no more. */
#define TRACE_NO_ARGUMENT                                                                          \
	(struct trace_argument)                                                                    \
	{                                                                                          \
		.name = NULL                                                                       \
	}
bool trace_next_argument(const struct trace_entry *entry, const struct trace_event *event,
	struct trace_argument *argument);

/* "ENOENT" for -ENOENT; NULL if it is none of those that our functions return. */
const char *trace_error_name(int64_t error);

/* "queue"; NULL if there is no such kind. */
const char *trace_kind_name(uint64_t kind);

#endif
