/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_SERVING_H
#define IVSHMEM_SERVING_H

/*
 * What forward, listen and agent have in common: a participant that serves many at a time in one
 * loop. With vfio only one process of a guest can use the device, so no other one could help.
 *
 * Who comes and finds no room or no descriptor waits: the one that was accepted already, and others in
 * their queues. It is tried again when something else has ended, and every now and then, because the
 * other side may need a moment until it gives its memory back.
 */

#include "cli.h"

#include <ivshmem/channel.h>

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

/* How many events a loop takes at a time. */
#define SERVING_EVENTS 64

struct serving {
	const struct cli *cli;
	struct ivshmem_participant *participant; /* owned */
	unsigned retry_ms;

	int epoll, signals;
	bool may_accept;   /* somebody may have come */
	uint64_t retry_at; /* but not before this time; 0: at once */
	bool warned;       /* that there is no room */
	bool told_of_server;
	bool quit;
	enum status status;
};

/* Wait for the participant, and for these signals, which end with 0, and which have no other effect
 * from now on. SIGPIPE has none, either. 0 or a negative errno. serving_end() in any case. */
int serving_begin(struct serving *serving, const int *signals);

/* Before that, serving_init(). Leaves, and closes what is ours. */
void serving_init(struct serving *serving, const struct cli *cli, unsigned retry_ms);
void serving_end(struct serving *serving);

/* 0 or a negative errno: -EPERM is for files. `what` is in the data of the events. */
int serving_watch(struct serving *serving, int fd, uint32_t events, void *what);

/* Whether the event is one of ours, and not of something that serving_watch() was called for. Then
 * `*ret_signal` is a signal that has come, or 0. */
bool serving_take_event(struct serving *serving, const struct epoll_event *event, int *ret_signal);

/* The listening socket or channel should be asked for who comes. */
bool serving_may_go_on(const struct serving *serving);
/* Is it time to try again? Then it is tried. */
void serving_look_at_clock(struct serving *serving);
void serving_try_later(struct serving *serving);
/* Try again now: room may be free. */
void serving_try_now(struct serving *serving);
/* There is no room for `who`, such as "caller 3": say so, once, and try again later. */
void serving_wait_for_room(struct serving *serving, const char *who, int error);
/* Whether an error means that there is no room, no memory or no descriptor at the moment. */
bool serving_is_shortage(int error);

/* The end of everything, because of a call on the participant or the listener. */
void serving_stop(struct serving *serving, int error);
/* Whether such an error is the end of everything: the area is not ours any more, or the device is
 * gone. */
bool serving_is_fatal(int error);

/* Say it if the server is lost. Who is connected stays connected. */
void serving_tell_of_lost_server(struct serving *serving);

/* How long the loop may sleep, in milliseconds, or -1 for ever: not at all if it is `busy`, and not
 * beyond `next`, a time of clock_now(), or UINT64_MAX. */
int serving_timeout(const struct serving *serving, bool busy, uint64_t next);

#endif
