/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef DEVICE_MSIX_H
#define DEVICE_MSIX_H

#include <device/model.h>

#define ENTRY_SIZE           16
#define ENTRY_CONTROL_MASKED 0x1

int msix_init(struct ivshmem_device *device);
void msix_done(struct ivshmem_device *device);
void msix_reset(struct ivshmem_device *device);
bool msix_enabled(const struct ivshmem_device *device);

/* Deliver `vector`, now or when it opens. */
void msix_interrupt(struct ivshmem_device *device, unsigned vector);

/* Sync one vector, whose entry, announcement or pending bit may have changed. */
void msix_sync_vector(struct ivshmem_device *device, unsigned vector);
/* Sync all vectors, if the gate moved or vectors_changed is set. */
void msix_sync(struct ivshmem_device *device);

#endif
