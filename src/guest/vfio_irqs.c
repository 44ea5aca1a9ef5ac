/* SPDX-License-Identifier: BSD-2-Clause */

/* The interrupts of a device through vfio: an eventfd for each MSI-X vector, and one for unplugging. */
#include <guest/vfio.h>

#include <base/error.h>
#include <base/fd.h>
#include <base/log.h>
#include <guest/msix.h>
#include <loop/loop.h>

#include <ivshmem/abi.h>

#include <errno.h>
#include <linux/vfio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

/*
 * Have the device's interrupts 0 .. n-1 of the kind `index` signal these eventfds. This must be one
 * call, because vfio cannot add MSI-X vectors later without losing interrupts. Returns 0, a negative
 * errno, or the number of interrupts that would be possible.
 */
static int
set_irqs(const struct vfio *vfio, uint32_t index, const int *fds, unsigned n)
{
	size_t size = sizeof(struct vfio_irq_set) + n * sizeof(*fds);
	struct vfio_irq_set *set = calloc(1, size);
	int r;

	if (!set)
		return -ENOMEM;
	set->argsz = (uint32_t)size;
	set->flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER;
	set->index = index;
	set->count = n;
	memcpy(set->data, fds, n * sizeof(*fds));
	r = ioctl(vfio->device, VFIO_DEVICE_SET_IRQS, set);
	if (r < 0)
		r = -errno;
	free(set);
	return r;
}

/* The number of interrupts of a kind that the device has. 0 if vfio does not know the kind. */
static unsigned
count_irqs(const struct vfio *vfio, const struct vfio_device_info *device, uint32_t index)
{
	struct vfio_irq_info info = {.argsz = sizeof(info), .index = index};

	if (index >= device->num_irqs || ioctl(vfio->device, VFIO_DEVICE_GET_IRQ_INFO, &info) < 0 ||
		!(info.flags & VFIO_IRQ_INFO_EVENTFD))
		return 0;
	return info.count;
}

static void
on_unplug(struct loop_source *source, uint32_t events)
{
	struct vfio *vfio = container_of(source, struct vfio, unplug);

	(void)events;
	/* Once is enough, and the kernel repeats its request until we close the device. */
	loop_del(source);
	guest_unplugged(vfio->guest, "the device is being unplugged");
}

/* The kernel has an interrupt of its own to ask for the device back. Old kernels lack it. */
int
vfio_watch_unplug(
	struct vfio *vfio, const struct vfio_device_info *device, struct ivshmem_error *reterr)
{
	int r;

	if (count_irqs(vfio, device, VFIO_PCI_REQ_IRQ_INDEX) == 0)
		return 0;
	vfio->unplug.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (vfio->unplug.fd < 0) {
		r = -errno;
		return error_set(reterr, r, "cannot create an eventfd: %s", strerror(-r));
	}
	r = set_irqs(vfio, VFIO_PCI_REQ_IRQ_INDEX, &vfio->unplug.fd, 1);
	if (r < 0)
		return error_set(reterr, r, "cannot watch PCI device %s for being unplugged: %s",
			vfio->guest->pci.address, strerror(-r));
	r = loop_add(vfio->guest->owner.loop, &vfio->unplug, vfio->unplug.fd, EPOLLIN, on_unplug);
	if (r < 0)
		return error_set(reterr, r, "cannot watch an eventfd: %s", strerror(-r));
	return 0;
}

#if defined(__x86_64__) || defined(__i386__)
/*
 * msix.h says why. Kernels before 4.16 do not let anybody map the table. If we cannot reach it, all is
 * as it would be without this function.
 */
static void
fill_msix_table(const struct vfio *vfio)
{
	struct vfio_region_info config = {0}, info = {0};
	uint64_t page = (uint64_t)vfio->page, start, size;
	uint8_t space[256];
	struct msix msix;
	void *area;
	ssize_t n;

	if (vfio_get_region(vfio, VFIO_PCI_CONFIG_REGION_INDEX, &config, NULL) < 0)
		return;
	n = pread(vfio->device, space, sizeof(space), (off_t)config.offset);
	msix = msix_find(space, n < 0 ? 0 : (size_t)n);
	if (msix.n == 0 || msix.enabled || vfio_get_region(vfio, msix.bar, &info, NULL) < 0)
		return;
	size = msix.offset % page + (uint64_t)msix.n * MSIX_ENTRY_SIZE;
	start = msix.offset - msix.offset % page;
	if (start > info.size || size > info.size - start)
		return;
	info.offset += start;
	if (vfio_map_region(vfio, &info, (size_t)size, &area) < 0) {
		log_debug(vfio->guest->owner.log,
			"the MSI-X table of PCI device %s cannot be mapped: under KVM with a "
			"virtual IOMMU, its interrupts may not arrive",
			vfio->guest->pci.address);
		return;
	}
	msix_fill((volatile uint32_t *)(void *)((char *)area + msix.offset % page), msix.n);
	munmap(area, (size_t)size);
}
#else
static void
fill_msix_table(const struct vfio *vfio)
{
	(void)vfio;
}
#endif

/* A device without MSI-X, such as ivshmem-plain, has no vectors, which is fine. */
int
vfio_add_vectors(
	struct vfio *vfio, const struct vfio_device_info *device, struct ivshmem_error *reterr)
{
	unsigned n = count_irqs(vfio, device, VFIO_PCI_MSIX_IRQ_INDEX);
	struct guest *guest = vfio->guest;
	int r;

	if (n == 0)
		return 0;
	if (n > IVSHMEM_MAX_VECTORS)
		n = IVSHMEM_MAX_VECTORS;
	fill_msix_table(vfio);
	r = guest_add_eventfds(guest, n, reterr);
	if (r <= 0)
		return r;
	/*
	 * All or nothing: otherwise rings of the vectors that are missing would be silently lost. Those
	 * that are not heard have -1, and stay masked.
	 */
	r = set_irqs(vfio, VFIO_PCI_MSIX_IRQ_INDEX, guest->vectors, n);
	if (r == -ENOSPC || r > 0)
		return error_set(reterr, -ENOSPC,
			"the guest's processors have no room for the %u interrupt vectors of PCI "
			"device %s: each can take about 200; give the guest more processors, or "
			"the device fewer vectors",
			n, guest->pci.address);
	if (r < 0)
		return error_set(reterr, r,
			"cannot receive the %u interrupt vectors of PCI device %s: %s", n,
			guest->pci.address, strerror(-r));
	return 0;
}
