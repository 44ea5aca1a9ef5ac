/* SPDX-License-Identifier: BSD-2-Clause */
#include <channel/map.h>

#include <base/error.h>

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#define GOOD_AREA   (UINT64_C(640) << 10) /* has room for two rings of the default size */
#define SMALL_AREA  (UINT64_C(256) << 10)
#define GOOD_NUMBER 8
#define ENTRY_EVERY 4096 /* bytes of an area */
#define MIN_ENTRIES 2
#define MAX_ENTRIES 1024

unsigned
map_default_areas(uint64_t size)
{
	uint64_t areas = size / GOOD_AREA;

	if (areas < GOOD_NUMBER)
		areas = size / SMALL_AREA < GOOD_NUMBER ? size / SMALL_AREA : GOOD_NUMBER;
	return areas < LAYOUT_MIN_AREAS ? LAYOUT_MIN_AREAS : areas > 64 ? 64 : (unsigned)areas;
}

/* Fill in all that follows from the shape. */
static void
lay_out(struct map *map)
{
	uint64_t entries = map->area_size / ENTRY_EVERY;
	uint64_t fixed;

	map->n_entries = entries < MIN_ENTRIES   ? MIN_ENTRIES
			 : entries > MAX_ENTRIES ? MAX_ENTRIES
						 : (unsigned)entries;
	fixed = sizeof(struct layout_identity) + map->n_areas * sizeof(struct layout_notice);
	fixed = (fixed + LAYOUT_LINE - 1) / LAYOUT_LINE * LAYOUT_LINE;
	map->heap_offset = fixed + map->n_entries * sizeof(struct layout_entry);
}

/* The identity, the notices, two entries and a small ring fit into an area. */
static uint64_t
min_area(unsigned n_areas)
{
	struct map map = {.n_areas = n_areas, .area_size = LAYOUT_PAGE};

	lay_out(&map);
	return (map.heap_offset + 512 + LAYOUT_PAGE - 1) / LAYOUT_PAGE * LAYOUT_PAGE;
}

static int
choose_shape(uint64_t size, unsigned n_areas, uint64_t *ret_shape, struct ivshmem_error *reterr)
{
	uint64_t area_size;

	if (size < MAP_MIN_SIZE)
		return error_set(reterr, -EINVAL,
			"channels need shared memory of at least %d bytes, and this has %" PRIu64,
			MAP_MIN_SIZE, size);
	if (n_areas == 0)
		n_areas = map_default_areas(size);
	if (n_areas < LAYOUT_MIN_AREAS || n_areas > LAYOUT_MAX_AREAS)
		return error_set(reterr, -EINVAL, "there can be from %d to %d areas, not %u",
			LAYOUT_MIN_AREAS, LAYOUT_MAX_AREAS, n_areas);
	area_size = (size - LAYOUT_PAGE) / n_areas / LAYOUT_PAGE * LAYOUT_PAGE;
	if (area_size < min_area(n_areas))
		return error_set(reterr, -EINVAL,
			"%" PRIu64
			" bytes are too small for %u areas: take fewer, each needs at least %" PRIu64,
			size, n_areas, min_area(n_areas));
	*ret_shape = layout_shape(n_areas, area_size);
	return 0;
}

/* What the word is after one of those who set it first has. */
static uint64_t
set_once(uint64_t *word, uint64_t value)
{
	uint64_t found = 0;

	return __atomic_compare_exchange_n(
		       word, &found, value, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)
		       ? value
		       : found;
}

uint64_t
map_random_epoch(void)
{
	uint64_t epoch = 0;

	if (getrandom(&epoch, sizeof(epoch), GRND_NONBLOCK) != sizeof(epoch)) {
		struct timespec now;

		clock_gettime(CLOCK_REALTIME, &now);
		epoch = (uint64_t)now.tv_sec << 30 ^ (uint64_t)now.tv_nsec;
	}
	return epoch | 1;
}

int
map_check_magic(uint64_t magic, struct ivshmem_error *reterr)
{
	if (magic == LAYOUT_MAGIC)
		return 0;
	if ((magic ^ LAYOUT_MAGIC) >> 48 && (magic ^ LAYOUT_MAGIC) << 16 == 0)
		return error_set(reterr, -EPROTONOSUPPORT,
			"the channels in this memory have layout %u, and this program knows layout %d: use the same "
			"version of ivshmem everywhere",
			(unsigned)(magic >> 48), LAYOUT_VERSION);
	if (magic == LAYOUT_RESTORING)
		return error_set(reterr, -EINPROGRESS,
			"the memory is half-restored: a restore is under way, or it was killed; wait for it, or give "
			"the memory a whole content with 'ivshmem restore' or 'ivshmem format'");
	return error_set(reterr, -EMEDIUMTYPE,
		"there is something else in the shared memory: use other memory for channels, or erase this with "
		"'ivshmem format'");
}

/* Whether the words that nobody sets before the magic are all 0. */
static bool
is_blank(const struct layout_header *header)
{
	uint64_t all = 0;

	for (unsigned i = 0; i < sizeof(header->unused) / sizeof(header->unused[0]); i++)
		all |= word_load(&header->unused[i]);
	for (unsigned area = 0; area < LAYOUT_MAX_AREAS; area++)
		all |= word_load(&header->claims[area]);
	return all == 0;
}

/* The magic; 0 if nobody has formatted the memory yet. */
static uint64_t
find_magic(const struct layout_header *header)
{
	uint64_t magic = word_acquire(&header->magic);

	if (magic == 0 && !is_blank(header)) {
		/* Something else, unless another one was quicker and the areas are in use by
		 * now. */
		magic = word_acquire(&header->magic);
		if (magic == 0)
			magic = 1;
	}
	return magic;
}

/* Use the region that is there. */
static int
take_shape(struct map *ret_map, void *memory, uint64_t size, struct ivshmem_error *reterr)
{
	const struct layout_header *header = memory;
	uint64_t epoch = word_acquire(&header->epoch);
	uint64_t shape = word_load(&header->shape);
	struct map map = {
		.memory = memory,
		.size = size,
		.epoch = epoch,
		.n_areas = (unsigned)(shape >> 48),
		.area_size = (shape & UINT64_C(0xffffffffffff)) * LAYOUT_PAGE,
	};

	if (map.n_areas < LAYOUT_MIN_AREAS || map.n_areas > LAYOUT_MAX_AREAS ||
		map.area_size < min_area(map.n_areas) ||
		map.area_size > (size - LAYOUT_PAGE) / map.n_areas)
		return error_set(reterr, -EPROTO,
			"the header of the channels in this memory says %u areas of %" PRIu64
			" bytes, which do not fit into %" PRIu64
			" bytes: make them anew with 'ivshmem format'",
			map.n_areas, map.area_size, size);
	lay_out(&map);
	*ret_map = map;
	return 0;
}

int
map_open(struct map *ret_map, void *memory, uint64_t size, unsigned n_areas,
	struct ivshmem_error *reterr)
{
	struct layout_header *header = memory;
	uint64_t shape = 0;
	uint64_t magic;
	int r = choose_shape(size, n_areas, &shape, reterr);

	if (r < 0)
		return r;
	magic = find_magic(header);
	if (magic == 0) {
		/* The words before the magic are 0, or what another one is setting at this
		 * moment. */
		shape = set_once(&header->shape, shape);
		set_once(&header->epoch, map_random_epoch());
		magic = set_once(&header->magic, LAYOUT_MAGIC);
	}
	r = map_check_magic(magic, reterr);
	return r < 0 ? r : take_shape(ret_map, memory, size, reterr);
}

int
map_look(struct map *ret_map, void *memory, uint64_t size, struct ivshmem_error *reterr)
{
	uint64_t shape = 0;
	uint64_t magic;
	int r = choose_shape(size, 0, &shape, reterr);

	if (r < 0)
		return r;
	magic = find_magic(memory);
	if (magic == 0)
		return error_set(reterr, -ENODATA, "there are no channels in this memory yet");
	r = map_check_magic(magic, reterr);
	return r < 0 ? r : take_shape(ret_map, memory, size, reterr);
}

int
map_format(void *memory, uint64_t size, unsigned n_areas, struct ivshmem_error *reterr)
{
	struct layout_header *header = memory;
	uint64_t shape;
	int r = choose_shape(size, n_areas, &shape, reterr);

	if (r < 0)
		return r;
	/* Without the magic, nobody takes what is half-made for a region. */
	word_release(&header->magic, 0);
	word_fence();
	for (unsigned area = 0; area < LAYOUT_MAX_AREAS; area++)
		word_store(&header->claims[area], 0);
	for (unsigned i = 0; i < sizeof(header->unused) / sizeof(header->unused[0]); i++)
		word_store(&header->unused[i], 0);
	word_store(&header->shape, shape);
	word_store(&header->epoch, map_random_epoch());
	word_release(&header->magic, LAYOUT_MAGIC);
	return 0;
}

/* Also U+0080 to U+009F in UTF-8, which terminals obey: 0xc2 and then 0x80 to 0x9f. */
static bool
is_control(unsigned char before, unsigned char c)
{
	return c < ' ' || c == 0x7f || (before == 0xc2 && c >= 0x80 && c <= 0x9f);
}

void
map_copy_name(char *to, const char *from)
{
	unsigned char before = 0;

	for (unsigned i = 0; i < LAYOUT_MAX_NAME; i++) {
		unsigned char c = (unsigned char)__atomic_load_n(&from[i], __ATOMIC_RELAXED);
		unsigned char shown = c != 0 && is_control(before, c) ? '?' : c;

		memcpy(&to[i], &shown, 1);
		if (c == 0)
			return;
		before = c;
	}
	to[LAYOUT_MAX_NAME - 1] = 0;
}

bool
map_name_is_valid(const char *name)
{
	size_t length = strlen(name);

	for (size_t i = 0; i < length; i++)
		if (is_control(i > 0 ? (unsigned char)name[i - 1] : 0, (unsigned char)name[i]))
			return false;
	return length > 0 && length < LAYOUT_MAX_NAME;
}
