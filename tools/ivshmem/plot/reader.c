/* SPDX-License-Identifier: BSD-2-Clause */
#include "plot/reader.h"

#include "plot/json_in.h"

#include <base/error.h>

#include <ivshmem/common.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define VERSION 1

/* Times are less than this: 30 years. */
#define TIME_MOST 1e9
/* No rate is greater. */
#define RATE_MOST 1e15

/* What a line says. Arrays are read when all of the line is known. */
struct recording_line {
	bool has_version, has_time, has_channel, has_event, has_sample, has_ping;
	double version, time, channel;
	struct series series;
	struct event event;
	char ping[64];
	struct json_in sample, us;
};

static int
bad(struct ivshmem_error *reterr, unsigned long number, const char *what)
{
	return error_set(reterr, -EBADMSG, "line %lu: %s", number, what);
}

/* ---- the keys ------------------------------------------------------------------------------- */

static bool
take_text(struct json_in *in, char *text, size_t size)
{
	/* A name may be null. */
	return json_in_string(in, text, size) || json_in_skip(in);
}

static bool
take_array(struct json_in *in, bool *has, struct json_in *ret_array)
{
	*has = true;
	*ret_array = *in;
	return json_in_skip(in);
}

static bool
take_channel_key(struct json_in *in, const char *key, struct series *series)
{
	if (strcmp(key, "name") == 0)
		return take_text(in, series->name, sizeof(series->name));
	if (strcmp(key, "kind") == 0)
		return take_text(in, series->kind, sizeof(series->kind));
	if (strcmp(key, "from") == 0)
		return take_text(in, series->from, sizeof(series->from));
	if (strcmp(key, "to") == 0)
		return take_text(in, series->to, sizeof(series->to));
	return json_in_skip(in);
}

/* The value of a key. What is not known is left out. */
static bool
take_value(struct json_in *in, const char *key, struct recording_line *line, struct data *data)
{
	bool first = line->has_version;

	if (strcmp(key, "ivshmem_recording") == 0)
		return line->has_version = json_in_number(in, &line->version);
	if (first && strcmp(key, "date") == 0)
		return json_in_number(in, &data->date);
	if (first && strcmp(key, "interval") == 0)
		return json_in_number(in, &data->interval);
	if (first && strcmp(key, "size") == 0)
		return json_in_number(in, &data->size);
	if (first && strcmp(key, "target") == 0)
		return take_text(in, data->target, sizeof(data->target));
	if (strcmp(key, "t") == 0)
		return line->has_time = json_in_number(in, &line->time);
	if (strcmp(key, "channel") == 0)
		return line->has_channel = json_in_number(in, &line->channel);
	if (strcmp(key, "sample") == 0)
		return take_array(in, &line->has_sample, &line->sample);
	if (strcmp(key, "us") == 0)
		return take_array(in, &line->has_ping, &line->us);
	if (strcmp(key, "ping") == 0)
		return take_text(in, line->ping, sizeof(line->ping));
	if (strcmp(key, "event") == 0) {
		line->has_event = true;
		return json_in_string(in, line->event.word, sizeof(line->event.word));
	}
	if (strcmp(key, "text") == 0)
		return take_text(in, line->event.text, sizeof(line->event.text));
	return take_channel_key(in, key, &line->series);
}

static int
take_line(struct data *data, struct json_in in, struct recording_line *ret_line)
{
	struct recording_line line = {.has_time = false};
	bool first = true;
	char key[32];
	int r;

	if (!json_in_take(&in, '{'))
		return -EBADMSG;
	while ((r = json_in_key(&in, &first, key, sizeof(key))) == 1)
		if (!take_value(&in, key, &line, data))
			return -EBADMSG;
	if (r < 0 || !json_in_is_over(&in))
		return -EBADMSG;
	*ret_line = line;
	return 0;
}

/* ---- what a line means ---------------------------------------------------------------------- */

static int
take_header(struct data *data, unsigned long number, const struct recording_line *line,
	struct ivshmem_error *reterr)
{
	if (!line->has_version)
		return bad(reterr, number,
			"this is no recording: its first line would begin with {\"ivshmem_recording\":1");
	if (line->version != VERSION)
		return error_set(reterr, -EBADMSG,
			"line %lu: this is a recording of version %g, and this program knows version %d",
			number, line->version, VERSION);
	if (!(data->interval >= 0 && data->interval < TIME_MOST) ||
		!(data->date >= 0 && data->date < 1e11))
		return bad(reterr, number, "a time makes no sense");
	return 0;
}

static bool
is_number_of_channel(double number)
{
	return number >= 0 && number < 9e15 && number == (double)(uint64_t)number;
}

static int
take_channel(struct data *data, unsigned long number, const struct recording_line *line,
	struct ivshmem_error *reterr)
{
	int r;

	if (!is_number_of_channel(line->channel))
		return bad(reterr, number, "the number of a channel is not a whole number");
	r = data_add_channel(data, (uint64_t)line->channel, &line->series);
	if (r == -EEXIST)
		return bad(reterr, number, "there is a channel of this number already");
	if (r == -E2BIG)
		return bad(reterr, number, "there are more than a million channels");
	return r < 0 ? error_set(reterr, r, "out of memory") : 0;
}

/* [N, RATE, RECORDS, UNREAD, FILL, WAITS], and what may follow in other versions. */
static int
take_row(struct data *data, unsigned long number, struct json_in *in, struct ivshmem_error *reterr)
{
	double numbers[6] = {-1, -1, -1, -1, -1, -1};
	unsigned n = 0;
	bool first = true;

	if (!json_in_take(in, '['))
		return bad(reterr, number, "a sample is not an array of arrays");
	while (json_in_element(in, &first)) {
		double ignored;

		if (!json_in_optional(in, n < 6 ? &numbers[n] : &ignored))
			return bad(reterr, number, "something in a sample is not a number");
		n++;
	}
	if (n < 6 || !json_in_take(in, ']'))
		return bad(reterr, number, "a channel in a sample has six numbers");
	for (unsigned i = 1; i < 6; i++)
		if (numbers[i] > RATE_MOST)
			return bad(reterr, number, "a number in a sample is too large");
	if (!is_number_of_channel(numbers[0]) ||
		data_add_row(data, (uint64_t)numbers[0], numbers[1], numbers[2],
			numbers[4] > 1 ? 1 : numbers[4], numbers[5]) < 0)
		return bad(reterr, number, "a channel in a sample was not described before");
	return 0;
}

static int
take_sample(struct data *data, unsigned long number, const struct recording_line *line,
	struct ivshmem_error *reterr)
{
	struct json_in in = line->sample;
	bool first = true;
	int r = 0;

	if (data_begin_sample(data, line->time) < 0)
		return bad(reterr, number, "this sample is older than the one before it");
	if (!json_in_take(&in, '['))
		return bad(reterr, number, "a sample is not an array");
	while (r == 0 && json_in_element(&in, &first))
		r = take_row(data, number, &in, reterr);
	if (r == 0 && !json_in_take(&in, ']'))
		return bad(reterr, number, "a sample has no end");
	if (r == 0)
		data_end_sample(data, line->time);
	return r;
}

static int
take_pings(struct data *data, unsigned long number, const struct recording_line *line,
	struct ivshmem_error *reterr)
{
	struct json_in in = line->us;
	bool first = true;

	if (!json_in_take(&in, '['))
		return bad(reterr, number, "round trips are not an array");
	while (json_in_element(&in, &first)) {
		double us;

		if (!json_in_number(&in, &us) || us < 0 || us > RATE_MOST)
			return bad(reterr, number, "a round trip is not a number of microseconds");
		data_add_round_trip(data, us);
	}
	if (!json_in_take(&in, ']'))
		return bad(reterr, number, "round trips have no end");
	memcpy(data->ping, line->ping, sizeof(data->ping));
	if (line->time > data->end)
		data->end = line->time;
	return 0;
}

int
recording_read_line(struct data *data, unsigned long number, const char *text, size_t length,
	struct ivshmem_error *reterr)
{
	struct recording_line line = {.has_version = false};
	int r = take_line(data, json_in(text, length), &line);

	if (number == 1)
		return take_header(data, number, &line, reterr);
	if (r < 0)
		return bad(reterr, number, "this is not a JSON object as ivshmem record writes it");
	if (!line.has_time || !(line.time >= 0 && line.time < TIME_MOST))
		return bad(reterr, number, "there is no time \"t\", or it makes no sense");
	if (line.has_channel)
		return take_channel(data, number, &line, reterr);
	if (line.has_sample)
		return take_sample(data, number, &line, reterr);
	if (line.has_ping)
		return take_pings(data, number, &line, reterr);
	if (line.has_event) {
		line.event.time = line.time;
		data_add_event(data, &line.event);
	}
	/* Others may be those of versions to come. */
	return 0;
}

/* ---- lines ---------------------------------------------------------------------------------- */

/* Returns 1 for a line, 0 at the end, -EMSGSIZE, or an error of reading. `*ret_whole`: it ends with a newline. */
static int
next_line(FILE *file, char *buffer, size_t *ret_length, bool *ret_whole)
{
	size_t length = 0;
	int c;

	*ret_whole = false;
	while ((c = getc_unlocked(file)) != EOF && c != '\n') {
		if (length == LINE_MAX_BYTES)
			return -EMSGSIZE;
		buffer[length++] = (char)c;
	}
	if (c == EOF && ferror(file))
		return errno ? -errno : -EIO;
	*ret_whole = c == '\n';
	*ret_length = length;
	return length > 0 || c == '\n';
}

int
recording_read(FILE *file, struct data *data, bool *ret_cut, struct ivshmem_error *reterr)
{
	char *buffer = malloc(LINE_MAX_BYTES);
	unsigned long number = 0;
	size_t length = 0;
	bool whole;
	int r;

	if (!buffer)
		return error_set(reterr, -ENOMEM, "out of memory");
	*ret_cut = false;
	while ((r = next_line(file, buffer, &length, &whole)) == 1) {
		r = recording_read_line(data, ++number, buffer, length, reterr);
		if (r < 0 && !whole && number > 1) {
			*ret_cut = true;
			r = 0;
			break;
		}
		if (r < 0)
			break;
	}
	free(buffer);
	if (r == -EMSGSIZE)
		return bad(reterr, number + 1, "this line is longer than a mebibyte");
	if (r < 0 && r != -EBADMSG)
		return error_set(reterr, r, "cannot read it: %s", strerror(-r));
	if (r == 0 && number == 0)
		return error_set(reterr, -EBADMSG, "it is empty");
	return r;
}
