/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef KVM_INTX_H
#define KVM_INTX_H

/*
 * The interrupt pin. It is level triggered, and an eventfd has only edges. So the irqfd is a
 * resampling one: ringing it raises the line, the guest's end of interrupt lowers it and rings a
 * second eventfd, and if the device still requests, the first one is rung again.
 *
 * If the kernel has no such irqfds, the line is set by KVM_IRQ_LINE. Then it follows the device
 * exactly, but cannot be shared with another pin that is set so.
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

/* What there is before intx_init(). */
#define INTX_NONE ((struct intx){.trigger = -1, .resample.fd = -1})

/* Nothing is wired if `gsi` is negative. -EMFILE, -ENOMEM. */
int intx_init(struct intx *intx, struct loop *loop, int vm_fd, int32_t gsi, const struct log *log,
	struct ivshmem_error *reterr);

/* The line falls. Harmless before intx_init(), and if that failed. */
void intx_done(struct intx *intx);

/* What the device requests. */
void intx_set(struct intx *intx, bool level);

/* The guest will not end an interrupt that it may have had: unless requested, the line falls now. */
void intx_restart(struct intx *intx);

#endif
