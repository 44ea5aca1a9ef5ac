/* SPDX-License-Identifier: BSD-2-Clause */

/* The functions of trace.h, which each library has for itself. */
#include <trace/trace.h>

#pragma GCC visibility push(default)
#include <ivshmem/trace.h>
#pragma GCC visibility pop

void
ivshmem_trace_mark(const char *text, uint64_t a, uint64_t b)
{
	TRACE(mark, TRACE_NAME(text), a, b);
}

bool
ivshmem_trace_enable(bool on)
{
	return trace_switch(on);
}

int
ivshmem_trace_dump(int fd, unsigned most)
{
	return trace_dump(fd, most);
}

bool
ivshmem_device_trace_enable(bool on)
{
	return trace_switch(on);
}

int
ivshmem_device_trace_dump(int fd, unsigned most)
{
	return trace_dump(fd, most);
}
