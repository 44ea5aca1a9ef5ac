/* SPDX-License-Identifier: BSD-2-Clause */

/* What happens to a client: back ends report it here, and we tell the application. */
#include <client/backend.h>

#include <base/eventfd.h>
#include <trace/trace.h>

#include <ivshmem/abi.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

static void
vector_rung(struct loop_source *source, uint32_t events)
{
	struct vector *vector = container_of(source, struct vector, source);
	struct ivshmem_client *client = vector->client;
	uint64_t count;
	int r = eventfd_take(source->fd, &count);

	(void)events;
	if (r == -EAGAIN || r == -EINTR)
		return;
	if (r < 0) {
		/* The loop would report it for ever. */
		log_warning(&client->log, "vector %u cannot be read: %s; it is ignored from now on",
			vector->index, strerror(-r));
		loop_del(source);
		return;
	}
	TRACE(client_rung, client_trace_id(client), vector->index, count);
	client->handled++;
	if (count > UINT64_MAX - vector->pending)
		vector->pending = UINT64_MAX;
	else
		vector->pending += count;
	if (client->ops.interrupt)
		client->ops.interrupt(client, vector->index, count, client->data);
}

int
client_add_vector(struct ivshmem_client *client, int fd)
{
	struct vector **vectors, *vector;
	int r = 0;

	if (client->n_vectors >= IVSHMEM_MAX_VECTORS)
		return -ENOSPC;
	vectors = reallocarray(client->vectors, client->n_vectors + 1, sizeof(struct vector *));
	if (!vectors)
		return -ENOMEM;
	client->vectors = vectors;
	vector = calloc(1, sizeof(*vector));
	if (!vector)
		return -ENOMEM;
	vector->client = client;
	vector->index = client->n_vectors;
	vector->source.fd = -1;
	if (fd >= 0 && client->heard[vector->index])
		r = loop_add(client->loop, &vector->source, fd, EPOLLIN, vector_rung);
	if (r < 0) {
		free(vector);
		return r;
	}
	client->vectors[client->n_vectors++] = vector;
	return 0;
}

void
client_remove_vectors(struct ivshmem_client *client)
{
	for (unsigned i = 0; i < client->n_vectors; i++) {
		loop_del(&client->vectors[i]->source);
		free(client->vectors[i]);
	}
	free(client->vectors);
	client->vectors = NULL;
	client->n_vectors = 0;
}

static void
report_lost(struct ivshmem_client *client)
{
	client->handled++;
	if (client->ops.lost)
		client->ops.lost(client, &client->lost, client->data);
}

static void
report_lost_later(struct loop_timer *timer)
{
	report_lost(container_of(timer, struct ivshmem_client, later));
}

void
client_lose(struct ivshmem_client *client, int code, const char *message)
{
	if (client->lost.code)
		return;
	TRACE(client_lost, client_trace_id(client), code);
	client->lost.code = code;
	snprintf(client->lost.message, sizeof(client->lost.message), "%s", message);
	if (client->dispatching)
		report_lost(client);
	else
		loop_timer_set(client->loop, &client->later, 0, report_lost_later);
}

void
client_peer_joined(struct ivshmem_client *client, uint16_t peer, unsigned vectors)
{
	TRACE(client_peer_joined, client_trace_id(client), peer, vectors);
	client->handled++;
	if (client->ops.peer_joined)
		client->ops.peer_joined(client, peer, vectors, client->data);
}

void
client_peer_vectors(struct ivshmem_client *client, uint16_t peer, unsigned vectors)
{
	client->handled++;
	if (client->ops.peer_vectors)
		client->ops.peer_vectors(client, peer, vectors, client->data);
}

void
client_peer_left(struct ivshmem_client *client, uint16_t peer)
{
	TRACE(client_peer_left, client_trace_id(client), peer);
	client->handled++;
	if (client->ops.peer_left)
		client->ops.peer_left(client, peer, client->data);
}
