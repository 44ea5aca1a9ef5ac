/* SPDX-License-Identifier: BSD-2-Clause */
#include <error.h>
#include <log.h>

#include <test.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

TEST(error_set_returns_the_code_and_fills_in)
{
	struct error error = {0};

	CHECK_EQ(error_set(&error, -ENOENT, "cannot open '%s': %d", "x", 7), -ENOENT);
	CHECK_EQ(error.code, -ENOENT);
	CHECK_STR(error.message, "cannot open 'x': 7");
}

TEST(error_set_without_an_error)
{
	CHECK_EQ(error_set(NULL, -EPERM, "nobody reads %s", "this"), -EPERM);
}

TEST(error_set_cuts_off_what_is_too_long)
{
	struct error error;
	char text[2000];

	memset(text, 'x', sizeof(text));
	text[sizeof(text) - 1] = 0;
	CHECK_EQ(error_set(&error, -EINVAL, "%s", text), -EINVAL);
	CHECK_EQ(strlen(error.message), sizeof(error.message) - 1);
}

/* ---- log ------------------------------------------------------------------------------------ */

struct record {
	unsigned n;
	enum log_level level;
	char message[2048];
};

static void
record_write(void *data, enum log_level level, const char *message)
{
	struct record *record = data;

	record->n++;
	record->level = level;
	snprintf(record->message, sizeof(record->message), "%s", message);
	errno = ENOTTY;
}

TEST(log_passes_on_what_its_level_allows)
{
	struct record record = {0};
	struct log log = {.level = LOG_LEVEL_WARNING, .write = record_write, .data = &record};

	log_error(&log, "one %d", 1);
	CHECK_EQ(record.n, 1);
	CHECK_EQ(record.level, LOG_LEVEL_ERROR);
	CHECK_STR(record.message, "one 1");
	log_warning(&log, "two");
	CHECK_EQ(record.n, 2);
	CHECK_EQ(record.level, LOG_LEVEL_WARNING);
	log_info(&log, "three");
	log_debug(&log, "four");
	CHECK_EQ(record.n, 2);
	CHECK(log_enabled(&log, LOG_LEVEL_ERROR));
	CHECK(log_enabled(&log, LOG_LEVEL_WARNING));
	CHECK(!log_enabled(&log, LOG_LEVEL_INFO));
	log.level = LOG_LEVEL_DEBUG;
	log_debug(&log, "five");
	CHECK_STR(record.message, "five");
}

TEST(log_into_nothing)
{
	struct log silent = {.level = LOG_LEVEL_DEBUG};

	log_error(NULL, "unheard");
	log_error(&silent, "unheard");
	CHECK(!log_enabled(NULL, LOG_LEVEL_ERROR));
	CHECK(!log_enabled(&silent, LOG_LEVEL_ERROR));
}

TEST(log_preserves_errno)
{
	struct record record = {0};
	struct log log = {.level = LOG_LEVEL_DEBUG, .write = record_write, .data = &record};

	errno = EAGAIN;
	log_error(&log, "x");
	CHECK_EQ(errno, EAGAIN);
}

TEST(log_cuts_off_what_is_too_long)
{
	struct record record = {0};
	struct log log = {.level = LOG_LEVEL_DEBUG, .write = record_write, .data = &record};
	char text[4096];

	memset(text, 'x', sizeof(text));
	text[sizeof(text) - 1] = 0;
	log_error(&log, "%s", text);
	CHECK(strlen(record.message) > 500);
	CHECK(strspn(record.message, "x") == strlen(record.message));
}
