/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef DEVICE_EFFECTS_H
#define DEVICE_EFFECTS_H

#include <device/model.h>

/* Ask the host for the difference between what it does and what it should do; model.h has the
 * theory. */
void effects_sync(struct ivshmem_device *device);

/* Whether the device requests INTx, even if its pin is disabled. */
bool intx_requested(const struct ivshmem_device *device);

#endif
