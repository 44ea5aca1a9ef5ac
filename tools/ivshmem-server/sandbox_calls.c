/* SPDX-License-Identifier: BSD-2-Clause */

/* The system calls of ivshmem-server, besides those of all services (common/sandbox_calls.c). */

#include <confine.h>

#include <common/sandbox.h>

#include <linux/sockios.h>
#include <sys/ioctl.h>

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
