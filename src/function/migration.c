/* SPDX-License-Identifier: BSD-2-Clause */
#include <function/migration.h>

#include <base/error.h>
#include <base/log.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define FORMAT         IVSHMEM_DEVICE_FORMAT_NATIVE
#define MAGIC_SIZE     8
#define HEADER_SIZE    (MAGIC_SIZE + 2 * 4 + 8)
#define STREAM_VERSION 1
#define N_STATES       7

static const uint8_t magic[MAGIC_SIZE] = {'i', 'v', 's', 'h', 'm', 'i', 'g', 0};

/*
 * next_step[from][to] is where to go first. 0, which is also ERROR: there is no way. Distance alone
 * does not decide two of them: the way from PRE_COPY to STOP must not pass STOP_COPY, and there is
 * no way back from STOP_COPY to PRE_COPY.
 */
static const uint8_t next_step[N_STATES][N_STATES] = {
	[MIGRATION_STOP] =
		{
			[MIGRATION_STOP] = MIGRATION_STOP,
			[MIGRATION_RUNNING] = MIGRATION_RUNNING,
			[MIGRATION_STOP_COPY] = MIGRATION_STOP_COPY,
			[MIGRATION_RESUMING] = MIGRATION_RESUMING,
			[MIGRATION_PRE_COPY] = MIGRATION_RUNNING,
		},
	[MIGRATION_RUNNING] =
		{
			[MIGRATION_STOP] = MIGRATION_STOP,
			[MIGRATION_RUNNING] = MIGRATION_RUNNING,
			[MIGRATION_STOP_COPY] = MIGRATION_STOP,
			[MIGRATION_RESUMING] = MIGRATION_STOP,
			[MIGRATION_PRE_COPY] = MIGRATION_PRE_COPY,
		},
	[MIGRATION_STOP_COPY] =
		{
			[MIGRATION_STOP] = MIGRATION_STOP,
			[MIGRATION_RUNNING] = MIGRATION_STOP,
			[MIGRATION_STOP_COPY] = MIGRATION_STOP_COPY,
			[MIGRATION_RESUMING] = MIGRATION_STOP,
		},
	[MIGRATION_RESUMING] =
		{
			[MIGRATION_STOP] = MIGRATION_STOP,
			[MIGRATION_RUNNING] = MIGRATION_STOP,
			[MIGRATION_STOP_COPY] = MIGRATION_STOP,
			[MIGRATION_RESUMING] = MIGRATION_RESUMING,
			[MIGRATION_PRE_COPY] = MIGRATION_STOP,
		},
	[MIGRATION_PRE_COPY] =
		{
			[MIGRATION_STOP] = MIGRATION_RUNNING,
			[MIGRATION_RUNNING] = MIGRATION_RUNNING,
			[MIGRATION_STOP_COPY] = MIGRATION_STOP_COPY,
			[MIGRATION_RESUMING] = MIGRATION_RUNNING,
			[MIGRATION_PRE_COPY] = MIGRATION_PRE_COPY,
		},
};

static const char *const state_names[N_STATES] = {
	"ERROR",
	"STOP",
	"RUNNING",
	"STOP_COPY",
	"RESUMING",
	"RUNNING_P2P",
	"PRE_COPY",
};

/* ---- numbers --------------------------------------------------------------------------------- */

static void
put_be(uint8_t *at, unsigned size, uint64_t value)
{
	for (unsigned i = 0; i < size; i++)
		at[i] = (uint8_t)(value >> 8 * (size - 1 - i));
}

static uint64_t
get_be(const uint8_t *at, unsigned size)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < size; i++)
		value = value << 8 | at[i];
	return value;
}

/* ---- the stream, in either direction --------------------------------------------------------- */

static size_t
state_size(const struct migration *migration)
{
	return migration->prefix_size - HEADER_SIZE;
}

static int
stream_open(struct migration *migration, struct ivshmem_error *reterr)
{
	const struct migration_subject *subject = &migration->subject;
	size_t size = ivshmem_device_state_size(subject->device, FORMAT);

	/* Plain returns: the analyser does not know that error_set() gives back its code. */
	if (!subject->memory) {
		error_set(
			reterr, -ENODATA, "the device has no memory yet; it comes from its server");
		return -ENODATA;
	}
	migration->prefix = calloc(1, HEADER_SIZE + 2 * size);
	if (!migration->prefix) {
		error_set(reterr, -ENOMEM, "out of memory");
		return -ENOMEM;
	}
	migration->prefix_size = HEADER_SIZE + size;
	migration->previous = migration->prefix + migration->prefix_size;
	migration->length = migration->prefix_size + subject->memory_size;
	migration->at = 0;
	migration->loaded = migration->refused = false;
	return 0;
}

static void
stream_close(struct migration *migration)
{
	free(migration->prefix);
	migration->prefix = migration->previous = NULL;
}

/* Where the next byte of the stream is, and how many follow there before the next piece begins. */
static uint8_t *
stream_piece(const struct migration *migration, uint64_t *ret_n)
{
	uint64_t at = migration->at;

	if (at < migration->prefix_size) {
		*ret_n = (at < HEADER_SIZE ? HEADER_SIZE : migration->prefix_size) - at;
		return migration->prefix + at;
	}
	*ret_n = migration->length - at;
	return (uint8_t *)migration->subject.memory + (at - migration->prefix_size);
}

struct copy {
	void *to;
	const void *from;
	size_t n;
};

static void
copy(void *data)
{
	const struct copy *bytes = data;

	memcpy(bytes->to, bytes->from, bytes->n);
}

/* `to` or `from` may be in the shared memory. */
static int
copy_piece(const struct migration *migration, void *to, const void *from, uint64_t n,
	struct ivshmem_error *reterr)
{
	struct copy bytes = {to, from, n};

	if (!migration->subject.member)
		copy(&bytes);
	else if (member_access(migration->subject.member, copy, &bytes) < 0)
		return error_set(reterr, -EFAULT, "a part of the shared memory is gone");
	return 0;
}

/* ---- saving ---------------------------------------------------------------------------------- */

static int
save_begin(struct migration *migration, struct ivshmem_error *reterr)
{
	struct ivshmem_error error = {0};
	uint8_t *header;
	int r = stream_open(migration, reterr);

	if (r < 0)
		return r;
	r = ivshmem_device_save(migration->subject.device, FORMAT, migration->prefix + HEADER_SIZE,
		state_size(migration), &error);
	if (r < 0) {
		stream_close(migration);
		return error_set(reterr, r, "%s", error.message);
	}
	header = migration->prefix;
	memcpy(header, magic, MAGIC_SIZE);
	put_be(header + MAGIC_SIZE, 4, STREAM_VERSION);
	put_be(header + MAGIC_SIZE + 4, 4, state_size(migration));
	put_be(header + MAGIC_SIZE + 8, 8, migration->subject.memory_size);
	return 0;
}

int
migration_read(struct migration *migration, void *buffer, size_t size, size_t *ret_n,
	struct ivshmem_error *reterr)
{
	uint8_t *to = buffer;
	size_t done = 0;
	int r;

	if (migration->state != MIGRATION_STOP_COPY && migration->state != MIGRATION_PRE_COPY)
		return error_set(reterr, -EINVAL, "there is nothing to read in state %s",
			state_names[migration->state]);
	while (migration->prefix && done < size && migration->at < migration->length) {
		uint64_t n;
		const uint8_t *from = stream_piece(migration, &n);

		if (n > size - done)
			n = size - done;
		r = copy_piece(migration, to + done, from, n, reterr);
		if (r < 0)
			return r;
		done += n;
		migration->at += n;
	}
	*ret_n = done;
	return 0;
}

/* ---- resuming -------------------------------------------------------------------------------- */

static int
check_header(const struct migration *migration, struct ivshmem_error *reterr)
{
	const uint8_t *header = migration->prefix;
	uint64_t version, state, memory;

	if (memcmp(header, magic, MAGIC_SIZE) != 0)
		return error_set(
			reterr, -EINVAL, "this is no migration stream of an ivshmem device");
	version = get_be(header + MAGIC_SIZE, 4);
	state = get_be(header + MAGIC_SIZE + 4, 4);
	memory = get_be(header + MAGIC_SIZE + 8, 8);
	if (version != STREAM_VERSION)
		return error_set(reterr, version > STREAM_VERSION ? -EPROTONOSUPPORT : -EINVAL,
			"the stream has version %" PRIu64 " instead of %d", version,
			STREAM_VERSION);
	if (memory != migration->subject.memory_size)
		return error_set(reterr, -EINVAL,
			"the stream has %" PRIu64 " bytes of memory, this device has %" PRIu64,
			memory, migration->subject.memory_size);
	if (state != state_size(migration))
		return error_set(reterr, -EINVAL,
			"the state in the stream has %" PRIu64
			" bytes instead of %zu; its device has other vectors, or is of another kind",
			state, state_size(migration));
	return 0;
}

static int
load(struct migration *migration, struct ivshmem_error *reterr)
{
	struct ivshmem_device *device = migration->subject.device;
	struct ivshmem_error error = {0};
	int r;

	r = ivshmem_device_save(device, FORMAT, migration->previous, state_size(migration), &error);
	if (r >= 0)
		r = ivshmem_device_load(device, FORMAT, migration->prefix + HEADER_SIZE,
			state_size(migration), &error);
	if (r < 0)
		return error_set(reterr, r, "%s", error.message);
	migration->loaded = true;
	return 0;
}

/* Write up to the end of the next piece. */
static int
write_piece(struct migration *migration, const uint8_t **data, size_t *size,
	struct ivshmem_error *reterr)
{
	uint64_t n;
	uint8_t *to = stream_piece(migration, &n);
	int r;

	/* The length means nothing before the header was checked. */
	if (migration->at >= HEADER_SIZE && *size > migration->length - migration->at)
		return error_set(reterr, -EINVAL,
			"the stream is longer than the %" PRIu64 " bytes that this device needs",
			migration->length);
	if (n > *size)
		n = *size;
	if (migration->at >= migration->prefix_size && migration->subject.member &&
		member_is_reader(migration->subject.member))
		return error_set(reterr, -EACCES,
			"the stream has the shared memory, which this device may only read");
	r = copy_piece(migration, to, *data, n, reterr);
	if (r < 0)
		return r;
	*data += n;
	*size -= n;
	migration->at += n;
	if (migration->at == HEADER_SIZE)
		return check_header(migration, reterr);
	if (migration->at == migration->prefix_size)
		return load(migration, reterr);
	return 0;
}

int
migration_write(
	struct migration *migration, const void *data, size_t size, struct ivshmem_error *reterr)
{
	const uint8_t *from = data;

	if (migration->state != MIGRATION_RESUMING)
		return error_set(reterr, -EINVAL, "nothing can be written in state %s",
			state_names[migration->state]);
	if (migration->refused)
		return error_set(reterr, -EINVAL, "the stream was refused before");
	while (size > 0) {
		int r = write_piece(migration, &from, &size, reterr);

		if (r < 0) {
			migration->refused = true;
			return r;
		}
	}
	return 0;
}

static int
resume_end(struct migration *migration, struct ivshmem_error *reterr)
{
	struct ivshmem_error error = {0};
	bool complete = migration->at == migration->length;
	int r;

	if (complete && !migration->refused)
		return 0;
	if (migration->loaded) {
		r = ivshmem_device_load(migration->subject.device, FORMAT, migration->previous,
			state_size(migration), &error);
		if (r < 0)
			log_error(migration->subject.log,
				"cannot give the device its previous state back: %s",
				error.message);
	}
	if (migration->refused)
		return error_set(reterr, -EBADMSG,
			"the device does not resume, because the stream was refused");
	return error_set(reterr, -EBADMSG,
		"the device does not resume: %" PRIu64 " of %" PRIu64
		" bytes of the stream are missing",
		migration->length - migration->at, migration->length);
}

/* ---- states ---------------------------------------------------------------------------------- */

/* Take one arc. On failure, the state is already the right one. */
static int
step(struct migration *migration, enum migration_state to, struct ivshmem_error *reterr)
{
	enum migration_state from = migration->state;
	int r = 0;

	if (from == MIGRATION_RESUMING)
		r = resume_end(migration, reterr);
	stream_close(migration);
	if (r < 0)
		to = MIGRATION_ERROR;
	else if (to == MIGRATION_STOP_COPY)
		r = save_begin(migration, reterr);
	else if (to == MIGRATION_RESUMING)
		r = stream_open(migration, reterr);
	if (r < 0 && to != MIGRATION_ERROR)
		return r;
	migration->state = to;
	log_debug(migration->subject.log, "migration: from %s to %s", state_names[from],
		state_names[to]);
	return r;
}

int
migration_set_state(struct migration *migration, uint32_t state, struct ivshmem_error *reterr)
{
	enum migration_state from = migration->state;

	if (state >= N_STATES)
		return error_set(reterr, -EINVAL, "there is no migration state %" PRIu32, state);
	if (next_step[from][state] == 0)
		return error_set(reterr, -EINVAL, "migration state %s cannot be reached from %s",
			state_names[state], state_names[from]);
	while (migration->state != state) {
		int r = step(migration, next_step[migration->state][state], reterr);

		if (r < 0)
			return r;
	}
	return 0;
}

bool
migration_is_running(const struct migration *migration)
{
	return migration->state == MIGRATION_RUNNING || migration->state == MIGRATION_PRE_COPY;
}

/* ---- life ------------------------------------------------------------------------------------ */

void
migration_init(struct migration *migration, const struct migration_subject *subject)
{
	*migration = (struct migration){.subject = *subject, .state = MIGRATION_RUNNING};
}

void
migration_done(struct migration *migration)
{
	stream_close(migration);
}

void
migration_reset(struct migration *migration)
{
	stream_close(migration);
	migration->state = MIGRATION_RUNNING;
}

bool
migration_supported(const struct migration *migration)
{
	return ivshmem_device_is_master(migration->subject.device);
}

void
migration_set_memory(struct migration *migration, void *memory)
{
	if (!migration->prefix)
		migration->subject.memory = memory;
}
