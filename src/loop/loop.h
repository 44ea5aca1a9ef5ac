/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef LOOP_LOOP_H
#define LOOP_LOOP_H

/*
 * An event loop on epoll: descriptors, timers, and work that is deferred to the end of a round.
 *
 * Sources are embedded in their owners, and a callback finds the owner with container_of(). A
 * callback may remove any source, its own included, and free the owner at once: the loop then
 * forgets what it still had to say about that source in this round.
 *
 * One round (loop_dispatch) waits, then handles descriptors and timers, and then the work that was
 * deferred before or during the round. Work that this work defers waits for the next round, which
 * does not sleep. The descriptor of the loop (loop_fd) can be polled, so that one loop can be
 * inside another. It does not show deferred work, so an inner loop uses a timer that is due at once
 * instead.
 */

#include <base/list.h>

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

struct loop;

struct loop_source;
typedef void (*loop_source_fn)(struct loop_source *source, uint32_t events);

/* A watched descriptor. Zero-initialised is valid and means not added. */
struct loop_source {
	struct loop *loop;
	int fd;
	uint32_t events;
	loop_source_fn fn;
};

struct loop_timer;
typedef void (*loop_timer_fn)(struct loop_timer *timer);

/* Zero-initialised is valid and means not set. */
struct loop_timer {
	struct loop *loop;
	struct list link; /* loop::timers, soonest first */
	uint64_t deadline;
	loop_timer_fn fn;
};

struct loop_work;
typedef void (*loop_work_fn)(struct loop_work *work);

/* Zero-initialised is valid and means not deferred. */
struct loop_work {
	struct loop *loop;
	struct list link; /* loop::work */
	loop_work_fn fn;
};

/* -EMFILE, -ENOMEM. */
int loop_new(struct loop **ret_loop);
/* All sources must have been removed. Returns NULL. */
struct loop *loop_free(struct loop *loop);

int loop_fd(const struct loop *loop);

/*
 * One round; waits at most `timeout_ms` (-1: for ever) unless work is deferred. Returns how many
 * callbacks ran, or -EINTR.
 */
int loop_dispatch(struct loop *loop, int timeout_ms);

/* How many rounds there were. */
uint64_t loop_rounds(const struct loop *loop);

/* Rounds until loop_quit(). 0 or a negative errno. */
int loop_run(struct loop *loop);
void loop_quit(struct loop *loop);

/* Watch `fd` (borrowed) for `events` (EPOLL...). -ENOMEM, -ENOSPC (max_user_watches), -EPERM (a
 * file). */
int loop_add(
	struct loop *loop, struct loop_source *source, int fd, uint32_t events, loop_source_fn fn);
/* Change the events watched; cheap if they do not change. */
void loop_set_events(struct loop_source *source, uint32_t events);
/* Harmless if not added. Must be called before the descriptor is closed (W5 in tests/platform). */
void loop_del(struct loop_source *source);

/* Call `fn` once at `deadline`, in nanoseconds of clock_now(). Replaces an earlier deadline; one
 * that is past is due in the next round. */
void loop_timer_set(
	struct loop *loop, struct loop_timer *timer, uint64_t deadline, loop_timer_fn fn);
void loop_timer_cancel(struct loop_timer *timer);
bool loop_timer_is_set(const struct loop_timer *timer);

/* Run `fn` at the end of this round; once, however often it is deferred. */
void loop_defer(struct loop *loop, struct loop_work *work, loop_work_fn fn);
void loop_work_cancel(struct loop_work *work);

#endif
