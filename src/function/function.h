/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef FUNCTION_FUNCTION_H
#define FUNCTION_FUNCTION_H

/*
 * The PCI function that VMMs get: the device model, its membership of the group, the eventfds with
 * which the VMM wants to be interrupted, and migration. It outlives every VMM, and knows nothing of
 * the messages of one. Nothing here locks: calls, and the dispatching of the loop, must not
 * overlap.
 */

#include <function/irqs.h>
#include <function/migration.h>
#include <function/tally.h>
#include <member/member.h>

#include <ivshmem/device.h>

#include <stdint.h>

struct log;
struct loop;

struct function {
	const struct log *log;
	struct member *member;
	struct ivshmem_device *device;
	struct irqs irqs;
	struct migration migration;
	struct tally tally;
	/* How many eventfds of each peer a VMM may have at most, to ring the peer without us: in
	 * place of writes to the doorbell register, and to the doorbell words. */
	unsigned io_vectors, io_words;
	uint64_t n_dropped_writes; /* to memory that the guest may only read */
};

/*
 * Make the device of `config` and attach it to the member. This fills in ops, data and host_msix.
 */
int function_init(struct function *function, struct loop *loop, struct member *member,
	const struct ivshmem_device_config *config, const struct log *log,
	struct ivshmem_error *reterr);
void function_done(struct function *function);

/* Reset the device and let it run, whatever it did before. The eventfds stay: QEMU resets the
 * device before the guest runs, and whenever the guest is reset. */
void function_reset(struct function *function);

/* Power-on for a new VMM: reset the device, and close all eventfds. */
void function_restart(struct function *function);

/*
 * Set the VMM's eventfd of an interrupt (taken over); -1: none. The VMM may have got from us the
 * eventfd by which peers ring this vector of ours. If it gives us this one, it takes the rings
 * without us, and we do not watch the eventfd until the vector gets another one.
 */
void function_assign(struct function *function, unsigned index, unsigned number, int *fd);
void function_disable(struct function *function, unsigned index);

/* The guest wrote to memory that it may only read. */
void function_drop_write(struct function *function);

/* migration_set_state(), and deliver interrupts in running states only. Those that came in other
 * states are delivered when it runs again. */
int function_set_state(struct function *function, uint32_t state, struct ivshmem_error *reterr);

#endif
