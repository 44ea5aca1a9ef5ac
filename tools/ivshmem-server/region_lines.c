/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Theory of operation
 *
 * inih takes lines apart. It asks our reader for each line, so the reader knows the number of the line
 * that inih is at, and sees what inih would pass over in silence: a section without keys, bytes that are
 * no text, a line that it would cut. The reader also drops white space at the beginning of a line, which
 * inih takes for the continuation of the line before.
 *
 * inih goes on after a mistake. The first one is the one to report, so the reader then ends the text.
 */
#include <region_lines.h>

#include <base/error.h>

#include <errno.h>
#include <ini.h>
#include <stdbool.h>
#include <string.h>

#define SECTION "region"
#define BOM     "\xef\xbb\xbf"

struct lines {
	const char *text; /* what is not read yet */
	size_t left;
	unsigned line; /* of what was read last */
	bool in_section;
	region_line_fn fn;
	void *data;
	int error;
	struct ivshmem_error *reterr;
};

static bool
is_text(const char *line, size_t length)
{
	for (size_t i = 0; i < length; i++)
		if (((unsigned char)line[i] < ' ' && line[i] != '\t') || line[i] == 0x7f)
			return false;
	return true;
}

static int
check_section(struct lines *lines, const char *line, size_t length)
{
	const char *end = memchr(line, ']', length);
	size_t name = end ? (size_t)(end - line) - 1 : 0;

	if (!end)
		return error_set(
			lines->reterr, -EINVAL, "a section without ]: write [" SECTION "]");
	if (name != strlen(SECTION) || memcmp(line + 1, SECTION, name) != 0)
		return error_set(lines->reterr, -EINVAL,
			"unknown section [%.*s]: the only one is [" SECTION "]",
			(int)(name < 60 ? name : 60), line + 1);
	if (lines->in_section)
		return error_set(lines->reterr, -EINVAL,
			"a second [" SECTION "]: one file describes one region");
	lines->in_section = true;
	return 0;
}

static int
check_line(struct lines *lines, const char *line, size_t length, size_t room)
{
	if (!is_text(line, length))
		return error_set(lines->reterr, -EINVAL,
			"the line has a byte that is no text, such as NUL: is this an INI file?");
	if (length > room)
		return error_set(lines->reterr, -EINVAL,
			"the line has %zu bytes, which is too long: at most %zu", length, room);
	return length > 0 && line[0] == '[' ? check_section(lines, line, length) : 0;
}

/* ini_reader: the next line, as fgets() would give it. */
static char *
read_line(char *to, int size, void *data)
{
	struct lines *lines = data;
	const char *line = lines->text, *end;
	size_t length;

	if (lines->error < 0 || lines->left == 0)
		return NULL;
	end = memchr(line, '\n', lines->left);
	length = end ? (size_t)(end - line) : lines->left;
	lines->text += length + (end != NULL);
	lines->left -= length + (end != NULL);
	lines->line++;
	if (length > 0 && line[length - 1] == '\r')
		length--;
	for (; length > 0 && (*line == ' ' || *line == '\t'); length--)
		line++;
	/* With \n and \0. */
	lines->error = check_line(lines, line, length, (size_t)size - 2);
	if (lines->error < 0)
		return NULL;
	memcpy(to, line, length);
	memcpy(to + length, "\n", 2);
	return to;
}

/* ini_handler. */
static int
take(void *data, const char *section, const char *key, const char *value)
{
	struct lines *lines = data;

	(void)section;
	if (lines->error < 0)
		return 0;
	if (!lines->in_section)
		lines->error = error_set(lines->reterr, -EINVAL,
			"'%.60s' comes before the section: begin the file with [" SECTION "]", key);
	else
		lines->error = lines->fn(lines->data, lines->line, key, value, lines->reterr);
	return lines->error == 0;
}

int
region_lines(const char *text, size_t size, region_line_fn fn, void *data, unsigned *ret_line,
	struct ivshmem_error *reterr)
{
	struct lines lines = {.text = text, .left = size, .fn = fn, .data = data, .reterr = reterr};
	size_t bom = strlen(BOM);
	int line;

	if (size >= bom && memcmp(text, BOM, bom) == 0) {
		lines.text += bom;
		lines.left -= bom;
	}
	line = ini_parse_stream(read_line, &lines, take, &lines);
	*ret_line = lines.line;
	if (lines.error < 0)
		return lines.error;
	*ret_line = line > 0 ? (unsigned)line : 0;
	if (line > 0)
		return error_set(reterr, -EINVAL,
			"the line is neither KEY = VALUE nor [" SECTION "] nor a comment");
	if (line < 0)
		return error_set(reterr, -ENOMEM, "there is no memory to read it");
	if (!lines.in_section)
		return error_set(
			reterr, -EINVAL, "there is no section: begin the file with [" SECTION "]");
	return 0;
}
