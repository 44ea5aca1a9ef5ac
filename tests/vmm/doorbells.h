/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VMM_DOORBELLS_H
#define VMM_DOORBELLS_H

/*
 * What a device in another process hands out so that ringing needs no message: for one of its BARs,
 * writes that are to be eventfds. Those of BAR0 are all to the doorbell register and differ by their
 * value; in BAR4 each has a word of its own, and any value will do.
 */

#include <vfio_client.h>
#include <vm.h>

#include <stddef.h>
#include <stdint.h>

struct doorbell {
	struct vfio_user_io_fd entry;
	int eventfd;
};

struct doorbells {
	struct vm *vm;
	struct vfio_client *client;
	uint32_t bar;

	struct doorbell *list;
	size_t n;
	uint64_t at; /* where the BAR is for the kernel; 0: nowhere */
};

/* Ask for them, instead of those that were there. They are nowhere then. */
void doorbells_fetch(struct doorbells *doorbells);
void doorbells_drop(struct doorbells *doorbells);

/* The BAR is at this address; or, 0, nowhere. */
void doorbells_place(struct doorbells *doorbells, uint64_t at);

#endif
