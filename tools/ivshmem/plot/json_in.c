/* SPDX-License-Identifier: BSD-2-Clause */
#include "plot/json_in.h"

#include <base/utf8.h>

#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX  16
#define NUMBER_MAX 40

static void
skip_blanks(struct json_in *in)
{
	while (in->at < in->end && (*in->at == ' ' || *in->at == '\t' || *in->at == '\r'))
		in->at++;
}

bool
json_in_take(struct json_in *in, char c)
{
	struct json_in next = *in;

	skip_blanks(&next);
	if (next.at == next.end || *next.at != c)
		return false;
	next.at++;
	*in = next;
	return true;
}

bool
json_in_is_over(struct json_in *in)
{
	skip_blanks(in);
	return in->at == in->end;
}

/* ---- strings -------------------------------------------------------------------------------- */

struct text {
	char *to;
	size_t size, length;
};

static void
put(struct text *text, const char *bytes, size_t n)
{
	/* What comes after something that had no room has none either. */
	if (text->length + n >= text->size) {
		text->size = text->length + 1;
		return;
	}
	memcpy(text->to + text->length, bytes, n);
	text->length += n;
}

static void
put_character(struct text *text, uint32_t c)
{
	char bytes[4];

	if (c < 0x20 || (c >= 0x7f && c < 0xa0) || (c >= 0xd800 && c < 0xe000) || c > 0xffff) {
		put(text, "?", 1);
	} else if (c < 0x80) {
		bytes[0] = (char)c;
		put(text, bytes, 1);
	} else if (c < 0x800) {
		bytes[0] = (char)(0xc0 | c >> 6);
		bytes[1] = (char)(0x80 | (c & 0x3f));
		put(text, bytes, 2);
	} else {
		bytes[0] = (char)(0xe0 | c >> 12);
		bytes[1] = (char)(0x80 | (c >> 6 & 0x3f));
		bytes[2] = (char)(0x80 | (c & 0x3f));
		put(text, bytes, 3);
	}
}

static bool
take_hex(struct json_in *in, uint32_t *ret_value)
{
	uint32_t value = 0;

	if (in->end - in->at < 4)
		return false;
	for (unsigned i = 0; i < 4; i++) {
		char c = *in->at++;

		if (c >= '0' && c <= '9')
			value = value << 4 | (uint32_t)(c - '0');
		else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
			value = value << 4 | (uint32_t)((c | 0x20) - 'a' + 10);
		else
			return false;
	}
	*ret_value = value;
	return true;
}

static bool
take_escape(struct json_in *in, struct text *text)
{
	uint32_t value;

	if (in->at == in->end)
		return false;
	switch (*in->at++) {
	case '"':
	case '\\':
	case '/':
		put(text, in->at - 1, 1);
		return true;
	case 'b':
	case 'f':
	case 'n':
	case 'r':
	case 't':
		put(text, " ", 1);
		return true;
	case 'u':
		if (!take_hex(in, &value))
			return false;
		put_character(text, value);
		return true;
	default:
		return false;
	}
}

static void
take_plain(struct json_in *in, struct text *text)
{
	const unsigned char *bytes = (const unsigned char *)in->at;
	size_t n = utf8_length(bytes, (size_t)(in->end - in->at));
	/* U+0080 to U+009F are control characters, too. */
	bool control =
		*bytes < 0x20 || *bytes == 0x7f || (n == 2 && bytes[0] == 0xc2 && bytes[1] < 0xa0);

	if (n == 0 || control)
		put(text, "?", 1);
	else
		put(text, in->at, n);
	in->at += n > 0 ? n : 1;
}

bool
json_in_string(struct json_in *in, char *to, size_t size)
{
	struct text text = {to, size, 0};
	struct json_in next = *in;

	if (!json_in_take(&next, '"'))
		return false;
	while (next.at < next.end && *next.at != '"') {
		if (*next.at != '\\') {
			take_plain(&next, &text);
			continue;
		}
		next.at++;
		if (!take_escape(&next, &text))
			return false;
	}
	if (!json_in_take(&next, '"'))
		return false;
	text.to[text.length] = 0;
	*in = next;
	return true;
}

/* ---- numbers -------------------------------------------------------------------------------- */

bool
json_in_number(struct json_in *in, double *ret_number)
{
	char text[NUMBER_MAX + 1];
	struct json_in next = *in;
	size_t n = 0;
	char *end;
	double number;

	skip_blanks(&next);
	/* strtod() takes words, blanks and hexadecimal numbers, too. */
	while (next.at < next.end && n < NUMBER_MAX && *next.at &&
		strchr("0123456789+-.eE", *next.at))
		text[n++] = *next.at++;
	text[n] = 0;
	if (n == 0 || n == NUMBER_MAX || text[0] == '+' || text[0] == '.')
		return false;
	number = strtod(text, &end);
	if (*end || !isfinite(number))
		return false;
	*in = next;
	*ret_number = number;
	return true;
}

bool
json_in_word(struct json_in *in, const char *word)
{
	size_t length = strlen(word);
	struct json_in next = *in;

	skip_blanks(&next);
	if ((size_t)(next.end - next.at) < length || memcmp(next.at, word, length) != 0)
		return false;
	next.at += length;
	*in = next;
	return true;
}

bool
json_in_optional(struct json_in *in, double *ret_number)
{
	if (!json_in_word(in, "null"))
		return json_in_number(in, ret_number);
	*ret_number = -1;
	return true;
}

/* ---- what contains others ------------------------------------------------------------------- */

int
json_in_key(struct json_in *in, bool *first, char *key, size_t size)
{
	if (json_in_take(in, '}'))
		return 0;
	if (!*first && !json_in_take(in, ','))
		return -EBADMSG;
	*first = false;
	return json_in_string(in, key, size) && json_in_take(in, ':') ? 1 : -EBADMSG;
}

bool
json_in_element(struct json_in *in, bool *first)
{
	struct json_in next = *in;

	if (json_in_take(&next, ']'))
		return false;
	if (!*first)
		return json_in_take(in, ',');
	*first = false;
	return true;
}

bool
json_in_skip(struct json_in *in)
{
	struct json_in next = *in;
	unsigned depth = 0;

	/* Brackets need not match: what is skipped is not used. */
	do {
		double number;
		char text[1];

		if (json_in_take(&next, '{') || json_in_take(&next, '[')) {
			if (++depth > DEPTH_MAX)
				return false;
		} else if (depth > 0 && (json_in_take(&next, '}') || json_in_take(&next, ']'))) {
			depth--;
		} else if (!(json_in_number(&next, &number) ||
				   json_in_string(&next, text, sizeof(text)) ||
				   json_in_word(&next, "null") || json_in_word(&next, "true") ||
				   json_in_word(&next, "false") ||
				   (depth > 0 && (json_in_take(&next, ',') ||
							 json_in_take(&next, ':'))))) {
			return false;
		}
	} while (depth > 0);
	*in = next;
	return true;
}
