/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef DEVICE_REPORT_H
#define DEVICE_REPORT_H

/* Sentences for humans. */

struct ivshmem_device;
struct ivshmem_error;

enum warning { WARNING_IOEVENTFD = 1u << 0, WARNING_IRQFD = 1u << 1, WARNING_MAPPING = 1u << 2 };

/* Fill in `reterr` and return `code`. */
int report_error(struct ivshmem_error *reterr, int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Once per kind and device, because a guest could repeat what leads to it. */
void report_warning(struct ivshmem_device *device, enum warning kind, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#endif
