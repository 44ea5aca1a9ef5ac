/* SPDX-License-Identifier: BSD-2-Clause */
#include "bus_error.h"

#include "cli.h"
#include "target.h"

#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/*
 * There are three causes. Somebody truncated an object that is not sealed. Or the object is as large
 * as ever, but its file system or the machine has no page left for it. Or the device of a guest is
 * gone.
 */
enum cause { CAUSE_TRUNCATED, CAUSE_FULL, CAUSE_GONE, N_CAUSES };

static const char *const sentences[N_CAUSES] = {
	[CAUSE_TRUNCATED] =
		"was truncated while in use: attach again when it has its size; that of "
		"a server without -M and -m is sealed against it",
	[CAUSE_FULL] = "has no page left to give: its file system is full, or memory or huge pages "
		       "have run out; make room, and let --preallocate (of ivshmem-server, or of "
		       "ivshmem-device) find out at the start",
	[CAUSE_GONE] = "is gone with its device",
};

/* A signal handler can only write text that already exists. */
static char messages[N_CAUSES][TARGET_MAX + 256];

static struct {
	const char *start;
	uint64_t size;
	int fd;
} watched;

static struct sigaction before;

static void
on_bus_error(int number, siginfo_t *info, void *context)
{
	const char *address = info->si_addr;
	enum cause cause = CAUSE_FULL;
	struct stat st;
	ssize_t written;

	(void)context;
	/* It is not about the shared memory. The instruction runs again, and ends us as it would
	 * without this handler. */
	if (info->si_code <= 0 || address < watched.start ||
		(uint64_t)(address - watched.start) >= watched.size) {
		sigaction(number, &before, NULL);
		if (info->si_code <= 0)
			raise(number);
		return;
	}
	if (watched.fd < 0 || fstat(watched.fd, &st) < 0)
		cause = CAUSE_GONE;
	else if ((uint64_t)st.st_size < watched.size)
		cause = CAUSE_TRUNCATED;
	written = write(STDERR_FILENO, messages[cause], strlen(messages[cause]));
	(void)written;
	_exit(STATUS_FAILURE);
}

void
bus_error_handle(const char *target)
{
	struct sigaction action = {.sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO};

	for (unsigned i = 0; i < N_CAUSES; i++)
		snprintf(messages[i], sizeof(messages[i]), "ivshmem: the shared memory of %s %s\n",
			target, sentences[i]);
	sigaction(SIGBUS, &action, &before);
}

void
bus_error_watch(const struct ivshmem_client *client)
{
	watched.start = ivshmem_memory(client);
	watched.size = ivshmem_size(client);
	watched.fd = ivshmem_memory_fd(client);
}
