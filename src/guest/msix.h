/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef GUEST_MSIX_H
#define GUEST_MSIX_H

/*
 * The MSI-X table of a device, before Linux uses it.
 *
 * Linux enables MSI-X first and writes the messages into the table afterwards; meanwhile every
 * vector is masked. QEMU's ivshmem-doorbell asks KVM for a route for each entry at the moment of
 * enabling, and never again for one that was refused. The entries are zero then, and a virtual
 * IOMMU that remaps interrupts refuses address 0: under KVM, interrupts would stay dead. So a
 * message that is accepted is put there before. It is never sent: the vectors are masked until
 * Linux has written the real messages, which QEMU then gives to the routes it has.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct msix {
	unsigned n;      /* entries; 0: the device has no MSI-X */
	bool enabled;    /* the table is in use */
	unsigned bar;    /* where the table is */
	uint64_t offset; /* in there, in bytes */
};

#define MSIX_ENTRY_SIZE 16 /* bytes */

/* Look for it in config space, of which the first `length` bytes are known. */
struct msix msix_find(const uint8_t *config, size_t length);

/* Put that message into the entries that have no address yet; returns how many those were. */
unsigned msix_fill(volatile uint32_t *table, unsigned n);

#endif
