/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Theory of operation
 *
 * The document is read as it is printed. A table is read twice: for the widths of its columns, and to
 * print it. Its columns are the keys of its first row; what else other rows have is left out. The
 * document may be hostile: depth, columns and the length of each text are limited.
 */
#include "ctl/show.h"

#include "output.h"
#include "plot/json_in.h"

#include <base/parse.h>

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define COLUMNS_MAX 24
#define CELL_MAX    192
#define KEY_MAX     48
#define KEY_WIDTH   22
#define DEPTH_MAX   4

/* ---- one value ------------------------------------------------------------------------------- */

static bool
ends_with(const char *text, const char *end)
{
	size_t length = strlen(text), end_length = strlen(end);

	return length > end_length && strcmp(text + length - end_length, end) == 0;
}

static void
format_date(double seconds, char *text, size_t size)
{
	time_t moment = (time_t)seconds;
	struct tm local;

	if (seconds < 0 || seconds > 1e11 || !localtime_r(&moment, &local) ||
		strftime(text, size, "%Y-%m-%d %H:%M:%S", &local) == 0)
		snprintf(text, size, "?");
}

static void
format_number(const char *key, double number, char *text, size_t size)
{
	char exact[SIZE_TEXT_MAX];

	if (strcmp(key, "since") == 0 || ends_with(key, "_since"))
		format_date(number, text, size);
	else if (ends_with(key, "_seconds"))
		snprintf(text, size, "%g s", round(number * 10) / 10);
	else if (ends_with(key, "_bytes") && number >= 0 && number < 1e18)
		snprintf(text, size, "%s", format_size((uint64_t)number, exact));
	else
		snprintf(text, size, "%.17g", number);
}

/* A value that is no object and no array. */
static bool
take_cell(struct json_in *in, const char *key, char *text, size_t size)
{
	double number;

	if (json_in_number(in, &number)) {
		format_number(key, number, text, size);
		return true;
	}
	if (json_in_word(in, "null")) {
		snprintf(text, size, "-");
		return true;
	}
	if (json_in_word(in, "true") || json_in_word(in, "false")) {
		snprintf(text, size, "%s", in->at[-2] == 'u' ? "yes" : "no");
		return true;
	}
	if (!json_in_string(in, text, size))
		return false;
	if (!text[0])
		snprintf(text, size, "-");
	return true;
}

/* The key as people read it: its unit is with the value. */
static void
name_key(const char *key, char name[KEY_MAX])
{
	snprintf(name, KEY_MAX, "%s", key);
	if (ends_with(name, "_bytes"))
		name[strlen(name) - strlen("_bytes")] = '\0';
	else if (ends_with(name, "_seconds"))
		name[strlen(name) - strlen("_seconds")] = '\0';
	for (char *c = name; *c; c++)
		if (*c == '_')
			*c = ' ';
}

/* ---- tables ---------------------------------------------------------------------------------- */

struct table {
	char keys[COLUMNS_MAX][KEY_MAX];
	size_t widths[COLUMNS_MAX];
	unsigned n;
};

static unsigned
find_column(struct table *table, const char *key, bool may_add)
{
	unsigned i = 0;
	char name[KEY_MAX];

	while (i < table->n && strcmp(table->keys[i], key) != 0)
		i++;
	if (i < table->n || !may_add || i == COLUMNS_MAX)
		return i;
	snprintf(table->keys[i], KEY_MAX, "%s", key);
	name_key(key, name);
	table->widths[i] = strlen(name);
	table->n++;
	return i;
}

/* Letters, not bytes. */
static size_t
width_of(const char *text)
{
	size_t n = 0;

	for (; *text; text++)
		n += ((unsigned char)*text & 0xc0) != 0x80;
	return n;
}

static bool
take_row(struct json_in *in, struct table *table, bool may_add, char cells[][CELL_MAX])
{
	bool first = true;
	char key[KEY_MAX];
	int r;

	for (unsigned i = 0; i < COLUMNS_MAX; i++)
		strcpy(cells[i], "-");
	if (!json_in_take(in, '{'))
		return false;
	while ((r = json_in_key(in, &first, key, sizeof(key))) == 1) {
		unsigned column = find_column(table, key, may_add);
		char *cell = cells[column < table->n ? column : COLUMNS_MAX];

		if (!take_cell(in, key, cell, CELL_MAX) && !json_in_skip(in))
			return false;
		if (column < table->n && width_of(cell) > table->widths[column])
			table->widths[column] = width_of(cell);
	}
	return r == 0;
}

static void
print_cells(const struct table *table, int indent, char cells[][CELL_MAX])
{
	printf("%*s", indent, "");
	for (unsigned i = 0; i < table->n; i++) {
		bool last = i + 1 == table->n;

		printf("%s%*s", cells[i],
			last ? 0 : (int)(table->widths[i] - width_of(cells[i])) + 2, "");
	}
	putchar('\n');
}

/* After the '['. */
static bool
show_table(struct json_in *in, int indent)
{
	char cells[COLUMNS_MAX + 1][CELL_MAX];
	struct table table = {.n = 0};
	struct json_in again = *in;
	bool first = true;

	while (json_in_element(in, &first))
		if (!take_row(in, &table, table.n == 0, cells))
			return false;
	if (table.n == 0) {
		printf("%*snone\n", indent, "");
		return json_in_take(in, ']');
	}
	for (unsigned i = 0; i < table.n; i++)
		name_key(table.keys[i], cells[i]);
	print_cells(&table, indent, cells);
	for (first = true; json_in_element(&again, &first);) {
		take_row(&again, &table, false, cells);
		print_cells(&table, indent, cells);
	}
	return json_in_take(in, ']');
}

/* ---- objects --------------------------------------------------------------------------------- */

static void
print_field(const char *name, const char *cell, int indent)
{
	int length = indent + (int)strlen(name);

	printf("%*s%s:%*s %s\n", indent, "", name, KEY_WIDTH > length ? KEY_WIDTH - length : 0, "",
		cell);
}

/* What follows a key. Returns 1 if that begins an object, 0, or -EBADMSG. */
static int
show_value(struct json_in *in, const char *key, bool is_first, int indent)
{
	char cell[CELL_MAX], name[KEY_MAX];
	/* A table that is all of the answer needs no name. */
	bool alone = is_first && indent == 0;

	name_key(key, name);
	if (take_cell(in, key, cell, sizeof(cell))) {
		print_field(name, cell, indent);
		return 0;
	}
	if (json_in_take(in, '{')) {
		printf("%*s%s:\n", indent, "", name);
		return 1;
	}
	if (!json_in_take(in, '['))
		return -EBADMSG;
	if (!alone)
		printf("%*s%s:\n", indent, "", name);
	return show_table(in, alone ? 0 : indent + 2) ? 0 : -EBADMSG;
}

/* After the first '{', to its end. */
static bool
show_objects(struct json_in *in)
{
	bool first[DEPTH_MAX] = {true}, is_first = true;
	char key[KEY_MAX];
	unsigned depth = 0;
	int r;

	for (;; is_first = false) {
		r = json_in_key(in, &first[depth], key, sizeof(key));
		if (r == 0 && depth-- == 0)
			return true;
		if (r == 1)
			r = show_value(in, key, is_first, (int)depth * 2);
		if (r == 1 && ++depth < DEPTH_MAX)
			first[depth] = true;
		else if (r != 0)
			return false;
	}
}

bool
show(const char *text, size_t length)
{
	struct json_in in = json_in(text, length);
	bool good = json_in_take(&in, '{') && show_objects(&in);

	output_flush();
	return good;
}
