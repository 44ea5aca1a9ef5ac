/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_TRACE_H
#define IVSHMEM_TRACE_H

/*
 * The flight recorder of libivshmem and of libivshmem-device.
 *
 * Each library keeps the last 4096 events of its process in memory: attaching and detaching, peers that
 * join and leave, rings, sleeping and waking, channels that begin and end, errors. `ivshmem trace PID`
 * shows them, whatever the process is doing, and needs nothing from it. docs/tracing.md has more.
 *
 * An event costs about 10 ns. Sending and receiving without sleeping or waking has no events.
 *
 * The functions are for the library that has their name; a program with both libraries has two
 * recorders. Any thread may call them at any time.
 */

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Write the last `most` events to a descriptor, 0: all of them. Each is a line: the seconds of
 * CLOCK_MONOTONIC, the thread, the event, and its arguments. Async-signal-safe, so a handler of SIGSEGV
 * may call it. Returns 0, -ETIMEDOUT if the descriptor takes nothing for a second, or another negative
 * errno.
 */
int ivshmem_trace_dump(int fd, unsigned most);
int ivshmem_device_trace_dump(int fd, unsigned most);

/* Record from now on, or do not. Returns whether it did; it does from the start. */
bool ivshmem_trace_enable(bool on);
bool ivshmem_device_trace_enable(bool on);

/*
 * Record an event of the application, with the first 16 bytes of a text and two numbers. It appears
 * among the others as mark. Async-signal-safe.
 */
void ivshmem_trace_mark(const char *text, uint64_t a, uint64_t b);

#ifdef __cplusplus
}
#endif

#endif
