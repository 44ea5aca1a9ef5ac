/* SPDX-License-Identifier: BSD-2-Clause */

/* The system calls of ivshmem-server, besides those of all services (common/sandbox_calls.c). */

#include <confine.h>

#include <common/sandbox.h>

#include <linux/sockios.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>

const struct sandbox_call server_calls[] = {
	{"memfd_create", "the record of a group that is handed over (handover.c)"},
	{"dup2", "a daemon lets go of the terminal (daemon.c)"},
	{"dup3", "the same on other processors"},
	{"ioctl", "how much a client has left unread (server/clients.c)", SANDBOX_IF, 1, UINT32_MAX,
		SIOCOUTQ},
	{"fchmod", "the mode of a file is set again"},
	{"ftruncate", "the pid file of a daemon, and the journal (server/journal.c)"},
	{"ftruncate64", "the same on 32 bits"},
	{NULL},
};

/*
 * With --keep-clients only: the server may become the guardian of another one (guardian.h), which is made
 * from it, has its sandbox, and starts in it.
 */
const struct sandbox_call server_keeping_calls[] = {
	{"clone", "the guardian shares the descriptors, and nothing else", SANDBOX_IF, 0,
		CLONE_FILES | CLONE_VM | CLONE_THREAD, CLONE_FILES},
	{"prctl", "the server is told of the guardian's end", SANDBOX_IF, 0, UINT32_MAX,
		PR_SET_PDEATHSIG},
	{"getppid", "the server looks whether the guardian ended before that"},
	{"pidfd_open", "the server watches the guardian"},
	{"wait4", "the guardian notices the end of the server"},
	{"waitid", "the same"},
	{"rt_sigtimedwait", "the guardian waits for signals"},
	{"rt_sigtimedwait_time64", "the same on 32 bits"},
	{"kill", "the guardian tells the server what it was told"},
	{"mlock", "the journal stays in memory (server/journal.c)"},
	{"close_range", "what nobody uses any more is closed (recover.c)"},
	{"getdents64", "the same: which descriptors there are"},
	{"signalfd4", "another server waits for signals"},
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
