/* SPDX-License-Identifier: BSD-2-Clause */

/* The driver that has the device, and who may use it. */

#include "guest.h"
#include "look.h"

#include <dirent.h>
#include <errno.h>
#include <linux/pci_regs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef IVSHMEM_VERSION
#define IVSHMEM_VERSION "unknown"
#endif

/* The commands that give the device to another driver. */
static void
mend_by_binding(struct doctor *doctor, const struct guest_device *device, const char *driver)
{
	char unbind[96] = "";

	if (device->driver[0])
		snprintf(unbind, sizeof(unbind),
			"echo %s > /sys/bus/pci/devices/%s/driver/unbind; ", device->address,
			device->address);
	mend(doctor,
		"modprobe %s; %secho %s > /sys/bus/pci/devices/%s/driver_override; echo %s > /sys/bus/pci/drivers_probe",
		driver, unbind, driver, device->address, device->address);
}

/* Whether we may use a node of /dev; says why not. */
static bool
check_node(struct doctor *doctor, const char *path)
{
	struct stat info;
	char who[WHO_TEXT_MAX], group[GROUP_TEXT_MAX];

	if (stat(path, &info) < 0) {
		mend(doctor, "udevadm trigger, or mount -t devtmpfs dev /dev");
		found(doctor, "guest.no-node", "there is no %s", path);
		return false;
	}
	if (access(path, R_OK | W_OK) < 0) {
		look_group(info.st_gid, group);
		if (info.st_gid == 0)
			mend(doctor,
				"install driver/linux/udev/60-ivshmem.rules (docs/linux.md) and usermod -aG ivshmem USER, or for now: chown USER %s",
				path);
		else
			mend(doctor, "usermod -aG %s USER, and log in again", group);
		found(doctor, "guest.no-permission", "user %u may not use %s: it belongs to %s",
			(unsigned)geteuid(), path, look_who_may(&info, who));
		return false;
	}
	if (info.st_gid == 0 && !(info.st_mode & S_IWOTH) && info.st_uid == 0) {
		mend(doctor,
			"install driver/linux/udev/60-ivshmem.rules (docs/linux.md), or for now: chown USER %s",
			path);
		found(doctor, "guest.root-only", "only root may use %s", path);
	}
	return true;
}

/* ---- our driver ------------------------------------------------------------------------------ */

static void
find_node(const struct doctor *doctor, struct guest_device *device)
{
	char path[128], full[PATH_MAX];
	const struct dirent *entry;
	DIR *folder;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/ivshmem", device->address);
	folder = opendir(look_path(doctor, path, full, sizeof(full)));
	while (folder && (entry = readdir(folder)))
		if (entry->d_name[0] != '.')
			snprintf(device->node, sizeof(device->node), "%.63s", entry->d_name);
	if (folder)
		closedir(folder);
}

static void
node_attribute(const struct doctor *doctor, const struct guest_device *device, const char *name,
	char *text, size_t size)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "/sys/class/ivshmem/%s/%s", device->node, name);
	look_text(doctor, path, text, size);
}

static void
check_version(struct doctor *doctor)
{
	char version[32];

	if (look_text(doctor, "/sys/module/ivshmem/version", version, sizeof(version)) <= 0 ||
		strcmp(version, IVSHMEM_VERSION) == 0)
		return;
	mend(doctor,
		"install the driver of this version (make deb-dkms), then: rmmod ivshmem && modprobe ivshmem");
	found(doctor, "guest.driver-version", "the driver has version %s, and this program has %s",
		version, IVSHMEM_VERSION);
}

static void
check_id(struct doctor *doctor, struct guest_device *device)
{
	char text[32];

	node_attribute(doctor, device, "peer_id", text, sizeof(text));
	if (strcmp(text, "-1") != 0)
		return;
	device->usable = false;
	mend(doctor, "on the host: start ivshmem-server on the socket that the device names");
	found(doctor, "guest.no-id", "the device has no id: its VMM has not reached a server yet");
}

/* How many vectors the device's table has room for; 0: unknown, as only root sees that. */
static unsigned
table_size(const struct doctor *doctor, const struct guest_device *device)
{
	unsigned char config[PCI_CFG_SPACE_SIZE + 1];
	ssize_t n = guest_attribute(doctor, device, "config", (char *)config, sizeof(config));
	unsigned at = n > PCI_CAPABILITY_LIST ? config[PCI_CAPABILITY_LIST] : 0;

	/* There is no room for more capabilities, and so no circle has an effect. */
	for (unsigned i = 0; i < PCI_CFG_SPACE_SIZE / 4 && at != 0 && (ssize_t)at + 3 < n; i++) {
		if (config[at] == PCI_CAP_ID_MSIX)
			return ((unsigned)(config[at + 2] | config[at + 3] << 8) &
				       PCI_MSIX_FLAGS_QSIZE) +
			       1;
		at = config[at + 1] & ~3U;
	}
	return 0;
}

static void
check_vectors(struct doctor *doctor, const struct guest_device *device)
{
	unsigned size = table_size(doctor, device);

	if (device->msi_off || device->vectors >= size)
		return;
	mend(doctor,
		"give the group fewer vectors (ivshmem-server -n N, and vectors=N for QEMU), or the guest more processors; see dmesg | grep %s",
		device->address);
	found(doctor, "guest.vectors", "the device has %u vector%s, and the kernel gave %u", size,
		plural(size), device->vectors);
}

static void
check_ours(struct doctor *doctor, struct guest_device *device)
{
	char path[PATH_MAX], text[32];

	find_node(doctor, device);
	check_version(doctor);
	snprintf(path, sizeof(path), "/dev/%s", device->node);
	if (!check_node(doctor, path))
		device->usable = false;
	node_attribute(doctor, device, "vectors", text, sizeof(text));
	device->vectors = (unsigned)strtoul(text, NULL, 10);
	check_vectors(doctor, device);
	if (device->revision == 0)
		check_id(doctor, device);
}

/* ---- others ---------------------------------------------------------------------------------- */

static void
check_vfio(struct doctor *doctor, struct guest_device *device)
{
	char path[PATH_MAX], link[PATH_MAX];
	const char *slash;

	mend_by_binding(doctor, device, "ivshmem");
	found(doctor, "guest.vfio",
		"vfio-pci has the device: one process at a time, and memory that is not cached by the page table");
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/iommu_group", device->address);
	look_link(doctor, path, link, sizeof(link));
	slash = strrchr(link, '/');
	slash = slash ? slash + 1 : link;
	snprintf(path, sizeof(path), "/dev/vfio/noiommu-%.64s", slash);
	if (access(path, F_OK) < 0)
		snprintf(path, sizeof(path), "/dev/vfio/%.64s", slash);
	if (!check_node(doctor, path))
		device->usable = false;
}

/* A kernel that is locked down lets nobody map the memory through sysfs. */
static void
check_lockdown(struct doctor *doctor, struct guest_device *device)
{
	char text[128];

	if (look_text(doctor, "/sys/kernel/security/lockdown", text, sizeof(text)) <= 0 ||
		(!strstr(text, "[integrity]") && !strstr(text, "[confidentiality]")))
		return;
	device->usable = false;
	mend(doctor,
		"use our driver, signed with a key that the machine knows (mokutil --import /var/lib/dkms/mok.pub), or vfio-pci");
	found(doctor, "guest.lockdown", "the kernel is locked down (%s), as with Secure Boot",
		text);
}

/* The kernel does not let vfio-pci have it then, and says so in its log only. */
static void
check_wish(struct doctor *doctor, const struct guest_device *device)
{
	char path[PATH_MAX], text[PATH_MAX];

	guest_attribute(doctor, device, "driver_override", text, sizeof(text));
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/iommu_group", device->address);
	if (strcmp(text, "vfio-pci") != 0 || look_link(doctor, path, text, sizeof(text)))
		return;
	mend(doctor,
		"on the host: -machine q35,kernel-irqchip=split -device intel-iommu,intremap=on, and intel_iommu=on on the guest's kernel command line; or use our driver, which needs none of it");
	found(doctor, "guest.no-iommu",
		"the device was to be given to vfio-pci, and there is no virtual IOMMU");
}

static void
check_none(struct doctor *doctor, struct guest_device *device)
{
	mend_by_binding(doctor, device, "ivshmem");
	found(doctor, "guest.no-driver", "no driver has the device");
	check_wish(doctor, device);
	check_lockdown(doctor, device);
	if (geteuid() != 0)
		device->usable = false;
}

static void
check_other(struct doctor *doctor, struct guest_device *device)
{
	device->usable = false;
	mend_by_binding(doctor, device, "ivshmem");
	found(doctor, "guest.other-driver",
		"the driver %s has the device, which ivshmem cannot use with it", device->driver);
}

void
guest_check_driver(struct doctor *doctor, struct guest_device *device)
{
	if (strcmp(device->driver, "ivshmem") == 0)
		check_ours(doctor, device);
	else if (strcmp(device->driver, "vfio-pci") == 0)
		check_vfio(doctor, device);
	else if (device->driver[0])
		check_other(doctor, device);
	else
		check_none(doctor, device);
}
