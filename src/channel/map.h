/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef CHANNEL_MAP_H
#define CHANNEL_MAP_H

/*
 * The region as areas: made in memory that is zero, or found there and checked. After that, all
 * sizes and offsets come from here and not from the memory.
 */

#include <channel/layout.h>

#include <stdbool.h>
#include <stdint.h>

struct ivshmem_error;

struct map {
	uint8_t *memory;
	uint64_t size;
	uint64_t epoch; /* not later than the shape */
	bool drain;     /* see struct ring_writer */
	unsigned n_areas;
	uint64_t area_size;
	unsigned n_entries;   /* of each area */
	uint64_t heap_offset; /* in each area; the heap ends where the area ends */
};

/* The smallest memory that has room for two areas. */
#define MAP_MIN_SIZE (3 * LAYOUT_PAGE)

/* How many areas memory of this size gets if nobody says how many, from 2 to 64: as many as have
 * 640 KiB; or, if these are less than 8, up to 8 that have 256 KiB. */
unsigned map_default_areas(uint64_t size);

/*
 * Use the region in `memory`. Memory that is all zero in its first words is formatted first, with
 * `n_areas` areas (0: the default); otherwise the number that it has counts. Any number of
 * processes may do this at the same time.
 *	-EINVAL		n_areas is out of range, or the memory is too small for it
 *	-EMEDIUMTYPE	there is something else in the memory
 *	-EINPROGRESS	it is being restored from a snapshot, or who did that has died
 *	-EPROTONOSUPPORT  the layout has another version
 *	-EPROTO		the shape is impossible, or is that of larger memory
 */
int map_open(struct map *ret_map, void *memory, uint64_t size, unsigned n_areas,
	struct ivshmem_error *reterr);

/*
 * The same for one who only looks, in memory that may be mapped for reading only: the map is for
 * the functions below that read. -ENODATA: it is all zero in its first words, so there are no
 * channels yet.
 */
int map_look(struct map *ret_map, void *memory, uint64_t size, struct ivshmem_error *reterr);

/* Format memory whatever it contains. Nobody may be using it. Errors as above. */
int map_format(void *memory, uint64_t size, unsigned n_areas, struct ivshmem_error *reterr);

/* A random number that is not 0. */
uint64_t map_random_epoch(void);

/* Whether it is the magic of a region that we know; otherwise, the errors above. */
int map_check_magic(uint64_t magic, struct ivshmem_error *reterr);

static inline struct layout_header *
map_header(const struct map *map)
{
	return (struct layout_header *)(void *)map->memory;
}

static inline uint64_t *
map_claim(const struct map *map, unsigned area)
{
	return &map_header(map)->claims[area];
}

static inline uint8_t *
map_area(const struct map *map, unsigned area)
{
	return map->memory + LAYOUT_PAGE + area * map->area_size;
}

static inline struct layout_identity *
map_identity(const struct map *map, unsigned area)
{
	return (struct layout_identity *)(void *)map_area(map, area);
}

/* What `area` has for, or from, the participant of `other`. */
static inline struct layout_notice *
map_notice(const struct map *map, unsigned area, unsigned other)
{
	return (struct layout_notice *)(void *)(map_area(map, area) +
						sizeof(struct layout_identity)) +
	       other;
}

static inline struct layout_entry *
map_entry(const struct map *map, unsigned area, unsigned entry)
{
	return (struct layout_entry *)(void *)(map_area(map, area) + map->heap_offset) -
	       map->n_entries + entry;
}

/* Copies a name that others may be writing to, with its terminating 0; characters that cannot be
 * shown become '?'. */
void map_copy_name(char *to, const char *from);

/* Whether this can be the name of a listener or a participant: 1 to LAYOUT_MAX_NAME - 1 bytes, none
 * of them a control character. */
bool map_name_is_valid(const char *name);

#endif
