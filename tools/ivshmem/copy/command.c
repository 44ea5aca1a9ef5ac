/* SPDX-License-Identifier: BSD-2-Clause */

/* copy: files between here and where an agent is. */

#include "receiver.h"
#include "sender.h"

#include "agent/records.h"
#include "json.h"
#include "output.h"
#include "participate.h"
#include "progress.h"

#include <base/clock.h>

#include <ivshmem/abi.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OPERANDS_MAX   8000
#define RING           32768 /* files lie beside it */
#define AGENT          "agent"
#define PROBLEMS_SHOWN 1000

struct copying {
	const struct cli *cli;
	char agent[64]; /* the name under which it listens */
	bool into;      /* we send */
	const char **from;
	unsigned n_from;
	const char *to; /* both without the agent's name */

	struct ivshmem_channel *channel;
	struct sender *sender;
	struct receiver *receiver;
	struct progress progress;
	unsigned n_problems;
	uint64_t begin;
};

static struct {
	bool resume, owner, no_progress;
	uint64_t timeout;
	unsigned vector;
} given;

/* ---- operands ---------------------------------------------------------------------------------- */

/* As scp: what has a colon, and no slash before it, is somewhere else. Returns its path, or NULL. */
static const char *
remote_path(const char *operand)
{
	size_t length = strcspn(operand, ":/");

	return operand[length] == ':' ? operand + length + 1 : NULL;
}

static enum status
take_agent(struct copying *copying, const char *operand, bool first)
{
	size_t length = (size_t)(remote_path(operand) - operand - 1);
	const char *name = length > 0 ? operand : AGENT;

	length = length > 0 ? length : strlen(AGENT);
	if (length >= sizeof(copying->agent)) {
		fail("the name before ':' is too long: '%s'", operand);
		return STATUS_USAGE;
	}
	if (!first &&
		(strlen(copying->agent) != length || strncmp(copying->agent, name, length) != 0)) {
		fail("'%s' and what is before it are at different agents; copy them one after the "
		     "other",
			operand);
		return STATUS_USAGE;
	}
	snprintf(copying->agent, sizeof(copying->agent), "%.*s", (int)length, name);
	return STATUS_OK;
}

static enum status
take_operands(struct copying *copying, char *const *operands)
{
	enum status status = STATUS_OK;
	unsigned n = 2; /* which we have at least */

	while (operands[n])
		n++;
	copying->n_from = n - 1;
	copying->from = calloc(n, sizeof(*copying->from));
	if (!copying->from)
		return fail("out of memory");
	copying->to = remote_path(operands[n - 1]);
	copying->into = copying->to != NULL;
	if (copying->into)
		status = take_agent(copying, operands[n - 1], true);
	else
		copying->to = operands[n - 1];
	for (unsigned i = 0; i < n - 1 && status == STATUS_OK; i++) {
		const char *path = remote_path(operands[i]);

		copying->from[i] = path ? path : operands[i];
		if ((path != NULL) == copying->into) {
			fail(path ? "both '%s' and '%s' are at an agent; one side has to be here"
				  : "neither '%s' nor '%s' is at an agent: write NAME:PATH for what is there",
				operands[i], operands[n - 1]);
			status = STATUS_USAGE;
		} else if (path) {
			status = take_agent(copying, operands[i], i == 0);
		}
	}
	return status;
}

/* ---- the agent --------------------------------------------------------------------------------- */

static bool
shows_progress(const struct copying *copying)
{
	return copying->progress.what != NULL;
}

static enum status
connect_agent(struct copying *copying, struct ivshmem_participant *participant)
{
	const struct ivshmem_channel_options options = {
		.struct_size = sizeof(options), .ring_size = RING};
	struct ivshmem_error error;
	int r = ivshmem_connect(&copying->channel, participant, copying->agent, IVSHMEM_QUEUE,
		&options, (int)(given.timeout / NSEC_PER_MSEC), &error);

	if (r != -ENOENT)
		return r < 0 ? fail("%s", error.message) : STATUS_OK;
	fail("no agent listens under '%s': start one there with 'ivshmem agent --allow "
	     "copy-in,copy-out%s%s'",
		copying->agent, strcmp(copying->agent, AGENT) == 0 ? "" : " ",
		strcmp(copying->agent, AGENT) == 0 ? "" : copying->agent);
	return given.timeout > 0 ? STATUS_TIMEOUT : STATUS_FAILURE;
}

static enum status
send_request(const struct copying *copying)
{
	struct request_draft draft;
	int r;

	request_begin(&draft, copying->into ? "copy-in" : "copy-out");
	if (copying->into)
		request_add(&draft, "to", copying->to);
	for (unsigned i = 0; i < copying->n_from && !copying->into; i++)
		request_add(&draft, "from", copying->from[i]);
	if (copying->n_from > 1)
		request_add(&draft, "many", "yes");
	if (given.resume)
		request_add(&draft, "resume", "yes");
	if (given.owner)
		request_add(&draft, "owner", "yes");
	if (shows_progress(copying))
		request_add(&draft, "count", "yes");
	r = request_finish(&draft);
	if (r == 0)
		r = ivshmem_queue_send(copying->channel, draft.bytes, draft.length);
	free(draft.bytes);
	if (r == -EMSGSIZE)
		return fail("the paths are too long for one request; copy some after the others");
	return r < 0 ? channel_fail(copying->channel, copying->agent, r) : STATUS_OK;
}

static int
wait_for(const struct copying *copying, int events)
{
	int r = ivshmem_channel_wait(copying->channel, events, PARTICIPATE_STEP_MS);

	if (participate_quit)
		return -EINTR;
	return r < 0 && r != -ETIMEDOUT && r != -EINTR ? r : 0;
}

/* Whether the agent does what we ask for. */
static enum status
receive_answer(const struct copying *copying)
{
	static char buffer[RECORD_MAX];
	char sentence[2048];
	struct record record;
	int64_t n;
	int r = 0;

	while ((n = ivshmem_queue_receive(copying->channel, buffer, sizeof(buffer))) == -EAGAIN &&
		r == 0)
		r = wait_for(copying, IVSHMEM_READABLE);
	if (n >= 0)
		r = record_parse(&record, buffer, (size_t)n);
	else if (n != -EAGAIN)
		r = n == -EMSGSIZE ? -EPROTO : (int)n;
	if (r == 0 && record.type == RECORD_ACCEPTED)
		return STATUS_OK;
	if (r == 0 && record.type == RECORD_FAILED)
		return fail("%s",
			foreign_text(record.bytes, record.length, sentence, sizeof(sentence)));
	if (r == -EINTR)
		return fail("interrupted before anything was copied");
	return channel_fail(copying->channel, copying->agent, r == 0 ? -EPROTO : r);
}

/* ---- copying ----------------------------------------------------------------------------------- */

static void
on_problem(void *data, const char *sentence)
{
	struct copying *copying = data;
	char clean[4096];

	progress_end(&copying->progress);
	if (copying->n_problems < PROBLEMS_SHOWN)
		fail("%s", foreign_text(sentence, strlen(sentence), clean, sizeof(clean)));
	else if (copying->n_problems == PROBLEMS_SHOWN)
		fail("there are more problems, which are not shown");
	copying->n_problems++;
}

static enum status
begin_copying(struct copying *copying, const struct ivshmem_participant *participant)
{
	const struct copy_options options = {
		.resume = given.resume,
		.owner = given.owner,
		.count = shows_progress(copying),
		.many = copying->n_from > 1,
		.uncached = participate_uncached(participant),
		.problem = on_problem,
		.data = copying,
	};

	if (copying->into)
		copying->sender = sender_new(copying->channel, &options, copying->from);
	else
		copying->receiver = receiver_new(copying->channel, &options, copying->to);
	return copying->sender || copying->receiver ? STATUS_OK : fail("out of memory");
}

static const struct copy_totals *
totals_of(const struct copying *copying)
{
	return copying->sender ? sender_totals(copying->sender)
			       : receiver_totals(copying->receiver);
}

static int
run_turn(struct copying *copying)
{
	int r = copying->sender ? sender_run(copying->sender) : receiver_run(copying->receiver);
	int events;

	if (r == COPY_WAITS) {
		events = copying->sender ? sender_waits_for(copying->sender)
					 : receiver_waits_for(copying->receiver);
		/* A channel that has ended tells it with the next turn. */
		if (wait_for(copying, events) == -EINTR)
			return -EINTR;
	}
	return r == COPY_RUNS && participate_quit ? -EINTR : r;
}

static enum status
copy_all(struct copying *copying)
{
	int r;

	while ((r = run_turn(copying)) >= 0 && r != COPY_ENDED) {
		const struct copy_totals *totals = totals_of(copying);

		progress_show_part(&copying->progress, totals->bytes, totals->passed,
			totals->counted ? totals->bytes_expected : 0);
	}
	progress_end(&copying->progress);
	if (r == -EINTR)
		return fail("interrupted; the same command with --resume goes on");
	if (r == -EPIPE ||
		(r >= 0 && !totals_of(copying)->complete && totals_of(copying)->problems == 0))
		return fail(
			"the agent '%s' ended before everything was copied; the same command with "
			"--resume goes on",
			copying->agent);
	if (r < 0) {
		channel_fail(copying->channel, copying->agent, r);
		return fail("not everything was copied; the same command with --resume goes on");
	}
	return totals_of(copying)->complete && totals_of(copying)->problems == 0 ? STATUS_OK
										 : STATUS_FAILURE;
}

static void
report(const struct copying *copying)
{
	const struct copy_totals *totals = totals_of(copying);
	double seconds = (double)(clock_now() - copying->begin) / NSEC_PER_SEC;
	double rate = seconds > 0 ? (double)totals->bytes / seconds : 0;
	struct json json = JSON_BEGIN;
	char text[RATE_TEXT_MAX];

	if (shows_progress(copying))
		note(copying->cli, "%" PRIu64 " file%s, %.1f MiB, %.1f s, %s", totals->files,
			totals->files == 1 ? "" : "s", (double)totals->bytes / (1 << 20), seconds,
			rate_text(rate, text));
	if (!copying->cli->json)
		return;
	json_object(&json, NULL);
	json_number(&json, "files", totals->files);
	json_number(&json, "bytes", totals->bytes);
	json_decimal(&json, "seconds", seconds, 6);
	json_decimal(&json, "rate", rate, 0);
	json_number(&json, "problems", totals->problems);
	json_finish(&json);
}

static enum status
talk(struct copying *copying, struct ivshmem_participant *participant)
{
	enum status status = connect_agent(copying, participant);

	participate_take_signals();
	copying->begin = clock_now();
	if (status == STATUS_OK)
		status = send_request(copying);
	if (status == STATUS_OK)
		status = receive_answer(copying);
	if (status == STATUS_OK)
		status = begin_copying(copying, participant);
	if (status == STATUS_OK) {
		status = copy_all(copying);
		report(copying);
	}
	copying->sender = sender_free(copying->sender);
	copying->receiver = receiver_free(copying->receiver);
	return status;
}

static enum status
copy_run(const struct cli *cli, char *const *operands)
{
	struct ivshmem_participant *participant = NULL;
	struct copying copying = {.cli = cli};
	enum status status = take_operands(&copying, operands);

	if (status == STATUS_OK)
		status = participate(cli, "ivshmem copy", given.vector, &participant);
	if (status == STATUS_OK) {
		progress_begin(&copying.progress, cli, "copied");
		if (given.no_progress)
			copying.progress.what = NULL;
		status = talk(&copying, participant);
	}
	participate_no_more(cli, participant);
	free(copying.from);
	return status;
}

static const struct argument copy_options[] = {
	{"resume", NULL,
		"go on with a copy that was interrupted: what its part files have is kept if it is "
		"the beginning of the file, and a file that is there with the same size and time "
		"is left as it is",
		.flag = &given.resume},
	{"owner", NULL,
		"keep owners and groups, by their numbers, and set-user-ID bits; whoever writes "
		"the files must be root",
		.flag = &given.owner},
	{"no-progress", NULL, "show no progress, although stderr is a terminal",
		.flag = &given.no_progress},
	{"vector", "V", "be woken on our vector V (default: 0)", .letter = 'V',
		.number = &given.vector, .max = IVSHMEM_MAX_VECTORS - 1},
	{"timeout", "SECONDS", "wait for so long until an agent listens (default: do not wait)",
		.letter = 'w', .ns = &given.timeout, .max = TIME_DAY},
};

const struct command command_copy = {
	.name = "copy",
	.operands = "FROM... TO",
	.min_operands = 2,
	.max_operands = OPERANDS_MAX,
	.summary = "copy files to or from where ivshmem agent runs",
	.description =
		"Copies files, folders with all that is in them, and symbolic links. Either TO or all "
		"FROM are NAME:PATH, as with scp: a path where ivshmem agent listens under NAME, or "
		"under agent if NAME is empty. The other side is here; a path of ours that has a "
		"colon begins with ./ or /. At the agent, a relative path begins in the home of its "
		"user. The agent must allow copy-in (files to the agent) or copy-out.\n"
		"If TO is a folder, what is copied goes into it; else it gets this name. Several FROM "
		"need a folder. Of a FROM that ends in /. only the content is copied. A FROM that is "
		"a symbolic link is followed; links in folders stay links.\n"
		"Modes, times and holes are kept; hard links become files of their own, and extended "
		"attributes are lost. A file is written as .NAME.ivshmem-part, and gets its name when "
		"it is complete and its checksum is right, in place of a file or a link that had the "
		"name. The checksum finds errors, not forgers.\n"
		"A file that cannot be read or written, or that changes while it is read, is left out "
		"with a message, and the rest goes on.",
	CLI_OPTIONS(copy_options),
	.json = "{\"files\":N,\"bytes\":N,\"seconds\":S,\"rate\":BYTES_PER_SECOND,\"problems\":N}",
	.statuses = "1 also if something was left out; 3 if no agent listened in time.",
	.examples = "ivshmem copy disk.img :/tmp/\n"
		    "ivshmem copy agent:/var/log agent:/etc/fstab guest/\n"
		    "ivshmem copy --resume big.iso :",
	.run = copy_run,
};
