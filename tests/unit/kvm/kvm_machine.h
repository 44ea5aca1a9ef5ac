/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef UNIT_KVM_MACHINE_H
#define UNIT_KVM_MACHINE_H

/*
 * The smallest virtual machine that shows what KVM does with a device: one processor that loads or
 * stores one word when told to, and whose local APIC can be looked into. It never takes an
 * interrupt; the APIC collects them. (Real guests are in tests/vmm.) machine.device, if there is one,
 * is a struct ivshmem_kvm, and gets the accesses that KVM does not handle.
 */

#include <machine.h>

#include <ivshmem/kvm.h>

#include <stdbool.h>
#include <stdint.h>

/* Addresses for BARs, where there is nothing else. BAR2 is good for any size up to 256 MiB. */
#define AT_BAR0 UINT32_C(0xd0001000)
#define AT_BAR1 UINT32_C(0xd0010000)
#define AT_BAR2 UINT32_C(0xe0000000)

/* The machine has this many bytes of RAM. */
#define MACHINE_RAM 0x10000

/* An address of MSI-X messages for the processor. */
#define MACHINE_MSI_ADDRESS UINT32_C(0xfee00000)

/* Fails the test, or skips it, if there is no KVM. machine_close() ends it. */
void machine_open(struct machine *machine);
/* The same with only the local APIC in the kernel, as many VMMs have it. */
void machine_open_split(struct machine *machine);

/* The guest stores or loads 32 bits; what nobody answers reads as ones. */
void machine_store(struct machine *machine, uint32_t address, uint32_t value);
uint32_t machine_load(struct machine *machine, uint32_t address);

/* Whether interrupt `vector` waits in the APIC; now, or until a generous limit. Takes it. */
bool machine_interrupted(struct machine *machine, uint8_t vector);
bool machine_wait_interrupt(struct machine *machine, uint8_t vector);

/* Interrupt `vector` is being handled, as far as the APIC knows; and its end. */
void machine_begin_interrupt(struct machine *machine, uint8_t vector);
void machine_end_interrupt(struct machine *machine);

/* Connect pin `pin` of the I/O APIC: level triggered interrupt `vector`. */
void machine_wire_pin(struct machine *machine, unsigned pin, uint8_t vector);

/* From now on, the kernel refuses this ioctl to this thread with this errno. */
void refuse_ioctl(unsigned long request, int code);

#endif
