/* SPDX-License-Identifier: BSD-2-Clause */
#include <base/clock.h>
#include <base/error.h>
#include <base/log.h>
#include <base/pace.h>

#include <ivshmem/common.h>

#include <test.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

TEST(error_set_returns_the_code_and_fills_in)
{
	struct ivshmem_error error = {0};

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
	struct ivshmem_error error;
	char text[2000];

	memset(text, 'x', sizeof(text));
	text[sizeof(text) - 1] = 0;
	CHECK_EQ(error_set(&error, -EINVAL, "%s", text), -EINVAL);
	CHECK_EQ(strlen(error.message), sizeof(error.message) - 1);
}

/* ---- log ------------------------------------------------------------------------------------ */

static struct {
	unsigned n;
	enum log_level level;
	char message[2048];
} record;

static void
record_write(void *data, enum log_level level, const char *message)
{
	CHECK(data == &record);
	record.n++;
	record.level = level;
	snprintf(record.message, sizeof(record.message), "%s", message);
	errno = ENOTTY;
}

static struct log journal = {.level = LOG_LEVEL_DEBUG, .write = record_write, .data = &record};

TEST(log_passes_on_what_its_level_allows)
{
	journal.level = LOG_LEVEL_WARNING;
	log_error(&journal, "one %d", 1);
	CHECK_EQ(record.n, 1);
	CHECK_EQ(record.level, LOG_LEVEL_ERROR);
	CHECK_STR(record.message, "one 1");
	log_warning(&journal, "two");
	CHECK_EQ(record.n, 2);
	CHECK_EQ(record.level, LOG_LEVEL_WARNING);
	log_info(&journal, "three");
	log_debug(&journal, "four");
	CHECK_EQ(record.n, 2);
	CHECK(log_enabled(&journal, LOG_LEVEL_ERROR));
	CHECK(log_enabled(&journal, LOG_LEVEL_WARNING));
	CHECK(!log_enabled(&journal, LOG_LEVEL_INFO));
	journal.level = LOG_LEVEL_DEBUG;
	log_debug(&journal, "five");
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
	errno = EAGAIN;
	log_error(&journal, "x");
	CHECK_EQ(errno, EAGAIN);
}

TEST(log_cuts_off_what_is_too_long)
{
	char text[4096];

	memset(text, 'x', sizeof(text));
	text[sizeof(text) - 1] = 0;
	log_error(&journal, "%s", text);
	CHECK(strlen(record.message) > 500);
	CHECK(strspn(record.message, "x") == strlen(record.message));
}

/* ---- pace ----------------------------------------------------------------------------------- */

TEST(pace_lets_few_lines_through_and_counts_the_others)
{
	struct pace pace = {.log = &journal, .level = LOG_LEVEL_WARNING};

	pace_printf(&pace, "line %d", 1);
	CHECK_STR(record.message, "line 1");
	CHECK_EQ(record.level, LOG_LEVEL_WARNING);
	for (int i = 2; i <= PACE_LINES; i++) {
		/* The while does not end before it is made to. */
		pace.since = clock_now();
		pace_printf(&pace, "line %d", i);
	}
	CHECK_EQ(record.n, PACE_LINES);
	CHECK_STR(record.message, "line 20 (for a while, no more of this is told)");
	for (int i = 0; i < 7; i++)
		pace_printf(&pace, "left out");
	CHECK_EQ(record.n, PACE_LINES);
	/* Time goes by. */
	pace.since -= PACE_WHILE + 1;
	pace_printf(&pace, "line %d", 28);
	CHECK_EQ(record.n, PACE_LINES + 2);
	CHECK_STR(record.message, "line 28");
}

TEST(pace_tells_at_the_end_how_many_were_left_out)
{
	struct pace pace = {.log = &journal, .level = LOG_LEVEL_INFO, .since = clock_now()};

	pace_end(&pace);
	CHECK_EQ(record.n, 0);
	for (int i = 0; i < PACE_LINES + 7; i++)
		pace_printf(&pace, "line");
	pace_end(&pace);
	CHECK_STR(record.message, "there were 7 more messages like the last ones");
	pace_end(&pace);
	CHECK_EQ(record.n, PACE_LINES + 1);
}

TEST(pace_makes_what_comes_from_others_harmless_and_preserves_errno)
{
	struct pace pace = {.log = &journal, .level = LOG_LEVEL_INFO, .since = clock_now()};
	struct pace quiet = {.log = &journal, .level = LOG_LEVEL_DEBUG};

	journal.level = LOG_LEVEL_INFO;
	errno = EDOM;
	pace_printf(&pace, "a\nb\033[1mc\177");
	CHECK_EQ(errno, EDOM);
	CHECK_STR(record.message, "a?b?[1mc?");
	for (int i = 0; i < 2 * PACE_LINES; i++)
		pace_printf(&quiet, "nobody wants to know");
	pace_end(&quiet);
	CHECK_EQ(record.n, 1);
}
