/* SPDX-License-Identifier: BSD-2-Clause */

/* How findings are printed. */

#include "finding.h"

#include "json.h"
#include "output.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char *const severity_names[SEVERITY_COUNT] = {
	[SEVERITY_OK] = "ok",
	[SEVERITY_NOTE] = "note",
	[SEVERITY_WARNING] = "warning",
	[SEVERITY_ERROR] = "error",
};

static const struct finding *
find(const char *id)
{
	for (size_t i = 0; i < n_findings; i++)
		if (strcmp(findings[i].id, id) == 0)
			return &findings[i];
	return NULL;
}

const char *
plural(uint64_t n)
{
	return n == 1 ? "" : "s";
}

/* Names of files and programs come from others, and a finding is one line. */
static void
flatten(char *text)
{
	for (; *text; text++)
		if (*text == '\n' || *text == '\t')
			*text = ' ';
}

void
mend(struct doctor *doctor, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(doctor->remedy, sizeof(doctor->remedy), format, args);
	va_end(args);
	flatten(doctor->remedy);
}

static void
print_json(const struct doctor *doctor, const struct finding *finding, const char *sentence)
{
	struct json json = JSON_BEGIN;

	json_object(&json, NULL);
	json_string(&json, "id", finding->id);
	json_string(&json, "severity", severity_names[finding->severity]);
	json_string(&json, "subject", doctor->subject);
	json_string(&json, "finding", sentence);
	if (finding->why)
		json_string(&json, "why", finding->why);
	else
		json_null(&json, "why");
	if (doctor->remedy[0])
		json_string(&json, "remedy", doctor->remedy);
	else
		json_null(&json, "remedy");
	json_finish(&json);
}

static void
print_text(const struct doctor *doctor, const struct finding *finding, const char *sentence)
{
	if (finding->severity == SEVERITY_OK && doctor->cli->quiet)
		return;
	printf("%-7s  %s\n         ", severity_names[finding->severity], finding->id);
	print_foreign_text(doctor->subject, strlen(doctor->subject));
	fputs(": ", stdout);
	print_foreign_text(sentence, strlen(sentence));
	putchar('\n');
	if (finding->why)
		printf("         why:  %s\n", finding->why);
	if (doctor->remedy[0]) {
		fputs("         mend: ", stdout);
		print_foreign_text(doctor->remedy, strlen(doctor->remedy));
		putchar('\n');
	}
	output_flush();
}

void
found(struct doctor *doctor, const char *id, const char *format, ...)
{
	const struct finding *finding = find(id);
	char sentence[2048];
	va_list args;

	va_start(args, format);
	vsnprintf(sentence, sizeof(sentence), format, args);
	va_end(args);
	flatten(sentence);
	/* A test compares the calls with the table. */
	if (finding) {
		doctor->counts[finding->severity]++;
		if (doctor->cli->json)
			print_json(doctor, finding, sentence);
		else
			print_text(doctor, finding, sentence);
	}
	doctor->remedy[0] = '\0';
}

void
findings_list(const struct doctor *doctor)
{
	for (size_t i = 0; i < n_findings; i++) {
		const struct finding *finding = &findings[i];
		struct json json = JSON_BEGIN;

		if (!doctor->cli->json) {
			print_line("%-7s  %-28s %s", severity_names[finding->severity], finding->id,
				finding->what);
			continue;
		}
		json_object(&json, NULL);
		json_string(&json, "id", finding->id);
		json_string(&json, "severity", severity_names[finding->severity]);
		json_string(&json, "what", finding->what);
		if (finding->why)
			json_string(&json, "why", finding->why);
		else
			json_null(&json, "why");
		json_finish(&json);
	}
}
