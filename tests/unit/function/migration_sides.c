/* SPDX-License-Identifier: BSD-2-Clause */
#include <migration_sides.h>

#include <base/log.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

const struct shape shapes[N_SHAPES] = {
	{0, true, true, 3},
	{0, true, false, 1},
	{0, false, false, 1},
	{1, true, true, 1},
	{1, true, true, 9},
	{1, true, true, 2048},
	{1, false, false, 1},
};

struct side a, b;
uint8_t stream[MAX_STREAM + 64];
size_t stream_size;

static int
send_message(
	struct ivshmem_device *device, const struct ivshmem_device_message *message, void *data)
{
	struct side *side = data;

	CHECK(device == side->device && message->vector < MAX_VECTORS);
	if (!side->acts)
		return -EAGAIN;
	side->sent[message->vector]++;
	return 0;
}

static void
set_intx(struct ivshmem_device *device, bool level, void *data)
{
	struct side *side = data;

	CHECK(device == side->device);
	side->intx = level;
}

static bool
take_ring(struct ivshmem_device *device, unsigned vector, void *data)
{
	struct side *side = data;
	bool waiting = side->waiting[vector];

	CHECK(device == side->device);
	side->waiting[vector] = false;
	return waiting;
}

static void
write_log(void *data, enum log_level level, const char *message)
{
	struct side *side = data;
	const char *to = strstr(message, " to ");

	CHECK_EQ(level, LOG_LEVEL_DEBUG);
	CHECK(to != NULL);
	strncat(side->path, to + 3, sizeof(side->path) - strlen(side->path) - 1);
}

const char *
path_taken(struct side *side)
{
	static char path[sizeof(side->path)];

	memcpy(path, side->path, sizeof(path));
	side->path[0] = '\0';
	return path;
}

static const struct ivshmem_device_ops ops = {.struct_size = sizeof(ops),
	.send_message = send_message,
	.set_intx = set_intx,
	.take_ring = take_ring};

void
side_device(struct side *side, const struct shape *shape, uint64_t memory_size,
	enum ivshmem_device_master master, int32_t id)
{
	struct ivshmem_device_config config;
	struct ivshmem_error error = {0};

	*side = (struct side){0};
	ivshmem_device_config_init(&config, sizeof(config), shape->revision);
	config.server = shape->server;
	config.msi = shape->msi;
	config.ioeventfd = false;
	config.vectors = shape->vectors;
	config.memory_size = memory_size;
	config.master = master;
	config.id = id;
	config.host_msix = true;
	config.ops = &ops;
	config.data = side;
	if (ivshmem_device_new(&side->device, &config, &error) < 0)
		FAIL("%s", error.message);
	for (unsigned i = 0; shape->server && i < shape->vectors; i++)
		CHECK_EQ(ivshmem_device_add_vector(side->device, (uint16_t)id), i);
}

void
side_migration(struct side *side)
{
	static struct log logs[2]; /* of a and b */
	struct log *log = &logs[side == &b];
	struct migration_subject subject = {.device = side->device,
		.memory = side->memory,
		.memory_size = ivshmem_device_bar_size(side->device, 2),
		.log = log};

	*log = (struct log){LOG_LEVEL_DEBUG, write_log, side};
	migration_init(&side->migration, &subject);
}

void
side_open(struct side *side, const struct shape *shape)
{
	side_device(side, shape, MEMORY, IVSHMEM_DEVICE_MASTER_ON, 0);
	/* exactly as large as it says, for the sanitizer */
	side->memory = calloc(1, MEMORY);
	CHECK(side->memory);
	CHECK_EQ(ivshmem_device_set_memory(side->device, side->memory, MEMORY, NULL), 0);
	side_migration(side);
}

void
side_close(struct side *side)
{
	migration_done(&side->migration);
	side->device = ivshmem_device_free(side->device);
	free(side->memory);
	side->memory = NULL;
}

void
go(struct side *side, uint32_t state)
{
	int r = migration_set_state(&side->migration, state, &side->error);

	if (r < 0)
		FAIL("to state %" PRIu32 ": %d %s", state, r, side->error.message);
	CHECK_EQ(side->migration.state, state);
	/* A stream only costs memory as long as there is one. */
	CHECK_EQ(side->migration.prefix != NULL,
		state == MIGRATION_STOP_COPY || state == MIGRATION_RESUMING);
	side->acts = migration_is_running(&side->migration);
}

/* It was, for this reason, with what began without an error. */
static void
check_refused(struct side *side, int r, int code, const char *reason)
{
	CHECK_EQ(r, code);
	CHECK_EQ(side->error.code, code);
	if (!strstr(side->error.message, reason))
		FAIL("\"%s\" does not contain \"%s\"", side->error.message, reason);
}

void
go_refused(struct side *side, uint32_t state, int code, const char *reason)
{
	side->error = (struct ivshmem_error){0};
	check_refused(
		side, migration_set_state(&side->migration, state, &side->error), code, reason);
}

void
put(struct side *side, const void *data, size_t size)
{
	int r = migration_write(&side->migration, data, size, &side->error);

	if (r < 0)
		FAIL("write: %d %s", r, side->error.message);
}

void
put_refused(struct side *side, const void *data, size_t size, int code, const char *reason)
{
	side->error = (struct ivshmem_error){0};
	check_refused(
		side, migration_write(&side->migration, data, size, &side->error), code, reason);
}

size_t
get(struct side *side, void *buffer, size_t size)
{
	size_t n = SIZE_MAX;

	CHECK_EQ(migration_read(&side->migration, buffer, size, &n, &side->error), 0);
	CHECK(n <= size);
	return n;
}

void
save(struct side *side)
{
	go(side, MIGRATION_STOP_COPY);
	stream_size = get(side, stream, sizeof(stream));
	CHECK_EQ(stream_size, HEADER + ivshmem_device_state_size(side->device, NATIVE) + MEMORY);
	CHECK_EQ(get(side, stream, 1), 0);
}

void
resume(struct side *side, uint32_t state)
{
	go(side, MIGRATION_RESUMING);
	put(side, stream, stream_size);
	go(side, state);
}

void
open_side(void)
{
	side_open(&a, &shapes[SHAPE_9]);
}

void
open_pair(void)
{
	open_side();
	side_open(&b, &shapes[SHAPE_9]);
}

void
close_all(void)
{
	side_close(&b);
	side_close(&a);
}

void
config_put(struct side *side, unsigned offset, unsigned size, uint32_t value)
{
	uint8_t bytes[4] = {(uint8_t)value, (uint8_t)(value >> 8), (uint8_t)(value >> 16),
		(uint8_t)(value >> 24)};

	ivshmem_device_config_write(side->device, offset, bytes, size);
}

void
fill(struct side *side, unsigned seed)
{
	unsigned vectors = ivshmem_device_msix_vectors(side->device);

	config_put(side, 0x3c, 1, 11 + seed);
	config_put(side, 0x10, 4, 0xfebf1000 + (seed << 12));
	config_put(side, 0x04, 2, 0x6);
	config_put(side, 0x42, 2, 0x8000);
	for (unsigned i = 0; i < vectors; i++) {
		ivshmem_device_write(side->device, 1, 16 * i, 4, 0xfee00000 + 16 * i + seed * 4);
		ivshmem_device_write(side->device, 1, 16 * i + 8, 4, seed + i);
		if ((i + seed) % 3 == 0)
			CHECK_EQ(ivshmem_device_interrupt(side->device, i), 0);
	}
	ivshmem_device_write(side->device, 0, 0, 4, 0x01020300 + seed);
	ivshmem_device_write(side->device, 0, 4, 4, 0x0f0e0d00 + seed);
	for (unsigned i = 0; i < MEMORY; i++)
		side->memory[i] = (uint8_t)(i * 7 + i / 256 + seed);
}

void
snap(struct side *side, struct snapshot *snapshot)
{
	snapshot->size = ivshmem_device_state_size(side->device, NATIVE);
	CHECK(snapshot->size <= MAX_STATE);
	CHECK_EQ(ivshmem_device_save(side->device, NATIVE, snapshot->state, snapshot->size, NULL),
		0);
	memcpy(snapshot->memory, side->memory, MEMORY);
}

void
check_state(struct side *side, const struct snapshot *expected)
{
	static struct snapshot now;

	snap(side, &now);
	CHECK_EQ(now.size, expected->size);
	CHECK_MEM(now.state, expected->state, now.size);
}

void
check_unchanged(struct side *side, const struct snapshot *expected)
{
	check_state(side, expected);
	CHECK_MEM(side->memory, expected->memory, MEMORY);
}
