/* SPDX-License-Identifier: BSD-2-Clause */
#include "heard.h"

#include "attach.h"
#include "output.h"

#include <base/clock.h>

#include <stdarg.h>
#include <stdio.h>

void
session_event(struct session *session, const struct event *event)
{
	if (session->event)
		session->event(session, event);
	else if (event->type == EVENT_MESSAGE)
		fail("%s", event->text);
}

void
session_message(struct session *session, const char *format, ...)
{
	char message[1024];
	struct event event = {.type = EVENT_MESSAGE, .text = message};
	va_list args;

	va_start(args, format);
	vsnprintf(message, sizeof(message), format, args);
	va_end(args);
	session_event(session, &event);
}

/* The server has announced a peer, or a vector of one. */
static void
session_heard(struct session *session)
{
	session->news++;
	session->heard_at = clock_now();
}

void
session_report_interrupts(struct session *session)
{
	if (session->muted == IVSHMEM_ANY_VECTOR || !session->client)
		return;
	for (unsigned i = 0; i < ivshmem_vectors(session->client); i++) {
		struct session_vector *vector = &session->vectors[i];
		struct event event = {.type = EVENT_INTERRUPT, .vector = i};

		if (vector->unreported == 0 || (int)i == session->muted)
			continue;
		event.count = vector->unreported;
		vector->unreported = 0;
		session_event(session, &event);
	}
}

static void
on_joined(struct ivshmem_client *client, uint16_t peer, unsigned vectors, void *data)
{
	struct event event = {.type = EVENT_JOINED, .peer = peer, .vectors = vectors};

	(void)client;
	session_heard(data);
	session_report_interrupts(data);
	session_event(data, &event);
}

static void
on_vectors(struct ivshmem_client *client, uint16_t peer, unsigned vectors, void *data)
{
	struct event event = {.type = EVENT_VECTORS, .peer = peer, .vectors = vectors};

	(void)client;
	session_heard(data);
	session_report_interrupts(data);
	session_event(data, &event);
}

static void
on_left(struct ivshmem_client *client, uint16_t peer, void *data)
{
	struct event event = {.type = EVENT_LEFT, .peer = peer};

	(void)client;
	session_report_interrupts(data);
	session_event(data, &event);
}

/* The peers decide how much there is to count. */
static void
count_add(uint64_t *count, uint64_t more)
{
	if (__builtin_add_overflow(*count, more, count))
		*count = UINT64_MAX;
}

static void
on_interrupt(struct ivshmem_client *client, unsigned vector, uint64_t count, void *data)
{
	struct session *session = data;

	(void)client;
	if (vector >= IVSHMEM_MAX_VECTORS)
		return;
	count_add(&session->vectors[vector].received, count);
	count_add(&session->vectors[vector].unconsumed, count);
	count_add(&session->vectors[vector].unreported, count);
}

static void
on_lost(struct ivshmem_client *client, const struct ivshmem_error *error, void *data)
{
	struct session *session = data;

	(void)client;
	session->lost = *error;
}

static void
on_log(struct ivshmem_client *client, enum ivshmem_log_level level, const char *message, void *data)
{
	struct session *session = data;

	(void)client;
	if (attaching_keeps(level, message))
		return;
	if (level == IVSHMEM_LOG_WARNING)
		session_message(session, "warning: %s", message);
	else if (session->cli->verbose)
		session_message(session, "debug: %s", message);
}

const struct ivshmem_ops heard_ops = {
	.struct_size = sizeof(heard_ops),
	.peer_joined = on_joined,
	.peer_vectors = on_vectors,
	.peer_left = on_left,
	.interrupt = on_interrupt,
	.lost = on_lost,
	.log = on_log,
};

void
session_event_note(struct session *session, const struct event *event)
{
	if (event->type == EVENT_MESSAGE)
		fail("%s", event->text);
	else if (event->type == EVENT_LOST && session->is_pci)
		note(session->cli, "device lost: %s", event->text);
	else if (event->type == EVENT_LOST)
		note(session->cli, "server lost: %s; peers that are connected can still ring",
			event->text);
}

void
session_mute(struct session *session, int vector)
{
	session->muted = vector;
}

void
session_unmute(struct session *session)
{
	session->muted = SESSION_MUTE_NONE;
	session_report_interrupts(session);
}

uint64_t
session_take(struct session *session, unsigned vector, uint64_t max)
{
	struct session_vector *state = &session->vectors[vector];
	uint64_t taken = state->unconsumed < max ? state->unconsumed : max;

	state->unconsumed -= taken;
	if (state->unreported > state->unconsumed)
		state->unreported = state->unconsumed;
	return taken;
}
