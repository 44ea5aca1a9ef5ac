/* SPDX-License-Identifier: BSD-2-Clause */
#include "json.h"
#include "output.h"
#include "rates.h"
#include "session.h"

#include <base/clock.h>
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

/* ---- two looks ---------------------------------------------------------------------------- */

static uint64_t interval;

static const struct argument channels_options[] = {
	{"interval", "SECONDS",
		"look twice, SECONDS apart, and show how much came through each channel in a second",
		.letter = 'i', .ns = &interval, .min = 1, .max = TIME_YEAR},
};

static int
meet_participant(void *data, const struct ivshmem_participant_info *info)
{
	rates_participant(data, info);
	return 0;
}

static int
remember_channel(void *data, const struct ivshmem_channel_info *info)
{
	return rates_remember(data, info);
}

/* The first look, and the time until the second one. */
static enum status
look_before(struct session *session, struct rates *rates)
{
	struct ivshmem_error error = {.message = "out of memory"};
	uint64_t deadline = clock_now() + interval;
	unsigned wake;

	if (ivshmem_channels_look(
		    session->client, meet_participant, remember_channel, rates, &error) < 0)
		return fail("%s", error.message);
	do
		wake = session_step(session, -1, deadline);
	while (!(wake & (SESSION_TIMEOUT | SESSION_GONE)));
	return session_check_attached(session);
}

/* What the callbacks of the last look get. */
struct showing {
	struct rates *rates; /* NULL: it is the only look */
	struct json json;
	bool open; /* the last participant's array of channels */
};

static bool
is_published(const struct ivshmem_channel_info *info)
{
	return info->kind == IVSHMEM_TOPIC || info->kind == IVSHMEM_STATE;
}

/* One who publishes, and counts its records or values. */
static bool
is_publisher(const struct ivshmem_channel_info *info)
{
	return is_published(info) && !info->has_peer;
}

/* An end that receives, and says how far it is. */
static bool
is_receiver(const struct ivshmem_channel_info *info)
{
	return info->has_peer && info->kind != IVSHMEM_STATE;
}

/* ---- text --------------------------------------------------------------------------------- */

static int
print_participant(void *data, const struct ivshmem_participant_info *info)
{
	struct showing *showing = data;

	if (showing->rates)
		rates_participant(showing->rates, info);
	printf("area %u: ", info->area);
	print_name("", info->name, "");
	printf(", pid %" PRIu32 ", ", info->pid);
	if (info->has_peer)
		print_line("peer %u vector %u", info->peer, info->vector);
	else
		print_line("without interrupts");
	return 0;
}

static void
print_published(const struct ivshmem_channel_info *info, const struct rate *rate)
{
	const char *what = info->kind == IVSHMEM_STATE ? "value" : "record";

	printf(", published %" PRIu64 " %s%s", info->number, what, info->number == 1 ? "" : "s");
	if (rate)
		printf(", %.1f %ss/s", rate->published, what);
}

static void
print_received(const struct ivshmem_channel_info *info, const struct rate *rate)
{
	char text[RATE_TEXT_MAX];

	if (!is_published(info))
		printf(", %" PRIu64 " bytes unread", info->unread);
	printf(", received %" PRIu64 " bytes", info->received);
	if (is_published(info))
		printf(", %" PRIu64 " bytes unread", info->unread);
	if (rate)
		printf(", %s", rate_text(rate->received, text));
}

static int
print_channel(void *data, const struct ivshmem_channel_info *info)
{
	struct showing *showing = data;
	char size[SIZE_TEXT_MAX];
	struct rate rate;
	bool compared = showing->rates && rates_compare(showing->rates, info, &rate);

	printf("  channel %u: %s ", info->entry, ivshmem_channel_kind_name(info->kind));
	print_name("", info->name, ", ");
	fputs(info->phase, stdout);
	if (info->has_peer)
		printf(" with area %u channel %u", info->peer_area, info->peer_entry);
	if (info->ring_size > 0)
		printf(", %s %s", info->kind == IVSHMEM_STATE ? "values up to" : "ring",
			format_size(info->ring_size, size));
	if (is_receiver(info))
		print_received(info, compared ? &rate : NULL);
	else if (is_publisher(info))
		print_published(info, compared ? &rate : NULL);
	print_line("%s", "");
	return 0;
}

static enum status
show_text(const struct session *session, struct rates *rates, int areas, unsigned taken)
{
	struct showing showing = {.rates = rates};

	if (areas == 0)
		print_line("no channels: nobody has formatted this memory yet");
	else
		print_line("%d areas, %u taken", areas, taken);
	ivshmem_channels_look(session->client, print_participant, print_channel, &showing, NULL);
	return STATUS_OK;
}

/* ---- JSON --------------------------------------------------------------------------------- */

static void
close_participant(struct showing *showing)
{
	if (!showing->open)
		return;
	json_end(&showing->json);
	json_end(&showing->json);
	showing->open = false;
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

static void
json_rate(struct json *json, const char *key, bool there, double value)
{
	if (there)
		json_decimal(json, key, value, 1);
	else
		json_null(json, key);
}

static int
list_participant(void *data, const struct ivshmem_participant_info *info)
{
	struct showing *showing = data;
	struct json *json = &showing->json;

	if (showing->rates)
		rates_participant(showing->rates, info);
	close_participant(showing);
	json_object(json, NULL);
	json_number(json, "area", info->area);
	json_string(json, "name", info->name);
	json_number(json, "pid", info->pid);
	json_optional(json, "peer", info->has_peer, info->peer);
	json_optional(json, "vector", info->has_peer, info->vector);
	json_array(json, "channels");
	showing->open = true;
	return 0;
}

static int
list_channel(void *data, const struct ivshmem_channel_info *info)
{
	struct showing *showing = data;
	struct json *json = &showing->json;
	struct rate rate = {0};

	json_object(json, NULL);
	json_number(json, "channel", info->entry);
	json_string(json, "name", info->name);
	json_string(json, "kind", ivshmem_channel_kind_name(info->kind));
	json_string(json, "phase", info->phase);
	json_optional(json, "peer_area", info->has_peer, info->peer_area);
	json_optional(json, "peer_channel", info->has_peer, info->peer_entry);
	json_number(json, "ring_size", info->ring_size);
	json_number(json, "sent", info->sent);
	json_number(json, "unread", info->unread);
	json_number(json, "received", info->received);
	json_optional(json, "published", is_publisher(info), info->number);
	if (showing->rates) {
		bool compared = rates_compare(showing->rates, info, &rate);

		json_rate(
			json, "received_per_second", compared && is_receiver(info), rate.received);
		json_rate(json, "published_per_second", compared && is_publisher(info),
			rate.published);
	}
	json_end(json);
	return 0;
}

static enum status
show_json(const struct session *session, struct rates *rates, int areas)
{
	struct showing showing = {.rates = rates, .json = JSON_BEGIN};

	json_object(&showing.json, NULL);
	json_number(&showing.json, "areas", (uint64_t)areas);
	json_array(&showing.json, "participants");
	ivshmem_channels_look(session->client, list_participant, list_channel, &showing, NULL);
	json_finish(&showing.json);
	return STATUS_OK;
}

/* ------------------------------------------------------------------------------------------- */

static enum status
channels_show(struct session *session, struct rates *rates)
{
	struct ivshmem_error error;
	unsigned taken = 0;
	int areas;

	if (rates && look_before(session, rates) != STATUS_OK)
		return STATUS_FAILURE;
	areas = ivshmem_channels_look(session->client, count_participant, NULL, &taken, &error);
	if (areas < 0)
		return fail("%s", error.message);
	return session->cli->json ? show_json(session, rates, areas)
				  : show_text(session, rates, areas, taken);
}

static enum status
channels_run(const struct cli *cli, char *const *operands)
{
	_session_free_ struct session *session = session_new();
	struct rates rates = {.n = 0};
	enum status status;

	(void)operands;
	if (!session)
		return STATUS_FAILURE;
	session->looks = true;
	status = session_open(session, cli, NULL, false, STATUS_OK);
	if (status == STATUS_OK)
		status = channels_show(session, interval > 0 ? &rates : NULL);
	rates_free(&rates);
	return status;
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
		"which area, the size of the ring that it sends through, how many bytes wait there "
		"for the other end, and how far it has received. An end says how far it is once in "
		"an eighth of the ring, and before it sleeps, so what waits is at most about that. "
		"Who publishes a state or a topic has the number of values or records; who reads a "
		"topic, how many bytes it has yet to read.\n"
		"With --interval, the command looks twice, and also prints what each channel has "
		"received or published per second, unless it is new.\n"
		"The command only looks. It takes no area and writes nothing, so it also works with "
		"memory for reading only, and with memory that nobody has formatted yet. It leaves "
		"out processes that are known to have died.",
	CLI_OPTIONS(channels_options),
	.json = "{\"areas\":N,\"participants\":[{\"area\":A,\"name\":NAME,\"pid\":PID,\n"
		" \"peer\":P,\"vector\":V,\"channels\":[{\"channel\":C,\"name\":NAME,\n"
		" \"kind\":\"stream\"|\"queue\"|\"call\"|\"state\"|\"topic\",\n"
		" \"phase\":\"listening\"|\"connecting\"|\"connected\"|\"ended\",\n"
		" \"peer_area\":A,\"peer_channel\":C,\"ring_size\":BYTES,\n"
		" \"sent\":BYTES,\"unread\":BYTES,\"received\":BYTES,\"published\":N},...]},...]}\n"
		"\"areas\" is 0 if nobody has formatted the memory yet. \"peer\" and \"vector\" are\n"
		"null without interrupts, \"peer_area\" and \"peer_channel\" without another end,\n"
		"\"published\" for all but those who publish. With --interval, each channel also\n"
		"has \"received_per_second\":BYTES and \"published_per_second\":N, which are null\n"
		"if the channel is new, or has no such number.",
	.statuses = "1 also if there is something else in the memory.",
	.examples = "ivshmem channels\n"
		    "ivshmem channels --interval 1\n"
		    "ivshmem --target shm:vm,ro channels --json",
	.run = channels_run,
};
