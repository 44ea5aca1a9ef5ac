/* SPDX-License-Identifier: BSD-2-Clause */
#include <driver.h>

#include <sched.h>
#include <unistd.h>

/* Where there is nothing to wait for but a word that changes: so often, with pauses. */
#define LOOKS    300000
#define PAUSE_US 100

struct vm *
guest_new(unsigned number)
{
	const char *impossible = machine_impossible();
	int on = -1;
	cpu_set_t cpus;

	if (impossible)
		SKIP("%s", impossible);
	CHECK_SYS(sched_getaffinity(0, sizeof(cpus), &cpus));
	for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &cpus) && number-- == 0)
			on = (int)cpu;
	return vm_new(VMM_GUEST_IMAGE, on);
}

void
guest_start(struct vm *vm)
{
	vm_start(vm);
	CHECK_EQ(vm->mailbox->magic, GUEST_MAGIC);
}

uint32_t
guest_end(struct vm *vm, uint32_t results[4])
{
	uint32_t own[4];

	if (!results)
		results = own;
	vm_wait(vm, results);
	return results[0];
}

uint32_t
guest_call_with(
	struct vm *vm, enum guest_command command, const uint32_t arguments[4], uint32_t results[4])
{
	vm_command(vm, command, arguments);
	return guest_end(vm, results);
}

uint16_t
guest_setup(struct vm *vm, unsigned vectors)
{
	uint32_t results[4];

	guest_call_with(vm, GUEST_SETUP, (uint32_t[4]){vectors}, results);
	if (!results[0])
		FAIL("the guest finds no device");
	CHECK_EQ(results[2], vectors);
	return (uint16_t)results[3];
}

uint32_t
guest_read(struct vm *vm, uint32_t address)
{
	return guest_call(vm, GUEST_READ, address, 4);
}

void
guest_write(struct vm *vm, uint32_t address, uint32_t value)
{
	guest_call(vm, GUEST_WRITE, address, 4, value);
}

uint32_t
guest_config(struct vm *vm, unsigned offset, unsigned size)
{
	return guest_call(vm, GUEST_CONFIG_READ, offset, size);
}

void
guest_set_config(struct vm *vm, unsigned offset, unsigned size, uint32_t value)
{
	guest_call(vm, GUEST_CONFIG_WRITE, offset, size, value);
}

uint32_t
guest_interrupts(const struct vm *vm, unsigned vector)
{
	return vm->mailbox->interrupts[GUEST_MSIX_INTERRUPT + vector];
}

void
guest_expect(struct vm *vm, unsigned vector, uint32_t count)
{
	guest_call(vm, GUEST_WAIT, GUEST_MSIX_INTERRUPT + vector, count);
	/* One more that came at the same time would be taken here. */
	guest_call(vm, GUEST_NOP);
	CHECK_EQ(guest_interrupts(vm, vector), count);
}

void
guest_pause(unsigned looks, const char *what)
{
	if (looks == LOOKS)
		FAIL("never true: %s", what);
	usleep(PAUSE_US);
}

uint32_t
guest_await_least(const struct vm *vm, unsigned vector, uint32_t count)
{
	GUEST_UNTIL(guest_interrupts(vm, vector) >= count);
	return guest_interrupts(vm, vector);
}

void
guest_await(const struct vm *vm, unsigned vector, uint32_t count)
{
	CHECK_EQ(guest_await_least(vm, vector, count), count);
}

uint32_t
guest_pending(struct vm *vm)
{
	return guest_read(vm, GUEST_BAR1_AT + (guest_config(vm, 0x48, 4) & ~7u));
}

void
guest_expect_pending(struct vm *vm, uint32_t bits)
{
	GUEST_UNTIL(guest_pending(vm) == bits);
}
