/* SPDX-License-Identifier: BSD-2-Clause */
#include <device/report.h>

#include <device/model.h>

#include <stdarg.h>
#include <stdio.h>

void
report_warning(struct ivshmem_device *device, enum warning kind, const char *format, ...)
{
	char message[256];
	va_list args;

	if (!device->ops.log || (device->warned & kind))
		return;
	device->warned |= kind;
	va_start(args, format);
	vsnprintf(message, sizeof(message), format, args);
	va_end(args);
	device->ops.log(device, IVSHMEM_LOG_WARNING, message, device->config.data);
}
