/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef COMMON_SIGNALS_H
#define COMMON_SIGNALS_H

/* What a service does about signals: it ends in good order, and nothing else ends it. */

#include <loop/loop.h>

#include <signal.h>

/*
 * Ignore what must not end a service, at its very start:
 *
 *	SIGHUP	 its terminal went away, or somebody rotates logs: the VMs still need it
 *	SIGPIPE	 a client went away, or whoever read the output: write() says so
 *	SIGXFSZ	 a file would exceed RLIMIT_FSIZE: ftruncate() and write() say so, with EFBIG
 */
void signals_ignore(void);

/*
 * Block SIGTERM and SIGINT, before anything exists that would have to be removed: they wait until
 * somebody reads them from the descriptor of signals_watch().
 */
void signals_hold(void);

/* Let `loop` call `fn` when SIGTERM or SIGINT is there. source->fd is made here. */
int signals_watch(struct loop *loop, struct loop_source *source, loop_source_fn fn);

/* Read the signal, from within `fn`. Whether there was one. */
bool signals_take(struct loop_source *source);

/* Undo signals_watch(). Harmless if the source is not watched. */
void signals_unwatch(struct loop_source *source);

#endif
