/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_HEARD_H
#define IVSHMEM_HEARD_H

/*
 * What a session hears from the library: events, which it hands to its command, and rings, which it
 * counts until somebody takes them.
 */

#include "session_state.h"

/* Stop reporting interrupts of `vector` (or IVSHMEM_ANY_VECTOR) as events. */
void session_mute(struct session *session, int vector);
/* Report them again, beginning now with those that arrived meanwhile and were not taken. */
void session_unmute(struct session *session);

/* Take at most `max` of the rings that arrived on `vector`. Returns their number. */
uint64_t session_take(struct session *session, unsigned vector, uint64_t max);

/* An event() for commands that do not print events: notes on stderr that the target is lost. */
void session_event_note(struct session *session, const struct event *event);

/* For session.c: the library's callbacks, with the session as data. */
extern const struct ivshmem_ops heard_ops;
/* Report an event. */
void session_event(struct session *session, const struct event *event);
/* Report an EVENT_MESSAGE. */
void session_message(struct session *session, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* Report the interrupts that arrived, unless they are muted. This keeps the order if done before
 * another event is reported. */
void session_report_interrupts(struct session *session);

#endif
