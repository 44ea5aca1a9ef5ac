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
	{NULL},
};

/* With --keep-clients only: for a process that watches over the server's descriptors (its guardian). */
const struct sandbox_call server_keeping_calls[] = {
	{"clone", "the guardian shares the descriptors, and nothing else", SANDBOX_IF, 0,
		CLONE_FILES | CLONE_VM | CLONE_THREAD, CLONE_FILES},
	{"prctl", "the guardian notices the end of the server", SANDBOX_IF, 0, UINT32_MAX,
		PR_SET_PDEATHSIG},
	{"getppid", "the guardian looks whether the server ended before that"},
	{"wait4", "the server notices the end of the guardian"},
	{"waitid", "the same"},
	{NULL},
};
