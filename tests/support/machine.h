/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SUPPORT_MACHINE_H
#define SUPPORT_MACHINE_H

/*
 * A virtual machine as KVM makes it: RAM from address 0 on, interrupt controllers, and one processor
 * in protected mode with flat segments, which runs where its registers are set to. Functions return a
 * negative errno on failure.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct machine {
	int kvm_fd, fd, cpu_fd;
	struct kvm_run *run;
	size_t run_size;
	uint8_t *ram; /* memory slot 0 */
	size_t ram_size;

	/* An access that no memory slot took; false: none of the device's addresses. Reads as ones then,
	 * as it does where this is NULL. */
	bool (*access)(struct machine *machine, uint64_t address, void *data, unsigned length,
		bool is_write);
	void *device;   /* for it */
	unsigned exits; /* how many such accesses there were */
};

/* Why there can be none here: "no /dev/kvm", ...; NULL if there can be. A static string. */
const char *machine_impossible(void);

/* With `split`, only the local APIC is in the kernel. On failure nothing is left, and *ret_what says
 * what failed. */
int machine_make(struct machine *machine, size_t ram_size, bool split, const char **ret_what);
/* Nothing, if it was not made. */
void machine_close(struct machine *machine);

/* Memory of this process at an address of the guest; size 0: no longer. */
int machine_map(
	struct machine *machine, unsigned slot, uint64_t address, uint64_t size, void *memory);

/* Until an exit that is no access to memory: its reason. -EINTR, -EAGAIN: there was none. */
int machine_run(struct machine *machine);

#endif
