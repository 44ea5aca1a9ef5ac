/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * The device through vfio-pci: a process that owns /dev/vfio/GROUP gets the registers, the memory
 * and an eventfd for each MSI-X vector, needs no other rights, and is told before the device is
 * unplugged. The kernel hands out a device only behind an IOMMU. ivshmem does no DMA, so that
 * nothing is ever mapped there.
 *
 * One process at a time: a group can be opened once.
 */

#include <fd.h>
#include <pci.h>

#include <ivshmem/abi.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

struct vfio {
	struct ivshmem_client *client;
	struct pci_device pci;
	char group_name[16];
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

/* ---- group, container, device ---------------------------------------------------------------- */

static int
check_driver(struct vfio *vfio, struct error *reterr)
{
	const struct pci_device *pci = &vfio->pci;
	char commands[PCI_COMMANDS_MAX];
	int r = pci_read_link(pci, "iommu_group", vfio->group_name, sizeof(vfio->group_name));

	/* First, because without a group the driver cannot be bound either. */
	if (r < 0)
		return error_set(reterr, -ENODEV,
			"PCI device %s is in no IOMMU group, without which vfio cannot serve it: "
			"start the VM with `-machine q35 -device intel-iommu,intremap=on` and boot "
			"the guest with intel_iommu=on, or use the sysfs back end, which has no "
			"interrupts",
			pci->address);
	if (!pci->driver[0])
		return error_set(reterr, -ENODEV,
			"PCI device %s is not bound to vfio-pci; as root: %s", pci->address,
			pci_bind_commands(pci, commands));
	if (strcmp(pci->driver, "vfio-pci") != 0)
		return error_set(reterr, -ENODEV,
			"PCI device %s is bound to driver %s, not to vfio-pci; as root: %s",
			pci->address, pci->driver, pci_bind_commands(pci, commands));
	return 0;
}

static int
open_group(struct vfio *vfio, struct error *reterr)
{
	char path[64];
	int r;

	snprintf(path, sizeof(path), "/dev/vfio/%s", vfio->group_name);
	vfio->group = open(path, O_RDWR | O_CLOEXEC);
	if (vfio->group >= 0)
		return 0;
	r = -errno;
	if (r == -EBUSY)
		return error_set(reterr, r,
			"PCI device %s is in use by another process, and vfio lets only one have "
			"it: %s is busy (`fuser -v %s` names it)",
			vfio->pci.address, path, path);
	if (r == -EACCES || r == -EPERM)
		return error_set(reterr, r,
			"no permission to open %s for PCI device %s; as root: chown USER %s", path,
			vfio->pci.address, path);
	if (r == -ENOENT)
		return error_set(reterr, -ENODEV,
			"there is no %s for PCI device %s, though it is bound to vfio-pci: is /dev "
			"a devtmpfs, and was the device handed to this container?",
			path, vfio->pci.address);
	return error_set(reterr, r, "cannot open %s for PCI device %s: %s", path, vfio->pci.address,
		strerror(-r));
}

static int
open_container(struct vfio *vfio, struct error *reterr)
{
	int r;

	vfio->container = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
	if (vfio->container < 0) {
		r = -errno;
		if (r == -EACCES || r == -EPERM)
			return error_set(reterr, r,
				"no permission to open /dev/vfio/vfio; as root: chmod 666 "
				"/dev/vfio/vfio");
		return error_set(reterr, r,
			"cannot open /dev/vfio/vfio: %s; is module vfio loaded (modprobe vfio)?",
			strerror(-r));
	}
	r = ioctl(vfio->container, VFIO_GET_API_VERSION);
	if (r != VFIO_API_VERSION)
		return error_set(reterr, -ENODEV,
			"the kernel's vfio has version %d of its interface, this program knows %d",
			r, VFIO_API_VERSION);
	return 0;
}

/* Drivers that do no DMA through the kernel, and thus leave the group usable. */
static bool
driver_is_viable(const char *driver)
{
	static const char *const viable[] = {"", "vfio-pci", "pcieport", "pci-stub"};

	for (size_t i = 0; i < sizeof(viable) / sizeof(viable[0]); i++)
		if (strcmp(viable[i], driver) == 0)
			return true;
	return false;
}

/* Name the first device in our group whose driver keeps the group from being used. */
static int
error_not_viable(const struct vfio *vfio, struct error *reterr)
{
	struct pci_device other = {0};
	char path[PATH_MAX];
	struct dirent *entry;
	DIR *folder = opendir(pci_path(path, &vfio->pci, "iommu_group/devices"));

	while (folder && (entry = readdir(folder))) {
		size_t length = strlen(entry->d_name);

		if (length >= sizeof(other.address))
			continue;
		memcpy(other.address, entry->d_name, length + 1);
		if (pci_read_link(&other, "driver", other.driver, sizeof(other.driver)) == 0 &&
			!driver_is_viable(other.driver))
			break;
		other.driver[0] = '\0';
	}
	if (folder)
		closedir(folder);
	if (!other.driver[0])
		return error_set(reterr, -ENODEV,
			"PCI device %s shares IOMMU group %s with a device that a driver is using: "
			"unbind that one, or give each device a root port of its own (-device "
			"pcie-root-port)",
			vfio->pci.address, vfio->group_name);
	return error_set(reterr, -ENODEV,
		"PCI device %s shares IOMMU group %s with %s, which driver %s is using: unbind "
		"that one (echo %s > /sys/bus/pci/devices/%s/driver/unbind), or give each device a "
		"root port of its own (-device pcie-root-port)",
		vfio->pci.address, vfio->group_name, other.address, other.driver, other.address,
		other.address);
}

static int
join_group_and_container(struct vfio *vfio, struct error *reterr)
{
	struct vfio_group_status status = {.argsz = sizeof(status)};
	unsigned long type;
	int r;

	if (ioctl(vfio->group, VFIO_GROUP_GET_STATUS, &status) < 0) {
		r = -errno;
		return error_set(reterr, r, "cannot get the status of VFIO group %s: %s",
			vfio->group_name, strerror(-r));
	}
	if (!(status.flags & VFIO_GROUP_FLAGS_VIABLE))
		return error_not_viable(vfio, reterr);
	if (ioctl(vfio->group, VFIO_GROUP_SET_CONTAINER, &vfio->container) < 0) {
		r = -errno;
		return error_set(reterr, r, "cannot add VFIO group %s to a container: %s",
			vfio->group_name, strerror(-r));
	}

	/* Both do; the second is the better kept one. */
	if (ioctl(vfio->container, VFIO_CHECK_EXTENSION, VFIO_TYPE1v2_IOMMU) > 0)
		type = VFIO_TYPE1v2_IOMMU;
	else if (ioctl(vfio->container, VFIO_CHECK_EXTENSION, VFIO_TYPE1_IOMMU) > 0)
		type = VFIO_TYPE1_IOMMU;
	else
		return error_set(reterr, -ENODEV,
			"the kernel's vfio has no driver for type 1 IOMMUs; as root: modprobe "
			"vfio_iommu_type1");
	if (ioctl(vfio->container, VFIO_SET_IOMMU, type) < 0) {
		r = -errno;
		if (r == -EPERM)
			return error_set(reterr, r,
				"the IOMMU of PCI device %s cannot remap interrupts, which vfio "
				"insists on: start the VM with `-device intel-iommu,intremap=on`, "
				"or accept it; as root: echo 1 > "
				"/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts",
				vfio->pci.address);
		return error_set(reterr, r, "cannot set up the IOMMU for VFIO group %s: %s",
			vfio->group_name, strerror(-r));
	}
	return 0;
}

static int
open_device(struct vfio *vfio, struct vfio_device_info *ret_info, struct error *reterr)
{
	struct vfio_device_info info = {.argsz = sizeof(info)};
	int r = check_driver(vfio, reterr);

	if (r < 0)
		return r;
	r = open_group(vfio, reterr);
	if (r < 0)
		return r;
	r = open_container(vfio, reterr);
	if (r < 0)
		return r;
	r = join_group_and_container(vfio, reterr);
	if (r < 0)
		return r;

	/* The kernel makes it CLOEXEC. */
	vfio->device = ioctl(vfio->group, VFIO_GROUP_GET_DEVICE_FD, vfio->pci.address);
	if (vfio->device < 0) {
		r = -errno;
		return error_set(reterr, r, "cannot get PCI device %s from VFIO group %s: %s",
			vfio->pci.address, vfio->group_name, strerror(-r));
	}
	if (ioctl(vfio->device, VFIO_DEVICE_GET_INFO, &info) < 0) {
		r = -errno;
		return error_set(reterr, r, "cannot ask vfio about PCI device %s: %s",
			vfio->pci.address, strerror(-r));
	}
	*ret_info = info;
	return 0;
}

/* ---- regions --------------------------------------------------------------------------------- */

static int
get_region(const struct vfio *vfio, uint32_t index, struct vfio_region_info *ret_info,
	struct error *reterr)
{
	struct vfio_region_info info = {.argsz = sizeof(info), .index = index};
	int r;

	if (ioctl(vfio->device, VFIO_DEVICE_GET_REGION_INFO, &info) < 0) {
		r = -errno;
		return error_set(reterr, r,
			"cannot ask vfio about region %" PRIu32 " of PCI device %s: %s", index,
			vfio->pci.address, strerror(-r));
	}
	*ret_info = info;
	return 0;
}

/*
 * Nobody but us does it: without memory decoding the mappings are dead (SIGBUS), without bus master
 * the device cannot send an MSI.
 */
static int
enable_device(const struct vfio *vfio, struct error *reterr)
{
	struct vfio_region_info config = {0};
	uint16_t command;
	off_t offset;
	int r = get_region(vfio, VFIO_PCI_CONFIG_REGION_INDEX, &config, reterr);

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
		"cannot switch on memory decoding and bus mastering of PCI device %s through its "
		"configuration space",
		vfio->pci.address);
}

static int
map_region(const struct vfio *vfio, const struct vfio_region_info *info, size_t length,
	void **ret_address)
{
	void *address = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, vfio->device,
		(off_t)info->offset);

	if (address == MAP_FAILED)
		return -errno;
	*ret_address = address;
	return 0;
}

static int
map_registers(struct vfio *vfio, struct error *reterr)
{
	struct vfio_region_info info = {0};
	int r = get_region(vfio, IVSHMEM_BAR_REGISTERS, &info, reterr);

	if (r < 0)
		return r;
	vfio->registers_offset = (off_t)info.offset;
	vfio->page = (size_t)sysconf(_SC_PAGESIZE);
	if (!(info.flags & VFIO_REGION_INFO_FLAG_MMAP)) {
		log_debug(&vfio->client->log,
			"the registers of PCI device %s share their page with another device's: a "
			"ring will be a system call",
			vfio->pci.address);
		return 0;
	}
	r = map_region(vfio, &info, vfio->page, &vfio->registers_page);
	if (r < 0)
		return error_set(reterr, r, "cannot map the registers (BAR0) of PCI device %s: %s",
			vfio->pci.address, strerror(-r));
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

/* Through the kernel: what is not mapped. */
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
 * If the device has doorbell words, they are used instead of the register. They are written through
 * the kernel where they cannot be mapped.
 */
static void
find_words(struct vfio *vfio)
{
	struct vfio_region_info config = {0}, info = {0};
	uint8_t space[256];
	struct words words;
	ssize_t n;

	if (get_region(vfio, VFIO_PCI_CONFIG_REGION_INDEX, &config, NULL) < 0)
		return;
	n = pread(vfio->device, space, sizeof(space), (off_t)config.offset);
	if (n < 0)
		return;
	words = words_find(space, (size_t)n);
	if (words.peers == 0)
		return;
	if (get_region(vfio, words.bar, &info, NULL) < 0 || info.size < words.bar_size) {
		log_debug(&vfio->client->log,
			"PCI device %s has doorbell words, but the guest found no place for them: "
			"rings take the register",
			vfio->pci.address);
		return;
	}
	vfio->words = words;
	vfio->words_offset = (off_t)info.offset;
	if (words.bar_size > SIZE_MAX / 2 || !(info.flags & VFIO_REGION_INFO_FLAG_MMAP) ||
		map_region(vfio, &info, (size_t)words.bar_size, &vfio->words_area) < 0)
		log_debug(&vfio->client->log,
			"the doorbell words of PCI device %s cannot be mapped: a ring will be a "
			"system call",
			vfio->pci.address);
}

static int
write_word(const struct vfio *vfio, uint16_t peer, unsigned vector)
{
	uint64_t offset = ivshmem_doorbell_offset(peer, (uint16_t)vector, vfio->words.shift);

	if (!vfio->words_area)
		return write_device(vfio, vfio->words_offset + (off_t)offset, 1);
	pci_word_write(vfio->words_area, &vfio->words, peer, vector);
	return 0;
}

static int
map_memory(struct vfio *vfio, struct error *reterr)
{
	struct vfio_region_info info = {0};
	int r = get_region(vfio, IVSHMEM_BAR_MEMORY, &info, reterr);

	if (r < 0)
		return r;
	if (!(info.flags & VFIO_REGION_INFO_FLAG_MMAP))
		return error_set(reterr, -ENODEV,
			"vfio cannot map the shared memory (BAR2) of PCI device %s",
			vfio->pci.address);
	r = map_region(vfio, &info, (size_t)info.size, &vfio->memory);
	if (r < 0)
		return error_set(reterr, r,
			"cannot map the shared memory (BAR2) of PCI device %s: %s",
			vfio->pci.address, strerror(-r));
	vfio->size = (size_t)info.size;
	return 0;
}

/* ---- interrupts ------------------------------------------------------------------------------ */

/*
 * Have the device's interrupts 0 .. n-1 of the kind `index` signal these eventfds. One call,
 * because vfio cannot add vectors to MSI-X later without losing interrupts. Returns 0, a negative
 * errno, or how many would be possible.
 */
static int
set_irqs(const struct vfio *vfio, uint32_t index, const int32_t *fds, unsigned n)
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

/* How many interrupts of a kind the device has; 0 also if vfio does not know the kind. */
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

	/* The kernel repeats its request until we close the device. */
	(void)events;
	loop_del(source);
	client_lose(vfio->client, -ENODEV, "the device is being unplugged");
}

/* The kernel asks for the device back through an interrupt of its own; old kernels lack it. */
static int
watch_unplug(struct vfio *vfio, const struct vfio_device_info *device, struct error *reterr)
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
			vfio->pci.address, strerror(-r));
	r = loop_add(vfio->client->loop, &vfio->unplug, vfio->unplug.fd, EPOLLIN, on_unplug);
	if (r < 0)
		return error_set(reterr, r, "cannot watch an eventfd: %s", strerror(-r));
	return 0;
}

static int
create_eventfds(int32_t *fds, unsigned n, struct error *reterr)
{
	for (unsigned i = 0; i < n; i++) {
		int r;

		fds[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (fds[i] >= 0)
			continue;
		r = -errno;
		return error_set(reterr, r,
			"cannot create an eventfd for each of %u vectors: %s (see `ulimit -n`)", n,
			strerror(-r));
	}
	return 0;
}

static int
arm_vectors(struct vfio *vfio, int32_t *fds, unsigned n, struct error *reterr)
{
	int r = create_eventfds(fds, n, reterr);

	if (r < 0)
		return r;
	/* All or nothing: rings of a vector that nobody receives would be lost in silence. */
	r = set_irqs(vfio, VFIO_PCI_MSIX_IRQ_INDEX, fds, n);
	if (r == -ENOSPC || r > 0)
		return error_set(reterr, -ENOSPC,
			"the guest's processors have no room for the %u interrupt vectors of PCI "
			"device %s: each can take about 200; give the guest more processors, or "
			"the device fewer vectors",
			n, vfio->pci.address);
	if (r < 0)
		return error_set(reterr, r,
			"cannot receive the %u interrupt vectors of PCI device %s: %s", n,
			vfio->pci.address, strerror(-r));
	for (unsigned i = 0; i < n; i++) {
		r = client_add_vector(vfio->client, &fds[i]);
		if (r < 0)
			return error_set(
				reterr, r, "cannot watch interrupt vector %u: %s", i, strerror(-r));
	}
	return 0;
}

/* A device without MSI-X, such as ivshmem-plain, has no vectors, which is fine. */
static int
add_vectors(struct vfio *vfio, const struct vfio_device_info *device, struct error *reterr)
{
	unsigned n = count_irqs(vfio, device, VFIO_PCI_MSIX_IRQ_INDEX);
	int32_t *fds;
	int r;

	if (n == 0)
		return 0;
	if (n > IVSHMEM_MAX_VECTORS)
		n = IVSHMEM_MAX_VECTORS;
	fds = malloc(n * sizeof(*fds));
	if (!fds)
		return error_set(reterr, -ENOMEM, "out of memory");
	for (unsigned i = 0; i < n; i++)
		fds[i] = -1;
	r = arm_vectors(vfio, fds, n, reterr);
	for (unsigned i = 0; i < n; i++)
		fd_close(fds[i]);
	free(fds);
	return r;
}

/* ---- the back end ---------------------------------------------------------------------------- */

static struct vfio *
vfio_free(struct vfio *vfio)
{
	loop_del(&vfio->unplug);
	client_remove_vectors(vfio->client);
	if (vfio->memory)
		munmap(vfio->memory, vfio->size);
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
attach(struct vfio *vfio, const char *address, uint16_t *ret_id, struct error *reterr)
{
	struct vfio_device_info device = {0};
	uint32_t position = UINT32_MAX;
	int r = pci_find(address, &vfio->pci, reterr);

	if (r < 0)
		return r;
	r = pci_check_bars(&vfio->pci, reterr);
	if (r < 0)
		return r;
	r = open_device(vfio, &device, reterr);
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
			vfio->pci.address, strerror(-r));
	r = pci_check_id(&vfio->pci, position, ret_id, reterr);
	if (r < 0)
		return r;
	find_words(vfio);
	r = map_memory(vfio, reterr);
	if (r < 0)
		return r;
	r = watch_unplug(vfio, &device, reterr);
	if (r < 0)
		return r;
	return add_vectors(vfio, &device, reterr);
}

static int
vfio_open(struct ivshmem_client *client, const char *address, struct error *reterr)
{
	struct vfio *vfio = calloc(1, sizeof(*vfio));
	uint16_t id = 0;
	int r;

	if (!vfio)
		return error_set(reterr, -ENOMEM, "out of memory");
	vfio->client = client;
	vfio->container = vfio->group = vfio->device = vfio->unplug.fd = -1;
	r = attach(vfio, address, &id, reterr);
	if (r < 0) {
		vfio_free(vfio);
		return r;
	}

	/* The kernel maps it, and enters it in its list, when it is first touched. */
	(void)*(volatile uint8_t *)vfio->memory;
	client->state = vfio;
	client->id = id;
	client->memory = vfio->memory;
	client->size = vfio->size;
	client->doorbell = vfio->words.peers ? PCI_DOORBELL_WORDS : PCI_DOORBELL_REGISTER;
	client->mapping = pci_memory_mapping(
		vfio->pci.bar_start[IVSHMEM_BAR_MEMORY], vfio->size, PCI_MAPPING_PLAIN);
	return 0;
}

static int
vfio_ring(struct ivshmem_client *client, uint16_t peer, unsigned vector)
{
	struct vfio *vfio = client->state;

	if (client->lost.code == -ENODEV)
		return -ENODEV;
	if (words_have(&vfio->words, peer, vector))
		return write_word(vfio, peer, vector);
	return write_register(
		vfio, IVSHMEM_REG_DOORBELL, ivshmem_doorbell_value(peer, (uint16_t)vector));
}

static void
vfio_close(struct ivshmem_client *client)
{
	client->state = vfio_free(client->state);
	client->memory = NULL;
	client->size = 0;
}

const struct backend backend_vfio = {
	.name = "vfio",
	.interrupts = true,
	.open = vfio_open,
	.ring = vfio_ring,
	.close = vfio_close,
};
