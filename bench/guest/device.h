/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef BENCH_GUEST_DEVICE_H
#define BENCH_GUEST_DEVICE_H

/*
 * A device as a program in a guest has it, in one of the ways that there are, and nothing of
 * libivshmem in between.
 *
 *	driver		the node of our driver (docs/linux.md)
 *	vfio		vfio-pci, behind an IOMMU
 *	sysfs		the resource files; the memory is what resource2 gives
 *	sysfs-wc	only the memory, as resource2_wc gives it
 *	own		no device: memory that only this process has, to compare with
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct device {
	const char *name;    /* in what is printed */
	const char *address; /* 0000:00:05.0 */
	const char *way;
	int peer;         /* the id that the device has, or -1 */
	const char *type; /* of the memory, as the page table has it */
	void *memory;
	size_t size;

	/* These are missing if the way does not have them. */
	volatile uint32_t *registers; /* BAR0 */
	volatile uint32_t *words;     /* of the doorbell (ivshmem/abi.h) */
	unsigned words_shift;
	int node; /* of our driver, or -1 */
	int vfio; /* or -1 */
};

/* `text` is NAME=WAY, or NAME=WAY@ADDRESS, and stays. Ends the program if it cannot be had. */
void device_open(struct device *device, char *text);

/* By the driver, or, where there is none, by the register. */
void device_ring(const struct device *device, unsigned peer, unsigned vector);

/* Have `vector` signal an eventfd; -1: by the driver, what the node itself has to read. */
void device_connect(const struct device *device, unsigned vector, int eventfd);

#endif
