/* SPDX-License-Identifier: BSD-2-Clause */
#include "json.h"
#include "output.h"
#include "session.h"

#include <base/parse.h>

#include <ivshmem/channel.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* A name in quotes, which anybody may have put into the memory. */
static void
print_name(const char *before, const char *name, const char *after)
{
	printf("%s\"", before);
	print_foreign_text(name, strlen(name));
	printf("\"%s", after);
}

static int
count_participant(void *data, const struct ivshmem_participant_info *info)
{
	unsigned *taken = data;

	(void)info;
	++*taken;
	return 0;
}

/* ---- text --------------------------------------------------------------------------------- */

static int
print_participant(void *data, const struct ivshmem_participant_info *info)
{
	(void)data;
	printf("area %u: ", info->area);
	print_name("", info->name, "");
	printf(", pid %" PRIu32 ", ", info->pid);
	if (info->has_peer)
		print_line("peer %u vector %u", info->peer, info->vector);
	else
		print_line("without interrupts");
	return 0;
}

static int
print_channel(void *data, const struct ivshmem_channel_info *info)
{
	char size[SIZE_TEXT_MAX];

	(void)data;
	printf("  channel %u: %s ", info->entry, ivshmem_channel_kind_name(info->kind));
	print_name("", info->name, ", ");
	fputs(info->phase, stdout);
	if (info->has_peer)
		printf(" with area %u channel %u", info->peer_area, info->peer_entry);
	if (info->ring_size > 0)
		printf(", ring %s", format_size(info->ring_size, size));
	if (info->has_peer)
		printf(", received %" PRIu64 " bytes", info->received);
	print_line("%s", "");
	return 0;
}

static enum status
show_text(const struct session *session, int areas, unsigned taken)
{
	if (areas == 0)
		print_line("no channels: nobody has formatted this memory yet");
	else
		print_line("%d areas, %u taken", areas, taken);
	ivshmem_channels_look(session->client, print_participant, print_channel, NULL, NULL);
	return STATUS_OK;
}

/* ---- JSON --------------------------------------------------------------------------------- */

struct listing {
	struct json json;
	bool open; /* the last participant's array of channels */
};

static void
close_participant(struct listing *listing)
{
	if (!listing->open)
		return;
	json_end(&listing->json);
	json_end(&listing->json);
	listing->open = false;
}

/* A number that may not be there. */
static void
json_optional(struct json *json, const char *key, bool there, uint64_t value)
{
	if (there)
		json_number(json, key, value);
	else
		json_null(json, key);
}

static int
list_participant(void *data, const struct ivshmem_participant_info *info)
{
	struct listing *listing = data;
	struct json *json = &listing->json;

	close_participant(listing);
	json_object(json, NULL);
	json_number(json, "area", info->area);
	json_string(json, "name", info->name);
	json_number(json, "pid", info->pid);
	json_optional(json, "peer", info->has_peer, info->peer);
	json_optional(json, "vector", info->has_peer, info->vector);
	json_array(json, "channels");
	listing->open = true;
	return 0;
}

static int
list_channel(void *data, const struct ivshmem_channel_info *info)
{
	struct listing *listing = data;
	struct json *json = &listing->json;

	json_object(json, NULL);
	json_number(json, "channel", info->entry);
	json_string(json, "name", info->name);
	json_string(json, "kind", ivshmem_channel_kind_name(info->kind));
	json_string(json, "phase", info->phase);
	json_optional(json, "peer_area", info->has_peer, info->peer_area);
	json_optional(json, "peer_channel", info->has_peer, info->peer_entry);
	json_number(json, "ring_size", info->ring_size);
	json_number(json, "received", info->received);
	json_end(json);
	return 0;
}

static enum status
show_json(const struct session *session, int areas)
{
	struct listing listing = {.json = JSON_BEGIN};

	json_object(&listing.json, NULL);
	json_number(&listing.json, "areas", (uint64_t)areas);
	json_array(&listing.json, "participants");
	ivshmem_channels_look(session->client, list_participant, list_channel, &listing, NULL);
	json_finish(&listing.json);
	return STATUS_OK;
}

/* ------------------------------------------------------------------------------------------- */

static enum status
channels_run(const struct cli *cli, char *const *operands)
{
	_session_free_ struct session *session = session_new();
	struct ivshmem_error error;
	unsigned taken = 0;
	enum status status;
	int areas;

	(void)operands;
	if (!session)
		return STATUS_FAILURE;
	session->looks = true;
	status = session_open(session, cli, NULL, false, STATUS_OK);
	if (status != STATUS_OK)
		return status;
	areas = ivshmem_channels_look(session->client, count_participant, NULL, &taken, &error);
	if (areas < 0)
		return fail("%s", error.message);
	return cli->json ? show_json(session, areas) : show_text(session, areas, taken);
}

const struct command command_channels = {
	.name = "channels",
	.operands = "",
	.summary = "who uses channels through the memory, and which",
	.description =
		"Prints into how many areas the memory is cut for channels, and a line for each "
		"process that has one and takes part: its name, its pid in its own machine, and "
		"which vector of which peer wakes it. Below it is a line for each of its channels: "
		"the kind, the name, whether it listens or is connected and with which channel of "
		"which area, the size of the ring that it sends through, and how far it has "
		"received.\n"
		"The command only looks. It takes no area and writes nothing, so it also works with "
		"memory for reading only, and with memory that nobody has formatted yet. It leaves "
		"out processes that are known to have died.",
	.json = "{\"areas\":N,\"participants\":[{\"area\":A,\"name\":NAME,\"pid\":PID,\n"
		" \"peer\":P,\"vector\":V,\"channels\":[{\"channel\":C,\"name\":NAME,\n"
		" \"kind\":\"stream\"|\"queue\"|\"call\"|\"state\"|\"topic\",\n"
		" \"phase\":\"listening\"|\"connecting\"|\"connected\"|\"ended\",\n"
		" \"peer_area\":A,\"peer_channel\":C,\"ring_size\":BYTES,\"received\":BYTES},\n"
		" ...]},...]}\n"
		"\"areas\" is 0 if nobody has formatted the memory yet. \"peer\" and \"vector\" are\n"
		"null without interrupts, \"peer_area\" and \"peer_channel\" without another end.",
	.statuses = "1 also if there is something else in the memory.",
	.examples = "ivshmem channels\n"
		    "ivshmem --target shm:vm,ro channels --json",
	.run = channels_run,
};
