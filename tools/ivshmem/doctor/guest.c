/* SPDX-License-Identifier: BSD-2-Clause */

/* ivshmem devices on the PCI bus: which there are, and whether the guest gave them addresses. */

#include "guest.h"

#include "look.h"
#include "target.h"
#include "topics.h"

#include <ivshmem/abi.h>

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEVICES "/sys/bus/pci/devices"

/* A flag of a BAR in `resource`: it has no address. */
#define RESOURCE_UNSET UINT64_C(0x20000000)

ssize_t
guest_attribute(const struct doctor *doctor, const struct guest_device *device, const char *name,
	char *text, size_t size)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), DEVICES "/%s/%s", device->address, name);
	return look_text(doctor, path, text, size);
}

static uint64_t
read_number(const struct doctor *doctor, const struct guest_device *device, const char *name)
{
	char text[32];

	guest_attribute(doctor, device, name, text, sizeof(text));
	return strtoull(text, NULL, 0);
}

/* Each line is "START END FLAGS" of a BAR. */
static void
read_bars(const struct doctor *doctor, struct guest_device *device)
{
	char text[2048], *rest = text, *line;

	guest_attribute(doctor, device, "resource", text, sizeof(text));
	for (unsigned i = 0; i < 6 && (line = strsep(&rest, "\n")); i++) {
		char *end;
		uint64_t first = strtoull(line, &end, 16);
		uint64_t last = strtoull(end, &end, 16);
		uint64_t flags = strtoull(end, NULL, 16);

		if (last > first && !(flags & RESOURCE_UNSET))
			device->sizes[i] = last - first + 1;
	}
}

static void
read_device(const struct doctor *doctor, struct guest_device *device)
{
	char path[PATH_MAX], link[PATH_MAX];
	const char *slash;

	read_bars(doctor, device);
	device->revision = (unsigned)read_number(doctor, device, "revision");
	snprintf(path, sizeof(path), DEVICES "/%s/driver", device->address);
	look_link(doctor, path, link, sizeof(link));
	slash = strrchr(link, '/');
	snprintf(device->driver, sizeof(device->driver), "%.63s", slash ? slash + 1 : "");
}

/* ---- the checks ------------------------------------------------------------------------------ */

static void
check_placed(struct doctor *doctor, struct guest_device *device)
{
	bool memory = device->sizes[IVSHMEM_BAR_MEMORY] > 0;

	if (memory && device->sizes[IVSHMEM_BAR_REGISTERS] > 0)
		return;
	device->usable = false;
	mend(doctor,
		"more address bits (-cpu ...,phys-bits=46), a larger window (-global q35-pcihost.pci-hole64-size=SIZE), or behind a port, -device pcie-root-port,...,pref64-reserve=SIZE; see dmesg | grep %s",
		device->address);
	found(doctor, "guest.not-placed",
		"%s has no address: neither firmware nor kernel found room for it",
		memory ? "BAR0 with the registers" : "BAR2 with the shared memory");
}

static void
check_revision(struct doctor *doctor, struct guest_device *device)
{
	if (device->revision != 0)
		return;
	mend(doctor, "use QEMU's ivshmem-doorbell, or ivshmem-device --revision 1");
	found(doctor, "guest.revision", "the device has revision 0, which is the one of 2010");
}

static bool
kernel_was_told(const struct doctor *doctor, const char *option)
{
	char text[4096], *rest = text, *word;

	look_text(doctor, "/proc/cmdline", text, sizeof(text));
	while ((word = strsep(&rest, " \n")))
		if (strcmp(word, option) == 0)
			return true;
	return false;
}

static void
check_interrupts(struct doctor *doctor, struct guest_device *device)
{
	if (device->sizes[IVSHMEM_BAR_MSIX] == 0) {
		mend(doctor,
			"if programs are to be woken: QEMU's ivshmem-doorbell, or ivshmem-device with --server");
		found(doctor, "guest.no-interrupts", "the device has no MSI-X: it is a plain one");
		return;
	}
	device->msi_off = kernel_was_told(doctor, "pci=nomsi");
	if (!device->msi_off)
		return;
	mend(doctor, "leave out pci=nomsi on the guest's kernel command line, and boot");
	found(doctor, "guest.msi-off", "the kernel was told pci=nomsi");
}

typedef void (*device_check)(struct doctor *doctor, struct guest_device *device);

static const device_check checks[] = {
	check_placed,
	check_revision,
	check_interrupts,
	guest_check_driver,
};

static void
check_device(struct doctor *doctor, const char *address)
{
	struct guest_device device = {.usable = true};
	char subject[32];

	snprintf(device.address, sizeof(device.address), "%s", address);
	snprintf(subject, sizeof(subject), "pci:%s", device.address);
	doctor->subject = subject;
	read_device(doctor, &device);
	for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]); i++)
		checks[i](doctor, &device);
	if (device.usable)
		guest_check_access(doctor, &device);
	doctor->subject = "this machine";
}

/* ---- which devices --------------------------------------------------------------------------- */

static bool
is_ours(const struct doctor *doctor, const char *address)
{
	struct guest_device device = {.usable = false};

	if (strlen(address) >= sizeof(device.address))
		return false;
	memcpy(device.address, address, strlen(address) + 1);
	return read_number(doctor, &device, "vendor") == IVSHMEM_PCI_VENDOR &&
	       read_number(doctor, &device, "device") == IVSHMEM_PCI_DEVICE;
}

static int
compare(const void *a, const void *b)
{
	return strcmp(a, b);
}

static size_t
list(const struct doctor *doctor, char addresses[DOCTOR_MOST][16])
{
	const struct dirent *entry;
	char path[PATH_MAX];
	DIR *folder = opendir(look_path(doctor, DEVICES, path, sizeof(path)));
	size_t n = 0;

	while (folder && n < DOCTOR_MOST && (entry = readdir(folder)))
		if (is_ours(doctor, entry->d_name))
			snprintf(addresses[n++], 16, "%.15s", entry->d_name);
	if (folder)
		closedir(folder);
	qsort(addresses, n, 16, compare);
	return n;
}

bool
guest_is_here(const struct doctor *doctor)
{
	char addresses[DOCTOR_MOST][16];

	return list(doctor, addresses) > 0;
}

void
guest_check(struct doctor *doctor, const char *target)
{
	char addresses[DOCTOR_MOST][16];
	size_t n = list(doctor, addresses);
	bool is_auto = strcmp(target, "pci:auto") == 0;
	struct target_pci pci;

	if (n == 0 || (!is_auto && target_find_pci(target, &pci) < 0)) {
		mend(doctor,
			"give the guest -device ivshmem-doorbell,chardev=ID,vectors=N and -chardev socket,id=ID,path=SOCKET");
		found(doctor, "guest.no-device", "there is no such ivshmem device (1af4:1110)");
		return;
	}
	if (is_auto && n > 1) {
		mend(doctor, "name one of them: --target pci:%s", addresses[0]);
		found(doctor, "guest.several-devices",
			"there are %zu ivshmem devices, so that pci:auto means none", n);
	}
	for (size_t i = 0; i < n; i++)
		if (is_auto || strcmp(addresses[i], pci.address) == 0)
			check_device(doctor, addresses[i]);
}
