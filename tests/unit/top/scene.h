/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef UNIT_TOP_SCENE_H
#define UNIT_TOP_SCENE_H

/* Samples, as they are made of a group. */

#include <top/rates.h>
#include <top/rows.h>

#include <base/clock.h>

#include <string.h>

struct scene {
	struct sample sample;
	struct sample_peer peers[8];
	struct sample_participant participants[8];
	struct sample_channel channels[64];
};

/* At `seconds` after some time. */
static inline void
scene_begin(struct scene *scene, double seconds)
{
	*scene = (struct scene){
		.sample = {
			.time = NSEC_PER_SEC * 1000 + (uint64_t)(seconds * NSEC_PER_SEC),
			.date = 1700000000 + seconds,
			.group = 1,
			.target = "unix:/run/group.sock",
			.backend = "observe",
			.vectors = 2,
			.size = 16 << 20,
			.knows_peers = true,
			.areas = 25,
		}};
	scene->sample.peers = scene->peers;
	scene->sample.participants = scene->participants;
	scene->sample.channels = scene->channels;
}

static inline struct sample_participant *
scene_participant(struct scene *scene, unsigned area, const char *name)
{
	struct sample_participant *participant =
		&scene->participants[scene->sample.n_participants++];

	*participant = (struct sample_participant){
		.area = area,
		.generation = 1,
		.has_peer = true,
		.peer = (uint16_t)(10 + area),
		.pid = 1000 + area,
		.here = true,
		.process = {.known = true, .user = "ann", .program = "prog", .started = 1700000000},
	};
	sample_copy_text(participant->name, sizeof(participant->name), name);
	return participant;
}

static inline struct sample_channel *
scene_channel(struct scene *scene, unsigned area, unsigned entry, enum ivshmem_channel_kind kind,
	const char *phase)
{
	struct sample_channel *channel = &scene->channels[scene->sample.n_channels++];

	*channel = (struct sample_channel){
		.area = area,
		.entry = entry,
		.area_generation = 1,
		.generation = 1,
		.kind = kind,
		.phase = phase,
		.name = "work",
		.ring_size = 1000,
	};
	return channel;
}

static inline struct sample_channel *
scene_end(
	struct scene *scene, unsigned area, unsigned entry, unsigned peer_area, unsigned peer_entry)
{
	struct sample_channel *channel =
		scene_channel(scene, area, entry, IVSHMEM_STREAM, "connected");

	channel->has_peer = true;
	channel->peer_area = peer_area;
	channel->peer_entry = peer_entry;
	return channel;
}

/* A stream from area 0 to area 1, of which so much was sent and received. */
static inline void
scene_stream(struct scene *scene, uint64_t sent, uint64_t received)
{
	struct sample_channel *from = scene_end(scene, 0, 0, 1, 0);

	from->sent = sent;
	from->unread = sent - received;
	scene_end(scene, 1, 0, 0, 0)->received = received;
}

#endif
