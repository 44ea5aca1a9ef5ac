/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef DOCTOR_GUEST_H
#define DOCTOR_GUEST_H

/* A PCI device of this machine, which is a guest. */

#include "finding.h"

#include <limits.h>

struct guest_device {
	char address[16]; /* 0000:00:05.0 */
	char driver[64];  /* "" if there is none */
	char node[64];    /* of our driver, such as ivshmem0; "" if there is none */
	unsigned revision;
	uint64_t sizes[6]; /* of its BARs, 0: absent or without an address */
	unsigned vectors;  /* as our driver says; 0: unknown */
	bool msi_off;      /* the kernel was told so */
	bool usable;       /* worth attaching to */
};

/* Whether this machine has one. */
bool guest_is_here(const struct doctor *doctor);

/* A file in the device's folder of sysfs, "" in `text` if it cannot be read. */
ssize_t guest_attribute(const struct doctor *doctor, const struct guest_device *device,
	const char *name, char *text, size_t size);

/* What has the device, and who may use it. Clears device->usable if nobody can. */
void guest_check_driver(struct doctor *doctor, struct guest_device *device);

/* Attach, measure the memory, and ring the device's own id once. */
void guest_check_access(struct doctor *doctor, const struct guest_device *device);

#endif
