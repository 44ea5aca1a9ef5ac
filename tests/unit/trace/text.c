/* SPDX-License-Identifier: BSD-2-Clause */
#include <trace/events.h>
#include <trace/text.h>

#include <ivshmem/channel.h>

#include <test.h>

#include <errno.h>
#include <string.h>

static const char *
text_of(uint32_t event, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
	static char buffer[TEXT_MAX];
	struct text text = {.buffer = buffer, .size = sizeof(buffer)};
	const struct trace_entry entry = {.what = event, .args = {a, b, c, d}};

	text_event(&text, &entry);
	CHECK_EQ(strlen(buffer), text.length);
	return buffer;
}

static uint64_t
word(const char *text)
{
	uint64_t value;

	memcpy(&value, text, sizeof(value));
	return value;
}

TEST(arguments_are_shown_as_what_they_are)
{
	CHECK_STR(text_of(TRACE_client_attached, UINT64_MAX, 3, 0x1000, 0),
		"client_attached id=-1 vectors=3 size=0x1000");
	CHECK_STR(text_of(TRACE_client_refused, (uint64_t)-ENOENT, 9, 9, 9),
		"client_refused error=ENOENT");
	CHECK_STR(text_of(TRACE_client_refused, 0, 0, 0, 0), "client_refused error=0");
	CHECK_STR(text_of(TRACE_client_refused, (uint64_t)-4000, 0, 0, 0),
		"client_refused error=-4000");
	CHECK_STR(text_of(TRACE_client_refused, (uint64_t)INT64_MIN, 0, 0, 0),
		"client_refused error=-9223372036854775808");
	CHECK_STR(text_of(TRACE_channel_listening, 1, IVSHMEM_QUEUE, word("frames\0\0"), 0),
		"channel_listening channel=1 kind=queue name=\"frames\"");
	CHECK_STR(text_of(TRACE_channel_listening, 1, 77, word("16 bytes"), word(" exactly")),
		"channel_listening channel=1 kind=77 name=\"16 bytes exactly\"");
	CHECK_STR(text_of(TRACE_server_left, UINT64_MAX, UINT64_MAX, 0, 0),
		"server_left peer=-1 pid=18446744073709551615");
}

TEST(names_cannot_move_the_cursor)
{
	CHECK_STR(text_of(TRACE_mark, word("\x1b[2J\x7f\xc2\x9b\n"), word("\"ok\0secr"), 0, 0),
		"mark text=\"?[2J????\"ok\" a=0 b=0");
}

TEST(an_event_of_another_version_is_shown_as_numbers)
{
	CHECK_STR(text_of(0x999, 1, 2, 3, 0xabc), "event_0x999 0x1 0x2 0x3 0xabc");
	CHECK_STR(text_of(0, 0, 0, 0, 0), "event_0x0 0x0 0x0 0x0 0x0");
}

TEST(kinds_have_the_names_of_the_library)
{
	for (uint64_t kind = 0; kind < IVSHMEM_CHANNEL_KINDS + 3; kind++) {
		const char *name = ivshmem_channel_kind_name((enum ivshmem_channel_kind)kind);

		if (strcmp(name, "unknown") == 0)
			CHECK(!trace_kind_name(kind));
		else
			CHECK_STR(trace_kind_name(kind), name);
	}
}

TEST(the_table_is_right)
{
	for (unsigned i = 0; i < trace_n_events; i++) {
		const struct trace_event *event = &trace_events[i];
		const char *longest;

		CHECK(trace_find_event(event->number) == event);
		for (unsigned k = 0; k < i; k++)
			CHECK(strcmp(event->name, trace_events[k].name) != 0);
		for (const char *at = event->arguments; (at = strchr(at, ':')); at++)
			CHECK(strchr("ixeks", at[1]) && (at[2] == ' ' || at[2] == 0));
		CHECK(event->what[0] >= 'a' && event->what[0] <= 'z');
		longest = text_of(event->number, UINT64_MAX - 1, UINT64_MAX - 1, UINT64_MAX - 1,
			UINT64_MAX - 1);
		CHECK(strlen(longest) + 64 < TEXT_MAX);
	}
}

/* Every word of the table has a word of the entry. */
TEST(all_arguments_have_room)
{
	for (unsigned i = 0; i < trace_n_events; i++) {
		const struct trace_entry none = {0};
		struct trace_argument argument = TRACE_NO_ARGUMENT;
		unsigned shown = 0, named = 1;

		for (const char *c = trace_events[i].arguments; *c; c++)
			named += *c == ' ';
		while (trace_next_argument(&none, &trace_events[i], &argument))
			shown++;
		CHECK_EQ(shown, named);
	}
}

TEST(what_has_no_room_is_cut)
{
	char small[8];
	struct text text = {.buffer = small, .size = sizeof(small)};

	text_puts(&text, "12345");
	text_number(&text, 678, 10, 1);
	CHECK_STR(small, "1234567");
	text_puts(&text, "x");
	CHECK_STR(small, "1234567");
}

TEST(a_time_is_between_its_moments)
{
	const struct trace_moment first = {1000, 500}, last = {3000, 1500};
	const struct trace_moment wild[] = {
		{0, 0}, {UINT64_MAX, UINT64_MAX}, {1, UINT64_MAX}, {UINT64_MAX, 1}, {7, 7}};
	const uint64_t ticks[] = {0, 1, 1000, UINT64_MAX / 2, UINT64_MAX};

	CHECK_EQ(trace_time(1000, &first, &last), 500);
	CHECK_EQ(trace_time(2000, &first, &last), 1000);
	CHECK_EQ(trace_time(3000, &first, &last), 1500);
	/* After the last moment of a core, and before the first one. */
	CHECK_EQ(trace_time(4000, &first, &last), 2000);
	CHECK_EQ(trace_time(10, &first, &last), 500);
	CHECK_EQ(trace_time(2000, &first, &first), 500);
	/* Whatever a process says, this ends, without an overflow. */
	for (unsigned i = 0; i < 5; i++)
		for (unsigned k = 0; k < 5; k++)
			for (unsigned t = 0; t < 5; t++)
				(void)trace_time(ticks[t], &wild[i], &wild[k]);
}
