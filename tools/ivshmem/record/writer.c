/* SPDX-License-Identifier: BSD-2-Clause */
#include "record/writer.h"

#include "json.h"
#include "output.h"
#include "top/rows.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Longer lines are more than one write. */
#define BUFFER_SIZE (256 * 1024)

/* ---- the file ------------------------------------------------------------------------------- */

enum status
writer_open(struct writer *writer, const char *path)
{
	*writer = (struct writer){.buffer = malloc(BUFFER_SIZE)};
	if (!writer->buffer)
		return fail("out of memory");
	writer->file = strcmp(path, "-") == 0 ? stdout : fopen(path, "we");
	if (!writer->file) {
		free(writer->buffer);
		return fail("cannot write to '%s': %s", path, strerror(errno));
	}
	setvbuf(writer->file, writer->buffer, _IOFBF, BUFFER_SIZE);
	return STATUS_OK;
}

int
writer_failure(const struct writer *writer)
{
	return ferror(writer->file) ? errno ? -errno : -EIO : 0;
}

enum status
writer_close(struct writer *writer, const char *path)
{
	int r = 0;

	if (fflush(writer->file) == EOF || ferror(writer->file))
		r = errno ? errno : EIO;
	if (writer->file == stdout)
		/* It outlives the buffer. */
		setvbuf(stdout, NULL, _IOLBF, 0);
	else if (fclose(writer->file) == EOF && r == 0)
		r = errno;
	free(writer->buffer);
	return r == 0 ? STATUS_OK : fail("cannot write to '%s': %s", path, strerror(r));
}

/* ---- lines ---------------------------------------------------------------------------------- */

static struct json
begin_line(const struct writer *writer, double date)
{
	struct json json = {.out = writer->file};

	json_object(&json, NULL);
	json_decimal(&json, "t", date > writer->start ? date - writer->start : 0, 3);
	return json;
}

void
writer_begin(struct writer *writer, const struct sample *sample, double interval)
{
	struct json json = {.out = writer->file};

	writer->start = sample->date;
	json_object(&json, NULL);
	json_number(&json, "ivshmem_recording", RECORDING_VERSION);
	json_decimal(&json, "date", sample->date, 3);
	json_decimal(&json, "interval", interval, 3);
	json_string(&json, "target", sample->target);
	json_number(&json, "size", sample->size);
	json_finish(&json);
}

static void
write_event(struct writer *writer, const struct top_event *event)
{
	struct json json = begin_line(writer, event->date);
	char text[TOP_EVENT_TEXT_MAX];

	json_string(&json, "event", top_event_word(event->type));
	json_string(&json, "text", top_event_text(event, text));
	json_finish(&json);
}

void
writer_says(struct writer *writer, double date, const char *text)
{
	struct top_event event = {.type = TOP_SAID, .date = date};

	sample_copy_text(event.text, sizeof(event.text), text);
	write_event(writer, &event);
}

static void
write_events(struct writer *writer, const struct top_events *events)
{
	/* Those that came too quickly are gone. */
	if (events->n > TOP_EVENTS_MAX && writer->events < events->n - TOP_EVENTS_MAX)
		writer->events = events->n - TOP_EVENTS_MAX;
	for (; writer->events < events->n; writer->events++)
		write_event(writer, top_events_get(events, writer->events));
}

static void
name_participant(struct json *json, const char *key, const struct sample_participant *participant)
{
	if (participant)
		json_string(json, key, participant->name);
	else
		json_null(json, key);
}

static void
write_channel(struct writer *writer, double date, const struct top_row *row, uint64_t serial)
{
	const struct sample_channel *channel = row->channel;
	struct json json = begin_line(writer, date);

	json_number(&json, "channel", serial);
	json_string(&json, "name", channel->name);
	json_string(&json, "kind", ivshmem_channel_kind_name(channel->kind));
	name_participant(&json, "from", row->from);
	name_participant(&json, "to", row->to);
	json_number(&json, "area", channel->area);
	json_number(&json, "ring", channel->ring_size);
	json_finish(&json);
}

static void
optional(struct json *json, double value, int digits)
{
	if (value >= 0)
		json_decimal(json, NULL, value, digits);
	else
		json_null(json, NULL);
}

static void
write_numbers(struct json *json, const struct top_row *row, uint64_t serial)
{
	json_array(json, NULL);
	json_number(json, NULL, serial);
	optional(json, row->bytes, 0);
	optional(json, row->records, 1);
	json_number(json, NULL, row->unread);
	optional(json, row->fill, 3);
	optional(json, row->waits, 3);
	json_end(json);
}

/* What listens, and what carries nothing, is left out. */
static bool
is_recorded(const struct top_row *row)
{
	return !row->idle && (row->channel->has_peer || sample_is_publisher(row->channel));
}

static void
write_rows(struct writer *writer, struct collector *collector, const struct top_rows *rows)
{
	const struct sample *sample = &collector->sample;
	struct json json;

	for (size_t i = 0; i < rows->n; i++)
		if (is_recorded(&rows->rows[i]) && top_rates_is_news(&collector->rates, i))
			write_channel(writer, sample->date, &rows->rows[i],
				top_rates_serial(&collector->rates, i));
	json = begin_line(writer, sample->date);
	json_number(&json, "peers", sample->n_peers);
	json_number(&json, "participants", sample->n_participants);
	json_array(&json, "sample");
	for (size_t i = 0; i < rows->n; i++)
		if (is_recorded(&rows->rows[i]))
			write_numbers(
				&json, &rows->rows[i], top_rates_serial(&collector->rates, i));
	json_finish(&json);
}

int
writer_sample(struct writer *writer, struct collector *collector)
{
	const struct sample *sample = &collector->sample;
	struct top_rows rows;

	write_events(writer, &collector->events);
	if (sample->problem[0] && !writer->has_problem)
		writer_says(writer, sample->date, sample->problem);
	writer->has_problem = sample->problem[0] != 0;
	if (writer->has_problem)
		return 0;
	/* They are in the order of the channels, and stay so. */
	if (top_rows_make(sample, &collector->rates, &rows) < 0)
		return -ENOMEM;
	write_rows(writer, collector, &rows);
	top_rows_free(&rows);
	return 0;
}

void
writer_pings(struct writer *writer, double date, const char *name, const uint64_t *ns, size_t n)
{
	struct json json = begin_line(writer, date);

	json_string(&json, "ping", name);
	json_array(&json, "us");
	for (size_t i = 0; i < n; i++)
		json_decimal(&json, NULL, (double)ns[i] / 1000, 3);
	json_finish(&json);
}
