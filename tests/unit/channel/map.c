/* SPDX-License-Identifier: BSD-2-Clause */

/* Regions: made once by whoever comes first, found by others, refused if they are something else; and the heap. */

#include <channel/heap.h>
#include <channel/map.h>

#include <ivshmem/common.h>
#include <test.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SIZE (UINT64_C(4) << 20)

static void *
new_memory(uint64_t size)
{
	void *memory;

	CHECK_EQ(posix_memalign(&memory, 4096, (size_t)size), 0);
	memset(memory, 0, (size_t)size);
	return memory;
}

static void
check_map(const struct map *map, uint64_t size)
{
	const uint8_t *end = map_area(map, map->n_areas);

	CHECK(end <= map->memory + size);
	CHECK(map->n_areas >= 2);
	CHECK(map->area_size % 4096 == 0);
	for (unsigned area = 0; area < map->n_areas; area++) {
		CHECK((const uint8_t *)map_identity(map, area) >= map->memory + 4096);
		CHECK((const uint8_t *)map_notice(map, area, map->n_areas) <=
			(const uint8_t *)map_entry(map, area, 0));
		CHECK_EQ(
			(const uint8_t *)map_entry(map, area, map->n_entries) - map_area(map, area),
			map->heap_offset);
		CHECK((uintptr_t)map_entry(map, area, 0) % 128 == 0);
	}
	CHECK(map->heap_offset + 512 <= map->area_size);
	CHECK(map->n_entries >= 2);
}

TEST(all_sizes_and_numbers_of_areas)
{
	for (uint64_t size = MAP_MIN_SIZE; size <= SIZE; size += size < 65536 ? 4096 : size / 2) {
		uint8_t *memory = new_memory(size);

		for (unsigned areas = 0; areas <= 256; areas += areas < 20 ? 1 : 59) {
			struct ivshmem_error error = {0};
			struct map map;
			int r;

			memset(memory, 0, 4096);
			r = map_open(&map, memory, size, areas, &error);
			if (r == -EINVAL) {
				CHECK(error.message[0] != 0);
				CHECK(areas == 1 || areas > 2 || size < MAP_MIN_SIZE + 4096);
				continue;
			}
			CHECK_EQ(r, 0);
			if (areas)
				CHECK_EQ(map.n_areas, areas);
			else
				CHECK_EQ(map.n_areas, map_default_areas(size));
			check_map(&map, size);
		}
		free(memory);
	}
}

TEST(the_default_number_of_areas)
{
	CHECK_EQ(map_default_areas(4096), 2);
	CHECK_EQ(map_default_areas(SIZE / 4), 4);
	CHECK_EQ(map_default_areas(SIZE / 2), 8);
	CHECK_EQ(map_default_areas(SIZE), 8);
	CHECK_EQ(map_default_areas(4 * SIZE), 25);
	CHECK_EQ(map_default_areas(UINT64_C(1) << 40), 64);
}

TEST(the_smallest_and_the_largest)
{
	struct ivshmem_error error;
	uint8_t *memory = new_memory(MAP_MIN_SIZE);
	struct map map;

	CHECK_EQ(map_open(&map, memory, MAP_MIN_SIZE - 1, 0, &error), -EINVAL);
	CHECK_HAS(error.message, "at least 12288 bytes");
	CHECK_EQ(map_open(&map, memory, MAP_MIN_SIZE, 0, NULL), 0);
	check_map(&map, MAP_MIN_SIZE);
	CHECK_EQ(map_open(&map, memory, SIZE, 257, &error), -EINVAL);
	CHECK_EQ(map_open(&map, memory, SIZE, 1, &error), -EINVAL);
	CHECK_HAS(error.message, "from 2 to 256");
	CHECK_EQ(map_open(&map, memory, 8 * 4096, 8, &error), -EINVAL);
	CHECK_HAS(error.message, "too small for 8 areas");
	/* Nothing but the header is touched, so this needs no memory. */
	memset(memory, 0, MAP_MIN_SIZE);
	CHECK_EQ(map_open(&map, memory, UINT64_C(1) << 46, 0, NULL), 0);
	CHECK_EQ(map.n_areas, 64);
	CHECK_EQ(map.n_entries, 1024);
	CHECK_EQ(map.area_size, (UINT64_C(1) << 40) - 4096);
	free(memory);
}

TEST(whoever_comes_later_takes_what_is_there)
{
	uint8_t *memory = new_memory(SIZE);
	struct map first, second;
	uint64_t epoch;

	CHECK_EQ(map_open(&first, memory, SIZE, 7, NULL), 0);
	epoch = map_header(&first)->epoch;
	CHECK(epoch != 0);
	CHECK_EQ(map_open(&second, memory, SIZE, 3, NULL), 0);
	CHECK_EQ(second.n_areas, 7);
	CHECK_EQ(second.area_size, first.area_size);
	CHECK_EQ(map_header(&first)->epoch, epoch);
	/* Others may see more of the memory, if a BAR is larger; not less. */
	CHECK_EQ(map_open(&second, memory, 2 * SIZE, 0, NULL), 0);
	CHECK_EQ(second.area_size, first.area_size);
	CHECK_EQ(map_open(&second, memory, SIZE / 2, 0, NULL), -EPROTO);
	free(memory);
}

TEST(who_only_looks_formats_nothing)
{
	uint8_t *memory = new_memory(SIZE);
	uint8_t *before = new_memory(SIZE);
	struct ivshmem_error error;
	struct map map, seen;

	CHECK_EQ(map_look(&seen, memory, SIZE, &error), -ENODATA);
	CHECK_EQ(memcmp(memory, before, SIZE), 0);
	memory[2000] = 1;
	CHECK_EQ(map_look(&seen, memory, SIZE, &error), -EMEDIUMTYPE);
	memory[2000] = 0;
	CHECK_EQ(map_look(&seen, memory, MAP_MIN_SIZE - 1, &error), -EINVAL);
	CHECK_EQ(map_open(&map, memory, SIZE, 7, NULL), 0);
	memcpy(before, memory, SIZE);
	CHECK_EQ(map_look(&seen, memory, SIZE, NULL), 0);
	CHECK_EQ(seen.n_areas, 7);
	CHECK_EQ(seen.area_size, map.area_size);
	check_map(&seen, SIZE);
	CHECK_EQ(map_look(&seen, memory, SIZE / 2, &error), -EPROTO);
	CHECK_EQ(memcmp(memory, before, SIZE), 0);
	free(before);
	free(memory);
}

TEST(who_died_while_formatting_is_overtaken)
{
	uint8_t *memory = new_memory(SIZE);
	struct layout_header *header = (struct layout_header *)(void *)memory;
	struct map map;

	header->shape = layout_shape(5, 8 * 4096);
	CHECK_EQ(map_open(&map, memory, SIZE, 7, NULL), 0);
	CHECK_EQ(map.n_areas, 5);
	CHECK_EQ(map.area_size, 8 * 4096);
	memset(memory, 0, 4096);
	header->shape = layout_shape(5, 8 * 4096);
	header->epoch = 12;
	CHECK_EQ(map_open(&map, memory, SIZE, 0, NULL), 0);
	CHECK_EQ(map.n_areas, 5);
	CHECK_EQ(header->epoch, 12);
	free(memory);
}

TEST(something_else_is_refused_and_format_erases_it)
{
	struct ivshmem_error error;
	uint8_t *memory = new_memory(SIZE);
	struct layout_header *header = (struct layout_header *)(void *)memory;
	struct map map;

	strcpy((char *)memory, "hello, world");
	CHECK_EQ(map_open(&map, memory, SIZE, 0, &error), -EMEDIUMTYPE);
	CHECK_HAS(error.message, "ivshmem format");
	CHECK_EQ(memcmp(memory, "hello, world\0\0\0\0", 16), 0);

	/* What begins with zeros can be something else, too. */
	memset(memory, 0, 8);
	memory[2000] = 1;
	CHECK_EQ(map_open(&map, memory, SIZE, 0, &error), -EMEDIUMTYPE);
	CHECK_EQ(header->magic, 0);

	CHECK_EQ(map_format(memory, SIZE, 4, NULL), 0);
	CHECK_EQ(map_open(&map, memory, SIZE, 0, &error), 0);
	CHECK_EQ(map.n_areas, 4);
	CHECK_EQ(memory[2000], 0);
	CHECK_EQ(map_format(memory, SIZE, 1, &error), -EINVAL);
	CHECK_EQ(map_open(&map, memory, SIZE, 0, &error), 0);
	free(memory);
}

TEST(each_wrong_header_is_refused)
{
	static const struct {
		uint64_t magic, shape;
		int error;
	} wrong[] = {
		{LAYOUT_MAGIC + (UINT64_C(1) << 48), 0, -EPROTONOSUPPORT},
		{LAYOUT_MAGIC - (UINT64_C(1) << 48), 0, -EPROTONOSUPPORT},
		{LAYOUT_MAGIC ^ 1, 0, -EMEDIUMTYPE},
		{LAYOUT_MAGIC ^ UINT64_C(1) << 47, 0, -EMEDIUMTYPE},
		{LAYOUT_MAGIC, 0, -EPROTO},
		{LAYOUT_MAGIC, UINT64_MAX, -EPROTO},
		{LAYOUT_MAGIC, UINT64_C(1) << 48 | 8, -EPROTO},
		{LAYOUT_MAGIC, UINT64_C(257) << 48 | 8, -EPROTO},
		{LAYOUT_MAGIC, UINT64_C(2) << 48, -EPROTO},
		{LAYOUT_MAGIC, UINT64_C(256) << 48 | 1, -EPROTO},
		{LAYOUT_MAGIC, UINT64_C(2) << 48 | 512, -EPROTO},
		{LAYOUT_MAGIC, UINT64_C(2) << 48 | UINT64_C(0xffffffffffff), -EPROTO},
		{LAYOUT_MAGIC, UINT64_C(256) << 48 | UINT64_C(0x10000000000), -EPROTO},
	};
	uint8_t *memory = new_memory(SIZE);
	struct layout_header *header = (struct layout_header *)(void *)memory;

	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct ivshmem_error error = {0};
		struct map map;

		header->magic = wrong[i].magic;
		header->shape = wrong[i].shape;
		CHECK_EQ(map_open(&map, memory, SIZE, 0, &error), wrong[i].error);
		CHECK_EQ(error.code, wrong[i].error);
		CHECK_EQ(map_look(&map, memory, SIZE, NULL), wrong[i].error);
	}
	free(memory);
}

TEST(names)
{
	char name[LAYOUT_MAX_NAME + 1];
	char from[LAYOUT_MAX_NAME], to[LAYOUT_MAX_NAME];

	CHECK(map_name_is_valid("a"));
	CHECK(map_name_is_valid("Gr\xc3\xbc\xc3\x9f dich, / und :"));
	CHECK(!map_name_is_valid(""));
	CHECK(!map_name_is_valid("a\nb"));
	CHECK(!map_name_is_valid("a\x7f"));
	CHECK(!map_name_is_valid("a\xc2\x9b"));
	memset(name, 'x', sizeof(name));
	name[LAYOUT_MAX_NAME] = 0;
	CHECK(!map_name_is_valid(name));
	CHECK(map_name_is_valid(name + 1));

	memset(from, 'y', sizeof(from));
	map_copy_name(to, from);
	CHECK_EQ(strlen(to), LAYOUT_MAX_NAME - 1);
	strcpy(from, "a\033[1mb");
	map_copy_name(to, from);
	CHECK_STR(to, "a?[1mb");
	strcpy(from, "\xc3\x9f\xc2\x9b[m\xc2\xbb");
	map_copy_name(to, from);
	CHECK_STR(to, "\xc3\x9f\xc2?[m\xc2\xbb");
}

TEST(the_heap_gives_each_piece_once)
{
	struct heap_block *blocks[64] = {0};
	struct heap heap;
	unsigned seed = 1;

	heap_init(&heap, 1024, 1024 + 65536);
	CHECK_EQ(heap_largest(&heap), 65536);
	for (unsigned round = 0; round < 5000; round++) {
		unsigned i = (unsigned)rand_r(&seed) % 64;
		uint64_t size = 1 + (unsigned)rand_r(&seed) % 4096;

		if (blocks[i]) {
			heap_free(blocks[i]);
			blocks[i] = NULL;
			continue;
		}
		if (heap_allocate(&heap, size, &blocks[i]) < 0) {
			CHECK(heap_largest(&heap) < size);
			continue;
		}
		CHECK(blocks[i]->size >= size && blocks[i]->offset % 128 == 0);
		CHECK(blocks[i]->offset >= 1024 &&
			blocks[i]->offset + blocks[i]->size <= 1024 + 65536);
		for (unsigned other = 0; other < 64; other++)
			CHECK(other == i || !blocks[other] ||
				blocks[other]->offset >= blocks[i]->offset + blocks[i]->size ||
				blocks[i]->offset >= blocks[other]->offset + blocks[other]->size);
	}
	for (unsigned i = 0; i < 64; i++) {
		heap_free(blocks[i]);
	}
	CHECK_EQ(heap_largest(&heap), 65536);
	CHECK_EQ(heap_allocate(&heap, 65536, &blocks[0]), 0);
	CHECK_EQ(heap_allocate(&heap, 1, &blocks[1]), -ENOSPC);
	heap_done(&heap);
}
