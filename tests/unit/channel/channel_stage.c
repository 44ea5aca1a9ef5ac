/* SPDX-License-Identifier: BSD-2-Clause */
#include <channel_stage.h>

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#define NAME  "stage"
#define PROOF "proof"

struct stage stage;

/* ---- memory ---------------------------------------------------------------------------------- */

void
stage_open(unsigned areas, uint64_t area_size)
{
	uint8_t *room;
	int fd = CHECK_SYS(memfd_create("stage", MFD_CLOEXEC));

	stage = (struct stage){.size = LAYOUT_PAGE + areas * area_size};
	CHECK_SYS(ftruncate(fd, (off_t)stage.size));
	room = mmap(NULL, (size_t)stage.size + 2 * LAYOUT_PAGE, PROT_NONE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	CHECK(room != MAP_FAILED);
	stage.memory = mmap(room + LAYOUT_PAGE, (size_t)stage.size, PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_FIXED, fd, 0);
	CHECK(stage.memory != MAP_FAILED);
	CHECK_SYS(close(fd));
	CHECK_EQ(map_open(&stage.map, stage.memory, stage.size, areas, NULL), 0);
	for (unsigned i = 0; i < STAGE_PEERS; i++)
		stage.rung[i] = CHECK_SYS(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
}

void
stage_close(void)
{
	for (unsigned i = 0; i < STAGE_PEERS; i++)
		test_close(&stage.rung[i]);
	CHECK_SYS(munmap(stage.memory - LAYOUT_PAGE, (size_t)stage.size + 2 * LAYOUT_PAGE));
}

/* ---- participants ---------------------------------------------------------------------------- */

static int
ring(void *data, uint16_t peer, unsigned vector)
{
	(void)data;
	(void)vector;
	if (peer >= STAGE_PEERS)
		return -ENODEV;
	return eventfd_write(stage.rung[peer], 1) < 0 ? -errno : 0;
}

static void
clear(void *data)
{
	eventfd_t count;

	eventfd_read(*(int *)data, &count);
}

int
stage_try(struct ivshmem_participant **ret_participant, int peer)
{
	struct ivshmem_transport transport = {
		.struct_size = sizeof(transport),
		.memory = stage.memory,
		.size = stage.size,
		.fd = -1,
	};

	if (peer >= 0) {
		transport.ring = ring;
		transport.fd = stage.rung[peer];
		transport.clear = clear;
		transport.peer = (uint16_t)peer;
		transport.data = &stage.rung[peer];
	}
	return ivshmem_participant_open_over(ret_participant, &transport, NULL, NULL);
}

struct ivshmem_participant *
stage_join(int peer)
{
	struct ivshmem_participant *participant = NULL;

	CHECK_EQ(stage_try(&participant, peer), 0);
	return participant;
}

int
stage_check(struct ivshmem_participant *participant)
{
	participant->next_check = 0;
	return ivshmem_participant_dispatch(participant);
}

unsigned
stage_entries(const struct ivshmem_participant *participant)
{
	unsigned n = 0;

	for (unsigned i = 0; i < participant->map.n_entries; i++)
		n += participant->entries[i] != NULL;
	return n;
}

/* ---- channels -------------------------------------------------------------------------------- */

static const struct ivshmem_channel_options small = {
	.struct_size = sizeof(small), .ring_size = 1024};

struct ivshmem_channel *
stage_listen(struct ivshmem_participant *participant, enum ivshmem_channel_kind kind)
{
	struct ivshmem_channel *listener = NULL;

	CHECK_EQ(ivshmem_listen(&listener, participant, NAME, kind, &small, NULL), 0);
	return listener;
}

struct ivshmem_channel *
stage_connect(struct ivshmem_participant *participant, enum ivshmem_channel_kind kind)
{
	struct ivshmem_channel *channel = NULL;

	CHECK_EQ(ivshmem_connect(&channel, participant, NAME, kind, &small, 0, NULL), 0);
	return channel;
}

struct ivshmem_channel *
stage_accept(struct ivshmem_channel *listener)
{
	struct ivshmem_channel *channel = NULL;

	CHECK_EQ(ivshmem_accept(&channel, listener), 0);
	return channel;
}

void
stage_fill(uint8_t *record, uint32_t length, unsigned number)
{
	for (uint32_t i = 0; i < length; i++)
		record[i] = (uint8_t)(number * 31 + i * 7 + length);
}

bool
stage_is_filled(const uint8_t *record, uint32_t length, unsigned number)
{
	for (uint32_t i = 0; i < length; i++)
		if (record[i] != (uint8_t)(number * 31 + i * 7 + length))
			return false;
	return true;
}

static void
pass(struct ivshmem_channel *from, struct ivshmem_channel *to, unsigned number)
{
	uint8_t record[100], received[200];

	stage_fill(record, sizeof(record), number);
	CHECK_EQ(ivshmem_queue_send(from, record, sizeof(record)), 0);
	CHECK_EQ(ivshmem_queue_receive(to, received, sizeof(received)), sizeof(record));
	CHECK(stage_is_filled(received, sizeof(record), number));
}

void
stage_prove(struct ivshmem_participant *a, struct ivshmem_participant *b)
{
	struct ivshmem_channel *listener = NULL;
	struct ivshmem_channel *here = NULL;
	struct ivshmem_channel *there = NULL;
	unsigned of_a = stage_entries(a), of_b = stage_entries(b);

	CHECK_EQ(ivshmem_listen(&listener, a, PROOF, IVSHMEM_QUEUE, &small, NULL), 0);
	CHECK_EQ(ivshmem_connect(&there, b, PROOF, IVSHMEM_QUEUE, &small, 0, NULL), 0);
	here = stage_accept(listener);
	pass(there, here, 1);
	for (unsigned i = 2; i < 30; i += 2) {
		pass(here, there, i);
		pass(there, here, i + 1);
	}
	ivshmem_channel_close(there);
	ivshmem_channel_close(here);
	ivshmem_channel_close(listener);
	CHECK_EQ(ivshmem_participant_dispatch(b), 0);
	CHECK_EQ(ivshmem_participant_dispatch(a), 0);
	CHECK_EQ(ivshmem_participant_dispatch(b), 0);
	CHECK_EQ(stage_entries(a), of_a);
	CHECK_EQ(stage_entries(b), of_b);
}
