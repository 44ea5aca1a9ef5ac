/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef UNIT_IRQ_WORDS_H
#define UNIT_IRQ_WORDS_H

/* Short names for what a VMM says of interrupts. */

#include <vfio_user/protocol.h>

#include <test.h>

#include <sys/eventfd.h>

#define INTX VFIO_PCI_INTX_IRQ_INDEX
#define MSI  VFIO_PCI_MSI_IRQ_INDEX
#define MSIX VFIO_PCI_MSIX_IRQ_INDEX
#define ERR  VFIO_PCI_ERR_IRQ_INDEX
#define REQ  VFIO_PCI_REQ_IRQ_INDEX

#define NONE    VFIO_USER_IRQ_SET_DATA_NONE
#define BOOL    VFIO_USER_IRQ_SET_DATA_BOOL
#define EVENTFD VFIO_USER_IRQ_SET_DATA_EVENTFD
#define TRIGGER VFIO_USER_IRQ_SET_ACTION_TRIGGER
#define MASK    VFIO_USER_IRQ_SET_ACTION_MASK
#define UNMASK  VFIO_USER_IRQ_SET_ACTION_UNMASK

static inline void
ring(int eventfd)
{
	CHECK_SYS(eventfd_write(eventfd, 1));
}

#endif
