/* SPDX-License-Identifier: BSD-2-Clause */

/* Each test gives its rights up in a child, and sees what the kernel says to what is forbidden. */
#include <common/sandbox.h>

#include <base/fd.h>
#include <base/log.h>

#include <ivshmem/common.h>

#include <test.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct sandbox_call threads[] = {
	{"clone3", "", SANDBOX_REFUSE},
	{"clone", "", SANDBOX_IF, 0, CLONE_THREAD, CLONE_THREAD},
	{"set_robust_list", ""},
	{"rseq", ""},
	{NULL},
};

static void
quiet(void *data, enum log_level level, const char *message)
{
	(void)data;
	(void)level;
	(void)message;
}

static const struct log no_log = {LOG_LEVEL_DEBUG, quiet, NULL};

/* The status with which a child ends that does something in its sandbox. */
static int
in_sandbox(struct sandbox *sandbox, void (*run)(void))
{
	struct ivshmem_error error = {0};
	pid_t pid = test_fork();
	int status;

	if (pid == 0) {
		if (sandbox_begin(sandbox, &no_log, &error) < 0 ||
			sandbox_enter(sandbox, &no_log, &error) < 0)
			FAIL("%s", error.message);
		run();
		_exit(0);
	}
	CHECK_EQ(CHECK_SYS(waitpid(pid, &status, 0)), pid);
	return status;
}

static bool
skipped(void)
{
	if (!sandbox_can_filter())
		SKIP("this build has no libseccomp");
	/* Sanitizers need calls that these tests are to be killed for. */
	if (sandbox_sanitizers[0].name)
		SKIP("a build with sanitizers allows more");
	return false;
}

static void
expect_killed(void (*run)(void))
{
	struct sandbox sandbox = {.mode = SANDBOX_KILL};
	int status;

	skipped();
	sandbox_add_table(&sandbox, threads);
	status = in_sandbox(&sandbox, run);
	CHECK(WIFSIGNALED(status));
	CHECK_EQ(WTERMSIG(status), SIGSYS);
	/* The same call is only reported in the other mode. */
	sandbox.mode = SANDBOX_LOG;
	CHECK_EQ(in_sandbox(&sandbox, run), 0);
}

static void
run_a_program(void)
{
	char *argv[] = {NULL};

	execve("/nowhere", argv, argv);
}

static void
talk_to_the_network(void)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (fd >= 0)
		fd_close(fd);
}

static void
make_a_process(void)
{
	pid_t pid = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);

	if (pid == 0)
		_exit(0);
	if (pid > 0)
		syscall(SYS_waitid, P_PID, pid, NULL, WEXITED, NULL);
}

static void
make_code(void)
{
	void *code = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (code != MAP_FAILED)
		munmap(code, 4096);
}

static void
turn_memory_into_code(void)
{
	void *code = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (code != MAP_FAILED)
		mprotect(code, 4096, PROT_READ | PROT_EXEC);
}

static void
kill_somebody(void)
{
	kill(getpid(), 0);
}

static void
signal_a_thread_of_another_process(void)
{
	syscall(SYS_tgkill, 1, 1, 0);
}

static void
change_another_process_limits(void)
{
	syscall(SYS_prlimit64, 1, RLIMIT_NOFILE, NULL, NULL);
}

static void
look_into_another_process(void)
{
	syscall(SYS_ptrace, 0x4206, 1, NULL, NULL);
}

TEST(no_other_program_is_run)
{
	expect_killed(run_a_program);
}
TEST(no_network)
{
	expect_killed(talk_to_the_network);
}
TEST(no_process_is_made)
{
	expect_killed(make_a_process);
}
TEST(no_code_is_made)
{
	expect_killed(make_code);
}
TEST(no_memory_becomes_code)
{
	expect_killed(turn_memory_into_code);
}
TEST(nobody_is_killed)
{
	expect_killed(kill_somebody);
}
TEST(no_thread_of_others_is_signalled)
{
	expect_killed(signal_a_thread_of_another_process);
}
TEST(no_limit_of_others_is_changed)
{
	expect_killed(change_another_process_limits);
}
TEST(nobody_is_traced)
{
	expect_killed(look_into_another_process);
}

static void *
in_thread(void *data)
{
	char *bytes = malloc(1 << 20);

	*(int *)data = bytes != NULL;
	free(bytes);
	return NULL;
}

static void
what_is_allowed(void)
{
	int pair[2], done = 0, fd;
	pthread_t thread;

	CHECK_SYS(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	fd = CHECK_SYS(socket(AF_UNIX, SOCK_DGRAM, 0));
	CHECK_EQ(pthread_create(&thread, NULL, in_thread, &done), 0);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	CHECK_EQ(done, 1);
	fd_close(pair[0]);
	fd_close(pair[1]);
	fd_close(fd);
}

TEST(what_a_service_needs_goes_on)
{
	struct sandbox sandbox = {.mode = SANDBOX_KILL};

	if (!sandbox_can_filter())
		SKIP("this build has no libseccomp");
	sandbox_add_table(&sandbox, threads);
	CHECK_EQ(in_sandbox(&sandbox, what_is_allowed), 0);
}

static void
raise_a_crash(void)
{
	raise(SIGFPE);
}

TEST(a_crash_is_a_crash)
{
	struct sandbox sandbox = {.mode = SANDBOX_KILL};
	int status;

	skipped();
	status = in_sandbox(&sandbox, raise_a_crash);
	CHECK(WIFSIGNALED(status));
	CHECK_EQ(WTERMSIG(status), SIGFPE);
}

/* ---- files ----------------------------------------------------------------------------------- */

static char room[32], keep[64], made[64], other[64];

static bool
has_landlock(void)
{
	return syscall(SYS_landlock_create_ruleset, NULL, 0, 1U) > 0;
}

static void
touch(const char *path)
{
	fd_close(CHECK_SYS(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600)));
}

static void
try_files(void)
{
	char text[16];
	int fd;

	/* What may be read, removed and made. */
	fd = CHECK_SYS(open("/proc/self/comm", O_RDONLY | O_CLOEXEC));
	CHECK(read(fd, text, sizeof(text)) > 0);
	fd_close(fd);
	CHECK_SYS(unlink(keep));
	touch(made);
	/* What may not. */
	CHECK_ERRNO(open("/proc/self/comm", O_WRONLY | O_CLOEXEC), EACCES);
	CHECK_ERRNO(open(other, O_WRONLY | O_CLOEXEC), EACCES);
	CHECK_ERRNO(unlink(other), EACCES);
	CHECK_ERRNO(open("/etc/shadow", O_WRONLY | O_CLOEXEC), EACCES);
}

TEST(only_files_that_were_named_can_be_opened_and_removed)
{
	struct sandbox sandbox = {.mode = SANDBOX_KILL};
	char inner[48], outer[48];

	skipped();
	if (!has_landlock())
		SKIP("the kernel has no Landlock");
	strcpy(room, "/tmp/ivshmem-sandbox-XXXXXX");
	CHECK(mkdtemp(room));
	snprintf(inner, sizeof(inner), "%s/in", room);
	snprintf(outer, sizeof(outer), "%s/out", room);
	CHECK_SYS(mkdir(inner, 0700));
	CHECK_SYS(mkdir(outer, 0700));
	snprintf(keep, sizeof(keep), "%s/socket", inner);
	snprintf(made, sizeof(made), "%s/trace", inner);
	snprintf(other, sizeof(other), "%s/other", outer);
	touch(keep);
	touch(other);
	sandbox_add_path(&sandbox, "/proc", SANDBOX_READ);
	sandbox_add_path(&sandbox, keep, SANDBOX_REMOVE);
	sandbox_add_path(&sandbox, made, SANDBOX_CREATE);
	sandbox_add_path(&sandbox, "/nowhere/at/all", SANDBOX_REMOVE);
	sandbox_add_path(&sandbox, NULL, SANDBOX_CREATE);
	sandbox_add_path(&sandbox, "@abstract", SANDBOX_REMOVE);
	CHECK_EQ(in_sandbox(&sandbox, try_files), 0);
	CHECK_SYS(unlink(other));
	CHECK_SYS(unlink(made));
	CHECK_SYS(rmdir(inner));
	CHECK_SYS(rmdir(outer));
	CHECK_SYS(rmdir(room));
}

/* ---- modes ----------------------------------------------------------------------------------- */

static void
nothing_is_given_up(void)
{
	CHECK_EQ(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 0);
	CHECK_EQ(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0), 1);
	CHECK_EQ(prctl(PR_GET_SECCOMP, 0, 0, 0, 0), 0);
}

TEST(off_is_off)
{
	struct sandbox sandbox = {.mode = SANDBOX_OFF};

	CHECK_EQ(in_sandbox(&sandbox, nothing_is_given_up), 0);
}

TEST(modes)
{
	enum sandbox_mode mode = SANDBOX_DEFAULT;
	struct ivshmem_error error = {0};

	CHECK_EQ(sandbox_take_mode(&mode, "--sandbox", "log", &error), 0);
	CHECK_EQ(mode, SANDBOX_LOG);
	CHECK_EQ(sandbox_take_mode(&mode, "--sandbox", "off", &error), 0);
	CHECK_EQ(mode, SANDBOX_OFF);
	CHECK_EQ(sandbox_take_mode(&mode, "--sandbox", "kill", &error), 0);
	CHECK_EQ(mode, SANDBOX_KILL);
	CHECK_EQ(sandbox_take_mode(&mode, "--sandbox", "", &error), -EINVAL);
	CHECK_EQ(sandbox_take_mode(&mode, "--sandbox", "Kill", &error), -EINVAL);
	CHECK_EQ(mode, SANDBOX_KILL);
}

TEST(users)
{
	struct sandbox_user user = {0};
	struct ivshmem_error error = {0};

	CHECK_EQ(sandbox_take_user(&user, "--user", "root", &error), 0);
	CHECK_EQ(user.uid, 0);
	CHECK_EQ(sandbox_take_user(&user, "--user", "0", &error), 0);
	CHECK_EQ(user.uid, 0);
	CHECK_EQ(sandbox_take_user(&user, "--user", "nobody-of-that-name", &error), -EINVAL);
	CHECK_EQ(sandbox_take_user(&user, "--user", "4294967295", &error), -EINVAL);
}

/* Names that nobody knows on any processor are slips. */
TEST(every_call_has_a_reason)
{
	for (const struct sandbox_call *call = sandbox_common; call->name; call++) {
		CHECK(call->name[0] != '\0');
		CHECK(call->reason[0] != '\0');
		for (const struct sandbox_call *next = call + 1; next->name; next++)
			CHECK(strcmp(call->name, next->name) != 0);
	}
}
