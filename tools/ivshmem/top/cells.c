/* SPDX-License-Identifier: BSD-2-Clause */
#include "top/cells.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <wchar.h>

/* ---- lines ---------------------------------------------------------------------------------- */

/* The next character: how many bytes and columns it takes, and whether it can be shown as it is. */
struct character {
	size_t bytes;
	unsigned columns;
	bool shows;
};

static struct character
next_character(const char *text, mbstate_t *state)
{
	wchar_t wide;
	size_t n = mbrtowc(&wide, text, strlen(text), state);
	int columns;

	if (n == 0 || n > 4) {
		*state = (mbstate_t){0};
		return (struct character){1, 1, false};
	}
	columns = wcwidth(wide);
	if (columns <= 0)
		return (struct character){n, 1, false};
	return (struct character){n, (unsigned)columns, true};
}

static unsigned
columns_of(const char *text)
{
	mbstate_t state = {0};
	unsigned columns = 0;

	while (*text) {
		struct character character = next_character(text, &state);

		columns += character.columns;
		text += character.bytes;
	}
	return columns;
}

static void
add(struct line *line, const char *bytes, size_t n, unsigned columns)
{
	if (line->length + n >= sizeof(line->text))
		return;
	memcpy(line->text + line->length, bytes, n);
	line->length += n;
	line->text[line->length] = 0;
	line->columns += columns;
}

void
line_put(struct line *line, const char *text, unsigned columns)
{
	bool fits = columns_of(text) <= columns;
	unsigned left = columns;
	mbstate_t state = {0};

	if (columns == 0)
		return;
	while (*text) {
		struct character character = next_character(text, &state);

		if (character.columns > left || (!fits && character.columns >= left))
			break;
		if (character.shows)
			add(line, text, character.bytes, character.columns);
		else
			add(line, "?", 1, 1);
		left -= character.columns;
		text += character.bytes;
	}
	if (!fits)
		add(line, "~", 1, 1);
}

void
line_fill(struct line *line, unsigned column)
{
	while (line->columns < column && line->length + 1 < sizeof(line->text))
		add(line, " ", 1, 1);
}

void
line_put_right(struct line *line, const char *text, unsigned columns)
{
	unsigned needs = columns_of(text);

	if (needs < columns)
		line_fill(line, line->columns + columns - needs);
	line_put(line, text, needs < columns ? needs : columns);
}

/* ---- numbers -------------------------------------------------------------------------------- */

static const char *
nothing(char cell[CELL_MAX])
{
	snprintf(cell, CELL_MAX, "-");
	return cell;
}

/* With three digits or more, no fraction. */
static const char *
scaled(double value, double step, const char *const *units, unsigned n_units, char cell[CELL_MAX])
{
	unsigned unit = 0;

	for (; value >= step - 0.5 && unit + 1 < n_units; unit++)
		value /= step;
	snprintf(cell, CELL_MAX, "%.*f%s", value < 99.95 && unit > 0 ? 1 : 0, value, units[unit]);
	return cell;
}

const char *
cell_bytes(double bytes, char cell[CELL_MAX])
{
	static const char *const units[] = {"", " KiB", " MiB", " GiB", " TiB", " PiB", " EiB"};

	return bytes < 0 ? nothing(cell) : scaled(bytes, 1024, units, 7, cell);
}

const char *
cell_count(double count, char cell[CELL_MAX])
{
	static const char *const units[] = {"", " k", " M", " G", " T", " P", " E"};

	if (count < 0)
		return nothing(cell);
	if (count < 9999.5) {
		snprintf(cell, CELL_MAX, "%.0f", count);
		return cell;
	}
	return scaled(count, 1000, units, 7, cell);
}

const char *
cell_seconds(double seconds, char cell[CELL_MAX])
{
	if (seconds < 0)
		return nothing(cell);
	if (seconds < 59.95)
		snprintf(cell, CELL_MAX, "%.1f s", seconds);
	else if (seconds < 3570)
		snprintf(cell, CELL_MAX, "%.0f min", seconds / 60);
	else if (seconds < 86400)
		snprintf(cell, CELL_MAX, "%.1f h", seconds / 3600);
	else
		snprintf(cell, CELL_MAX, "%.0f d", seconds < 8e8 ? seconds / 86400 : 9999);
	return cell;
}

const char *
cell_percent(double part, char cell[CELL_MAX])
{
	if (part < 0)
		return nothing(cell);
	snprintf(cell, CELL_MAX, "%.0f%%", part > 1 ? 100 : part * 100);
	return cell;
}

const char *
cell_bar(double part, unsigned columns, char cell[CELL_MAX])
{
	unsigned full;

	if (columns >= CELL_MAX)
		columns = CELL_MAX - 1;
	if (part < 0)
		columns = 0;
	full = (unsigned)((part > 1 ? 1 : part < 0 ? 0 : part) * columns + 0.5);
	/* Something is not nothing. */
	if (part > 0 && full == 0 && columns > 0)
		full = 1;
	memset(cell, '#', full);
	memset(cell + full, '.', columns - full);
	cell[columns] = 0;
	return cell;
}

const char *
cell_date(double date, double now, char cell[CELL_MAX])
{
	time_t then = (time_t)date, today = (time_t)now;
	struct tm then_tm, now_tm;

	if (date <= 0 || !localtime_r(&then, &then_tm) || !localtime_r(&today, &now_tm))
		return nothing(cell);
	if (then_tm.tm_year == now_tm.tm_year && then_tm.tm_yday == now_tm.tm_yday)
		strftime(cell, CELL_MAX, "%H:%M:%S", &then_tm);
	else
		strftime(cell, CELL_MAX, "%Y-%m-%d", &then_tm);
	return cell;
}
