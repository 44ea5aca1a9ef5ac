/* SPDX-License-Identifier: BSD-2-Clause */

/* Reset, and a device that is saved in one VM and loaded in another. */
#include <group.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define VECTORS 4
#define SEED    42

/* Guests are slow where the kernel emulates them: the last part of the memory has to do. */
#define FILLED    UINT32_C(0x20000)
#define FILLED_AT (GUEST_BAR2_AT + GROUP_MEMORY - FILLED)

static void
reset(const struct member *member)
{
	CHECK_EQ(device_of(member)->ops->reset(device_of(member)), 0);
}

TEST_WAYS(reset_takes_everything_back, 2, .timeout_s = 60)
{
	guest_write(b->vm, GUEST_BAR2_AT, 5);
	guest_write(b->vm, table_control(1), 1);
	ring(a, b, 1, 1);
	guest_expect_pending(b->vm, 1u << 1);
	reset(b);

	/* Nobody is anywhere. */
	CHECK_EQ(guest_config(b->vm, PCI_COMMAND, 2), 0);
	CHECK_EQ(guest_config(b->vm, CONFIG_MSIX_CONTROL, 2), VECTORS - 1);
	CHECK_EQ(guest_read(b->vm, GUEST_BAR0_AT + 8), 0xffffffff);
	CHECK_EQ(guest_read(b->vm, GUEST_BAR2_AT), 0xffffffff);
	guest_write(b->vm, GUEST_BAR0_AT + 12, doorbell(a->id, 0));

	/* A ring is kept until it can be delivered; those from before the reset are forgotten. */
	ring(a, b, 2, 1);
	CHECK_EQ(guest_setup(b->vm, VECTORS), b->id);
	guest_expect(b->vm, 2, 1);
	CHECK_EQ(guest_interrupts(b->vm, 1), 0);
	CHECK_EQ(guest_interrupts(a->vm, 0), 0);
	CHECK_EQ(guest_read(b->vm, GUEST_BAR2_AT), 5);

	/* And all is as it was. */
	for (unsigned vector = 0; vector < VECTORS; vector++)
		round_trips(a, b, vector, 1);
}

TEST_WAYS(resets_while_rings_come, 2, .timeout_s = 60)
{
	uint32_t before;

	guest_begin(a->vm, GUEST_RING_COUNTED, doorbell(b->id, 0), 0, GUEST_FREE_AT);
	for (unsigned i = 0; i < 30; i++) {
		reset(b);
		CHECK_EQ(guest_setup(b->vm, VECTORS), b->id);
		before = guest_interrupts(b->vm, 0);
		guest_call(b->vm, GUEST_WAIT, GUEST_MSIX_INTERRUPT, before + 3);
	}
	vm_stop_command(a->vm);
	CHECK(guest_end(a->vm, NULL) > 0);
}

/* ---- save and load ---------------------------------------------------------------------------- */

/* The device's memory goes along: it is in the state of a remote one, and the VMM's to carry, if the
 * device is in it. */
static void
carry_memory(const struct member *from, const struct member *to)
{
	if (from->options.way == WAY_EMBEDDED)
		memcpy(ivshmem_kvm_memory(embedded_device(to->vm, 0)),
			ivshmem_kvm_memory(embedded_device(from->vm, 0)), GROUP_MEMORY);
}

static void
move(const struct member *from, const struct member *to)
{
	struct ivshmem_error error;
	void *state;
	size_t size;

	if (device_of(from)->ops->save(device_of(from), &state, &size, &error) < 0)
		FAIL("%s", error.message);
	carry_memory(from, to);
	if (device_of(to)->ops->load(device_of(to), state, size, &error) < 0)
		FAIL("%s", error.message);
	free(state);
}

static struct group there;

/* To another VM, in another group; the rest of its old one goes. */
static struct member *
move_away(void)
{
	struct member *moved;

	group_start(&there, VECTORS, "there");
	there.options = (struct member_options){.way = here.options.way, .revision = 1};
	moved = group_join(&there, &a->options);
	/* In revision 0 the memory comes late. */
	group_settle(&there, 0);
	move(a, moved);
	group_stop(&here);
	/* The new guest has not set up anything: the device comes as it was. */
	guest_call(moved->vm, GUEST_SETUP_FIXED, GUEST_BAR0_AT);
	return moved;
}

/* A member that may be saved, with others who may not. */
static void
join_master(unsigned revision)
{
	struct member_options master = here.options;

	master.revision = revision;
	master.master = true;
	group_join(&here, &master);
	group_add(&here);
	guest_setup(a->vm, VECTORS);
}

static void
check_move(unsigned revision)
{
	const struct member *moved, *other;

	join_master(revision);
	guest_call(a->vm, GUEST_FILL, FILLED_AT, FILLED, SEED);
	guest_write(a->vm, table_control(1), 1);
	guest_write(a->vm, table_control(3), 1);
	ring(b, a, 1, 2);
	guest_expect_pending(a->vm, 1u << 1);
	/* This one nobody has looked at when the device is saved. */
	ring(b, a, 3, 1);

	moved = move_away();
	other = group_add(&there);
	CHECK_EQ(guest_read(moved->vm, GUEST_BAR0_AT + 8), moved->id);
	CHECK_EQ(guest_call(moved->vm, GUEST_CHECK, FILLED_AT, FILLED, SEED), 0);
	CHECK_EQ(guest_call(other->vm, GUEST_CHECK, FILLED_AT, FILLED, SEED), 0);
	guest_expect_pending(moved->vm, 1u << 1 | 1u << 3);
	guest_write(moved->vm, table_control(1), 0);
	guest_write(moved->vm, table_control(3), 0);
	guest_expect(moved->vm, 1, 1);
	guest_expect(moved->vm, 3, 1);
	guest_expect_pending(moved->vm, 0);
	for (uint32_t n = 1; n <= 50; n++) {
		ring_and_expect(other, moved, 0, n);
		ring_and_expect(moved, other, 0, n);
	}
	group_stop(&there);
}

TEST_WAYS(saved_here_and_loaded_there, 0, .timeout_s = 120)
{
	check_move(1);
}

TEST_WAYS(saved_here_and_loaded_there_in_revision_0, 0, .timeout_s = 120)
{
	check_move(0);
}

TEST_WAYS(what_was_pending_fires_after_loading, 0, .timeout_s = 60)
{
	const struct member *moved;

	join_master(1);
	guest_write(a->vm, table_control(2), 1);
	ring(b, a, 2, 1);
	guest_expect_pending(a->vm, 1u << 2);

	moved = move_away();
	/* Loading brings the pending bit; opening the function's mask again sends it. */
	guest_set_config(
		moved->vm, CONFIG_MSIX_CONTROL, 2, PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
	guest_write(moved->vm, table_control(2), 0);
	CHECK_EQ(guest_pending(moved->vm), 1u << 2);
	guest_set_config(moved->vm, CONFIG_MSIX_CONTROL, 2, PCI_MSIX_FLAGS_ENABLE);
	guest_expect(moved->vm, 2, 1);
	group_stop(&there);
}

TEST_WAYS(a_peer_is_neither_saved_nor_loaded, 0, .timeout_s = 60)
{
	for (unsigned revision = 0; revision < 2; revision++) {
		struct member_options options = {
			.way = here.options.way, .revision = revision, .peer = true};
		struct attachment *device = device_of(group_join(&here, &options));
		struct ivshmem_error error;
		char state[65536] = "";
		size_t size;
		void *saved;
		int r = device->ops->save(device, &saved, &size, &error);

		CHECK_EQ(r, here.options.way == WAY_EMBEDDED ? -EPERM : -ENOTTY);
		CHECK(error.message[0]);
		CHECK_EQ(device->ops->load(device, state, sizeof(state), &error), r);
	}
}
