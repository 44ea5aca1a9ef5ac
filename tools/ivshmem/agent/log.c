/* SPDX-License-Identifier: BSD-2-Clause */
#include "log.h"

#include "json.h"
#include "output.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void
report(const struct job *job, const char *event, const char *why)
{
	struct json json = JSON_BEGIN;

	json_object(&json, NULL);
	json_string(&json, "event", event);
	json_number(&json, "job", job->number);
	json_string(&json, "who", job->who);
	if (job->service)
		json_string(&json, "service", job->service->name);
	json_string(&json, "what", job->what);
	if (why)
		json_string(&json, "error", why);
	if (strcmp(event, "begun") != 0 && (!why || job->failed))
		json_number(&json, "status", (uint64_t)job->status);
	json_finish(&json);
}

/* What a caller says may contain anything. */
#define CLEAN(text, buffer) foreign_text(text, strlen(text), buffer, sizeof(buffer))

void
log_begun(const struct job *job)
{
	char who[256], what[1024];

	if (job->cli->json)
		report(job, "begun", NULL);
	else
		note(job->cli, "job %" PRIu64 " of '%s': %s", job->number, CLEAN(job->who, who),
			CLEAN(job->what, what));
}

void
log_ended(const struct job *job, const char *why)
{
	if (job->cli->json)
		report(job, "ended", why);
	else if (why)
		note(job->cli, "job %" PRIu64 " ended: %s", job->number, why);
	else
		note(job->cli, "job %" PRIu64 " ended: exit status %d", job->number, job->status);
}

void
log_failed(const struct job *job, const char *why)
{
	const char *event = job->accepted ? "failed" : "refused";
	char who[256], what[1024], reason[2048];

	if (job->cli->json)
		report(job, event, why);
	else
		fail("job %" PRIu64 " of '%s' %s: %s: %s", job->number, CLEAN(job->who, who), event,
			CLEAN(job->what, what), CLEAN(why, reason));
}
