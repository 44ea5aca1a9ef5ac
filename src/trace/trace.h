/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TRACE_TRACE_H
#define TRACE_TRACE_H

/*
 * A flight recorder: the last events of this process, for whoever wants to know afterwards.
 *
 * Theory of operation
 *
 * The ring has room for 4096 events of 64 bytes, in static memory. It needs no descriptor, no mapping
 * and no preparation, and is there from the first event on, however the process ends. A library and
 * the program that uses it have a ring each, if each holds this code.
 *
 * Writing: an atomic addition gives an event its number, and with it its place; the words of the entry
 * follow, and at last their check sum. There are no locks, and nobody waits: any number of threads
 * write, and signal handlers may. A thread that is overtaken by 4096 others while it writes spoils an
 * entry, and so does one that dies; the check sum shows this to readers. An event takes about 10 ns,
 * most of it for the time. So the time is the processor's counter and not that of clock_gettime(),
 * which costs three times as much. The anchor has two moments by both clocks, of which the last
 * one is renewed, and readers compute the time of all others from them. It is as good as the counter: it must run at one rate, the same for
 * all processors.
 *
 * What is recorded: whatever is rare or costs a system call anyway. Sending and receiving records
 * without sleeping or waking, and accesses of a guest to registers, have no event. The arguments are
 * numbers and the names of channels, never what the memory holds.
 *
 * Reading from another process: the anchor begins with a magic and is in the writable data of the
 * program or library, which /proc/PID/maps shows as a private mapping of the file. So `ivshmem trace`
 * finds it in shared and in static programs, with and without symbols, and reads /proc/PID/mem. The
 * process need not do anything, and may be stopped, hang, or be full of threads. A memfd would be found
 * in /proc/PID/fd instead, but each process would pay for it with a descriptor and a mapping, also if
 * there is no descriptor left; after a fork(), two would write to one ring; and a core would not have
 * it. The price is that the kernel demands more for /proc/PID/mem: where kernel.yama.ptrace_scope is
 * set, only root may look into processes that are not its children.
 *
 * After a fork(), the child has a copy of the ring, with what happened before.
 *
 * USDT: where <sys/sdt.h> was there at compile time, each event is also a probe ivshmem:NAME with the
 * same arguments, which is one instruction that does nothing until a tracer replaces it.
 */

#include <trace/events.h>
#include <trace/layout.h>

#include <base/clock.h>

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#ifdef TRACE_USDT
#include <sys/sdt.h>
#define TRACE_PROBE(name, a, b, c, d) STAP_PROBE4(ivshmem, name, a, b, c, d)
#else
#define TRACE_PROBE(name, a, b, c, d) (void)0
#endif

extern struct trace_anchor trace_anchor;

void trace_write(uint32_t event, uint64_t a, uint64_t b, uint64_t c, uint64_t d);

/* TRACE(name, up to four arguments): record an event of events.h. Any thread, any signal handler. */
#define TRACE(name, ...) TRACE_FOUR(name, __VA_ARGS__, 0, 0, 0, 0)

#define TRACE_FOUR(name, a, b, c, d, ...)                                                          \
	do {                                                                                       \
		const uint64_t trace_a_ = (uint64_t)(a), trace_b_ = (uint64_t)(b);                 \
		const uint64_t trace_c_ = (uint64_t)(c), trace_d_ = (uint64_t)(d);                 \
                                                                                                   \
		TRACE_PROBE(name, trace_a_, trace_b_, trace_c_, trace_d_);                         \
		if (__builtin_expect(__atomic_load_n(&trace_anchor.on, __ATOMIC_RELAXED) != 0, 1)) \
			trace_write(TRACE_##name, trace_a_, trace_b_, trace_c_, trace_d_);         \
	} while (0)

/* The first or second word of a name, for an argument of kind s: both need one. */
static inline uint64_t
trace_name_word(const char *name, unsigned word)
{
	char bytes[16] = {0};
	uint64_t value;

	memcpy(bytes, name, strnlen(name, sizeof(bytes)));
	memcpy(&value, bytes + (size_t)8 * word, sizeof(value));
	return value;
}

#define TRACE_NAME(name) trace_name_word(name, 0), trace_name_word(name, 1)

/* The time of an event: a counter that costs less than clock_now(). */
static inline uint64_t
trace_ticks(void)
{
#if defined(__x86_64__) || defined(__i386__)
	return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
	uint64_t ticks;

	__asm__ volatile("mrs %0, cntvct_el0" : "=r"(ticks));
	return ticks;
#else
	return clock_now();
#endif
}

static inline struct trace_moment
trace_moment_now(void)
{
	struct trace_moment moment = {.ns = clock_now()};

	moment.ticks = trace_ticks();
	return moment;
}

/* Record from now on, or do not. Returns whether it was on; it is at the start. */
bool trace_switch(bool on);

/*
 * Write the last `most` events (0: all) as text to a descriptor, a line for each. Async-signal-safe.
 * Returns 0, -ETIMEDOUT if the descriptor takes nothing for a second, or another negative errno.
 */
int trace_dump(int fd, unsigned most);

#endif
