/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Does the harness catch what it promises to catch? A FAIL_TEST is ok only if it fails and its
 * report holds the given words. Because that turning around is itself the harness's word, the last
 * tests run this program again and look at its raw output and exit status.
 */

#include <test.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static bool begun, spoilt;

void
test_before(void)
{
	begun = true;
}

void
test_after(void)
{
	CHECK(!spoilt);
}

/* ---- what must pass ------------------------------------------------------------------------- */

TEST(nothing)
{
}

TEST(checks_that_hold)
{
	char text[] = "text";

	CHECK(1 + 1 == 2);
	CHECK_EQ(-1, (int8_t)-1);
	CHECK_EQ(UINT64_MAX, (uint64_t)-1);
	CHECK_EQ((uint8_t)200, 200L);
	CHECK_EQ(true, 1);
	CHECK_STR("text", text);
	CHECK_STR(NULL, NULL);
	CHECK_MEM("text", text, sizeof(text));
	CHECK_HAS("a text", "text");
	CHECK_ERRNO(close(-1), EBADF);
	CHECK_EQ(CHECK_SYS(getpid()), getpid());
}

TEST(begins_with_what_all_begin_with)
{
	CHECK(begun);
}

TEST(closes_at_the_end_of_the_scope)
{
	unsigned before = test_open_fds();

	for (int i = 0; i < 2; i++) {
		_test_close_ int fd = CHECK_SYS(eventfd(0, EFD_CLOEXEC)), none = -1;
		_test_close_pair_ int ends[2];

		CHECK_SYS(pipe2(ends, O_CLOEXEC));
		CHECK_EQ(write(ends[1], &fd, sizeof(fd)), sizeof(fd));
		test_close(&ends[0]);
		CHECK_EQ(ends[0], none);
		CHECK_EQ(test_open_fds(), before + 2);
	}
	CHECK_EQ(test_open_fds(), before);
}

TEST(opens_and_closes)
{
	unsigned before = test_open_fds();
	int fd = CHECK_SYS(eventfd(0, EFD_CLOEXEC));

	CHECK_EQ(test_open_fds(), before + 1);
	close(fd);
	CHECK_EQ(test_open_fds(), before);
}

TEST(eventfds_are_closed)
{
	int fd = test_eventfd();

	CHECK_EQ(fcntl(fd, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
	CHECK_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
	CHECK(test_eventfd() != fd);
}

FAIL_TEST(sees_a_closed_eventfd, "Bad file descriptor")
{
	close(test_eventfd());
}

static int own;

static void
begin(void)
{
	own = test_eventfd();
}

static void
end(void)
{
	CHECK_EQ(own, -1);
}

TEST_WITH(begins_and_ends, .begin = begin, .end = end)
{
	CHECK(own > 0);
	own = -1;
}

TEST_WITH(ends_badly, .begin = begin, .end = end, .must_fail = "own = ")
{
}

TEST(descriptors_are_limited)
{
	int fd;

	test_limit_fds(1);
	fd = CHECK_SYS(eventfd(0, EFD_CLOEXEC));
	CHECK_EQ(eventfd(0, EFD_CLOEXEC), -1);
	CHECK_EQ(errno, EMFILE);
	test_unlimit_fds();
	CHECK(test_eventfd() > fd);
	close(fd);
}

TEST(forks_and_joins)
{
	pid_t pid = test_fork();

	if (pid == 0)
		_exit(0);
	test_join(pid);
}

TEST(standard_input_is_empty)
{
	char byte;

	CHECK_EQ(read(STDIN_FILENO, &byte, 1), 0);
}

TEST(own_process_group)
{
	CHECK_EQ(getpgrp(), getpid());
}

/* ---- what must fail, and why ---------------------------------------------------------------- */

FAIL_TEST(check_fails, "CHECK(1 + 1 == 3) failed")
{
	CHECK(1 + 1 == 3);
}

FAIL_TEST(check_eq_fails, "getppid() - getppid() = 0")
{
	CHECK_EQ(getppid() - getppid(), 1);
}

FAIL_TEST(check_eq_sees_signs, "UINT64_MAX = 18446744073709551615 (0xffffffffffffffff)")
{
	CHECK_EQ(UINT64_MAX, -1);
}

FAIL_TEST(check_eq_names_errors, "-ENOENT = -2 (ENOENT)")
{
	CHECK_EQ(-ENOENT, 0);
}

FAIL_TEST(check_eq_tells_errno_with_minus_one, "close(-1) = -1 (EPERM, or errno EBADF)")
{
	CHECK_EQ(close(-1), 0);
}

FAIL_TEST(check_str_fails, "\"left\" = \"left\"")
{
	CHECK_STR("left", "right");
}

FAIL_TEST(check_str_sees_null, "NULL = NULL")
{
	CHECK_STR(NULL, "");
}

FAIL_TEST(check_mem_fails, "\"abd\"[2] = 64")
{
	CHECK_MEM("abc", "abd", 3);
}

FAIL_TEST(check_has_fails, "finding \"words\" in \"text\"")
{
	CHECK_HAS("text", "words");
}

FAIL_TEST(check_errno_fails, "CHECK_EQ(errno, ENOENT) failed")
{
	CHECK_ERRNO(close(-1), ENOENT);
}

FAIL_TEST(check_errno_sees_success, "CHECK_EQ(close(dup(0)), -1) failed")
{
	CHECK_ERRNO(close(dup(0)), EBADF);
}

FAIL_TEST(ends_with_what_all_end_with, "CHECK(!spoilt) failed")
{
	spoilt = true;
}

FAIL_TEST(check_sys_fails, "close(-1) failed: Bad file descriptor")
{
	CHECK_SYS(close(-1));
}

FAIL_TEST(check_fails_in_fork, "CHECK(getppid() == 0) failed")
{
	pid_t pid = test_fork();

	if (pid == 0) {
		CHECK(getppid() == 0);
		_exit(0);
	}
	/* The failure counts although this process goes on and finishes. */
	waitpid(pid, NULL, 0);
}

FAIL_TEST(join_sees_a_bad_exit, "ended with status 3")
{
	pid_t pid = test_fork();

	if (pid == 0)
		_exit(3);
	test_join(pid);
}

FAIL_TEST(leaks_descriptor, "leaked file descriptor 3: /dev/null")
{
	CHECK_EQ(CHECK_SYS(open("/dev/null", O_RDONLY | O_CLOEXEC)), 3);
}

FAIL_TEST(leaks_high_descriptor, "anon_inode:[eventfd]")
{
	int fd = CHECK_SYS(eventfd(0, EFD_CLOEXEC));

	CHECK_SYS(fcntl(fd, F_DUPFD_CLOEXEC, 900));
	close(fd);
}

FAIL_TEST(closes_what_is_not_its_own, "closed file descriptor 0")
{
	close(STDIN_FILENO);
}

FAIL_TEST(crashes, "signal")
{
	/* The sanitizer is told to die of it too (see below), whoever catches it first. */
	signal(SIGSEGV, SIG_DFL);
	raise(SIGSEGV);
}

FAIL_TEST(aborts, "signal 6 (Aborted)")
{
	abort();
}

TEST_WITH(times_out, .must_fail = "timed out after 1 s", .timeout_s = 1)
{
	for (;;)
		pause();
}

TEST_WITH(times_out_without_signals, .must_fail = "timed out after 1 s", .timeout_s = 1)
{
	sigset_t all;

	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL);
	for (;;)
		pause();
}

FAIL_TEST(exits_in_the_middle, "exit status 0 in the middle of the test")
{
	exit(0);
}

FAIL_TEST(exits_at_once_in_the_middle, "exit status 7 in the middle of the test")
{
	_exit(7);
}

static void
exit_with_23(void)
{
	_exit(23);
}

FAIL_TEST(fails_at_exit, "exit status 23 after the test")
{
	CHECK_EQ(atexit(exit_with_23), 0);
}

FAIL_TEST(leaves_a_child, "left child processes behind")
{
	if (test_fork() == 0)
		for (;;)
			pause();
}

FAIL_TEST(leaves_a_zombie, "left child processes behind")
{
	pid_t pid = test_fork();

	if (pid == 0)
		_exit(0);
	CHECK_SYS(waitid(P_PID, (id_t)pid, &(siginfo_t){0}, WEXITED | WNOWAIT));
}

FAIL_TEST(leaves_a_daemon, "left 1 detached process running")
{
	pid_t pid = test_fork();

	if (pid == 0) {
		/* Out of the group and away from the parent, as daemons go. */
		if (fork() == 0) {
			setsid();
			for (;;)
				pause();
		}
		_exit(0);
	}
	test_join(pid);
}

/* ---- the program's own word ----------------------------------------------------------------- */

/* Seen only when this program runs itself. */
TEST_WITH(inner_pass, .manual = true)
{
	printf("a passing test's words\n");
}

TEST_WITH(inner_fail, .manual = true)
{
	FAIL("what was tried");
}

TEST_WITH(inner_skip, .manual = true)
{
	SKIP("no reason");
}

TEST_WITH(inner_expected_failure_passes, .manual = true, .must_fail = "anything")
{
}

TEST_WITH(inner_expected_failure_has_other_reason, .manual = true, .must_fail = "this reason")
{
	FAIL("another");
}

TEST_WITH(inner_writes_very_much, .manual = true)
{
	char line[4096];

	memset(line, 'x', sizeof(line));
	line[sizeof(line) - 1] = '\n';
	for (int i = 0; i < 256; i++)
		CHECK_EQ(write(STDOUT_FILENO, line, sizeof(line)), sizeof(line));
	FAIL("all that");
}

TEST_WITH(inner_leavings, .manual = true)
{
	char path[PATH_MAX];
	FILE *file;

	printf("directory %s\n", test_directory());
	printf("object /dev/shm/%s\n", test_object());
	CHECK_SYS(shm_open(test_object(), O_CREAT | O_EXCL | O_RDWR, 0600));
	snprintf(path, sizeof(path), "%s/sub", test_directory());
	CHECK_SYS(mkdir(path, 0700));
	snprintf(path, sizeof(path), "%s/sub/file", test_directory());
	file = fopen(path, "we");
	CHECK(file);
	fclose(file);
	abort();
}

TEST_WITH(inner_hangs, .manual = true)
{
	for (;;)
		pause();
}

#define OUTPUT_SIZE 16384

/* Run this program with arguments, keep its output, return its wait status. */
static int
run_self(char output[OUTPUT_SIZE], const char *first, const char *second)
{
	int pipe_fds[2], status;
	size_t length = 0;
	ssize_t got;
	pid_t pid;

	CHECK_SYS(pipe2(pipe_fds, O_CLOEXEC));
	pid = test_fork();
	if (pid == 0) {
		dup2(pipe_fds[1], STDOUT_FILENO);
		dup2(pipe_fds[1], STDERR_FILENO);
		execl("/proc/self/exe", "selftest", first, second, NULL);
		_exit(127);
	}
	close(pipe_fds[1]);
	while ((got = CHECK_SYS(read(pipe_fds[0], output + length, OUTPUT_SIZE - 1 - length))) > 0)
		length += (size_t)got;
	output[length] = 0;
	close(pipe_fds[0]);
	CHECK_SYS(waitpid(pid, &status, 0));
	return status;
}

TEST(status_and_output)
{
	static const struct {
		const char *name;
		int status;
		const char *start, *part;
	} runs[] = {
		{"inner_pass", 0, "TAP version 13\n1..1\nok 1 - inner_pass\n", ""},
		{"inner_fail", 1, "TAP version 13\n1..1\nnot ok 1 - inner_fail\n",
			"what was tried failed"},
		{"inner_skip", 0, "TAP version 13\n1..1\nok 1 - inner_skip # SKIP no reason\n", ""},
		{"inner_expected_failure_passes", 1,
			"TAP version 13\n1..1\nnot ok 1 - inner_expected_failure_passes\n",
			"had to fail"},
		{"inner_expected_failure_has_other_reason", 1, "TAP version 13\n1..1\nnot ok 1 - ",
			"not for the reason \"this reason\""},
		/* The end of much output is shown. */
		{"inner_writes_very_much", 1, "TAP version 13\n1..1\nnot ok 1 - ",
			"all that failed"},
		{"inner_unknown", 2, "", "no such test"},
		{"--unknown", 2, "usage:", "--list"},
	};

	for (size_t i = 0; i < sizeof(runs) / sizeof(runs[0]); i++) {
		char output[OUTPUT_SIZE];
		int status = run_self(output, runs[i].name, NULL);

		printf("%s\n%s", runs[i].name, output);
		CHECK(WIFEXITED(status));
		CHECK_EQ(WEXITSTATUS(status), runs[i].status);
		CHECK(strncmp(output, runs[i].start, strlen(runs[i].start)) == 0);
		CHECK_HAS(output, runs[i].part);
	}
}

TEST(patterns_choose)
{
	char output[OUTPUT_SIZE];

	CHECK_EQ(run_self(output, "opens_*", "nothing"), 0);
	CHECK_STR(output, "TAP version 13\n1..2\nok 1 - nothing\nok 2 - opens_and_closes\n");
}

TEST(list_has_tests_in_order_but_no_manual_ones)
{
	char output[OUTPUT_SIZE];

	CHECK_EQ(run_self(output, "--list", NULL), 0);
	CHECK(strncmp(output, "nothing\nchecks_that_hold\n", 25) == 0);
	CHECK(!strstr(output, "inner_"));
}

TEST(verbose_shows_what_a_passing_test_wrote)
{
	char output[OUTPUT_SIZE];

	CHECK_EQ(run_self(output, "--verbose", "inner_pass"), 0);
	CHECK_HAS(output, "#   a passing test's words\n");
	CHECK_EQ(run_self(output, "inner_pass", NULL), 0);
	CHECK(!strstr(output, "words"));
}

/* What `output` says behind `word`, which is the path of something that is not there. */
static void
check_is_gone(const char *output, const char *word)
{
	const char *path = strstr(output, word);
	char copy[PATH_MAX];
	struct stat status;

	CHECK(path);
	path += strlen(word);
	snprintf(copy, sizeof(copy), "%.*s", (int)strcspn(path, "\n"), path);
	CHECK_EQ(copy[0], '/');
	CHECK_EQ(stat(copy, &status), -1);
	CHECK_EQ(errno, ENOENT);
}

TEST(directory_and_object_are_removed_after_a_crash)
{
	char output[OUTPUT_SIZE];

	CHECK_EQ(WEXITSTATUS(run_self(output, "inner_leavings", NULL)), 1);
	check_is_gone(output, "directory ");
	check_is_gone(output, "object ");
}

TEST(killed_harness_takes_its_test_along)
{
	int output[2];
	char byte;
	pid_t pid;

	/* The pipe's end comes only when every process that could write to it is gone. */
	CHECK_SYS(pipe2(output, O_CLOEXEC));
	pid = test_fork();
	if (pid == 0) {
		dup2(output[1], STDERR_FILENO);
		dup2(output[1], STDOUT_FILENO);
		execl("/proc/self/exe", "selftest", "inner_hangs", NULL);
		_exit(127);
	}
	close(output[1]);
	CHECK_EQ(CHECK_SYS(read(output[0], &byte, 1)), 1);
	CHECK_SYS(kill(pid, SIGKILL));
	CHECK_SYS(waitpid(pid, NULL, 0));
	while (CHECK_SYS(read(output[0], &byte, 1)) > 0)
		;
	close(output[0]);
}
