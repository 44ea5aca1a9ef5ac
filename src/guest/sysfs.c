/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * The device through sysfs: this back end maps the registers and the memory from the kernel's
 * resource files. This works in every guest, without an IOMMU and without a driver, for several
 * processes at once. But nobody receives interrupts, so an application that waits must poll the
 * memory.
 *
 * When the device is unplugged, such mappings do not fail: reads return zeros and writes vanish. We
 * watch the kernel's uevents to tell the application, if only afterwards.
 */

#include <base/error.h>
#include <base/fd.h>
#include <base/log.h>
#include <guest/backend.h>
#include <guest/words.h>
#include <loop/loop.h>

#include <ivshmem/abi.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/pci_regs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

/* The multicast group of NETLINK_KOBJECT_UEVENT that has the kernel's own uevents. */
#define UEVENT_GROUP_KERNEL 1u

/* The most uevents that one wake-up handles. There may be a flood of them at boot. */
#define UEVENTS_PER_WAKE_UP 16

struct sysfs {
	struct guest *guest;
	size_t page;

	void *registers_page;
	volatile uint32_t *registers;
	struct words words; /* none unless they are mapped */
	void *words_area;

	struct loop_source uevents; /* fd is owned */
};

/* ---- unplug ---------------------------------------------------------------------------------- */

/* A uevent starts with "remove@/devices/pci0000:00/0000:00:05.0" and a NUL. */
static bool
is_removal(const char *message, const char *address)
{
	static const char action[] = "remove@";
	const char *last = strrchr(message, '/');

	return strncmp(message, action, strlen(action)) == 0 && last &&
	       strcmp(last + 1, address) == 0;
}

static void
on_uevents(struct loop_source *source, uint32_t events)
{
	struct sysfs *sysfs = container_of(source, struct sysfs, uevents);

	(void)events;
	for (unsigned i = 0; i < UEVENTS_PER_WAKE_UP; i++) {
		struct sockaddr_nl sender;
		socklen_t length = sizeof(sender);
		char message[4096];
		ssize_t n = recvfrom(source->fd, message, sizeof(message) - 1, MSG_DONTWAIT,
			(struct sockaddr *)&sender, &length);

		if (n < 0 && errno == ENOBUFS)
			continue; /* The kernel dropped some. We can only go on. */
		if (n < 0)
			return;
		message[n] = '\0';
		/* Believe only the kernel's own uevents, which come from port 0. */
		if (length != sizeof(sender) || sender.nl_pid != 0 ||
			!is_removal(message, sysfs->guest->pci.address))
			continue;
		loop_del(source);
		guest_unplugged(sysfs->guest, "the device was unplugged");
		return;
	}
}

/* The socket, or -1 if there can be none. */
static int
open_uevents(void)
{
	struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = UEVENT_GROUP_KERNEL};
	int fd = socket(
		AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT);

	if (fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		fd = fd_close(fd);
	return fd;
}

/* ---- registers and memory -------------------------------------------------------------------- */

static bool
decodes_memory(const struct sysfs *sysfs)
{
	char path[PATH_MAX];
	_fd_cleanup_ int fd =
		open(pci_path(path, &sysfs->guest->pci, "config"), O_RDONLY | O_CLOEXEC);
	uint16_t command;

	return fd >= 0 && pread(fd, &command, sizeof(command), PCI_COMMAND) == sizeof(command) &&
	       le16toh(command) & PCI_COMMAND_MEMORY;
}

/* Set the bit in config space: the kernel refuses a write to `enable` if a driver is bound. */
static int
set_memory_decoding(const struct sysfs *sysfs)
{
	char path[PATH_MAX];
	_fd_cleanup_ int fd =
		open(pci_path(path, &sysfs->guest->pci, "config"), O_RDWR | O_CLOEXEC);
	uint16_t command;

	if (fd < 0)
		return -errno;
	if (pread(fd, &command, sizeof(command), PCI_COMMAND) != sizeof(command))
		return -EIO;
	command |= htole16(PCI_COMMAND_MEMORY);
	if (pwrite(fd, &command, sizeof(command), PCI_COMMAND) != sizeof(command))
		return -errno;
	return 0;
}

/*
 * Switch memory decoding on, unless the firmware has left it on, as most do. It stays on when we
 * close, because other processes may rely on it by then.
 */
static int
enable_device(const struct sysfs *sysfs, struct ivshmem_error *reterr)
{
	char path[PATH_MAX];
	_fd_cleanup_ int fd = -1;
	int r = 0;

	if (decodes_memory(sysfs))
		return 0;
	fd = open(pci_path(path, &sysfs->guest->pci, "enable"), O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, "1", 1) < 0)
		r = -errno;
	if (r < 0 && r != -EACCES && r != -EPERM)
		r = set_memory_decoding(sysfs);
	if (r == 0 && decodes_memory(sysfs))
		return 0;
	return error_set(reterr, r < 0 ? r : -ENODEV,
		"PCI device %s is switched off and cannot be switched on: %s; as root: echo 1 > %s",
		sysfs->guest->pci.address, r < 0 ? strerror(-r) : "it ignores its command register",
		path);
}

static int
error_cannot_map(
	const struct sysfs *sysfs, int code, const char *path, struct ivshmem_error *reterr)
{
	const struct pci_device *pci = &sysfs->guest->pci;

	if (code == -EPERM)
		return error_set(reterr, code,
			"this kernel is locked down (Secure Boot) and does not let anybody map %s: use "
			"vfio, which it allows (the VM needs `-device intel-iommu,intremap=on`)",
			path);
	/* The kernel refuses to map what a driver has claimed (CONFIG_IO_STRICT_DEVMEM). */
	if (code == -EINVAL && strcmp(pci->driver, "vfio-pci") == 0)
		return error_set(reterr, -EBUSY,
			"cannot map %s: a process is using the device through vfio, which lets nobody else have it",
			path);
	if (code == -EINVAL)
		return error_set(reterr, -EBUSY,
			"cannot map %s: driver %s has claimed the device; unbind it (echo %s > "
			"/sys/bus/pci/devices/%s/driver/unbind)",
			path, pci->driver[0] ? pci->driver : "(none)", pci->address, pci->address);
	return error_set(reterr, code, "cannot map %s: %s", path, strerror(-code));
}

static int
map_resource(const struct sysfs *sysfs, const char *name, size_t size, void **ret_address,
	struct ivshmem_error *reterr)
{
	char path[PATH_MAX];
	_fd_cleanup_ int fd = open(pci_path(path, &sysfs->guest->pci, name), O_RDWR | O_CLOEXEC);
	void *address;
	int r;

	if (fd < 0) {
		r = -errno;
		if (r == -EACCES || r == -EPERM)
			return error_set(reterr, r,
				"no permission to open %s; as root: chown USER /sys/bus/pci/devices/%s/resource[02]*",
				path, sysfs->guest->pci.address);
		return error_set(reterr, r, "cannot open %s: %s", path, strerror(-r));
	}
	address = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (address == MAP_FAILED)
		return error_cannot_map(sysfs, -errno, path, reterr);
	*ret_address = address;
	return 0;
}

static int
map_registers(struct sysfs *sysfs, struct ivshmem_error *reterr)
{
	int r = map_resource(sysfs, "resource0", sysfs->page, &sysfs->registers_page, reterr);

	if (r < 0)
		return r;
	/* We mapped the page that contains the BAR, which need not be at the start of the page. */
	sysfs->registers =
		(volatile uint32_t *)(void *)((char *)sysfs->registers_page +
					      (sysfs->guest->pci.bar_start[IVSHMEM_BAR_REGISTERS] &
						      (sysfs->page - 1)));
	return 0;
}

/*
 * If the device has doorbell words, use them instead of the register. Programs without root's rights
 * do not see the capability, and may not be allowed to map the words. They use the register.
 */
static void
map_words(struct sysfs *sysfs)
{
	char path[PATH_MAX], name[16];
	_fd_cleanup_ int fd =
		open(pci_path(path, &sysfs->guest->pci, "config"), O_RDONLY | O_CLOEXEC);
	uint8_t space[256];
	struct words words;
	struct ivshmem_error error;
	ssize_t n = fd < 0 ? -1 : pread(fd, space, sizeof(space), 0);

	if (n < 0)
		return;
	words = words_find(space, (size_t)n);
	if (words.peers == 0)
		return;
	if (sysfs->guest->pci.bar_size[words.bar] < words.bar_size ||
		sysfs->guest->pci.bar_start[words.bar] % sysfs->page != 0 ||
		words.bar_size > SIZE_MAX / 2) {
		log_debug(sysfs->guest->owner.log,
			"PCI device %s has doorbell words, but the guest found no place for them: rings take the register",
			sysfs->guest->pci.address);
		return;
	}
	snprintf(name, sizeof(name), "resource%u", words.bar);
	if (map_resource(sysfs, name, (size_t)words.bar_size, &sysfs->words_area, &error) < 0) {
		log_debug(sysfs->guest->owner.log, "%s: rings take the register", error.message);
		return;
	}
	sysfs->words = words;
}

/*
 * Map the memory write-combining if the kernel offers a file for that. With the other file there is
 * no caching at all, and stores leave the processor one by one. A user who may open only the other
 * file gets that.
 */
static int
map_memory(struct sysfs *sysfs, struct ivshmem_error *reterr)
{
	struct guest *guest = sysfs->guest;
	size_t size = (size_t)guest->pci.bar_size[IVSHMEM_BAR_MEMORY];
	char path[PATH_MAX];
	bool combining = access(pci_path(path, &guest->pci, "resource2_wc"), R_OK | W_OK) == 0;
	int r = map_resource(
		sysfs, combining ? "resource2_wc" : "resource2", size, &guest->memory, reterr);

	if (r < 0)
		return r;
	guest->size = size;
	guest->mapping = combining ? IVSHMEM_MAPPING_WRITE_COMBINING : PCI_MAPPING_PLAIN;
	return 0;
}

/* ---- the back end ---------------------------------------------------------------------------- */

static struct sysfs *
sysfs_free(struct sysfs *sysfs)
{
	loop_del(&sysfs->uevents);
	fd_close(sysfs->uevents.fd);
	if (sysfs->guest->memory)
		munmap(sysfs->guest->memory, sysfs->guest->size);
	if (sysfs->words_area)
		munmap(sysfs->words_area, (size_t)sysfs->words.bar_size);
	if (sysfs->registers_page)
		munmap(sysfs->registers_page, sysfs->page);
	free(sysfs);
	return NULL;
}

static int
attach(struct sysfs *sysfs, struct ivshmem_error *reterr)
{
	struct guest *guest = sysfs->guest;
	struct pci_device *pci = &guest->pci;
	int r;

	sysfs->page = (size_t)sysconf(_SC_PAGESIZE);
	/* Look at the device again now that we would be told of its removal: it may just have been
	 * replaced. */
	sysfs->uevents.fd = open_uevents();
	r = pci_find(pci->address, pci, reterr);
	if (r < 0)
		return r;
	r = pci_check_bars(pci, reterr);
	if (r < 0)
		return r;
	r = enable_device(sysfs, reterr);
	if (r < 0)
		return r;
	r = map_registers(sysfs, reterr);
	if (!sysfs->registers)
		return r;
	r = pci_check_id(pci, pci_register_read(sysfs->registers, IVSHMEM_REG_IV_POSITION),
		&guest->id, reterr);
	if (r < 0)
		return r;
	map_words(sysfs);
	r = map_memory(sysfs, reterr);
	if (r < 0)
		return r;
	if (sysfs->uevents.fd < 0) {
		log_debug(guest->owner.log,
			"uevents cannot be received: if PCI device %s is unplugged, its memory will read as zeros without notice",
			pci->address);
		return 0;
	}
	r = loop_add(guest->owner.loop, &sysfs->uevents, sysfs->uevents.fd, EPOLLIN, on_uevents);
	if (r < 0)
		return error_set(reterr, r, "cannot watch the socket of uevents: %s", strerror(-r));
	return 0;
}

static int
sysfs_open(struct guest *guest, struct ivshmem_error *reterr)
{
	struct sysfs *sysfs = calloc(1, sizeof(*sysfs));
	int r;

	if (!sysfs)
		return error_set(reterr, -ENOMEM, "out of memory");
	sysfs->guest = guest;
	r = attach(sysfs, reterr);
	if (r < 0) {
		sysfs_free(sysfs);
		return r;
	}
	guest->state = sysfs;
	guest->doorbell = sysfs->words.peers ? PCI_DOORBELL_WORDS : PCI_DOORBELL_REGISTER;
	return 0;
}

static int
sysfs_ring(struct guest *guest, uint16_t peer, unsigned vector)
{
	struct sysfs *sysfs = guest->state;

	if (words_have(&sysfs->words, peer, vector))
		words_ring(&sysfs->words, sysfs->words_area, peer, vector);
	else
		pci_register_write(sysfs->registers, IVSHMEM_REG_DOORBELL,
			ivshmem_doorbell_value(peer, (uint16_t)vector));
	return 0;
}

static void
sysfs_close(struct guest *guest)
{
	guest->state = sysfs_free(guest->state);
}

/* Drivers that leave the BARs alone, so sysfs can map them. */
static const char *const passive_drivers[] = {"", "uio_pci_generic", "pci-stub", NULL};

const struct guest_backend guest_sysfs = {
	.name = "sysfs",
	.drivers = passive_drivers,
	.open = sysfs_open,
	.ring = sysfs_ring,
	.close = sysfs_close,
};
