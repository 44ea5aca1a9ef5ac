/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef BENCH_DOORBELL_GUEST_H
#define BENCH_DOORBELL_GUEST_H

/*
 * A guest of tests/vmm, in a VM of ours or in a QEMU. Either way it takes the same commands from its
 * mailbox. What fails ends the program.
 */

#include <guest/mailbox.h>
#include <vm.h>

#include <stdint.h>
#include <sys/types.h>

struct guest {
	volatile struct guest_mailbox *mailbox;
	struct vm *vm; /* or */
	pid_t qemu;    /* which only runs while its guest has something to do */
	void *memory;  /* of that guest */
	uint16_t id;   /* of its device */
};

/* A VM whose processor stays on the host's processor `cpu`, or moves (-1); devices can be attached. */
void guest_create(struct guest *guest, int cpu);
void guest_boot(struct guest *guest);
/* The guest of a QEMU that runs already and has its memory in this file. */
void guest_adopt(struct guest *guest, pid_t qemu, const char *memory);
void guest_destroy(struct guest *guest);

/* As between two measurements, QEMU does not run; ours sleeps then anyway. */
void guest_wake(struct guest *guest);
void guest_rest(struct guest *guest);

#define guest_begin(guest, command, ...)                                                           \
	guest_begin_with((guest), (command), (const uint32_t[4]){__VA_ARGS__})
void guest_begin_with(struct guest *guest, enum guest_command command, const uint32_t arguments[4]);
/* Returns the cycles that commands with a clock have for results, of others the first two. */
uint64_t guest_end(struct guest *guest);
#define guest_call(guest, command, ...)                                                            \
	(guest_begin((guest), (command), __VA_ARGS__), guest_end(guest))

/* The guest's own driver, with one vector. */
void guest_setup(struct guest *guest);

#endif
