/* SPDX-License-Identifier: BSD-2-Clause */

/* JSON as it is written: commas, levels, and texts that come from others. */

#include <base/json.h>

#include <test.h>

#include <stdlib.h>
#include <string.h>

struct written {
	struct json json;
	char *text;
	size_t length;
};

static void
begin(struct written *written)
{
	*written = (struct written){.text = NULL};
	written->json.out = open_memstream(&written->text, &written->length);
	CHECK(written->json.out);
}

static void
check(struct written *written, const char *expected)
{
	json_close(&written->json);
	CHECK_EQ(fclose(written->json.out), 0);
	CHECK_STR(written->text, expected);
	CHECK_EQ(written->length, strlen(expected));
	free(written->text);
}

static void
check_text(const char *bytes, size_t length, const char *expected)
{
	struct written written;

	begin(&written);
	json_text(&written.json, NULL, bytes, length);
	check(&written, expected);
}

TEST(values_with_commas)
{
	struct written written;

	begin(&written);
	json_object(&written.json, NULL);
	json_number(&written.json, "most", UINT64_MAX);
	json_array(&written.json, "list");
	json_bool(&written.json, NULL, true);
	json_null(&written.json, NULL);
	json_object(&written.json, NULL);
	json_end(&written.json);
	json_end(&written.json);
	json_decimal(&written.json, "part", 0.25, 3);
	check(&written, "{\"most\":18446744073709551615,\"list\":[true,null,{}],\"part\":0.250}\n");
}

TEST(close_ends_all_levels)
{
	struct written written;

	begin(&written);
	json_array(&written.json, NULL);
	json_object(&written.json, NULL);
	json_array(&written.json, "a");
	check(&written, "[{\"a\":[]}]\n");
}

TEST(quotes_and_backslashes)
{
	check_text("a\"b\\c", 5, "\"a\\\"b\\\\c\"\n");
	check_text("\"}],", 4, "\"\\\"}],\"\n");
}

/* A program may have any name: none may move the cursor, or end the line. */
TEST(control_characters)
{
	check_text("\x1b[2J\r\n\t\x7f", 8, "\"\\u001b[2J\\u000d\\n\\u0009\\u007f\"\n");
	check_text("a\0b", 3, "\"a\\u0000b\"\n");
	/* U+009B is the same as ESC [. U+00A0 is a letter like others. */
	check_text("\xc2\x9b"
		   "31m\xc2\x80\xc2\xa0",
		9, "\"\\u009b31m\\u0080\xc2\xa0\"\n");
}

TEST(what_is_not_utf8)
{
	check_text("\xff\xc3(\xed\xa0\x80", 6, "\"\\ufffd\\ufffd(\\ufffd\\ufffd\\ufffd\"\n");
	/* The first byte of a letter, and the end. */
	check_text("\xc2", 1, "\"\\ufffd\"\n");
	check_text("\xc3\xa4\xe2\x82\xac", 5, "\"\xc3\xa4\xe2\x82\xac\"\n");
}
