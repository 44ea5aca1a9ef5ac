/* SPDX-License-Identifier: BSD-2-Clause */

/* The system calls that every service of ours may make. Each program has a table of its own besides. */

#include <common/sandbox.h>

#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#define LOW_32 UINT32_MAX /* an int: the upper half of its register means nothing */

const struct sandbox_call sandbox_common[] = {
	/* the C library and the kernel, between them */
	{"restart_syscall", "goes on with a wait that SIGSTOP has interrupted"},
	{"rt_sigreturn",
		"the end of the handlers for crashes (common/crash.c) and SIGBUS (region/guard.c)"},
	{"sigreturn", "the same on i386 and arm"},
	{"exit", "the end of a thread"},
	{"exit_group", "the end of the program"},
	{"brk", "malloc()"},
	{"mmap", "malloc(), and the shared memory; no code", SANDBOX_IF, 2, PROT_EXEC, 0},
	{"mmap2", "the same on i386 and arm", SANDBOX_IF, 2, PROT_EXEC, 0},
	{"mprotect", "malloc() in a thread; no code", SANDBOX_IF, 2, PROT_EXEC, 0},
	{"munmap", "free(), and shared memory of a group that was left"},
	{"mremap", "realloc()"},
	{"madvise", "malloc() gives memory back, and so do stacks of threads"},
	{"futex", "locks, and the end of threads"},
	{"futex_time64", "the same on 32 bits"},
	{"futex_waitv", "the same, for a C library to come"},
	{"futex_wait", "the same, for a C library to come"},
	{"futex_wake", "the same, for a C library to come"},
	{"getrandom", "malloc() chooses a key"},
	{"clock_gettime", "time, where the vDSO does not have it"},
	{"clock_gettime64", "the same on 32 bits"},
	{"gettimeofday", "the same, for syslog()"},
	{"time", "the same, for syslog()"},
	{"clock_nanosleep", "nanosleep(): a pause before another attempt"},
	{"clock_nanosleep_time64", "the same on 32 bits"},
	{"nanosleep", "the same in older C libraries"},
	{"sysinfo", "qsort() of the C library asks how much memory there is"},
	{"getpid", "messages to the supervisor, and raise()"},
	{"gettid", "the crash handler and the trace name the thread"},
	{"getuid", "access(), when the C library does it by itself"},
	{"geteuid", "who owns what we look at"},
	{"getgid", "access(), when the C library does it by itself"},
	{"getegid", "the same"},
	{"sched_yield", "locks of the C library that spin"},
	{"sched_getaffinity", "malloc() counts the processors before it makes another arena"},
	{"prlimit64", "the limit of descriptors is raised and lowered (base/fd.c)", SANDBOX_IF, 0,
		LOW_32, 0},
	{"getrlimit", "the same on other processors"},
	{"ugetrlimit", "the same on i386 and arm"},
	{"setrlimit", "the same on other processors"},

	/* signals */
	{"rt_sigaction", "the crash handler puts back what was there before"},
	{"rt_sigprocmask", "threads of the program, and raise()"},
	{"sigaltstack", "a crash handler has a stack of its own"},
	{"tgkill", "raise(): a crash goes on as it would without us", SANDBOX_SELF, 0},

	/* descriptors */
	{"read", "eventfds, timers, signals, names of clients' programs"},
	{"write", "eventfds, the log, the record of a group"},
	{"readv", "the same in pieces"},
	{"writev", "the same in pieces"},
	{"preadv2", "an eventfd is emptied without waiting (base/eventfd.c)"},
	{"pread64", "reads a record at a place"},
	{"pwrite64", "the crash handler and records"},
	{"lseek", "the length of a file"},
	{"_llseek", "the same on 32 bits"},
	{"close", "every descriptor ends"},
	{"fcntl", "O_NONBLOCK, seals of memory, another number for a descriptor"},
	{"fcntl64", "the same on 32 bits"},
	{"dup", "a second descriptor of the same eventfd"},
	{"ioctl", "printf() asks whether its output is a terminal", SANDBOX_IF, 1, LOW_32, TCGETS},
	{"fstat", "what a descriptor is that somebody has sent"},
	{"fstat64", "the same on 32 bits"},
	{"newfstatat", "the same, and whether a path still leads to our socket"},
	{"fstatat64", "the same on 32 bits"},
	{"statx", "the same in newer C libraries"},
	{"stat", "the same in older C libraries"},
	{"stat64", "the same on 32 bits"},
	{"lstat", "the same in older C libraries"},
	{"lstat64", "the same on 32 bits"},
	{"readlink", "whether a descriptor is an eventfd: /proc/self/fd (base/eventfd.c)"},
	{"readlinkat", "the same on other processors"},
	{"fstatfs", "how much room the file system of memory has (region/region.c)"},
	{"fstatfs64", "the same on 32 bits"},
	{"openat",
		"/proc/PID/comm of a client, and the file of --trace-file; Landlock limits which"},
	{"open", "the same in older C libraries"},
	{"unlink", "the socket at the end; Landlock limits where"},
	{"unlinkat", "the same on other processors"},
	{"access", "looks whether a path is there"},
	{"faccessat", "the same on other processors"},
	{"faccessat2", "the same in newer C libraries"},
	{"pipe2", "the supervisor closes its end when it has read a message (supervisor.c)"},
	{"eventfd2", "an interrupt vector"},
	{"timerfd_create", "the loop's timer"},
	{"timerfd_settime", "the loop's timer"},
	{"timerfd_settime64", "the same on 32 bits"},

	/* waiting */
	{"epoll_create1", "a loop"},
	{"epoll_ctl", "a loop"},
	{"epoll_wait", "a loop"},
	{"epoll_pwait", "the same on other processors"},
	{"epoll_pwait2", "the same in newer C libraries"},
	{"poll", "one descriptor is waited for"},
	{"ppoll", "the same"},
	{"ppoll_time64", "the same on 32 bits"},

	/* sockets; only local ones can be made */
	{"socket", "to the supervisor, to syslog, to a server", SANDBOX_IF, 0, LOW_32, AF_UNIX},
	{"socketpair", "what keeps a group over a restart (socket/bag.c)", SANDBOX_IF, 0, LOW_32,
		AF_UNIX},
	{"connect", "to the supervisor, to syslog, to a server"},
	{"accept4", "clients and VMMs"},
	{"sendmsg", "descriptors, and messages to the supervisor"},
	{"sendmmsg", "several messages at once"},
	{"sendto", "send(): messages, and syslog()"},
	{"send", "the same on other processors"},
	{"recvmsg", "descriptors"},
	{"recvmmsg", "several messages at once"},
	{"recvmmsg_time64", "the same on 32 bits"},
	{"recvfrom", "recv(): whether a client has sent anything"},
	{"recv", "the same on other processors"},
	{"shutdown", "the end of a connection"},
	{"getsockopt", "who a client is"},
	{"setsockopt", "time limits and sizes of buffers"},
	{"getsockname", "the path of a socket"},
	{"getpeername", "whether a socket is connected"},
	{NULL},
};

/*
 * With a guardian only (guardian.h): the process may become the guardian of another one, which is made from
 * it, has its sandbox, and starts in it.
 */
const struct sandbox_call sandbox_guardian[] = {
	{"clone", "the guardian shares the descriptors, and nothing else", SANDBOX_IF, 0,
		CLONE_FILES | CLONE_VM | CLONE_THREAD, CLONE_FILES},
	{"prctl", "a worker is told of the guardian's end", SANDBOX_IF, 0, UINT32_MAX,
		PR_SET_PDEATHSIG},
	{"getppid", "a worker looks whether the guardian ended before that"},
	{"pidfd_open", "a worker watches the guardian"},
	{"wait4", "the guardian notices the end of the worker"},
	{"waitid", "the same"},
	{"rt_sigtimedwait", "the guardian waits for signals"},
	{"rt_sigtimedwait_time64", "the same on 32 bits"},
	{"kill", "the guardian tells the worker what it was told"},
	{"mlock", "a journal stays in memory"},
	{"close_range", "what nobody uses any more is closed"},
	{"getdents64", "the same: which descriptors there are"},
	{"signalfd4", "another worker waits for signals"},
	{"umask", "it makes the socket for operators anew"},
	{"flock", "the same: one server at a time"},
	{"bind", "the same"},
	{"listen", "the same"},
	{"fchmodat", "the same"},
	{"fchownat", "the same"},
	{"link", "the same"},
	{"linkat", "the same"},
	{"rename", "the same"},
	{"renameat", "the same"},
	{"renameat2", "the same"},
	{NULL},
};

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif

const struct sandbox_call sandbox_sanitizers[] = {
#ifdef SANITIZED
	{"mmap", "shadow memory, and code of the symbolizer"},
	{"mmap2", "the same on i386 and arm"},
	{"mprotect", "shadow memory"},
	{"clone",
		"the search for leaks runs in a process that shares our memory; the symbolizer is another one"},
	{"clone3", "the same"},
	{"fork", "the symbolizer"},
	{"vfork", "the symbolizer"},
	{"execve", "the symbolizer"},
	{"ptrace", "the search for leaks stops the other threads"},
	{"prctl", "the search for leaks must be able to trace us"},
	{"arch_prctl", "the start of the symbolizer"},
	{"wait4", "the end of both"},
	{"waitid", "the end of both"},
	{"kill", "the end of the symbolizer"},
	{"tgkill", "threads are stopped"},
	{"pipe", "to and from the symbolizer"},
	{"dup2", "to and from the symbolizer"},
	{"dup3", "to and from the symbolizer"},
	{"getcwd", "paths in reports"},
	{"getppid", "the search for leaks ends if we do"},
	{"getdents", "/proc/self/task"},
	{"getdents64", "/proc/self/task"},
	{"uname", "reports"},
	{"sysinfo", "how much memory there is"},
	{"ioctl", "whether reports go to a terminal"},
	{"getrusage", "how much memory there is"},
	{"mincore", "whether memory can be read"},
	{"process_vm_readv", "whether memory can be read"},
	{"set_robust_list", "the start of the symbolizer"},
	{"set_tid_address", "the start of the symbolizer"},
	{"rseq", "the start of the symbolizer"},
	{"sched_setaffinity", "threads of the sanitizer"},
#endif
	{NULL},
};
