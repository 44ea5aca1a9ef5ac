/* SPDX-License-Identifier: BSD-2-Clause */
#include "tell.h"

#include <stdio.h>
#include <string.h>

/* The most of a path that is worth showing. */
#define SHOWN 1000

void
tell_problem(const struct copy_options *options, struct copy_totals *totals, struct outbox *outbox,
	const char *sentence)
{
	struct tree_record record = {.type = TREE_PROBLEM};

	totals->problems++;
	if (options->problem) {
		options->problem(options->data, sentence);
		return;
	}
	snprintf(record.text, sizeof(record.text), "%s", sentence);
	outbox_add(outbox, &record);
}

void
tell_file_problem(const struct copy_options *options, struct copy_totals *totals,
	struct outbox *outbox, const char *what, const char *path, const char *why)
{
	size_t length = strlen(path);
	const char *shown = length > SHOWN ? path + length - SHOWN : path;
	const char *dots = length > SHOWN ? "..." : "";
	char sentence[2 * SHOWN];

	if (what)
		snprintf(sentence, sizeof(sentence), "%s '%s%s': %s", what, dots, shown, why);
	else
		snprintf(sentence, sizeof(sentence), "'%s%s' %s", dots, shown, why);
	tell_problem(options, totals, outbox, sentence);
}

void
tell_of_other_side(
	const struct copy_options *options, struct copy_totals *totals, const char *sentence)
{
	totals->problems++;
	if (options->problem)
		options->problem(options->data, sentence);
}
