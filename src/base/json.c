/* SPDX-License-Identifier: BSD-2-Clause */
#include <base/json.h>

#include <base/utf8.h>

#include <string.h>

static void
string_write(FILE *file, const char *text, size_t length)
{
	const unsigned char *bytes = (const unsigned char *)text;

	putc('"', file);
	while (length > 0) {
		size_t n = utf8_length(bytes, length);

		if (n == 0) {
			fputs("\\ufffd", file);
			n = 1;
		} else if (*bytes == '"' || *bytes == '\\') {
			fprintf(file, "\\%c", *bytes);
		} else if (*bytes == '\n') {
			fputs("\\n", file);
		} else if (*bytes < 0x20 || *bytes == 0x7f) {
			fprintf(file, "\\u%04x", *bytes);
		} else if (*bytes == 0xc2 && bytes[1] < 0xa0) {
			/* U+0080 to U+009F are control characters, too. */
			fprintf(file, "\\u%04x", bytes[1]);
		} else {
			fwrite(bytes, 1, n, file);
		}
		bytes += n;
		length -= n;
	}
	putc('"', file);
}

/* Write the comma and the key in front of a value. */
static void
value_begin(struct json *json, const char *key)
{
	if (json->depth > 0) {
		if (json->filled[json->depth - 1])
			putc(',', json->out);
		json->filled[json->depth - 1] = true;
	}
	if (key) {
		string_write(json->out, key, strlen(key));
		putc(':', json->out);
	}
}

static void
level_begin(struct json *json, const char *key, char open, char close)
{
	value_begin(json, key);
	putc(open, json->out);
	if (json->depth < JSON_DEPTH_MAX) {
		json->close[json->depth] = close;
		json->filled[json->depth] = false;
		json->depth++;
	}
}

void
json_object(struct json *json, const char *key)
{
	level_begin(json, key, '{', '}');
}

void
json_array(struct json *json, const char *key)
{
	level_begin(json, key, '[', ']');
}

void
json_end(struct json *json)
{
	if (json->depth > 0)
		putc(json->close[--json->depth], json->out);
}

void
json_text(struct json *json, const char *key, const char *text, size_t length)
{
	value_begin(json, key);
	string_write(json->out, text, length);
}

void
json_string(struct json *json, const char *key, const char *text)
{
	json_text(json, key, text, strlen(text));
}

void
json_number(struct json *json, const char *key, uint64_t value)
{
	value_begin(json, key);
	fprintf(json->out, "%llu", (unsigned long long)value);
}

void
json_decimal(struct json *json, const char *key, double value, int digits)
{
	value_begin(json, key);
	fprintf(json->out, "%.*f", digits, value);
}

void
json_bool(struct json *json, const char *key, bool value)
{
	value_begin(json, key);
	fputs(value ? "true" : "false", json->out);
}

void
json_null(struct json *json, const char *key)
{
	value_begin(json, key);
	fputs("null", json->out);
}

void
json_hex_begin(struct json *json, const char *key)
{
	value_begin(json, key);
	putc('"', json->out);
}

void
json_hex(struct json *json, const void *bytes, size_t length)
{
	static const char digits[] = "0123456789abcdef";
	const unsigned char *byte = bytes;

	for (size_t i = 0; i < length; i++) {
		putc(digits[byte[i] >> 4], json->out);
		putc(digits[byte[i] & 0xf], json->out);
	}
}

void
json_hex_end(struct json *json)
{
	putc('"', json->out);
}

void
json_close(struct json *json)
{
	while (json->depth > 0)
		json_end(json);
	putc('\n', json->out);
}
