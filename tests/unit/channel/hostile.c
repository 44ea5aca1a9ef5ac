/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * A participant that writes into its area, and into the header, whatever it likes. Whatever that is,
 * all calls of the others return, say how the channel ended, and work with everybody else.
 */
#include "channel_room.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define AREA        16384
#define RING        STAGE_RING
#define HOSTILE     1 /* its peer and its area */
#define SENT        2 /* records that it sent before it was hostile */
#define RECORD      100
#define RECORD_STEP 112

/* ---- one rule at a time ---------------------------------------------------------------------- */

/* When the rule is broken. The hostile one ... */
enum situation {
	LISTENS,   /* and the victim connects after this */
	IS_ASKED,  /* listens; the victim has connected */
	ACCEPTED,  /* has accepted, and the victim has not noticed */
	CONNECTED, /* has connected, and the victim accepts after this */
	TALKS,     /* has connected, and the victim has accepted */
};

/* Where it writes. */
enum place {
	HEADER,
	CLAIM, /* of its area */
	VICTIMS_CLAIM,
	IDENTITY,
	NOTICE, /* for the victim */
	LISTENER,
	END,    /* its end of the channel */
	RING_1, /* the header of its first record */
	RING_2,
};

enum how { SET, ADD, XOR };

#define FIELD(type, field) offsetof(struct type, field), sizeof(((struct type *)NULL)->field)
#define IN_HEADER(field)   HEADER, FIELD(layout_header, field)
#define IN_IDENTITY(field) IDENTITY, FIELD(layout_identity, field)
#define IN_NOTICE(field)   NOTICE, FIELD(layout_notice, field)
#define IN_LISTENER(field) LISTENER, FIELD(layout_entry, field)
#define IN_END(field)      END, FIELD(layout_entry, field)
#define IN_CLAIM           CLAIM, 0, 8
#define IN_VICTIMS_CLAIM   VICTIMS_CLAIM, 0, 8
#define IN_RING_1          RING_1, 0, 8
#define IN_RING_2          RING_2, 0, 8

#define GENERATION (UINT64_C(1) << 32)
#define TO_STREAM  (UINT64_C(3) << 8) /* from the kind of a queue, when XORed */

struct row {
	const char *name;
	enum situation situation;
	enum place place;
	size_t offset, size;
	enum how how;
	uint64_t value;
	/* What the victim gets: from connecting or accepting, if it does that; then so many records,
	 * and this; and from sending, when it has filled its ring. */
	int first;
	int records, then, send;
};

static const struct row rows[] = {
	{"nothing: listens", LISTENS, IN_END(padding_1[0]), SET, 0, 0, 0, -EAGAIN, -EAGAIN},
	{"nothing: asked", IS_ASKED, IN_LISTENER(padding_1[0]), SET, 1, 0, 0, -EAGAIN, -EAGAIN},
	{"nothing: accepted", ACCEPTED, IN_END(padding_1[0]), SET, 1, 0, SENT, -EAGAIN, -EAGAIN},
	{"nothing: connected", CONNECTED, IN_END(padding_1[0]), SET, 1, 0, SENT, -EAGAIN, -EAGAIN},
	{"nothing: talks", TALKS, IN_END(padding_1[0]), SET, 1, 0, SENT, -EAGAIN, -EAGAIN},

	/* The header page. */
	{"magic", TALKS, IN_HEADER(magic), XOR, 1, 0, 0, -ESTALE, -ESTALE},
	{"shape", TALKS, IN_HEADER(shape), SET, UINT64_MAX, 0, SENT, -EAGAIN, -EAGAIN},
	{"epoch", TALKS, IN_HEADER(epoch), ADD, 1, 0, 0, -ESTALE, -ESTALE},
	{"unused", TALKS, IN_HEADER(unused[5]), SET, 1, 0, SENT, -EAGAIN, -EAGAIN},
	{"own claim", TALKS, IN_VICTIMS_CLAIM, ADD, GENERATION, 0, 0, -ESTALE, -ESTALE},
	{"own claim: dead", TALKS, IN_VICTIMS_CLAIM, XOR, 2, 0, 0, -ESTALE, -ESTALE},
	{"claim 0", TALKS, IN_CLAIM, SET, 0, 0, 0, -ECONNRESET, -ECONNRESET},
	{"claimed anew", TALKS, IN_CLAIM, ADD, GENERATION, 0, 0, -ECONNRESET, -ECONNRESET},
	{"claim: free", TALKS, IN_CLAIM, XOR, 1, 0, SENT, -ECONNRESET, -ECONNRESET},
	{"claim: left", TALKS, IN_CLAIM, XOR, 3, 0, SENT, -ECONNRESET, -ECONNRESET},
	{"claim: dead", TALKS, IN_CLAIM, XOR, 2, 0, SENT, -ECONNRESET, -ECONNRESET},
	{"claim: 200", TALKS, IN_CLAIM, XOR, 200, 0, SENT, -ECONNRESET, -ECONNRESET},
	{"claimed anew: asked", IS_ASKED, IN_CLAIM, ADD, GENERATION, 0, 0, -ECONNREFUSED,
		-ECONNREFUSED},
	{"claim: free: asked", IS_ASKED, IN_CLAIM, XOR, 1, 0, 0, -ECONNREFUSED, -ECONNREFUSED},
	{"claim: dead: asked", IS_ASKED, IN_CLAIM, XOR, 2, 0, 0, -ECONNREFUSED, -ECONNREFUSED},
	{"claim: free: listens", LISTENS, IN_CLAIM, XOR, 1, -ENOENT, 0, 0, 0},
	{"claim: dead: listens", LISTENS, IN_CLAIM, XOR, 2, -ENOENT, 0, 0, 0},
	{"claimed anew: listens", LISTENS, IN_CLAIM, ADD, GENERATION, -ENOENT, 0, 0, 0},
	{"claim 0: connected", CONNECTED, IN_CLAIM, SET, 0, -EAGAIN, 0, 0, 0},
	{"claimed anew: connected", CONNECTED, IN_CLAIM, ADD, GENERATION, -EAGAIN, 0, 0, 0},
	{"claim: dead: connected", CONNECTED, IN_CLAIM, XOR, 2, 0, SENT, -ECONNRESET, -ECONNRESET},

	/* Who it is. */
	{"not ready", TALKS, IN_IDENTITY(ready), SET, 0, 0, SENT, -EAGAIN, -EAGAIN},
	{"ready too much", TALKS, IN_IDENTITY(ready), ADD, GENERATION, 0, SENT, -EAGAIN, -EAGAIN},
	{"not ready: listens", LISTENS, IN_IDENTITY(ready), SET, 0, -ENOENT, 0, 0, 0},
	{"not ready: connected", CONNECTED, IN_IDENTITY(ready), SET, 0, -EAGAIN, 0, 0, 0},
	{"features", CONNECTED, IN_IDENTITY(features), SET, UINT32_MAX, 0, SENT, -EAGAIN, -EAGAIN},
	{"no features", CONNECTED, IN_IDENTITY(features), SET, 0, 0, SENT, -EAGAIN, -EAGAIN},
	{"peer", CONNECTED, IN_IDENTITY(peer), SET, UINT16_MAX, 0, SENT, -EAGAIN, -EAGAIN},
	{"vector", CONNECTED, IN_IDENTITY(vector), SET, UINT16_MAX, 0, SENT, -EAGAIN, -EAGAIN},
	{"kernel", TALKS, IN_IDENTITY(kernel), SET, 0, 0, SENT, -EAGAIN, -EAGAIN},
	{"started", TALKS, IN_IDENTITY(started), ADD, 1, 0, SENT, -ECONNRESET, -ECONNRESET},
	{"started: listens", LISTENS, IN_IDENTITY(started), ADD, 1, -ENOENT, 0, 0, 0},
	{"pid 0", TALKS, IN_IDENTITY(pid), SET, 0, 0, SENT, -EAGAIN, -EAGAIN},
	{"pid of init", TALKS, IN_IDENTITY(pid), SET, 1, 0, SENT, -ECONNRESET, -ECONNRESET},
	{"pid of nobody", TALKS, IN_IDENTITY(pid), SET, INT32_MAX, 0, SENT, -ECONNRESET,
		-ECONNRESET},
	{"pid of a group", TALKS, IN_IDENTITY(pid), SET, UINT32_MAX, 0, SENT, -EAGAIN, -EAGAIN},
	{"heartbeat", TALKS, IN_IDENTITY(heartbeat), SET, UINT64_MAX, 0, SENT, -EAGAIN, -EAGAIN},
	{"own name", TALKS, IN_IDENTITY(name), SET, 0xff, 0, SENT, -EAGAIN, -EAGAIN},

	/* Notices. */
	{"notice", TALKS, IN_NOTICE(bits), XOR, UINT64_MAX, 0, SENT, -EAGAIN, -EAGAIN},
	{"notice: connected", CONNECTED, IN_NOTICE(bits), XOR, UINT64_MAX, 0, SENT, -EAGAIN,
		-EAGAIN},
	{"notice seen", TALKS, IN_NOTICE(seen), XOR, UINT64_MAX, 0, SENT, -EAGAIN, -EAGAIN},
	{"notice not seen", TALKS, IN_NOTICE(seen), SET, 0, 0, SENT, -EAGAIN, -EAGAIN},

	/* A listener. */
	{"listens for streams", LISTENS, IN_LISTENER(state), XOR, TO_STREAM, -EPROTOTYPE, 0, 0, 0},
	{"listens for 255", LISTENS, IN_LISTENER(state), XOR, 0xff00, -EPROTOTYPE, 0, 0, 0},
	{"listener: unused", LISTENS, IN_LISTENER(state), XOR, LAYOUT_LISTENING, -ENOENT, 0, 0, 0},
	{"listener: phase", LISTENS, IN_LISTENER(state), XOR, 0xf0, -ENOENT, 0, 0, 0},
	{"listener: generation", LISTENS, IN_LISTENER(state), ADD, 9 * GENERATION, 0, 0, -EAGAIN,
		-EAGAIN},
	{"listener: long name", LISTENS, IN_LISTENER(name), SET, 0xff, -ENOENT, 0, 0, 0},
	{"listener: no name", LISTENS, IN_LISTENER(name), SET, 0, -ENOENT, 0, 0, 0},
	{"listener: a ring", LISTENS, IN_LISTENER(ring_size), SET, 3, 0, 0, -EAGAIN, -EAGAIN},
	{"listener: a head", LISTENS, IN_LISTENER(head), SET, 3, 0, 0, -EAGAIN, -EAGAIN},
	{"listener used anew", IS_ASKED, IN_LISTENER(state), ADD, GENERATION, 0, 0, -ECONNREFUSED,
		-ECONNREFUSED},
	{"listener gone", IS_ASKED, IN_LISTENER(state), XOR, LAYOUT_LISTENING, 0, 0, -ECONNREFUSED,
		-ECONNREFUSED},
	{"listener: 99", IS_ASKED, IN_LISTENER(state), XOR, 0xf0, 0, 0, -ECONNREFUSED,
		-ECONNREFUSED},

	/* Who accepted. */
	{"accepted a stream", ACCEPTED, IN_END(state), XOR, TO_STREAM, 0, 0, -EAGAIN, -EAGAIN},
	{"accepted: phase", ACCEPTED, IN_END(state), XOR, 0xf0, 0, 0, -EAGAIN, -EAGAIN},
	{"accepted: generation", ACCEPTED, IN_END(state), ADD, GENERATION, 0, SENT, -EAGAIN,
		-EAGAIN},
	{"accepted another entry", ACCEPTED, IN_END(peer), XOR, 1, 0, 0, -EAGAIN, -EAGAIN},
	{"accepted an older entry", ACCEPTED, IN_END(peer), ADD, -GENERATION, 0, 0, -EAGAIN,
		-EAGAIN},
	{"accepted an older area", ACCEPTED, IN_END(peer_generation), ADD, -UINT64_C(1), 0, 0,
		-EAGAIN, -EAGAIN},
	{"accepted: no ring", ACCEPTED, IN_END(ring_size), SET, 0, 0, 0, -EPROTO, -EPROTO},
	{"accepted: ring 3/2", ACCEPTED, IN_END(ring_size), SET, 768, 0, 0, -EPROTO, -EPROTO},
	{"accepted: ring of 4 GiB", ACCEPTED, IN_END(ring_size), SET, UINT32_MAX, 0, 0, -EPROTO,
		-EPROTO},
	{"accepted: ring outside", ACCEPTED, IN_END(ring_offset), SET, AREA, 0, 0, -EPROTO,
		-EPROTO},

	/* Who connected. */
	{"connects a stream", CONNECTED, IN_END(state), XOR, TO_STREAM, -EAGAIN, 0, 0, 0},
	{"connects: phase", CONNECTED, IN_END(state), XOR, 0xf0, -EAGAIN, 0, 0, 0},
	{"connects: connected", CONNECTED, IN_END(state), XOR, LAYOUT_CONNECTING ^ LAYOUT_CONNECTED,
		-EAGAIN, 0, 0, 0},
	{"connects: generation", CONNECTED, IN_END(state), ADD, 5 * GENERATION, 0, SENT, -EAGAIN,
		-EAGAIN},
	{"connects to another entry", CONNECTED, IN_END(peer), XOR, 1, -EAGAIN, 0, 0, 0},
	{"connects to another area", CONNECTED, IN_END(peer), XOR, 1 << 16, -EAGAIN, 0, 0, 0},
	{"connects to no area", CONNECTED, IN_END(peer), SET, UINT64_MAX, -EAGAIN, 0, 0, 0},
	{"connects to an older entry", CONNECTED, IN_END(peer), ADD, -GENERATION, -EAGAIN, 0, 0, 0},
	{"connects to an older area", CONNECTED, IN_END(peer_generation), ADD, -UINT64_C(1),
		-EAGAIN, 0, 0, 0},
	{"ring: none", CONNECTED, IN_END(ring_size), SET, 0, -EAGAIN, 0, 0, 0},
	{"ring: 128", CONNECTED, IN_END(ring_size), SET, 128, -EAGAIN, 0, 0, 0},
	{"ring: 257", CONNECTED, IN_END(ring_size), SET, 257, -EAGAIN, 0, 0, 0},
	{"ring: 768", CONNECTED, IN_END(ring_size), SET, 768, -EAGAIN, 0, 0, 0},
	{"ring: too large", CONNECTED, IN_END(ring_size), SET, AREA, -EAGAIN, 0, 0, 0},
	{"ring: 2 GiB", CONNECTED, IN_END(ring_size), SET, RING_MAX_SIZE, -EAGAIN, 0, 0, 0},
	{"ring: 4 GiB", CONNECTED, IN_END(ring_size), SET, UINT32_MAX, -EAGAIN, 0, 0, 0},
	{"ring at 0", CONNECTED, IN_END(ring_offset), SET, 0, -EAGAIN, 0, 0, 0},
	{"ring before the heap", CONNECTED, IN_END(ring_offset), ADD, -(uint64_t)LAYOUT_LINE,
		-EAGAIN, 0, 0, 0},
	{"ring beside a line", CONNECTED, IN_END(ring_offset), ADD, 8, -EAGAIN, 0, 0, 0},
	{"ring at an odd place", CONNECTED, IN_END(ring_offset), ADD, 1, -EAGAIN, 0, 0, 0},
	{"ring across the end", CONNECTED, IN_END(ring_offset), SET, AREA - RING + LAYOUT_LINE,
		-EAGAIN, 0, 0, 0},
	{"ring behind the end", CONNECTED, IN_END(ring_offset), SET, AREA, -EAGAIN, 0, 0, 0},
	{"ring far away", CONNECTED, IN_END(ring_offset), SET, UINT64_C(1) << 63, -EAGAIN, 0, 0, 0},
	{"ring before 2^64", CONNECTED, IN_END(ring_offset), SET, -(uint64_t)RING, -EAGAIN, 0, 0,
		0},
	{"connects: long name", CONNECTED, IN_END(name), SET, 0xff, 0, SENT, -EAGAIN, -EAGAIN},

	/* An end. */
	{"end unused", TALKS, IN_END(state), SET, 0, 0, 0, -ECONNRESET, -ECONNRESET},
	{"end used anew", TALKS, IN_END(state), ADD, GENERATION, 0, 0, -ECONNRESET, -ECONNRESET},
	{"end of another kind", TALKS, IN_END(state), XOR, TO_STREAM, 0, SENT, -EAGAIN, -EAGAIN},
	{"end in phase 99", TALKS, IN_END(state), XOR, 0xf0, 0, SENT, -EAGAIN, -EAGAIN},
	{"end of somebody else", TALKS, IN_END(peer), SET, UINT64_MAX, 0, SENT, -EAGAIN, -EAGAIN},
	{"end of an older area", TALKS, IN_END(peer_generation), ADD, 1, 0, SENT, -EAGAIN, -EAGAIN},
	{"ring becomes large", TALKS, IN_END(ring_size), SET, UINT32_MAX, 0, SENT, -EAGAIN,
		-EAGAIN},
	{"ring moves", TALKS, IN_END(ring_offset), SET, UINT64_MAX, 0, SENT, -EAGAIN, -EAGAIN},
	{"long name", TALKS, IN_END(name), SET, 1, 0, SENT, -EAGAIN, -EAGAIN},
	{"end: a position without a word", TALKS, IN_END(end), SET, 5, 0, SENT, -EAGAIN, -EAGAIN},
	{"shut where nothing was", TALKS, IN_END(shut), SET, 1, 0, SENT, -EPROTO, -EPROTO},
	{"shut: connected", CONNECTED, IN_END(shut), SET, UINT64_MAX, 0, SENT, -EPROTO, -EPROTO},
	{"ended", TALKS, IN_END(ended), SET, UINT64_MAX, 0, SENT, -EAGAIN, -EPIPE},
	{"head 1", TALKS, IN_END(head), SET, 1, 0, SENT, -EAGAIN, -EAGAIN},
	{"head before 0", TALKS, IN_END(head), SET, UINT64_MAX, 0, SENT, -EAGAIN, -EPROTO},
	{"head before 2^63", TALKS, IN_END(head), SET, INT64_MAX, 0, SENT, -EAGAIN, -EPROTO},
	{"head after 2^32", TALKS, IN_END(head), SET, GENERATION, 0, SENT, -EAGAIN, -EPROTO},
	{"head after all", TALKS, IN_END(head), SET, 10 * RING, 0, SENT, -EAGAIN, -EPROTO},
	{"wake at once", TALKS, IN_END(wake_at), SET, 0, 0, SENT, -EAGAIN, -EAGAIN},
	{"wake never", TALKS, IN_END(wake_at), SET, UINT64_MAX, 0, SENT, -EAGAIN, -EAGAIN},
	{"space at once", TALKS, IN_END(space_at), SET, 0, 0, SENT, -EAGAIN, -EAGAIN},
	{"space before 2^64", TALKS, IN_END(space_at), SET, UINT64_MAX - 1, 0, SENT, -EAGAIN,
		-EAGAIN},

	/* A ring. */
	{"record 0", TALKS, IN_RING_1, SET, 0, 0, 0, -EAGAIN, -EAGAIN},
	{"record of ones", TALKS, IN_RING_1, SET, UINT64_MAX, 0, 0, -EPROTO, -EPROTO},
	{"record: mark", TALKS, IN_RING_1, XOR, UINT64_C(1) << 63, 0, 0, -EPROTO, -EPROTO},
	{"record: what", TALKS, IN_RING_1, XOR, UINT64_C(4) << 48, 0, 0, -EPROTO, -EPROTO},
	{"record of another lap", TALKS, IN_RING_1, ADD, GENERATION, 0, 0, -EPROTO, -EPROTO},
	{"record too long", TALKS, IN_RING_1, ADD, RING / 2 - 15 - RECORD, 0, 0, -EPROTO, -EPROTO},
	{"record of 2 GiB", TALKS, IN_RING_1, ADD, UINT64_C(1) << 31, 0, 0, -EPROTO, -EPROTO},
	{"record of 4 GiB", TALKS, IN_RING_1, ADD, UINT32_MAX - RECORD, 0, 0, -EPROTO, -EPROTO},
	{"record: longer than it was", TALKS, IN_RING_1, ADD, 3 * RECORD_STEP, 0, 1, -EAGAIN,
		-EAGAIN},
	{"filler at the start", TALKS, IN_RING_1, XOR, UINT64_C(3) << 48, 0, 0, -EPROTO, -EPROTO},
	{"filler of any length", TALKS, IN_RING_2, XOR, UINT64_C(3) << 48, 0, 1, -EPROTO, -EPROTO},
	{"filler to the end", TALKS, IN_RING_2, XOR,
		UINT64_C(3) << 48 | (RECORD ^ (RING - RECORD_STEP - RING_HEADER)), 0, 1, -EPROTO,
		-EPROTO},
};

struct scene {
	struct ivshmem_participant *victim, *hostile, *bystander;
	struct ivshmem_channel *listener; /* of either */
	struct ivshmem_channel *theirs;   /* the hostile one's end */
	struct ivshmem_channel *channel;  /* the victim's */
};

static void
send_two(struct ivshmem_channel *channel)
{
	uint8_t record[RECORD];

	for (unsigned i = 0; i < SENT; i++) {
		stage_fill(record, RECORD, i);
		CHECK_EQ(ivshmem_queue_send(channel, record, RECORD), 0);
	}
}

static void
scene_open(struct scene *scene, enum situation situation)
{
	bool listens = situation == LISTENS || situation == IS_ASKED || situation == ACCEPTED;

	*scene = (struct scene){0};
	stage_open(3, AREA);
	scene->victim = stage_join(0);
	scene->hostile = stage_join(HOSTILE);
	scene->bystander = stage_join(2);
	scene->listener = stage_listen(listens ? scene->hostile : scene->victim, IVSHMEM_QUEUE);
	if (situation == IS_ASKED || situation == ACCEPTED)
		scene->channel = stage_connect(scene->victim, IVSHMEM_QUEUE);
	if (situation == ACCEPTED)
		scene->theirs = stage_accept(scene->listener);
	if (situation == CONNECTED || situation == TALKS)
		scene->theirs = stage_connect(scene->hostile, IVSHMEM_QUEUE);
	if (scene->theirs)
		send_two(scene->theirs);
	if (situation == TALKS) {
		scene->channel = stage_accept(scene->listener);
		CHECK_EQ(ivshmem_participant_dispatch(scene->hostile), 0);
	}
}

static uint8_t *
place_of(const struct scene *scene, enum place place)
{
	switch (place) {
	case HEADER:
		return stage.memory;
	case CLAIM:
		return (uint8_t *)map_claim(&stage.map, HOSTILE);
	case VICTIMS_CLAIM:
		return (uint8_t *)map_claim(&stage.map, 0);
	case IDENTITY:
		return (uint8_t *)map_identity(&stage.map, HOSTILE);
	case NOTICE:
		return (uint8_t *)map_notice(&stage.map, HOSTILE, 0);
	case LISTENER:
		return (uint8_t *)scene->listener->own;
	case END:
		return (uint8_t *)(scene->theirs ? scene->theirs->own : scene->listener->own);
	case RING_1:
		return scene->theirs->writer.data;
	case RING_2:
		return scene->theirs->writer.data + RECORD_STEP;
	}
	return NULL;
}

static void
break_rule(const struct scene *scene, const struct row *row)
{
	uint8_t *place = place_of(scene, row->place) + row->offset;
	uint64_t value = 0;

	if (row->size > 8) { /* a name */
		memset(place, (int)row->value, row->size);
		return;
	}
	memcpy(&value, place, row->size);
	value = row->how == SET   ? row->value
		: row->how == ADD ? value + row->value
				  : value ^ row->value;
	memcpy(place, &value, row->size);
}

static int
see_channel(void *data, const struct ivshmem_channel_info *info)
{
	CHECK(info->phase && strlen(info->name) < sizeof(info->name));
	CHECK(ivshmem_channel_kind_name(info->kind));
	(*(unsigned *)data)++;
	return 0;
}

static int
see_participant(void *data, const struct ivshmem_participant_info *info)
{
	CHECK(strlen(info->name) < sizeof(info->name));
	(*(unsigned *)data)++;
	return 0;
}

/* All that only looks. */
static void
look_at(struct ivshmem_participant *participant, struct ivshmem_channel *channel)
{
	struct ivshmem_channel_status status = {.struct_size = sizeof(status)};
	unsigned n_channels = 0, n_participants = 0;

	CHECK_EQ(ivshmem_channels(participant, see_channel, &n_channels), 0);
	CHECK_EQ(ivshmem_participants(participant, see_participant, &n_participants), 0);
	CHECK(n_participants <= participant->map.n_areas);
	CHECK(n_channels <= participant->map.n_areas * participant->map.n_entries);
	if (channel)
		CHECK_EQ(ivshmem_channel_status(channel, &status), 0);
	CHECK(strlen(status.peer_name) < sizeof(status.peer_name));
}

static int
receive_all(struct ivshmem_channel *channel, int *ret_records)
{
	uint8_t record[RING];
	int64_t r;

	*ret_records = 0;
	while ((r = ivshmem_queue_receive(channel, record, sizeof(record))) >= 0)
		CHECK(++*ret_records < 100);
	return (int)r;
}

static int
send_all(struct ivshmem_channel *channel)
{
	static const uint8_t record[RECORD];
	int r;

	for (unsigned i = 0; (r = ivshmem_queue_send(channel, record, RECORD)) == 0; i++)
		CHECK(i < 100);
	return r;
}

/* An error stays what it is; but what was received is the first to be told. */
static void
use_channel(const struct scene *scene, const struct row *row)
{
	struct ivshmem_channel *channel = scene->channel;
	int records;

	CHECK_EQ(receive_all(channel, &records), row->then);
	CHECK_EQ(records, row->records);
	CHECK_EQ(send_all(channel), row->send);
	if (row->then != -EAGAIN) {
		CHECK_EQ(receive_all(channel, &records), row->then);
		CHECK_EQ(ivshmem_channel_wait(channel, IVSHMEM_READABLE, 1000), IVSHMEM_READABLE);
		CHECK(ivshmem_channel_drain(channel, 1000) < 0);
	}
	if (row->send == -EPROTO)
		CHECK_EQ(receive_all(channel, &records), -EPROTO);
	ivshmem_channel_shutdown(channel);
}

static void
break_one(const struct row *row)
{
	struct scene scene;

	scene_open(&scene, row->situation);
	break_rule(&scene, row);
	look_at(scene.victim, scene.channel);
	stage_check(scene.victim);
	if (row->situation == LISTENS)
		CHECK_EQ(ivshmem_connect(&scene.channel, scene.victim, STAGE_NAME, IVSHMEM_QUEUE,
				 NULL, 0, NULL),
			row->first);
	if (row->situation == CONNECTED)
		CHECK_EQ(ivshmem_accept(&scene.channel, scene.listener), row->first);
	if (scene.channel) {
		/* As polling would. */
		CHECK(ivshmem_channel_fd(scene.channel) >= 0);
		CHECK(stage_check(scene.victim) == 0 || row->then == -ESTALE);
		use_channel(&scene, row);
		look_at(scene.victim, scene.channel);
		ivshmem_channel_close(scene.channel);
	}
	if (row->situation == CONNECTED || row->situation == TALKS)
		ivshmem_channel_close(scene.listener);
	ivshmem_participant_close(scene.hostile);
	/* Nothing is left of it. */
	if (row->then != -ESTALE) {
		struct ivshmem_participant *next = NULL;

		CHECK_EQ(stage_check(scene.victim), 0);
		CHECK_EQ(stage_entries(scene.victim), 0);
		stage_prove(scene.victim, scene.bystander);
		if (row->place != HEADER && layout_claim_state(word_load(map_claim(
						    &stage.map, HOSTILE))) != LAYOUT_OWNED) {
			next = stage_join(HOSTILE);
			stage_prove(next, scene.victim);
			ivshmem_participant_close(next);
		}
	}
	ivshmem_participant_close(scene.victim);
	ivshmem_participant_close(scene.bystander);
	stage_close();
}

TEST_WITH(one_rule_at_a_time, .timeout_s = 120)
{
	unsigned failed = 0;

	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		pid_t pid = test_fork();
		int status;

		if (pid == 0) {
			break_one(&rows[i]);
			_exit(0);
		}
		CHECK_SYS(waitpid(pid, &status, 0));
		if (status != 0) {
			fprintf(stderr, "  in '%s'\n", rows[i].name);
			failed++;
		}
	}
	CHECK_EQ(failed, 0);
}

/* ---- between two looks ----------------------------------------------------------------------- */

static void
scene_open_stream(struct scene *scene)
{
	*scene = (struct scene){0};
	stage_open(3, AREA);
	scene->victim = stage_join(0);
	scene->hostile = stage_join(HOSTILE);
	scene->bystander = stage_join(2);
	scene->listener = stage_listen(scene->victim, IVSHMEM_STREAM);
	scene->theirs = stage_connect(scene->hostile, IVSHMEM_STREAM);
	scene->channel = stage_accept(scene->listener);
}

static void
scene_close(struct scene *scene)
{
	ivshmem_channel_close(scene->channel);
	ivshmem_channel_close(scene->listener);
	ivshmem_participant_close(scene->hostile);
	CHECK_EQ(stage_check(scene->victim), 0);
	CHECK_EQ(stage_entries(scene->victim), 0);
	stage_prove(scene->victim, scene->bystander);
	ivshmem_participant_close(scene->victim);
	ivshmem_participant_close(scene->bystander);
	stage_close();
}

static uint64_t *
first_header(const struct scene *scene)
{
	return (uint64_t *)(void *)scene->theirs->writer.data;
}

/* They would be received without an end. */
TEST(stream_of_empty_records)
{
	struct scene scene;
	char bytes[10];

	scene_open_stream(&scene);
	CHECK_EQ(ivshmem_stream_write(scene.theirs, "ab", 2), 2);
	for (unsigned i = 0; i < 5; i++) {
		void *place;

		CHECK_EQ(channel_reserve(scene.theirs, 0, &place), 0);
		ring_commit(&scene.theirs->writer, 0);
		channel_flush(scene.theirs);
	}
	CHECK_EQ(ivshmem_stream_read(scene.channel, bytes, sizeof(bytes)), 2);
	CHECK_EQ(ivshmem_stream_read(scene.channel, bytes, sizeof(bytes)), -EPROTO);
	CHECK_EQ(ivshmem_stream_read(scene.channel, bytes, sizeof(bytes)), -EPROTO);
	scene_close(&scene);
}

TEST(stream_record_shrinks)
{
	static const uint32_t lengths[] = {
		0, 1, 49, 50, 51, RING / 2 - 16, RING / 2 - 15, INT32_MAX, UINT32_MAX};

	for (unsigned i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		struct scene scene;
		char bytes[RING];
		int64_t r;

		scene_open_stream(&scene);
		memset(bytes, 'x', RECORD);
		CHECK_EQ(ivshmem_stream_write(scene.theirs, bytes, RECORD), RECORD);
		CHECK_EQ(ivshmem_stream_read(scene.channel, bytes, 50), 50);
		*first_header(&scene) += lengths[i] - (uint64_t)RECORD;
		r = ivshmem_stream_read(scene.channel, bytes, sizeof(bytes));
		if (lengths[i] > 50 && lengths[i] <= RING / 2 - 16)
			CHECK_EQ(r, lengths[i] - 50);
		else
			CHECK_EQ(r, -EPROTO);
		scene_close(&scene);
	}
}

/* What the victim looked at is what it releases. */
TEST(record_changes_after_the_peek)
{
	struct scene scene;
	const void *record;

	scene_open(&scene, TALKS);
	CHECK_EQ(ivshmem_queue_peek(scene.channel, &record), RECORD);
	*first_header(&scene) = UINT64_MAX;
	CHECK_EQ(ivshmem_queue_release(scene.channel), 0);
	CHECK_EQ(ivshmem_queue_receive(scene.channel, (char[RECORD]){0}, RECORD), RECORD);
	CHECK_EQ(ivshmem_queue_receive(scene.channel, (char[RECORD]){0}, RECORD), -EAGAIN);
	scene_close(&scene);
}

/* ---- without end ----------------------------------------------------------------------------- */

struct hammer {
	pthread_t thread;
	atomic_bool stop;
	uint64_t *word;
	uint64_t add;
};

static void *
hammer_run(void *data)
{
	struct hammer *hammer = data;

	while (!atomic_load_explicit(&hammer->stop, memory_order_relaxed))
		__atomic_fetch_add(hammer->word, hammer->add, __ATOMIC_RELAXED);
	return NULL;
}

/* Somebody adds to this word all the time. */
static void
hammer_start(struct hammer *hammer, uint64_t *word, uint64_t add)
{
	*hammer = (struct hammer){.word = word, .add = add};
	CHECK_EQ(pthread_create(&hammer->thread, NULL, hammer_run, hammer), 0);
}

static void
hammer_stop(struct hammer *hammer)
{
	atomic_store(&hammer->stop, true);
	CHECK_EQ(pthread_join(hammer->thread, NULL), 0);
}

/* The hostile one is so fast that it gives another notice while the last one is looked at, and connects anew. */
static uint64_t *connecting;

static void
give_another_notice(struct ivshmem_participant *participant, unsigned area, uint64_t bits)
{
	channel_area_changed(participant, area, bits);
	if (area != HOSTILE)
		return;
	map_notice(&stage.map, HOSTILE, 0)->bits = ~participant->neighbours[HOSTILE].seen;
	if (connecting)
		*connecting += GENERATION;
}

TEST(notices_all_the_time)
{
	struct scene scene;
	struct ivshmem_channel *other;
	int records;

	scene_open(&scene, TALKS);
	scene.victim->area_changed = give_another_notice;
	for (unsigned polls = 0; polls < 2; polls++) {
		CHECK_EQ(stage_check(scene.victim), 0);
		receive_all(scene.channel, &records);
		CHECK_EQ(receive_all(scene.channel, &records), -EAGAIN);
		CHECK_EQ(send_all(scene.channel), -EAGAIN);
		CHECK_EQ(ivshmem_accept(&other, scene.listener), -EAGAIN);
		CHECK_EQ(ivshmem_channel_wait(scene.channel, IVSHMEM_READABLE, 20), -ETIMEDOUT);
		CHECK_EQ(ivshmem_channel_drain(scene.channel, 20), -ETIMEDOUT);
		CHECK(ivshmem_channel_fd(scene.channel) >= 0);
		CHECK(ivshmem_channel_fd(scene.listener) >= 0);
	}
	scene.victim->area_changed = channel_area_changed;
	scene_close(&scene);
}

TEST(impossible_connections_all_the_time)
{
	struct scene scene;
	struct ivshmem_channel *other;
	struct pollfd fds = {.events = POLLIN};

	scene_open(&scene, TALKS);
	other = stage_connect(scene.hostile, IVSHMEM_QUEUE);
	other->own->ring_size = 3;
	connecting = &other->own->state;
	scene.victim->area_changed = give_another_notice;
	fds.fd = ivshmem_channel_fd(scene.listener);
	for (unsigned i = 0; i < 10; i++) {
		CHECK_EQ(ivshmem_accept(&other, scene.listener), -EAGAIN);
		/* There is more to do. */
		CHECK_EQ(poll(&fds, 1, 0), 1);
	}
	scene.victim->area_changed = channel_area_changed;
	scene_close(&scene);
}

/* The caller has room in its ring, but in its table of calls only when there is an answer. */
TEST(calls_are_never_answered)
{
	static const struct ivshmem_channel_options options = {
		.struct_size = sizeof(options), .ring_size = 65536};
	struct ivshmem_channel_status status = {.struct_size = sizeof(status)};
	struct ivshmem_participant *victim, *hostile;
	struct ivshmem_channel *listener, *channel, *theirs;
	uint64_t call;
	char reply[8];

	stage_open(2, 256 * 1024);
	victim = stage_join(0);
	hostile = stage_join(HOSTILE);
	CHECK_EQ(ivshmem_listen(&listener, hostile, "calls", IVSHMEM_CALL, &options, NULL), 0);
	CHECK_EQ(ivshmem_connect(&channel, victim, "calls", IVSHMEM_CALL, &options, 0, NULL), 0);
	theirs = stage_accept(listener);
	for (unsigned i = 0; i < IVSHMEM_CALLS_MAX; i++) {
		CHECK_EQ(ivshmem_call_start(channel, "x", 1, -1, &call), 0);
		CHECK_EQ(ivshmem_call_receive(theirs, &call, reply, sizeof(reply)), 1);
		CHECK_EQ(ivshmem_call_cancel(channel, call), 0);
	}
	CHECK_EQ(ivshmem_call(channel, "x", 1, reply, sizeof(reply), 50), -ETIMEDOUT);
	CHECK_EQ(ivshmem_channel_status(channel, &status), 0);
	CHECK(status.sleeps > 0);
	ivshmem_participant_close(hostile);
	ivshmem_participant_close(victim);
	stage_close();
}

TEST(claims_all_the_time)
{
	struct hammer hammer;
	struct scene scene;
	struct ivshmem_participant *next = NULL;
	int r;

	scene_open(&scene, LISTENS);
	hammer_start(&hammer, map_claim(&stage.map, HOSTILE), GENERATION | 2);
	for (unsigned i = 0; i < 20; i++) {
		r = stage_try(&next, 3);
		CHECK(r == 0 || r == -ENOSPC);
		if (r == 0)
			ivshmem_participant_close(next);
		stage_check(scene.victim);
		look_at(scene.victim, NULL);
	}
	hammer_stop(&hammer);
	ivshmem_participant_close(scene.hostile);
	ivshmem_participant_close(scene.victim);
	ivshmem_participant_close(scene.bystander);
	stage_close();
}

/* ---- anything -------------------------------------------------------------------------------- */

#define CHANNELS 4

struct flipper {
	pthread_t thread;
	atomic_bool stop;
	uint64_t seed;
	bool header; /* that, too */
};

static uint64_t
next_random(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

static void
flip(uint64_t *word, uint64_t *seed)
{
	static const uint64_t likely[] = {0, 1, 2, 3, UINT64_MAX, UINT32_MAX, 1024, GENERATION};
	uint64_t random = next_random(seed);

	switch (random >> 8 & 3) {
	case 0:
		word_store(word, likely[random >> 16 & 7]);
		break;
	case 1:
		word_store(word, word_load(word) ^ UINT64_C(1) << (random >> 16 & 63));
		break;
	case 2:
		word_store(word, word_load(word) + likely[random >> 16 & 7]);
		break;
	default:
		word_store(word, next_random(seed));
	}
}

static void *
flipper_run(void *data)
{
	struct flipper *flipper = data;
	uint64_t *area = (uint64_t *)(void *)map_area(&stage.map, HOSTILE);

	while (!atomic_load_explicit(&flipper->stop, memory_order_relaxed)) {
		uint64_t random = next_random(&flipper->seed);

		if (flipper->header && random % 64 == 0)
			flip((uint64_t *)(void *)stage.memory + (random >> 8) % 20, &flipper->seed);
		else
			flip(area + (random >> 8) % (AREA / 8), &flipper->seed);
		if (random % 8 == 0)
			usleep(1);
	}
	return NULL;
}

static void
do_something(struct ivshmem_participant *participant, struct ivshmem_channel *listener,
	struct ivshmem_channel **channel, uint64_t random)
{
	uint8_t bytes[300];
	const void *record;
	void *room;
	uint64_t number = random >> 48 & 7;
	int status;
	int64_t r = 0;

	memset(bytes, 'x', sizeof(bytes));
	if (random >> 16 & 1) {
		ivshmem_state_publish(listener, bytes, random >> 8 & 255);
		ivshmem_topic_publish(listener, bytes, random >> 8 & 255);
		ivshmem_channel_wait(listener, IVSHMEM_WRITABLE, 0);
	}
	if (!*channel) {
		if (random & 1)
			ivshmem_accept(channel, listener);
		else
			ivshmem_connect(channel, participant, random & 2 ? STAGE_NAME : "theirs",
				listener->kind, NULL, 0, NULL);
		return;
	}
	switch (random % 20) {
	case 0:
	case 1:
		r = ivshmem_queue_send(*channel, bytes, random >> 8 & 255);
		break;
	case 2:
	case 3:
		r = ivshmem_queue_receive(*channel, bytes, sizeof(bytes));
		CHECK(r <= (int64_t)sizeof(bytes));
		break;
	case 4:
		r = ivshmem_queue_peek(*channel, &record);
		for (int64_t i = 0; i < r; i++)
			bytes[0] |= ((const uint8_t *)record)[i];
		break;
	case 5:
		ivshmem_queue_release(*channel);
		break;
	case 6:
		r = ivshmem_queue_reserve(*channel, random >> 8 & 255, &room);
		if (r == 0)
			memset(room, 'y', random >> 8 & 255);
		ivshmem_queue_commit(*channel, random >> 8 & 127);
		ivshmem_queue_flush(*channel);
		break;
	case 7:
		r = ivshmem_stream_write(*channel, bytes, sizeof(bytes));
		break;
	case 8:
		r = ivshmem_stream_read(*channel, bytes, sizeof(bytes));
		break;
	case 9:
		ivshmem_channel_wait(
			*channel, 1 + (int)((random >> 8) % 3), (int)(random >> 16 & 1));
		break;
	case 10:
		ivshmem_channel_drain(*channel, (int)(random >> 8 & 1));
		break;
	case 11:
		ivshmem_channel_fd(*channel);
		break;
	case 12:
		look_at(participant, *channel);
		break;
	case 13:
		r = ivshmem_state_read(*channel, bytes, random >> 8 & 255, &number);
		break;
	case 14:
	case 15:
		r = ivshmem_topic_receive(*channel, bytes, sizeof(bytes), &number);
		CHECK(r <= (int64_t)sizeof(bytes));
		break;
	case 16:
		r = ivshmem_call_start(
			*channel, bytes, random >> 8 & 255, (int)(random >> 16 & 3) - 1, &number);
		if (random >> 18 & 1)
			ivshmem_call_cancel(*channel, number);
		break;
	case 17:
		r = ivshmem_call_reply(*channel, &number, &status, bytes, random >> 8 & 255);
		break;
	case 18:
		r = ivshmem_call_receive(*channel, &number, bytes, random >> 8 & 255);
		if (r < 0)
			break;
		ivshmem_call_is_cancelled(*channel, number);
		ivshmem_call_answer(*channel, number, -(int)(random & 3), bytes, random >> 8 & 63);
		break;
	default:
		if (*channel && listener->kind == IVSHMEM_CALL && random >> 8 & 1)
			ivshmem_call(*channel, bytes, random >> 8 & 255, bytes, sizeof(bytes),
				(int)(random >> 16 & 1));
		else if ((random >> 8 & 3) == 0)
			*channel = ivshmem_channel_close(*channel);
		else if ((random >> 8 & 7) == 1)
			ivshmem_channel_shutdown(*channel);
		else
			stage_check(participant);
	}
	/* Most channels end soon. */
	if (r < 0 && r != -EAGAIN && r != -EINVAL && r != -EMSGSIZE)
		*channel = ivshmem_channel_close(*channel);
}

static void
flip_everything(enum ivshmem_channel_kind kind, bool header, uint64_t seed)
{
	struct flipper flipper = {.seed = seed, .header = header};
	struct ivshmem_channel *of_victim[CHANNELS] = {0}, *of_hostile[CHANNELS] = {0};
	static const struct ivshmem_channel_options options = {
		.struct_size = sizeof(options), .ring_size = RING, .patience_ms = 1};
	struct ivshmem_channel *listener, *their_listener = NULL;
	struct ivshmem_participant *victim, *hostile, *bystander;

	stage_open(3, AREA);
	victim = stage_join(0);
	hostile = stage_join(HOSTILE);
	bystander = stage_join(2);
	listener = stage_listen(victim, kind);
	CHECK_EQ(ivshmem_listen(&their_listener, hostile, "theirs", kind, &options, NULL), 0);
	CHECK_EQ(pthread_create(&flipper.thread, NULL, flipper_run, &flipper), 0);
	for (unsigned i = 0; i < test_count(20000); i++) {
		uint64_t random = next_random(&seed);

		do_something(victim, listener, &of_victim[random >> 40 & 3], random);
		random = next_random(&seed);
		do_something(hostile, their_listener, &of_hostile[random >> 40 & 3], random);
	}
	atomic_store(&flipper.stop, true);
	CHECK_EQ(pthread_join(flipper.thread, NULL), 0);
	if (header) {
		CHECK_EQ(ivshmem_channels_format(stage.memory, stage.size, 3, NULL), 0);
		CHECK_EQ(stage_check(victim), -ESTALE);
	}
	ivshmem_participant_close(hostile);
	if (!header) {
		for (unsigned i = 0; i < CHANNELS; i++)
			ivshmem_channel_close(of_victim[i]);
		ivshmem_channel_close(listener);
		/* Its end is not what it would be if it had been honest. */
		word_store(map_claim(&stage.map, HOSTILE), 0);
		CHECK_EQ(stage_check(victim), 0);
		CHECK_EQ(stage_entries(victim), 0);
		stage_prove(victim, bystander);
	}
	ivshmem_participant_close(victim);
	ivshmem_participant_close(bystander);
	stage_close();
}

static void
flip_for_long(enum ivshmem_channel_kind kind, bool header)
{
	unsigned rounds = getenv("IVSHMEM_TEST_LONG") ? 100 : 2;
	const char *given = getenv("TEST_SEED");
	uint64_t seed = given ? strtoull(given, NULL, 0) : (uint64_t)getpid() << 32 | 1;

	for (unsigned i = 0; i < rounds; i++) {
		fprintf(stderr, "TEST_SEED=%#llx\n", (unsigned long long)seed);
		flip_everything(kind, header, seed);
		next_random(&seed);
	}
}

TEST_WITH(words_of_its_area_queue, .timeout_s = 600)
{
	flip_for_long(IVSHMEM_QUEUE, false);
}

TEST_WITH(words_of_its_area_stream, .timeout_s = 600)
{
	flip_for_long(IVSHMEM_STREAM, false);
}

TEST_WITH(words_of_its_area_call, .timeout_s = 600)
{
	flip_for_long(IVSHMEM_CALL, false);
}

TEST_WITH(words_of_its_area_state, .timeout_s = 600)
{
	flip_for_long(IVSHMEM_STATE, false);
}

TEST_WITH(words_of_its_area_topic, .timeout_s = 600)
{
	flip_for_long(IVSHMEM_TOPIC, false);
}

TEST_WITH(words_of_the_header, .timeout_s = 600)
{
	flip_for_long(IVSHMEM_QUEUE, true);
}
