/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * JSON in the value of an option, to pairs: {"a":{"b":[1,true]}} is a.b.0 = 1, a.b.1 = on. It stops
 * where the text is no JSON, and keeps what it has.
 */

#include "vmm_options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH_MOST 8
#define KEY_MAX    256
#define STRING_MAX 4608 /* more than a path */

/* An object or an array that is open. */
struct level {
	bool is_object;
	unsigned i;        /* of the member */
	size_t key_length; /* of the key without that of the member */
};

struct json_reader {
	struct vmm_option *option;
	const char *p;
	struct level levels[DEPTH_MOST];
	unsigned depth;
	char key[KEY_MAX];
	size_t key_length;
	char string[STRING_MAX];
	size_t string_length;
};

/* What comes after a step. */
enum { VALUE_FOLLOWS, VALUE_ENDS, ALL_ENDS };

static void
skip_blanks(struct json_reader *reader)
{
	while (*reader->p == ' ' || *reader->p == '\t' || *reader->p == '\r' || *reader->p == '\n')
		reader->p++;
}

static bool
take(struct json_reader *reader, char c)
{
	skip_blanks(reader);
	if (*reader->p != c)
		return false;
	reader->p++;
	return true;
}

static void
put(struct json_reader *reader, unsigned c)
{
	if (reader->string_length < STRING_MAX - 1)
		reader->string[reader->string_length++] = (char)c;
}

/* \uXXXX, as UTF-8. Half of a pair is not worth more than a question mark. */
static int
read_unicode(struct json_reader *reader)
{
	unsigned code;
	char digits[5] = "";

	for (unsigned i = 0; i < 4; i++) {
		if (!reader->p[i] || !strchr("0123456789abcdefABCDEF", reader->p[i]))
			return -EINVAL;
		digits[i] = reader->p[i];
	}
	reader->p += 4;
	code = (unsigned)strtoul(digits, NULL, 16);
	if (code == 0 || (code >= 0xd800 && code <= 0xdfff))
		code = '?';
	if (code < 0x80) {
		put(reader, code);
	} else if (code < 0x800) {
		put(reader, 0xc0 | code >> 6);
		put(reader, 0x80 | (code & 0x3f));
	} else {
		put(reader, 0xe0 | code >> 12);
		put(reader, 0x80 | (code >> 6 & 0x3f));
		put(reader, 0x80 | (code & 0x3f));
	}
	return 0;
}

static int
read_escape(struct json_reader *reader)
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
	char c = *reader->p;
	const char *found = c ? strchr(from, c) : NULL;

	if (c == 'u') {
		reader->p++;
		return read_unicode(reader);
	}
	if (!found)
		return -EINVAL;
	put(reader, (unsigned char)to[found - from]);
	reader->p++;
	return 0;
}

/* Into reader->string. */
static int
read_string(struct json_reader *reader)
{
	reader->string_length = 0;
	if (!take(reader, '"'))
		return -EINVAL;
	while (*reader->p && *reader->p != '"') {
		if (*reader->p == '\\') {
			int r;

			reader->p++;
			r = read_escape(reader);
			if (r < 0)
				return r;
		} else {
			put(reader, (unsigned char)*reader->p++);
		}
	}
	reader->string[reader->string_length] = '\0';
	return take(reader, '"') ? 0 : -EINVAL;
}

static int
add(struct json_reader *reader, const char *value, size_t length)
{
	return vmm_option_add(reader->option, reader->key, reader->key_length, value, length);
}

/* Append a part to the key. */
static int
push_key(struct json_reader *reader, const char *part)
{
	size_t room = KEY_MAX - reader->key_length;
	int n = snprintf(reader->key + reader->key_length, room, "%s%s",
		reader->key_length > 0 ? "." : "", part);

	if (n < 0 || (size_t)n >= room)
		return -EINVAL;
	reader->key_length += (size_t)n;
	return 0;
}

static int
begin_member(struct json_reader *reader)
{
	struct level *level = &reader->levels[reader->depth - 1];
	char number[16];
	int r;

	reader->key_length = level->key_length;
	if (!level->is_object) {
		snprintf(number, sizeof(number), "%u", level->i++);
		r = push_key(reader, number);
		return r < 0 ? r : VALUE_FOLLOWS;
	}
	r = read_string(reader);
	if (r == 0)
		r = push_key(reader, reader->string);
	if (r == 0 && !take(reader, ':'))
		r = -EINVAL;
	return r < 0 ? r : VALUE_FOLLOWS;
}

static int
open_level(struct json_reader *reader, bool is_object)
{
	if (reader->depth == DEPTH_MOST)
		return -EINVAL;
	reader->levels[reader->depth++] =
		(struct level){.is_object = is_object, .key_length = reader->key_length};
	if (!take(reader, is_object ? '}' : ']'))
		return begin_member(reader);
	reader->depth--;
	return VALUE_ENDS;
}

static bool
is_plain(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '+' || c == '-' ||
	       c == '.' || c == 'E';
}

/* A number, or one of three words. */
static int
read_plain(struct json_reader *reader)
{
	const char *word = reader->p;
	size_t length = 0;

	while (is_plain(word[length]))
		length++;
	if (length == 0)
		return -EINVAL;
	reader->p += length;
	if (length == 4 && memcmp(word, "true", 4) == 0)
		return add(reader, "on", 2);
	if (length == 5 && memcmp(word, "false", 5) == 0)
		return add(reader, "off", 3);
	if (length == 4 && memcmp(word, "null", 4) == 0)
		return 0;
	return add(reader, word, length);
}

static int
begin_value(struct json_reader *reader)
{
	int r;

	if (take(reader, '{'))
		return open_level(reader, true);
	if (take(reader, '['))
		return open_level(reader, false);
	if (*reader->p == '"') {
		r = read_string(reader);
		if (r == 0)
			r = add(reader, reader->string, reader->string_length);
	} else {
		r = read_plain(reader);
	}
	return r < 0 ? r : VALUE_ENDS;
}

static int
end_value(struct json_reader *reader)
{
	const struct level *level;

	if (reader->depth == 0)
		return ALL_ENDS;
	level = &reader->levels[reader->depth - 1];
	if (take(reader, ','))
		return begin_member(reader);
	if (!take(reader, level->is_object ? '}' : ']'))
		return -EINVAL;
	reader->depth--;
	return VALUE_ENDS;
}

int
vmm_json_pairs(struct vmm_option *option, const char *text)
{
	struct json_reader reader = {.option = option, .p = text};
	int r;

	do {
		r = begin_value(&reader);
		while (r == VALUE_ENDS)
			r = end_value(&reader);
	} while (r == VALUE_FOLLOWS);
	return r == -ENOMEM ? r : 0;
}
