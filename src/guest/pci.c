/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Finding the ivshmem device in a guest, and saying what is missing when it cannot be used. This code
 * only reads sysfs; it never changes the machine.
 */

#include <guest/pci.h>

#include <base/error.h>
#include <base/fd.h>

#include <ivshmem/abi.h>

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

const char *pci_sysfs_root = "/sys";
const char *pci_memtype_list = "/sys/kernel/debug/x86/pat_memtype_list";

/* A flag in the third column of `resource`: the kernel found no address for the BAR. */
#define RESOURCE_UNSET UINT64_C(0x20000000)

/* We read no more than this of the kernel's list, which has a few kilobytes. */
#define MEMTYPE_LIST_MAX ((size_t)1 << 20)

/* ---- text ------------------------------------------------------------------------------------ */

/* Read 1 to `max_digits` (at most 16) hexadecimal digits, and move *text behind them. */
static bool
take_hex(const char **text, unsigned max_digits, uint64_t *ret_value)
{
	const char *p = *text;
	uint64_t value = 0;
	unsigned digits = 0;

	while (isxdigit((unsigned char)*p)) {
		int c = tolower((unsigned char)*p++);
		if (digits++ == max_digits)
			return false;
		value = value << 4 | (unsigned)(c <= '9' ? c - '0' : c - 'a' + 10);
	}
	if (digits == 0)
		return false;
	*text = p;
	*ret_value = value;
	return true;
}

static bool
take_text(const char **text, const char *expected)
{
	size_t length = strlen(expected);

	if (strncmp(*text, expected, length) != 0)
		return false;
	*text += length;
	return true;
}

static bool
take_address(const char **text, uint64_t *ret_value)
{
	return take_text(text, "0x") && take_hex(text, 16, ret_value);
}

/* Read at most size - 1 bytes of a file, and append a NUL. Returns the length. */
static ssize_t
read_text(const char *path, char *buffer, size_t size)
{
	_fd_cleanup_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t length = 0;

	if (fd < 0)
		return -errno;
	while (length < size - 1) {
		ssize_t n = read(fd, buffer + length, size - 1 - length);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		length += (size_t)n;
	}
	buffer[length] = '\0';
	return (ssize_t)length;
}

/* ---- one device ------------------------------------------------------------------------------ */

char *
pci_path(char buffer[PATH_MAX], const struct pci_device *device, const char *name)
{
	snprintf(buffer, PATH_MAX, "%s/bus/pci/devices/%s/%s", pci_sysfs_root, device->address,
		name);
	return buffer;
}

int
pci_read_link(const struct pci_device *device, const char *name, char *buffer, size_t size)
{
	char path[PATH_MAX], target[PATH_MAX];
	const char *last;
	size_t length;
	ssize_t n = readlink(pci_path(path, device, name), target, sizeof(target) - 1);

	if (n < 0)
		return -errno;
	target[n] = '\0';
	last = strrchr(target, '/');
	last = last ? last + 1 : target;
	length = strlen(last);
	if (length >= size)
		return -ENAMETOOLONG;
	memcpy(buffer, last, length + 1);
	return 0;
}

/* Read a file that holds one hexadecimal number, such as `vendor`. */
static int
read_number(const struct pci_device *device, const char *name, uint64_t *ret_value)
{
	char path[PATH_MAX], text[64];
	const char *p = text;
	ssize_t n = read_text(pci_path(path, device, name), text, sizeof(text));

	if (n < 0)
		return (int)n;
	return take_address(&p, ret_value) ? 0 : -EINVAL;
}

/* `resource` has a line "start end flags" for each BAR. An absent BAR is all zeros. */
static int
read_bars(struct pci_device *device)
{
	char path[PATH_MAX], text[4096];
	const char *line = text;
	ssize_t n = read_text(pci_path(path, device, "resource"), text, sizeof(text));

	if (n < 0)
		return (int)n;
	for (size_t i = 0; i < sizeof(device->bar_size) / sizeof(device->bar_size[0]); i++) {
		uint64_t start, end, flags;
		if (!take_address(&line, &start) || !take_text(&line, " ") ||
			!take_address(&line, &end) || !take_text(&line, " ") ||
			!take_address(&line, &flags) || !take_text(&line, "\n"))
			/* We can do without the BARs behind the memory. */
			return i > IVSHMEM_BAR_MEMORY ? 0 : -EINVAL;
		if (end <= start || flags & RESOURCE_UNSET)
			continue;
		device->bar_start[i] = start;
		device->bar_size[i] = end - start + 1;
	}
	return 0;
}

/* Fill in what sysfs says about device->address. Returns whether it is an ivshmem device: 1 or 0. */
static int
read_device(struct pci_device *device, uint64_t *ret_vendor, uint64_t *ret_device)
{
	int r = read_number(device, "vendor", ret_vendor);

	if (r < 0)
		return r;
	r = read_number(device, "device", ret_device);
	if (r < 0)
		return r;
	if (*ret_vendor != IVSHMEM_PCI_VENDOR || *ret_device != IVSHMEM_PCI_DEVICE)
		return 0;
	r = read_bars(device);
	if (r < 0)
		return r;
	r = pci_read_link(device, "driver", device->driver, sizeof(device->driver));
	if (r < 0 && r != -ENOENT)
		return r;
	return 1;
}

/* Bring "0000:00:05.0", or "00:05.0" in domain 0, into the form that sysfs uses. */
static int
parse_address(const char *text, char address[PCI_ADDRESS_MAX])
{
	uint64_t domain = 0, bus, slot, function;

	if (!take_hex(&text, 7, &bus) || !take_text(&text, ":") || !take_hex(&text, 2, &slot))
		return -EINVAL;
	if (take_text(&text, ":")) {
		domain = bus;
		bus = slot;
		if (!take_hex(&text, 2, &slot))
			return -EINVAL;
	}
	if (!take_text(&text, ".") || !take_hex(&text, 1, &function) || *text != '\0')
		return -EINVAL;
	if (bus > 0xff || slot > 0x1f || function > 7)
		return -EINVAL;
	snprintf(address, PCI_ADDRESS_MAX, "%04x:%02x:%02x.%x", (unsigned)domain & 0xfffffff,
		(unsigned)bus & 0xff, (unsigned)slot & 0x1f, (unsigned)function & 7);
	return 0;
}

/* ---- all devices ----------------------------------------------------------------------------- */

static int
compare_devices(const void *a, const void *b)
{
	const struct pci_device *device_a = a, *device_b = b;

	return strcmp(device_a->address, device_b->address);
}

/* All ivshmem devices of the machine, in the order of their addresses. The caller frees the array. */
static int
list_devices(struct pci_device **ret_devices, size_t *ret_n, struct ivshmem_error *reterr)
{
	struct pci_device *devices = NULL;
	char path[PATH_MAX];
	struct dirent *entry;
	size_t n = 0;
	DIR *folder;
	int r = 0;

	snprintf(path, sizeof(path), "%s/bus/pci/devices", pci_sysfs_root);
	folder = opendir(path);
	if (!folder) {
		r = -errno;
		return error_set(reterr, r,
			"cannot list the PCI devices in %s: %s; is this machine a guest, and is "
			"sysfs mounted (mount -t sysfs sysfs /sys)?",
			path, strerror(-r));
	}
	while (r == 0 && (entry = readdir(folder))) {
		struct pci_device device = {0}, *larger;
		uint64_t vendor, model;

		/* A device that cannot be read is just being unplugged. */
		if (parse_address(entry->d_name, device.address) < 0 ||
			read_device(&device, &vendor, &model) <= 0)
			continue;
		larger = reallocarray(devices, n + 1, sizeof(*devices));
		if (!larger) {
			r = error_set(reterr, -ENOMEM, "out of memory");
			break;
		}
		devices = larger;
		devices[n++] = device;
	}
	closedir(folder);
	if (r < 0) {
		free(devices);
		return r;
	}
	if (n > 1)
		qsort(devices, n, sizeof(*devices), compare_devices);
	*ret_devices = devices;
	*ret_n = n;
	return 0;
}

/* "0000:00:05.0 (vfio-pci), 0000:00:06.0 (no driver)": as many as fit into a sentence. */
#define DEVICES_TEXT_MAX 256
static char *
format_devices(const struct pci_device *devices, size_t n, char buffer[DEVICES_TEXT_MAX])
{
	size_t length = 0;

	buffer[0] = '\0';
	for (size_t i = 0; i < n; i++) {
		const char *driver = devices[i].driver[0] ? devices[i].driver : "no driver";
		char item[PCI_ADDRESS_MAX + sizeof(devices[i].driver) + 8];
		int m = snprintf(item, sizeof(item), "%s%s (%s)", i > 0 ? ", " : "",
			devices[i].address, driver);

		if (m < 0 || length + (size_t)m + sizeof(", ...") > DEVICES_TEXT_MAX) {
			memcpy(buffer + length, ", ...", sizeof(", ..."));
			break;
		}
		memcpy(buffer + length, item, (size_t)m + 1);
		length += (size_t)m;
	}
	return buffer;
}

static int
error_no_device(struct ivshmem_error *reterr)
{
	return error_set(reterr, -ENOENT,
		"this machine has no ivshmem PCI device (%04x:%04x): start the VM with `-device "
		"ivshmem-doorbell,vectors=4,chardev=ID` and `-chardev socket,path=PATH,id=ID`, "
		"PATH being the socket of the ivshmem server",
		(unsigned)IVSHMEM_PCI_VENDOR, (unsigned)IVSHMEM_PCI_DEVICE);
}

static int
find_only_device(struct pci_device *ret_device, struct ivshmem_error *reterr)
{
	char text[DEVICES_TEXT_MAX];
	struct pci_device *devices = NULL;
	size_t n = 0;
	int r = list_devices(&devices, &n, reterr);

	if (r < 0)
		return r;
	if (n == 0)
		r = error_no_device(reterr);
	else if (n > 1)
		r = error_set(reterr, -EINVAL,
			"this machine has %zu ivshmem devices, so pci:auto is ambiguous: %s; name one of them, such as pci:%s",
			n, format_devices(devices, n, text), devices[0].address);
	else
		*ret_device = devices[0];
	free(devices);
	return r;
}

/* The address has no device, or one that is not ours: say which devices are. */
static int
error_not_found(int code, const char *what, struct ivshmem_error *reterr)
{
	char text[DEVICES_TEXT_MAX];
	struct pci_device *devices = NULL;
	size_t n = 0;
	int r = list_devices(&devices, &n, reterr);

	if (r < 0)
		return r;
	if (n == 0)
		r = error_no_device(reterr);
	else
		r = error_set(reterr, code, "%s; the ivshmem devices of this machine: %s", what,
			format_devices(devices, n, text));
	free(devices);
	return r;
}

int
pci_find(const char *address, struct pci_device *ret_device, struct ivshmem_error *reterr)
{
	struct pci_device device = {0};
	uint64_t vendor = 0, model = 0;
	char what[128];
	int r;

	if (strcmp(address, "auto") == 0)
		return find_only_device(ret_device, reterr);
	if (parse_address(address, device.address) < 0)
		return error_set(reterr, -EINVAL,
			"'%.64s' is not a PCI address: write pci:0000:00:05.0, pci:00:05.0 or pci:auto",
			address);
	r = read_device(&device, &vendor, &model);
	if (r == -ENOENT) {
		snprintf(what, sizeof(what), "there is no PCI device %s", device.address);
		return error_not_found(-ENOENT, what, reterr);
	}
	if (r < 0)
		return error_set(reterr, r,
			"cannot read about PCI device %s in %s/bus/pci/devices: %s", device.address,
			pci_sysfs_root, strerror(-r));
	if (r == 0) {
		snprintf(what, sizeof(what),
			"PCI device %s is %04" PRIx64 ":%04" PRIx64 ", not an ivshmem device",
			device.address, vendor, model);
		return error_not_found(-ENODEV, what, reterr);
	}
	*ret_device = device;
	return 0;
}

int
pci_find_node(const char *path, struct pci_device *ret_device, struct ivshmem_error *reterr)
{
	char link[PATH_MAX], target[PATH_MAX];
	struct stat info;
	ssize_t length;
	int r;

	if (stat(path, &info) < 0) {
		r = -errno;
		return error_set(reterr, r, "cannot look at %s: %s", path, strerror(-r));
	}
	snprintf(link, sizeof(link), "%s/dev/char/%u:%u/device", pci_sysfs_root,
		major(info.st_rdev), minor(info.st_rdev));
	length = S_ISCHR(info.st_mode) ? readlink(link, target, sizeof(target) - 1) : -1;
	if (length < 0)
		return error_set(reterr, -ENODEV, "%s is not a node of the driver ivshmem", path);
	target[length] = '\0';
	return pci_find(
		strrchr(target, '/') ? strrchr(target, '/') + 1 : target, ret_device, reterr);
}

/* ---- what can be done with a device ---------------------------------------------------------- */

char *
pci_bind_commands(const struct pci_device *device, char buffer[PCI_COMMANDS_MAX])
{
	const char *address = device->address;
	char unbind[96] = "";

	if (device->driver[0])
		snprintf(unbind, sizeof(unbind),
			"echo %s > /sys/bus/pci/devices/%s/driver/unbind; ", address, address);
	snprintf(buffer, PCI_COMMANDS_MAX,
		"modprobe vfio-pci; %secho vfio-pci > /sys/bus/pci/devices/%s/driver_override; "
		"echo %s > /sys/bus/pci/drivers_probe",
		unbind, address, address);
	return buffer;
}

int
pci_check_bars(const struct pci_device *device, struct ivshmem_error *reterr)
{
	if (device->bar_size[IVSHMEM_BAR_REGISTERS] < IVSHMEM_BAR_REGISTERS_SIZE)
		return error_set(reterr, -ENODEV,
			"PCI device %s has no registers (BAR0): neither the firmware nor the "
			"kernel found an address for them; see `dmesg | grep %s`",
			device->address, device->address);
	if (device->bar_size[IVSHMEM_BAR_MEMORY] == 0)
		return error_set(reterr, -ENODEV,
			"PCI device %s has no shared memory (BAR2): neither the firmware nor the "
			"kernel found an address for it; a large memory may need a larger window "
			"(-global q35-pcihost.pci-hole64-size=SIZE), see `dmesg | grep %s`",
			device->address, device->address);
	if (device->bar_size[IVSHMEM_BAR_MEMORY] > SIZE_MAX / 2)
		return error_set(reterr, -ENODEV,
			"the shared memory of PCI device %s is larger than this process can map",
			device->address);
	return 0;
}

int
pci_check_id(const struct pci_device *device, uint32_t position, uint16_t *ret_id,
	struct ivshmem_error *reterr)
{
	/* A device of revision 0 reads as -1 until its server has told it its id, and a device that
	 * is gone always does. */
	if (position > IVSHMEM_MAX_ID)
		return error_set(reterr, -ENODEV,
			"PCI device %s has no id (it reads 0x%08" PRIx32
			"): it is being unplugged, or its VMM has not reached the ivshmem server yet",
			device->address, position);
	*ret_id = (uint16_t)position;
	return 0;
}

/* ---- memory types ---------------------------------------------------------------------------- */

static enum ivshmem_mapping
parse_memtype(const char *name, size_t length)
{
	static const struct {
		const char *name;
		enum ivshmem_mapping mapping;
	} types[] = {
		{"write-back", IVSHMEM_MAPPING_WRITE_BACK},
		{"write-combining", IVSHMEM_MAPPING_WRITE_COMBINING},
		{"uncached-minus", IVSHMEM_MAPPING_UNCACHED_MINUS},
		{"uncached", IVSHMEM_MAPPING_UNCACHED},
	};

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if (strlen(types[i].name) == length && memcmp(types[i].name, name, length) == 0)
			return types[i].mapping;
	return IVSHMEM_MAPPING_UNKNOWN;
}

/*
 * Parse one entry, which comes without its newline. Its end is exclusive:
 *
 *	PAT: [mem 0x00000000fe000000-0x00000000fe400000] uncached-minus
 *	uncached-minus @ 0xfe000000-0xfe400000				(before Linux 5.9)
 */
static bool
parse_memtype_entry(const char *line, size_t length, uint64_t *ret_start, uint64_t *ret_end,
	enum ivshmem_mapping *ret_mapping)
{
	const char *end = line + length, *p = line;

	if (take_text(&p, "PAT: [mem ")) {
		if (!take_address(&p, ret_start) || !take_text(&p, "-") ||
			!take_address(&p, ret_end) || !take_text(&p, "] ") || p > end)
			return false;
		*ret_mapping = parse_memtype(p, (size_t)(end - p));
		return true;
	}
	p = memmem(line, length, " @ ", 3);
	if (!p)
		return false;
	*ret_mapping = parse_memtype(line, (size_t)(p - line));
	return take_text(&p, " @ ") && take_address(&p, ret_start) && take_text(&p, "-") &&
	       take_address(&p, ret_end) && p == end;
}

enum ivshmem_mapping
pci_parse_memtypes(const char *list, uint64_t start, uint64_t size, enum ivshmem_mapping otherwise)
{
	while (*list) {
		size_t length = strcspn(list, "\n");
		uint64_t entry_start, entry_end;
		enum ivshmem_mapping mapping;

		if (parse_memtype_entry(list, length, &entry_start, &entry_end, &mapping) &&
			entry_start <= start && start < entry_end && size <= entry_end - start)
			return mapping;
		list += length;
		if (*list == '\n')
			list++;
	}
	return otherwise;
}

enum ivshmem_mapping
pci_memory_mapping(uint64_t start, uint64_t size, enum ivshmem_mapping otherwise)
{
	char *list = calloc(1, MEMTYPE_LIST_MAX);

	if (!list)
		return otherwise;
	/* Only root can read it, and only if debugfs is mounted. */
	if (read_text(pci_memtype_list, list, MEMTYPE_LIST_MAX) >= 0)
		otherwise = pci_parse_memtypes(list, start, size, otherwise);
	free(list);
	return otherwise;
}
