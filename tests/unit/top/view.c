/* SPDX-License-Identifier: BSD-2-Clause */

/* What top shows, as lines of text. */

#include "scene.h"

#include <top/table.h>
#include <top/view.h>

#include <test.h>

#include <locale.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- cells ---------------------------------------------------------------------------------- */

TEST(numbers_are_short)
{
	char cell[CELL_MAX];

	CHECK_STR(cell_bytes(-1, cell), "-");
	CHECK_STR(cell_bytes(0, cell), "0");
	CHECK_STR(cell_bytes(1023, cell), "1023");
	CHECK_STR(cell_bytes(1024, cell), "1.0 KiB");
	CHECK_STR(cell_bytes(1024 * 1024 - 1, cell), "1.0 MiB");
	CHECK_STR(cell_bytes(999.9 * 1024, cell), "1000 KiB");
	CHECK_STR(cell_bytes(5.25 * 1024 * 1024 * 1024, cell), "5.2 GiB");
	CHECK_STR(cell_count(9999, cell), "9999");
	CHECK_STR(cell_count(12345, cell), "12.3 k");
	CHECK_STR(cell_count(-1, cell), "-");
	CHECK_STR(cell_seconds(0, cell), "0.0 s");
	CHECK_STR(cell_seconds(59.96, cell), "1 min");
	CHECK_STR(cell_seconds(7200, cell), "2.0 h");
	CHECK_STR(cell_seconds(86400 * 3, cell), "3 d");
	CHECK_STR(cell_percent(0.555, cell), "56%");
	CHECK_STR(cell_percent(7, cell), "100%");
	for (double value = 1; value < 1.9e19; value *= 1.37) {
		CHECK(strlen(cell_bytes(value, cell)) <= 8);
		CHECK(strlen(cell_count(value, cell)) <= 7);
		CHECK(strlen(cell_seconds(value, cell)) <= 6);
	}
}

TEST(bars)
{
	char cell[CELL_MAX];

	CHECK_STR(cell_bar(0.5, 10, cell), "#####.....");
	CHECK_STR(cell_bar(0, 4, cell), "....");
	CHECK_STR(cell_bar(0.001, 4, cell), "#...");
	CHECK_STR(cell_bar(1.5, 4, cell), "####");
	CHECK_STR(cell_bar(-1, 4, cell), "");
	CHECK_EQ(strlen(cell_bar(1, 1000, cell)), CELL_MAX - 1);
}

static const char *
put(const char *text, unsigned columns)
{
	static struct line line;

	line = (struct line){.length = 0};
	line_put(&line, text, columns);
	CHECK(line.columns <= columns);
	return line.text;
}

TEST(text_is_cut_to_its_columns)
{
	CHECK_STR(put("hello", 5), "hello");
	CHECK_STR(put("hello", 4), "hel~");
	CHECK_STR(put("hello", 1), "~");
	CHECK_STR(put("hello", 0), "");
	CHECK_STR(put("", 3), "");
	/* Nothing that a terminal would obey. */
	CHECK_STR(put("\x1b[31mred", 10), "?[31mred");
	CHECK_STR(put("a\nb\x7f", 10), "a?b?");
	CHECK_STR(put("\xff\xfe", 10), "??");
}

TEST(text_of_other_languages)
{
	if (!setlocale(LC_CTYPE, "C.UTF-8"))
		test_skip("there is no C.UTF-8");
	CHECK_STR(put("\xc3\xbc"
		      "ber",
			  4),
		"\xc3\xbc"
		"ber");
	CHECK_STR(put("\xc3\xbc"
		      "ber",
			  3),
		"\xc3\xbc"
		"b~");
	/* Characters of two columns. */
	CHECK_STR(put("\xe6\xbc\xa2\xe5\xad\x97", 4), "\xe6\xbc\xa2\xe5\xad\x97");
	CHECK_STR(put("\xe6\xbc\xa2\xe5\xad\x97", 3), "\xe6\xbc\xa2~");
	CHECK_STR(put("\xe6\xbc\xa2\xe5\xad\x97", 2), "~");
	/* What turns the direction of text, and what has no width. */
	CHECK_STR(put("a\xe2\x80\xae"
		      "b\xcc\x81",
			  9),
		"a?b?");
	CHECK_STR(put("\xc2\x9b"
		      "31m",
			  9),
		"?31m");
	CHECK_STR(put("cut \xe2\x82", 9), "cut ??");
}

/* ---- tables --------------------------------------------------------------------------------- */

TEST(columns_come_and_go_with_the_width)
{
	static const struct column columns[] = {
		{"NAME", 4, 10, 0}, {"MORE", 4, 4, 2}, {"N", 3, 3, 1, .right = true}};
	static const char *const cells[] = {"abcdefghi", "more", "12"};
	static const struct {
		unsigned width;
		const char *text;
	} wanted[] = {{1, "~"}, {4, "abc~"}, {8, "abc~  12"}, {9, "abcd~  12"},
		{13, "abc~ more  12"}, {14, "abcd~ more  12"}, {19, "abcdefghi  more  12"},
		{99, "abcdefghi  more  12"}};

	for (unsigned i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
		struct table table;
		struct line line;

		table_lay_out(&table, columns, 3, wanted[i].width);
		table_line(&table, cells, &line);
		CHECK_STR(line.text, wanted[i].text);
	}
}

/* ---- views ---------------------------------------------------------------------------------- */

struct shown {
	struct view view;
	char text[65536];
};

static void
show(struct shown *shown, const struct scene *scene, const struct top_rates *rates,
	const struct top_events *events, const struct view_options *options)
{
	static const struct top_events none;
	struct top_rows rows;

	CHECK_EQ(top_rows_make(&scene->sample, rates, &rows), 0);
	CHECK_EQ(view_make(&scene->sample, &rows, events ? events : &none, options, &shown->view),
		0);
	shown->text[0] = 0;
	for (unsigned i = 0; i < shown->view.n; i++) {
		const struct line *line = &shown->view.lines[i].line;

		CHECK(line->columns <= options->width);
		CHECK(strlen(shown->text) + line->length + 2 < sizeof(shown->text));
		strcat(strcat(shown->text, line->text), "\n");
	}
	if (options->height > 0)
		CHECK_EQ(shown->view.n, options->height);
	view_free(&shown->view);
	top_rows_free(&rows);
}

/* Two samples of a stream from area 0 to 1, and what is else there. */
static void
play(struct scene *scene, struct top_rates *rates, unsigned more)
{
	for (unsigned i = 0; i < 2; i++) {
		scene_begin(scene, i);
		scene_participant(scene, 0, "sender");
		scene_participant(scene, 1, "receiver")->here = false;
		scene->participants[1].process = (struct top_process){.known = false};
		scene->peers[0] = (struct sample_peer){.id = 10, .vectors = 2};
		scene->peers[1] = (struct sample_peer){.id = 77, .vectors = 3, .since = 1700000000};
		scene->sample.n_peers = 2;
		scene_stream(scene, 2048 * i + 950, 2048 * i);
		for (unsigned j = 0; j < more; j++) {
			struct sample_channel *channel =
				scene_channel(scene, 2, j, IVSHMEM_QUEUE, "listening");

			snprintf(channel->name, sizeof(channel->name), "other %02u", j);
		}
		CHECK_EQ(top_rates_add(rates, &scene->sample), 0);
	}
}

TEST(it_shows_who_and_what_and_how_much)
{
	static struct shown shown;
	static struct top_events events;
	struct top_rates rates = {.n = 0};
	struct view_options options = {.width = 120, .height = 30, .interval = 1};
	struct top_event death = {.type = TOP_DIED, .date = 1700000000, .name = "victim", .pid = 5};
	struct scene scene;

	play(&scene, &rates, 2);
	top_events_add(&events, &death);
	show(&shown, &scene, &rates, &events, &options);
	CHECK_HAS(shown.text, "unix:/run/group.sock");
	CHECK_HAS(shown.text,
		"2.0 KiB/s, 950 unread; 2 peers, 2 of 25 areas taken, 16 MiB, observing");
	/* A peer that takes part, one that does not, and one who is elsewhere. */
	CHECK_HAS(shown.text, "   10       2    0 sender");
	CHECK_HAS(shown.text, "   77       3    - -");
	CHECK_HAS(shown.text, "   11       -    1 receiver");
	CHECK_HAS(shown.text, "1001 elsewhere");
	CHECK_HAS(shown.text, "1000 ann");
	CHECK_HAS(shown.text, "0 sender");
	CHECK_HAS(shown.text, " 95% ");
	CHECK_HAS(shown.text, "(listening)");
	CHECK_HAS(shown.text, "\"victim\" died (area 0, pid 5)");
	/* Through the other direction nothing goes. */
	CHECK(!strstr(shown.text, "stream 1 receiver            0 sender"));
	options.all = true;
	show(&shown, &scene, &rates, &events, &options);
	CHECK_HAS(shown.text, "stream 1 receiver            0 sender");
	top_rates_free(&rates);
}

TEST(rings_are_those_of_each_vector)
{
	static const uint64_t rings[] = {3, 0, 0, UINT64_MAX, 5, UINT64_MAX, 7};
	static struct shown shown;
	static struct top_events events;
	struct top_rates rates = {.n = 0};
	struct view_options options = {.width = 120, .height = 30, .interval = 1};
	struct scene scene;

	play(&scene, &rates, 0);
	show(&shown, &scene, &rates, &events, &options);
	CHECK(!strstr(shown.text, "0:3"));
	scene.peers[0].rings = rings;
	scene.peers[1].rings = rings + 1;
	scene.peers[1].vectors = 2;
	show(&shown, &scene, &rates, &events, &options);
	CHECK_HAS(shown.text, " prog             0:3 ");
	CHECK_HAS(shown.text, " -                0 ");
	/* More than there is room for. */
	scene.peers[0].vectors = 7;
	show(&shown, &scene, &rates, &events, &options);
	CHECK_HAS(shown.text, " 0:3 3:1844674");
	top_rates_free(&rates);
}

TEST(it_fits_any_terminal)
{
	static struct shown shown;
	struct top_rates rates = {.n = 0};
	struct scene scene;

	play(&scene, &rates, 40);
	for (unsigned width = 1; width <= LINE_COLUMNS_MAX; width += width < 130 ? 1 : 50) {
		for (unsigned height = 1; height <= 70; height += 3) {
			struct view_options options = {
				.width = width, .height = height, .interval = 1};

			show(&shown, &scene, &rates, NULL, &options);
			options.help = true;
			show(&shown, &scene, &rates, NULL, &options);
		}
	}
	top_rates_free(&rates);
}

TEST(what_matters_stays_on_a_small_terminal)
{
	static struct shown shown;
	struct top_rates rates = {.n = 0};
	struct view_options options = {.width = 40, .height = 10, .interval = 1};
	struct scene scene;

	play(&scene, &rates, 40);
	show(&shown, &scene, &rates, NULL, &options);
	CHECK_HAS(shown.text, "work");
	CHECK_HAS(shown.text, "2.0 KiB");
	CHECK_HAS(shown.text, "... 3");
	CHECK_HAS(shown.text, "q quit");
	top_rates_free(&rates);
}

TEST(scrolling_ends_at_the_end)
{
	static struct shown shown;
	struct top_rates rates = {.n = 0};
	struct view_options options = {
		.width = 80, .height = 24, .sort = TOP_BY_NAME, .first = 5000};
	struct scene scene;

	play(&scene, &rates, 40);
	show(&shown, &scene, &rates, NULL, &options);
	CHECK_HAS(shown.text, "work");
	CHECK_HAS(shown.text, "other 39");
	CHECK(!strstr(shown.text, "other 00"));
	options.first = 0;
	show(&shown, &scene, &rates, NULL, &options);
	CHECK_HAS(shown.text, "other 00");
	CHECK(!strstr(shown.text, "other 39"));
	top_rates_free(&rates);
}

TEST(what_is_wrong_is_shown)
{
	static struct shown shown;
	struct top_rates rates = {.n = 0};
	struct view_options options = {.width = 80, .height = 24, .interval = 1, .paused = true};
	struct scene scene;

	scene_begin(&scene, 0);
	strcpy(scene.sample.problem, "the shared memory was truncated");
	strcpy(scene.sample.lost, "it closed the connection");
	show(&shown, &scene, &rates, NULL, &options);
	CHECK_HAS(shown.text, "truncated");
	CHECK_HAS(shown.text, "the server is lost: it closed the connection");
	CHECK_HAS(shown.text, "PAUSED at ");
}

static void
check_order(const char *text, const char *first, const char *second)
{
	const char *a = strstr(text, first), *b = strstr(text, second);

	CHECK(a && b && a < b);
}

TEST(orders)
{
	static struct shown shown;
	struct top_rates rates = {.n = 0};
	struct view_options options = {.width = 120, .height = 0};
	struct scene scene;

	play(&scene, &rates, 1);
	options.sort = TOP_BY_RATE;
	show(&shown, &scene, &rates, NULL, &options);
	check_order(shown.text, "work", "other 00");
	CHECK_HAS(shown.text, "BYTES/S*");
	options.sort = TOP_BY_NAME;
	show(&shown, &scene, &rates, NULL, &options);
	check_order(shown.text, "other 00", "work");
	options.sort = TOP_BY_UNREAD;
	show(&shown, &scene, &rates, NULL, &options);
	check_order(shown.text, "work", "other 00");
	options.sort = TOP_BY_AREA;
	show(&shown, &scene, &rates, NULL, &options);
	check_order(shown.text, "work", "other 00");
	top_rates_free(&rates);
}
