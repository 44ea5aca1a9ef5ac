/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef BASE_JSON_H
#define BASE_JSON_H

/*
 * Write JSON to a file, one document per line. This code writes the commas and escapes
 * the strings, and the caller closes what it opens. Inside an array, the key is NULL.
 *
 *	struct json json = {.out = file};
 *	json_object(&json, NULL);
 *	json_number(&json, "id", 3);
 *	json_end(&json);
 *	json_close(&json);
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define JSON_DEPTH_MAX 8

struct json {
	FILE *out;
	unsigned depth;
	char close[JSON_DEPTH_MAX];  /* '}' or ']' for each level that is open */
	bool filled[JSON_DEPTH_MAX]; /* that level has a value already */
};

void json_object(struct json *json, const char *key);
void json_array(struct json *json, const char *key);
void json_end(struct json *json);

void json_string(struct json *json, const char *key, const char *text);
/* Any bytes. A byte that is not UTF-8 becomes U+FFFD, so the document stays valid; control characters
 * are escaped, so it does nothing to a terminal. */
void json_text(struct json *json, const char *key, const char *text, size_t length);
void json_number(struct json *json, const char *key, uint64_t value);
void json_decimal(struct json *json, const char *key, double value, int digits);
void json_bool(struct json *json, const char *key, bool value);
void json_null(struct json *json, const char *key);

/* Write a string of hexadecimal digits piece by piece. */
void json_hex_begin(struct json *json, const char *key);
void json_hex(struct json *json, const void *bytes, size_t length);
void json_hex_end(struct json *json);

/* Close what is open, and end the line. The caller flushes it, and looks for errors. */
void json_close(struct json *json);

#endif
