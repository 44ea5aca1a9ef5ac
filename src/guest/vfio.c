/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * The device through vfio-pci: a process that owns /dev/vfio/GROUP gets the registers, the memory
 * and an eventfd for each MSI-X vector. It needs no other rights, and is told before the device is
 * unplugged. The kernel hands out a device only if it is behind an IOMMU, or if the administrator
 * told vfio to do without. ivshmem does no DMA, so we map nothing in the IOMMU.
 *
 * Only one process can use the device at a time, because a group can be opened only once.
 */

#include <guest/vfio.h>

#include <base/error.h>
#include <base/fd.h>
#include <base/log.h>
#include <loop/loop.h>

#include <ivshmem/abi.h>

#include <errno.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---- registers and memory -------------------------------------------------------------------- */

/*
 * Switch on memory decoding and bus mastering, which nobody else does. Without decoding, the mappings
 * are dead (SIGBUS); without bus mastering, the device cannot send an MSI.
 */
static int
enable_device(const struct vfio *vfio, struct ivshmem_error *reterr)
{
	struct vfio_region_info config = {0};
	uint16_t command;
	off_t offset;
	int r = vfio_get_region(vfio, VFIO_PCI_CONFIG_REGION_INDEX, &config, reterr);

	if (r < 0)
		return r;
	offset = (off_t)config.offset + PCI_COMMAND;
	if (pread(vfio->device, &command, sizeof(command), offset) != sizeof(command))
		goto failed;
	command |= htole16(PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	if (pwrite(vfio->device, &command, sizeof(command), offset) != sizeof(command))
		goto failed;
	return 0;
failed:
	return error_set(reterr, -EIO,
		"cannot switch on memory decoding and bus mastering of PCI device %s through its configuration space",
		vfio->guest->pci.address);
}

static int
map_registers(struct vfio *vfio, struct ivshmem_error *reterr)
{
	struct vfio_region_info info = {0};
	int r = vfio_get_region(vfio, IVSHMEM_BAR_REGISTERS, &info, reterr);

	if (r < 0)
		return r;
	vfio->registers_offset = (off_t)info.offset;
	vfio->page = (size_t)sysconf(_SC_PAGESIZE);
	if (!(info.flags & VFIO_REGION_INFO_FLAG_MMAP)) {
		log_debug(vfio->guest->owner.log,
			"the registers of PCI device %s share their page with another device's: a ring will be a system call",
			vfio->guest->pci.address);
		return 0;
	}
	r = vfio_map_region(vfio, &info, vfio->page, &vfio->registers_page);
	if (r < 0)
		return error_set(reterr, r, "cannot map the registers (BAR0) of PCI device %s: %s",
			vfio->guest->pci.address, strerror(-r));
	vfio->registers = vfio->registers_page;
	return 0;
}

static int
read_register(const struct vfio *vfio, unsigned offset, uint32_t *ret_value)
{
	uint32_t value;
	ssize_t n;

	if (vfio->registers) {
		*ret_value = pci_register_read(vfio->registers, offset);
		return 0;
	}
	n = pread(vfio->device, &value, sizeof(value), vfio->registers_offset + (off_t)offset);
	if (n != sizeof(value))
		return n < 0 ? -errno : -EIO;
	*ret_value = le32toh(value);
	return 0;
}

/* Write to a part of the device that is not mapped, through the kernel. */
static int
write_device(const struct vfio *vfio, off_t offset, uint32_t value)
{
	ssize_t n;

	value = htole32(value);
	n = pwrite(vfio->device, &value, sizeof(value), offset);
	if (n != sizeof(value))
		return n < 0 ? -errno : -EIO;
	return 0;
}

static int
write_register(const struct vfio *vfio, unsigned offset, uint32_t value)
{
	if (!vfio->registers)
		return write_device(vfio, vfio->registers_offset + (off_t)offset, value);
	pci_register_write(vfio->registers, offset, value);
	return 0;
}

/*
 * If the device has doorbell words, use them instead of the register. If they cannot be mapped, write
 * them through the kernel.
 */
static void
find_words(struct vfio *vfio)
{
	struct vfio_region_info config = {0}, info = {0};
	uint8_t space[256];
	struct words words;
	ssize_t n;

	if (vfio_get_region(vfio, VFIO_PCI_CONFIG_REGION_INDEX, &config, NULL) < 0)
		return;
	n = pread(vfio->device, space, sizeof(space), (off_t)config.offset);
	if (n < 0)
		return;
	words = words_find(space, (size_t)n);
	if (words.peers == 0)
		return;
	if (vfio_get_region(vfio, words.bar, &info, NULL) < 0 || info.size < words.bar_size) {
		log_debug(vfio->guest->owner.log,
			"PCI device %s has doorbell words, but the guest found no place for them: rings take the register",
			vfio->guest->pci.address);
		return;
	}
	vfio->words = words;
	vfio->words_offset = (off_t)info.offset;
	if (words.bar_size > SIZE_MAX / 2 || !(info.flags & VFIO_REGION_INFO_FLAG_MMAP) ||
		vfio_map_region(vfio, &info, (size_t)words.bar_size, &vfio->words_area) < 0)
		log_debug(vfio->guest->owner.log,
			"the doorbell words of PCI device %s cannot be mapped: a ring will be a system call",
			vfio->guest->pci.address);
}

static int
write_word(const struct vfio *vfio, uint16_t peer, unsigned vector)
{
	uint64_t offset = ivshmem_doorbell_offset(peer, (uint16_t)vector, vfio->words.shift);

	if (!vfio->words_area)
		return write_device(vfio, vfio->words_offset + (off_t)offset, 1);
	words_ring(&vfio->words, vfio->words_area, peer, vector);
	return 0;
}

static int
map_memory(struct vfio *vfio, struct ivshmem_error *reterr)
{
	struct guest *guest = vfio->guest;
	struct vfio_region_info info = {0};
	int r = vfio_get_region(vfio, IVSHMEM_BAR_MEMORY, &info, reterr);

	if (r < 0)
		return r;
	if (!(info.flags & VFIO_REGION_INFO_FLAG_MMAP))
		return error_set(reterr, -ENODEV,
			"vfio cannot map the shared memory (BAR2) of PCI device %s",
			vfio->guest->pci.address);
	r = vfio_map_region(vfio, &info, (size_t)info.size, &guest->memory);
	if (r < 0)
		return error_set(reterr, r,
			"cannot map the shared memory (BAR2) of PCI device %s: %s",
			vfio->guest->pci.address, strerror(-r));
	guest->size = (size_t)info.size;
	guest->mapping = PCI_MAPPING_PLAIN;
	/* At the first access, the kernel maps the memory and enters it in its list of memory types. */
	(void)*(volatile uint8_t *)guest->memory;
	return 0;
}

/* ---- the back end ---------------------------------------------------------------------------- */

static struct vfio *
vfio_free(struct vfio *vfio)
{
	loop_del(&vfio->unplug);
	if (vfio->guest->memory)
		munmap(vfio->guest->memory, vfio->guest->size);
	if (vfio->words_area)
		munmap(vfio->words_area, (size_t)vfio->words.bar_size);
	if (vfio->registers_page)
		munmap(vfio->registers_page, vfio->page);
	fd_close(vfio->unplug.fd);
	fd_close(vfio->device);
	fd_close(vfio->group);
	fd_close(vfio->container);
	free(vfio);
	return NULL;
}

static int
attach(struct vfio *vfio, struct ivshmem_error *reterr)
{
	struct pci_device *pci = &vfio->guest->pci;
	struct vfio_device_info device = {0};
	uint32_t position = UINT32_MAX;
	int r = pci_check_bars(pci, reterr);

	if (r < 0)
		return r;
	r = vfio_open_device(vfio, &device, reterr);
	if (r < 0)
		return r;
	r = enable_device(vfio, reterr);
	if (r < 0)
		return r;
	r = map_registers(vfio, reterr);
	if (r < 0)
		return r;
	r = read_register(vfio, IVSHMEM_REG_IV_POSITION, &position);
	if (r < 0)
		return error_set(reterr, r, "cannot read the registers (BAR0) of PCI device %s: %s",
			pci->address, strerror(-r));
	r = pci_check_id(pci, position, &vfio->guest->id, reterr);
	if (r < 0)
		return r;
	find_words(vfio);
	r = map_memory(vfio, reterr);
	if (r < 0)
		return r;
	r = vfio_watch_unplug(vfio, &device, reterr);
	if (r < 0)
		return r;
	return vfio_add_vectors(vfio, &device, reterr);
}

static int
vfio_open(struct guest *guest, struct ivshmem_error *reterr)
{
	struct vfio *vfio = calloc(1, sizeof(*vfio));
	int r;

	if (!vfio)
		return error_set(reterr, -ENOMEM, "out of memory");
	vfio->guest = guest;
	vfio->container = vfio->group = vfio->device = vfio->unplug.fd = -1;
	r = attach(vfio, reterr);
	if (r < 0) {
		vfio_free(vfio);
		return r;
	}
	guest->state = vfio;
	guest->doorbell = vfio->words.peers ? PCI_DOORBELL_WORDS : PCI_DOORBELL_REGISTER;
	return 0;
}

static int
vfio_ring(struct guest *guest, uint16_t peer, unsigned vector)
{
	struct vfio *vfio = guest->state;

	if (words_have(&vfio->words, peer, vector))
		return write_word(vfio, peer, vector);
	return write_register(
		vfio, IVSHMEM_REG_DOORBELL, ivshmem_doorbell_value(peer, (uint16_t)vector));
}

static void
vfio_close(struct guest *guest)
{
	guest->state = vfio_free(guest->state);
}

static const char *const vfio_drivers[] = {"vfio-pci", NULL};

const struct guest_backend guest_vfio = {
	.name = "vfio",
	.drivers = vfio_drivers,
	.open = vfio_open,
	.ring = vfio_ring,
	.close = vfio_close,
};
