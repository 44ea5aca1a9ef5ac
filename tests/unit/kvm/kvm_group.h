/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef UNIT_KVM_GROUP_H
#define UNIT_KVM_GROUP_H

/*
 * For tests of src/kvm: a group, a device in a VM, and a host process, which is the other peer. There is
 * one of each at a time. What is open of them closes when the test ends, or with the next one.
 */

#include "group_server.h"
#include "kvm_machine.h"

#include <ivshmem/abi.h>
#include <ivshmem/kvm.h>
#include <test.h>

struct device {
	struct machine machine;
	struct ivshmem_device_config config;
	struct ivshmem_kvm_config kvm_config;
	struct ivshmem_kvm *kvm;
	unsigned warnings;
	char warning[512]; /* the last one */
};

extern struct group group;
extern struct device device;
extern struct ivshmem_client *client;

#define DEVICE_SLOT 5

/* A machine, and a configuration of a device with `vectors` vectors, of the group if there is one; to be
 * changed before device_attach(). */
void device_prepare(unsigned revision, unsigned vectors);
/* Attach it, and wait until it has its vectors. */
void device_attach(void);
/* Place its BARs, and switch decoding and bus mastering on. */
void device_place(void);
void device_close(void);

/* ---- the device is the peer 0, and the client the peer 1 -------------------------------------- */

/* The group and the configuration. */
void scene_prepare(unsigned revision, unsigned vectors);
/* The device is attached and placed, the client joins, and both know each other. */
void scene_begin(void);
void scene_open(unsigned revision, unsigned vectors);
void scene_close(void);

/* ---- what they do ----------------------------------------------------------------------------- */

/* Dispatch for a moment. */
void device_wait(void);

/* Dispatch until `expression` is true; it has to become so. */
#define DEVICE_UNTIL(expression)                                                                   \
	do {                                                                                       \
		for (unsigned until_ = 0; !(expression); until_++) {                               \
			if (until_ > 2000)                                                         \
				FAIL("never true: %s", #expression);                               \
			device_wait();                                                             \
		}                                                                                  \
	} while (0)

/* The client waits until the device has `vectors` vectors to be rung. */
void client_expects(unsigned vectors);
/* The client rings the device. */
void client_rings(unsigned vector);
/* The client is rung, once. */
void client_hears(unsigned vector);

void guest_store(uint32_t address, uint32_t value);
uint32_t guest_load(uint32_t address);
bool interrupted(uint8_t interrupt);
bool wait_interrupt(uint8_t interrupt);

void config_put(unsigned offset, unsigned size, uint32_t value);
uint32_t config_get(unsigned offset, unsigned size);

/* Command register: decoding and bus mastering. */
#define COMMAND        0x04
#define COMMAND_DECODE 0x2
#define COMMAND_MASTER 0x4
#define MSIX_CONTROL   0x42
#define MSIX_ENABLE    0x8000
#define MSIX_MASK_ALL  0x4000
void command(unsigned value);
void msix(unsigned control);

/* MSI-X table, through the library. Vector i becomes interrupt `interrupt`. */
void entry_write(unsigned vector, uint8_t interrupt, bool masked);
void entry_mask(unsigned vector, bool masked);
bool is_pending(unsigned vector);

struct ivshmem_kvm_status status(void);

/* How many warnings there were, and words of the last one. */
void check_warnings(unsigned n, const char *words);

#endif
