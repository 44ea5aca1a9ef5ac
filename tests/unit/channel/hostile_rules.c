/* SPDX-License-Identifier: BSD-2-Clause */

/* A hostile participant breaks one rule at a time. */

#include "hostile_scene.h"

#include <errno.h>

#define RING        STAGE_RING
#define RECORD_STEP 112

/* ---- the rules ------------------------------------------------------------------------------- */

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

#define IN_HEADER(field)   HEADER, BYTES_OF(layout_header, field)
#define IN_IDENTITY(field) IDENTITY, BYTES_OF(layout_identity, field)
#define IN_NOTICE(field)   NOTICE, BYTES_OF(layout_notice, field)
#define IN_LISTENER(field) LISTENER, BYTES_OF(layout_entry, field)
#define IN_END(field)      END, BYTES_OF(layout_entry, field)
#define IN_CLAIM           CLAIM, 0, 8
#define IN_VICTIMS_CLAIM   VICTIMS_CLAIM, 0, 8
#define IN_RING_1          RING_1, 0, 8
#define IN_RING_2          RING_2, 0, 8

#define TO_STREAM (UINT64_C(3) << 8) /* from the kind of a queue, when XORed */

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

/* ---- how they are broken --------------------------------------------------------------------- */

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

/* An error stays what it is; but what was received is the first to be told. */
static void
use_channel(const struct scene *scene, const struct row *row)
{
	struct ivshmem_channel *channel = scene->channel;
	int records;

	CHECK_EQ(scene_receive_all(channel, &records), row->then);
	CHECK_EQ(records, row->records);
	CHECK_EQ(scene_send_all(channel), row->send);
	if (row->then != -EAGAIN) {
		CHECK_EQ(scene_receive_all(channel, &records), row->then);
		CHECK_EQ(ivshmem_channel_wait(channel, IVSHMEM_READABLE, 1000), IVSHMEM_READABLE);
		CHECK(ivshmem_channel_drain(channel, 1000) < 0);
	}
	if (row->send == -EPROTO)
		CHECK_EQ(scene_receive_all(channel, &records), -EPROTO);
	ivshmem_channel_shutdown(channel);
}

static void
break_one(unsigned i)
{
	const struct row *row = &rows[i];
	struct scene scene;
	uint64_t violations;

	scene_open_queue(&scene, row->situation);
	scene_break(place_of(&scene, row->place) + row->offset, row->size, row->how, row->value);
	scene_look_at(scene.victim, scene.channel);
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
		scene_look_at(scene.victim, scene.channel);
		ivshmem_channel_close(scene.channel);
	}
	violations = ivshmem_participant_violations(scene.victim);
	if (row->then == -EPROTO || row->send == -EPROTO)
		CHECK(violations > 0);
	else if (row->first == 0)
		CHECK_EQ(violations, 0);
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

static const char *
name_of(unsigned i)
{
	return rows[i].name;
}

TEST_WITH(one_rule_at_a_time, .timeout_s = 120)
{
	scene_run_rows(sizeof(rows) / sizeof(rows[0]), break_one, name_of);
}
