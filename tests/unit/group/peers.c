/* SPDX-License-Identifier: BSD-2-Clause */
#include <group/peers.h>

#include <marks.h>
#include <test.h>

#include <ivshmem/abi.h>

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct peers peers;

void
test_after(void)
{
	peers_done(&peers);
}

static struct remote *
get(uint16_t id)
{
	struct remote *remote = NULL;

	CHECK_EQ(peers_get(&peers, id, &remote), 0);
	CHECK(remote);
	CHECK_EQ(remote->id, id);
	return remote;
}

static void
add_vector(struct remote *remote, uint64_t mark)
{
	int fd = mark_new(mark), before = fd;
	unsigned n = remote->n_vectors;

	CHECK_EQ(remote_add_vector(remote, &fd), 0);
	CHECK_EQ(fd, -1);
	CHECK_EQ(remote->n_vectors, n + 1);
	CHECK_EQ(remote->vectors[n], before);
}

TEST(empty_table)
{
	uint16_t ids[4];

	CHECK(!peers_find(&peers, 0));
	CHECK(!peers_find(&peers, 65535));
	CHECK_EQ(peers_list(&peers, NULL, ids, 4), 0);
	CHECK_EQ(peers_list(&peers, NULL, NULL, 0), 0);
	peers_done(&peers);
}

TEST(truncate_closes_from_the_end)
{
	struct remote *remote = get(7);
	int kept, closed;

	for (uint64_t mark = 1; mark <= 5; mark++)
		add_vector(remote, mark);
	kept = remote->vectors[1];
	closed = remote->vectors[2];
	remote_truncate(remote, 5);
	CHECK_EQ(remote->n_vectors, 5);
	remote_truncate(remote, 2);
	CHECK_EQ(remote->n_vectors, 2);
	CHECK_EQ(mark_of(kept), 2);
	CHECK_EQ(fcntl(closed, F_GETFD), -1);
	/* What comes next has the next number again. */
	add_vector(remote, 9);
	CHECK_EQ(mark_of(remote->vectors[2]), 9);
	remote_truncate(remote, 0);
	CHECK_EQ(remote->n_vectors, 0);
	CHECK(peers_find(&peers, 7) == remote);
}

TEST(get_makes_one_only_once)
{
	struct remote *remote = get(300);

	CHECK(get(300) == remote);
	CHECK(peers_find(&peers, 300) == remote);
	CHECK_EQ(peers.n, 1);
	CHECK_EQ(remote->n_vectors, 0);
	CHECK(!peers_find(&peers, 44)); /* the same place on another page */
	CHECK(!peers_find(&peers, 556));
	peers_done(&peers);
	CHECK(!peers_find(&peers, 300));
}

TEST(vectors_are_kept_in_order)
{
	struct remote *remote = get(7);

	for (uint64_t i = 1; i <= 100; i++)
		add_vector(remote, i);
	for (uint64_t i = 1; i <= 100; i++)
		CHECK_EQ(mark_of(remote->vectors[i - 1]), i);
}

TEST(vector_that_cannot_be_rung_is_a_place_all_the_same)
{
	struct remote *remote = get(7);
	int none = -1;

	add_vector(remote, 1);
	CHECK_EQ(remote_add_vector(remote, &none), 0);
	add_vector(remote, 3);
	CHECK_EQ(remote->n_vectors, 3);
	CHECK_EQ(remote->vectors[1], -1);
	CHECK_EQ(mark_of(remote->vectors[2]), 3);
}

TEST(more_vectors_than_there_can_be)
{
	struct remote *remote = get(7);
	int mark = mark_new(1), none = -1;

	for (unsigned i = 0; i < IVSHMEM_MAX_VECTORS; i++)
		CHECK_EQ(remote_add_vector(remote, &none), 0);
	CHECK_EQ(remote_add_vector(remote, &mark), -ENOSPC);
	/* Not taken. */
	mark_check(mark, 1);
	CHECK_EQ(remote->n_vectors, IVSHMEM_MAX_VECTORS);
}

TEST(remove_closes_and_forgets)
{
	unsigned open_fds = test_open_fds();
	struct remote *remote = get(7);

	get(8);
	add_vector(remote, 1);
	add_vector(remote, 2);
	peers_remove(&peers, remote);
	CHECK_EQ(test_open_fds(), open_fds);
	CHECK(!peers_find(&peers, 7));
	CHECK(peers_find(&peers, 8));
	CHECK_EQ(peers.n, 1);
	/* The same id as a new peer. */
	CHECK_EQ(get(7)->n_vectors, 0);
}

TEST(remove_takes_it_off_its_users_list)
{
	struct remote *remote = get(7), *other = get(9);
	struct list head;

	list_init(&head);
	CHECK(list_empty(&remote->link));
	list_append(&head, &remote->link);
	list_append(&head, &other->link);
	peers_remove(&peers, remote);
	CHECK(head.next == &other->link);
	peers_done(&peers);
	CHECK(list_empty(&head));
}

TEST(list_is_in_ascending_order_and_cut_at_its_room)
{
	static const uint16_t all[] = {65535, 0, 256, 255, 300, 1, 40000, 257};
	static const uint16_t sorted[] = {0, 1, 255, 256, 257, 300, 40000, 65535};
	uint16_t ids[10];

	for (int i = 0; i < 8; i++)
		get(all[i]);
	for (size_t room = 0; room <= 8; room++) {
		memset(ids, 0x55, sizeof(ids));
		CHECK_EQ(peers_list(&peers, NULL, ids, room), 8);
		CHECK_MEM(ids, sorted, room * sizeof(ids[0]));
		CHECK_EQ(ids[room], 0x5555);
	}
}

TEST(all_ids_at_once)
{
	static uint16_t ids[65536];

	for (unsigned i = 0; i < 65536; i++)
		get((uint16_t)(i * 40503)); /* odd: visits each once */
	CHECK_EQ(peers.n, 65536);
	CHECK_EQ(peers_list(&peers, NULL, ids, 65536), 65536);
	for (unsigned i = 0; i < 65536; i++)
		CHECK_EQ(ids[i], i);
	for (unsigned i = 0; i < 65536; i += 2)
		peers_remove(&peers, peers_find(&peers, (uint16_t)i));
	CHECK_EQ(peers_list(&peers, NULL, ids, 65536), 32768);
	for (unsigned i = 0; i < 32768; i++)
		CHECK_EQ(ids[i], 2 * i + 1);
}

/* The sanitizer has an allocator of its own, and this function to ask it. */
extern size_t __sanitizer_get_current_allocated_bytes(void) __attribute__((weak));

static size_t
allocated(void)
{
	if (__sanitizer_get_current_allocated_bytes)
		return __sanitizer_get_current_allocated_bytes();
	return mallinfo2().uordblks;
}

/* Behaviour 65: the memory of sparse ids is bounded. */
TEST(sparse_ids_cost_little)
{
	size_t before;

	get(0);
	before = allocated();
	/* 16 peers from 0 to 65535, each on a page of its own. */
	for (unsigned i = 1; i < 16; i++)
		get((uint16_t)(i * 4369));
	CHECK(peers_find(&peers, 65535));
	CHECK(allocated() > before);
	CHECK(allocated() - before < 15 * 4096);
}
