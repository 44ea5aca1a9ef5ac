/* SPDX-License-Identifier: BSD-2-Clause */
#include "format.h"

#include "json.h"
#include "output.h"
#include "session.h"
#include "write.h"

#include <ivshmem/channel.h>

#include <errno.h>
#include <stdio.h>

static struct {
	unsigned areas;
	bool force;
} given;

static const struct argument format_options[] = {
	{"areas", "N",
		"cut the memory into N areas: so many processes can take part at a time "
		"(default: by the size of the memory, from 2 to 64)",
		.letter = 'n', .number = &given.areas, .min = 2, .max = 256},
	{"force", NULL, "do it also if processes take part, which lose their channels",
		.letter = 'f', .flag = &given.force},
};

struct users {
	unsigned n;
	struct ivshmem_participant_info first;
};

static int
count_user(void *data, const struct ivshmem_participant_info *info)
{
	struct users *users = data;

	if (users->n++ == 0)
		users->first = *info;
	return 0;
}

enum status
check_channels_unused(const struct session *session, const char *otherwise)
{
	struct users users = {.n = 0};

	ivshmem_channels_look(session->client, count_user, NULL, &users, NULL);
	if (users.n == 0)
		return STATUS_OK;
	return fail(
		"the memory is in use: %u process%s take%s part in its channels, such as '%s' with "
		"pid %u (see ivshmem channels); end %s, or %s",
		users.n, users.n == 1 ? "" : "es", users.n == 1 ? "s" : "", users.first.name,
		users.first.pid, users.n == 1 ? "it" : "them", otherwise);
}

static enum status
format_memory(const struct session *session)
{
	struct ivshmem_error error;
	struct json json = JSON_BEGIN;
	int areas;

	if (ivshmem_read_only(session->client))
		return fail_read_only(session, "format");
	if (!given.force && check_channels_unused(session, "format it with --force") != STATUS_OK)
		return STATUS_FAILURE;
	if (ivshmem_channels_format(ivshmem_memory(session->client), ivshmem_size(session->client),
		    given.areas, &error) < 0)
		return fail("%s", error.message);
	areas = ivshmem_channels_look(session->client, NULL, NULL, NULL, &error);
	if (areas < 0)
		return fail("%s", error.message);

	if (!session->cli->json) {
		print_line("%d areas", areas);
		return STATUS_OK;
	}
	json_object(&json, NULL);
	json_number(&json, "areas", (uint64_t)areas);
	json_finish(&json);
	return STATUS_OK;
}

static enum status
format_run(const struct cli *cli, char *const *operands)
{
	_session_free_ struct session *session = session_new();
	enum status status;

	(void)operands;
	if (!session)
		return STATUS_FAILURE;
	session->looks = true;
	status = session_open(session, cli, NULL, false, STATUS_OK);
	return status == STATUS_OK ? format_memory(session) : status;
}

const struct command command_format = {
	.name = "format",
	.operands = "",
	.summary = "make the memory ready for channels, anew",
	.description =
		"Cuts the memory into areas for channels, whatever was in it before, and prints how "
		"many there are. This is needed only for another number of areas than the default, "
		"or if there was something else in the memory: whoever takes part first in memory "
		"that is zero formats it.\n"
		"The command asks nothing. It refuses if processes take part in channels through "
		"this memory, unless --force is given: then their channels end with an error.",
	CLI_OPTIONS(format_options),
	.json = "{\"areas\":N}",
	.statuses =
		"1 also if somebody takes part, or if the memory is too small for so many areas.",
	.examples = "ivshmem format --areas 8\n"
		    "ivshmem --target shm:vm format --force",
	.run = format_run,
};
