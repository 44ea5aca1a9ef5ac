/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli.h"
#include "json.h"
#include "output.h"
#include "plot/chart.h"
#include "plot/reader.h"

#include <ivshmem/common.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

static struct {
	const char *output, *title;
} given;

static const struct argument plot_options[] = {
	{"output", "FILE", "write the picture to FILE (default: stdout)", .letter = 'o',
		.text = &given.output, .min = 1},
	{"title", "TEXT", "what stands on top of it (default: the target)", .letter = 'T',
		.text = &given.title},
};

static enum status
write_picture(const struct data *data)
{
	FILE *file = given.output ? fopen(given.output, "we") : stdout;
	int r = 0;

	if (!file)
		return fail("cannot write to '%s': %s", given.output, strerror(errno));
	chart_draw(file, data, given.title);
	if (file == stdout)
		return STATUS_OK;
	if (fflush(file) == EOF || ferror(file))
		r = errno ? errno : EIO;
	if (fclose(file) == EOF && r == 0)
		r = errno;
	return r == 0 ? STATUS_OK : fail("cannot write to '%s': %s", given.output, strerror(r));
}

static enum status
plot(const struct cli *cli, const char *path, struct data *data)
{
	FILE *file = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
	struct ivshmem_error error;
	bool cut;
	int r;

	if (!file)
		return fail("cannot open '%s': %s", path, strerror(errno));
	r = recording_read(file, data, &cut, &error);
	if (file != stdin)
		fclose(file);
	if (r < 0)
		return fail("cannot plot '%s': %s", path, error.message);
	if (cut)
		note(cli, "the last line of '%s' is not complete, and is left out", path);
	return write_picture(data);
}

static enum status
plot_run(const struct cli *cli, char *const *operands)
{
	struct data *data;
	enum status status;

	if (cli->json) {
		fail("plot makes a picture, not JSON: FILE is JSON already");
		return STATUS_USAGE;
	}
	data = data_new();
	if (!data)
		return fail("out of memory");
	status = plot(cli, operands[0], data);
	data_free(data);
	return status;
}

const struct command command_plot = {
	.name = "plot",
	.operands = "FILE",
	.min_operands = 1,
	.max_operands = 1,
	.summary = "make a picture of what record has written",
	.description =
		"Reads FILE, or stdin if it is -, and makes an SVG picture of it: the rate of each "
		"channel over time, how full its ring was, and for how long something waited there; "
		"who joined, left and died; and the round trips of record --ping as a histogram, "
		"with the median, the 99th percentile and the longest.\n"
		"Channels with the same name, kind and ends are one line: of connections that come "
		"and go, it shows all together. The eight that carried most have a line of their "
		"own, and all others one. In a recording that is longer than the picture has room "
		"for, a line is the mean of several samples, and the pale area above it reaches up "
		"to the highest of them. The picture has colours for a light and for a dark "
		"background.\n"
		"A last line that is not complete, because record was killed, is left out. Anything "
		"else that makes no sense is an error, which names the line.",
	CLI_OPTIONS(plot_options),
	.json = "an error",
	.examples =
		"ivshmem plot night.ivr -o night.svg\n"
		"ivshmem record - --duration 10 | ivshmem plot - --title 'ten seconds' >ten.svg",
	.run = plot_run,
};
