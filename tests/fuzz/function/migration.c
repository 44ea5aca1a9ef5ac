/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * A VMM that migrates the device as it likes. What must hold is checked after every step: the state
 * is one that there is, a refusal changes nothing, what is read is header, state and memory, and a
 * device only resumes from a stream that was whole.
 *
 * The first byte is the shape of the device. Then come steps: a byte that says which, and what it
 * needs.
 */

#include <fuzz.h>

#include <function/migration.h>

#include <errno.h>
#include <stdbool.h>

#define NATIVE      IVSHMEM_DEVICE_FORMAT_NATIVE
#define MEMORY      4096
#define HEADER      24
#define STREAM_SIZE (HEADER + 4096 + MEMORY)

enum step {
	STEP_STATE,      /* which */
	STEP_WRITE,      /* length, bytes */
	STEP_WRITE_GOOD, /* length: what a stream of such a device has here */
	STEP_WRITE_BENT, /* length, where, what: the same with one byte changed */
	STEP_READ,       /* length */
	STEP_INTERRUPT,  /* vector */
	STEP_CONFIG,     /* offset, value */
	STEP_RESET,
	N_STEPS
};

static struct ivshmem_device *device;
static uint8_t *memory;
static struct migration migration;
static size_t state_size, stream_size;

/* What a device of this shape gives. */
static uint8_t good[STREAM_SIZE];

/* The stream that was taken since RESUMING, and what was there before. */
static uint8_t written[STREAM_SIZE], before[STREAM_SIZE];
static size_t n_written;
static bool refused, touched;

/* The stream that must be read, and how much was. */
static uint8_t expected[STREAM_SIZE];
static size_t n_read;

static struct fuzz_input input;

static unsigned
take(void)
{
	return (unsigned)fuzz_take(&input, 1);
}

static unsigned
take_16(void)
{
	unsigned low = take();

	return low | take() << 8;
}

/* ---- the device ------------------------------------------------------------------------------- */

static struct ivshmem_device *
make(unsigned shape)
{
	static const unsigned vectors[] = {1, 3, 9, 130};
	struct ivshmem_device_config config;
	struct ivshmem_device *made;

	ivshmem_device_config_init(&config, sizeof(config), shape & 1);
	config.server = !(shape & 2);
	config.msi = (shape & 1) || !(shape & 4);
	config.ioeventfd = false;
	config.vectors = vectors[shape >> 4 & 3];
	config.memory_size = MEMORY;
	config.id = 0;
	config.master = IVSHMEM_DEVICE_MASTER_ON;
	config.host_msix = true;
	DEMAND(ivshmem_device_new(&made, &config, NULL) == 0);
	for (unsigned i = 0; config.server && i < config.vectors; i++)
		DEMAND(ivshmem_device_add_vector(made, 0) == (int)i);
	return made;
}

static void
save(uint8_t *buffer)
{
	DEMAND(ivshmem_device_save(device, NATIVE, buffer, state_size, NULL) == 0);
}

static void
start(unsigned shape)
{
	struct migration_subject subject = {.memory_size = MEMORY};
	size_t n;

	device = make(shape);
	state_size = ivshmem_device_state_size(device, NATIVE);
	stream_size = HEADER + state_size + MEMORY;
	DEMAND(stream_size <= STREAM_SIZE);
	memory = malloc(MEMORY);
	DEMAND(memory);
	DEMAND(ivshmem_device_set_memory(device, memory, MEMORY, NULL) == 0);
	subject.device = device;
	subject.memory = memory;
	migration_init(&migration, &subject);

	for (unsigned i = 0; i < MEMORY; i++)
		memory[i] = (uint8_t)(i * 5 + i / 256);
	ivshmem_device_interrupt(device, 0);
	DEMAND(migration_set_state(&migration, MIGRATION_STOP_COPY, NULL) == 0);
	DEMAND(migration_read(&migration, good, sizeof(good), &n, NULL) == 0 && n == stream_size);
	migration_reset(&migration);
	ivshmem_device_reset(device);
	memset(memory, 0, MEMORY);
}

/* ---- steps ------------------------------------------------------------------------------------ */

/* Leaving RESUMING. */
static void
check_resumed(int r)
{
	static uint8_t now[STREAM_SIZE];

	save(now);
	if (r == -EBADMSG) {
		DEMAND(migration.state == MIGRATION_ERROR);
		DEMAND(refused || n_written < stream_size);
		if (!touched)
			DEMAND(memcmp(now, before, state_size) == 0);
		return;
	}
	DEMAND(r == 0 && !refused && n_written == stream_size);
	DEMAND(memcmp(memory, written + HEADER + state_size, MEMORY) == 0);
	/* What is not config space comes back bit for bit. */
	if (!touched)
		DEMAND(memcmp(now + 296, written + HEADER + 296, state_size - 296) == 0);
}

static void
step_state(uint32_t state)
{
	enum migration_state from = migration.state;
	struct ivshmem_error error = {0};
	int r = migration_set_state(&migration, state, &error);

	DEMAND(r == error.code && (r == 0) == (error.message[0] == '\0'));
	DEMAND(r == 0 || r == -EINVAL || r == -EBADMSG);
	if (r == 0)
		DEMAND(migration.state == state && state != 0 && state != 5 && state < 7);
	if (r == -EINVAL)
		DEMAND(migration.state == from);
	if (r == -EBADMSG)
		DEMAND(from == MIGRATION_RESUMING);
	if (from == MIGRATION_RESUMING && migration.state != from)
		check_resumed(r);
	if (r != 0 || from == migration.state)
		return;
	if (state == MIGRATION_RESUMING) {
		save(before);
		n_written = 0;
		refused = touched = false;
	} else if (state == MIGRATION_STOP_COPY) {
		memcpy(expected, good, HEADER);
		save(expected + HEADER);
		memcpy(expected + HEADER + state_size, memory, MEMORY);
		n_read = 0;
	}
}

static void
step_write(const uint8_t *data, size_t size)
{
	static uint8_t old[MEMORY];
	struct ivshmem_error error = {0};
	int r;

	memcpy(old, memory, MEMORY);
	r = migration_write(&migration, data, size, &error);
	DEMAND(r == error.code && (r == 0) == (error.message[0] == '\0'));
	DEMAND(r == 0 || r == -EINVAL || r == -EPROTONOSUPPORT);
	if (migration.state != MIGRATION_RESUMING || refused)
		DEMAND(r == -EINVAL);
	if (r == 0) {
		DEMAND(size <= stream_size - n_written);
		if (size > 0)
			memcpy(written + n_written, data, size);
		n_written += size;
	} else {
		DEMAND(memcmp(old, memory, MEMORY) == 0);
		if (migration.state == MIGRATION_RESUMING)
			refused = true;
	}
}

/* A piece of the good stream, perhaps with a mistake, and perhaps more than there is of it. */
static void
step_write_good(size_t size, size_t where, uint8_t what)
{
	size_t at = refused ? 0 : n_written, there = stream_size - at;
	uint8_t *data = calloc(1, size + 1);

	DEMAND(data);
	memcpy(data, good + at, size < there ? size : there);
	if (size > 0)
		data[where % size] ^= what;
	step_write(data, size);
	free(data);
}

static void
step_read(size_t size)
{
	uint8_t *data = malloc(size + (size == 0));
	size_t n = SIZE_MAX;
	int r;

	DEMAND(data);
	r = migration_read(&migration, data, size, &n, NULL);
	if (migration.state == MIGRATION_STOP_COPY) {
		DEMAND(r == 0 && n <= size);
		DEMAND(n == size || n == stream_size - n_read);
		DEMAND(memcmp(data, expected + n_read, n) == 0);
		n_read += n;
	} else if (migration.state == MIGRATION_PRE_COPY) {
		DEMAND(r == 0 && n == 0);
	} else {
		DEMAND(r == -EINVAL && n == SIZE_MAX);
	}
	free(data);
}

static void
step(void)
{
	unsigned size, where;
	uint8_t value;

	switch ((enum step)(take() % N_STEPS)) {
	case STEP_STATE:
		step_state(take());
		break;
	case STEP_WRITE:
		size = take_16();
		if (size > input.size)
			size = (unsigned)input.size;
		step_write(input.data, size);
		input.data += size;
		input.size -= size;
		break;
	case STEP_WRITE_GOOD:
		step_write_good(take_16(), 0, 0);
		break;
	case STEP_WRITE_BENT:
		size = take_16();
		where = take_16();
		step_write_good(size, where, (uint8_t)take());
		break;
	case STEP_READ:
		step_read(take_16());
		break;
	case STEP_INTERRUPT:
		ivshmem_device_interrupt(device, take());
		touched = true;
		break;
	case STEP_CONFIG:
		where = take();
		value = (uint8_t)take();
		ivshmem_device_config_write(device, where, &value, 1);
		touched = true;
		break;
	case STEP_RESET:
		ivshmem_device_reset(device);
		migration_reset(&migration);
		break;
	case N_STEPS:
		break;
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	input = (struct fuzz_input){data, size};
	start(take());
	refused = touched = false;
	n_written = n_read = 0;
	while (input.size > 0) {
		step();
		DEMAND(migration.state <= MIGRATION_RESUMING ||
			migration.state == MIGRATION_PRE_COPY);
		DEMAND(migration_is_running(&migration) ==
			(migration.state == MIGRATION_RUNNING ||
				migration.state == MIGRATION_PRE_COPY));
	}
	migration_done(&migration);
	ivshmem_device_free(device);
	free(memory);
	return 0;
}
