/* SPDX-License-Identifier: BSD-2-Clause */
#include "output.h"
#include "top/collect.h"
#include "top/sample_json.h"
#include "top/screen.h"

#include <base/clock.h>

#include <errno.h>
#include <locale.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* What --once prints where there is no terminal. */
#define PAPER_WIDTH 120

#define SHORTEST (NSEC_PER_SEC / 10)
#define LONGEST  (3600 * NSEC_PER_SEC)

static struct {
	bool once;
	uint64_t interval;
} given;

static const struct argument top_options[] = {
	{"interval", "SECONDS",
		"look every SECONDS, from 0.1 to 3600 (default: 1); with --once, look twice, SECONDS apart, and tell of rates, too",
		.letter = 'i', .ns = &given.interval, .min = 1, .max = TIME_HOUR},
	{"once", NULL, "print one sample, as text or with --json, and end", .letter = '1',
		.flag = &given.once},
};

/* ---- once ----------------------------------------------------------------------------------- */

static enum status
out_of_memory(void)
{
	return fail("out of memory");
}

static unsigned
paper_width(void)
{
	struct winsize size;

	if (!isatty(STDOUT_FILENO) || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0 ||
		size.ws_col == 0)
		return PAPER_WIDTH;
	return size.ws_col < LINE_COLUMNS_MAX ? size.ws_col : LINE_COLUMNS_MAX;
}

static enum status
print_text(struct collector *collector)
{
	struct view_options options = {
		.width = paper_width(),
		.interval = (double)given.interval / NSEC_PER_SEC,
	};
	struct top_rows rows;
	struct view view;

	if (top_rows_make(&collector->sample, &collector->rates, &rows) < 0)
		return out_of_memory();
	if (view_make(&collector->sample, &rows, &collector->events, &options, &view) < 0) {
		top_rows_free(&rows);
		return out_of_memory();
	}
	for (unsigned i = 0; i < view.n; i++) {
		char *text = view.lines[i].line.text;
		size_t length = view.lines[i].line.length;

		while (length > 0 && text[length - 1] == ' ')
			text[--length] = 0;
		print_line("%s", text);
	}
	view_free(&view);
	top_rows_free(&rows);
	return STATUS_OK;
}

/* Sleep, and hear what the server says. False: a signal asks us to end, or the device is gone. */
static bool
rest(struct collector *collector, uint64_t deadline)
{
	unsigned wake;

	do
		wake = session_step(collector->session, -1, deadline);
	while (!(wake & (SESSION_TIMEOUT | SESSION_QUIT | SESSION_GONE)));
	return !(wake & (SESSION_QUIT | SESSION_GONE));
}

static enum status
show_once(struct collector *collector)
{
	if (collector_look(collector) < 0)
		return out_of_memory();
	if (given.interval > 0) {
		if (!rest(collector, clock_now() + given.interval))
			return session_check_attached(collector->session);
		if (collector_look(collector) < 0)
			return out_of_memory();
	}
	if (collector->sample.problem[0])
		return fail("%s", collector->sample.problem);
	if (!collector->session->cli->json)
		return print_text(collector);
	sample_json(&collector->sample, &collector->rates, given.interval > 0);
	return STATUS_OK;
}

/* ---- live ----------------------------------------------------------------------------------- */

struct live {
	struct collector *collector;
	struct view_options options;
	uint64_t interval;
	uint64_t next; /* when to look again */
	bool quit;
	int r; /* -ENOMEM */
};

static void
draw(struct live *live)
{
	struct collector *collector = live->collector;
	struct top_rows rows;
	struct view view;

	screen_size(&live->options.width, &live->options.height);
	live->options.interval = (double)live->interval / NSEC_PER_SEC;
	live->r = top_rows_make(&collector->sample, &collector->rates, &rows);
	if (live->r < 0)
		return;
	live->r = view_make(&collector->sample, &rows, &collector->events, &live->options, &view);
	if (live->r == 0) {
		live->options.first = view.first;
		screen_draw(&view);
		view_free(&view);
	}
	top_rows_free(&rows);
}

/* 0.1, 0.2, 0.5, 1, 2, 5, ... seconds. */
static uint64_t
next_interval(uint64_t interval, bool longer)
{
	static const uint64_t steps[] = {1, 2, 5, 10, 20, 50, 100, 200, 500, 600, 6000, 36000};
	const unsigned n = sizeof(steps) / sizeof(steps[0]);

	for (unsigned i = 0; i < n; i++) {
		uint64_t up = steps[i] * SHORTEST, down = steps[n - 1 - i] * SHORTEST;

		if (longer && up > interval)
			return up;
		if (!longer && down < interval)
			return down;
	}
	return interval;
}

static void
change_interval(struct live *live, bool longer)
{
	live->interval = next_interval(live->interval, longer);
	live->next = clock_now() + live->interval;
}

static void
scroll(struct live *live, int lines)
{
	if (lines < 0 && live->options.first < (unsigned)-lines)
		live->options.first = 0;
	else
		live->options.first += (unsigned)lines;
}

static void
sort(struct live *live, enum top_sort by)
{
	live->options.sort = by;
	live->options.first = 0;
}

static void
obey(struct live *live, int key)
{
	struct view_options *options = &live->options;

	if (options->help && key != SCREEN_RESIZED && key != 'q') {
		options->help = false;
		return;
	}
	switch (key) {
	case 'q':
		live->quit = true;
		break;
	case 'h':
	case '?':
		options->help = true;
		break;
	case 'p':
	case ' ':
		options->paused = !options->paused;
		live->next = clock_now();
		break;
	case '+':
	case '=':
	case '-':
		change_interval(live, key != '-');
		break;
	case 'r':
		sort(live, TOP_BY_RATE);
		break;
	case 'n':
		sort(live, TOP_BY_NAME);
		break;
	case 'u':
		sort(live, TOP_BY_UNREAD);
		break;
	case 'w':
		sort(live, TOP_BY_WAITS);
		break;
	case 'a':
		sort(live, TOP_BY_AREA);
		break;
	case 'i':
		options->all = !options->all;
		break;
	case SCREEN_UP:
	case SCREEN_DOWN:
		scroll(live, key == SCREEN_UP ? -1 : 1);
		break;
	case SCREEN_PAGE_UP:
	case SCREEN_PAGE_DOWN:
		scroll(live, key == SCREEN_PAGE_UP ? -10 : 10);
		break;
	case SCREEN_HOME:
		options->first = 0;
		break;
	default:
		break;
	}
}

/* Sleep until it is time to look, or something was typed or heard. */
static void
wait_and_obey(struct live *live)
{
	uint64_t deadline = live->options.paused ? SESSION_FOREVER : live->next;
	unsigned wake = session_step(live->collector->session, STDIN_FILENO, deadline);
	unsigned keys = 0;
	int key;

	/* Also without SESSION_INPUT: a change of the size is a key. */
	while ((key = screen_key()) != SCREEN_NOTHING) {
		obey(live, key);
		keys++;
	}
	if (wake & SESSION_QUIT || (wake & SESSION_INPUT && keys == 0 && !isatty(STDIN_FILENO)))
		live->quit = true;
}

static void
run_live(struct live *live)
{
	live->r = collector_look(live->collector);
	live->next = clock_now() + live->interval;
	while (!live->quit && live->r == 0) {
		draw(live);
		wait_and_obey(live);
		if (live->r < 0 || live->quit || live->options.paused || clock_now() < live->next)
			continue;
		live->r = collector_look(live->collector);
		live->next = clock_now() + live->interval;
	}
}

static enum status
show_live(struct collector *collector)
{
	struct live live = {.collector = collector, .interval = NSEC_PER_SEC};
	const char *refused;

	if (given.interval > 0)
		live.interval = given.interval;
	refused = screen_open();
	if (refused)
		return fail("%s", refused);
	run_live(&live);
	screen_close();
	return live.r < 0 ? out_of_memory() : STATUS_OK;
}

/* --------------------------------------------------------------------------------------------- */

/* What makes no sense, before anything is attached. */
static enum status
check_live(const struct cli *cli)
{
	if (cli->json) {
		fail("--json needs --once, which prints one sample; record writes one after the other");
		return STATUS_USAGE;
	}
	if (!screen_exists())
		return fail("%s", screen_open());
	if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))
		return fail(
			"the live view needs a terminal: use --once to print one sample, or record to write them to a file");
	return STATUS_OK;
}

static enum status
top_run(const struct cli *cli, char *const *operands)
{
	struct collector *collector;
	enum status status = given.once ? STATUS_OK : check_live(cli);

	(void)operands;
	if (status != STATUS_OK)
		return status;
	if (given.interval > 0 && (given.interval < SHORTEST || given.interval > LONGEST)) {
		fail("--interval is from 0.1 to 3600 seconds");
		return STATUS_USAGE;
	}
	/* Names may be more than ASCII. Numbers keep their point. */
	setlocale(LC_CTYPE, "");
	collector = collector_open(cli, !given.once, &status);
	if (!collector)
		return status;
	collector->rings = true;
	status = given.once ? show_once(collector) : show_live(collector);
	collector_free(collector);
	return status;
}

const struct command command_top = {
	.name = "top",
	.operands = "",
	.summary = "watch peers and channels, live",
	.description =
		"Shows, and goes on showing, who is in the group and what goes through channels: the "
		"peers, as whom they take part, and how many rings wait at which of their vectors; "
		"each direction of each channel, with the bytes that its receiver takes in a second, "
		"or the records or values that are published, how full its ring is, and for how long "
		"what lies there has been waiting; and who joined, left or died. Press h for the "
		"keys.\n"
		"The command only looks. If the server has a socket for observers, it takes no id "
		"and nobody is told of it. It takes no area, maps the memory for reading only, and "
		"takes no rings. If the server is lost, it says so, and attaches again when there is "
		"another one. Memory that vanishes is shown as such.\n"
		"Some things cannot be seen from outside: which process a peer is that does not take "
		"part in channels; since when a peer is there that was there before us; how many "
		"records go through queues and calls; and how often peers have rung each other, "
		"because nobody counts the rings that were taken. In a guest, the device does not "
		"tell who is connected. A process elsewhere, in a guest or in another pid namespace, "
		"is shown with its pid of there.\n"
		"With --once, prints a sample and ends. There are rates only with --interval, too.",
	CLI_OPTIONS(top_options),
	.json = SAMPLE_JSON_HELP,
	.statuses =
		"0 also after SIGINT and SIGTERM; 1 also if there is something else in the memory "
		"and --once was given.",
	.examples = "ivshmem top\n"
		    "ivshmem top --interval 0.2\n"
		    "ivshmem top --once --interval 1 --json",
	.run = top_run,
};
