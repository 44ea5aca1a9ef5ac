/* SPDX-License-Identifier: BSD-2-Clause */

/* REGION_READ, REGION_WRITE and REGION_WRITE_MULTI. Whatever has the right form succeeds. */

#include <vfio_user_room.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static uint8_t body[MESSAGE_MAX_BODY];

static bool
all_ones(const uint8_t *data, size_t length)
{
	for (size_t i = 0; i < length; i++)
		if (data[i] != 0xff)
			return false;
	return true;
}

static bool
is_access(uint32_t count)
{
	return count == 1 || count == 2 || count == 4 || count == 8;
}

ROOM_TEST(registers)
{
	CHECK_EQ(room_read(0, IVSHMEM_REG_IV_POSITION, 4), 5);
	room_write(0, IVSHMEM_REG_INTR_MASK, 4, 0x12345678);
	CHECK_EQ(room_read(0, IVSHMEM_REG_INTR_MASK, 4), 0x12345678);
	/* Registers know accesses of 4 bytes only, and a message is one access whatever its size. */
	for (uint32_t count = 0; count <= 8; count++) {
		if (count == 4)
			continue;
		room_write(0, IVSHMEM_REG_INTR_MASK, count, 0);
		CHECK_EQ(room_read(0, IVSHMEM_REG_INTR_MASK, 4), 0x12345678);
	}
	CHECK_EQ(room_read(0, IVSHMEM_REG_INTR_MASK, 1), 0);
	CHECK_EQ(room_read(0, IVSHMEM_REG_INTR_MASK, 8), 0);
	CHECK_EQ(room_read(0, IVSHMEM_REG_INTR_MASK, 3), 0xffffff);
	CHECK(all_ones(room_read_bytes(0, 0, 256), 256));
}

/* All of config space in one go, as QEMU reads it, and what is beyond it. */
ROOM_TEST(config_space)
{
	const uint8_t *config;
	uint8_t ones[4] = {0xff, 0xff, 0xff, 0xff};

	config = room_read_bytes(7, 0, 256);
	CHECK_MEM(config, ((const uint8_t[]){0xf4, 0x1a, 0x10, 0x11}), 4);
	CHECK_EQ(config[0x08], 1);
	CHECK(all_ones(room_read_bytes(7, 0, 4096) + 256, 4096 - 256));
	CHECK_EQ(room_read_bytes(7, 254, 4)[1], 0);
	CHECK(all_ones(room_read_bytes(7, 254, 4) + 2, 2));
	CHECK(all_ones(room_read_bytes(7, UINT32_MAX, 4), 4));
	CHECK(all_ones(room_read_bytes(7, UINT64_MAX, 4), 4));
	CHECK(all_ones(room_read_bytes(7, UINT64_C(1) << 32, 64), 64));
	for (unsigned i = 0; i < 3; i++)
		room_write_bytes(7,
			(const uint64_t[]){UINT32_MAX, UINT64_MAX, UINT64_C(1) << 32}[i], 4, ones);
	CHECK_EQ(room_read(7, 0, 4), 0x11101af4);
	/* Sizing: BAR0 with 256 bytes, BAR2 with 64 bits. */
	room_write_bytes(7, 0x10, 4, ones);
	CHECK_EQ(room_read(7, 0x10, 4), 0xffffff00);
	room_write_bytes(7, 0x18, 4, ones);
	room_write_bytes(7, 0x1c, 4, ones);
	CHECK_EQ(room_read(7, 0x18, 8), (UINT64_MAX & ~(STAGE_MEMORY - 1)) | 0xc);
}

ROOM_TEST(regions_that_are_not_there)
{
	const uint32_t regions[] = {3, 4, 5, 6, 8, 9, 100, 0x80000002, UINT32_MAX};
	const uint32_t counts[] = {0, 1, 4, 8, 77, VFIO_USER_MAX_TRANSFER};
	uint8_t *data = calloc(1, VFIO_USER_MAX_TRANSFER);

	CHECK(data);
	for (size_t i = 0; i < LENGTH(regions); i++)
		for (size_t k = 0; k < LENGTH(counts); k++) {
			CHECK(all_ones(room_read_bytes(regions[i], 0, counts[k]), counts[k]));
			room_write_bytes(regions[i], 0, counts[k], data);
		}
	CHECK_EQ(stage.n_warnings, 0);
	free(data);
}

/* Any piece of the memory, against the memory itself. */
ROOM_TEST(memory_in_bulk)
{
	const uint32_t counts[] = {0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 100, 4095, 65537};
	uint8_t *memory, *data = malloc(VFIO_USER_MAX_TRANSFER);

	CHECK(data);
	memory = member_memory(stage.member);
	for (size_t i = 0; i < STAGE_MEMORY; i++)
		memory[i] = (uint8_t)(i * 31 + (i >> 8));
	for (size_t i = 0; i < LENGTH(counts); i++)
		for (uint64_t offset = 4090; offset < 4107; offset++) {
			CHECK_MEM(
				room_read_bytes(2, offset, counts[i]), memory + offset, counts[i]);
			for (uint32_t k = 0; k < counts[i]; k++)
				data[k] = (uint8_t)(k * 17 + offset + i);
			room_write_bytes(2, offset, counts[i], data);
			CHECK_MEM(memory + offset, data, counts[i]);
		}
	/* All of it in one message, and the neighbours of a write stay. */
	CHECK_MEM(room_read_bytes(2, 0, STAGE_MEMORY), memory, STAGE_MEMORY);
	memset(memory, 0, STAGE_MEMORY);
	memset(data, 0xaa, 1000);
	room_write_bytes(2, 501, 999, data);
	for (size_t i = 0; i < 3000; i++)
		CHECK_EQ(memory[i], i >= 501 && i < 1500 ? 0xaa : 0);
	free(data);
}

/* What reaches beyond the end is not there; and no offset is so large that it begins anew. */
ROOM_TEST(memory_beyond_its_end)
{
	const uint64_t end = STAGE_MEMORY;
	uint8_t zeros[64] = {0};
	uint8_t *memory;

	memory = member_memory(stage.member);
	memset(memory, 0x11, end);
	CHECK(all_ones(room_read_bytes(2, end - 4, 8), 8));
	CHECK(all_ones(room_read_bytes(2, end, 64), 64));
	CHECK_MEM(room_read_bytes(2, end - 8, 64), memory, 8);
	CHECK(all_ones(room_read_bytes(2, end - 8, 64) + 8, 56));
	for (uint32_t count = 0; count <= 64; count++)
		for (uint64_t offset = UINT64_MAX; offset > UINT64_MAX - 64; offset--) {
			CHECK(all_ones(room_read_bytes(2, offset, count), count));
			room_write_bytes(2, offset, count, zeros);
		}
	room_write_bytes(2, end - 4, 8, zeros);
	room_write_bytes(2, end, 64, zeros);
	for (size_t i = 0; i < end; i++)
		CHECK_EQ(memory[i], 0x11);
}

ROOM_TEST(counts_that_do_not_fit)
{
	struct vfio_user_region_access access = {0, 2, VFIO_USER_MAX_TRANSFER + 1};

	CHECK_EQ(room_request(VFIO_USER_REGION_READ, &access, sizeof(access), NULL, 0), EINVAL);
	access.count = UINT32_MAX;
	CHECK_EQ(room_request(VFIO_USER_REGION_READ, &access, sizeof(access), NULL, 0), EINVAL);
	for (uint32_t count = 0; count <= 16; count++)
		for (size_t length = 0; length <= 16; length++) {
			access.count = count;
			memcpy(body, &access, sizeof(access));
			memset(body + sizeof(access), 0, 16);
			CHECK_EQ(room_request(VFIO_USER_REGION_WRITE, body, sizeof(access) + length,
					 NULL, 0),
				count == length ? 0 : EINVAL);
		}
}

/* The peer's eventfd is written when the reply is made. */
ROOM_TEST(doorbell)
{
	int vector;

	vector = room_vector(9);
	room_write(0, IVSHMEM_REG_DOORBELL, 4, 9 << 16);
	CHECK_EQ(stage_count(vector), 1);
	room_write(0, IVSHMEM_REG_DOORBELL, 4, 9 << 16 | 1);
	room_write(0, IVSHMEM_REG_DOORBELL, 4, 8 << 16);
	CHECK_EQ(stage_count(vector), 0);
}

/* The doorbell words, each of them by itself; a read changes nothing. */
TEST(doorbell_words)
{
	struct ivshmem_device_config config = room_config(1, 2);
	uint8_t many[128];
	int first, second;

	config.doorbell_bar = true;
	room_open(&config);
	first = room_vector(9);
	second = room_vector(9);
	room_write(4, 9 * 8, 4, 0);
	CHECK_EQ(stage_count(first), 1);
	CHECK_EQ(stage_count(second), 0);
	room_write(4, 9 * 8 + 4, 4, UINT32_MAX);
	CHECK_EQ(stage_count(first), 0);
	CHECK_EQ(stage_count(second), 1);
	for (uint32_t count = 0; count <= 16; count++) {
		if (count != 4)
			room_write(4, 9 * 8, count > 8 ? 8 : count, 1);
		CHECK(!is_access(count) || room_read(4, 9 * 8, count) == 0);
	}
	room_write(4, 10 * 8, 4, 1);
	room_write(4, 65535 * 8 + 4, 4, 1);
	room_write(4, 65536 * 8, 4, 1);
	CHECK_EQ(stage_count(first), 0);
	CHECK_EQ(stage_count(second), 0);
	/* Many at once are no rings: a message is one access. */
	memset(many, 1, sizeof(many));
	room_write_bytes(4, 0, sizeof(many), many);
	CHECK_EQ(stage_count(first), 0);
	CHECK_EQ(stage_count(second), 0);
	CHECK(all_ones(room_read_bytes(4, 0, 128), 128));
	CHECK(all_ones(room_read_bytes(4, 65536 * 8, 4), 4));
	CHECK(all_ones(room_read_bytes(5, 0, 4), 4));
	room_close();
}

/* ---- REGION_WRITE_MULTI --------------------------------------------------------------------------- */

static uint32_t
write_multi(uint64_t count, const struct vfio_user_one_write *writes, size_t length)
{
	memcpy(body, &count, sizeof(count));
	memcpy(body + sizeof(count), writes, length);
	return room_request(VFIO_USER_REGION_WRITE_MULTI, body, sizeof(count) + length, NULL, 0);
}

ROOM_TEST(many_writes_at_once)
{
	struct vfio_user_one_write writes[5] = {
		{0, 2, 8, {1, 2, 3, 4, 5, 6, 7, 8}},
		{100, 2, 3, {9, 9, 9, 1, 1, 1, 1, 1}},
		{IVSHMEM_REG_DOORBELL, 0, 4, {0, 0, 9, 0, 0, 0, 0, 0}},
		{0, 8, 4, {1}},
		{200, 2, 0, {1}},
	};
	uint8_t *memory;
	int vector;

	memory = member_memory(stage.member);
	vector = room_vector(9);
	CHECK_EQ(write_multi(5, writes, sizeof(writes)), 0);
	CHECK_EQ(room.reply.length, 8);
	CHECK_EQ(room.reply.body[0], 5);
	CHECK_EQ(stage_count(vector), 1);
	CHECK_MEM(memory, writes[0].data, 8);
	CHECK_MEM(memory + 100, ((const uint8_t[]){9, 9, 9, 0}), 4);
	CHECK_EQ(memory[200], 0);
	CHECK_EQ(write_multi(0, writes, 0), 0);
	CHECK_EQ(room.reply.length, 8);

	/* All of it is wrong, or nothing. */
	memset(memory, 0, 300);
	CHECK_EQ(write_multi(4, writes, sizeof(writes)), EINVAL);
	CHECK_EQ(write_multi(6, writes, sizeof(writes)), EINVAL);
	CHECK_EQ(write_multi(5, writes, sizeof(writes) - 1), EINVAL);
	CHECK_EQ(write_multi(4, writes, sizeof(writes) - 23), EINVAL);
	CHECK_EQ(write_multi(UINT64_MAX, writes, sizeof(writes)), EINVAL);
	CHECK_EQ(write_multi((UINT64_C(1) << 63) + 5, writes, sizeof(writes)), EINVAL);
	writes[4].count = 9;
	CHECK_EQ(write_multi(5, writes, sizeof(writes)), EINVAL);
	writes[4].count = UINT32_MAX;
	CHECK_EQ(write_multi(5, writes, sizeof(writes)), EINVAL);
	for (size_t i = 0; i < 300; i++)
		CHECK_EQ(memory[i], 0);
	CHECK_EQ(stage_count(vector), 0);
}

/* ---- reset ----------------------------------------------------------------------------------------- */

/* By a message, or because another VMM is there: a device as after power-on, with the memory as it was. */
ROOM_TEST(reset)
{
	for (unsigned another = 0; another < 2; another++) {
		room_write(0, IVSHMEM_REG_INTR_MASK, 4, 1);
		room_write(7, 4, 2, 6);
		room_write(2, 0, 4, 77 + another);
		if (another) {
			room_change_vmm();
			CHECK_EQ(room_version("{}"), 0);
		} else {
			CHECK_EQ(room_request(VFIO_USER_DEVICE_RESET, NULL, 0, NULL, 0), 0);
			CHECK_EQ(room.header.size, 16);
		}
		CHECK_EQ(room_read(0, IVSHMEM_REG_INTR_MASK, 4), 0);
		CHECK_EQ(room_read(7, 4, 2), 0);
		CHECK_EQ(room_read(0, IVSHMEM_REG_IV_POSITION, 4), 5);
		CHECK_EQ(room_read(2, 0, 4), 77 + another);
	}
}
