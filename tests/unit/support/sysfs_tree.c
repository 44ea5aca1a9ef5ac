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
	if (mkdir(path, 0755) < 0 && errno != EEXIST)
		test_fail_errno(__FILE__, __LINE__, path);
}

void
make_tree(void)
{
	char path[PATH_MAX];

	snprintf(root, sizeof(root), "%s", test_directory());
	snprintf(path, sizeof(path), "%s/bus", test_directory());
	make_folder(path);
	snprintf(path, sizeof(path), "%s/bus/pci", test_directory());
	make_folder(path);
	snprintf(path, sizeof(path), "%s/bus/pci/devices", test_directory());
	make_folder(path);
	pci_sysfs_root = root;
}

void
make_file(const char *address, const char *name, const void *content, size_t length)
{
	char path[PATH_MAX];
	int fd;

	snprintf(path, sizeof(path), "%s/bus/pci/devices/%s", test_directory(), address);
	make_folder(path);
	snprintf(path, sizeof(path), "%s/bus/pci/devices/%s/%s", test_directory(), address, name);
	fd = CHECK_SYS(open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
	CHECK_EQ(write(fd, content, length), length);
	close(fd);
}

void
make_link(const char *address, const char *name, const char *target)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/bus/pci/devices/%s/%s", test_directory(), address, name);
	CHECK_SYS(symlink(target, path));
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

void
check_contains(const struct ivshmem_error *error, const char *text)
{
	if (!strstr(error->message, text))
		FAIL("'%s' is not in: %s", text, error->message);
}
