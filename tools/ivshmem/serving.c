/* SPDX-License-Identifier: BSD-2-Clause */
#include "serving.h"

#include "output.h"
#include "participate.h"

#include <base/clock.h>
#include <base/fd.h>

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

void
serving_init(struct serving *serving, const struct cli *cli, unsigned retry_ms)
{
	*serving = (struct serving){
		.cli = cli, .retry_ms = retry_ms, .epoll = -1, .signals = -1, .status = STATUS_OK};
}

void
serving_end(struct serving *serving)
{
	serving->epoll = fd_close(serving->epoll);
	serving->signals = fd_close(serving->signals);
	participate_no_more(serving->cli, serving->participant);
	serving->participant = NULL;
}

int
serving_watch(struct serving *serving, int fd, uint32_t events, void *what)
{
	struct epoll_event event = {.events = events, .data.ptr = what};

	return epoll_ctl(serving->epoll, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

static int
take_signals(struct serving *serving, const int *signals)
{
	sigset_t set;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	for (; *signals; signals++)
		sigaddset(&set, *signals);
	sigprocmask(SIG_BLOCK, &set, NULL);
	serving->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return serving->signals < 0 ? -errno : 0;
}

int
serving_begin(struct serving *serving, const int *signals)
{
	int fd = ivshmem_participant_fd(serving->participant);
	int r = take_signals(serving, signals);

	if (fd < 0)
		return fd;
	if (r < 0)
		return r;
	serving->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (serving->epoll < 0)
		return -errno;
	r = serving_watch(serving, fd, EPOLLIN, &serving->participant);
	return r < 0 ? r : serving_watch(serving, serving->signals, EPOLLIN, &serving->signals);
}

bool
serving_take_event(struct serving *serving, const struct epoll_event *event, int *ret_signal)
{
	struct signalfd_siginfo info;
	bool is_signal = event->data.ptr == &serving->signals;

	*ret_signal = 0;
	if (is_signal && read(serving->signals, &info, sizeof(info)) == sizeof(info))
		*ret_signal = (int)info.ssi_signo;
	return is_signal || event->data.ptr == &serving->participant;
}

bool
serving_may_go_on(const struct serving *serving)
{
	return serving->may_accept && serving->retry_at == 0 && !serving->quit;
}

void
serving_look_at_clock(struct serving *serving)
{
	if (serving->retry_at != 0 && clock_now() >= serving->retry_at)
		serving->retry_at = 0;
}

void
serving_try_later(struct serving *serving)
{
	serving->retry_at = clock_now() + serving->retry_ms * NSEC_PER_MSEC;
}

void
serving_try_now(struct serving *serving)
{
	serving->retry_at = 0;
}

void
serving_wait_for_room(struct serving *serving, const char *who, int error)
{
	if (!serving->warned)
		note(serving->cli, "no room for %s: %s", who,
			error == -ENOSPC
				? "our area of the memory is full (see --size, and 'ivshmem "
				  "format')"
				: strerror(-error));
	serving->warned = true;
	serving_try_later(serving);
}

bool
serving_is_shortage(int error)
{
	return error == -ENOSPC || error == -EMFILE || error == -ENFILE || error == -ENOMEM ||
	       error == -ENOBUFS;
}

void
serving_stop(struct serving *serving, int error)
{
	if (!serving->quit)
		serving->status = participate_fail(error);
	serving->quit = true;
}

bool
serving_is_fatal(int error)
{
	return error == -ESTALE || error == -ENODEV;
}

void
serving_tell_of_lost_server(struct serving *serving)
{
	const char *why = participate_lost_server();

	if (why && !serving->told_of_server)
		fail("warning: the server is lost, and whoever comes to the next one does not find "
		     "us; start again: %s",
			why);
	serving->told_of_server = why != NULL;
}

int
serving_timeout(const struct serving *serving, bool busy, uint64_t next)
{
	if (busy || serving_may_go_on(serving))
		return 0;
	if (serving->retry_at != 0 && serving->retry_at < next)
		next = serving->retry_at;
	return next == UINT64_MAX ? -1 : channel_timeout(next, 60000);
}
