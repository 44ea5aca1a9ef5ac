/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef UNIT_MIGRATION_SIDES_H
#define UNIT_MIGRATION_SIDES_H

/*
 * A source and a destination, each with a device, its memory, and its migration; and the stream
 * between them.
 */

#include <function/migration.h>

#include <test.h>

#define NATIVE      IVSHMEM_DEVICE_FORMAT_NATIVE
#define HEADER      24
#define MEMORY      4096
#define MAX_VECTORS 2048
#define MAX_STATE   65536
#define MAX_STREAM  (HEADER + MAX_STATE + MEMORY)
#define LENGTH(a)   (sizeof(a) / sizeof((a)[0]))

struct side {
	struct ivshmem_device *device;
	uint8_t *memory;
	struct migration migration;
	struct ivshmem_error error;
	char path[256]; /* the states it went through */

	bool acts; /* its messages reach the VMM */
	bool intx;
	unsigned sent[MAX_VECTORS];
	bool waiting[MAX_VECTORS];
};

struct shape {
	unsigned revision;
	bool server, msi;
	unsigned vectors;
};

#define N_SHAPES 7
#define SHAPE_9  4 /* revision 1, 9 vectors */
#define SHAPE_0  6 /* revision 1, plain: the smallest */
extern const struct shape shapes[N_SHAPES];

extern struct side a, b;
extern uint8_t stream[MAX_STREAM + 64];
extern size_t stream_size;

/* A device of this shape, memory, migration. */
void side_open(struct side *side, const struct shape *shape);
void side_close(struct side *side);

/* The same in parts: the memory is the caller's to make, with malloc(), in between. */
void side_device(struct side *side, const struct shape *shape, uint64_t memory_size,
	enum ivshmem_device_master master, int32_t id);
void side_migration(struct side *side);

/* The states it went through since the last call: " STOP STOP_COPY". */
const char *path_taken(struct side *side);

/* Set the state, or demand that this fails, with a reason that contains `reason`. */
void go(struct side *side, uint32_t state);
void go_refused(struct side *side, uint32_t state, int code, const char *reason);

/* Write to the stream, or demand that this fails; read from it. */
void put(struct side *side, const void *data, size_t size);
void put_refused(struct side *side, const void *data, size_t size, int code, const char *reason);
size_t get(struct side *side, void *buffer, size_t size);

/* All of it into `stream`; the device is in STOP_COPY then. */
void save(struct side *side);

/* All of `stream` into this side, which is in `state` then. */
void resume(struct side *side, uint32_t state);

/* Tests with one device of SHAPE_9, and with two. */
void open_side(void);
void open_pair(void);
void close_all(void);
#define SIDE_TEST(name) TEST_WITH(name, .begin = open_side, .end = close_all)
#define PAIR_TEST(name) TEST_WITH(name, .begin = open_pair, .end = close_all)

void config_put(struct side *side, unsigned offset, unsigned size, uint32_t value);

/* Something in everything that is migrated, depending on `seed`. */
void fill(struct side *side, unsigned seed);

/* The state of the device, for comparisons. */
struct snapshot {
	size_t size;
	uint8_t state[MAX_STATE], memory[MEMORY];
};

void snap(struct side *side, struct snapshot *snapshot);
void check_state(struct side *side, const struct snapshot *expected);
/* The memory, too. */
void check_unchanged(struct side *side, const struct snapshot *expected);

#endif
