/* SPDX-License-Identifier: BSD-2-Clause */
#include <base/error.h>

#include <ivshmem/common.h>

#include <stdarg.h>
#include <stdio.h>

int
error_set(struct ivshmem_error *reterr, int code, const char *format, ...)
{
	va_list args;

	if (!reterr)
		return code;
	reterr->code = code;
	va_start(args, format);
	vsnprintf(reterr->message, sizeof(reterr->message), format, args);
	va_end(args);
	return code;
}
