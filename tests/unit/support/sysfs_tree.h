/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SYSFS_TREE_H
#define SYSFS_TREE_H

/* Folders that look like sysfs, in the test's own folder, and pci_sysfs_root that points there. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The line of a BAR that is not there, in a file `resource`. */
#define ABSENT_BAR "0x0000000000000000 0x0000000000000000 0x0000000000000000\n"

/* The `resource` of a device with 4 vectors and 1 MiB, as a guest shows it. */
extern const char bars[];

void make_tree(void);
/* By its path below the root. */
void make_folder(const char *path);

/* The path of a file of the device `address`, until the next call. */
const char *device_file(const char *address, const char *name);
void make_file(const char *address, const char *name, const void *content, size_t length);
void make_link(const char *address, const char *name, const char *target);

void make_device(const char *address, const char *vendor, const char *device, const char *resource);
void make_ivshmem(const char *address);

/* An ivshmem device with files that the sysfs back end can map; BAR0 is at 0x100 of resource0. */
void make_resources(const char *address, uint32_t id, bool combining);

#endif
