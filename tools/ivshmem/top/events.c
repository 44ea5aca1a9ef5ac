/* SPDX-License-Identifier: BSD-2-Clause */
#include "top/events.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void
top_events_add(struct top_events *events, const struct top_event *event)
{
	events->event[events->n++ % TOP_EVENTS_MAX] = *event;
}

const struct top_event *
top_events_get(const struct top_events *events, uint64_t i)
{
	if (i >= events->n || i + TOP_EVENTS_MAX < events->n)
		return NULL;
	return &events->event[i % TOP_EVENTS_MAX];
}

static void
add(struct top_events *events, enum top_event_type type, double date,
	const struct sample_participant *participant)
{
	struct top_event event = {
		.type = type,
		.date = date,
		.area = participant->area,
		.pid = participant->pid,
	};

	memcpy(event.name, participant->name, sizeof(event.name));
	top_events_add(events, &event);
}

static enum top_event_type
type_of_fate(int fate)
{
	if (fate == 0)
		return TOP_WENT;
	return fate == -ECONNRESET ? TOP_DIED : TOP_GONE;
}

void
top_events_compare(
	struct top_events *events, const struct sample *before, const struct sample *after)
{
	for (size_t i = 0; i < after->n_fates; i++)
		add(events, type_of_fate(after->fates[i].fate), after->date,
			&after->fates[i].participant);
	for (size_t i = 0; i < after->n_participants; i++) {
		const struct sample_participant *now = &after->participants[i];
		const struct sample_participant *then = sample_find_participant(before, now->area);

		if (!then || then->generation != now->generation)
			add(events, TOP_CAME, after->date, now);
	}
}

const char *
top_event_word(enum top_event_type type)
{
	static const char *const words[TOP_EVENT_TYPES] = {
		[TOP_ATTACHED] = "attached",
		[TOP_JOINED] = "joined",
		[TOP_LEFT] = "left",
		[TOP_CAME] = "came",
		[TOP_WENT] = "left",
		[TOP_DIED] = "died",
		[TOP_GONE] = "gone",
		[TOP_LOST] = "lost",
		[TOP_SAID] = "said",
	};

	return words[type];
}

const char *
top_event_text(const struct top_event *event, char text[TOP_EVENT_TEXT_MAX])
{
	switch (event->type) {
	case TOP_ATTACHED:
		snprintf(text, TOP_EVENT_TEXT_MAX, "attached to %s", event->text);
		break;
	case TOP_JOINED:
		snprintf(text, TOP_EVENT_TEXT_MAX, "peer %u joined (%u vector%s)", event->peer,
			event->vectors, event->vectors == 1 ? "" : "s");
		break;
	case TOP_LEFT:
		snprintf(text, TOP_EVENT_TEXT_MAX, "peer %u left", event->peer);
		break;
	case TOP_CAME:
	case TOP_WENT:
	case TOP_DIED:
	case TOP_GONE:
		snprintf(text, TOP_EVENT_TEXT_MAX, "\"%s\" %s (area %u, pid %" PRIu32 ")%s",
			event->name, top_event_word(event->type), event->area, event->pid,
			event->type == TOP_GONE ? ": nobody knows how it ended" : "");
		break;
	case TOP_LOST:
		snprintf(text, TOP_EVENT_TEXT_MAX, "lost: %s", event->text);
		break;
	case TOP_SAID:
	case TOP_EVENT_TYPES:
		snprintf(text, TOP_EVENT_TEXT_MAX, "%s", event->text);
		break;
	}
	return text;
}
