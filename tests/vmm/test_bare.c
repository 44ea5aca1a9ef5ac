/* SPDX-License-Identifier: BSD-2-Clause */

/* The guest, the VMM and the kernel, without any device: what the other tests stand on. */
#include <bare.h>
#include <driver.h>

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#define ROUND_TRIPS test_count(20000)
#define MEMORY_SIZE 65536

TEST(the_guest_answers)
{
	struct vm *vm = guest_new(0);

	guest_start(vm);
	guest_write(vm, GUEST_FREE_AT, 0x12345678);
	CHECK_EQ(guest_read(vm, GUEST_FREE_AT), 0x12345678);
	CHECK_EQ(guest_call(vm, GUEST_READ, GUEST_FREE_AT + 1, 2), 0x3456);
	/* Nobody is there. */
	CHECK_EQ(guest_read(vm, GUEST_BAR0_AT), 0xffffffff);
	CHECK_EQ(guest_call(vm, GUEST_SETUP, 1), 0);
	vm_free(vm);
}

TEST(a_waiting_guest_can_be_woken)
{
	struct vm *vm = guest_new(0);

	guest_start(vm);
	for (int i = 0; i < 100; i++) {
		guest_begin(vm, GUEST_WAIT, GUEST_MSIX_INTERRUPT, 1);
		vm_stop_command(vm);
		CHECK_EQ(guest_end(vm, NULL), 0);
	}
	vm_free(vm);
}

TEST(a_guest_that_hangs_is_no_problem)
{
	struct vm *vm = guest_new(0);

	guest_start(vm);
	/* A wait that nothing ends: the VM can be freed all the same. */
	guest_begin(vm, GUEST_WAIT, GUEST_MSIX_INTERRUPT, 1);
	CHECK(!vm_is_done(vm, 100));
	vm_free(vm);
}

TEST(two_guests_ring_each_other)
{
	struct vm *vms[2] = {guest_new(0), guest_new(1)};
	int eventfds[2] = {test_eventfd(), test_eventfd()};
	uint32_t results[4];

	for (int i = 0; i < 2; i++) {
		CHECK_EQ(bare_interrupt(vms[i], 0, eventfds[i]), 0);
		CHECK_EQ(bare_doorbell(vms[i], doorbell((uint16_t)!i, 0), eventfds[!i]), 0);
		guest_start(vms[i]);
		guest_call(vms[i], GUEST_SETUP_FIXED, GUEST_BAR0_AT);
	}
	guest_begin(vms[1], GUEST_PONG, doorbell(0, 0), GUEST_MSIX_INTERRUPT, ROUND_TRIPS);
	guest_call_with(vms[0], GUEST_PING,
		(uint32_t[4]){doorbell(1, 0), GUEST_MSIX_INTERRUPT, ROUND_TRIPS}, results);
	CHECK_EQ(results[2], 0);
	CHECK_EQ(guest_end(vms[1], NULL), 0);
	for (int i = 0; i < 2; i++)
		guest_expect(vms[i], 0, ROUND_TRIPS);
	for (int i = 0; i < 2; i++)
		vm_free(vms[i]);
}

TEST(memory_is_shared)
{
	struct vm *vms[2] = {guest_new(0), guest_new(1)};
	uint8_t *memory =
		mmap(NULL, MEMORY_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	CHECK(memory != MAP_FAILED);
	for (int i = 0; i < 2; i++) {
		CHECK_EQ(bare_memory(vms[i], memory, MEMORY_SIZE), 0);
		guest_start(vms[i]);
	}
	guest_call(vms[0], GUEST_FILL, GUEST_BAR2_AT, MEMORY_SIZE, 7);
	CHECK_EQ(guest_call(vms[1], GUEST_CHECK, GUEST_BAR2_AT, MEMORY_SIZE, 7), 0);
	memory[MEMORY_SIZE / 2]++;
	CHECK_EQ(guest_call(vms[1], GUEST_CHECK, GUEST_BAR2_AT, MEMORY_SIZE, 7), 1);
	for (int i = 0; i < 2; i++)
		vm_free(vms[i]);
	munmap(memory, MEMORY_SIZE);
}

/*
 * A level triggered line falls when the guest ends the interrupt, and the eventfd for that tells; not
 * before, as it should be, or already when it takes it, as with kernels that emulate the guest.
 */
TEST(a_level_triggered_line_falls_once_per_interrupt)
{
	const uint32_t times = 1000;
	struct vm *vm = guest_new(0);
	int line = test_eventfd(), resample = test_eventfd();
	eventfd_t ends;

	CHECK_SYS(fcntl(resample, F_SETFL, 0));
	CHECK_EQ(vm_irqfd(vm, VM_GSI_INTX, line, resample, true), 0);
	guest_start(vm);
	vm->mailbox->intx_ignore = UINT32_MAX;
	guest_call(vm, GUEST_SETUP_INTX, VM_GSI_INTX);
	guest_begin(vm, GUEST_WAIT, GUEST_INTX_INTERRUPT, times);
	for (uint32_t n = 1; n <= times; n++) {
		CHECK_SYS(eventfd_write(line, 1));
		CHECK_SYS(eventfd_read(resample, &ends));
		CHECK_EQ(ends, 1);
	}
	guest_end(vm, NULL);
	guest_call(vm, GUEST_NOP);
	CHECK_EQ(vm->mailbox->interrupts[GUEST_INTX_INTERRUPT], times);
	vm_free(vm);
}
