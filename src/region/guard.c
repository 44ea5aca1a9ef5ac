/* SPDX-License-Identifier: BSD-2-Clause */
#include <region/guard.h>

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stddef.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned users;
static struct sigaction previous;

/* Where guard_run() began. The TLS model makes sure that a handler does not have to allocate it. */
static _Thread_local sigjmp_buf *volatile begun __attribute__((tls_model("initial-exec")));

void
guard_fault(void)
{
	if (begun)
		siglongjmp(*begun, 1);
}

static void
handle(int number, siginfo_t *info, void *context)
{
	/* The kernel sent it, and not kill(). */
	if (info->si_code > 0)
		guard_fault();
	if (previous.sa_flags & SA_SIGINFO) {
		previous.sa_sigaction(number, info, context);
	} else if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) {
		previous.sa_handler(number);
	} else if (previous.sa_handler == SIG_DFL || info->si_code > 0) {
		/* Now the process ends: when it repeats the access, or when we return. */
		signal(number, SIG_DFL);
		if (info->si_code <= 0)
			raise(number);
	}
}

int
guard_acquire(void)
{
	struct sigaction action = {.sa_sigaction = handle, .sa_flags = SA_SIGINFO | SA_ONSTACK};
	int r = 0;

	sigemptyset(&action.sa_mask);
	pthread_mutex_lock(&lock);
	if (users == 0 && sigaction(SIGBUS, &action, &previous) < 0)
		r = -errno;
	else
		__atomic_store_n(&users, users + 1, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&lock);
	return r;
}

void
guard_release(void)
{
	struct sigaction now;

	pthread_mutex_lock(&lock);
	__atomic_store_n(&users, users - 1, __ATOMIC_RELAXED);
	/* A handler that was installed over ours stays. */
	if (users == 0 && sigaction(SIGBUS, NULL, &now) == 0 && now.sa_flags & SA_SIGINFO &&
		now.sa_sigaction == handle)
		sigaction(SIGBUS, &previous, NULL);
	pthread_mutex_unlock(&lock);
}

int
guard_run(void (*access)(void *data), void *data)
{
	sigjmp_buf here;
	sigset_t bus, before;
	volatile int r = -EFAULT;

	if (__atomic_load_n(&users, __ATOMIC_RELAXED) == 0) {
		access(data);
		return 0;
	}
	/* While SIGBUS is blocked, a SIGBUS of the processor ends the process at once. */
	sigemptyset(&bus);
	sigaddset(&bus, SIGBUS);
	pthread_sigmask(SIG_UNBLOCK, &bus, &before);
	if (sigsetjmp(here, 0) == 0) {
		begun = &here;
		access(data);
		r = 0;
	}
	begun = NULL;
	/* Also restores what the handler blocked. */
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return r;
}
