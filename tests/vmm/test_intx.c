/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * The interrupt pin of revision 0 with msi=off: it stays raised until IntrStatus is read.
 *
 * A kernel that emulates its guest may take an interrupt for ended when it begins. The line is then
 * raised again before the handler has read the status, and another interrupt comes that finds
 * nothing: any driver must bear that, and so do these tests.
 */
#include <group.h>

#include <unistd.h>

#define VECTORS 1

#define REGISTER_MASK   (GUEST_BAR0_AT + 0)
#define REGISTER_STATUS (GUEST_BAR0_AT + 4)

static struct ivshmem_client *host;

static uint32_t
interrupts(void)
{
	return a->vm->mailbox->interrupts[GUEST_INTX_INTERRUPT];
}

static uint32_t
served(void)
{
	return a->vm->mailbox->interrupts[GUEST_INTX_SERVED];
}

static void
ring_pin(void)
{
	CHECK_EQ(ivshmem_ring(host, a->id, 0), 0);
}

/* A device and a process that rings it. */
static void
set_up(void)
{
	here.options.revision = 0;
	here.options.no_msi = true;
	group_join(&here, &here.options);
	host = group_attach(&here);
	/* a->id is 0: it is the first to come. */
	group_await(&here, host, a->id);
	CHECK_EQ(guest_setup(a->vm, 0), a->id);
	CHECK_EQ(guest_config(a->vm, 0x3d, 1), 1);
	guest_call(a->vm, GUEST_SETUP_INTX, VM_GSI_INTX);
}

/* Wait until the status was found set so often, and then for peace, which comes: `ignored` is how often
 * the handler looked away. */
static void
expect(uint32_t count, uint32_t ignored)
{
	uint32_t came = 0;

	guest_call(a->vm, GUEST_WAIT, GUEST_INTX_SERVED, count);
	for (unsigned quiet = 0; quiet < 10; quiet++) {
		usleep(1000);
		guest_call(a->vm, GUEST_NOP);
		if (interrupts() != came)
			quiet = 0;
		came = interrupts();
	}
	CHECK_EQ(served(), count);
	CHECK(came >= count + ignored);
	if (count > 0)
		CHECK(came <= 2 * count + ignored);
}

TEST_WAYS(the_pin_is_raised_until_the_status_is_read, 0, .timeout_s = 60)
{
	set_up();
	guest_write(a->vm, REGISTER_MASK, 1);
	for (uint32_t n = 1; n <= 10; n++) {
		/* The handler looks away four times, and is called a fifth time. */
		a->vm->mailbox->intx_ignore = interrupts() + 4;
		ring_pin();
		expect(n, 4 * n);
		CHECK_EQ(guest_read(a->vm, REGISTER_STATUS), 0);
	}
	ivshmem_detach(host);
}

TEST_WAYS(without_the_mask_the_status_waits, 0, .timeout_s = 60)
{
	set_up();
	ring_pin();
	GUEST_UNTIL(guest_read(a->vm, REGISTER_STATUS) != 0);
	CHECK_EQ(interrupts(), 0);

	/* There is a request as soon as there is a mask, and an interrupt as soon as they are not
	 * disabled. Bit 3 of the status register tells of the request. */
	guest_write(a->vm, REGISTER_STATUS, 1);
	CHECK_EQ(guest_config(a->vm, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT, 0);
	guest_set_config(a->vm, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_INTX_DISABLE);
	guest_write(a->vm, REGISTER_MASK, 1);
	CHECK_EQ(guest_config(a->vm, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT, PCI_STATUS_INTERRUPT);
	CHECK_EQ(interrupts(), 0);
	guest_set_config(a->vm, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	expect(1, 0);
	CHECK_EQ(guest_config(a->vm, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT, 0);
	ivshmem_detach(host);
}

TEST_WAYS(every_ring_is_served, 0, .timeout_s = 60)
{
	const uint32_t rings = 500;

	set_up();
	guest_write(a->vm, REGISTER_MASK, 1);
	for (uint32_t n = 1; n <= rings; n++) {
		ring_pin();
		guest_call(a->vm, GUEST_WAIT, GUEST_INTX_SERVED, n);
		CHECK_EQ(served(), n);
	}
	expect(rings, 0);
	ivshmem_detach(host);
}

TEST_WAYS(reset_lowers_the_pin, 0, .timeout_s = 60)
{
	set_up();
	/* The handler never reads the status, so it is called again and again, and the guest may get to
	 * nothing else, not even to the end of its command. */
	a->vm->mailbox->intx_ignore = UINT32_MAX;
	guest_write(a->vm, REGISTER_MASK, 1);
	ring_pin();
	guest_begin(a->vm, GUEST_WAIT, GUEST_INTX_INTERRUPT, 3);
	GUEST_UNTIL(interrupts() >= 3);
	CHECK_EQ(device_of(a)->ops->reset(device_of(a)), 0);
	guest_end(a->vm, NULL);
	expect(0, 3);
	ivshmem_detach(host);
}
