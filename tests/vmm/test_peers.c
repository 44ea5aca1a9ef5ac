/* SPDX-License-Identifier: BSD-2-Clause */

/* More than two: processes of the host, and members that come and go while others ring. */
#include <group.h>

#include <ivshmem/client.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define VECTORS 2

#define PATIENCE_MS 30000

static struct ivshmem_client *
attach_host(const struct group *group)
{
	struct ivshmem_client *client;
	struct ivshmem_error error;
	char target[sizeof(group->server) + 8];

	snprintf(target, sizeof(target), "unix:%s", group->server);
	if (ivshmem_attach(&client, target, NULL, &error) < 0)
		FAIL("%s", error.message);
	return client;
}

/* A process of the host hears of others when it looks. */
static void
await_peer(struct ivshmem_client *client, uint16_t id)
{
	while (ivshmem_peer_vectors(client, id) != VECTORS)
		CHECK(ivshmem_dispatch(client, PATIENCE_MS) > 0);
}

TEST_WAYS(three_guests_and_a_process, .timeout_s = 60)
{
	struct group group;
	struct ivshmem_client *host;
	uint32_t *memory;

	group_of(&group, way, 3, VECTORS);
	host = attach_host(&group);
	group_settle(&group, 1);
	memory = ivshmem_memory(host);

	/* Everybody writes to a place of its own, and everybody else sees it. */
	memory[3] = 0xcafe;
	for (uint32_t i = 0; i < 3; i++)
		guest_write(group.members[i].vm, GUEST_BAR2_AT + 4 * i, 100 + i);
	for (uint32_t i = 0; i < 3; i++) {
		CHECK_EQ(memory[i], 100 + i);
		for (uint32_t k = 0; k < 3; k++)
			CHECK_EQ(guest_read(group.members[k].vm, GUEST_BAR2_AT + 4 * i), 100 + i);
		CHECK_EQ(guest_read(group.members[i].vm, GUEST_BAR2_AT + 12), 0xcafe);
	}

	/* Everybody rings everybody, themselves included. */
	for (unsigned i = 0; i < 3; i++) {
		struct vm *vm = group.members[i].vm;

		await_peer(host, group.members[i].id);
		CHECK_EQ(ivshmem_ring(host, group.members[i].id, 0), 0);
		for (unsigned k = 0; k < 3; k++) {
			guest_call(vm, GUEST_RING, doorbell(group.members[k].id, 1), 1);
			guest_expect(group.members[k].vm, 1, i + 1);
		}
		guest_call(vm, GUEST_RING, doorbell(ivshmem_id(host), 1), 1);
		CHECK_EQ(ivshmem_wait(host, 1, PATIENCE_MS), 0);
		CHECK_EQ(ivshmem_take(host, 1), 1);
	}
	for (unsigned i = 0; i < 3; i++)
		guest_expect(group.members[i].vm, 0, 1);
	CHECK_EQ(ivshmem_take(host, 0), 0);
	ivshmem_detach(host);
	group_stop(&group);
}

TEST_WAYS(others_come_and_go_while_two_ring, .timeout_s = 120)
{
	struct group group;
	struct member *a = &group.members[0], *b = &group.members[1];
	uint32_t results[4], trips = test_count(way == WAY_TRAPPED ? 2000 : 20000);

	group_of(&group, way, 2, VECTORS);
	guest_begin(b->vm, GUEST_PONG, doorbell(a->id, 0), GUEST_MSIX_INTERRUPT, trips);
	guest_begin(a->vm, GUEST_PING, doorbell(b->id, 0), GUEST_MSIX_INTERRUPT, trips);
	for (unsigned i = 0; i < 8; i++) {
		struct ivshmem_client *host = attach_host(&group);
		struct member *c =
			group_join(&group, &(struct member_options){.way = way, .revision = 1});

		group_settle(&group, 1);
		ivshmem_detach(host);
		group_leave(&group, c);
		group_settle(&group, 0);
	}
	guest_end(a->vm, results);
	CHECK_EQ(results[2], 0);
	CHECK_EQ(guest_end(b->vm, NULL), 0);
	guest_expect(a->vm, 0, trips);
	guest_expect(b->vm, 0, trips);
	CHECK_EQ(guest_interrupts(a->vm, 1) + guest_interrupts(b->vm, 1), 0);
	group_stop(&group);
}

TEST_WAYS(one_that_is_being_rung_leaves, .timeout_s = 120)
{
	struct group group;
	struct member *a = &group.members[0], *b = &group.members[1];

	group_of(&group, way, 2, VECTORS);
	for (unsigned i = 0; i < 4; i++) {
		struct member *c =
			group_join(&group, &(struct member_options){.way = way, .revision = 1});
		uint32_t before = guest_interrupts(b->vm, 0), rings, came;

		group_settle(&group, 0);
		guest_setup(c->vm, VECTORS);
		guest_call(c->vm, GUEST_NOP);
		came = guest_interrupts(c->vm, 0);
		CHECK_EQ(came, 0);

		/* A rings it without end, and it sleeps and is woken. */
		guest_begin(c->vm, GUEST_WAIT, GUEST_MSIX_INTERRUPT, UINT32_MAX / 2);
		guest_begin(a->vm, GUEST_RING_COUNTED, doorbell(c->id, 0), 0, GUEST_FREE_AT);
		while (guest_interrupts(c->vm, 0) < 10)
			usleep(100);
		group_leave(&group, c);
		vm_stop_command(a->vm);
		rings = guest_end(a->vm, NULL);
		CHECK(rings >= 10);
		group_settle(&group, 0);

		/* The others have not noticed anything. */
		guest_call(a->vm, GUEST_RING, doorbell(b->id, 0), 1);
		guest_expect(b->vm, 0, before + 1);
		guest_call(b->vm, GUEST_RING, doorbell(a->id, 0), 1);
		guest_expect(a->vm, 0, i + 1);
	}
	group_stop(&group);
}

/* Rings add up on the way, but the last of them is never lost: whoever was rung finds the memory as
 * it was when it was rung last, or newer. */
TEST_WAYS(the_last_ring_of_many_arrives, .timeout_s = 120)
{
	struct group group;
	struct member *a = &group.members[0], *b = &group.members[1];
	uint32_t storm = test_count(way == WAY_TRAPPED ? 2000 : 20000);

	group_of(&group, way, 2, VECTORS);
	b->vm->mailbox->watch = GUEST_BAR2_AT;
	for (unsigned i = 0; i < 5; i++) {
		b->vm->mailbox->seen = 0;
		guest_begin(b->vm, GUEST_WAIT, GUEST_MSIX_INTERRUPT, UINT32_MAX / 2);
		CHECK_EQ(guest_call(a->vm, GUEST_RING_COUNTED, doorbell(b->id, 0), storm,
				 GUEST_BAR2_AT),
			storm);
		for (unsigned waited = 0; b->vm->mailbox->seen != storm; waited++) {
			CHECK(waited < PATIENCE_MS);
			usleep(1000);
		}
		vm_stop_command(b->vm);
		guest_end(b->vm, NULL);
	}
	CHECK(guest_interrupts(b->vm, 0) <= 5 * storm);
	group_stop(&group);
}

TEST_WAYS(the_server_goes_and_the_guests_ring_on, .timeout_s = 60)
{
	struct group group;
	struct member *a = &group.members[0], *b = &group.members[1];

	group_of(&group, way, 2, VECTORS);
	group_stop_server(&group);
	for (uint32_t n = 1; n <= 100; n++) {
		guest_call(a->vm, GUEST_RING, doorbell(b->id, 1), 1);
		guest_expect(b->vm, 1, n);
	}
	guest_write(a->vm, GUEST_BAR2_AT, 77);
	CHECK_EQ(guest_read(b->vm, GUEST_BAR2_AT), 77);
	group_stop(&group);
}
