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

static struct attachment *
device_of(const struct member *member)
{
	return member->vm->pci.functions[0];
}

static void
reset(const struct member *member)
{
	CHECK_EQ(device_of(member)->ops->reset(device_of(member)), 0);
}

TEST_WAYS(reset_takes_everything_back, .timeout_s = 60)
{
	struct group group;
	struct member *a = &group.members[0], *b = &group.members[1];
	uint32_t before;

	group_of(&group, way, 2, VECTORS);
	guest_write(b->vm, GUEST_BAR2_AT, 5);
	guest_write(b->vm, table_control(1), 1);
	guest_call(a->vm, GUEST_RING, doorbell(b->id, 1), 1);
	guest_expect_pending(b->vm, 1u << 1);
	reset(b);

	/* Nobody is anywhere. */
	CHECK_EQ(guest_config(b->vm, CONFIG_COMMAND, 2), 0);
	CHECK_EQ(guest_config(b->vm, CONFIG_MSIX_CONTROL, 2), VECTORS - 1);
	CHECK_EQ(guest_read(b->vm, GUEST_BAR0_AT + 8), 0xffffffff);
	CHECK_EQ(guest_read(b->vm, GUEST_BAR2_AT), 0xffffffff);
	guest_write(b->vm, GUEST_BAR0_AT + 12, doorbell(a->id, 0));

	/* A ring is kept until it can be delivered; those from before the reset are forgotten. */
	guest_call(a->vm, GUEST_RING, doorbell(b->id, 2), 1);
	CHECK_EQ(guest_setup(b->vm, VECTORS), b->id);
	guest_expect(b->vm, 2, 1);
	CHECK_EQ(guest_interrupts(b->vm, 1), 0);
	CHECK_EQ(guest_interrupts(a->vm, 0), 0);
	CHECK_EQ(guest_read(b->vm, GUEST_BAR2_AT), 5);

	/* And all is as it was. */
	for (unsigned vector = 0; vector < VECTORS; vector++) {
		before = guest_interrupts(b->vm, vector);
		guest_call(a->vm, GUEST_RING, doorbell(b->id, vector), 1);
		guest_expect(b->vm, vector, before + 1);
		before = guest_interrupts(a->vm, vector);
		guest_call(b->vm, GUEST_RING, doorbell(a->id, vector), 1);
		guest_expect(a->vm, vector, before + 1);
	}
	group_stop(&group);
}

TEST_WAYS(resets_while_rings_come, .timeout_s = 60)
{
	struct group group;
	struct member *a = &group.members[0], *b = &group.members[1];
	uint32_t before;

	group_of(&group, way, 2, VECTORS);
	guest_begin(a->vm, GUEST_RING_COUNTED, doorbell(b->id, 0), 0, GUEST_FREE_AT);
	for (unsigned i = 0; i < 30; i++) {
		reset(b);
		CHECK_EQ(guest_setup(b->vm, VECTORS), b->id);
		before = guest_interrupts(b->vm, 0);
		guest_call(b->vm, GUEST_WAIT, GUEST_MSIX_INTERRUPT, before + 3);
	}
	vm_stop_command(a->vm);
	CHECK(guest_end(a->vm, NULL) > 0);
	group_stop(&group);
}

/* ---- save and load ---------------------------------------------------------------------------- */

/* A member that may be saved: the first of its group in revision 1. */
static const struct member_options masters[] = {
	{.revision = 1, .master = true},
	{.revision = 0},
};

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

TEST_WAYS(saved_here_and_loaded_there, .timeout_s = 120)
{
	for (size_t i = 0; i < sizeof(masters) / sizeof(masters[0]); i++) {
		struct member_options options = masters[i], others = {.way = way, .revision = 1};
		struct group here, there;
		struct member *a, *b;

		options.way = way;
		group_start(&here, VECTORS);
		a = group_join(&here, &options);
		b = group_join(&here, &others);
		group_settle(&here, 0);
		guest_setup(a->vm, VECTORS);
		guest_setup(b->vm, VECTORS);
		guest_call(a->vm, GUEST_FILL, FILLED_AT, FILLED, SEED);
		guest_write(a->vm, table_control(1), 1);
		guest_write(a->vm, table_control(3), 1);
		guest_call(b->vm, GUEST_RING, doorbell(a->id, 1), 2);
		guest_expect_pending(a->vm, 1u << 1);
		/* This one nobody has looked at when the device is saved. */
		guest_call(b->vm, GUEST_RING, doorbell(a->id, 3), 1);

		group_start_named(&there, VECTORS, "there");
		group_join(&there, &options);
		/* In revision 0 the memory comes late. */
		group_settle(&there, 0);
		move(a, &there.members[0]);
		group_stop(&here);

		a = &there.members[0];
		b = group_join(&there, &others);
		group_settle(&there, 0);
		guest_setup(b->vm, VECTORS);
		/* A's new guest has not set up anything: the device comes as it was. */
		guest_call(a->vm, GUEST_SETUP_FIXED, GUEST_BAR0_AT);
		CHECK_EQ(guest_read(a->vm, GUEST_BAR0_AT + 8), a->id);
		CHECK_EQ(guest_call(a->vm, GUEST_CHECK, FILLED_AT, FILLED, SEED), 0);
		CHECK_EQ(guest_call(b->vm, GUEST_CHECK, FILLED_AT, FILLED, SEED), 0);
		guest_expect_pending(a->vm, 1u << 1 | 1u << 3);
		guest_write(a->vm, table_control(1), 0);
		guest_write(a->vm, table_control(3), 0);
		guest_expect(a->vm, 1, 1);
		guest_expect(a->vm, 3, 1);
		guest_expect_pending(a->vm, 0);
		for (uint32_t n = 1; n <= 50; n++) {
			guest_call(b->vm, GUEST_RING, doorbell(a->id, 0), 1);
			guest_expect(a->vm, 0, n);
			guest_call(a->vm, GUEST_RING, doorbell(b->id, 0), 1);
			guest_expect(b->vm, 0, n);
		}
		group_stop(&there);
	}
}

TEST_WAYS(what_was_pending_fires_after_loading, .timeout_s = 60)
{
	struct member_options options = {.way = way, .revision = 1, .master = true};
	struct group here, there;
	struct member *a, *b;

	group_start(&here, VECTORS);
	a = group_join(&here, &options);
	b = group_join(&here, &(struct member_options){.way = way, .revision = 1});
	group_settle(&here, 0);
	guest_setup(a->vm, VECTORS);
	guest_setup(b->vm, VECTORS);
	guest_write(a->vm, table_control(2), 1);
	guest_call(b->vm, GUEST_RING, doorbell(a->id, 2), 1);
	guest_expect_pending(a->vm, 1u << 2);

	group_start_named(&there, VECTORS, "there");
	move(a, group_join(&there, &options));
	group_stop(&here);
	a = &there.members[0];
	guest_call(a->vm, GUEST_SETUP_FIXED, GUEST_BAR0_AT);
	/* Loading brings the pending bit; opening the function's mask again sends it. */
	guest_set_config(a->vm, CONFIG_MSIX_CONTROL, 2, MSIX_ENABLE | MSIX_MASK_ALL);
	guest_write(a->vm, table_control(2), 0);
	CHECK_EQ(guest_pending(a->vm), 1u << 2);
	guest_set_config(a->vm, CONFIG_MSIX_CONTROL, 2, MSIX_ENABLE);
	guest_expect(a->vm, 2, 1);
	group_stop(&there);
}

TEST_WAYS(a_peer_is_neither_saved_nor_loaded, .timeout_s = 60)
{
	const struct member_options peers[] = {
		{.way = way, .revision = 1}, {.way = way, .revision = 0, .peer = true}};
	struct group group;

	group_start(&group, VECTORS);
	for (size_t i = 0; i < sizeof(peers) / sizeof(peers[0]); i++) {
		struct member *member = group_join(&group, &peers[i]);
		struct attachment *device = device_of(member);
		struct ivshmem_error error;
		char state[65536] = "";
		size_t size;
		void *saved;
		int r = device->ops->save(device, &saved, &size, &error);

		CHECK_EQ(r, way == WAY_EMBEDDED ? -EPERM : -ENOTTY);
		CHECK(error.message[0]);
		CHECK_EQ(device->ops->load(device, state, sizeof(state), &error), r);
	}
	group_stop(&group);
}
