/* SPDX-License-Identifier: BSD-2-Clause */

/* Accesses to memory that others have shrunk. */

#include <region/guard.h>

#include <test.h>

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define SIZE 8192U /* two pages, of which the second is gone */

static volatile uint8_t *memory;

void
test_before(void)
{
	_test_close_ int fd = CHECK_SYS(memfd_create("guard", MFD_CLOEXEC));
	void *address;

	CHECK_SYS(ftruncate(fd, SIZE));
	address = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(address != MAP_FAILED);
	memory = address;
	memory[1] = 7;
	CHECK_SYS(ftruncate(fd, SIZE / 2));
}

struct access {
	size_t offset;
	uint8_t value;
};

static void
load(void *data)
{
	struct access *access = data;

	access->value = memory[access->offset];
}

static void
store(void *data)
{
	const struct access *access = data;

	memory[access->offset] = access->value;
}

TEST(what_is_gone_fails)
{
	struct access there = {1, 0}, gone = {SIZE / 2, 99};

	CHECK_EQ(guard_acquire(), 0);
	for (unsigned i = 0; i < 3; i++) {
		CHECK_EQ(guard_run(load, &there), 0);
		CHECK_EQ(there.value, 7);
		CHECK_EQ(guard_run(load, &gone), -EFAULT);
		CHECK_EQ(gone.value, 99);
		CHECK_EQ(guard_run(store, &gone), -EFAULT);
	}
	guard_release();
}

/* As in a thread that takes no signals; and it is blocked again afterwards. */
TEST(while_it_is_blocked)
{
	struct access gone = {SIZE - 1, 0};
	sigset_t all, now;

	CHECK_EQ(guard_acquire(), 0);
	sigfillset(&all);
	CHECK_SYS(sigprocmask(SIG_SETMASK, &all, NULL));
	CHECK_EQ(guard_run(load, &gone), -EFAULT);
	CHECK_SYS(sigprocmask(SIG_SETMASK, NULL, &now));
	CHECK_EQ(sigismember(&now, SIGBUS), 1);
	CHECK_EQ(sigismember(&now, SIGTERM), 1);
	sigemptyset(&all);
	CHECK_SYS(sigprocmask(SIG_SETMASK, &all, NULL));
	CHECK_EQ(guard_run(load, &gone), -EFAULT);
	CHECK_SYS(sigprocmask(SIG_SETMASK, NULL, &now));
	CHECK_EQ(sigismember(&now, SIGBUS), 0);
	guard_release();
}

static volatile sig_atomic_t n_caught;
static sigjmp_buf resume;

static void
theirs(int number)
{
	(void)number;
	n_caught++;
	siglongjmp(resume, 1);
}

static void
late(int number)
{
	guard_fault();
	theirs(number);
}

static void
set_handler(void (*handler)(int number))
{
	CHECK_SYS(sigaction(SIGBUS, &(struct sigaction){.sa_handler = handler}, NULL));
}

/* What we guard does not reach the handler, and what we do not guard does. */
static void
check_handler(void)
{
	struct access gone = {SIZE / 2, 0};

	CHECK_EQ(guard_run(load, &gone), -EFAULT);
	CHECK_EQ(guard_run(load, &gone), -EFAULT);
	CHECK_EQ(n_caught, 0);
	if (sigsetjmp(resume, 1) == 0)
		load(&gone);
	CHECK_EQ(n_caught, 1);
}

static void
check_handler_is(void (*handler)(int number))
{
	struct sigaction now;

	CHECK_SYS(sigaction(SIGBUS, NULL, &now));
	CHECK(now.sa_handler == handler);
}

/* A program's own handler gets what is not ours, and is put back. */
TEST(another_handler)
{
	struct access gone = {SIZE / 2, 0};

	set_handler(theirs);
	CHECK_EQ(guard_acquire(), 0);
	CHECK_EQ(guard_acquire(), 0);
	check_handler();
	guard_release();
	CHECK_EQ(guard_run(load, &gone), -EFAULT);
	guard_release();
	check_handler_is(theirs);
}

/* One that came later has to ask us first; it stays when we go. */
TEST(a_handler_over_ours)
{
	CHECK_EQ(guard_acquire(), 0);
	set_handler(late);
	check_handler();
	guard_release();
	check_handler_is(late);
}

/* Without a handler, what is not ours ends the process as ever, be it a fault or a signal. */
static void
check_death(bool by_fault)
{
	pid_t pid = test_fork();
	int status;

	if (pid == 0) {
		struct access gone = {SIZE / 2, 0};

		signal(SIGBUS, SIG_DFL);
		if (guard_acquire() == 0 && by_fault)
			load(&gone);
		raise(SIGBUS);
		_exit(0);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK(WIFSIGNALED(status));
	CHECK_EQ(WTERMSIG(status), SIGBUS);
}

TEST(what_is_not_ours_ends_the_process)
{
	check_death(true);
	check_death(false);
}

static void *
fail_often(void *data)
{
	struct access gone = {SIZE / 2, 0}, there = {1, 0};

	for (unsigned i = 0; i < 500; i++) {
		CHECK_EQ(guard_run(load, &gone), -EFAULT);
		CHECK_EQ(guard_run(load, &there), 0);
	}
	return data;
}

TEST(threads)
{
	pthread_t threads[4];

	CHECK_EQ(guard_acquire(), 0);
	for (unsigned i = 0; i < 4; i++)
		CHECK_EQ(pthread_create(&threads[i], NULL, fail_often, NULL), 0);
	for (unsigned i = 0; i < 4; i++)
		CHECK_EQ(pthread_join(threads[i], NULL), 0);
	guard_release();
}
