/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_HEARD_H
#define IVSHMEM_HEARD_H

/*
 * What a session hears from the library: events for its owner, and rings, which are counted until
 * somebody takes them.
 */

#include "session_state.h"

/* Do not report interrupts of `vector` (or IVSHMEM_ANY_VECTOR) as events for a while ... */
void session_mute(struct session *session, int vector);
/* ... and again. What came meanwhile and was not taken is reported now. */
void session_unmute(struct session *session);

/* Take at most `max` rings of those that came in on `vector`; returns how many. */
uint64_t session_take(struct session *session, unsigned vector, uint64_t max);

/* For commands that do not print events: notes on stderr that the server is lost. */
void session_event_note(struct session *session, const struct event *event);

/* For session.c: the callbacks, with the session as data, and what they do besides. */
extern const struct ivshmem_ops heard_ops;
void session_event(struct session *session, const struct event *event);
/* An EVENT_MESSAGE. */
void session_message(struct session *session, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* Make interrupts that came into events, unless muted: before something else becomes one. */
void session_report_interrupts(struct session *session);

#endif
