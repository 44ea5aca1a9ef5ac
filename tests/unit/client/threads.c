/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Threads ring through a client while another one dispatches, which adds and removes peers. (Build
 * with -Db_sanitize=thread: without its lock, the client is caught there.)
 */

#include "group_server.h"

#include <test.h>

#include <errno.h>

#define VECTORS 2
#define RINGERS 2

/* How often a peer comes and leaves. */
#define ROUNDS 60

/* Ids of those who come and go are below it: the server gives them out in turn. */
#define IDS (ROUNDS + 2)

struct stage {
	struct group group;
	struct ivshmem_client *client, *steady;
	atomic_uint ringers; /* that have begun */
	atomic_uint rung;    /* how often the steady peer was */
	atomic_bool quit;
};

static void *
dispatch(void *data)
{
	struct stage *stage = data;

	while (!atomic_load(&stage->quit))
		CHECK(ivshmem_dispatch(stage->client, 20) >= 0);
	return NULL;
}

static void *
ring(void *data)
{
	struct stage *stage = data;
	unsigned steady = ivshmem_id(stage->steady);
	uint32_t word;
	uint64_t offset = atomic_fetch_add(&stage->ringers, 1) * sizeof(word);

	for (unsigned i = 0; !atomic_load(&stage->quit); i++) {
		int r = ivshmem_ring(stage->client, (uint16_t)(steady + 1 + i % IDS), i % VECTORS);

		CHECK(r == 0 || r == -ENOENT || r == -EINVAL);
		CHECK_EQ(ivshmem_ring(stage->client, (uint16_t)steady, 0), 0);
		atomic_fetch_add(&stage->rung, 1);
		CHECK_EQ(ivshmem_write(stage->client, offset, &i, sizeof(i)), 0);
		CHECK_EQ(ivshmem_read(stage->client, offset, &word, sizeof(word)), 0);
		CHECK_EQ(word, i);
	}
	return NULL;
}

TEST_WITH(any_thread_rings, .timeout_s = 120)
{
	pthread_t dispatcher, ringers[RINGERS];
	struct stage stage = {.rung = 0};
	unsigned rounds = test_count(ROUNDS);

	group_open(&stage.group, VECTORS);
	stage.steady = group_join(&stage.group);
	stage.client = group_join(&stage.group);
	CHECK_EQ(pthread_create(&dispatcher, NULL, dispatch, &stage), 0);
	for (unsigned i = 0; i < RINGERS; i++)
		CHECK_EQ(pthread_create(&ringers[i], NULL, ring, &stage), 0);
	for (unsigned i = 0; i < rounds; i++)
		ivshmem_detach(group_join(&stage.group));
	atomic_store(&stage.quit, true);
	CHECK_EQ(pthread_join(dispatcher, NULL), 0);
	for (unsigned i = 0; i < RINGERS; i++)
		CHECK_EQ(pthread_join(ringers[i], NULL), 0);

	/* No ring was lost, and none came to somebody else than it was for. */
	while (ivshmem_dispatch(stage.steady, 0) > 0)
		;
	CHECK_EQ(ivshmem_take(stage.steady, 0), atomic_load(&stage.rung));
	CHECK_EQ(ivshmem_take(stage.steady, 1), 0);
	while (ivshmem_peers(stage.client, NULL, 0) > 1)
		CHECK(ivshmem_dispatch(stage.client, (int)test_patience_ms(5000)) > 0);
	ivshmem_detach(stage.client);
	ivshmem_detach(stage.steady);
	group_close(&stage.group);
}
