/* SPDX-License-Identifier: BSD-2-Clause */
#include "kvm_machine.h"

#include <test.h>

#include <linux/filter.h>
#include <linux/kvm.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>

#define CODE_STORE 0x1000
#define CODE_LOAD  0x1010
#define PORT_END   0x80

#define APIC_EOI      UINT32_C(0xfee000b0)
#define APIC_SPURIOUS 0xf0
#define APIC_ISR      0x100
#define APIC_TMR      0x180
#define APIC_IRR      0x200

#define PATIENCE_S 20

/* ---- life ------------------------------------------------------------------------------------- */

static bool
access_device(struct machine *machine, uint64_t address, void *data, unsigned length, bool is_write)
{
	return machine->device &&
	       ivshmem_kvm_mmio(machine->device, address, data, length, is_write);
}

static void
enable_apic(struct machine *machine)
{
	struct kvm_lapic_state apic;

	CHECK_SYS(ioctl(machine->cpu_fd, KVM_GET_LAPIC, &apic));
	apic.regs[APIC_SPURIOUS] = (char)0xff;
	apic.regs[APIC_SPURIOUS + 1] = 1;
	CHECK_SYS(ioctl(machine->cpu_fd, KVM_SET_LAPIC, &apic));
}

static void
open_machine(struct machine *machine, bool split)
{
	/* mov [ebx], eax; out PORT_END, al		mov eax, [ebx]; out PORT_END, al */
	static const uint8_t store[] = {0x89, 0x03, 0xe6, PORT_END};
	static const uint8_t load[] = {0x8b, 0x03, 0xe6, PORT_END};
	const char *impossible = machine_impossible(), *what;
	int r;

	if (impossible)
		SKIP("%s", impossible);
	r = machine_make(machine, MACHINE_RAM, split, &what);
	if (r < 0)
		FAIL("%s: %s", what, strerror(-r));
	machine->access = access_device;
	memcpy(machine->ram + CODE_STORE, store, sizeof(store));
	memcpy(machine->ram + CODE_LOAD, load, sizeof(load));
	enable_apic(machine);
}

void
machine_open(struct machine *machine)
{
	open_machine(machine, false);
}

void
machine_open_split(struct machine *machine)
{
	open_machine(machine, true);
}

/* ---- the guest -------------------------------------------------------------------------------- */

static uint32_t
execute(struct machine *machine, uint64_t code, uint32_t address, uint32_t value)
{
	struct kvm_regs regs = {.rip = code, .rax = value, .rbx = address, .rflags = 2};

	CHECK_SYS(ioctl(machine->cpu_fd, KVM_SET_REGS, &regs));
	CHECK_EQ(machine_run(machine), KVM_EXIT_IO);
	CHECK_EQ(machine->run->io.port, PORT_END);
	CHECK_SYS(ioctl(machine->cpu_fd, KVM_GET_REGS, &regs));
	return (uint32_t)regs.rax;
}

void
machine_store(struct machine *machine, uint32_t address, uint32_t value)
{
	execute(machine, CODE_STORE, address, value);
}

uint32_t
machine_load(struct machine *machine, uint32_t address)
{
	return execute(machine, CODE_LOAD, address, 0);
}

/* ---- interrupts ------------------------------------------------------------------------------- */

/* The byte of a bitmap of 256 bits, which are 32 in every 16 bytes. */
static uint8_t *
apic_byte(struct kvm_lapic_state *apic, unsigned map, uint8_t vector)
{
	return (uint8_t *)&apic->regs[map + vector / 32u * 16 + vector % 32u / 8];
}

bool
machine_interrupted(struct machine *machine, uint8_t vector)
{
	struct kvm_lapic_state apic;
	uint8_t *byte, bit = (uint8_t)(1u << vector % 8);

	CHECK_SYS(ioctl(machine->cpu_fd, KVM_GET_LAPIC, &apic));
	byte = apic_byte(&apic, APIC_IRR, vector);
	if (!(*byte & bit))
		return false;
	*byte = (uint8_t)(*byte & ~bit);
	CHECK_SYS(ioctl(machine->cpu_fd, KVM_SET_LAPIC, &apic));
	return true;
}

bool
machine_wait_interrupt(struct machine *machine, uint8_t vector)
{
	for (unsigned i = 0; i < PATIENCE_S * 1000; i++) {
		if (machine_interrupted(machine, vector))
			return true;
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	}
	return false;
}

void
machine_begin_interrupt(struct machine *machine, uint8_t vector)
{
	struct kvm_lapic_state apic;
	uint8_t bit = (uint8_t)(1u << vector % 8);

	CHECK_SYS(ioctl(machine->cpu_fd, KVM_GET_LAPIC, &apic));
	*apic_byte(&apic, APIC_ISR, vector) |= bit;
	*apic_byte(&apic, APIC_TMR, vector) |= bit;
	CHECK_SYS(ioctl(machine->cpu_fd, KVM_SET_LAPIC, &apic));
}

void
machine_end_interrupt(struct machine *machine)
{
	machine_store(machine, APIC_EOI, 0);
}

void
machine_wire_pin(struct machine *machine, unsigned pin, uint8_t vector)
{
	struct kvm_irqchip chip = {.chip_id = KVM_IRQCHIP_IOAPIC};

	CHECK_SYS(ioctl(machine->fd, KVM_GET_IRQCHIP, &chip));
	chip.chip.ioapic.redirtbl[pin].bits = 0;
	chip.chip.ioapic.redirtbl[pin].fields.vector = vector;
	chip.chip.ioapic.redirtbl[pin].fields.trig_mode = 1;
	CHECK_SYS(ioctl(machine->fd, KVM_SET_IRQCHIP, &chip));
}

/* ---- refusals --------------------------------------------------------------------------------- */

void
refuse_ioctl(unsigned long request, int code)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 3),
		/* The low half; these are little-endian machines. */
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)request, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)code),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {sizeof(filter) / sizeof(filter[0]), filter};

	CHECK_SYS(prctl(PR_SET_NO_NEW_PRIVS, 1L, 0L, 0L, 0L));
	CHECK_SYS(prctl(PR_SET_SECCOMP, (long)SECCOMP_MODE_FILTER, &program, 0L, 0L));
}
