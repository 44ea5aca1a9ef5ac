/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef CLIENT_VFIO_H
#define CLIENT_VFIO_H

/*
 * The inside of the vfio back end: vfio.c has the registers and the memory, vfio_group.c the way to
 * the device, vfio_irqs.c the interrupts.
 */

#include <client/backend.h>
#include <client/pci.h>

#include <linux/vfio.h>
#include <stdbool.h>
#include <sys/types.h>

struct vfio {
	struct ivshmem_client *client;
	struct pci_device pci;
	char group_name[32]; /* below /dev/vfio */
	bool no_iommu;       /* the group is one that vfio made up */
	int container, group, device;

	/* Not mapped if BAR0 shares its page with another device's, which the kernel refuses. */
	void *registers_page;
	volatile uint32_t *registers; /* the same, or NULL */
	off_t registers_offset;       /* in `device` */
	size_t page;

	/* The doorbell words, if there are any, and where they are mapped, if they could be. */
	struct words words;
	void *words_area;
	off_t words_offset; /* in `device` */

	void *memory;
	size_t size;

	struct loop_source unplug; /* fd is owned */
};

/* Fill in container, group and device, and ask for the latter's numbers. */
int vfio_open_device(
	struct vfio *vfio, struct vfio_device_info *ret_info, struct ivshmem_error *reterr);

int vfio_get_region(const struct vfio *vfio, uint32_t index, struct vfio_region_info *ret_info,
	struct ivshmem_error *reterr);

/* Map the first `length` bytes of a region. */
int vfio_map_region(const struct vfio *vfio, const struct vfio_region_info *info, size_t length,
	void **ret_address);

/* Tell the client when the device is unplugged. */
int vfio_watch_unplug(
	struct vfio *vfio, const struct vfio_device_info *device, struct ivshmem_error *reterr);

/* Give the client a vector for each that the device has, which may be none. */
int vfio_add_vectors(
	struct vfio *vfio, const struct vfio_device_info *device, struct ivshmem_error *reterr);

#endif
