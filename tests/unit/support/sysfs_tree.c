/* SPDX-License-Identifier: BSD-2-Clause */
#include "sysfs_tree.h"

#include <guest/pci.h>
#include <test.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* As a guest with 4 vectors and 1 MiB shows it. */
const char bars[] = "0x00000000fe600000 0x00000000fe6000ff 0x0000000000040200\n"
		    "0x00000000fe601000 0x00000000fe601fff 0x0000000000040200\n"
		    "0x00000000fea00000 0x00000000feafffff 0x000000000014220c\n" ABSENT_BAR;

static char root[PATH_MAX];

void
make_folder(const char *path)
{
	char folder[PATH_MAX];

	snprintf(folder, sizeof(folder), "%s/%s", test_directory(), path);
	if (mkdir(folder, 0755) < 0 && errno != EEXIST)
		test_fail_errno(__FILE__, __LINE__, folder);
}

void
make_tree(void)
{
	make_folder("bus");
	make_folder("bus/pci");
	make_folder("bus/pci/devices");
	snprintf(root, sizeof(root), "%s", test_directory());
	pci_sysfs_root = root;
}

const char *
device_file(const char *address, const char *name)
{
	static char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/bus/pci/devices/%s/%s", test_directory(), address, name);
	return path;
}

void
make_file(const char *address, const char *name, const void *content, size_t length)
{
	char folder[PATH_MAX];
	int fd;

	snprintf(folder, sizeof(folder), "bus/pci/devices/%s", address);
	make_folder(folder);
	fd = CHECK_SYS(
		open(device_file(address, name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
	CHECK_EQ(write(fd, content, length), length);
	close(fd);
}

void
make_link(const char *address, const char *name, const char *target)
{
	CHECK_SYS(symlink(target, device_file(address, name)));
}

void
make_device(const char *address, const char *vendor, const char *device, const char *resource)
{
	make_file(address, "vendor", vendor, strlen(vendor));
	make_file(address, "device", device, strlen(device));
	make_file(address, "resource", resource, strlen(resource));
}

void
make_ivshmem(const char *address)
{
	make_device(address, "0x1af4\n", "0x1110\n", bars);
}

void
make_resources(const char *address, uint32_t id, bool combining)
{
	static const unsigned char config[64] = {[4] = 2};
	unsigned char page[4096] = {0};
	static const unsigned char memory[1 << 20];

	/* BAR0 in the middle of its page. */
	make_device(address, "0x1af4\n", "0x1110\n",
		"0x00000000fe600100 0x00000000fe6001ff 0x0000000000040200\n" ABSENT_BAR
		"0x00000000fea00000 0x00000000feafffff 0x000000000014220c\n");
	make_file(address, "config", config, sizeof(config));
	page[0x108] = (unsigned char)id;
	page[0x109] = (unsigned char)(id >> 8);
	make_file(address, "resource0", page, sizeof(page));
	make_file(address, "resource2", memory, sizeof(memory));
	if (combining)
		make_file(address, "resource2_wc", memory, sizeof(memory));
}
