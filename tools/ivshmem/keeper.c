/* SPDX-License-Identifier: BSD-2-Clause */
#include "json.h"
#include "output.h"
#include "participate.h"

#include <ivshmem/abi.h>
#include <ivshmem/client.h>

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* The library looks at everything once a second, if somebody asks it to. */
#define STEP_MS 500

#define AREAS 256

/* Who has an area, as we have told. Its generation is 0 if nobody has. */
struct keeper {
	const struct cli *cli;
	struct ivshmem_participant *participant;
	struct ivshmem_participant_info known[AREAS];
	bool seen[AREAS];
};

static unsigned vector;

static const struct argument keeper_options[] = {
	{"vector", "V", "be woken on our vector V (default: 0)", .letter = 'V', .number = &vector,
		.max = IVSHMEM_MAX_VECTORS - 1},
};

/* ---- telling ------------------------------------------------------------------------------ */

static void
tell_json(const struct ivshmem_participant_info *info, const char *event)
{
	struct json json = JSON_BEGIN;
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	json_object(&json, NULL);
	json_decimal(&json, "time", (double)now.tv_sec + (double)now.tv_nsec / 1e9, 6);
	json_string(&json, "event", event);
	json_number(&json, "area", info->area);
	json_string(&json, "name", info->name);
	json_number(&json, "pid", info->pid);
	if (info->has_peer) {
		json_number(&json, "peer", info->peer);
		json_number(&json, "vector", info->vector);
	} else {
		json_null(&json, "peer");
		json_null(&json, "vector");
	}
	json_finish(&json);
}

static void
tell(const struct keeper *keeper, const struct ivshmem_participant_info *info, const char *event)
{
	if (keeper->cli->json) {
		tell_json(info, event);
		return;
	}
	printf("area %u: \"", info->area);
	print_foreign_text(info->name, strlen(info->name));
	printf("\", pid %" PRIu32 ", ", info->pid);
	if (info->has_peer)
		printf("peer %u vector %u, ", info->peer, info->vector);
	print_line("%s", event);
}

/* ---- who is there ------------------------------------------------------------------------- */

static void
tell_end(struct keeper *keeper, struct ivshmem_participant_info *info)
{
	int fate = ivshmem_participant_fate(keeper->participant, info->area, info->generation);

	tell(keeper, info, fate == 0 ? "left" : fate == -ECONNRESET ? "died" : "gone");
	info->generation = 0;
}

static int
meet(void *data, const struct ivshmem_participant_info *info)
{
	struct keeper *keeper = data;
	struct ivshmem_participant_info *known = &keeper->known[info->area];

	if (info->ourselves)
		return 0;
	keeper->seen[info->area] = true;
	if (known->generation == info->generation)
		return 0;
	if (known->generation != 0)
		tell_end(keeper, known);
	*known = *info;
	tell(keeper, info, "came");
	return 0;
}

/* Who has come and who is gone since the last look. This is also where the library looks after all. */
static int
look(struct keeper *keeper)
{
	int r;

	memset(keeper->seen, 0, sizeof(keeper->seen));
	r = ivshmem_participants(keeper->participant, meet, keeper);
	if (r < 0)
		return r;
	for (unsigned area = 0; area < AREAS; area++)
		if (!keeper->seen[area] && keeper->known[area].generation != 0)
			tell_end(keeper, &keeper->known[area]);
	return ivshmem_participant_dispatch(keeper->participant);
}

/* Sleep until we are rung, or the server has something to tell. Without interrupts, nobody would take
 * that, and we look now and then. */
static void
rest(const struct keeper *keeper)
{
	const struct ivshmem_client *client = ivshmem_participant_client(keeper->participant);
	bool is_rung = ivshmem_has_id(client) && ivshmem_vectors(client) > 0;
	struct pollfd fd = {.fd = is_rung ? ivshmem_fd(client) : -1, .events = POLLIN};

	poll(&fd, 1, STEP_MS);
}

static enum status
keep(struct keeper *keeper)
{
	while (!participate_quit) {
		const char *lost;
		int r = look(keeper);

		if (r < 0)
			return participate_fail(r);
		if (output_failure() < 0)
			return STATUS_FAILURE;
		lost = participate_lost_server();
		if (lost)
			return fail("the server is lost, and nobody tells us any more which peers "
				    "have left: %s",
				lost);
		rest(keeper);
	}
	return STATUS_OK;
}

static enum status
keeper_run(const struct cli *cli, char *const *operands)
{
	struct keeper *keeper = calloc(1, sizeof(*keeper));
	enum status status;

	(void)operands;
	if (!keeper)
		return fail("out of memory");
	keeper->cli = cli;
	status = participate(cli, "ivshmem keeper", vector, &keeper->participant);
	if (status == STATUS_OK) {
		participate_take_signals();
		note(cli, "taking part in area %u", ivshmem_participant_area(keeper->participant));
		status = keep(keeper);
	}
	ivshmem_participant_close(keeper->participant);
	free(keeper);
	return status;
}

const struct command command_keeper = {
	.name = "keeper",
	.operands = "",
	.summary = "look after those who use channels, and tell who died",
	.description =
		"Takes part in the channels of the memory, without a channel of its own, and marks "
		"the areas of processes that have died, so that the others learn of it within a "
		"second, and their channels end. A guest cannot see by itself that a process on the "
		"host, or another guest, has died; it takes one process on the host that takes "
		"part. This is one, where there is no other.\n"
		"Prints a line for each process that takes part, has left or has died, until SIGINT "
		"or SIGTERM:\n"
		"  area 2: \"ivshmem recv\", pid 15755, peer 4 vector 0, came\n"
		"  area 2: \"ivshmem recv\", pid 15755, peer 4 vector 0, left\n"
		"  area 3: \"ivshmem send\", pid 15765, peer 5 vector 0, died\n"
		"Those that were there before us are told of as well. One whose area another one has "
		"taken before we looked is gone: nobody knows how it ended.\n"
		"The server tells which peers have left. If it is lost, the command ends, and is to "
		"be started again when there is another one.",
	CLI_OPTIONS(keeper_options),
	.json = "{\"time\":SECONDS,\"event\":\"came\"|\"left\"|\"died\"|\"gone\",\"area\":A,\n"
		" \"name\":NAME,\"pid\":PID,\"peer\":P,\"vector\":V}\n"
		"\"peer\" and \"vector\" are null without interrupts.",
	.statuses = "0 after SIGINT or SIGTERM; 1 also if the server was lost, the device was "
		    "unplugged, or somebody formatted the memory.",
	.examples = "ivshmem keeper\n"
		    "ivshmem --target /run/vm.sock --wait 60 keeper --json",
	.run = keeper_run,
};
