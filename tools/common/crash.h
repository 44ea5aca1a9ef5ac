/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef COMMON_CRASH_H
#define COMMON_CRASH_H

/*
 * What a program does when it crashes: it writes down what happened last, and ends as it would have
 * without us, with a core if cores are wanted.
 *
 * Theory of operation: the handler of SIGSEGV, SIGBUS, SIGABRT, SIGILL and SIGFPE calls nothing that is
 * not async-signal-safe. It works once: a crash in the handler itself ends the process, and another
 * thread that crashes waits for some seconds. Afterwards, what was set for the signal before us is set
 * again: the default, or a sanitizer. If the processor raised the signal, the instruction raises it
 * again when the handler returns; if somebody sent it, the handler sends it again. A handler of SIGBUS
 * that is installed later calls ours for what it does not know (region/guard.h), or puts it back.
 */

/*
 * At the start of a program. `dump` is trace_dump(), or that of the library that the program uses.
 * `path` is the file that the events go to, which is made, or written anew, when the program crashes;
 * NULL: the last of them go to stderr. The strings must stay.
 */
void crash_watch(const char *program, const char *path, int (*dump)(int fd, unsigned most));

#endif
