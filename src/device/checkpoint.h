/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef DEVICE_CHECKPOINT_H
#define DEVICE_CHECKPOINT_H

/*
 * The state of the device for a process that goes on when this one was killed. It is that of
 * ivshmem_device_save() in the native form, but of any device and not of the master alone, and
 * without looking for rings. Peers and memory come from the server's messages (wire/log.h).
 */

#include <device/personality.h>

#include <stdbool.h>
#include <stddef.h>

/* Whether the state may be another one than at the last checkpoint. */
bool device_is_touched(const struct ivshmem_device *device);

/* Write ivshmem_device_state_size() bytes, of the native form. */
void device_checkpoint(struct ivshmem_device *device, void *buffer);

/* Errors are those of ivshmem_device_load(). */
int device_recover(struct ivshmem_device *device, const void *buffer, size_t size,
	struct ivshmem_error *reterr);

#endif
