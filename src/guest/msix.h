/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef GUEST_MSIX_H
#define GUEST_MSIX_H

/*
 * The MSI-X table of a device, before Linux uses it.
 *
 * Linux first enables MSI-X, with every vector masked, and then writes the messages into the table.
 * QEMU's ivshmem-doorbell asks KVM for a route for each entry at the moment of enabling, and never
 * asks again for an entry that KVM refused. At that moment the entries are zero, and a virtual IOMMU
 * that remaps interrupts refuses address 0: under KVM, no interrupt would ever arrive. After an
 * earlier use, the entries still have its messages, which the virtual IOMMU refuses as well, because
 * their interrupts are gone. So we write a message that is accepted into the table before. It is
 * never sent, because the vectors stay masked until Linux has written the real messages, which QEMU
 * then gives to the routes it has.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct msix {
	unsigned n;      /* entries; 0: the device has no MSI-X */
	bool enabled;    /* MSI-X is enabled: the table is in use */
	unsigned bar;    /* the BAR with the table */
	uint64_t offset; /* of the table in that BAR, in bytes */
};

#define MSIX_ENTRY_SIZE 16 /* bytes */

/* Find the table by config space, of which the first `length` bytes are known. */
struct msix msix_find(const uint8_t *config, size_t length);

/* Write that message into all entries of a table that is not in use. */
void msix_fill(volatile uint32_t *table, unsigned n);

#endif
