/* SPDX-License-Identifier: BSD-2-Clause */
#include "event_print.h"

#include "info.h"
#include "json.h"
#include "output.h"

#include <base/parse.h>

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

static void
print_json(const struct session *session, const struct event *event, const struct timespec *now)
{
	struct json json = JSON_BEGIN;

	json_object(&json, NULL);
	json_decimal(&json, "time", (double)now->tv_sec + (double)now->tv_nsec / 1e9, 6);
	switch (event->type) {
	case EVENT_ATTACHED:
		json_string(&json, "event", "attached");
		json_string(&json, "target", session->target);
		info_json_id(session, &json);
		json_number(&json, "size", ivshmem_size(session->client));
		break;
	case EVENT_JOINED:
	case EVENT_VECTORS:
		json_string(&json, "event", event->type == EVENT_JOINED ? "joined" : "vectors");
		json_number(&json, "peer", event->peer);
		json_number(&json, "vectors", event->vectors);
		break;
	case EVENT_LEFT:
		json_string(&json, "event", "left");
		json_number(&json, "peer", event->peer);
		break;
	case EVENT_INTERRUPT:
		json_string(&json, "event", "interrupt");
		json_number(&json, "vector", event->vector);
		json_number(&json, "count", event->count);
		break;
	case EVENT_LOST:
		json_string(&json, "event", "lost");
		json_string(&json, "reason", event->text);
		break;
	case EVENT_MESSAGE:
		break;
	}
	json_finish(&json);
}

static void
print_text(const struct session *session, const struct event *event)
{
	char vectors[VECTORS_TEXT_MAX], size[SIZE_TEXT_MAX];

	switch (event->type) {
	case EVENT_ATTACHED:
		if (session->is_memory) {
			print_line("attached to memory alone (%s%s, %s)",
				format_size(ivshmem_size(session->client), size),
				ivshmem_read_only(session->client) ? ", read-only" : "",
				session->target);
			break;
		}
		if (!ivshmem_has_id(session->client)) {
			print_line("looking on without an id (%s each, %s, %s)",
				vectors_text(
					(unsigned)ivshmem_group_vectors(session->client), vectors),
				format_size(ivshmem_size(session->client), size), session->target);
			break;
		}
		print_line("attached as peer %u (%s, %s, %s)", ivshmem_id(session->client),
			vectors_text(ivshmem_vectors(session->client), vectors),
			format_size(ivshmem_size(session->client), size), session->target);
		break;
	case EVENT_JOINED:
		print_line(
			"peer %u joined (%s)", event->peer, vectors_text(event->vectors, vectors));
		break;
	case EVENT_VECTORS:
		print_line("peer %u has %s", event->peer, vectors_text(event->vectors, vectors));
		break;
	case EVENT_LEFT:
		print_line("peer %u left", event->peer);
		break;
	case EVENT_INTERRUPT:
		print_line("interrupt vector %u count %" PRIu64, event->vector, event->count);
		break;
	case EVENT_LOST:
		print_line("%s lost: %s", session->is_pci ? "device" : "server", event->text);
		break;
	case EVENT_MESSAGE:
		break;
	}
}

void
event_print(const struct session *session, const struct event *event, bool time_of_day)
{
	struct timespec now;

	if (event->type == EVENT_MESSAGE) {
		fail("%s", event->text);
		return;
	}
	clock_gettime(CLOCK_REALTIME, &now);
	if (session->cli->json) {
		print_json(session, event, &now);
		return;
	}
	if (time_of_day) {
		struct tm local;

		localtime_r(&now.tv_sec, &local);
		printf("%02d:%02d:%02d.%06ld ", local.tm_hour, local.tm_min, local.tm_sec,
			now.tv_nsec / 1000);
	}
	print_text(session, event);
}
