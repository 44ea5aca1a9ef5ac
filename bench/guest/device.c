/* SPDX-License-Identifier: BSD-2-Clause */
#include "device.h"

#include <measure.h>

#include <dirent.h>
#include <fcntl.h>
#include <linux/ivshmem.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <ivshmem/abi.h>

#define PAGE     4096u
#define PATH     256
#define OWN_SIZE (4u << 20)

static void
die_with(const struct device *device, const char *what)
{
	fprintf(stderr, "guest_access: %s: ", device->name);
	die(what);
}

static void *
map(const struct device *device, int fd, uint64_t offset, size_t size, int protection)
{
	void *address = mmap(NULL, size, protection, MAP_SHARED, fd, (off_t)offset);

	if (address == MAP_FAILED)
		die_with(device, "mmap");
	return address;
}

/* ---- our driver ------------------------------------------------------------------------------ */

static void
open_node(struct device *device)
{
	char path[PATH], node[PATH] = "";
	const struct dirent *entry;
	DIR *folder;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/ivshmem", device->address);
	folder = opendir(path);
	while (folder && (entry = readdir(folder)) != NULL)
		if (entry->d_name[0] != '.')
			snprintf(node, sizeof(node), "/dev/%.32s", entry->d_name);
	if (folder)
		closedir(folder);
	device->node = open(node, O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (device->node < 0)
		die_with(device, path);
}

static void
open_driver(struct device *device)
{
	struct ivshmem_dev_info info = {.size = sizeof(info)};

	open_node(device);
	if (ioctl(device->node, IVSHMEM_DEV_INFO, &info) < 0)
		die_with(device, "IVSHMEM_DEV_INFO");
	device->peer = info.peer;
	device->size = (size_t)info.memory_size;
	device->memory = map(device, device->node, 0, device->size, PROT_READ | PROT_WRITE);
	if (info.features & IVSHMEM_DEV_FEATURE_MAP_WORDS) {
		device->words = map(device, device->node, info.doorbell_offset,
			(size_t)info.doorbell_size, PROT_WRITE);
		device->words_shift = info.doorbell_shift;
	}
	/* The driver knows once a page is in use. */
	memset(device->memory, 0, device->size);
	if (ioctl(device->node, IVSHMEM_DEV_INFO, &info) < 0)
		die_with(device, "IVSHMEM_DEV_INFO");
	device->type = info.cache == IVSHMEM_DEV_CACHE_WRITE_BACK ? "write-back" : "unknown";
}

/* ---- vfio ------------------------------------------------------------------------------------ */

static struct vfio_region_info
region_of(const struct device *device, unsigned index)
{
	struct vfio_region_info info = {.argsz = sizeof(info), .index = index};

	if (ioctl(device->vfio, VFIO_DEVICE_GET_REGION_INFO, &info) < 0)
		die_with(device, "VFIO_DEVICE_GET_REGION_INFO");
	return info;
}

static int
open_group(const struct device *device)
{
	char path[PATH], link[PATH];
	ssize_t n;
	int group;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/iommu_group", device->address);
	n = readlink(path, link, sizeof(link) - 1);
	if (n < 0)
		die_with(device, path);
	link[n] = '\0';
	snprintf(path, sizeof(path), "/dev/vfio%.32s", strrchr(link, '/'));
	group = open(path, O_RDWR | O_CLOEXEC);
	if (group < 0)
		die_with(device, path);
	return group;
}

/* Group and container are what the device lives in, and stay open. */
static void
open_vfio_device(struct device *device)
{
	int container = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC), group = open_group(device);

	if (container < 0)
		die_with(device, "/dev/vfio/vfio");
	if (ioctl(group, VFIO_GROUP_SET_CONTAINER, &container) < 0 ||
		ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU) < 0)
		die_with(device, "VFIO_SET_IOMMU");
	device->vfio = ioctl(group, VFIO_GROUP_GET_DEVICE_FD, device->address);
	if (device->vfio < 0)
		die_with(device, "VFIO_GROUP_GET_DEVICE_FD");
}

static void
enable_vfio_device(const struct device *device)
{
	off_t at = (off_t)region_of(device, VFIO_PCI_CONFIG_REGION_INDEX).offset + PCI_COMMAND;
	uint16_t command;

	if (pread(device->vfio, &command, sizeof(command), at) != sizeof(command))
		die_with(device, "config space");
	command |= PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
	if (pwrite(device->vfio, &command, sizeof(command), at) != sizeof(command))
		die_with(device, "config space");
}

static void
open_vfio(struct device *device)
{
	struct vfio_region_info memory;

	open_vfio_device(device);
	enable_vfio_device(device);
	memory = region_of(device, IVSHMEM_BAR_MEMORY);
	device->size = (size_t)memory.size;
	device->memory =
		map(device, device->vfio, memory.offset, device->size, PROT_READ | PROT_WRITE);
	device->registers = map(device, device->vfio,
		region_of(device, IVSHMEM_BAR_REGISTERS).offset, PAGE, PROT_READ | PROT_WRITE);
	device->type = "uncached-minus";
}

/* ---- sysfs ----------------------------------------------------------------------------------- */

static int
open_file(const struct device *device, const char *name, int flags)
{
	char path[PATH];
	int fd;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/%s", device->address, name);
	fd = open(path, flags | O_CLOEXEC);
	if (fd < 0)
		die_with(device, path);
	return fd;
}

static void
map_memory(struct device *device, const char *name)
{
	int fd = open_file(device, name, O_RDWR);
	struct stat status;

	if (fstat(fd, &status) < 0)
		die_with(device, name);
	device->size = (size_t)status.st_size;
	device->memory = map(device, fd, 0, device->size, PROT_READ | PROT_WRITE);
	close(fd);
}

/* A BAR smaller than a page need not begin with one. */
static void
map_registers(struct device *device)
{
	int fd = open_file(device, "resource0", O_RDWR),
	    list = open_file(device, "resource", O_RDONLY);
	char start[32] = "";

	if (read(list, start, sizeof(start) - 1) < 0)
		die_with(device, "resource");
	device->registers = map(device, fd, 0, PAGE, PROT_READ | PROT_WRITE);
	device->registers += (strtoull(start, NULL, 0) & (PAGE - 1)) / sizeof(*device->registers);
	close(list);
	close(fd);
}

static void
open_sysfs(struct device *device)
{
	int enable = open_file(device, "enable", O_WRONLY);

	if (write(enable, "1", 1) != 1)
		die_with(device, "enable");
	close(enable);
	map_registers(device);
	map_memory(device, "resource2");
	device->type = "uncached-minus";
}

static void
open_sysfs_wc(struct device *device)
{
	map_memory(device, "resource2_wc");
	device->type = "write-combining";
}

/* ---- any ------------------------------------------------------------------------------------- */

static void
open_own(struct device *device)
{
	device->memory =
		mmap(NULL, OWN_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (device->memory == MAP_FAILED)
		die_with(device, "mmap");
	device->size = OWN_SIZE;
	device->type = "write-back";
	memset(device->memory, 1, device->size);
}

void
device_open(struct device *device, char *text)
{
	static const struct {
		const char *name;
		void (*open)(struct device *device);
	} ways[] = {{"driver", open_driver}, {"vfio", open_vfio}, {"sysfs", open_sysfs},
		{"sysfs-wc", open_sysfs_wc}, {"own", open_own}};

	*device = (struct device){.name = strsep(&text, "="), .peer = -1, .node = -1, .vfio = -1};
	device->way = strsep(&text, "@");
	device->address = text ? text : "";
	for (size_t i = 0; device->way && i < sizeof(ways) / sizeof(ways[0]); i++) {
		if (strcmp(device->way, ways[i].name) != 0)
			continue;
		ways[i].open(device);
		if (device->registers)
			device->peer = (int)device->registers[IVSHMEM_REG_IV_POSITION / 4];
		return;
	}
	fprintf(stderr, "guest_access: %s: there is no such way\n", device->name);
	exit(2);
}

void
device_ring(const struct device *device, unsigned peer, unsigned vector)
{
	struct ivshmem_dev_target target = {.peer = peer, .vector = vector};
	struct ivshmem_dev_ring ring = {
		.size = sizeof(ring), .targets = (uintptr_t)&target, .n = 1};

	if (device->registers)
		device->registers[IVSHMEM_REG_DOORBELL / 4] =
			ivshmem_doorbell_value((uint16_t)peer, (uint16_t)vector);
	else if (ioctl(device->node, IVSHMEM_DEV_RING, &ring) != 1)
		die_with(device, "IVSHMEM_DEV_RING");
}

void
device_connect(const struct device *device, unsigned vector, int eventfd)
{
	struct ivshmem_dev_subscription subscription = {
		.size = sizeof(subscription), .vector = vector, .eventfd = eventfd};
	struct {
		struct vfio_irq_set set;
		int eventfd;
	} irqs = {.set = {.argsz = sizeof(irqs),
			  .flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
			  .index = VFIO_PCI_MSIX_IRQ_INDEX,
			  .start = vector,
			  .count = 1},
		.eventfd = eventfd};

	if (device->node >= 0 && ioctl(device->node, IVSHMEM_DEV_SUBSCRIBE, &subscription) < 0)
		die_with(device, "IVSHMEM_DEV_SUBSCRIBE");
	if (device->vfio >= 0 && ioctl(device->vfio, VFIO_DEVICE_SET_IRQS, &irqs) < 0)
		die_with(device, "VFIO_DEVICE_SET_IRQS");
}
