/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Theory of operation
 *
 * The parent runs the server as its child, in one of these states:
 *
 *	STARTING	the server has not said READY=1 yet
 *	SERVING		it has
 *	WAITING		there is none; a timer starts the next one
 *
 * The only thing that the parent holds is what the server has given it to keep: one descriptor, the
 * group (handover.h), from the end of one server until the next one has taken it. The parent knows
 * nothing of what is in it.
 *
 *	SIGHUP		SIGTERM to the server, which hands over the group and ends; in STARTING,
 *			that happens when it serves; in WAITING, the next server starts at once
 *	SIGTERM, SIGINT	SIGINT to the server, which lets its clients go; the parent ends after it
 *
 *	the server has ended, and
 *	  the parent holds a group	the next one starts: at once if this one had served; otherwise
 *					after a pause, and again and again, because clients depend on it
 *	  it was asked to		the parent ends
 *	  it never served		the parent ends: the options are wrong, and the log says so
 *	  it crashed			the next one starts after a pause, with a new group; after
 *					FAILURES_MAX in a row the parent gives up
 *
 * Each pause is twice as long as the one before, up to PAUSE_MAX. A server that has served for
 * STEADY ends the row.
 *
 * The server is two processes (common/guardian.h), of which the first is our child. If that one is killed,
 * the other one becomes our child, because we are the reaper of those without a parent, and says so
 * (MAINPID).
 *
 * Messages come to a socket in a directory of our own. Only those of the server's processes count.
 * What they have sent before they ended is in the queue when we hear of the end, so the queue is read
 * first.
 */
#include <supervise.h>

#include <base/clock.h>
#include <base/fd.h>
#include <base/list.h>
#include <base/log.h>
#include <base/parse.h>
#include <common/supervisor.h>
#include <loop/loop.h>
#include <sockets.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define PARENT_NAME  "IVSHMEM_SERVER_PARENT" /* tells the server who its parent is */
#define FIRST_FD     3
#define PAUSE_MIN    (100 * NSEC_PER_MSEC)
#define PAUSE_MAX    (6400 * NSEC_PER_MSEC)
#define STEADY       (60 * NSEC_PER_SEC)
#define FAILURES_MAX 10
#define MESSAGE_MAX  4096
#define FDS_MAX      253 /* SCM_MAX_FD */

enum state { WAITING, STARTING, SERVING };

struct parent {
	const struct log *log;
	char **argv;
	char program[PATH_MAX];
	struct loop *loop;
	struct loop_source signals, messages;
	struct loop_timer pause;
	struct sockaddr_un address;
	enum state state;
	pid_t server;   /* 0 while WAITING, and while we do not know it yet */
	int group;      /* what we keep; -1: nothing */
	bool ending;    /* we were asked to */
	bool again;     /* we were asked to restart a server that has not served yet */
	bool served;    /* some server has */
	uint64_t since; /* clock_now() when it began to serve */
	unsigned failures;
	int status; /* our own, at the end */
};

bool
supervise_is_server(void)
{
	const char *parent = getenv(PARENT_NAME);
	unsigned pid;

	return parent && parse_uint(parent, 1, INT_MAX, &pid) == 0 && (pid_t)pid == getppid();
}

static void
end(struct parent *parent, int status)
{
	parent->status = status;
	loop_quit(parent->loop);
}

/* ---- starting a server ----------------------------------------------------------------------- */

/* In the child. */
static void
become_server(const struct parent *parent, pid_t parent_pid)
{
	char text[16];
	sigset_t none;

	/* SIGHUP may come to all processes of a terminal, and ends no server. */
	signal(SIGHUP, SIG_IGN);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	snprintf(text, sizeof(text), "%d", (int)parent_pid);
	setenv(PARENT_NAME, text, 1);
	setenv("NOTIFY_SOCKET", parent->address.sun_path, 1);
	unsetenv("LISTEN_FDS");
	if (parent->group >= 0) {
		/* Everything else is close-on-exec, and what is at this number is of no use here. */
		if (parent->group == FIRST_FD) {
			fcntl(FIRST_FD, F_SETFD, 0);
		} else {
			dup2(parent->group, FIRST_FD);
		}
		snprintf(text, sizeof(text), "%d", (int)getpid());
		setenv("LISTEN_PID", text, 1);
		setenv("LISTEN_FDS", "1", 1);
		setenv("LISTEN_FDNAMES", HANDOVER_NAME, 1);
	}
	execv(parent->program, parent->argv);
	log_error(parent->log, "cannot run '%s': %s", parent->program, strerror(errno));
	_exit(EXIT_FAILURE);
}

static void start_later(struct parent *parent);

static void
start(struct parent *parent)
{
	pid_t self = getpid(), child = fork();

	if (child == 0)
		become_server(parent, self);
	if (child < 0) {
		log_error(parent->log, "cannot start a server: %s", strerror(errno));
		start_later(parent);
		return;
	}
	parent->server = child;
	parent->state = STARTING;
}

static void
pause_over(struct loop_timer *timer)
{
	start(container_of(timer, struct parent, pause));
}

static void
start_later(struct parent *parent)
{
	uint64_t pause = PAUSE_MIN;

	parent->server = 0;
	parent->state = WAITING;
	for (unsigned i = 0; i < parent->failures && pause < PAUSE_MAX; i++)
		pause *= 2;
	parent->failures++;
	log_info(parent->log, "the next server starts in %.1f seconds, or on SIGHUP",
		(double)pause / (double)NSEC_PER_SEC);
	loop_timer_set(parent->loop, &parent->pause, clock_now() + pause, pause_over);
}

/* ---- restarting ------------------------------------------------------------------------------ */

static void
restart(struct parent *parent)
{
	parent->again = parent->state == STARTING;
	if (parent->state == SERVING && parent->server == 0) {
		parent->again = true;
	} else if (parent->state == SERVING) {
		log_info(parent->log, "restarting the server");
		kill(parent->server, SIGTERM);
	} else if (parent->state == WAITING) {
		loop_timer_cancel(&parent->pause);
		start(parent);
	}
}

/* ---- what the server says -------------------------------------------------------------------- */

static bool
has_line(const char *text, const char *line)
{
	size_t length = strlen(line);

	for (const char *at = text; at; at = strchr(at, '\n')) {
		at += *at == '\n';
		if (strncmp(at, line, length) == 0 && (at[length] == '\n' || !at[length]))
			return true;
	}
	return false;
}

/* The process that was our child is gone, and the other one of the server has taken its place. */
static void
take_successor(struct parent *parent, const char *text)
{
	const char *line = strstr(text, "MAINPID=");
	int pid = 0;

	if (!line || sscanf(line, "MAINPID=%d", &pid) != 1 || pid <= 1)
		return;
	parent->server = pid;
	/* There may be a supervisor above us, too, and it knows us. */
	if (parent->ending)
		kill(parent->server, SIGINT);
	else if (parent->again)
		restart(parent);
}

/* `fds` has the descriptors that came along; what is kept is -1 afterwards. */
static void
take_message(struct parent *parent, const char *text, int *fds, size_t n_fds)
{
	bool of_group = has_line(text, "FDNAME=" HANDOVER_NAME);

	if (has_line(text, "FDSTOREREMOVE=1") && of_group) {
		parent->group = fd_close(parent->group);
	} else if (has_line(text, "FDSTORE=1") && of_group && n_fds == 1) {
		fd_close(parent->group);
		parent->group = fd_take(&fds[0]);
	}
	if (parent->state == SERVING && parent->server == 0)
		take_successor(parent, text);
	if (has_line(text, "READY=1") && parent->state == STARTING) {
		parent->state = SERVING;
		parent->served = true;
		parent->since = clock_now();
		/* There may be a supervisor above us, too. */
		supervisor_notify("READY=1\nMAINPID=%d", (int)getpid());
		if (parent->again)
			restart(parent);
	}
}

/* Our child, or a child of it, or one whose parent was our child. Without /proc nobody can tell, and
 * the directory of the socket is private. */
static bool
is_server(const struct parent *parent, pid_t pid)
{
	char path[64];
	int of = 0;
	FILE *file;

	if (pid <= 0)
		return false; /* a process of another namespace */
	if (pid == parent->server)
		return true;
	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	file = fopen(path, "re");
	if (!file)
		return true;
	/* The name is in parentheses, and may have any letter: ours has no space. */
	if (fscanf(file, "%*d %*s %*c %d", &of) != 1)
		of = 0;
	fclose(file);
	return of == getpid() || (parent->server > 0 && of == parent->server);
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
	if (is_server(parent, sender.pid) && !(message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)))
		take_message(parent, text, fds, n_fds);
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

/* ---- how the server ends --------------------------------------------------------------------- */

static void
server_ended(struct parent *parent, int status)
{
	bool asked = WIFEXITED(status) && WEXITSTATUS(status) == 0;
	bool had_served = parent->state == SERVING;
	char how[48];

	if (WIFSIGNALED(status))
		snprintf(how, sizeof(how), "was killed by signal %d", WTERMSIG(status));
	else
		snprintf(how, sizeof(how), "ended with status %d", WEXITSTATUS(status));
	parent->server = 0;
	if (had_served && clock_now() - parent->since > STEADY)
		parent->failures = 0;
	if (parent->ending) {
		end(parent, asked || !had_served ? EXIT_SUCCESS : EXIT_FAILURE);
	} else if (parent->group >= 0 && had_served) {
		start(parent);
	} else if (parent->group >= 0) {
		log_warning(parent->log,
			"the new server %s before it took over the group; its clients wait", how);
		start_later(parent);
	} else if (asked) {
		end(parent, EXIT_SUCCESS);
	} else if (!parent->served) {
		end(parent, EXIT_FAILURE);
	} else if (parent->failures >= FAILURES_MAX) {
		log_error(parent->log, "the server %s, again; giving up", how);
		end(parent, EXIT_FAILURE);
	} else {
		log_warning(parent->log,
			"the server %s, and did not hand over its group: the clients have lost it, and the "
			"next server makes a new one with new memory",
			how);
		start_later(parent);
	}
}

static void
reap(struct parent *parent)
{
	int status, other;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (parent->state == WAITING || (parent->server != 0 && pid != parent->server))
			continue;
		while (receive(parent))
			;
		/* If there is another process of it, that one goes on. */
		if (WIFSIGNALED(status) && waitpid(-1, &other, WNOHANG) == 0)
			parent->server = 0;
		else
			server_ended(parent, status);
	}
}

/* ---- what we are told ------------------------------------------------------------------------ */

static void
signals_came(struct loop_source *source, uint32_t events)
{
	struct parent *parent = container_of(source, struct parent, signals);
	struct signalfd_siginfo info;

	(void)events;
	while (read(source->fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		if (info.ssi_signo == SIGCHLD) {
			reap(parent);
		} else if (info.ssi_signo == SIGHUP) {
			if (!parent->ending)
				restart(parent);
		} else {
			parent->ending = true;
			if (parent->server > 0)
				kill(parent->server, SIGINT);
			else if (parent->state == WAITING)
				end(parent, EXIT_SUCCESS);
		}
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

static int
prepare(struct parent *parent)
{
	/* The path, and not what it leads to now: an upgrade puts another file there. */
	ssize_t n = readlink("/proc/self/exe", parent->program, sizeof(parent->program) - 1);
	int r = n < 0 ? -errno : loop_new(&parent->loop);

	prctl(PR_SET_CHILD_SUBREAPER, 1);
	if (r == 0)
		r = watch_signals(parent);
	if (r == 0)
		r = make_socket(parent);
	return r;
}

static void
done(struct parent *parent)
{
	loop_timer_cancel(&parent->pause);
	loop_del(&parent->signals);
	loop_del(&parent->messages);
	fd_close(parent->signals.fd);
	fd_close(parent->messages.fd);
	fd_close(parent->group);
	remove_socket(parent);
	loop_free(parent->loop);
}

int
supervise(char **argv, const struct log *log)
{
	struct parent parent = {.log = log,
		.argv = argv,
		.signals.fd = -1,
		.messages.fd = -1,
		.group = -1,
		.status = EXIT_FAILURE};
	int r = prepare(&parent);

	if (r == 0) {
		start(&parent);
		r = loop_run(parent.loop);
	}
	if (r < 0)
		log_error(log, "cannot supervise a server: %s", strerror(-r));
	done(&parent);
	return parent.status;
}
