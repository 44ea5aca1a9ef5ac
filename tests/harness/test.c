/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Theory of operation. The parent forks a child per test and shares a `struct verdict` with it. The
 * child writes there how far it came, so that an exit status of 0 in the middle of a test is told
 * from a test that ran to its end. The child's output goes into a pipe that the parent reads, so
 * that it can be printed as comments. The parent is a subreaper: whatever a test leaves running
 * becomes its child, even after leaving the process group, and is found, killed and held against
 * the test.
 */

#include <test.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <ftw.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* From the linker: the bounds of the section that TEST() writes to. */
extern const struct test *const tests_begin[] __asm__("__start_tests") __attribute__((weak));
extern const struct test *const tests_end[] __asm__("__stop_tests") __attribute__((weak));

enum progress { RUNNING, FINISHED, SKIPPED, FAILED };

/* Shared between the parent and everything the test forks. */
struct verdict {
	int progress;        /* enum progress; FAILED stays */
	char reason[512];    /* of SKIPPED */
	char directory[128]; /* test_directory(), "" if none was made */
	char object[32];     /* test_object(), "" if nobody asked for it */
};

#define FDS_MAX        65536
#define OUTPUT_MAX     65536 /* what is kept of a test's output; the rest is counted */
#define LINE_MAX_SHOWN 400

/* All that is known about one run of a test, for its report. */
struct run {
	const struct test *test;
	char failure[512]; /* "" if it passed */
	char output[OUTPUT_MAX];
	size_t output_length;
	uint64_t output_dropped;
};

static struct verdict *verdict;
static volatile sig_atomic_t current_group; /* of the running test, 0 if none */
static bool verbose;

/* ---- called by tests ------------------------------------------------------------------------ */

static void
verdict_set(enum progress progress)
{
	int expected = RUNNING;

	/* A failure in one process is not undone by another one that finishes. */
	if (progress == FAILED)
		__atomic_store_n(&verdict->progress, FAILED, __ATOMIC_RELEASE);
	else
		__atomic_compare_exchange_n(&verdict->progress, &expected, (int)progress, false,
			__ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

static _Noreturn void
end_failed(void)
{
	fflush(NULL);
	verdict_set(FAILED);
	_exit(1);
}

void
test_fail(const char *file, int line, const char *format, ...)
{
	va_list args;

	fprintf(stderr, "%s:%d: ", file, line);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, " failed\n");
	end_failed();
}

void
test_fail_errno(const char *file, int line, const char *what)
{
	int code = errno;

	fprintf(stderr, "%s:%d: %s failed: %s\n", file, line, what, strerror(code));
	end_failed();
}

void
test_skip(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(verdict->reason, sizeof(verdict->reason), format, args);
	va_end(args);
	fflush(NULL);
	verdict_set(SKIPPED);
	_exit(0);
}

static void
print_number(const char *text, struct test_number number, int code)
{
	const char *name = NULL;

	if (number.negative) {
		intmax_t value = (intmax_t)number.bits;
		/* Most negative numbers here are errors. */
		if (value >= -4095)
			name = strerrorname_np((int)-value);
		fprintf(stderr, "  %s = %jd", text, value);
	} else {
		fprintf(stderr, "  %s = %ju", text, number.bits);
		if (number.bits > 9)
			fprintf(stderr, " (%#jx)", number.bits);
	}
	/* -1 may be EPERM, but rather is the C library's way to say that something failed. */
	if (name && number.bits == UINTMAX_MAX)
		fprintf(stderr, " (%s, or errno %s)", name, strerrorname_np(code));
	else if (name)
		fprintf(stderr, " (%s)", name);
	fputc('\n', stderr);
}

void
test_check_eq(const char *file, int line, const char *a_text, struct test_number a,
	const char *b_text, struct test_number b)
{
	int code = errno;

	if (a.negative == b.negative && a.bits == b.bits)
		return;
	fprintf(stderr, "%s:%d: CHECK_EQ(%s, %s) failed\n", file, line, a_text, b_text);
	print_number(a_text, a, code);
	print_number(b_text, b, code);
	end_failed();
}

static void
print_string(const char *text, const char *string)
{
	if (string)
		fprintf(stderr, "  %s = \"%s\"\n", text, string);
	else
		fprintf(stderr, "  %s = NULL\n", text);
}

void
test_check_str(const char *file, int line, const char *a_text, const char *a, const char *b_text,
	const char *b)
{
	if (a == b || (a && b && strcmp(a, b) == 0))
		return;
	fprintf(stderr, "%s:%d: CHECK_STR(%s, %s) failed\n", file, line, a_text, b_text);
	print_string(a_text, a);
	print_string(b_text, b);
	end_failed();
}

static void
print_bytes(const char *text, const unsigned char *bytes, size_t from, size_t length)
{
	fprintf(stderr, "  %s[%zu] =", text, from);
	for (size_t i = from; i < length && i < from + 16; i++)
		fprintf(stderr, " %02x", bytes[i]);
	fputc('\n', stderr);
}

void
test_check_mem(const char *file, int line, const char *a_text, const void *a, const char *b_text,
	const void *b, size_t length)
{
	const unsigned char *a_bytes = a, *b_bytes = b;
	size_t from = 0;

	if (length == 0 || memcmp(a, b, length) == 0)
		return;
	while (a_bytes[from] == b_bytes[from])
		from++;
	fprintf(stderr, "%s:%d: CHECK_MEM(%s, %s, %zu) failed\n", file, line, a_text, b_text,
		length);
	print_bytes(a_text, a_bytes, from, length);
	print_bytes(b_text, b_bytes, from, length);
	end_failed();
}

void
test_check_has(const char *file, int line, const char *name, const char *text, const char *words)
{
	if (!strstr(text, words))
		test_fail(file, line, "CHECK_HAS(%s): finding \"%s\" in \"%s\"", name, words, text);
}

void
test_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void
test_close_pair(int (*pair)[2])
{
	test_close(&(*pair)[0]);
	test_close(&(*pair)[1]);
}

const char *
test_directory(void)
{
	if (!verdict->directory[0]) {
		const char *base = getenv("TMPDIR");
		char path[sizeof(verdict->directory)];

		/* Short, because UNIX socket names have to fit behind it. */
		snprintf(path, sizeof(path), "%s/test.XXXXXX",
			base && strlen(base) < 60 ? base : "/tmp");
		if (!mkdtemp(path))
			test_fail_errno(__FILE__, __LINE__, "mkdtemp()");
		memcpy(verdict->directory, path, sizeof(path));
	}
	return verdict->directory;
}

const char *
test_object(void)
{
	if (!verdict->object[0])
		snprintf(
			verdict->object, sizeof(verdict->object), "ivshmem-test-%d", (int)getpid());
	return verdict->object;
}

pid_t
test_fork(void)
{
	pid_t parent = getpid(), pid;

	fflush(NULL);
	pid = fork();
	if (pid < 0)
		test_fail_errno(__FILE__, __LINE__, "fork()");
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(1);
	}
	return pid;
}

void
test_join(pid_t pid)
{
	int status;

	if (TEMP_FAILURE_RETRY(waitpid(pid, &status, 0)) < 0)
		test_fail_errno(__FILE__, __LINE__, "waitpid()");
	if (WIFSIGNALED(status))
		FAIL("process %d ended by signal %d (%s), which", pid, WTERMSIG(status),
			strsignal(WTERMSIG(status)));
	if (WEXITSTATUS(status) != 0)
		FAIL("process %d ended with status %d, which", pid, WEXITSTATUS(status));
}

void
test_drop_root(void)
{
	/* Beyond all users there are, and not shared with a test that runs beside this one. */
	uid_t uid = (1u << 30) + (uid_t)getpid();

	if (geteuid() == 0 && setresuid(uid, uid, uid) < 0)
		SKIP("cannot give up being root: %s", strerror(errno));
}

/* A positive number from the environment, or 1. */
static unsigned
environment_number(const char *name)
{
	const char *text = getenv(name);
	int number = text ? atoi(text) : 1;

	return number > 0 ? (unsigned)number : 1;
}

unsigned
test_count(unsigned times)
{
	unsigned count = times / environment_number("TEST_COUNT_DIVISOR");

	return count > 0 ? count : 1;
}

unsigned
test_patience_ms(unsigned ms)
{
	return ms * environment_number("TEST_TIMEOUT_FACTOR");
}

/* ---- descriptors ---------------------------------------------------------------------------- */

/* Sets open[fd] for each open descriptor and returns how many there are. */
static unsigned
fds_list(bool *open_fds)
{
	DIR *directory = opendir("/proc/self/fd");
	struct dirent *entry;
	unsigned count = 0;

	if (!directory)
		test_fail_errno(__FILE__, __LINE__, "opendir(\"/proc/self/fd\")");
	if (open_fds)
		memset(open_fds, 0, FDS_MAX * sizeof(*open_fds));
	while ((entry = readdir(directory))) {
		int fd = atoi(entry->d_name);

		if (entry->d_name[0] == '.' || fd == dirfd(directory))
			continue;
		count++;
		if (open_fds && fd < FDS_MAX)
			open_fds[fd] = true;
	}
	closedir(directory);
	return count;
}

unsigned
test_open_fds(void)
{
	return fds_list(NULL);
}

/* Those of test_eventfd(). */
static int eventfds[1024];
static size_t n_eventfds;

int
test_eventfd(void)
{
	CHECK(n_eventfds < sizeof(eventfds) / sizeof(eventfds[0]));
	return eventfds[n_eventfds++] = CHECK_SYS(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
}

static struct rlimit fd_limit;

void
test_limit_fds(unsigned more)
{
	int next = CHECK_SYS(fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0));
	struct rlimit less;

	close(next);
	CHECK_SYS(getrlimit(RLIMIT_NOFILE, &fd_limit));
	less = (struct rlimit){(rlim_t)next + more, fd_limit.rlim_max};
	CHECK_SYS(setrlimit(RLIMIT_NOFILE, &less));
}

void
test_unlimit_fds(void)
{
	CHECK_SYS(setrlimit(RLIMIT_NOFILE, &fd_limit));
}

/* Print what changed between the two lists; false if something did. */
static bool
fds_compare(const bool *before, const bool *after)
{
	bool same = true;

	for (int fd = 0; fd < FDS_MAX; fd++) {
		char link[64], target[PATH_MAX];
		ssize_t length;

		if (before[fd] == after[fd])
			continue;
		same = false;
		if (before[fd]) {
			fprintf(stderr,
				"closed file descriptor %d, which was open before the test\n", fd);
			continue;
		}
		snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
		length = readlink(link, target, sizeof(target) - 1);
		target[length < 0 ? 0 : length] = 0;
		fprintf(stderr, "leaked file descriptor %d: %s\n", fd, target);
	}
	return same;
}

/* ---- the child ------------------------------------------------------------------------------ */

static void
test_call(const struct test *test)
{
	if (test_before)
		test_before();
	if (test->begin)
		test->begin();
	test->run();
	if (test->end)
		test->end();
	if (test_after)
		test_after();
	/* One that somebody else closed is missed here. */
	while (n_eventfds > 0)
		CHECK_SYS(close(eventfds[--n_eventfds]));
}

static _Noreturn void
child_run(const struct test *test)
{
	static bool before[FDS_MAX], after[FDS_MAX];

	fds_list(before);
	test_call(test);
	fflush(NULL);
	fds_list(after);
	if (!fds_compare(before, after))
		end_failed();
	/* Here and not in the parent: they would be racing with the signal of our death. */
	if (waitid(P_ALL, 0, &(siginfo_t){0}, WEXITED | WNOHANG | WNOWAIT) == 0) {
		fprintf(stderr, "left child processes behind, running or not reaped\n");
		end_failed();
	}
	verdict_set(FINISHED);
	/* Not _exit(): the leak sanitizer looks at exit, and its status tells. */
	exit(0);
}

static pid_t
child_start(const struct test *test, int *ret_output)
{
	int output[2], null;
	pid_t parent = getpid(), pid;
	sigset_t none;

	memset(verdict, 0, sizeof(*verdict));
	if (pipe2(output, O_CLOEXEC) < 0) {
		perror("pipe2");
		exit(2);
	}
	fflush(NULL);
	pid = fork();
	if (pid < 0) {
		perror("fork");
		exit(2);
	}
	if (pid > 0) {
		/* Both sides do it, so that neither runs on before it is done. */
		setpgid(pid, pid);
		close(output[1]);
		*ret_output = output[0];
		return pid;
	}

	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	for (int number = 1; number < NSIG; number++)
		signal(number, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	null = open("/dev/null", O_RDONLY);
	dup2(null, STDIN_FILENO);
	dup2(output[1], STDOUT_FILENO);
	dup2(output[1], STDERR_FILENO);
	setvbuf(stdout, NULL, _IOLBF, 0);
	closefrom(STDERR_FILENO + 1);
	child_run(test);
}

/* ---- the parent ----------------------------------------------------------------------------- */

static uint64_t
now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Take what is in the pipe; false at its end. Of too much the end is kept: there the reason stands.
 */
static bool
output_read(struct run *run, int fd)
{
	char buffer[4096];
	ssize_t length = read(fd, buffer, sizeof(buffer));

	if (length <= 0)
		return length < 0 && errno == EINTR;
	if (run->output_length + (size_t)length > OUTPUT_MAX) {
		size_t dropped = OUTPUT_MAX / 2;

		run->output_length -= dropped;
		run->output_dropped += dropped;
		memmove(run->output, run->output + dropped, run->output_length);
	}
	memcpy(run->output + run->output_length, buffer, (size_t)length);
	run->output_length += (size_t)length;
	return true;
}

/* Read output until the test ends or its time is up; true if it ended. */
static bool
child_watch(struct run *run, int pidfd, int output, uint64_t deadline)
{
	struct pollfd fds[2] = {{.fd = pidfd, .events = POLLIN}, {.fd = output, .events = POLLIN}};

	for (;;) {
		uint64_t now = now_ms();
		int left = deadline > now ? (int)(deadline - now) : 0;

		if (poll(fds, 2, left) < 0 && errno != EINTR) {
			perror("poll");
			exit(2);
		}
		if (fds[1].revents && !output_read(run, output))
			fds[1].fd = -1;
		if (fds[0].revents)
			return true;
		if (now_ms() >= deadline)
			return false;
	}
}

/* Kill and reap whatever is left of the test; returns how many processes there were. */
static unsigned
leftovers_kill(void)
{
	unsigned killed = 0;

	for (;;) {
		char path[64];
		FILE *children;
		int pid;
		unsigned found = 0;

		snprintf(path, sizeof(path), "/proc/self/task/%d/children", getpid());
		children = fopen(path, "re");
		while (children && fscanf(children, "%d", &pid) == 1) {
			siginfo_t info = {0};

			found++;
			/* One that has already ended did not stay behind: nobody was there to reap
			 * it. */
			if (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
				info.si_pid == 0) {
				kill(pid, SIGKILL);
				killed++;
			}
			waitpid(pid, NULL, 0);
		}
		if (children)
			fclose(children);
		/* Killed processes hand their own children over to us: look again. */
		if (found == 0)
			return killed;
	}
}

static int
directory_remove_entry(const char *path, const struct stat *status, int type, struct FTW *where)
{
	(void)status;
	(void)type;
	(void)where;
	return remove(path);
}

static void
verdict_judge(struct run *run, bool in_time, int status, unsigned timeout_s, unsigned leftovers)
{
	char *failure = run->failure;
	size_t size = sizeof(run->failure);
	int progress = __atomic_load_n(&verdict->progress, __ATOMIC_ACQUIRE);

	if (!in_time)
		snprintf(failure, size, "timed out after %u s", timeout_s);
	else if (WIFSIGNALED(status))
		snprintf(failure, size, "killed by signal %d (%s)", WTERMSIG(status),
			strsignal(WTERMSIG(status)));
	else if (progress == FAILED)
		snprintf(failure, size, "failed");
	else if (progress == RUNNING)
		snprintf(failure, size, "ended with exit status %d in the middle of the test",
			WEXITSTATUS(status));
	else if (WEXITSTATUS(status) != 0)
		snprintf(failure, size, "exit status %d after the test, as a sanitizer does",
			WEXITSTATUS(status));
	else if (leftovers > 0)
		snprintf(failure, size, "left %u detached process%s running", leftovers,
			leftovers == 1 ? "" : "es");
}

static void
test_run(struct run *run)
{
	unsigned timeout_s = run->test->timeout_s ? run->test->timeout_s : TEST_TIMEOUT_S;
	unsigned leftovers;
	int output, pidfd, status = 0;
	bool in_time;
	pid_t pid;

	timeout_s *= environment_number("TEST_TIMEOUT_FACTOR");
	pid = child_start(run->test, &output);
	current_group = pid;
	pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (pidfd < 0) {
		perror("pidfd_open");
		kill(-pid, SIGKILL);
		exit(2);
	}
	in_time = child_watch(run, pidfd, output, now_ms() + timeout_s * UINT64_C(1000));
	if (!in_time) {
		kill(-pid, SIGKILL);
		kill(pid, SIGKILL);
	}
	waitpid(pid, &status, 0);
	leftovers = leftovers_kill();
	current_group = 0;
	/* Nobody is left to write, so this ends. */
	while (output_read(run, output))
		;
	close(output);
	close(pidfd);
	verdict_judge(run, in_time, status, timeout_s, leftovers);
	if (verdict->directory[0])
		nftw(verdict->directory, directory_remove_entry, 16, FTW_DEPTH | FTW_PHYS);
	if (verdict->object[0])
		shm_unlink(verdict->object);
}

/* ---- reports -------------------------------------------------------------------------------- */

static void
output_print(const struct run *run)
{
	const char *line = run->output, *end = run->output + run->output_length;

	if (run->output_dropped > 0)
		printf("#   (%" PRIu64 " bytes before this)\n", run->output_dropped);
	while (line < end) {
		const char *newline = memchr(line, '\n', (size_t)(end - line));
		size_t length = (size_t)((newline ? newline : end) - line);

		if (length > LINE_MAX_SHOWN)
			printf("#   %.*s ...\n", LINE_MAX_SHOWN, line);
		else
			printf("#   %.*s\n", (int)length, line);
		line += length + 1;
	}
}

/* A FAIL_TEST has to fail, for its reason; turns the result around. */
static void
expectation_apply(struct run *run)
{
	const char *reason = run->test->must_fail;

	if (!reason)
		return;
	if (!run->failure[0])
		snprintf(run->failure, sizeof(run->failure), "passed, but had to fail");
	else if (strstr(run->failure, reason) ||
		 memmem(run->output, run->output_length, reason, strlen(reason)))
		run->failure[0] = 0;
	else
		snprintf(run->failure + strlen(run->failure),
			sizeof(run->failure) - strlen(run->failure),
			", but not for the reason \"%s\"", reason);
}

/* Returns true if the test did not fail. */
static bool
test_report(struct run *run, unsigned number)
{
	const char *name = run->test->name;

	expectation_apply(run);
	if (run->failure[0]) {
		printf("not ok %u - %s\n# %s: %s\n", number, name, name, run->failure);
		output_print(run);
	} else if (verdict->progress == SKIPPED) {
		printf("ok %u - %s # SKIP %s\n", number, name, verdict->reason);
	} else {
		printf("ok %u - %s\n", number, name);
		if (verbose)
			output_print(run);
	}
	fflush(stdout);
	return !run->failure[0];
}

/* ---- main ----------------------------------------------------------------------------------- */

static void
on_signal(int number)
{
	if (current_group > 0)
		kill(-current_group, SIGKILL);
	signal(number, SIG_DFL);
	raise(number);
}

static int
compare_tests(const void *a, const void *b)
{
	const struct test *left = *(const struct test *const *)a;
	const struct test *right = *(const struct test *const *)b;
	int order = strcmp(left->file, right->file);

	return order ? order : left->line - right->line;
}

static bool
is_wanted(const struct test *test, char **patterns)
{
	if (!*patterns)
		return !test->manual;
	for (; *patterns; patterns++) {
		if (strcmp(*patterns, test->name) == 0)
			return true;
		if (!test->manual && fnmatch(*patterns, test->name, 0) == 0)
			return true;
	}
	return false;
}

int
main(int argc, char **argv)
{
	static const struct test *wanted[4096];
	size_t n_all = (size_t)(tests_end - tests_begin), n_wanted = 0;
	bool list = false, in_process = false;
	unsigned failed = 0;
	int i;

	for (i = 1; i < argc && argv[i][0] == '-'; i++) {
		if (strcmp(argv[i], "--list") == 0) {
			list = true;
		} else if (strcmp(argv[i], "--verbose") == 0) {
			verbose = true;
		} else if (strcmp(argv[i], "--no-fork") == 0) {
			in_process = true;
		} else {
			fprintf(stderr, "usage: %s [--list] [--verbose] [--no-fork] [PATTERN...]\n",
				argv[0]);
			return 2;
		}
	}
	for (size_t n = 0; n < n_all && n_wanted < sizeof(wanted) / sizeof(*wanted); n++)
		if (is_wanted(tests_begin[n], argv + i))
			wanted[n_wanted++] = tests_begin[n];
	if (n_wanted == 0) {
		fprintf(stderr, "%s: no such test\n", argv[0]);
		return 2;
	}
	qsort(wanted, n_wanted, sizeof(*wanted), compare_tests);
	if (list) {
		for (size_t n = 0; n < n_wanted; n++)
			puts(wanted[n]->name);
		return 0;
	}

	verdict = mmap(
		NULL, sizeof(*verdict), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (verdict == MAP_FAILED) {
		perror("mmap");
		return 2;
	}
	if (in_process) {
		test_call(wanted[0]);
		return 0;
	}
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	signal(SIGINT, on_signal);
	signal(SIGTERM, on_signal);
	signal(SIGHUP, on_signal);

	printf("TAP version 13\n1..%zu\n", n_wanted);
	for (size_t n = 0; n < n_wanted; n++) {
		static struct run run;

		memset(&run, 0, sizeof(run));
		run.test = wanted[n];
		test_run(&run);
		if (!test_report(&run, (unsigned)(n + 1)))
			failed++;
	}
	return failed > 0 ? 1 : 0;
}
