/* SPDX-License-Identifier: BSD-2-Clause */

/* Clients that hear only some of their vectors. */

#include "group_server.h"

#include <ivshmem/abi.h>

#include <test.h>

#include <errno.h>
#include <poll.h>
#include <stdio.h>

#define VECTORS     4
#define PATIENCE_MS 20000

static int
attach(struct ivshmem_client **ret_client, const struct group *group, const unsigned *vectors,
	size_t n, struct ivshmem_error *reterr)
{
	const struct ivshmem_options options = {
		.struct_size = sizeof(options), .vectors = vectors, .n_vectors = n};
	char target[128];

	snprintf(target, sizeof(target), "unix:%s", group->address.sun_path);
	return ivshmem_attach(ret_client, target, &options, reterr);
}

static void
ring_all(struct ivshmem_client *client, uint16_t peer)
{
	for (unsigned vector = 0; vector < VECTORS; vector++)
		CHECK_EQ(ivshmem_ring(client, peer, vector), 0);
}

/* Handle what there is. Rings are there when they were made. */
static void
settle(struct ivshmem_client *client)
{
	while (ivshmem_dispatch(client, 0) > 0)
		;
}

TEST(only_those_that_are_named_are_heard)
{
	unsigned named[] = {3, 1, 3};
	struct pollfd readable = {.events = POLLIN};
	struct ivshmem_client *one, *other;
	struct group group;

	group_open(&group, VECTORS);
	other = group_join(&group);
	CHECK_EQ(attach(&one, &group, named, 3, NULL), 0);
	named[0] = named[2] = 0; /* they were copied */
	CHECK_EQ(ivshmem_vectors(one), VECTORS);
	settle(one);
	CHECK_EQ(ivshmem_ring(one, ivshmem_id(one), 0), 0);
	CHECK_EQ(ivshmem_ring(one, ivshmem_id(one), 2), 0);
	readable.fd = ivshmem_fd(one);
	CHECK_EQ(CHECK_SYS(poll(&readable, 1, 0)), 0);
	CHECK_EQ(ivshmem_wait(one, IVSHMEM_ANY_VECTOR, 0), -ETIMEDOUT);

	CHECK_EQ(ivshmem_wait(one, 0, PATIENCE_MS), -EINVAL);
	CHECK_EQ(ivshmem_wait(one, 2, PATIENCE_MS), -EINVAL);
	ring_all(one, ivshmem_id(one));
	CHECK_EQ(ivshmem_wait(one, 1, PATIENCE_MS), 0);
	CHECK_EQ(ivshmem_wait(one, 3, PATIENCE_MS), 0);
	settle(one);
	for (unsigned vector = 0; vector < VECTORS; vector++)
		CHECK_EQ(ivshmem_take(one, vector), vector % 2);

	/* Whoever names none hears all. */
	ring_all(other, ivshmem_id(other));
	for (unsigned vector = 0; vector < VECTORS; vector++)
		CHECK_EQ(ivshmem_wait(other, (int)vector, PATIENCE_MS), 0);
	ivshmem_detach(one);
	ivshmem_detach(other);
	group_close(&group);
}

TEST(none_are_heard)
{
	struct ivshmem_client *client;
	const unsigned none = 0;
	struct group group;

	group_open(&group, VECTORS);
	CHECK_EQ(attach(&client, &group, &none, 0, NULL), 0);
	ring_all(client, ivshmem_id(client));
	CHECK_EQ(ivshmem_wait(client, IVSHMEM_ANY_VECTOR, -1), -EINVAL);
	CHECK_EQ(ivshmem_wait(client, 0, -1), -EINVAL);
	settle(client);
	for (unsigned vector = 0; vector < VECTORS; vector++)
		CHECK_EQ(ivshmem_pending(client, vector), 0);
	ivshmem_detach(client);
	group_close(&group);
}

/* Rings of one that hears none stay, also when somebody looks at them. */
TEST(rings_that_wait_at_others)
{
	struct ivshmem_client *deaf, *other;
	const unsigned none = 0;
	struct group group;
	uint16_t peer;

	group_open(&group, VECTORS);
	CHECK_EQ(attach(&deaf, &group, &none, 0, NULL), 0);
	peer = ivshmem_id(deaf);
	other = group_join(&group);
	while (ivshmem_peer_vectors(other, peer) != VECTORS)
		CHECK(ivshmem_dispatch(other, PATIENCE_MS) >= 0);
	for (unsigned n = 0; n < 11; n++)
		CHECK_EQ(ivshmem_ring(other, peer, 2), 0);
	for (unsigned n = 0; n < 2; n++) {
		CHECK_EQ(ivshmem_peer_pending(other, peer, 1), 0);
		CHECK_EQ(ivshmem_peer_pending(other, peer, 2), 11);
		CHECK_EQ(ivshmem_peer_pending(deaf, peer, 2), 11);
	}
	CHECK_EQ(ivshmem_peer_pending(other, peer, VECTORS), -EINVAL);
	CHECK_EQ(ivshmem_peer_pending(other, 4711, 0), -ENOENT);
	ivshmem_detach(deaf);
	ivshmem_detach(other);
	group_close(&group);
}

TEST(vectors_that_make_no_sense)
{
	const unsigned vectors[] = {0, IVSHMEM_MAX_VECTORS - 1, IVSHMEM_MAX_VECTORS};
	struct ivshmem_error error = {0};
	struct ivshmem_client *client = NULL;
	struct group group;

	group_open(&group, VECTORS);
	CHECK_EQ(attach(&client, &group, vectors, 3, &error), -EINVAL);
	CHECK_HAS(error.message, "there is no vector 2048");
	CHECK_EQ(attach(&client, &group, NULL, 1, &error), -EINVAL);
	CHECK_HAS(error.message, "vectors is NULL");
	CHECK(!client);
	/* One that there might be, but is not. */
	CHECK_EQ(attach(&client, &group, vectors, 2, &error), 0);
	CHECK_EQ(ivshmem_vectors(client), VECTORS);
	ivshmem_detach(client);
	group_close(&group);
}
