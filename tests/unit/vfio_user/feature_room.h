/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef UNIT_FEATURE_ROOM_H
#define UNIT_FEATURE_ROOM_H

/* A device that may be migrated, in the room (vfio_user_room.h), and what its VMM asks of it. */

#include <irq_words.h>
#include <vfio_user_room.h>

#define MEMORY  (64 << 10)
#define VECTORS 4
#define GET     VFIO_USER_FEATURE_GET
#define SET     VFIO_USER_FEATURE_SET
#define PROBE   VFIO_USER_FEATURE_PROBE
#define STATE   VFIO_USER_FEATURE_MIG_DEVICE_STATE
#define FLAGS   VFIO_USER_FEATURE_MIGRATION
#define HEAD    8

/* It has id 0 and all its vectors. Without `msi`, a pin. */
void feature_open(unsigned revision, enum ivshmem_device_master master, bool msi);
/* Revision 1, the master. */
void feature_open_master(void);

/* One request; 0 or the errno of the reply. */
unsigned feature(uint32_t argsz, uint32_t flags, const void *data, size_t length);
unsigned set_state(uint32_t state);
uint32_t state_of(void);

/* To a state where it must be able to go. */
void go(uint32_t state);

/* Read `size` bytes of the stream; how many came, or the errno, negative. */
int64_t read_data(uint32_t argsz, uint32_t size);
unsigned write_data(uint32_t argsz, uint32_t size, const void *data, size_t length);

/* The VMM's eventfds, the first `n` of which become those of interrupt index `index`. */
void set_irqs(uint32_t index, unsigned n);
/* Whether one was written since the last call. */
bool fired(unsigned vector);

/* Ring one of our own vectors with the doorbell, and let the loop see it if `seen`. */
void ring_self(unsigned vector, bool seen);

#endif
