/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef REGION_GUARD_H
#define REGION_GUARD_H

/*
 * Accesses to mapped memory that may vanish: whoever may write an object that is not sealed can
 * shrink it, and a file system can be full. The processor's answer to an access is then SIGBUS,
 * which ends the process.
 *
 * Theory of operation. System calls that copy (pread(), process_vm_readv()) would fail instead, but
 * they copy byte by byte on some processors, and an access of the guest is to be one load or one
 * store. So the access is made as ever, and a handler of SIGBUS jumps back to where it began, if it
 * was begun by guard_run() in the same thread. Any other SIGBUS goes to the handler that was there
 * before ours. One that is installed later has to call guard_fault() first.
 *
 * Without users there is no handler, and guard_run() costs nothing: sealed memory needs no guard.
 */

/* Have a handler; as often as it is acquired it is to be released, and then the previous one is
 * put back. 0 or a negative errno. Any thread. */
int guard_acquire(void);
void guard_release(void);

/*
 * Call `access`, which must do nothing but load and store: it may end at any of them. Returns 0, or
 * -EFAULT if one of them failed. SIGBUS need not be unblocked. Any thread.
 */
int guard_run(void (*access)(void *data), void *data);

/* From a handler of SIGBUS: does not return if guard_run() is at work in this thread. */
void guard_fault(void);

#endif
