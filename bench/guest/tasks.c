/* SPDX-License-Identifier: BSD-2-Clause */
#include "tasks.h"

#include <measure.h>

#include <linux/ivshmem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <ivshmem/abi.h>
#include <ivshmem/client.h>

/* In each unit that is timed, because a guest's clock may itself be far away. */
#define BATCH 16u

#define UNITS_MOST 4096

unsigned tasks_idle_peer;

static bool
has_registers(const struct device *device)
{
	return device->registers;
}

static bool
has_words(const struct device *device)
{
	return device->words;
}

static bool
has_node(const struct device *device)
{
	return device->node >= 0;
}

/* ---- registers ------------------------------------------------------------------------------- */

static void
read_position(const struct device *device, unsigned times)
{
	for (unsigned i = 0; i < times; i++)
		(void)device->registers[IVSHMEM_REG_IV_POSITION / 4];
}

static void
store_in_register(const struct device *device, unsigned times)
{
	uint32_t value = ivshmem_doorbell_value((uint16_t)tasks_idle_peer, 0);

	for (unsigned i = 0; i < times; i++)
		device->registers[IVSHMEM_REG_DOORBELL / 4] = value;
}

static void
store_in_word(const struct device *device, unsigned times)
{
	uint64_t at =
		ivshmem_doorbell_offset((uint16_t)tasks_idle_peer, 0, device->words_shift) / 4;

	for (unsigned i = 0; i < times; i++)
		device->words[at] = 1;
}

/* ---- the driver ------------------------------------------------------------------------------ */

static void
call_for_each(const struct device *device, unsigned times)
{
	for (unsigned i = 0; i < times; i++)
		device_ring(device, tasks_idle_peer, 0);
}

static void
call_once(const struct device *device, unsigned times)
{
	struct ivshmem_dev_target targets[BATCH];
	struct ivshmem_dev_ring ring = {
		.size = sizeof(ring), .targets = (uintptr_t)targets, .n = times};

	for (unsigned i = 0; i < times; i++)
		targets[i] = (struct ivshmem_dev_target){.peer = tasks_idle_peer};
	if (ioctl(device->node, IVSHMEM_DEV_RING, &ring) != (int)times)
		die("IVSHMEM_DEV_RING");
}

/* ---- libivshmem ------------------------------------------------------------------------------ */

static struct ivshmem_client *client;

/* vfio lets only one have a device, so that the library cannot have it as well. */
static bool
attach(const struct device *device)
{
	struct ivshmem_options options = {.struct_size = sizeof(options), .backend = "kernel"};
	struct ivshmem_error error;
	char target[64];

	if (!has_node(device) && strcmp(device->way, "sysfs") != 0)
		return false;
	if (!has_node(device))
		options.backend = "sysfs";
	snprintf(target, sizeof(target), "pci:%.32s", device->address);
	if (ivshmem_attach(&client, target, &options, &error) == 0)
		return true;
	fprintf(stderr, "guest_access: %s: %s\n", device->name, error.message);
	exit(1);
}

static void
ring_by_library(const struct device *device, unsigned times)
{
	(void)device;
	for (unsigned i = 0; i < times; i++)
		if (ivshmem_ring(client, (uint16_t)tasks_idle_peer, 0) < 0)
			die("ivshmem_ring");
}

static void
detach(void)
{
	client = ivshmem_detach(client);
}

/* ---- memory ---------------------------------------------------------------------------------- */

#define BLOCK_MOST (4u << 20)
#define DISTANCE   (339u * 4096)

/*
 * The private side of a copy, at the same distance from the memory of each device, as far as the
 * caches of addresses are concerned that a processor has, or TCG: two pages that need the same place
 * there would make a copy ten times as slow, for reasons of our own.
 */
static void *
own_block(const struct device *device)
{
	static char *block;

	if (!block) {
		block = mmap(NULL, 2 * BLOCK_MOST, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (block == MAP_FAILED)
			die("mmap");
		memset(block, 1, 2 * BLOCK_MOST);
	}
	return block + ((uintptr_t)device->memory + DISTANCE - (uintptr_t)block) % BLOCK_MOST;
}

static bool
has_memory(const struct device *device)
{
	return device->size >= BLOCK_MOST;
}

/* By words of 8 bytes and no vectors, as it must be done where memory is uncached (ivshmem/client.h). */
static void
copy(void *to, const void *from, unsigned bytes)
{
	unsigned long words = bytes / 8;

	__asm__ volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(words) : : "memory");
}

static void
copy_into(const struct device *device, unsigned bytes)
{
	copy(device->memory, own_block(device), bytes);
}

static void
copy_out(const struct device *device, unsigned bytes)
{
	copy(own_block(device), device->memory, bytes);
}

/* ---- all ------------------------------------------------------------------------------------- */

const struct task tasks_reads[] = {
	{"read of a register", has_registers, read_position, BATCH, NULL},
	{NULL, NULL, NULL, 0, NULL},
};

const struct task tasks_rings[] = {
	{"ring by register", has_registers, store_in_register, BATCH, NULL},
	{"ring by word", has_words, store_in_word, BATCH, NULL},
	{"ring by call", has_node, call_for_each, BATCH, NULL},
	{"ring of 16 by call", has_node, call_once, BATCH, NULL},
	{"ring by library", attach, ring_by_library, BATCH, detach},
	{NULL, NULL, NULL, 0, NULL},
};

const struct task tasks_copies[] = {
	{"64 KiB into", has_memory, copy_into, 64u << 10, NULL},
	{"64 KiB out of", has_memory, copy_out, 64u << 10, NULL},
	{"4 MiB into", has_memory, copy_into, BLOCK_MOST, NULL},
	{"4 MiB out of", has_memory, copy_out, BLOCK_MOST, NULL},
	{NULL, NULL, NULL, 0, NULL},
};

double
task_measure(const struct task *task, const struct device *device, uint64_t sample_ns)
{
	static uint64_t times[UNITS_MOST];
	uint64_t passed = 0;
	unsigned n = 0;

	if (!task->begin(device))
		return -1;
	task->run(device, task->amount); /* warm up */
	while (n < UNITS_MOST && passed < sample_ns) {
		uint64_t start = clock_ns(CLOCK_MONOTONIC);

		task->run(device, task->amount);
		times[n] = clock_ns(CLOCK_MONOTONIC) - start;
		passed += times[n++];
	}
	if (task->end)
		task->end();
	return (double)median(times, n) / task->amount;
}
