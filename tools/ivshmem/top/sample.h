/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TOP_SAMPLE_H
#define TOP_SAMPLE_H

/*
 * What can be seen of a group at one moment: its peers, who takes part in channels, and the channels. A
 * sample is data alone: what is made of it (rates.h, rows.h, view.h) needs neither a group nor a terminal.
 */

#include "top/process.h"

#include <ivshmem/channel.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Others decide how many channels there are; we look at no more. */
#define SAMPLE_CHANNELS_MAX 4096

struct sample_peer {
	uint16_t id;
	unsigned vectors;
	double since;          /* seconds since 1970 when it joined; 0: it was there before us */
	const uint64_t *rings; /* those that it has not taken, of each vector; NULL: not known */
};

struct sample_participant {
	unsigned area;
	uint32_t generation;
	char name[64];
	bool has_peer;
	uint16_t peer;
	unsigned vector;
	uint32_t pid;
	bool here; /* `pid` is a process of this machine */
	struct top_process process;
};

struct sample_channel {
	unsigned area, entry;
	uint32_t area_generation, generation;
	enum ivshmem_channel_kind kind;
	const char *phase;
	char name[64];
	bool has_peer;
	unsigned peer_area, peer_entry;
	uint64_t ring_size, received, sent, unread, number;
};

/* What became of one who took part in the sample before this one, and does not any more. */
struct sample_fate {
	struct sample_participant participant;
	int fate; /* as ivshmem_channels_fate() tells it */
};

struct sample {
	uint64_t time;  /* clock_now() */
	double date;    /* seconds since 1970 */
	unsigned group; /* another number: it is another group, and nothing can be compared */

	/* What we are attached to. */
	const char *target; /* lives as long as the session */
	char backend[16];
	bool has_id;
	uint16_t id;
	unsigned vectors; /* ours, or those of each peer */
	uint64_t size;
	char lost[512]; /* why the server is lost; "": it is there, or there is none */

	bool knows_peers;
	struct sample_peer *peers;
	size_t n_peers;
	uint64_t *rings; /* of all peers, one after the other */

	int areas;         /* 0: nobody has formatted the memory for channels */
	char problem[512]; /* why nothing is known of channels; "": something is */
	struct sample_participant *participants; /* in the order of areas */
	size_t n_participants;
	struct sample_channel *channels; /* in the order of areas and entries */
	size_t n_channels;
	size_t n_left_out; /* channels beyond SAMPLE_CHANNELS_MAX */
	struct sample_fate *fates;
	size_t n_fates;
};

void sample_free(struct sample *sample);

/* Copy as much of a text as there is room for. */
void sample_copy_text(char *to, size_t size, const char *from);

/* The channel, or NULL. */
const struct sample_channel *sample_find(
	const struct sample *sample, unsigned area, unsigned entry);

/* The participant, or NULL. */
const struct sample_participant *sample_find_participant(
	const struct sample *sample, unsigned area);

/* The other end of a channel, if it still knows of this one; else NULL. */
const struct sample_channel *sample_other_end(
	const struct sample *sample, const struct sample_channel *channel);

/* A state and a topic go from one to any number. */
static inline bool
sample_is_published(const struct sample_channel *channel)
{
	return channel->kind == IVSHMEM_STATE || channel->kind == IVSHMEM_TOPIC;
}

/* One who publishes, and counts its records or values. */
static inline bool
sample_is_publisher(const struct sample_channel *channel)
{
	return sample_is_published(channel) && !channel->has_peer;
}

/* An end that receives, and says how far it is. */
static inline bool
sample_is_receiver(const struct sample_channel *channel)
{
	return channel->has_peer && channel->kind != IVSHMEM_STATE;
}

#endif
