/* SPDX-License-Identifier: BSD-2-Clause */
#include "top/sample_json.h"

#include "json.h"

static void
optional_number(struct json *json, const char *key, bool there, uint64_t value)
{
	if (there)
		json_number(json, key, value);
	else
		json_null(json, key);
}

/* Below 0, it is not known. */
static void
optional_decimal(struct json *json, const char *key, double value, int digits)
{
	if (value >= 0)
		json_decimal(json, key, value, digits);
	else
		json_null(json, key);
}

/* "" is nothing. */
static void
optional_string(struct json *json, const char *key, const char *text)
{
	if (text[0])
		json_string(json, key, text);
	else
		json_null(json, key);
}

static void
print_channel(struct json *json, const struct sample_channel *channel, const struct rate_of *of)
{
	json_object(json, NULL);
	json_number(json, "channel", channel->entry);
	json_string(json, "name", channel->name);
	json_string(json, "kind", ivshmem_channel_kind_name(channel->kind));
	json_string(json, "phase", channel->phase);
	optional_number(json, "peer_area", channel->has_peer, channel->peer_area);
	optional_number(json, "peer_channel", channel->has_peer, channel->peer_entry);
	json_number(json, "ring_size", channel->ring_size);
	json_number(json, "sent", channel->sent);
	json_number(json, "unread", channel->unread);
	json_number(json, "received", channel->received);
	optional_number(json, "published", sample_is_publisher(channel), channel->number);
	if (of) {
		optional_decimal(json, "received_per_second", of->received, 1);
		optional_decimal(json, "sent_per_second", of->sent, 1);
		optional_decimal(json, "published_per_second", of->published, 1);
		optional_decimal(json, "waits", of->waits, 3);
	}
	json_end(json);
}

/* One who takes part, with the channels from number `*next` on that are its own. */
static void
print_participant(struct json *json, const struct sample_participant *participant,
	const struct sample *sample, const struct rate_of *of, size_t *next)
{
	const struct top_process *process = &participant->process;

	json_object(json, NULL);
	json_number(json, "area", participant->area);
	json_string(json, "name", participant->name);
	json_number(json, "pid", participant->pid);
	json_bool(json, "here", participant->here);
	optional_string(json, "user", process->user);
	optional_string(json, "program", process->program);
	optional_decimal(json, "started", process->started > 0 ? process->started : -1, 2);
	optional_number(json, "peer", participant->has_peer, participant->peer);
	optional_number(json, "vector", participant->has_peer, participant->vector);
	json_array(json, "channels");
	for (; *next < sample->n_channels && sample->channels[*next].area == participant->area;
		++*next)
		print_channel(json, &sample->channels[*next], of ? &of[*next] : NULL);
	json_end(json);
	json_end(json);
}

static void
print_rings(struct json *json, const struct sample_peer *peer)
{
	if (!peer->rings) {
		json_null(json, "rings");
		return;
	}
	json_array(json, "rings");
	for (unsigned vector = 0; vector < peer->vectors; vector++)
		json_number(json, NULL, peer->rings[vector]);
	json_end(json);
}

static void
print_peers(struct json *json, const struct sample *sample)
{
	if (!sample->knows_peers) {
		json_null(json, "peers");
		return;
	}
	json_array(json, "peers");
	for (size_t i = 0; i < sample->n_peers; i++) {
		json_object(json, NULL);
		json_number(json, "id", sample->peers[i].id);
		json_number(json, "vectors", sample->peers[i].vectors);
		print_rings(json, &sample->peers[i]);
		json_end(json);
	}
	json_end(json);
}

void
sample_json(const struct sample *sample, const struct top_rates *rates, bool rated)
{
	struct json json = JSON_BEGIN;
	size_t next = 0;

	json_object(&json, NULL);
	json_number(&json, "version", 1);
	json_decimal(&json, "time", sample->date, 6);
	json_string(&json, "target", sample->target);
	optional_string(&json, "backend", sample->backend);
	optional_number(&json, "id", sample->has_id, sample->id);
	json_number(&json, "vectors", sample->vectors);
	json_number(&json, "size", sample->size);
	optional_string(&json, "lost", sample->lost);
	optional_string(&json, "problem", sample->problem);
	json_number(&json, "areas", (uint64_t)sample->areas);
	print_peers(&json, sample);
	json_array(&json, "participants");
	for (size_t i = 0; i < sample->n_participants; i++)
		print_participant(
			&json, &sample->participants[i], sample, rated ? rates->of : NULL, &next);
	json_finish(&json);
}
