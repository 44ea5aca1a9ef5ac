/* SPDX-License-Identifier: BSD-2-Clause */
#include "event_print.h"
#include "output.h"

#include <base/clock.h>

#include <stdio.h>

static struct {
	bool no_reconnect, time;
	uint64_t interval;
} given = {.interval = NSEC_PER_SEC};

static const struct argument monitor_options[] = {
	{"no-reconnect", NULL,
		"when the server is lost, end with exit code 1 instead of attaching again",
		.flag = &given.no_reconnect},
	{"reconnect-interval", "SECONDS",
		"the shortest time between two attempts to attach (default: 1)",
		.ns = &given.interval, .min = 1, .max = TIME_YEAR},
	{"time", NULL, "put the time of day in front of each line; JSON always has it",
		.letter = 'T', .flag = &given.time},
};

static void
print_event(struct session *session, const struct event *event)
{
	event_print(session, event, false);
}

static void
print_event_with_time(struct session *session, const struct event *event)
{
	event_print(session, event, true);
}

static enum status
monitor_run(const struct cli *cli, char *const *operands)
{
	_session_free_ struct session *session = session_new();
	enum status status;

	(void)operands;
	if (!session)
		return STATUS_FAILURE;
	session->needs_peers = true;
	status = session_open(
		session, cli, given.time ? print_event_with_time : print_event, true, STATUS_OK);
	if (status != STATUS_OK)
		return status;
	session->reattach = !given.no_reconnect;
	session->reattach_interval = given.interval;

	for (;;) {
		unsigned wake = session_step(session, -1, SESSION_FOREVER);

		if (output_flush() < 0)
			return STATUS_FAILURE;
		if (wake & SESSION_QUIT)
			return STATUS_OK;
		if (wake & SESSION_GONE || (session->lost.code && given.no_reconnect))
			return STATUS_FAILURE;
	}
}

const struct command command_monitor = {
	.name = "monitor",
	.operands = "",
	.summary = "print what happens, as it happens",
	.description =
		"Prints one line for each event as soon as it happens, until SIGINT or SIGTERM:\n"
		"  attached as peer 0 (2 vectors, 4 MiB, unix:/tmp/ivshmem_socket)\n"
		"  peer 3 joined (1 vector)\n"
		"  peer 3 has 2 vectors\n"
		"  peer 3 left\n"
		"  interrupt vector 1 count 2\n"
		"  server lost: it closed the connection\n"
		"Peers that were there before us are reported as joined, too. The server announces "
		"the vectors of a peer one by one, so a peer may join with fewer than it has in the "
		"end. Rings that arrive between two looks are one event with their number.\n"
		"When the server is lost, the command attaches again, with a new id, as soon as a "
		"server is there. Until then, the old connections to other peers go on working. If "
		"a PCI device is unplugged, the command ends with exit code 1.",
	CLI_OPTIONS(monitor_options),
	.json = EVENT_JSON_HELP,
	.statuses =
		"0 after SIGINT or SIGTERM; 1 if the server was lost and --no-reconnect was given, or "
		"if the PCI device was unplugged.",
	.examples = "ivshmem monitor --time\n"
		    "ivshmem --target /run/vm.sock monitor --json --no-reconnect",
	.run = monitor_run,
};
