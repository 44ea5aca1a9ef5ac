/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Theory of operation
 *
 * epoll_wait() fills a batch of at most BATCH events, each of which points to its source. The batch
 * is a member of the loop, so that loop_del() can blank the events of a source that is removed
 * while the loop handles the batch. After loop_del() returns, nothing in the loop refers to the
 * source.
 *
 * All timers share one timerfd, which is set to the soonest deadline. They are in a sorted list,
 * because an owner here has a handful of timers, not thousands.
 */
#include <loop/loop.h>

#include <base/clock.h>
#include <base/fd.h>

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>

#define BATCH 256

struct loop {
	int epoll_fd;
	struct list timers; /* loop_timer::link, soonest first */
	struct list work;   /* loop_work::link */
	uint64_t armed;     /* what the timerfd is set to; 0 is disarmed */
	int n_ran;          /* callbacks in this round */
	uint64_t rounds;
	struct loop_source timer_source;
	bool quit;

	/* The batch that is being handled. The pointer of a blanked event is NULL. */
	struct epoll_event events[BATCH];
	int n_events;
};

static void loop_timers_due(struct loop_source *source, uint32_t events);

int
loop_new(struct loop **ret_loop)
{
	struct loop *loop = calloc(1, sizeof(*loop));
	int timer_fd = -1, r;

	if (!loop)
		return -ENOMEM;
	list_init(&loop->timers);
	list_init(&loop->work);
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (loop->epoll_fd >= 0)
		timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (timer_fd < 0) {
		r = -errno;
		goto fail;
	}
	r = loop_add(loop, &loop->timer_source, timer_fd, EPOLLIN, loop_timers_due);
	if (r < 0)
		goto fail;
	*ret_loop = loop;
	return 0;

fail:
	fd_close(timer_fd);
	fd_close(loop->epoll_fd);
	free(loop);
	return r;
}

struct loop *
loop_free(struct loop *loop)
{
	if (loop) {
		fd_close(loop->timer_source.fd);
		fd_close(loop->epoll_fd);
		free(loop);
	}
	return NULL;
}

int
loop_fd(const struct loop *loop)
{
	return loop->epoll_fd;
}

int
loop_add(struct loop *loop, struct loop_source *source, int fd, uint32_t events, loop_source_fn fn)
{
	struct epoll_event event = {.events = events, .data.ptr = source};

	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
		return -errno;
	source->loop = loop;
	source->fd = fd;
	source->events = events;
	source->fn = fn;
	return 0;
}

void
loop_set_events(struct loop_source *source, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = source};

	if (!source->loop || source->events == events)
		return;
	/* Cannot fail for a descriptor that was added and not closed. */
	epoll_ctl(source->loop->epoll_fd, EPOLL_CTL_MOD, source->fd, &event);
	source->events = events;
}

void
loop_del(struct loop_source *source)
{
	struct loop *loop = source->loop;

	if (!loop)
		return;
	epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, source->fd, NULL);
	for (int i = 0; i < loop->n_events; i++)
		if (loop->events[i].data.ptr == source)
			loop->events[i].data.ptr = NULL;
	source->loop = NULL;
}

static struct loop_timer *
timer_at(struct list *link)
{
	return container_of(link, struct loop_timer, link);
}

/* Point the timerfd at the soonest timer. */
static void
loop_arm(struct loop *loop)
{
	struct itimerspec spec = {0};
	uint64_t deadline = 0;

	if (!list_empty(&loop->timers)) {
		deadline = timer_at(loop->timers.next)->deadline;
		if (deadline == 0)
			deadline = 1; /* 0 would disarm */
	}
	if (deadline == loop->armed)
		return;
	loop->armed = deadline;
	spec.it_value.tv_sec = (time_t)(deadline / NSEC_PER_SEC);
	spec.it_value.tv_nsec = (long)(deadline % NSEC_PER_SEC);
	timerfd_settime(loop->timer_source.fd, TFD_TIMER_ABSTIME, &spec, NULL);
}

void
loop_timer_set(struct loop *loop, struct loop_timer *timer, uint64_t deadline, loop_timer_fn fn)
{
	struct list *where = &loop->timers;

	if (timer->loop)
		list_remove(&timer->link);
	timer->loop = loop;
	timer->deadline = deadline;
	timer->fn = fn;
	/* Timers mostly expire in the order in which they were set, so search from the end. */
	while (where->prev != &loop->timers && timer_at(where->prev)->deadline > deadline)
		where = where->prev;
	list_insert_before(where, &timer->link);
	loop_arm(loop);
}

void
loop_timer_cancel(struct loop_timer *timer)
{
	struct loop *loop = timer->loop;

	if (!loop)
		return;
	timer->loop = NULL;
	list_remove(&timer->link);
	loop_arm(loop);
}

bool
loop_timer_is_set(const struct loop_timer *timer)
{
	return timer->loop != NULL;
}

static void
loop_timers_due(struct loop_source *source, uint32_t events)
{
	struct loop *loop = container_of(source, struct loop, timer_source);
	uint64_t now = clock_now(), expirations;
	struct list due;

	(void)events;
	if (read(source->fd, &expirations, sizeof(expirations)) < 0 && errno == EAGAIN)
		return; /* it was set again after it fired */
	loop->armed = 0;
	/* Detach all that are due first: a timer that sets itself again, however early, waits for
	 * the next round. */
	list_init(&due);
	while (!list_empty(&loop->timers) && timer_at(loop->timers.next)->deadline <= now) {
		struct list *link = loop->timers.next;

		list_remove(link);
		list_append(&due, link);
	}
	while (!list_empty(&due)) {
		struct loop_timer *timer = timer_at(due.next);

		timer->loop = NULL;
		list_remove(&timer->link);
		timer->fn(timer);
		loop->n_ran++;
	}
	loop_arm(loop);
}

void
loop_defer(struct loop *loop, struct loop_work *work, loop_work_fn fn)
{
	if (work->loop)
		return;
	work->loop = loop;
	work->fn = fn;
	list_append(&loop->work, &work->link);
}

void
loop_work_cancel(struct loop_work *work)
{
	if (!work->loop)
		return;
	work->loop = NULL;
	list_remove(&work->link);
}

static void
loop_do_work(struct loop *loop)
{
	struct list round;

	/* Work that is deferred from here on waits for the next round. */
	list_init(&round);
	list_splice(&round, &loop->work);
	while (!list_empty(&round)) {
		struct loop_work *work = container_of(round.next, struct loop_work, link);

		work->loop = NULL;
		list_remove(&work->link);
		work->fn(work);
		loop->n_ran++;
	}
}

int
loop_dispatch(struct loop *loop, int timeout_ms)
{
	if (!list_empty(&loop->work))
		timeout_ms = 0;
	loop->n_ran = 0;
	loop->rounds++;
	loop->n_events = epoll_wait(loop->epoll_fd, loop->events, BATCH, timeout_ms);
	if (loop->n_events < 0) {
		loop->n_events = 0;
		return -errno;
	}
	for (int i = 0; i < loop->n_events; i++) {
		struct loop_source *source = loop->events[i].data.ptr;

		if (!source)
			continue;
		/* The timers count one by one. */
		if (source != &loop->timer_source)
			loop->n_ran++;
		source->fn(source, loop->events[i].events);
	}
	loop->n_events = 0;
	loop_do_work(loop);
	return loop->n_ran;
}

uint64_t
loop_rounds(const struct loop *loop)
{
	return loop->rounds;
}

int
loop_run(struct loop *loop)
{
	loop->quit = false;
	while (!loop->quit) {
		int r = loop_dispatch(loop, -1);

		if (r < 0 && r != -EINTR)
			return r;
	}
	return 0;
}

void
loop_quit(struct loop *loop)
{
	loop->quit = true;
}
