/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * The device through our driver of the guest's kernel, ivshmem.ko (driver/linux): several processes
 * at once, without root, without an IOMMU, with interrupts, and with memory that is cached like any
 * other. A ring is a store if the device has doorbell words that may be mapped, and else a system
 * call.
 */

#include <base/error.h>
#include <base/fd.h>
#include <base/list.h>
#include <base/log.h>
#include <guest/backend.h>
#include <guest/words.h>
#include <loop/loop.h>

#include <ivshmem/abi.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/ivshmem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

_Static_assert(IVSHMEM_ON_CLOSE_MOST == IVSHMEM_DEV_ON_CLOSE_MOST, "ivshmem_on_close() checks it");

struct kernel {
	struct guest *guest;
	struct loop_source node; /* fd is owned; it tells that the device left */
	char path[NODE_PATH_MAX];
	struct words words; /* none unless they are mapped */
	void *words_area;
};

/* ---- the node -------------------------------------------------------------------------------- */

/* The driver's folder in that of the device holds one folder, with the name of the node. */
static int
find_node(struct kernel *kernel, struct ivshmem_error *reterr)
{
	const struct pci_device *pci = &kernel->guest->pci;
	const struct dirent *entry;
	char folder[PATH_MAX];
	DIR *directory;

	if (kernel->guest->node[0]) {
		memcpy(kernel->path, kernel->guest->node, sizeof(kernel->path));
		return 0;
	}
	directory = opendir(pci_path(folder, pci, "ivshmem"));
	while (directory && (entry = readdir(directory)) != NULL)
		if (entry->d_name[0] != '.')
			snprintf(kernel->path, sizeof(kernel->path), "/dev/%.32s", entry->d_name);
	if (directory)
		closedir(directory);
	if (!kernel->path[0])
		return error_set(reterr, -ENODEV,
			"PCI device %s is not bound to the driver ivshmem; as root: modprobe ivshmem",
			pci->address);
	return 0;
}

static int
open_node(struct kernel *kernel, struct ivshmem_error *reterr)
{
	int r = find_node(kernel, reterr);

	if (r < 0)
		return r;
	kernel->node.fd = open(kernel->path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (kernel->node.fd >= 0)
		return 0;
	r = -errno;
	if (r == -EACCES || r == -EPERM)
		return error_set(reterr, r,
			"no permission to open %s; as root: usermod -aG ivshmem USER, if the udev rules of "
			"the driver are installed, or else chown USER %s",
			kernel->path, kernel->path);
	return error_set(reterr, r, "cannot open %s: %s", kernel->path, strerror(-r));
}

/* The driver has unmapped everything by then. */
static void
on_node(struct loop_source *source, uint32_t events)
{
	struct kernel *kernel = container_of(source, struct kernel, node);

	if (!(events & (EPOLLHUP | EPOLLERR)))
		return;
	loop_del(source);
	guest_unplugged(kernel->guest, "the device was unplugged");
}

/* ---- memory and doorbell --------------------------------------------------------------------- */

static int
map_memory(struct kernel *kernel, struct ivshmem_dev_info *info, struct ivshmem_error *reterr)
{
	struct guest *guest = kernel->guest;
	void *memory;
	int r;

	if (info->memory_size > SIZE_MAX / 2)
		return error_set(reterr, -EFBIG, "the memory of %s is too large to be mapped here",
			kernel->path);
	memory = mmap(NULL, (size_t)info->memory_size, PROT_READ | PROT_WRITE, MAP_SHARED,
		kernel->node.fd, 0);
	if (memory == MAP_FAILED) {
		r = -errno;
		return error_set(
			reterr, r, "cannot map the memory of %s: %s", kernel->path, strerror(-r));
	}
	guest->memory = memory;
	guest->size = (size_t)info->memory_size;
	/* The driver knows how it mapped the memory once a page is in use. */
	(void)*(volatile uint8_t *)memory;
	if (ioctl(kernel->node.fd, IVSHMEM_DEV_INFO, info) == 0 &&
		info->cache == IVSHMEM_DEV_CACHE_WRITE_BACK)
		guest->mapping = IVSHMEM_MAPPING_WRITE_BACK;
	return 0;
}

/* Without them, the driver rings. */
static void
map_words(struct kernel *kernel, const struct ivshmem_dev_info *info)
{
	void *area;

	if (!(info->features & IVSHMEM_DEV_FEATURE_MAP_WORDS) || info->doorbell_size > SIZE_MAX / 2)
		return;
	area = mmap(NULL, (size_t)info->doorbell_size, PROT_WRITE, MAP_SHARED, kernel->node.fd,
		(off_t)info->doorbell_offset);
	if (area == MAP_FAILED) {
		log_debug(kernel->guest->owner.log,
			"the doorbell words of %s cannot be mapped: a ring will be a system call",
			kernel->path);
		return;
	}
	kernel->words_area = area;
	kernel->words = (struct words){.peers = info->doorbell_peers,
		.shift = info->doorbell_shift,
		.bar = IVSHMEM_BAR_DOORBELL,
		.bar_size = info->doorbell_size};
}

/* ---- interrupts ------------------------------------------------------------------------------ */

static const char *
remedy(int error)
{
	switch (error) {
	case -EBUSY:
		return "; a process has it for itself (see the attribute holders in sysfs)";
	case -ENOSPC:
		return "; too many listen to it (see the attribute holders in sysfs), or the guest's "
		       "processors have no room for it: each can take about 200 vectors";
	default:
		return "";
	}
}

/*
 * Subscribes to the vectors that are heard, and to no other: its rings would wake this process, instead
 * of waiting for one that wants them.
 */
static int
subscribe(struct kernel *kernel, unsigned n, struct ivshmem_error *reterr)
{
	struct guest *guest = kernel->guest;
	int r;

	if (n == 0)
		return 0;
	if (n > IVSHMEM_MAX_VECTORS)
		n = IVSHMEM_MAX_VECTORS;
	r = guest_add_eventfds(guest, n, reterr);
	if (r < 0)
		return r;
	for (unsigned vector = 0; vector < n; vector++) {
		struct ivshmem_dev_subscription subscription = {.size = sizeof(subscription),
			.vector = vector,
			.eventfd = guest->vectors[vector]};

		if (subscription.eventfd < 0 ||
			ioctl(kernel->node.fd, IVSHMEM_DEV_SUBSCRIBE, &subscription) == 0)
			continue;
		r = -errno;
		return error_set(reterr, r, "%s does not give us interrupt vector %u: %s%s",
			kernel->path, vector, strerror(-r), remedy(r));
	}
	return 0;
}

/* ---- the back end ---------------------------------------------------------------------------- */

static struct kernel *
kernel_free(struct kernel *kernel)
{
	loop_del(&kernel->node);
	if (kernel->guest->memory)
		munmap(kernel->guest->memory, kernel->guest->size);
	if (kernel->words_area)
		munmap(kernel->words_area, (size_t)kernel->words.bar_size);
	fd_close(kernel->node.fd);
	free(kernel);
	return NULL;
}

static int
attach(struct kernel *kernel, struct ivshmem_error *reterr)
{
	struct ivshmem_dev_info info = {.size = sizeof(info)};
	struct guest *guest = kernel->guest;
	int r = open_node(kernel, reterr);

	if (r < 0)
		return r;
	if (ioctl(kernel->node.fd, IVSHMEM_DEV_INFO, &info) < 0) {
		r = -errno;
		return error_set(reterr, r, "%s is not a node of the driver ivshmem: %s",
			kernel->path, strerror(-r));
	}
	r = pci_check_id(&guest->pci, (uint32_t)info.peer, &guest->id, reterr);
	if (r < 0)
		return r;
	map_words(kernel, &info);
	r = map_memory(kernel, &info, reterr);
	if (r < 0)
		return r;
	r = loop_add(guest->owner.loop, &kernel->node, kernel->node.fd, 0, on_node);
	if (r < 0)
		return error_set(reterr, r, "cannot watch %s: %s", kernel->path, strerror(-r));
	return subscribe(kernel, info.vectors, reterr);
}

static int
kernel_open(struct guest *guest, struct ivshmem_error *reterr)
{
	struct kernel *kernel = calloc(1, sizeof(*kernel));
	int r;

	if (!kernel)
		return error_set(reterr, -ENOMEM, "out of memory");
	kernel->guest = guest;
	kernel->node.fd = -1;
	r = attach(kernel, reterr);
	if (r < 0) {
		kernel_free(kernel);
		return r;
	}
	guest->state = kernel;
	guest->doorbell = kernel->words.peers ? PCI_DOORBELL_WORDS : PCI_DOORBELL_REGISTER;
	return 0;
}

static int
kernel_ring(struct guest *guest, uint16_t peer, unsigned vector)
{
	struct kernel *kernel = guest->state;
	struct ivshmem_dev_target target = {.peer = peer, .vector = vector};
	struct ivshmem_dev_ring ring = {
		.size = sizeof(ring), .targets = (uintptr_t)&target, .n = 1};

	if (words_have(&kernel->words, peer, vector)) {
		words_ring(&kernel->words, kernel->words_area, peer, vector);
		return 0;
	}
	return ioctl(kernel->node.fd, IVSHMEM_DEV_RING, &ring) < 0 ? -errno : 0;
}

static int
kernel_on_close(struct guest *guest, const struct ivshmem_store *stores, size_t n_stores,
	const struct ivshmem_target *targets, size_t n_targets)
{
	struct kernel *kernel = guest->state;
	struct ivshmem_dev_store to_store[IVSHMEM_DEV_ON_CLOSE_MOST];
	struct ivshmem_dev_target to_ring[IVSHMEM_DEV_ON_CLOSE_MOST];
	struct ivshmem_dev_on_close on_close = {
		.size = sizeof(on_close),
		.stores = (uintptr_t)to_store,
		.targets = (uintptr_t)to_ring,
		.n_stores = (uint32_t)n_stores,
		.n_targets = (uint32_t)n_targets,
	};

	for (size_t i = 0; i < n_stores; i++)
		to_store[i] = (struct ivshmem_dev_store){
			.offset = stores[i].offset, .value = stores[i].value, .width = 8};
	for (size_t i = 0; i < n_targets; i++)
		to_ring[i] = (struct ivshmem_dev_target){
			.peer = targets[i].peer, .vector = targets[i].vector};
	return ioctl(kernel->node.fd, IVSHMEM_DEV_ON_CLOSE, &on_close) < 0 ? -errno : 0;
}

static void
kernel_close(struct guest *guest)
{
	guest->state = kernel_free(guest->state);
}

static const char *const our_driver[] = {"ivshmem", NULL};

const struct guest_backend guest_kernel = {
	.name = "kernel",
	.drivers = our_driver,
	.open = kernel_open,
	.ring = kernel_ring,
	.on_close = kernel_on_close,
	.close = kernel_close,
};
