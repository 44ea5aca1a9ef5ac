/* SPDX-License-Identifier: BSD-2-Clause */
#include "top/collect.h"

#include "bus_error.h"
#include "output.h"

#include <base/clock.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static double
date_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* ---- what is heard -------------------------------------------------------------------------- */

/* From now on, a store of ours ends us. Where that is not possible, it is still true that we have none. */
static void
map_read_only(const struct session *session)
{
	mprotect(ivshmem_memory(session->client), (size_t)ivshmem_size(session->client), PROT_READ);
}

static void
hear_peer(struct collector *collector, const struct event *event, double date)
{
	struct top_event peer = {
		.type = event->type == EVENT_LEFT ? TOP_LEFT : TOP_JOINED,
		.date = date,
		.peer = event->peer,
		.vectors = event->vectors,
	};

	collector->since[event->peer] = collector->quiet ? 0 : date;
	if (!collector->quiet)
		top_events_add(&collector->events, &peer);
}

static void
hear(struct session *session, const struct event *event)
{
	struct collector *collector = session->data;
	double date = date_now();
	struct top_event said = {.date = date};

	switch (event->type) {
	case EVENT_JOINED:
	case EVENT_LEFT:
		hear_peer(collector, event, date);
		return;
	case EVENT_VECTORS:
	case EVENT_INTERRUPT:
		return;
	case EVENT_ATTACHED:
		map_read_only(session);
		collector->quiet = true;
		if (collector->group++ == 0)
			return;
		said.type = TOP_ATTACHED;
		sample_copy_text(said.text, sizeof(said.text), session->target);
		break;
	case EVENT_LOST:
	case EVENT_MESSAGE:
		said.type = event->type == EVENT_LOST ? TOP_LOST : TOP_SAID;
		sample_copy_text(said.text, sizeof(said.text), event->text);
		break;
	}
	top_events_add(&collector->events, &said);
}

struct collector *
collector_open(const struct cli *cli, bool signals, enum status *ret_status)
{
	struct collector *collector = calloc(1, sizeof(*collector));
	struct session *session = session_new();

	*ret_status = STATUS_FAILURE;
	if (!collector || !session) {
		if (session)
			fail("out of memory");
		free(collector);
		session_free(session);
		return NULL;
	}
	collector->session = session;
	session->data = collector;
	session->looks = true;
	session->reattach = true;
	*ret_status = session_open(session, cli, hear, signals, STATUS_OK);
	if (*ret_status != STATUS_OK)
		return collector_free(collector);
	if (!session->is_pci && !session->is_memory && ivshmem_has_id(session->client))
		note(cli,
			"this took an id, %u, because there is no socket for observers next to the server's",
			ivshmem_id(session->client));
	return collector;
}

struct collector *
collector_free(struct collector *collector)
{
	if (collector) {
		session_free(collector->session);
		top_rates_free(&collector->rates);
		sample_free(&collector->sample);
		sample_free(&collector->seen);
		free(collector);
	}
	return NULL;
}

/* ---- what is there -------------------------------------------------------------------------- */

/* What the callbacks get. */
struct collecting {
	const struct ivshmem_client *client;
	const struct sample *before;
	struct sample *sample;
	uint32_t generation; /* of the area that we are told of */
	size_t participants_capacity, channels_capacity;
	int r;
	struct ivshmem_error error;
};

/* Room for one more. NULL: out of memory. */
static void *
grow(void *array, size_t *capacity, size_t n, size_t size)
{
	size_t more = *capacity ? 2 * *capacity : 32;

	if (n < *capacity)
		return array;
	array = reallocarray(array, more, size);
	if (array)
		*capacity = more;
	return array;
}

static const struct sample_participant *
known_before(const struct sample *before, unsigned area, uint32_t generation)
{
	const struct sample_participant *known =
		before ? sample_find_participant(before, area) : NULL;

	return known && known->generation == generation ? known : NULL;
}

static int
add_participant(void *data, const struct ivshmem_participant_info *info)
{
	struct collecting *collecting = data;
	struct sample *sample = collecting->sample;
	const struct sample_participant *before =
		known_before(collecting->before, info->area, info->generation);
	struct sample_participant *participants = grow(sample->participants,
		&collecting->participants_capacity, sample->n_participants, sizeof(*participants));
	struct sample_participant *participant;

	if (!participants)
		return -ENOMEM;
	sample->participants = participants;
	participant = &participants[sample->n_participants++];
	*participant = (struct sample_participant){
		.area = info->area,
		.generation = info->generation,
		.has_peer = info->has_peer,
		.peer = info->peer,
		.vector = info->vector,
		.pid = info->pid,
		.here = info->here,
	};
	memcpy(participant->name, info->name, sizeof(participant->name));
	if (before && before->pid == info->pid)
		participant->process = before->process;
	collecting->generation = info->generation;
	return 0;
}

static int
add_channel(void *data, const struct ivshmem_channel_info *info)
{
	struct collecting *collecting = data;
	struct sample *sample = collecting->sample;
	struct sample_channel *channels;

	if (sample->n_channels == SAMPLE_CHANNELS_MAX) {
		sample->n_left_out++;
		return 0;
	}
	channels = grow(sample->channels, &collecting->channels_capacity, sample->n_channels,
		sizeof(*channels));
	if (!channels)
		return -ENOMEM;
	sample->channels = channels;
	channels[sample->n_channels] = (struct sample_channel){
		.area = info->area,
		.entry = info->entry,
		.area_generation = collecting->generation,
		.generation = info->generation,
		.kind = info->kind,
		.phase = info->phase,
		.has_peer = info->has_peer,
		.peer_area = info->peer_area,
		.peer_entry = info->peer_entry,
		.ring_size = info->ring_size,
		.received = info->received,
		.sent = info->sent,
		.unread = info->unread,
		.number = info->number,
	};
	memcpy(channels[sample->n_channels++].name, info->name, sizeof(info->name));
	return 0;
}

static int
add_fate(struct sample *sample, const struct sample_participant *participant, int fate)
{
	struct sample_fate *fates =
		reallocarray(sample->fates, sample->n_fates + 1, sizeof(*fates));

	if (!fates)
		return -ENOMEM;
	sample->fates = fates;
	fates[sample->n_fates++] = (struct sample_fate){*participant, fate};
	return 0;
}

/* What became of those who were there before. */
static int
add_fates(struct collecting *collecting)
{
	const struct sample *before = collecting->before;
	int r = 0;

	for (size_t i = 0; before && r == 0 && i < before->n_participants; i++) {
		const struct sample_participant *then = &before->participants[i];
		const struct sample_participant *now =
			sample_find_participant(collecting->sample, then->area);

		if (now && now->generation == then->generation)
			continue;
		r = add_fate(collecting->sample, then,
			ivshmem_channels_fate(collecting->client, then->area, then->generation));
	}
	return r;
}

/* All that touches the memory. */
static void
look(void *data)
{
	struct collecting *collecting = data;

	collecting->r = ivshmem_channels_look(
		collecting->client, add_participant, add_channel, collecting, &collecting->error);
	if (collecting->r < 0)
		return;
	collecting->sample->areas = collecting->r;
	collecting->r = add_fates(collecting);
}

static int
collect_channels(struct collector *collector, const struct sample *before, struct sample *sample)
{
	struct collecting collecting = {
		.client = collector->session->client,
		.before = before && before->group == sample->group ? before : NULL,
		.sample = sample,
		.error = {.message = ""},
	};
	const char *vanished = bus_error_guard(look, &collecting);

	if (!vanished && collecting.r == -ENOMEM)
		return -ENOMEM;
	if (vanished || collecting.r < 0) {
		sample_copy_text(sample->problem, sizeof(sample->problem),
			vanished ? vanished : collecting.error.message);
		/* What was seen of a part makes no sense. */
		sample->n_participants = sample->n_channels = sample->n_fates = 0;
		return 0;
	}
	for (size_t i = 0; i < sample->n_participants; i++) {
		struct sample_participant *participant = &sample->participants[i];

		if (participant->here && !participant->process.known)
			top_process_find(participant->pid, &participant->process);
	}
	return 0;
}

/* The rings that wait at each peer. If the kernel does not tell of one vector, nothing is known of its peer. */
static int
collect_rings(const struct ivshmem_client *client, struct sample *sample)
{
	size_t n = 0, at = 0;

	for (size_t i = 0; i < sample->n_peers; i++)
		n += sample->peers[i].vectors;
	sample->rings = calloc(n + 1, sizeof(*sample->rings));
	if (!sample->rings)
		return -ENOMEM;
	for (size_t i = 0; i < sample->n_peers; i++) {
		struct sample_peer *peer = &sample->peers[i];

		peer->rings = sample->rings + at;
		for (unsigned vector = 0; vector < peer->vectors; vector++) {
			int64_t count = ivshmem_peer_pending(client, peer->id, vector);

			if (count < 0)
				peer->rings = NULL;
			sample->rings[at++] = count < 0 ? 0 : (uint64_t)count;
		}
	}
	return 0;
}

static int
collect_peers(const struct collector *collector, struct sample *sample)
{
	const struct ivshmem_client *client = collector->session->client;
	int n = ivshmem_peers(client, NULL, 0);
	uint16_t *ids;

	sample->knows_peers = n >= 0;
	if (n <= 0)
		return 0;
	ids = calloc((size_t)n, sizeof(*ids));
	sample->peers = calloc((size_t)n, sizeof(*sample->peers));
	if (!ids || !sample->peers) {
		free(ids);
		return -ENOMEM;
	}
	sample->n_peers = (size_t)n;
	ivshmem_peers(client, ids, (size_t)n);
	for (size_t i = 0; i < sample->n_peers; i++) {
		int vectors = ivshmem_peer_vectors(client, ids[i]);

		sample->peers[i] = (struct sample_peer){
			.id = ids[i],
			.vectors = vectors < 0 ? 0 : (unsigned)vectors,
			.since = collector->since[ids[i]],
		};
	}
	free(ids);
	return collector->rings ? collect_rings(client, sample) : 0;
}

static void
describe_group(const struct session *session, struct sample *sample)
{
	const struct ivshmem_client *client = session->client;

	sample->target = session->target;
	sample_copy_text(sample->lost, sizeof(sample->lost),
		session->lost.code ? session->lost.message : "");
	if (!client) {
		sample_copy_text(sample->problem, sizeof(sample->problem), "the device is gone");
		return;
	}
	sample_copy_text(sample->backend, sizeof(sample->backend), ivshmem_backend(client));
	sample->size = ivshmem_size(client);
	sample->has_id = ivshmem_has_id(client);
	if (sample->has_id) {
		sample->id = ivshmem_id(client);
		sample->vectors = ivshmem_vectors(client);
	} else if (!session->is_memory) {
		int vectors = ivshmem_group_vectors(client);

		sample->vectors = vectors < 0 ? 0 : (unsigned)vectors;
	}
}

/* With `before`, which is an earlier one or NULL, it tells what became of those who have gone since. */
static int
make_sample(struct collector *collector, const struct sample *before, struct sample *ret_sample)
{
	struct sample sample = {.group = collector->group};
	int r = 0;

	/* Those that were there before us are told of first. */
	if (collector->quiet)
		session_step(collector->session, -1, clock_now());
	collector->quiet = false;
	sample.group = collector->group;
	sample.time = clock_now();
	sample.date = date_now();
	describe_group(collector->session, &sample);
	if (collector->session->client) {
		r = collect_channels(collector, before, &sample);
		if (r == 0)
			r = collect_peers(collector, &sample);
	}
	if (r < 0) {
		sample_free(&sample);
		return r;
	}
	*ret_sample = sample;
	return 0;
}

static bool
is_good(const struct sample *sample)
{
	return sample->time > 0 && !sample->problem[0];
}

int
collector_look(struct collector *collector)
{
	struct sample *latest = &collector->sample;
	const struct sample *before = is_good(latest) ? latest : &collector->seen;
	struct sample next;
	int r = make_sample(collector, is_good(before) ? before : NULL, &next);

	if (r < 0)
		return r;
	r = top_rates_add(&collector->rates, &next);
	if (r < 0) {
		sample_free(&next);
		return r;
	}
	if (is_good(before) && is_good(&next) && before->group == next.group)
		top_events_compare(&collector->events, before, &next);
	if (is_good(latest)) {
		sample_free(&collector->seen);
		collector->seen = *latest;
	} else {
		sample_free(latest);
	}
	*latest = next;
	return 0;
}
