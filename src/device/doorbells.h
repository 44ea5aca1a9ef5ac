/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef DEVICE_DOORBELLS_H
#define DEVICE_DOORBELLS_H

/* The peers that can be rung, and the two doorbells. */

#include <device/model.h>

int doorbells_init(struct ivshmem_device *device);
void doorbells_done(struct ivshmem_device *device);

/* Add a vector of `peer`. Returns its number, or -ENOSPC. */
int doorbells_add_vector(struct ivshmem_device *device, uint16_t peer);

/* How many of our own vectors the server has announced. */
unsigned doorbells_own_vectors(const struct ivshmem_device *device);

/* Take a ring of our `vector` that the host has not seen yet. Returns whether there was one. */
bool doorbells_take_ring(struct ivshmem_device *device, unsigned vector);

/* The guest wrote `value` to the register. */
void doorbells_register_write(struct ivshmem_device *device, uint32_t value);

#endif
