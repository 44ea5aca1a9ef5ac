/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef DEVICE_REPORT_H
#define DEVICE_REPORT_H

/* Warnings for humans. */

struct ivshmem_device;

enum warning { WARNING_IOEVENTFD = 1u << 0, WARNING_IRQFD = 1u << 1, WARNING_MAPPING = 1u << 2 };

/* Log a warning, once for each kind and device: a guest could repeat what leads to it. */
void report_warning(struct ivshmem_device *device, enum warning kind, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#endif
