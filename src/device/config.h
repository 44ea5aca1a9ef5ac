/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef DEVICE_CONFIG_H
#define DEVICE_CONFIG_H

/* Config space. */

#include <device/model.h>

#define CONFIG_VENDOR           0x00
#define CONFIG_DEVICE           0x02
#define CONFIG_COMMAND          0x04
#define CONFIG_STATUS           0x06
#define CONFIG_REVISION         0x08
#define CONFIG_CLASS            0x09 /* interface, subclass, base class */
#define CONFIG_CACHE_LINE       0x0c
#define CONFIG_LATENCY          0x0d
#define CONFIG_BAR              0x10
#define CONFIG_SUBSYSTEM_VENDOR 0x2c
#define CONFIG_SUBSYSTEM        0x2e
#define CONFIG_CAPABILITIES     0x34
#define CONFIG_INTERRUPT_LINE   0x3c
#define CONFIG_INTERRUPT_PIN    0x3d
#define CONFIG_HEADER_END       0x40

#define COMMAND_IO           0x0001
#define COMMAND_MEMORY       0x0002
#define COMMAND_MASTER       0x0004
#define COMMAND_PARITY       0x0040
#define COMMAND_SERR         0x0100
#define COMMAND_INTX_DISABLE 0x0400

#define STATUS_INTERRUPT    0x0008
#define STATUS_CAPABILITIES 0x0010

/* To be called after msix_init(), on which BARs and capabilities depend. */
void config_init(struct ivshmem_device *device);
void config_reset(struct ivshmem_device *device);
uint16_t config_word(const struct ivshmem_device *device, unsigned offset);

/* Put a number into the contents, `space`, or into `writable`. */
void config_put_word(uint8_t *bytes, unsigned offset, unsigned value);
void config_put_dword(uint8_t *bytes, unsigned offset, uint32_t value);

/* Store those bits of `length` bytes that a guest may write. */
void config_store(
	struct ivshmem_device *device, unsigned offset, const uint8_t *bytes, size_t length);

#endif
