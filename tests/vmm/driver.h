/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VMM_DRIVER_H
#define VMM_DRIVER_H

/*
 * What the tests of this folder begin with: a guest that is there or the test has failed, and short
 * words for what it shall do.
 */

#include <vm.h>

#include <test.h>

#include <linux/pci_regs.h>

/* A VM whose processor stays on the host's processor `number`, as far as there are so many. Skips
 * the test where there is no KVM. */
struct vm *guest_new(unsigned number);
void guest_start(struct vm *vm);

/* A command and up to four arguments; the first of its results. */
#define guest_call(vm, command, ...)                                                               \
	guest_call_with((vm), (command), (const uint32_t[4]){__VA_ARGS__}, NULL)
uint32_t guest_call_with(struct vm *vm, enum guest_command command, const uint32_t arguments[4],
	uint32_t results[4]);

/* The two halves of it, so that several guests can be at work. */
#define guest_begin(vm, command, ...) vm_command((vm), (command), (const uint32_t[4]){__VA_ARGS__})
uint32_t guest_end(struct vm *vm, uint32_t results[4]);

/* ---- what most tests do ----------------------------------------------------------------------- */

/* The guest's own driver: BARs and `vectors` of MSI-X. Returns the device's id. */
uint16_t guest_setup(struct vm *vm, unsigned vectors);

uint32_t guest_read(struct vm *vm, uint32_t address);
void guest_write(struct vm *vm, uint32_t address, uint32_t value);
uint32_t guest_config(struct vm *vm, unsigned offset, unsigned size);
void guest_set_config(struct vm *vm, unsigned offset, unsigned size, uint32_t value);

/* How often MSI-X vector `vector` has interrupted the guest, as of now. */
uint32_t guest_interrupts(const struct vm *vm, unsigned vector);
/* Until it did so `count` times: exactly so often, and not more. */
void guest_expect(struct vm *vm, unsigned vector, uint32_t count);

/* The same, while the guest is at work on something else. */
void guest_await(const struct vm *vm, unsigned vector, uint32_t count);
/* The same for at least so many; returns how many. */
uint32_t guest_await_least(const struct vm *vm, unsigned vector, uint32_t count);

/* Look again and again until it is so; it has to become so. */
#define GUEST_UNTIL(expression)                                                                    \
	do {                                                                                       \
		for (unsigned looks_ = 0; !(expression); looks_++)                                 \
			guest_pause(looks_, #expression);                                          \
	} while (0)
void guest_pause(unsigned looks, const char *what);

/* Where to look at, and mask, an MSI-X vector. */
static inline uint32_t
table_control(unsigned vector)
{
	return GUEST_BAR1_AT + 16 * vector + 12;
}

/* The first 32 pending bits. */
uint32_t guest_pending(struct vm *vm);
/* Until they are this. */
void guest_expect_pending(struct vm *vm, uint32_t bits);

/* The control word of the MSI-X capability. */
#define CONFIG_MSIX_CONTROL 0x42

/* What goes into the doorbell. */
static inline uint32_t
doorbell(uint16_t peer, unsigned vector)
{
	return (uint32_t)peer << 16 | vector;
}

#endif
