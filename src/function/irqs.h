/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef FUNCTION_IRQS_H
#define FUNCTION_IRQS_H

/*
 * The eventfds through which the VMM wants to be interrupted, by index and number within it as VFIO
 * counts interrupts: INTx 0, MSI-X 0 .. n-1, ERR 0. (An ivshmem device has no error to report, but
 * QEMU complains at every start about a device without ERR.)
 *
 * INTx is level triggered, and an eventfd only has edges. So it is masked when it fires, and any
 * unmasking, by message or by an event of the resample eventfd, fires it again if the level is
 * still high.
 */

#include <base/ringer.h>
#include <loop/loop.h>

#include <linux/vfio.h>
#include <stdbool.h>

struct irqs {
	struct loop *loop;
	struct ringer ringer;
	struct irq_index {
		int *fds; /* owned; -1: none */
		unsigned count;
	} index[VFIO_PCI_NUM_IRQS];

	bool stopped; /* fire nothing */
	bool intx_level, intx_masked;
	struct loop_source resample; /* resample.fd is owned; valid while watched */
};

/* -ENOMEM. */
int irqs_init(struct irqs *irqs, struct loop *loop, bool has_intx, unsigned msix_vectors);
void irqs_done(struct irqs *irqs);

/* Close everything: the VMM is gone. */
void irqs_clear(struct irqs *irqs);

/* ---- from the device -------------------------------------------------------------------------- */

/* Fire. -EAGAIN if there is no eventfd for it, or nothing may be fired now. */
int irqs_fire(struct irqs *irqs, unsigned index, unsigned number);
void irqs_set_intx(struct irqs *irqs, bool level);

/* Nothing is fired while stopped; INTx is made up for afterwards. */
void irqs_set_stopped(struct irqs *irqs, bool stopped);

/* ---- from the VMM; index and numbers have been checked ---------------------------------------- */

/* Take over *fd (-1: none), closing the one before. */
void irqs_assign(struct irqs *irqs, unsigned index, unsigned number, int *fd);
/* No eventfd of this index any more; with INTx, no resample eventfd either, and unmasked. */
void irqs_disable(struct irqs *irqs, unsigned index);

void irqs_mask_intx(struct irqs *irqs);
void irqs_unmask_intx(struct irqs *irqs);
/* Every event of *fd (-1: none) unmasks. Takes *fd over on success. */
int irqs_set_resample(struct irqs *irqs, int *fd);

#endif
