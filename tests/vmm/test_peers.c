/* SPDX-License-Identifier: BSD-2-Clause */

/* More than two: processes of the host, and members that come and go while others ring. */
#include <group.h>

#define VECTORS 2

#define PATIENCE_MS 30000

TEST_WAYS(three_guests_and_a_process, 3, .timeout_s = 60)
{
	struct ivshmem_client *host = group_attach(&here);
	uint32_t *memory = ivshmem_memory(host);

	group_settle(&here, 1);

	/* Everybody writes to a place of its own, and everybody else sees it. */
	memory[3] = 0xcafe;
	for (uint32_t i = 0; i < 3; i++)
		guest_write(here.members[i].vm, GUEST_BAR2_AT + 4 * i, 100 + i);
	for (uint32_t i = 0; i < 3; i++) {
		CHECK_EQ(memory[i], 100 + i);
		for (uint32_t k = 0; k < 3; k++)
			CHECK_EQ(guest_read(here.members[k].vm, GUEST_BAR2_AT + 4 * i), 100 + i);
		CHECK_EQ(guest_read(here.members[i].vm, GUEST_BAR2_AT + 12), 0xcafe);
	}

	/* Everybody rings everybody, themselves included. */
	for (unsigned i = 0; i < 3; i++) {
		const struct member *member = &here.members[i];

		group_await(&here, host, member->id);
		CHECK_EQ(ivshmem_ring(host, member->id, 0), 0);
		for (unsigned k = 0; k < 3; k++)
			ring_and_expect(member, &here.members[k], 1, i + 1);
		guest_call(member->vm, GUEST_RING, doorbell(ivshmem_id(host), 1), 1);
		CHECK_EQ(ivshmem_wait(host, 1, PATIENCE_MS), 0);
		CHECK_EQ(ivshmem_take(host, 1), 1);
	}
	for (unsigned i = 0; i < 3; i++)
		guest_expect(here.members[i].vm, 0, 1);
	CHECK_EQ(ivshmem_take(host, 0), 0);
	ivshmem_detach(host);
}

TEST_WAYS(others_come_and_go_while_two_ring, 2, .timeout_s = 120)
{
	uint32_t results[4], trips = test_count(here.options.way == WAY_TRAPPED ? 2000 : 20000);

	guest_begin(b->vm, GUEST_PONG, doorbell(a->id, 0), GUEST_MSIX_INTERRUPT, trips);
	guest_begin(a->vm, GUEST_PING, doorbell(b->id, 0), GUEST_MSIX_INTERRUPT, trips);
	for (unsigned i = 0; i < 8; i++) {
		struct ivshmem_client *host = group_attach(&here);
		struct member *c = group_join(&here, &here.options);

		group_settle(&here, 1);
		ivshmem_detach(host);
		group_leave(&here, c);
		group_settle(&here, 0);
	}
	guest_end(a->vm, results);
	CHECK_EQ(results[2], 0);
	CHECK_EQ(guest_end(b->vm, NULL), 0);
	guest_expect(a->vm, 0, trips);
	guest_expect(b->vm, 0, trips);
	CHECK_EQ(guest_interrupts(a->vm, 1) + guest_interrupts(b->vm, 1), 0);
}

TEST_WAYS(one_that_is_being_rung_leaves, 2, .timeout_s = 120)
{
	for (unsigned i = 0; i < 4; i++) {
		struct member *c = group_add(&here);
		uint32_t before = guest_interrupts(b->vm, 0);

		guest_call(c->vm, GUEST_NOP);
		CHECK_EQ(guest_interrupts(c->vm, 0), 0);

		/* A rings it without end, and it sleeps and is woken. */
		guest_begin(c->vm, GUEST_WAIT, GUEST_MSIX_INTERRUPT, UINT32_MAX / 2);
		guest_begin(a->vm, GUEST_RING_COUNTED, doorbell(c->id, 0), 0, GUEST_FREE_AT);
		guest_await_least(c->vm, 0, 10);
		group_leave(&here, c);
		vm_stop_command(a->vm);
		CHECK(guest_end(a->vm, NULL) >= 10);
		group_settle(&here, 0);

		/* The others have not noticed anything. */
		ring_and_expect(a, b, 0, before + 1);
		ring_and_expect(b, a, 0, i + 1);
	}
}

/* Rings add up on the way, but the last of them is never lost: whoever was rung finds the memory as
 * it was when it was rung last, or newer. */
TEST_WAYS(the_last_ring_of_many_arrives, 2, .timeout_s = 120)
{
	uint32_t storm = test_count(here.options.way == WAY_TRAPPED ? 2000 : 20000);

	b->vm->mailbox->watch = GUEST_BAR2_AT;
	for (unsigned i = 0; i < 5; i++) {
		b->vm->mailbox->seen = 0;
		guest_begin(b->vm, GUEST_WAIT, GUEST_MSIX_INTERRUPT, UINT32_MAX / 2);
		CHECK_EQ(guest_call(a->vm, GUEST_RING_COUNTED, doorbell(b->id, 0), storm,
				 GUEST_BAR2_AT),
			storm);
		GUEST_UNTIL(b->vm->mailbox->seen == storm);
		vm_stop_command(b->vm);
		guest_end(b->vm, NULL);
	}
	CHECK(guest_interrupts(b->vm, 0) <= 5 * storm);
}

TEST_WAYS(the_server_goes_and_the_guests_ring_on, 2, .timeout_s = 60)
{
	group_stop_server(&here);
	for (uint32_t n = 1; n <= 100; n++)
		ring_and_expect(a, b, 1, n);
	guest_write(a->vm, GUEST_BAR2_AT, 77);
	CHECK_EQ(guest_read(b->vm, GUEST_BAR2_AT), 77);
}
