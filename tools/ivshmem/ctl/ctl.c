/* SPDX-License-Identifier: BSD-2-Clause */

/* ivshmem ctl: what operators ask services for. */

#include "cli.h"
#include "ctl/ask.h"
#include "ctl/place.h"
#include "ctl/show.h"
#include "ctl/vm.h"
#include "json.h"
#include "output.h"
#include "plot/json_in.h"

#include <ivshmem/common.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RUNTIME_DIR "/run/ivshmem"

static const char *runtime_dir = RUNTIME_DIR;

static const struct argument ctl_options[] = {
	{"runtime-dir", "DIR",
		"where the control sockets are that have names (default: " RUNTIME_DIR ")",
		.text = &runtime_dir, .min = 1},
};

/* Words that are requests, so they are no names of regions. */
static const char *const requests[] = {
	"status", "peers", "counters", "metrics", "disconnect", "drain", "reload"};

static bool
is_request(const char *word)
{
	for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++)
		if (strcmp(word, requests[i]) == 0)
			return true;
	return false;
}

/* ---- one service ----------------------------------------------------------------------------- */

static enum status
print_answer(const struct cli *cli, const char *answer, size_t length)
{
	/* Metrics are no JSON. */
	if (cli->json || answer[0] != '{') {
		print_foreign_text(answer, length);
		output_flush();
		return STATUS_OK;
	}
	return show(answer, length) ? STATUS_OK
				    : fail("the answer is not one that this program understands; "
					   "see it with --json");
}

static enum status
ask_one(const struct cli *cli, const char *path, const char *line)
{
	char *answer = NULL, *named = NULL, sentence[512];
	struct ivshmem_error error;
	enum status status;
	size_t length;

	if (ask(path, line, cli->connect_timeout_ms, &answer, &length, &error) < 0)
		return fail("%s", error.message);
	if (ask_is_refusal(answer, length, sentence, sizeof(sentence))) {
		free(answer);
		return fail("%s", sentence);
	}
	if (strcmp(line, "peers") == 0)
		named = vm_add_names(answer, length, &length);
	status = print_answer(cli, named ? named : answer, length);
	free(named);
	free(answer);
	return status;
}

/* ---- all services ---------------------------------------------------------------------------- */

/* What a list tells of each service. */
struct summary {
	char program[32];
	double pid, peers, memory;
	bool draining;
};

static bool
take_summary(const char *answer, size_t length, struct summary *summary)
{
	struct json_in in = json_in(answer, length);
	bool first = true, good = true;
	char key[32];
	int r = -EBADMSG;

	*summary = (struct summary){.pid = -1, .peers = -1, .memory = -1};
	if (!json_in_take(&in, '{'))
		return false;
	while (good && (r = json_in_key(&in, &first, key, sizeof(key))) == 1) {
		if (strcmp(key, "program") == 0) {
			good = json_in_string(&in, summary->program, sizeof(summary->program));
		} else if (strcmp(key, "pid") == 0) {
			good = json_in_optional(&in, &summary->pid);
		} else if (strcmp(key, "peers") == 0) {
			good = json_in_optional(&in, &summary->peers);
		} else if (strcmp(key, "memory_bytes") == 0) {
			good = json_in_optional(&in, &summary->memory);
		} else if (strcmp(key, "draining") == 0) {
			summary->draining = json_in_word(&in, "true");
			good = summary->draining || json_in_word(&in, "false");
		} else {
			good = json_in_skip(&in);
		}
	}
	return good && r == 0;
}

static void
put_optional(struct json *json, const char *key, double number)
{
	if (number >= 0 && number < 1e18)
		json_number(json, key, (uint64_t)number);
	else
		json_null(json, key);
}

static void
list_one(const struct cli *cli, const struct place *place, struct json *json)
{
	struct summary summary = {.pid = -1, .peers = -1, .memory = -1};
	struct ivshmem_error error;
	char *answer = NULL;
	const char *state = "serving";
	size_t length;

	if (ask(place->path, "status", cli->connect_timeout_ms, &answer, &length, &error) < 0)
		state = error.code == -ECONNREFUSED ? "ended"
			: error.code == -EACCES     ? "not allowed to ask"
						    : "does not answer";
	else if (!take_summary(answer, length, &summary))
		state = "answers something else";
	else if (summary.draining)
		state = "draining";
	free(answer);
	json_object(json, NULL);
	json_string(json, "name", place->name);
	json_string(json, "program", summary.program);
	put_optional(json, "pid", summary.pid);
	put_optional(json, "memory_bytes", summary.memory);
	put_optional(json, "peers", summary.peers);
	json_string(json, "state", state);
	json_string(json, "control_socket", place->path);
	json_end(json);
}

static enum status
list_all(const struct cli *cli)
{
	struct place *places = NULL;
	int n = places_list(runtime_dir, &places);
	char *text = NULL;
	struct json json = JSON_BEGIN;
	enum status status;
	size_t length;

	if (n < 0 && n != -ENOENT)
		return fail(
			"cannot look into %s: %s; name the directory of the control sockets with "
			"--runtime-dir, or a socket",
			runtime_dir, strerror(-n));
	json.out = open_memstream(&text, &length);
	if (!json.out) {
		free(places);
		return fail("out of memory");
	}
	json_object(&json, NULL);
	json_array(&json, "services");
	for (int i = 0; i < n; i++)
		list_one(cli, &places[i], &json);
	json_close(&json);
	fclose(json.out);
	status = print_answer(cli, text, length);
	if (n <= 0)
		note(cli,
			"no service has a control socket in %s; a socket elsewhere is named by its path",
			runtime_dir);
	free(text);
	free(places);
	return status;
}

/* ---------------------------------------------------------------------------------------------- */

/* The words of the request, with a blank between them. */
static void
join(char *const *words, char *line, size_t size)
{
	size_t n = 0;

	line[0] = '\0';
	for (; *words && n < size; words++)
		n += (size_t)snprintf(line + n, size - n, "%s%s", n == 0 ? "" : " ", *words);
}

static enum status
ctl_run(const struct cli *cli, char *const *operands)
{
	char path[PATH_MAX], line[300];
	const char *where = NULL;
	enum status status;

	if (!operands[0] && !cli->target)
		return list_all(cli);
	if (operands[0] && !is_request(operands[0]))
		where = *operands++;
	join(operands, line, sizeof(line));
	status = place_find(cli, runtime_dir, where, path);
	if (status != STATUS_OK)
		return status;
	return ask_one(cli, path, line[0] ? line : "status");
}

const struct command command_ctl = {
	.name = "ctl",
	.operands = "[NAME] [REQUEST]",
	.min_operands = 0,
	.max_operands = 4,
	.summary = "look at a server or a device, and tell it what to do",
	.description =
		"Asks the control socket of an ivshmem-server or an ivshmem-device, and takes no id. Only "
		"the user of the service and root may connect there. NAME is that of a region, whose "
		"socket is NAME.sock in " RUNTIME_DIR
		"; or, with a slash in it, the path of a server's "
		"socket or of a control socket. Without NAME, it is --target, or $IVSHMEM_TARGET, or the "
		"only control socket in " RUNTIME_DIR
		". Without any operand, the command lists the "
		"services that have control sockets there.\n"
		"The requests are:\n"
		" status           what it serves, since when, and its limits (the default)\n"
		" peers            each client: id, process, user, program, name of its VM,\n"
		"                  vectors, since when; how many messages it has not been told,\n"
		"                  for how long its socket is full, and how much it left unread\n"
		" counters         what has happened since the service began\n"
		" metrics          the same as OpenMetrics text\n"
		" disconnect ID    close the connection of a peer; pid:PID, of a process\n"
		" drain [on|off]   refuse newcomers, until drain off or a restart\n"
		" reload           what a server has to say to that: it has no files of its own\n"
		"A device knows status, peers (those whom its guest can ring), counters and metrics. It "
		"counts what passes through its process: not the rings and interrupts for which the VMM "
		"gave eventfds to KVM.\n"
		"The name of a VM is read here, from the command line of the process, if that may be "
		"read: -name of QEMU, or the file of --api-socket of Cloud Hypervisor.",
	CLI_OPTIONS(ctl_options),
	.json = "What the service answers (docs/protocol.md); peers also have \"vm\":NAME|null.\n"
		"The list: {\"services\":[{\"name\":NAME,\"program\":P,\"pid\":PID,\n"
		" \"memory_bytes\":N,\"peers\":N,\"state\":S,\"control_socket\":PATH},...]}",
	.statuses = "1 also if the service refuses the request.",
	.examples = "ivshmem ctl\n"
		    "ivshmem ctl demo peers\n"
		    "ivshmem ctl /tmp/demo.sock disconnect 3\n"
		    "ivshmem ctl demo metrics > /var/lib/node_exporter/ivshmem-demo.prom",
	.run = ctl_run,
};
