/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef BENCH_PROC_H
#define BENCH_PROC_H

/*
 * What the kernel tells about another process, the measured server, in /proc. Functions return 0 or
 * a negative errno and leave their result alone on failure.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct proc_memory {
	uint64_t rss_kib;    /* resident now, exact (smaps_rollup) */
	uint64_t vm_rss_kib; /* VmRSS; the kernel batches its updates per CPU, so it lags behind */
	uint64_t vm_hwm_kib; /* highest VmRSS so far */
};

/* Nanoseconds that all threads of the process spent on a CPU, ended threads not included. */
int proc_cpu_ns(pid_t pid, uint64_t *ret_ns);

int proc_memory(pid_t pid, struct proc_memory *ret_memory);

int proc_fd_count(pid_t pid, unsigned *ret_count);

/* Is there such a process, and has it not ended yet (a zombie has)? */
bool proc_alive(pid_t pid);

/*
 * Wait until the process sleeps and its CPU time stands still, or it is gone, `limit_ms` at most;
 * whether that came. The time of a thread that is running is up to a tick behind, so this comes
 * before every reading of it.
 */
bool proc_settle(pid_t pid, unsigned limit_ms);

#endif
