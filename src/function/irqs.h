/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef FUNCTION_IRQS_H
#define FUNCTION_IRQS_H

/*
 * The eventfds through which the VMM wants to be interrupted. VFIO counts interrupts by an index
 * and a number within it: INTx 0, MSI-X 0 .. n-1, ERR 0. (An ivshmem device has no error to report,
 * but QEMU complains at every start about a device without ERR.)
 *
 * INTx is level triggered, and an eventfd only has edges. So INTx is masked when it fires. If the
 * level is still high when it is unmasked, by a message or by the resample eventfd, it fires again.
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
	bool intx_fired; /* and is masked because of that */
	bool touched;    /* since the last record (record.h); not by requests of the VMM */
	struct loop_source resample; /* resample.fd is owned; valid while watched */
};

/* -ENOMEM. */
int irqs_init(struct irqs *irqs, struct loop *loop, bool has_intx, unsigned msix_vectors);
void irqs_done(struct irqs *irqs);

/* Close everything: the VMM is gone. */
void irqs_clear(struct irqs *irqs);

/* ---- from the device -------------------------------------------------------------------------- */

/* Fire. -EAGAIN if there is no eventfd for it, or if irqs are stopped. */
int irqs_fire(struct irqs *irqs, unsigned index, unsigned number);
void irqs_set_intx(struct irqs *irqs, bool level);

/* Nothing fires while stopped. INTx fires afterwards if its level is high. */
void irqs_set_stopped(struct irqs *irqs, bool stopped);

/* ---- from the VMM; index and numbers have been checked ---------------------------------------- */

/* Take over *fd (-1: none), and close the one before. */
void irqs_assign(struct irqs *irqs, unsigned index, unsigned number, int *fd);
/* Close the eventfds of this index. INTx also loses its resample eventfd and its mask. */
void irqs_disable(struct irqs *irqs, unsigned index);

void irqs_mask_intx(struct irqs *irqs);
void irqs_unmask_intx(struct irqs *irqs);
/* From now on, every event of *fd (-1: none) unmasks. Takes *fd over on success. */
int irqs_set_resample(struct irqs *irqs, int *fd);

#endif
