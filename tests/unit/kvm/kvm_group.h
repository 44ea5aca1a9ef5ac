/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef UNIT_KVM_GROUP_H
#define UNIT_KVM_GROUP_H

/* For tests of src/kvm: devices in VMs, in a group with host processes, and the log that they wrote. */

#include "group_server.h"
#include "kvm_machine.h"

#include <ivshmem/kvm.h>

/* ---- a device in a machine -------------------------------------------------------------------- */

struct journal {
	unsigned warnings;
	char warning[512]; /* the last one */
};

struct device {
	struct machine machine;
	struct ivshmem_device_config config;
	struct ivshmem_kvm_config kvm_config;
	struct journal journal;
	struct ivshmem_kvm *kvm;
};

#define DEVICE_SLOT 5

/* A machine, and a configuration of a device with `vectors` vectors; to be changed before
 * device_attach(). */
void device_prepare(
	struct device *device, const struct group *group, unsigned revision, unsigned vectors);
/* Attach it, and wait until it has its vectors. */
void device_attach(struct device *device);
/* Place its BARs, and switch decoding and bus mastering on. */
void device_place(struct device *device);
/* All three. */
void device_open(
	struct device *device, const struct group *group, unsigned revision, unsigned vectors);
void device_close(struct device *device);

/* Dispatch for a moment. */
void device_wait(struct device *device);

/* Dispatch until `expression` is true; it has to become so. */
#define DEVICE_UNTIL(device, expression)                                                           \
	do {                                                                                       \
		for (unsigned until_ = 0; !(expression); until_++) {                               \
			if (until_ > 2000)                                                         \
				FAIL("never true: %s", #expression);                               \
			device_wait(device);                                                       \
		}                                                                                  \
	} while (0)

void device_config_put(struct device *device, unsigned offset, unsigned size, uint32_t value);
uint32_t device_config_get(struct device *device, unsigned offset, unsigned size);

/* Command register: decoding and bus mastering. */
#define COMMAND        0x04
#define COMMAND_DECODE 0x2
#define COMMAND_MASTER 0x4
#define MSIX_CONTROL   0x42
#define MSIX_ENABLE    0x8000
#define MSIX_MASK_ALL  0x4000
void device_command(struct device *device, unsigned value);
void device_msix(struct device *device, unsigned control);

/* MSI-X table, through the library. Vector i becomes interrupt `interrupt`. */
void device_entry(struct device *device, unsigned vector, uint8_t interrupt, bool masked);
void device_mask(struct device *device, unsigned vector, bool masked);
bool device_pending(struct device *device, unsigned vector);

struct ivshmem_kvm_status device_status(struct device *device);

#endif
