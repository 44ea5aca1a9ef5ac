/* SPDX-License-Identifier: BSD-2-Clause */
#include <parent.h>

#include <base/fd.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define MESSAGE_MAX 4096
#define FDS_MAX     253 /* SCM_MAX_FD */

/* ---- what the servers say -------------------------------------------------------------------- */

/* Of the processes of a server, all may speak. One that is dead has no group any more. */
static struct parent_server *
find_server(struct parent *parent, pid_t pid)
{
	/* 0 is a process of another namespace, and no server. */
	pid_t group = pid > 0 ? getpgid(pid) : -1;

	list_for_each (item, &parent->servers) {
		struct parent_server *one = container_of(item, struct parent_server, link);

		if (pid > 0 && (one->pid == pid || one->speaker == pid))
			return one;
		if (group > 0 && group == one->group) {
			one->speaker = pid;
			return one;
		}
	}
	return NULL;
}

/* The next message. False: there is none. */
static bool
receive(struct parent *parent)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(struct ucred)) + CMSG_SPACE(FDS_MAX * sizeof(int))];
	} control;
	char text[MESSAGE_MAX + 1];
	struct iovec iov = {text, MESSAGE_MAX};
	struct msghdr message = {.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control)};
	struct ucred sender = {0};
	struct parent_server *server;
	int fds[FDS_MAX];
	size_t n_fds = 0;
	ssize_t n = recvmsg(parent->messages.fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	if (n < 0)
		return errno == EINTR;
	for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header;
		header = CMSG_NXTHDR(&message, header)) {
		if (header->cmsg_level != SOL_SOCKET)
			continue;
		if (header->cmsg_type == SCM_CREDENTIALS)
			memcpy(&sender, CMSG_DATA(header), sizeof(sender));
		if (header->cmsg_type == SCM_RIGHTS) {
			n_fds = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
			memcpy(fds, CMSG_DATA(header), n_fds * sizeof(int));
		}
	}
	text[n] = '\0';
	server = find_server(parent, sender.pid);
	if (server && !(message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)))
		server->said(server, text, fds, n_fds);
	for (size_t i = 0; i < n_fds; i++)
		fd_close(fds[i]);
	return true;
}

static void
messages_came(struct loop_source *source, uint32_t events)
{
	(void)events;
	/* One for each round: others may write faster than we read. */
	receive(container_of(source, struct parent, messages));
}

/* ---- what we are told ------------------------------------------------------------------------ */

static void
reap_server(struct parent *parent, struct parent_server *one)
{
	int status, other;
	pid_t pid;

	while (one->group > 0 && (pid = waitpid(-one->group, &status, WNOHANG)) > 0) {
		if (one->pid != 0 && pid != one->pid)
			continue;
		while (receive(parent))
			;
		/* If there is another process of it, that one goes on. */
		if (WIFSIGNALED(status) && waitpid(-one->group, &other, WNOHANG) == 0) {
			one->pid = 0;
			continue;
		}
		one->group = 0;
		one->ended(one, status); /* which may free it */
		return;
	}
}

/* One SIGCHLD may tell of several ends. */
static void
reap(struct parent *parent)
{
	list_for_each_safe (item, &parent->servers)
		reap_server(parent, container_of(item, struct parent_server, link));
}

static void
signals_came(struct loop_source *source, uint32_t events)
{
	struct parent *parent = container_of(source, struct parent, signals);
	struct signalfd_siginfo info;

	(void)events;
	while (read(source->fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		if (info.ssi_signo == SIGCHLD)
			reap(parent);
		else
			parent->told(parent, (int)info.ssi_signo);
	}
}

/* ---- all of it ------------------------------------------------------------------------------- */

static int
watch_signals(struct parent *parent)
{
	sigset_t signals;
	int fd, r;

	sigemptyset(&signals);
	sigaddset(&signals, SIGHUP);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGCHLD);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	/* One that is ignored would not wait to be read. */
	signal(SIGHUP, SIG_DFL);
	signal(SIGCHLD, SIG_DFL);
	fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0)
		return -errno;
	r = loop_add(parent->loop, &parent->signals, fd, EPOLLIN, signals_came);
	if (r < 0)
		fd_close(fd);
	return r;
}

/* Nobody else may reach the socket, so it is in a directory that only we can enter. */
static int
make_socket(struct parent *parent)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR"),
		   *in[] = {runtime ? runtime : "/run", "/tmp"};
	const int on = 1;
	_fd_cleanup_ int fd = -1;
	char directory[80];
	bool made = false;
	int r;

	for (unsigned i = 0; i < 2 && !made; i++)
		made = snprintf(directory, sizeof(directory), "%s/ivshmem-server-XXXXXX", in[i]) <
			       (int)sizeof(directory) &&
		       mkdtemp(directory);
	if (!made)
		return -errno;
	parent->address.sun_family = AF_UNIX;
	snprintf(
		parent->address.sun_path, sizeof(parent->address.sun_path), "%s/notify", directory);
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) < 0 ||
		bind(fd, (const struct sockaddr *)&parent->address, sizeof(parent->address)) < 0)
		return -errno;
	r = loop_add(parent->loop, &parent->messages, fd, EPOLLIN, messages_came);
	if (r == 0)
		fd_take(&fd);
	return r;
}

static void
remove_socket(const struct parent *parent)
{
	char directory[sizeof(parent->address.sun_path)];
	char *slash;

	snprintf(directory, sizeof(directory), "%s", parent->address.sun_path);
	slash = strrchr(directory, '/');
	if (!slash)
		return;
	unlink(directory);
	*slash = '\0';
	rmdir(directory);
}

int
parent_open(struct parent *parent, void (*told)(struct parent *parent, int signal))
{
	ssize_t n;
	int r;

	*parent = (struct parent){.told = told, .signals.fd = -1, .messages.fd = -1};
	list_init(&parent->servers);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	/* The path, and not what it leads to now: an upgrade puts another file there. */
	n = readlink("/proc/self/exe", parent->program, sizeof(parent->program) - 1);
	r = n < 0 ? -errno : loop_new(&parent->loop);
	if (r == 0)
		r = watch_signals(parent);
	if (r == 0)
		r = make_socket(parent);
	return r;
}

void
parent_close(struct parent *parent)
{
	loop_del(&parent->signals);
	loop_del(&parent->messages);
	fd_close(parent->signals.fd);
	fd_close(parent->messages.fd);
	remove_socket(parent);
	loop_free(parent->loop);
}

const char *
parent_address(const struct parent *parent)
{
	return parent->address.sun_path;
}
