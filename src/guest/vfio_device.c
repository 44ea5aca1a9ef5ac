/* SPDX-License-Identifier: BSD-2-Clause */

/* The way to a device through vfio: its group, a container, the device itself and its regions. */
#include <guest/vfio.h>

#include <base/error.h>
#include <base/fd.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/vfio.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

/* A file below sysfs: "Y" if vfio hands out devices that are not behind an IOMMU. */
#define NO_IOMMU_MODE "/module/vfio/parameters/enable_unsafe_noiommu_mode"

/* The first byte of a file; -1 if there is none. */
static int
read_byte(const char *path)
{
	_fd_cleanup_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	char byte;

	return fd >= 0 && read(fd, &byte, 1) == 1 ? byte : -1;
}

/*
 * What vfio says of its mode without an IOMMU: 'Y' or 'N', 0 if this kernel has no such mode, or -1
 * if vfio is not loaded and nobody can tell.
 */
static int
no_iommu_mode(void)
{
	char path[PATH_MAX];
	int mode;

	snprintf(path, sizeof(path), "%s" NO_IOMMU_MODE, pci_sysfs_root);
	mode = read_byte(path);
	snprintf(path, sizeof(path), "%s/module/vfio", pci_sysfs_root);
	return mode < 0 && access(path, F_OK) == 0 ? 0 : mode;
}

static int
error_no_group(const struct pci_device *pci, struct ivshmem_error *reterr)
{
	static const char remedy[] =
		"start the VM with `-machine q35 -device intel-iommu,intremap=on` and boot the "
		"guest with intel_iommu=on, or use the sysfs back end, which has no interrupts";
	char commands[PCI_COMMANDS_MAX];

	if (no_iommu_mode() == 0)
		return error_set(reterr, -ENODEV,
			"PCI device %s is in no IOMMU group, and this kernel's vfio cannot do without: %s",
			pci->address, remedy);
	return error_set(reterr, -ENODEV,
		"PCI device %s is in no IOMMU group: %s, or, if the guest trusts this program, do "
		"without; as root: modprobe vfio; echo 1 > /sys" NO_IOMMU_MODE "; %s",
		pci->address, remedy, pci_bind_commands(pci, commands));
}

/*
 * Find the group in /dev/vfio. A device without an IOMMU could be made to write anywhere. So vfio
 * hands it out only if the administrator allowed that, and only to programs with CAP_SYS_RAWIO. It
 * puts such a device into a group that it makes up.
 */
static int
find_group(struct vfio *vfio, struct ivshmem_error *reterr)
{
	static const char made_up[] = "vfio-noiommu\n";
	char number[16], path[PATH_MAX], name[sizeof(made_up)] = "";
	_fd_cleanup_ int fd = -1;
	int r = pci_read_link(&vfio->guest->pci, "iommu_group", number, sizeof(number));

	if (r < 0 && no_iommu_mode() == 'Y')
		return 0; /* vfio-pci is not bound yet */
	if (r < 0)
		return error_no_group(&vfio->guest->pci, reterr);
	fd = open(pci_path(path, &vfio->guest->pci, "iommu_group/name"), O_RDONLY | O_CLOEXEC);
	vfio->no_iommu = fd >= 0 && read(fd, name, sizeof(name) - 1) == sizeof(made_up) - 1 &&
			 memcmp(name, made_up, sizeof(made_up) - 1) == 0;
	snprintf(vfio->group_name, sizeof(vfio->group_name), "%s%s",
		vfio->no_iommu ? "noiommu-" : "", number);
	return 0;
}

static int
check_driver(struct vfio *vfio, struct ivshmem_error *reterr)
{
	const struct pci_device *pci = &vfio->guest->pci;
	char commands[PCI_COMMANDS_MAX];
	/* This comes first: without a group, the driver cannot be bound either. */
	int r = find_group(vfio, reterr);

	if (r < 0)
		return r;
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
error_no_iommu_right(const struct vfio *vfio, struct ivshmem_error *reterr)
{
	return error_set(reterr, -EPERM,
		"PCI device %s is behind no IOMMU, so that only programs with CAP_SYS_RAWIO, such "
		"as root's, may have it; with a vIOMMU (-device intel-iommu,intremap=on), a user's "
		"may, too",
		vfio->guest->pci.address);
}

static int
open_group(struct vfio *vfio, struct ivshmem_error *reterr)
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
			vfio->guest->pci.address, path, path);
	if (r == -EPERM && vfio->no_iommu)
		return error_no_iommu_right(vfio, reterr);
	if (r == -EACCES || r == -EPERM)
		return error_set(reterr, r,
			"no permission to open %s for PCI device %s; as root: chown USER %s", path,
			vfio->guest->pci.address, path);
	if (r == -ENOENT)
		return error_set(reterr, -ENODEV,
			"there is no %s for PCI device %s, though it is bound to vfio-pci: is /dev "
			"a devtmpfs, and was the device handed to this container?",
			path, vfio->guest->pci.address);
	return error_set(reterr, r, "cannot open %s for PCI device %s: %s", path,
		vfio->guest->pci.address, strerror(-r));
}

static int
open_container(struct vfio *vfio, struct ivshmem_error *reterr)
{
	int r;

	vfio->container = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
	if (vfio->container < 0) {
		r = -errno;
		if (r == -EACCES || r == -EPERM)
			return error_set(reterr, r,
				"no permission to open /dev/vfio/vfio; as root: chmod 666 /dev/vfio/vfio");
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

/* Drivers that do no DMA through the kernel, so the group stays usable. */
static bool
driver_is_viable(const char *driver)
{
	static const char *const viable[] = {"", "vfio-pci", "pcieport", "pci-stub"};

	for (size_t i = 0; i < sizeof(viable) / sizeof(viable[0]); i++)
		if (strcmp(viable[i], driver) == 0)
			return true;
	return false;
}

/* Name the first device in our group whose driver makes the group unusable. */
static int
error_not_viable(const struct vfio *vfio, struct ivshmem_error *reterr)
{
	struct pci_device other = {0};
	char path[PATH_MAX];
	struct dirent *entry;
	DIR *folder = opendir(pci_path(path, &vfio->guest->pci, "iommu_group/devices"));

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
			"PCI device %s shares IOMMU group %s with a device that a driver is using: unbind "
			"that one, or give each device a root port of its own (-device pcie-root-port)",
			vfio->guest->pci.address, vfio->group_name);
	return error_set(reterr, -ENODEV,
		"PCI device %s shares IOMMU group %s with %s, which driver %s is using: unbind "
		"that one (echo %s > /sys/bus/pci/devices/%s/driver/unbind), or give each device a "
		"root port of its own (-device pcie-root-port)",
		vfio->guest->pci.address, vfio->group_name, other.address, other.driver,
		other.address, other.address);
}

static int
join_group_and_container(struct vfio *vfio, struct ivshmem_error *reterr)
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

	/* Both versions of type 1 will do; the second one is better maintained. */
	if (vfio->no_iommu)
		type = VFIO_NOIOMMU_IOMMU;
	else if (ioctl(vfio->container, VFIO_CHECK_EXTENSION, VFIO_TYPE1v2_IOMMU) > 0)
		type = VFIO_TYPE1v2_IOMMU;
	else if (ioctl(vfio->container, VFIO_CHECK_EXTENSION, VFIO_TYPE1_IOMMU) > 0)
		type = VFIO_TYPE1_IOMMU;
	else
		return error_set(reterr, -ENODEV,
			"the kernel's vfio has no driver for type 1 IOMMUs; as root: modprobe vfio_iommu_type1");
	if (ioctl(vfio->container, VFIO_SET_IOMMU, type) < 0) {
		r = -errno;
		if (r == -EPERM && vfio->no_iommu)
			return error_no_iommu_right(vfio, reterr);
		if (r == -EPERM)
			return error_set(reterr, r,
				"the IOMMU of PCI device %s cannot remap interrupts, which vfio insists on: start "
				"the VM with `-device intel-iommu,intremap=on`, or accept it; as root: echo 1 > "
				"/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts",
				vfio->guest->pci.address);
		return error_set(reterr, r, "cannot set up the IOMMU for VFIO group %s: %s",
			vfio->group_name, strerror(-r));
	}
	return 0;
}

int
vfio_open_device(struct vfio *vfio, struct vfio_device_info *ret_info, struct ivshmem_error *reterr)
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

	/* The kernel makes the descriptor close-on-exec. */
	vfio->device = ioctl(vfio->group, VFIO_GROUP_GET_DEVICE_FD, vfio->guest->pci.address);
	if (vfio->device < 0) {
		r = -errno;
		return error_set(reterr, r, "cannot get PCI device %s from VFIO group %s: %s",
			vfio->guest->pci.address, vfio->group_name, strerror(-r));
	}
	if (ioctl(vfio->device, VFIO_DEVICE_GET_INFO, &info) < 0) {
		r = -errno;
		return error_set(reterr, r, "cannot ask vfio about PCI device %s: %s",
			vfio->guest->pci.address, strerror(-r));
	}
	*ret_info = info;
	return 0;
}

/* ---- regions --------------------------------------------------------------------------------- */

int
vfio_get_region(const struct vfio *vfio, uint32_t index, struct vfio_region_info *ret_info,
	struct ivshmem_error *reterr)
{
	struct vfio_region_info info = {.argsz = sizeof(info), .index = index};
	int r;

	if (ioctl(vfio->device, VFIO_DEVICE_GET_REGION_INFO, &info) < 0) {
		r = -errno;
		return error_set(reterr, r,
			"cannot ask vfio about region %" PRIu32 " of PCI device %s: %s", index,
			vfio->guest->pci.address, strerror(-r));
	}
	*ret_info = info;
	return 0;
}

int
vfio_map_region(const struct vfio *vfio, const struct vfio_region_info *info, size_t length,
	void **ret_address)
{
	void *address = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, vfio->device,
		(off_t)info->offset);

	if (address == MAP_FAILED)
		return -errno;
	*ret_address = address;
	return 0;
}
