/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef KVM_INTX_H
#define KVM_INTX_H

/*
 * The interrupt pin. It is level triggered, and an eventfd has only edges. So the irqfd is a
 * resampling one: a ring raises the line. The guest's end of interrupt lowers the line and rings a
 * second eventfd. If the device still requests an interrupt, we ring the first eventfd again.
 *
 * If the kernel has no such irqfds, we set the line by KVM_IRQ_LINE. Then the line follows the
 * device exactly, but no other pin that is set so can share it.
 */

#include <loop/loop.h>

#include <stdbool.h>
#include <stdint.h>

struct ivshmem_error;
struct log;

struct intx {
	const struct log *log;
	int vm_fd;
	uint32_t gsi;
	bool wired, by_line, failed;
	bool level;
	int trigger;
	struct loop_source resample; /* resample.fd is owned */
};

/* The value to begin with, before intx_init(). */
#define INTX_NONE ((struct intx){.trigger = -1, .resample.fd = -1})

/* With a negative `gsi`, the pin is not wired. -EMFILE, -ENOMEM. */
int intx_init(struct intx *intx, struct loop *loop, int vm_fd, int32_t gsi, const struct log *log,
	struct ivshmem_error *reterr);

/* Lower the line and release everything. Harmless before intx_init(), and if that failed. */
void intx_done(struct intx *intx);

/* Set the level that the device requests. */
void intx_set(struct intx *intx, bool level);

/* After a reset or a load, the guest may never end an interrupt that it had. So lower the line now,
 * unless the device requests an interrupt. */
void intx_restart(struct intx *intx);

#endif
