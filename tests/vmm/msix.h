/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VMM_MSIX_H
#define VMM_MSIX_H

/*
 * The MSI-X table of a device in another process, which rings an eventfd for each interrupt and
 * leaves table, masks and pending bits to the VMM.
 *
 * A vector that can interrupt is open: the kernel takes its eventfd (irqfd) and nobody here sees
 * it. A ring of a closed one stays in its eventfd, which is thus its pending bit.
 *
 * If the device told by which eventfd the peers ring a vector, the kernel takes that one while the
 * vector is open, so that rings do not go through the device's process: the device is given it as
 * the eventfd of the interrupt, by which it knows that it is not to look at it.
 */

#include <vm.h>

#include <stdbool.h>
#include <stdint.h>

enum { MSIX_ADDRESS, MSIX_ADDRESS_HIGH, MSIX_DATA, MSIX_CONTROL, MSIX_DWORDS };

struct msix_vector {
	uint32_t entry[MSIX_DWORDS];
	int eventfd; /* the device rings it */
	int direct;  /* the peers ring it, or -1 */
	bool open;
};

struct msix {
	struct vm *vm;
	uint32_t first_gsi;
	unsigned n;
	struct msix_vector vectors[GUEST_MSIX_VECTORS];
	bool gate; /* enabled, not masked as a whole, bus master */

	/* The device is to ring this eventfd. */
	void (*assign)(void *data, unsigned vector, int eventfd);
	/* The device is to look at all its eventfds now. */
	void (*flush)(void *data);
	void *data;
};

/* At most GUEST_MSIX_VECTORS vectors, closed, masked. */
int msix_init(struct msix *msix, struct vm *vm, uint32_t first_gsi, unsigned n);
void msix_done(struct msix *msix);

/* As after power-on; what is pending is forgotten. */
void msix_reset(struct msix *msix);
void msix_set_gate(struct msix *msix, bool gate);
/* The eventfd (a copy is made) by which the peers ring a vector; it stays. */
void msix_set_direct(struct msix *msix, unsigned vector, int eventfd);

/* Accesses to the table, 4 aligned bytes. */
uint32_t msix_read(const struct msix *msix, uint64_t offset);
void msix_write(struct msix *msix, uint64_t offset, uint32_t value);
/* 32 pending bits, from vector `first` on. */
uint32_t msix_pending(struct msix *msix, unsigned first);

/* Table and pending bits as bytes. */
struct msix_state {
	uint32_t entry[MSIX_DWORDS];
	uint32_t pending;
};
void msix_save(struct msix *msix, struct msix_state state[GUEST_MSIX_VECTORS]);
void msix_load(struct msix *msix, const struct msix_state state[GUEST_MSIX_VECTORS]);

#endif
