/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef REGION_GUARD_H
#define REGION_GUARD_H

/*
 * Accesses to mapped memory that may vanish. Anybody who may write to an object that is not sealed
 * can shrink it, and a file system can be full. An access then causes SIGBUS, which ends the
 * process.
 *
 * Theory of operation
 *
 * System calls that copy (pread(), process_vm_readv()) would fail instead, but some processors copy
 * byte by byte, and an access of the guest must be one load or one store. So the access is an
 * ordinary one, and a handler of SIGBUS jumps back to the place where guard_run() began it, if it
 * did so in this thread. Any other SIGBUS goes to the handler that was there before ours. A handler
 * that is installed later must call guard_fault() first.
 *
 * Without users there is no handler, and guard_run() costs nothing: sealed memory needs no guard.
 */

/* Install the handler. The last of as many calls of guard_release() puts the previous one back. 0
 * or a negative errno. Any thread. */
int guard_acquire(void);
void guard_release(void);

/*
 * Call `access`, which must do nothing but load and store, because it may end at any of them.
 * Returns 0, or -EFAULT if a load or store failed. The caller may have SIGBUS blocked. Any thread.
 */
int guard_run(void (*access)(void *data), void *data);

/* To be called by a handler of SIGBUS. Does not return if guard_run() is at work in this thread. */
void guard_fault(void);

#endif
