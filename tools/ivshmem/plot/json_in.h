/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef PLOT_JSON_IN_H
#define PLOT_JSON_IN_H

/*
 * Reads JSON from somebody who is not trusted, piece by piece, without allocating. Each function goes past
 * what it reads and returns true, or goes nowhere and returns false, if something else is there.
 *
 *	struct json_in in = json_in(text, length);
 *	json_in_take(&in, '{');
 *	while (json_in_key(&in, &first, key, sizeof(key)) == 1)
 *		json_in_skip(&in);
 */

#include <stdbool.h>
#include <stddef.h>

struct json_in {
	const char *at, *end;
};

static inline struct json_in
json_in(const char *text, size_t length)
{
	return (struct json_in){text, text + length};
}

/* One of { } [ ] , : */
bool json_in_take(struct json_in *in, char c);

/* Whether nothing follows. */
bool json_in_is_over(struct json_in *in);

/* What does not fit into `text` is left out; what is not UTF-8 becomes '?', as do control characters. */
bool json_in_string(struct json_in *in, char *text, size_t size);

bool json_in_number(struct json_in *in, double *ret_number);

/* true, false or null. */
bool json_in_word(struct json_in *in, const char *word);

/* The same as a number, or null, which is -1. */
bool json_in_optional(struct json_in *in, double *ret_number);

/* Goes past the next key of an object and the colon behind it, and returns 1; or past the end of the object, and
 * returns 0; or -EBADMSG. `*first` is true before the first key. */
int json_in_key(struct json_in *in, bool *first, char *key, size_t size);

/* Whether another element of an array follows; goes past the comma before it. The ']' stays. */
bool json_in_element(struct json_in *in, bool *first);

/* Any value, which is not nested too deeply. */
bool json_in_skip(struct json_in *in);

#endif
