/* SPDX-License-Identifier: BSD-2-Clause */

/* The functions of client.h: what all back ends have in common. */
#include <client/backend.h>

#include <base/clock.h>
#include <base/error.h>
#include <base/sized.h>
#include <base/words.h>
#include <trace/trace.h>

#include <ivshmem/abi.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

#define DEFAULT_TIMEOUT_MS 5000

/* ---- attaching ------------------------------------------------------------------------------- */

static void
forward_log(void *data, enum log_level level, const char *message)
{
	struct ivshmem_client *client = data;

	client->ops.log(client,
		level <= LOG_LEVEL_WARNING ? IVSHMEM_LOG_WARNING : IVSHMEM_LOG_DEBUG, message,
		client->data);
}

/* Find the back end for `target`, and the part of the target that is for the back end. */
static int
resolve(const char *target, const struct backend **ret_backend, const char **ret_address,
	struct ivshmem_error *reterr)
{
	static const struct backend *const backends[] = {
		&backend_unix,
		&backend_observe,
		&backend_shm,
		&backend_file,
		&backend_pci,
		&backend_dev,
	};

	for (size_t i = 0; i < sizeof(backends) / sizeof(backends[0]); i++) {
		size_t length = strlen(backends[i]->scheme);

		if (strncmp(target, backends[i]->scheme, length) != 0 || target[length] != ':')
			continue;
		*ret_backend = backends[i];
		*ret_address = target + length + 1;
		return 0;
	}
	return error_set(reterr, -EINVAL,
		"'%s' is no target: write unix:PATH for a server's socket, observe:PATH "
		"for its socket for observers, pci:auto, pci:ADDRESS or dev:NODE for a device, or "
		"shm:NAME or file:PATH for memory without a server",
		target);
}

static int
choose_vectors(struct ivshmem_client *client, const struct ivshmem_options *options,
	struct ivshmem_error *reterr)
{
	if (!options->vectors && options->n_vectors)
		return error_set(reterr, -EINVAL, "n_vectors is %zu, but vectors is NULL",
			options->n_vectors);
	for (size_t i = 0; i < IVSHMEM_MAX_VECTORS; i++)
		client->heard[i] = !options->vectors;
	for (size_t i = 0; i < options->n_vectors; i++) {
		if (options->vectors[i] >= IVSHMEM_MAX_VECTORS)
			return error_set(reterr, -EINVAL,
				"there is no vector %u to hear: they are numbers below %d",
				options->vectors[i], IVSHMEM_MAX_VECTORS);
		client->heard[options->vectors[i]] = true;
	}
	return 0;
}

static int
attach(struct ivshmem_client *client, const char *target, const struct ivshmem_options *given,
	struct ivshmem_error *reterr)
{
	const struct backend *backend = &backend_unix;
	struct ivshmem_options options = {0};
	const char *address = target;
	unsigned timeout_ms;
	int r = 0;

	if (given)
		r = SIZED_IN(struct ivshmem_options, backend, &options, given, reterr);
	if (r == 0 && options.ops)
		r = SIZED_IN(struct ivshmem_ops, log, &client->ops, options.ops, reterr);
	if (r == 0)
		r = choose_vectors(client, &options, reterr);
	if (r < 0)
		return r;
	client->data = options.data;
	if (client->ops.log)
		client->log = (struct log){LOG_LEVEL_DEBUG, forward_log, client};
	timeout_ms = options.timeout_ms ? options.timeout_ms : DEFAULT_TIMEOUT_MS;
	client->deadline = clock_now() + timeout_ms * NSEC_PER_MSEC;

	r = resolve(target, &backend, &address, reterr);
	if (r < 0)
		return r;
	if (options.backend && backend != &backend_pci)
		return error_set(reterr, -EINVAL,
			"%s has no back end to choose: only a pci target has", target);
	client->name = backend->scheme;
	client->guest_backend = options.backend;
	r = loop_new(&client->loop);
	if (r < 0)
		return error_set(reterr, r, "cannot make an event loop: %s", strerror(-r));
	r = backend->open(client, address, reterr);
	if (r < 0)
		return r;
	client->backend = backend;
	TRACE(client_attached, client_trace_id(client), client->n_vectors, client->size);
	return 0;
}

EXPORT int
ivshmem_attach(struct ivshmem_client **ret_client, const char *target,
	const struct ivshmem_options *options, struct ivshmem_error *reterr)
{
	struct ivshmem_error error = {0};
	struct ivshmem_client *client;
	int r;

	client = calloc(1, sizeof(*client));
	if (client)
		client->memory_fd = -1;
	if (!client)
		r = error_set(&error, -ENOMEM, "out of memory");
	else if (!target)
		r = error_set(&error, -EINVAL, "no target was given");
	else
		r = attach(client, target, options, &error);
	if (r < 0) {
		TRACE(client_refused, r);
		ivshmem_detach(client);
		if (reterr)
			*reterr = error;
		return r;
	}
	*ret_client = client;
	return 0;
}

EXPORT struct ivshmem_client *
ivshmem_detach(struct ivshmem_client *client)
{
	if (client) {
		if (client->backend) {
			TRACE(client_detached, client_trace_id(client));
			client->backend->close(client);
		}
		loop_timer_cancel(&client->later);
		loop_free(client->loop);
		free(client);
	}
	return NULL;
}

/* ---- what there is --------------------------------------------------------------------------- */

EXPORT const char *
ivshmem_mapping_name(enum ivshmem_mapping mapping)
{
	switch (mapping) {
	case IVSHMEM_MAPPING_WRITE_BACK:
		return "write-back";
	case IVSHMEM_MAPPING_WRITE_COMBINING:
		return "write-combining";
	case IVSHMEM_MAPPING_UNCACHED_MINUS:
		return "uncached-minus";
	case IVSHMEM_MAPPING_UNCACHED:
		return "uncached";
	case IVSHMEM_MAPPING_UNKNOWN:
	case IVSHMEM_MAPPING_COUNT:
		break;
	}
	return "unknown";
}

EXPORT const char *
ivshmem_backend(const struct ivshmem_client *client)
{
	return client->name;
}

EXPORT const char *
ivshmem_doorbell(const struct ivshmem_client *client)
{
	return client->doorbell;
}

EXPORT uint16_t
ivshmem_id(const struct ivshmem_client *client)
{
	return client->id;
}

EXPORT bool
ivshmem_has_id(const struct ivshmem_client *client)
{
	return !client->backend->without_id;
}

EXPORT int
ivshmem_group_vectors(const struct ivshmem_client *client)
{
	return client->backend->without_id && client->backend->peers ? (int)client->n_group_vectors
								     : -EOPNOTSUPP;
}

EXPORT unsigned
ivshmem_vectors(const struct ivshmem_client *client)
{
	return client->n_vectors;
}

EXPORT void *
ivshmem_memory(const struct ivshmem_client *client)
{
	return client->memory;
}

EXPORT int
ivshmem_memory_fd(const struct ivshmem_client *client)
{
	return client->memory_fd >= 0 ? client->memory_fd : -EOPNOTSUPP;
}

EXPORT uint64_t
ivshmem_size(const struct ivshmem_client *client)
{
	return client->size;
}

EXPORT bool
ivshmem_read_only(const struct ivshmem_client *client)
{
	return client->read_only;
}

EXPORT enum ivshmem_mapping
ivshmem_memory_mapping(const struct ivshmem_client *client)
{
	return client->mapping;
}

EXPORT int
ivshmem_peers(const struct ivshmem_client *client, uint16_t *ids, size_t max)
{
	return client->backend->peers ? client->backend->peers(client, ids, max) : -EOPNOTSUPP;
}

EXPORT int
ivshmem_peer_vectors(const struct ivshmem_client *client, uint16_t peer)
{
	if (peer == client->id && !client->backend->without_id)
		return (int)client->n_vectors;
	return client->backend->peer_vectors ? client->backend->peer_vectors(client, peer)
					     : -EOPNOTSUPP;
}

EXPORT int64_t
ivshmem_peer_pending(const struct ivshmem_client *client, uint16_t peer, unsigned vector)
{
	uint64_t count = 0;
	int r = client->backend->peer_pending
			? client->backend->peer_pending(client, peer, vector, &count)
			: -EOPNOTSUPP;

	if (r < 0)
		return r;
	return count < INT64_MAX ? (int64_t)count : INT64_MAX;
}

/* ---- the memory ------------------------------------------------------------------------------ */

/*
 * Earlier stores become visible before later ones, on any kind of mapping. The ordinary orderings
 * between processors do not cover write-combining buffers.
 */
static void
fence(void)
{
#if defined(__x86_64__)
	__asm__ volatile("mfence" ::: "memory");
#elif defined(__aarch64__)
	__asm__ volatile("dsb sy" ::: "memory");
#else
	__sync_synchronize();
#endif
}

/*
 * Earlier loads happen before later ones. Processors with strong ordering guarantee it for ordinary
 * memory, but not for write-combining memory.
 */
static void
read_fence(void)
{
#if defined(__x86_64__)
	__asm__ volatile("lfence" ::: "memory");
#elif defined(__aarch64__)
	__asm__ volatile("dmb oshld" ::: "memory");
#else
	__sync_synchronize();
#endif
}

static bool
in_range(const struct ivshmem_client *client, uint64_t offset, size_t length)
{
	return offset <= client->size && length <= client->size - offset;
}

EXPORT int
ivshmem_read(const struct ivshmem_client *client, uint64_t offset, void *buffer, size_t length)
{
	const uint8_t *from;

	if (!in_range(client, offset, length))
		return -ERANGE;
	from = (const uint8_t *)client->memory + offset;
	if (client->mapping == IVSHMEM_MAPPING_WRITE_BACK)
		memcpy(buffer, from, length);
	else
		words_load(buffer, from, length);
	read_fence();
	return 0;
}

EXPORT int
ivshmem_write(struct ivshmem_client *client, uint64_t offset, const void *buffer, size_t length)
{
	uint8_t *to;

	if (client->read_only)
		return -EACCES;
	if (!in_range(client, offset, length))
		return -ERANGE;
	to = (uint8_t *)client->memory + offset;
	if (client->mapping == IVSHMEM_MAPPING_WRITE_BACK)
		memcpy(to, buffer, length);
	else
		words_store(to, buffer, length);
	fence();
	return 0;
}

/* ---- interrupts ------------------------------------------------------------------------------ */

EXPORT int
ivshmem_ring(struct ivshmem_client *client, uint16_t peer, unsigned vector)
{
	int r;

	if (vector >= IVSHMEM_MAX_VECTORS)
		return -EINVAL;
	fence();
	r = client->backend->ring(client, peer, vector);
	TRACE(client_ring, client_trace_id(client), peer, vector, r);
	return r;
}

EXPORT int
ivshmem_on_close(struct ivshmem_client *client, const struct ivshmem_store *stores, size_t n_stores,
	const struct ivshmem_target *targets, size_t n_targets)
{
	if (!client->backend->on_close)
		return -EOPNOTSUPP;
	if (n_stores > IVSHMEM_ON_CLOSE_MOST || n_targets > IVSHMEM_ON_CLOSE_MOST)
		return -E2BIG;
	return client->backend->on_close(client, stores, n_stores, targets, n_targets);
}

EXPORT int
ivshmem_fd(const struct ivshmem_client *client)
{
	return loop_fd(client->loop);
}

EXPORT int
ivshmem_dispatch(struct ivshmem_client *client, int timeout_ms)
{
	int r;

	if (client->dispatching)
		return -EBUSY;
	client->dispatching = true;
	client->handled = 0;
	r = loop_dispatch(client->loop, timeout_ms);
	client->dispatching = false;
	return r < 0 ? r : (int)client->handled;
}

EXPORT uint64_t
ivshmem_pending(const struct ivshmem_client *client, unsigned vector)
{
	return vector < client->n_vectors ? client->vectors[vector]->pending : 0;
}

EXPORT uint64_t
ivshmem_take(struct ivshmem_client *client, unsigned vector)
{
	uint64_t count = ivshmem_pending(client, vector);

	if (count > 0)
		client->vectors[vector]->pending = 0;
	return count;
}

static bool
any_pending(const struct ivshmem_client *client, int vector)
{
	if (vector != IVSHMEM_ANY_VECTOR)
		return ivshmem_pending(client, (unsigned)vector) > 0;
	for (unsigned i = 0; i < client->n_vectors; i++)
		if (client->vectors[i]->pending > 0)
			return true;
	return false;
}

static bool
hears(const struct ivshmem_client *client, int vector)
{
	if (vector != IVSHMEM_ANY_VECTOR)
		return client->heard[vector];
	return memchr(client->heard, true, sizeof(client->heard)) != NULL;
}

EXPORT int
ivshmem_wait(struct ivshmem_client *client, int vector, int timeout_ms)
{
	uint64_t deadline = clock_deadline(timeout_ms);

	/* Nobody can interrupt us if we have no id, or if our device has no vectors. */
	if (client->backend->without_id || (!client->backend->peers && client->n_vectors == 0))
		return -EOPNOTSUPP;
	/* A server may still send more vectors; the number of a device's vectors is fixed. */
	if (vector < IVSHMEM_ANY_VECTOR || vector >= IVSHMEM_MAX_VECTORS ||
		(!client->backend->peers && vector >= (int)client->n_vectors) ||
		!hears(client, vector))
		return -EINVAL;
	for (;;) {
		uint64_t left_ms;
		int r;

		if (any_pending(client, vector))
			return 0;
		if (client->lost.code == -ENODEV)
			return -ENODEV;
		left_ms = clock_left_ms(deadline);
		/* Even if no time is left, count what is already there. */
		r = ivshmem_dispatch(client, timeout_ms < 0 ? -1 : (int)left_ms);
		if (r < 0)
			return r;
		if (left_ms == 0 && !any_pending(client, vector))
			return -ETIMEDOUT;
	}
}
