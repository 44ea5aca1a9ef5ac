/* SPDX-License-Identifier: BSD-2-Clause */
#include <common/crash.h>

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

/* So many events are written to stderr, where a log may be that somebody reads. */
#define FEW 100

/* A thread that crashes, too, gives the first one so long. */
#define OTHERS_MS 5000

static const int signals[] = {SIGSEGV, SIGBUS, SIGABRT, SIGILL, SIGFPE};
static const char *const names[] = {"SIGSEGV", "SIGBUS", "SIGABRT", "SIGILL", "SIGFPE"};

#define N_SIGNALS (sizeof(signals) / sizeof(signals[0]))

static struct {
	const char *program;
	const char *path;
	int (*dump)(int fd, unsigned most);
	struct sigaction before[N_SIGNALS];
	pid_t reporter; /* the thread that crashed first; 0: none */
} watched;

/* A stack that overflows has no room for a handler. Other threads handle their signals on their own. */
static char stack[65536];

static void
say(int fd, const char *text)
{
	struct pollfd room = {.fd = fd, .events = POLLOUT};
	ssize_t written = poll(&room, 1, 1000) == 1 ? write(fd, text, strlen(text)) : 0;

	(void)written;
}

static int
open_file(void)
{
	/* Nobody else may read it, or choose what is overwritten. */
	return open(watched.path,
		O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, 0600);
}

static void
report(size_t i)
{
	int fd = watched.path ? open_file() : -1;

	say(STDERR_FILENO, watched.program);
	say(STDERR_FILENO, ": crashed by ");
	say(STDERR_FILENO, names[i]);
	if (fd >= 0) {
		say(STDERR_FILENO, "; what happened last is in ");
		say(STDERR_FILENO, watched.path);
		say(STDERR_FILENO, "\n");
	} else {
		say(STDERR_FILENO, "; what happened last (seconds, thread, event):\n");
	}
	watched.dump(fd >= 0 ? fd : STDERR_FILENO, fd >= 0 ? 0 : FEW);
	if (fd >= 0)
		close(fd);
}

static void
on_crash(int number, siginfo_t *info, void *context)
{
	pid_t thread = gettid(), reporter = 0;
	size_t i = 0;

	(void)context;
	while (i < N_SIGNALS && signals[i] != number)
		i++;
	if (i == N_SIGNALS)
		return;
	if (__atomic_compare_exchange_n(&watched.reporter, &reporter, thread, false,
		    __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		report(i);
	else if (reporter != thread)
		poll(NULL, 0, OTHERS_MS); /* we would end the process under its hands */
	sigaction(number, &watched.before[i], NULL);
	if (info->si_code <= 0)
		raise(number);
}

void
crash_watch(const char *program, const char *path, int (*dump)(int fd, unsigned most))
{
	const stack_t alternative = {.ss_sp = stack, .ss_size = sizeof(stack)};
	struct sigaction action = {.sa_sigaction = on_crash, .sa_flags = SA_SIGINFO | SA_ONSTACK};
	stack_t now;

	watched.program = program;
	watched.path = path;
	watched.dump = dump;
	/* A sanitizer may have one. */
	if (sigaltstack(NULL, &now) == 0 && now.ss_flags & SS_DISABLE)
		sigaltstack(&alternative, NULL);
	for (size_t i = 0; i < N_SIGNALS; i++)
		sigaction(signals[i], &action, &watched.before[i]);
}
