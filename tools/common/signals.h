/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef COMMON_SIGNALS_H
#define COMMON_SIGNALS_H

/* How a service treats signals: SIGTERM and SIGINT end it in good order, and no others end it. */

#include <loop/loop.h>

#include <signal.h>

/*
 * Ignore the signals that must not end a service. Call this at its very start.
 *
 *	SIGHUP	 its terminal went away, or somebody rotates logs: the VMs still need it
 *	SIGPIPE	 a client or the reader of the output went away: write() says so
 *	SIGXFSZ	 a file would exceed RLIMIT_FSIZE: ftruncate() and write() say so, with EFBIG
 */
void signals_ignore(void);

/*
 * Block SIGTERM and SIGINT: they wait until they are read from the descriptor of signals_watch(). Call
 * this before anything exists that has to be removed at the end.
 */
void signals_hold(void);

/* Have `loop` call `fn` when SIGTERM or SIGINT comes. Makes source->fd. */
int signals_watch(struct loop *loop, struct loop_source *source, loop_source_fn fn);

/* For `fn`: read the signal. Returns its number, or 0 if there was none. */
int signals_take(struct loop_source *source);

/* Undo signals_watch(). Does nothing if the source is not watched. */
void signals_unwatch(struct loop_source *source);

#endif
