/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef DEVICE_TRIGGERS_H
#define DEVICE_TRIGGERS_H

/* Triggers (ioeventfds): with them, doorbell writes do not take the way through this process. */

#include <device/model.h>

/* To be called after config_init(), which decides what BARs there are. */
int triggers_init(struct ivshmem_device *device);
void triggers_done(struct ivshmem_device *device);

/* `peer` has new vectors. */
void triggers_add(struct ivshmem_device *device, uint16_t peer);
/* `peer` is about to go. Returns whether triggers_fill() is worth a try when it is gone. */
bool triggers_remove(struct ivshmem_device *device, uint16_t peer);
/* There may be room for triggers that found none. */
void triggers_fill(struct ivshmem_device *device);

/* BARs may have moved. */
void triggers_sync(struct ivshmem_device *device);

#endif
