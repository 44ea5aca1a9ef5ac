/* SPDX-License-Identifier: BSD-2-Clause */
#include <base/log.h>

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

void
log_printf(const struct log *log, enum log_level level, const char *format, ...)
{
	char message[1024];
	int saved = errno;
	va_list args;

	if (!log_enabled(log, level))
		return;
	va_start(args, format);
	vsnprintf(message, sizeof(message), format, args);
	va_end(args);
	log->write(log->data, level, message);
	errno = saved;
}
