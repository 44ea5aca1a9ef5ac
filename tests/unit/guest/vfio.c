/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * What the vfio back end says of a device that it cannot have, against folders that look like sysfs.
 * What needs a real device is tested in tests/vm.
 */

#include "sysfs_tree.h"

#include <guest/guest.h>
#include <loop/loop.h>
#include <test.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define ADDRESS "0000:00:05.0"
#define SWITCH  "/sys/module/vfio/parameters/enable_unsafe_noiommu_mode"

/* The module vfio is loaded, and has its mode without IOMMU if `mode` is not NULL. */
static void
load_vfio(const char *mode)
{
	char path[PATH_MAX];
	int fd;

	make_folder("module");
	make_folder("module/vfio");
	if (!mode)
		return;
	make_folder("module/vfio/parameters");
	snprintf(path, sizeof(path), "%s/module/vfio/parameters/enable_unsafe_noiommu_mode",
		test_directory());
	fd = CHECK_SYS(open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
	CHECK_EQ(write(fd, mode, strlen(mode)), strlen(mode));
	close(fd);
}

void
test_before(void)
{
	make_tree();
	make_ivshmem(ADDRESS);
}

/* Try to have the device; returns the sentence. */
static const char *
refused(int code)
{
	static struct ivshmem_error error;
	struct guest_owner owner = {0};
	struct guest *guest;
	unsigned fds;

	memset(&error, 0, sizeof(error));
	CHECK_EQ(loop_new(&owner.loop), 0);
	fds = test_open_fds();
	CHECK_EQ(guest_open(&guest, ADDRESS, "vfio", &owner, &error), code);
	CHECK_EQ(error.code, code);
	CHECK_EQ(test_open_fds(), fds);
	loop_free(owner.loop);
	return error.message;
}

/* Whoever can have the mode is told how, to the last letter. */
TEST(without_iommu_the_mode_is_named)
{
	const char *message;

	message = refused(-ENODEV);
	CHECK_HAS(message, "is in no IOMMU group: start the VM with");
	CHECK_HAS(message, "as root: modprobe vfio; echo 1 > " SWITCH "; modprobe vfio-pci; ");
	CHECK_HAS(message, "echo " ADDRESS " > /sys/bus/pci/drivers_probe");
	load_vfio("N\n");
	CHECK_HAS(refused(-ENODEV), "echo 1 > " SWITCH);
}

TEST(without_iommu_and_mode)
{
	const char *message;

	load_vfio(NULL);
	message = refused(-ENODEV);
	CHECK_HAS(message, "this kernel's vfio cannot do without: start the VM with");
	CHECK(!strstr(message, SWITCH));
}

/* The mode is on: what is missing is the driver. */
TEST(without_iommu_in_the_mode)
{
	const char *message;

	load_vfio("Y\n");
	message = refused(-ENODEV);
	CHECK_HAS(message, "not bound to vfio-pci; as root: modprobe vfio-pci; ");
	CHECK(!strstr(message, "IOMMU"));
}

/* No such groups are here, so that the names of their files are seen. */
TEST(group_of_the_mode)
{
	static const char name[] = "vfio-noiommu\n";

	make_link(ADDRESS, "driver", "../../../bus/pci/drivers/vfio-pci");
	make_link(ADDRESS, "iommu_group", "../4000000");
	CHECK_HAS(refused(-ENODEV), "there is no /dev/vfio/4000000 for PCI device " ADDRESS);
	make_file("4000000", "name", name, strlen(name));
	CHECK_HAS(refused(-ENODEV), "there is no /dev/vfio/noiommu-4000000 for");
	make_file("4000000", "name", "vfio-noiommu2\n", 14);
	CHECK_HAS(refused(-ENODEV), "there is no /dev/vfio/4000000 for");
	make_file("4000000", "name", "", 0);
	CHECK_HAS(refused(-ENODEV), "there is no /dev/vfio/4000000 for");
}
