/* SPDX-License-Identifier: BSD-2-Clause */

/* BARs that move, and decoding that is switched off and on, with rings on the way. */
#include <group.h>

#define VECTORS 2
#define MOVED   0x10000u
#define FILLED  0x10000u
#define RINGS   100

TEST_WAYS(the_doorbell_moves, 2, .timeout_s = 60)
{
	uint32_t at = GUEST_BAR0_AT, before;

	for (uint32_t n = 1; n <= RINGS; n++) {
		uint32_t old = at;

		ring_and_expect(a, b, 0, n);
		at = GUEST_BAR0_AT + n % 16 * MOVED;
		guest_set_config(a->vm, PCI_BASE_ADDRESS_0, 4, at);
		guest_call(a->vm, GUEST_SETUP_FIXED, at);
		if (at == old)
			continue;
		/* Where it was, nobody is. */
		CHECK_EQ(guest_read(a->vm, old + 8), 0xffffffff);
		guest_write(a->vm, old + 12, doorbell(b->id, 1));
		CHECK_EQ(guest_read(a->vm, at + 8), a->id);
	}
	guest_expect(b->vm, 0, RINGS);

	/* With decoding off, nobody is anywhere. */
	before = guest_interrupts(b->vm, 0);
	guest_set_config(a->vm, PCI_COMMAND, 2, PCI_COMMAND_MASTER);
	ring(a, b, 0, 5);
	CHECK_EQ(guest_read(a->vm, at + 8), 0xffffffff);
	CHECK_EQ(guest_read(a->vm, GUEST_BAR2_AT), 0xffffffff);
	guest_set_config(a->vm, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	CHECK_EQ(guest_read(a->vm, at + 8), a->id);
	ring_and_expect(a, b, 0, before + 1);
	CHECK_EQ(guest_interrupts(b->vm, 1), 0);
}

TEST_WAYS(the_memory_moves, 2, .timeout_s = 60)
{
	uint32_t old = GUEST_BAR2_AT;

	for (uint32_t n = 1; n <= 20; n++) {
		uint32_t at = GUEST_BAR2_AT + n * GROUP_MEMORY;

		guest_set_config(a->vm, PCI_BASE_ADDRESS_2, 4, at);
		CHECK_EQ(guest_read(a->vm, old), 0xffffffff);
		guest_write(a->vm, at, n);
		CHECK_EQ(guest_read(b->vm, GUEST_BAR2_AT), n);
		old = at;
	}
	guest_write(a->vm, old, 0);
	guest_set_config(a->vm, PCI_BASE_ADDRESS_2, 4, GUEST_BAR2_AT);
	guest_call(b->vm, GUEST_FILL, GUEST_BAR2_AT, FILLED, 2);
	CHECK_EQ(guest_call(a->vm, GUEST_CHECK, GUEST_BAR2_AT, FILLED, 2), 0);
}

/* What the guest that is rung does to its own device does not concern the rings. */
TEST_WAYS(moving_while_rings_come, 2, .timeout_s = 120)
{
	static const struct {
		unsigned offset, size;
		uint32_t value, other;
	} moves[] = {
		{PCI_COMMAND, 2, PCI_COMMAND_MASTER, PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY},
		{PCI_BASE_ADDRESS_0, 4, GUEST_BAR0_AT + MOVED, GUEST_BAR0_AT},
		{PCI_BASE_ADDRESS_0, 4, 0xffffffff, GUEST_BAR0_AT},
		{PCI_BASE_ADDRESS_1, 4, GUEST_BAR1_AT + MOVED, GUEST_BAR1_AT},
		{PCI_BASE_ADDRESS_2, 4, GUEST_BAR2_AT + GROUP_MEMORY, GUEST_BAR2_AT},
	};
	uint32_t rings = 0;

	guest_write(b->vm, GUEST_BAR2_AT, 0x1234);
	for (size_t i = 0; i < sizeof(moves) / sizeof(moves[0]); i++) {
		guest_begin(b->vm, GUEST_TOGGLE_CONFIG, moves[i].offset, moves[i].size,
			moves[i].value, moves[i].other);
		for (unsigned n = 0; n < RINGS; n++) {
			ring(a, b, 0, 1);
			guest_await(b->vm, 0, ++rings);
		}
		vm_stop_command(b->vm);
		CHECK(guest_end(b->vm, NULL) > 0);
		guest_expect(b->vm, 0, rings);
		CHECK_EQ(guest_read(b->vm, GUEST_BAR2_AT), 0x1234);
		CHECK_EQ(guest_read(b->vm, GUEST_BAR0_AT + 8), b->id);
	}
	/* And it can ring back. */
	ring_and_expect(b, a, 0, 1);
}

/* The ringing guest's own BAR0 goes and comes while others move theirs: no ring is lost that was
 * written while it was there. */
TEST_WAYS(both_move, 2, .timeout_s = 120)
{
	guest_begin(b->vm, GUEST_TOGGLE_CONFIG, PCI_BASE_ADDRESS_0, 4, GUEST_BAR0_AT + MOVED,
		GUEST_BAR0_AT);
	for (uint32_t n = 1; n <= RINGS; n++) {
		guest_set_config(a->vm, PCI_COMMAND, 2, PCI_COMMAND_MASTER);
		ring(a, b, 0, 1);
		guest_set_config(a->vm, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
		ring(a, b, 0, 1);
		guest_await(b->vm, 0, n);
	}
	vm_stop_command(b->vm);
	guest_end(b->vm, NULL);
	guest_expect(b->vm, 0, RINGS);
}
