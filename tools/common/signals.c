/* SPDX-License-Identifier: BSD-2-Clause */
#include <common/signals.h>

#include <base/fd.h>

#include <errno.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>

void
signals_ignore(void)
{
	signal(SIGHUP, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
}

static void
ending_signals(sigset_t *ret_signals)
{
	sigemptyset(ret_signals);
	sigaddset(ret_signals, SIGTERM);
	sigaddset(ret_signals, SIGINT);
}

void
signals_hold(void)
{
	sigset_t signals;

	ending_signals(&signals);
	sigprocmask(SIG_BLOCK, &signals, NULL);
}

int
signals_watch(struct loop *loop, struct loop_source *source, loop_source_fn fn)
{
	sigset_t signals;
	int fd, r;

	ending_signals(&signals);
	fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0)
		return -errno;
	r = loop_add(loop, source, fd, EPOLLIN, fn);
	if (r < 0)
		fd_close(fd);
	return r;
}

int
signals_take(struct loop_source *source)
{
	struct signalfd_siginfo info;

	if (read(source->fd, &info, sizeof(info)) != (ssize_t)sizeof(info))
		return 0;
	return (int)info.ssi_signo;
}

void
signals_unwatch(struct loop_source *source)
{
	if (!source->loop)
		return;
	loop_del(source);
	source->fd = fd_close(source->fd);
}
