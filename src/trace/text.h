/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TRACE_TEXT_H
#define TRACE_TEXT_H

/* Text in a buffer of fixed size; what has no room is cut. Async-signal-safe. */

#include <trace/table.h>

#include <stddef.h>
#include <stdint.h>

/* An event has room in so many bytes. */
#define TEXT_MAX 256

struct text {
	char *buffer; /* always ends with 0 */
	size_t size;
	size_t length;
};

void text_put(struct text *text, const char *bytes, size_t length);
void text_puts(struct text *text, const char *string);
void text_number(struct text *text, uint64_t value, unsigned base, unsigned digits);

/* "12.345678" */
void text_seconds(struct text *text, uint64_t ns);

/*
 * "client_ring id=1 peer=2 vector=0 error=0"; "event_0x999 0x1 0x2 0x0 0x0" if this version does not
 * know it. Whatever is in the entry, this is printable ASCII.
 */
void text_event(struct text *text, const struct trace_entry *entry);

#endif
