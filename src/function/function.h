/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef FUNCTION_FUNCTION_H
#define FUNCTION_FUNCTION_H

/*
 * The PCI function that VMMs are given: the device model, its membership of the group, the eventfds
 * that the VMM wants to be interrupted with, and migration. It outlives every VMM, and knows nothing of
 * the messages of one. Nothing here locks: calls, and the dispatching of the loop, must not overlap.
 */

#include <function/irqs.h>
#include <function/migration.h>
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
	/* How many eventfds of each peer a VMM may have at most, to ring them without us: in place of
	 * writes to the doorbell register, and to the doorbell words. */
	unsigned io_vectors, io_words;
};

/*
 * Make the device of `config`, whose ops, data and host_msix are filled in here, and attach it to
 * the member.
 */
int function_init(struct function *function, struct loop *loop, struct member *member,
	const struct ivshmem_device_config *config, const struct log *log,
	struct ivshmem_error *reterr);
void function_done(struct function *function);

/* A reset device that runs, whatever it did before. The eventfds stay: QEMU resets before the guest
 * runs, and with each guest. */
void function_reset(struct function *function);

/* Power-on for a new VMM: no eventfds, a reset device. */
void function_restart(struct function *function);

/*
 * The VMM's eventfd of an interrupt (taken over), -1: none. If it is the one by which the peers ring
 * that vector of ours, which the VMM may have got from us, it takes the rings from it without us: then
 * we do not look at it, until the vector is given another one.
 */
void function_assign(struct function *function, unsigned index, unsigned number, int *fd);
void function_disable(struct function *function, unsigned index);

/* migration_set_state(). Interrupts are delivered in states that run; what came meanwhile is delivered
 * then. */
int function_set_state(struct function *function, uint32_t state, struct ivshmem_error *reterr);

#endif
