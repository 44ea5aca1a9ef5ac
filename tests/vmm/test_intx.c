/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * The interrupt pin of revision 0 with msi=off: it stays raised until IntrStatus is read.
 *
 * A kernel that emulates its guest may take an interrupt for ended when it begins. The line is then
 * raised again before the handler has read the status, and another interrupt comes that finds
 * nothing: any driver must bear that, and so do these tests.
 */
#include <group.h>

#include <ivshmem/client.h>

#include <stdio.h>
#include <unistd.h>

#define VECTORS 1

#define PATIENCE_MS 30000

#define REGISTER_MASK   (GUEST_BAR0_AT + 0)
#define REGISTER_STATUS (GUEST_BAR0_AT + 4)

#define CONFIG_STATUS    6
#define STATUS_INTERRUPT 8
#define COMMAND_NO_INTX  0x400

static uint32_t
interrupts(const struct member *member)
{
	return member->vm->mailbox->interrupts[GUEST_INTX_INTERRUPT];
}

static uint32_t
served(const struct member *member)
{
	return member->vm->mailbox->interrupts[GUEST_INTX_SERVED];
}

/* A device and a process that rings it. */
static struct ivshmem_client *
set_up(struct group *group, enum way way)
{
	struct member_options options = {.way = way, .revision = 0, .no_msi = true};
	struct ivshmem_client *client;
	struct ivshmem_error error;
	char target[sizeof(group->server) + 8];
	struct member *member;

	group_start(group, VECTORS);
	member = group_join(group, &options);
	snprintf(target, sizeof(target), "unix:%s", group->server);
	if (ivshmem_attach(&client, target, NULL, &error) < 0)
		FAIL("%s", error.message);
	member->id = 0; /* the first to come */
	while (ivshmem_peer_vectors(client, member->id) != VECTORS)
		CHECK(ivshmem_dispatch(client, PATIENCE_MS) > 0);
	CHECK_EQ(guest_setup(member->vm, 0), member->id);
	CHECK_EQ(guest_config(member->vm, 0x3d, 1), 1);
	guest_call(member->vm, GUEST_SETUP_INTX, VM_GSI_INTX);
	return client;
}

/* Wait until the status was found set so often, and see that then there is peace: `ignored` is how
 * often the handler looked away. */
static void
expect(const struct member *member, uint32_t count, uint32_t ignored)
{
	uint32_t before;

	guest_call(member->vm, GUEST_WAIT, GUEST_INTX_SERVED, count);
	usleep(1000);
	guest_call(member->vm, GUEST_NOP);
	before = interrupts(member);
	for (int i = 0; i < 10; i++) {
		usleep(1000);
		guest_call(member->vm, GUEST_NOP);
	}
	CHECK_EQ(interrupts(member), before);
	CHECK_EQ(served(member), count);
	CHECK(before >= count + ignored);
	if (count > 0)
		CHECK(before <= 2 * count + ignored);
}

TEST_WAYS(the_pin_is_raised_until_the_status_is_read, .timeout_s = 60)
{
	struct group group;
	struct ivshmem_client *client = set_up(&group, way);
	struct member *member = &group.members[0];

	guest_write(member->vm, REGISTER_MASK, 1);
	for (uint32_t n = 1; n <= 10; n++) {
		/* The handler looks away four times, and is called a fifth time. */
		member->vm->mailbox->intx_ignore = interrupts(member) + 4;
		CHECK_EQ(ivshmem_ring(client, member->id, 0), 0);
		expect(member, n, 4 * n);
		CHECK_EQ(guest_read(member->vm, REGISTER_STATUS), 0);
	}
	ivshmem_detach(client);
	group_stop(&group);
}

TEST_WAYS(without_the_mask_the_status_waits, .timeout_s = 60)
{
	struct group group;
	struct ivshmem_client *client = set_up(&group, way);
	struct member *member = &group.members[0];

	CHECK_EQ(ivshmem_ring(client, member->id, 0), 0);
	for (unsigned waited = 0; guest_read(member->vm, REGISTER_STATUS) == 0; waited++) {
		CHECK(waited < PATIENCE_MS);
		usleep(1000);
	}
	CHECK_EQ(interrupts(member), 0);

	/* There is a request as soon as there is a mask, and an interrupt as soon as they are not
	 * disabled. Bit 3 of the status register tells of the request. */
	guest_write(member->vm, REGISTER_STATUS, 1);
	CHECK_EQ(guest_config(member->vm, CONFIG_STATUS, 2) & STATUS_INTERRUPT, 0);
	guest_set_config(member->vm, CONFIG_COMMAND, 2, COMMAND_MEMORY | COMMAND_NO_INTX);
	guest_write(member->vm, REGISTER_MASK, 1);
	CHECK_EQ(guest_config(member->vm, CONFIG_STATUS, 2) & STATUS_INTERRUPT, STATUS_INTERRUPT);
	CHECK_EQ(interrupts(member), 0);
	guest_set_config(member->vm, CONFIG_COMMAND, 2, COMMAND_MEMORY);
	expect(member, 1, 0);
	CHECK_EQ(guest_config(member->vm, CONFIG_STATUS, 2) & STATUS_INTERRUPT, 0);
	ivshmem_detach(client);
	group_stop(&group);
}

TEST_WAYS(every_ring_is_served, .timeout_s = 60)
{
	struct group group;
	struct ivshmem_client *client = set_up(&group, way);
	struct member *member = &group.members[0];
	const uint32_t rings = 500;

	guest_write(member->vm, REGISTER_MASK, 1);
	for (uint32_t n = 1; n <= rings; n++) {
		CHECK_EQ(ivshmem_ring(client, member->id, 0), 0);
		guest_call(member->vm, GUEST_WAIT, GUEST_INTX_SERVED, n);
		CHECK_EQ(served(member), n);
	}
	expect(member, rings, 0);
	ivshmem_detach(client);
	group_stop(&group);
}

TEST_WAYS(reset_lowers_the_pin, .timeout_s = 60)
{
	struct group group;
	struct ivshmem_client *client = set_up(&group, way);
	struct member *member = &group.members[0];
	struct attachment *device = member->vm->pci.functions[0];

	/* The handler never reads the status, so it is called again and again, and the guest may get to
	 * nothing else, not even to the end of its command. */
	member->vm->mailbox->intx_ignore = UINT32_MAX;
	guest_write(member->vm, REGISTER_MASK, 1);
	CHECK_EQ(ivshmem_ring(client, member->id, 0), 0);
	guest_begin(member->vm, GUEST_WAIT, GUEST_INTX_INTERRUPT, 3);
	for (unsigned waited = 0; interrupts(member) < 3; waited++) {
		CHECK(waited < PATIENCE_MS);
		usleep(1000);
	}
	CHECK_EQ(device->ops->reset(device), 0);
	guest_end(member->vm, NULL);
	expect(member, 0, 3);
	ivshmem_detach(client);
	group_stop(&group);
}
