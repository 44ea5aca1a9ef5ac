/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * The device through sysfs: its registers and its memory are mapped from the kernel's resource
 * files. This works in every guest, without IOMMU and without driver, for several processes at
 * once; but nobody receives interrupts, so that whoever waits has to poll the memory.
 *
 * When the device is unplugged, such mappings do not fail: reads return zeros and writes vanish.
 * The kernel's uevents are watched for it, so that the application is told, if only afterwards.
 */

#include <base/error.h>
#include <base/fd.h>
#include <client/backend.h>
#include <client/pci.h>

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

/* The multicast group of the kernel's own uevents, of NETLINK_KOBJECT_UEVENT. */
#define UEVENT_GROUP_KERNEL 1u

/* How many uevents one wake-up handles; there may be a flood of them at boot. */
#define UEVENTS_PER_WAKE_UP 16

struct sysfs {
	struct ivshmem_client *client;
	struct pci_device pci;
	size_t page;

	void *registers_page;
	volatile uint32_t *registers;
	struct words words; /* only if they are mapped */
	void *words_area;
	void *memory;
	size_t size;

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
			continue; /* Some were lost: what can be done is to go on. */
		if (n < 0)
			return;
		message[n] = '\0';
		/* Only the kernel's own, which have port 0, are believed. */
		if (length != sizeof(sender) || sender.nl_pid != 0 ||
			!is_removal(message, sysfs->pci.address))
			continue;
		loop_del(source);
		client_lose(sysfs->client, -ENODEV, "the device was unplugged");
		return;
	}
}

/* Before the device is looked at, so that no removal falls between. -1 if it is impossible. */
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
	_fd_cleanup_ int fd = open(pci_path(path, &sysfs->pci, "config"), O_RDONLY | O_CLOEXEC);
	uint16_t command;

	return fd >= 0 && pread(fd, &command, sizeof(command), PCI_COMMAND) == sizeof(command) &&
	       le16toh(command) & PCI_COMMAND_MEMORY;
}

/* Set the bit ourselves: where a driver is bound, the kernel refuses a write to `enable`. */
static int
set_memory_decoding(const struct sysfs *sysfs)
{
	char path[PATH_MAX];
	_fd_cleanup_ int fd = open(pci_path(path, &sysfs->pci, "config"), O_RDWR | O_CLOEXEC);
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
 * Firmware mostly leaves memory decoding on, but need not. It stays on when we close, because other
 * processes may have come to rely on it.
 */
static int
enable_device(const struct sysfs *sysfs, struct ivshmem_error *reterr)
{
	char path[PATH_MAX];
	_fd_cleanup_ int fd = -1;
	int r = 0;

	if (decodes_memory(sysfs))
		return 0;
	fd = open(pci_path(path, &sysfs->pci, "enable"), O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, "1", 1) < 0)
		r = -errno;
	if (r < 0 && r != -EACCES && r != -EPERM)
		r = set_memory_decoding(sysfs);
	if (r == 0 && decodes_memory(sysfs))
		return 0;
	return error_set(reterr, r < 0 ? r : -ENODEV,
		"PCI device %s is switched off and cannot be switched on: %s; as root: echo 1 > %s",
		sysfs->pci.address, r < 0 ? strerror(-r) : "it ignores its command register", path);
}

static int
error_cannot_map(
	const struct sysfs *sysfs, int code, const char *path, struct ivshmem_error *reterr)
{
	if (code == -EPERM)
		return error_set(reterr, code,
			"this kernel is locked down (Secure Boot) and does not let anybody map %s: use "
			"vfio, which it allows (the VM needs `-device intel-iommu,intremap=on`)",
			path);
	/* This is how the kernel refuses what a driver has claimed (CONFIG_IO_STRICT_DEVMEM). */
	if (code == -EINVAL && strcmp(sysfs->pci.driver, "vfio-pci") == 0)
		return error_set(reterr, -EBUSY,
			"cannot map %s: a process is using the device through vfio, which lets nobody else have it",
			path);
	if (code == -EINVAL)
		return error_set(reterr, -EBUSY,
			"cannot map %s: driver %s has claimed the device; unbind it (echo %s > "
			"/sys/bus/pci/devices/%s/driver/unbind)",
			path, sysfs->pci.driver[0] ? sysfs->pci.driver : "(none)",
			sysfs->pci.address, sysfs->pci.address);
	return error_set(reterr, code, "cannot map %s: %s", path, strerror(-code));
}

static int
map_resource(const struct sysfs *sysfs, const char *name, size_t size, void **ret_address,
	struct ivshmem_error *reterr)
{
	char path[PATH_MAX];
	_fd_cleanup_ int fd = open(pci_path(path, &sysfs->pci, name), O_RDWR | O_CLOEXEC);
	void *address;
	int r;

	if (fd < 0) {
		r = -errno;
		if (r == -EACCES || r == -EPERM)
			return error_set(reterr, r,
				"no permission to open %s; as root: chown USER /sys/bus/pci/devices/%s/resource[02]*",
				path, sysfs->pci.address);
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
	/* What is mapped is the page that the BAR lies in, not necessarily at its start. */
	sysfs->registers =
		(volatile uint32_t *)(void *)((char *)sysfs->registers_page +
					      (sysfs->pci.bar_start[IVSHMEM_BAR_REGISTERS] &
						      (sysfs->page - 1)));
	return 0;
}

/*
 * If the device has doorbell words, they are used instead of the register. Whoever is not root does
 * not see the capability, and may not be allowed to map them: there is always the register.
 */
static void
map_words(struct sysfs *sysfs)
{
	char path[PATH_MAX], name[16];
	_fd_cleanup_ int fd = open(pci_path(path, &sysfs->pci, "config"), O_RDONLY | O_CLOEXEC);
	uint8_t space[256];
	struct words words;
	struct ivshmem_error error;
	ssize_t n = fd < 0 ? -1 : pread(fd, space, sizeof(space), 0);

	if (n < 0)
		return;
	words = words_find(space, (size_t)n);
	if (words.peers == 0)
		return;
	if (sysfs->pci.bar_size[words.bar] < words.bar_size ||
		sysfs->pci.bar_start[words.bar] % sysfs->page != 0 ||
		words.bar_size > SIZE_MAX / 2) {
		log_debug(&sysfs->client->log,
			"PCI device %s has doorbell words, but the guest found no place for them: rings take the register",
			sysfs->pci.address);
		return;
	}
	snprintf(name, sizeof(name), "resource%u", words.bar);
	if (map_resource(sysfs, name, (size_t)words.bar_size, &sysfs->words_area, &error) < 0) {
		log_debug(&sysfs->client->log, "%s: rings take the register", error.message);
		return;
	}
	sysfs->words = words;
}

/*
 * Write-combining if the kernel offers it: the other file gives no caching at all, and stores to it
 * would leave the processor one by one. Whoever was given only the other file uses that.
 */
static int
map_memory(struct sysfs *sysfs, enum ivshmem_mapping *ret_mapping, struct ivshmem_error *reterr)
{
	size_t size = (size_t)sysfs->pci.bar_size[IVSHMEM_BAR_MEMORY];
	char path[PATH_MAX];
	bool combining = access(pci_path(path, &sysfs->pci, "resource2_wc"), R_OK | W_OK) == 0;
	int r = map_resource(
		sysfs, combining ? "resource2_wc" : "resource2", size, &sysfs->memory, reterr);

	if (r < 0)
		return r;
	sysfs->size = size;
	*ret_mapping = combining ? IVSHMEM_MAPPING_WRITE_COMBINING : PCI_MAPPING_PLAIN;
	return 0;
}

/* ---- the back end ---------------------------------------------------------------------------- */

static struct sysfs *
sysfs_free(struct sysfs *sysfs)
{
	loop_del(&sysfs->uevents);
	fd_close(sysfs->uevents.fd);
	if (sysfs->memory)
		munmap(sysfs->memory, sysfs->size);
	if (sysfs->words_area)
		munmap(sysfs->words_area, (size_t)sysfs->words.bar_size);
	if (sysfs->registers_page)
		munmap(sysfs->registers_page, sysfs->page);
	free(sysfs);
	return NULL;
}

static int
attach(struct sysfs *sysfs, const char *address, uint16_t *ret_id,
	enum ivshmem_mapping *ret_mapping, struct ivshmem_error *reterr)
{
	struct loop *loop = sysfs->client->loop;
	int r;

	sysfs->page = (size_t)sysconf(_SC_PAGESIZE);
	sysfs->uevents.fd = open_uevents();
	r = pci_find(address, &sysfs->pci, reterr);
	if (r < 0)
		return r;
	r = pci_check_bars(&sysfs->pci, reterr);
	if (r < 0)
		return r;
	r = enable_device(sysfs, reterr);
	if (r < 0)
		return r;
	r = map_registers(sysfs, reterr);
	if (r < 0)
		return r;
	r = pci_check_id(&sysfs->pci, pci_register_read(sysfs->registers, IVSHMEM_REG_IV_POSITION),
		ret_id, reterr);
	if (r < 0)
		return r;
	map_words(sysfs);
	r = map_memory(sysfs, ret_mapping, reterr);
	if (r < 0)
		return r;
	if (sysfs->uevents.fd < 0) {
		log_debug(&sysfs->client->log,
			"uevents cannot be received: if PCI device %s is unplugged, its memory will read as zeros without notice",
			sysfs->pci.address);
		return 0;
	}
	r = loop_add(loop, &sysfs->uevents, sysfs->uevents.fd, EPOLLIN, on_uevents);
	if (r < 0)
		return error_set(reterr, r, "cannot watch the socket of uevents: %s", strerror(-r));
	return 0;
}

static int
sysfs_open(struct ivshmem_client *client, const char *address, struct ivshmem_error *reterr)
{
	struct sysfs *sysfs = calloc(1, sizeof(*sysfs));
	enum ivshmem_mapping mapping = IVSHMEM_MAPPING_UNKNOWN;
	uint16_t id = 0;
	int r;

	if (!sysfs)
		return error_set(reterr, -ENOMEM, "out of memory");
	sysfs->client = client;
	r = attach(sysfs, address, &id, &mapping, reterr);
	if (r < 0) {
		sysfs_free(sysfs);
		return r;
	}
	client->state = sysfs;
	client->id = id;
	client->memory = sysfs->memory;
	client->size = sysfs->size;
	client->doorbell = sysfs->words.peers ? PCI_DOORBELL_WORDS : PCI_DOORBELL_REGISTER;
	client->mapping =
		pci_memory_mapping(sysfs->pci.bar_start[IVSHMEM_BAR_MEMORY], sysfs->size, mapping);
	return 0;
}

static int
sysfs_ring(struct ivshmem_client *client, uint16_t peer, unsigned vector)
{
	struct sysfs *sysfs = client->state;

	if (client_is_unplugged(client))
		return -ENODEV;
	if (words_have(&sysfs->words, peer, vector)) {
		pci_word_write(sysfs->words_area, &sysfs->words, peer, vector);
		return 0;
	}
	pci_register_write(sysfs->registers, IVSHMEM_REG_DOORBELL,
		ivshmem_doorbell_value(peer, (uint16_t)vector));
	return 0;
}

static void
sysfs_close(struct ivshmem_client *client)
{
	client->state = sysfs_free(client->state);
	client->memory = NULL;
	client->size = 0;
}

const struct backend backend_sysfs = {
	.name = "sysfs",
	.interrupts = false,
	.open = sysfs_open,
	.ring = sysfs_ring,
	.close = sysfs_close,
};
