/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef GUEST_VFIO_H
#define GUEST_VFIO_H

/*
 * The inside of the vfio back end: vfio.c has the registers and the memory, vfio_device.c the way
 * to the device and its regions, vfio_irqs.c the interrupts.
 */

#include <guest/backend.h>
#include <guest/words.h>
#include <loop/loop.h>

#include <linux/vfio.h>
#include <stdbool.h>
#include <sys/types.h>

struct vfio {
	struct guest *guest;
	char group_name[32]; /* below /dev/vfio */
	bool no_iommu;       /* vfio made the group up: there is no IOMMU */
	int container, group, device;

	/* NULL if BAR0 shares its page with another device: the kernel maps no such page. */
	void *registers_page;
	volatile uint32_t *registers; /* the same, or NULL */
	off_t registers_offset;       /* in `device` */
	size_t page;

	/* The doorbell words, if there are any. `words_area` is NULL if they could not be mapped. */
	struct words words;
	void *words_area;
	off_t words_offset; /* in `device` */

	struct loop_source unplug; /* fd is owned */
};

/* Fill in container, group and device, and ask vfio about the device. */
int vfio_open_device(
	struct vfio *vfio, struct vfio_device_info *ret_info, struct ivshmem_error *reterr);

int vfio_get_region(const struct vfio *vfio, uint32_t index, struct vfio_region_info *ret_info,
	struct ivshmem_error *reterr);

/* Map the first `length` bytes of a region. */
int vfio_map_region(const struct vfio *vfio, const struct vfio_region_info *info, size_t length,
	void **ret_address);

/* Tell the owner when the device is unplugged. */
int vfio_watch_unplug(
	struct vfio *vfio, const struct vfio_device_info *device, struct ivshmem_error *reterr);

/* Fill in guest->vectors: an eventfd for each vector of the device, which may have none. */
int vfio_add_vectors(
	struct vfio *vfio, const struct vfio_device_info *device, struct ivshmem_error *reterr);

#endif
