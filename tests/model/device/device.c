/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * The device model against the naive one (device_naive.c): random accesses, peers that come and go,
 * rings, resets, saves and loads, with hosts of different abilities. After each step, what the host
 * was made to do must be what follows from the naive model's state: the mapping, INTx, the set of
 * triggers, the attached vectors and their messages, and every message and ring of the step.
 *
 * The host here has eventfds (counters, with names for the peers), and behaves as KVM does: an
 * attached vector fires by itself, also for what waits in its eventfd when it is attached.
 */

#include "device_naive.h"

#include <checked_host.h>
#include <device/checkpoint.h>
#include <random.h>
#include <test.h>

#include <errno.h>
#include <string.h>

#define STEPS      1500
#define MAX_MEMORY (1 << 16)
#define STATE_SIZE 8192

static struct naive naive;
static struct ivshmem_device *device;
static struct ivshmem_device_config config;
static struct ivshmem_device_ops ops;
static uint8_t memory[MAX_MEMORY] __attribute__((aligned(4096)));
static uint8_t naive_memory[MAX_MEMORY];

/* a saved state of both */
static uint8_t saved[STATE_SIZE];
static struct naive_state naive_saved;
static bool has_saved;
static enum ivshmem_device_format saved_format;

/* ---- the host -------------------------------------------------------------------------------- */

static struct {
	bool refuses_irqfd, refuses_messages;
	unsigned trigger_room;
	struct ivshmem_device_message messages[NAIVE_VECTORS]; /* of those that are attached */
	bool waiting[NAIVE_VECTORS];                           /* own eventfds that are not 0 */

	/* of the current step */
	unsigned sent[NAIVE_VECTORS];
	bool rang;
	uint16_t rang_peer;
	unsigned rang_vector;
} host;

static void
deliver(const struct ivshmem_device_message *message)
{
	CHECK(message->vector < naive.vectors);
	host.sent[message->vector]++;
}

static unsigned
own_vectors(void)
{
	return naive.id < 0 ? 0 : naive_vectors_of(&naive, (uint16_t)naive.id);
}

/* Whatever is sent is what the table says now, and may be sent. */
static int
send_message(const struct ivshmem_device_message *message)
{
	CHECK(naive_open(&naive, message->vector));
	CHECK_EQ(message->address, naive_address(&naive, message->vector));
	CHECK_EQ(message->data, naive_data(&naive, message->vector));
	if (host.refuses_messages)
		return -EAGAIN;
	deliver(message);
	return 0;
}

static void
ring(const struct host_request *request)
{
	CHECK(!host.rang);
	host.rang = true;
	host.rang_peer = request->peer;
	host.rang_vector = request->vector;
}

static bool
take_ring(unsigned vector)
{
	bool waiting = host.waiting[vector];

	host.waiting[vector] = false;
	return waiting;
}

static int
attach(const struct ivshmem_device_message *message)
{
	if (host.refuses_irqfd)
		return -ENOSPC;
	host.messages[message->vector] = *message;
	if (take_ring(message->vector))
		deliver(message);
	return 0;
}

static int
answer(const struct host_request *request)
{
	if (request->type == HOST_SEND)
		return send_message(request->message);
	if (request->type == HOST_ADD)
		return in_force.n_ioeventfds == host.trigger_room ? -ENOSPC : 0;
	if (request->type == HOST_ATTACH)
		return attach(request->message);
	if (request->type == HOST_TAKE)
		return take_ring(request->vector);
	if (request->type == HOST_RING)
		ring(request);
	return 0;
}

/* The host's loop comes round to the eventfds it watches. */
static void
host_loop(void)
{
	for (unsigned i = 0; i < own_vectors(); i++) {
		if (!host.waiting[i] || in_force.attached[i])
			continue;
		host.waiting[i] = false;
		CHECK_EQ(ivshmem_device_interrupt(device, i), 0);
	}
}

/* ---- comparison ------------------------------------------------------------------------------ */

static unsigned
expected_triggers(void)
{
	bool by_register = naive_doorbell_at(&naive) != 0;
	bool by_words = naive_word_at(&naive, 0, 0) != 0;
	unsigned n = 0;

	if (!config.ioeventfd)
		return 0;
	for (unsigned i = 0; i < naive.n_announced; i++) {
		bool first = true;

		for (unsigned j = 0; j < i; j++)
			first = first && naive.announced[j] != naive.announced[i];
		if (first) {
			unsigned vectors = naive_vectors_of(&naive, naive.announced[i]);

			if (by_register)
				n += naive.legacy && vectors > 256 ? 256 : vectors;
			if (by_words)
				n += vectors;
		}
	}
	return n < host.trigger_room ? n : host.trigger_room;
}

static void
compare_triggers(void)
{
	/* None is there twice (the host looked), and there are as many as there should be. */
	CHECK_EQ(in_force.n_ioeventfds, expected_triggers());
	for (unsigned i = 0; i < in_force.n_ioeventfds; i++) {
		const struct ivshmem_device_ioeventfd *trigger = &in_force.ioeventfds[i];

		CHECK_EQ(trigger->address,
			trigger->match ? naive_doorbell_at(&naive)
				       : naive_word_at(&naive, trigger->peer, trigger->vector));
		CHECK(trigger->vector < naive_vectors_of(&naive, trigger->peer));
	}
}

static void
compare_vectors(void)
{
	for (unsigned i = 0; i < naive.vectors; i++) {
		bool attach = ops.attach_irqfd && !naive.host_msix && i < own_vectors() &&
			      naive_open(&naive, i);

		if (in_force.attached[i] || !host.refuses_irqfd)
			CHECK_EQ(in_force.attached[i], attach);
		if (in_force.attached[i]) {
			CHECK_EQ(host.messages[i].address, naive_address(&naive, i));
			CHECK_EQ(host.messages[i].data, naive_data(&naive, i));
			CHECK_EQ(host.messages[i].vector, i);
		}
		CHECK_EQ(host.sent[i], naive.sent[i]);
		host.sent[i] = naive.sent[i] = 0;
	}
}

static void
compare(void)
{
	naive_settle(&naive);
	CHECK_EQ(in_force.mapped_at, naive_memory_at(&naive));
	CHECK_EQ(in_force.intx, naive_intx(&naive));
	CHECK_EQ(ivshmem_device_intx(device), naive_intx(&naive));
	compare_triggers();
	if (naive_has_table(&naive))
		compare_vectors();
	CHECK(!host.rang);
}

/* ---- steps ----------------------------------------------------------------------------------- */

static unsigned
one_of(struct random_source *source, const unsigned *values, unsigned n)
{
	return values[random_below(source, n)];
}

#define ONE_OF(source, ...)                                                                        \
	one_of(source, (const unsigned[]){__VA_ARGS__},                                            \
		sizeof((const unsigned[]){__VA_ARGS__}) / sizeof(unsigned))

/* Values with something to them: all bits, few bits, addresses, messages. */
static uint64_t
random_value(struct random_source *source)
{
	uint64_t value = random_u64(source);

	switch (random_below(source, 8)) {
	case 0:
		return UINT64_MAX;
	case 1:
		return 0;
	case 2:
		return UINT64_C(1) << random_below(source, 64);
	case 3:
		return value & 0xf;
	case 4:
		return value & 0xfffff000;
	case 5:
		return 0xfee00000 | (value & 0xffff);
	default:
		return value;
	}
}

static void
step_config_write(struct random_source *source)
{
	unsigned offset = random_below(source, 300), size = 1u << random_below(source, 4);
	uint64_t value = random_value(source);
	uint8_t bytes[8];

	switch (random_below(source, 6)) {
	case 0:
		offset = 4;
		break;
	case 1:
		/* mostly on */
		offset = 4;
		size = 2;
		value = 0x6 | (value & 0x400);
		break;
	case 2:
		offset = 0x42;
		size = 2;
		value = ONE_OF(source, 0x8000, 0x8000, 0xc000, 0);
		break;
	case 3:
		offset = 0x10 + 4 * random_below(source, naive.words ? 6 : 4);
		break;
	default:
		break;
	}
	for (unsigned i = 0; i < size; i++) {
		bytes[i] = (uint8_t)(value >> 8 * i);
		naive_config_write(&naive, offset + i, bytes[i]);
	}
	ivshmem_device_config_write(device, offset, bytes, size);
}

static void
step_config_read(struct random_source *source)
{
	unsigned offset = random_below(source, 270), length = random_below(source, 270);
	uint8_t bytes[270];

	ivshmem_device_config_read(device, offset, bytes, length);
	for (unsigned i = 0; i < length; i++)
		CHECK_EQ(bytes[i], naive_config_read(&naive, offset + i));
}

static uint64_t
random_offset(struct random_source *source, unsigned bar)
{
	unsigned size = (unsigned)naive_bar_size(&naive, bar);

	if (bar == 0 && random_below(source, 4) > 0)
		return 4 * random_below(source, 5);
	if (bar == 1 && random_below(source, 4) > 0) {
		unsigned vector = random_below(source, naive.vectors ? naive.vectors : 1);

		return random_below(source, 4) == 0
			       ? ivshmem_device_pba_offset(device) + vector / 64 * 8
			       : 16 * vector + 4 * random_below(source, 4);
	}
	if (random_below(source, 50) == 0)
		return random_value(source);
	if (bar == 4 && size > 0) {
		uint64_t words = size / 65536 / 4;
		unsigned peer = ONE_OF(source, 0, 1, 2, 300, 65535);

		return 4 * (peer * words + random_below(source, (unsigned)words)) +
		       (random_below(source, 4) ? 0 : random_below(source, 8));
	}
	return random_below(source, size + 16);
}

static unsigned
random_size(struct random_source *source)
{
	return ONE_OF(source, 1, 2, 4, 4, 4, 4, 8);
}

static void
step_read(struct random_source *source)
{
	unsigned bar = ONE_OF(source, 0, 0, 1, 1, 1, 2, 3, 4), size = random_size(source);
	uint64_t offset = random_offset(source, bar), value;

	/* Without the op, pending bits are what the host's loop has reported. */
	if (!ops.take_ring)
		host_loop();
	value = ivshmem_device_read(device, bar, offset, size);
	CHECK_EQ(value, naive_read(&naive, bar, offset, size));
}

static void
step_write(struct random_source *source)
{
	unsigned bar = ONE_OF(source, 0, 0, 1, 1, 1, 2, 3, 4, 4), size = random_size(source);
	uint64_t offset = random_offset(source, bar), value = random_value(source);
	unsigned vector;
	uint16_t peer;
	bool rang;

	if (bar == 0 && offset == 12 && random_below(source, 4))
		value = (uint64_t)ONE_OF(source, 0, 1, 2, 300, 65535) << 16 |
			random_below(source, naive.vectors + 2);
	/* masks go both ways */
	if (bar == 1 && offset % 16 == 12 && random_below(source, 2))
		value = random_below(source, 2);
	if (bar == 1 && offset % 16 == 8 && size == 8)
		value &= UINT64_C(0x1ffffffff);
	rang = naive_write(&naive, bar, offset, size, value, &peer, &vector);
	ivshmem_device_write(device, bar, offset, size, value);
	CHECK_EQ(host.rang, rang);
	host.rang = false;
	if (rang) {
		CHECK_EQ(host.rang_peer, peer);
		CHECK_EQ(host.rang_vector, vector);
	}
	if (bar == 2)
		CHECK_MEM(memory, naive_memory, (size_t)naive.memory_size);
}

static void
step_ring(struct random_source *source)
{
	unsigned n = own_vectors(), vector;

	if (n == 0) {
		CHECK_EQ(ivshmem_device_interrupt(device, 0), -EINVAL);
		return;
	}
	vector = random_below(source, n);
	if (in_force.attached[vector]) {
		deliver(&host.messages[vector]);
		naive.sent[vector]++;
		return;
	}
	host.waiting[vector] = true;
	/* Where nothing takes over the eventfd, the loop has to be there in time. */
	if (!ops.take_ring || !ops.attach_irqfd || host.refuses_irqfd || !naive_has_table(&naive) ||
		naive.host_msix || random_below(source, 2))
		host_loop();
	naive_rung(&naive, vector);
}

static void
step_peer(struct random_source *source)
{
	uint16_t peer = (uint16_t)ONE_OF(source, 0, 1, 2, 2, 300, 65535);

	if (!naive.server) {
		CHECK_EQ(ivshmem_device_add_vector(device, peer), -EINVAL);
		CHECK_EQ(ivshmem_device_remove_peer(device, peer), -EINVAL);
		return;
	}
	if (random_below(source, 8) > 0) {
		unsigned n = random_below(source, 3) ? 1 : random_below(source, naive.vectors);

		while (n-- > 0) {
			int expected = naive_announce(&naive, peer);

			CHECK_EQ(ivshmem_device_add_vector(device, peer),
				expected < 0 ? -ENOSPC : expected);
		}
	} else if (peer == naive.id) {
		CHECK_EQ(ivshmem_device_remove_peer(device, peer), -EINVAL);
	} else {
		bool found = naive_vectors_of(&naive, peer) > 0;

		CHECK_EQ(ivshmem_device_remove_peer(device, peer), found ? 0 : -ENOENT);
		CHECK_EQ(naive_leave(&naive, peer), found);
	}
	CHECK_EQ(ivshmem_device_peer_vectors(device, peer), naive_vectors_of(&naive, peer));
}

static void
step_late(struct random_source *source)
{
	if (random_below(source, 2)) {
		uint64_t size = naive.memory_size;

		if (random_below(source, 3) == 0)
			CHECK_EQ(ivshmem_device_set_memory(device, NULL, size - 1, NULL),
				naive.has_memory ? -EALREADY : -EINVAL);
		CHECK_EQ(ivshmem_device_set_memory(device, memory, size, NULL),
			naive.has_memory ? -EALREADY : 0);
		naive.has_memory = true;
	} else {
		uint16_t id = (uint16_t)ONE_OF(source, 0, 1, 2, 65535);
		int expected = naive.id >= 0 ? -EALREADY : 0;

		if (naive.server && naive.id < 0)
			naive.id = id;
		CHECK_EQ(ivshmem_device_set_id(device, id), naive.server ? expected : -EINVAL);
	}
}

static void
step_reset(void)
{
	/* Before it, so that "forgotten" means the same to both. */
	host_loop();
	compare();
	ivshmem_device_reset(device);
	naive_reset(&naive);
}

static void
step_save(struct random_source *source)
{
	enum ivshmem_device_format format =
		random_below(source, 3) ? IVSHMEM_DEVICE_FORMAT_NATIVE : IVSHMEM_DEVICE_FORMAT_2010;
	size_t size = ivshmem_device_state_size(device, format);

	CHECK(size <= STATE_SIZE);
	if (size == 0)
		return;
	if (!ops.take_ring)
		host_loop();
	CHECK_EQ(ivshmem_device_save(device, format, saved, size, NULL), 0);
	naive_saved = naive.state;
	if (format == IVSHMEM_DEVICE_FORMAT_2010 && naive.msi)
		naive_saved.mask = naive_saved.status = 0;
	saved_format = format;
	has_saved = true;
}

static void
create(void)
{
	struct ivshmem_error error = {0};

	config.id = naive.id;
	if (ivshmem_device_new(&device, &config, &error) < 0)
		FAIL("%s", error.message);
}

/* Into the same device, or into a new one that has the peers of the old. */
static void
step_load(struct random_source *source)
{
	if (!has_saved)
		return;
	host_loop();
	compare();
	if (random_below(source, 2)) {
		device = ivshmem_device_free(device);
		checked_host_empty();
		create();
		for (unsigned i = 0; i < naive.n_announced; i++)
			CHECK(ivshmem_device_add_vector(device, naive.announced[i]) >= 0);
		if (naive.has_memory)
			CHECK_EQ(ivshmem_device_set_memory(device, memory, naive.memory_size, NULL),
				0);
	}
	naive.state = naive_saved;
	CHECK_EQ(ivshmem_device_load(device, saved_format, saved,
			 ivshmem_device_state_size(device, saved_format), NULL),
		0);
}

static void
step_refuse(struct random_source *source)
{
	host.refuses_messages = naive.host_refuses = !host.refuses_messages;
	if (!host.refuses_messages)
		for (unsigned i = random_below(source, 2) ? naive.vectors : NAIVE_VECTORS; i-- > 0;)
			ivshmem_device_retry(device, i);
}

static void
step(struct random_source *source)
{
	unsigned what = random_below(source, 100);

	if (what < 25)
		step_config_write(source);
	else if (what < 30)
		step_config_read(source);
	else if (what < 45)
		step_read(source);
	else if (what < 65)
		step_write(source);
	else if (what < 80)
		step_ring(source);
	else if (what < 90)
		step_peer(source);
	else if (what < 92)
		step_late(source);
	else if (what < 93)
		step_reset();
	else if (what < 95)
		step_save(source);
	else if (what < 96)
		step_load(source);
	else if (what < 97)
		step_refuse(source);
	else
		host_loop();
}

/* ---- checkpoints ----------------------------------------------------------------------------- */

static struct {
	uint8_t state[STATE_SIZE];
	bool is_there;
} checkpoint;

/* The state of a device that goes on from the checkpoint is the same. */
static void
recover(size_t size)
{
	struct ivshmem_device_config other_config = config;
	struct ivshmem_device *other;
	uint8_t state[STATE_SIZE];

	other_config.ops = NULL;
	CHECK_EQ(ivshmem_device_new(&other, &other_config, NULL), 0);
	CHECK_EQ(device_recover(other, checkpoint.state, size, NULL), 0);
	device_checkpoint(other, state);
	CHECK(memcmp(state, checkpoint.state, size) == 0);
	ivshmem_device_free(other);
}

/* Nothing that is saved has changed without the device saying so. */
static void
check_checkpoint(bool recovers)
{
	size_t size = ivshmem_device_state_size(device, IVSHMEM_DEVICE_FORMAT_NATIVE);
	bool touched = device_is_touched(device);
	uint8_t state[STATE_SIZE];

	CHECK(size <= STATE_SIZE);
	device_checkpoint(device, state);
	CHECK(!device_is_touched(device));
	if (checkpoint.is_there && !touched)
		CHECK(memcmp(state, checkpoint.state, size) == 0);
	memcpy(checkpoint.state, state, size);
	checkpoint.is_there = true;
	if (recovers)
		recover(size);
}

/* ---- a sequence ------------------------------------------------------------------------------ */

static void
set_up(struct random_source *source)
{
	bool irqfd = random_below(source, 2), take = random_below(source, 4) > 0;

	memset(&naive, 0, sizeof(naive));
	memset(&host, 0, sizeof(host));
	memset(memory, 0, sizeof(memory));
	memset(naive_memory, 0, sizeof(naive_memory));
	has_saved = checkpoint.is_there = false;

	naive.revision = random_below(source, 2);
	naive.server = random_below(source, 8) > 0;
	naive.msi = naive.revision == 1 || random_below(source, 3) > 0;
	naive.vectors = naive.server ? ONE_OF(source, 1, 2, 3, 5, 33, 130, 290) : 0;
	naive.host_msix = random_below(source, 4) == 0;
	naive.legacy = random_below(source, 3) == 0;
	naive.words = naive.revision == 1 && naive.server && random_below(source, 2);
	naive.memory_size = UINT64_C(4096) << random_below(source, 5);
	naive.memory = naive_memory;
	naive.id = naive.revision == 0 && random_below(source, 2) ? -1 : 0;
	naive_init(&naive);

	host.refuses_irqfd = random_below(source, 4) == 0;
	host.trigger_room = random_below(source, 2) ? IN_FORCE_TRIGGERS : random_below(source, 12);
	ops = checked_ops;
	if (!irqfd)
		ops.attach_irqfd = NULL;
	if (!take)
		ops.take_ring = NULL;
	checked_host_init(answer);

	ivshmem_device_config_init(&config, sizeof(config), naive.revision);
	config.server = naive.server;
	config.msi = naive.msi;
	config.vectors = naive.vectors;
	config.memory_size = naive.memory_size;
	config.master = IVSHMEM_DEVICE_MASTER_ON;
	config.ioeventfd = naive.server && naive.msi && random_below(source, 2);
	config.host_msix = naive.host_msix;
	config.legacy_doorbell = naive.legacy;
	config.doorbell_bar = naive.words;
	config.ops = &ops;
	config.data = &in_force;
	create();
}

static void
device_sequence(struct random_source *source)
{
	set_up(source);
	for (unsigned i = 0; i < STEPS; i++) {
		if (naive.n_announced > NAIVE_EVENTS - 2 * NAIVE_VECTORS)
			break;
		step(source);
		compare();
		check_checkpoint(i % 64 == 0);
	}
	device = ivshmem_device_free(device);
	checked_host_empty();
}

TEST_WITH(device_against_naive_device, .timeout_s = 600)
{
	random_sequences(device_sequence);
}
