/* SPDX-License-Identifier: BSD-2-Clause */
#include "bus_error.h"

#include "cli.h"
#include "target.h"

#include <setjmp.h>
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

#define PREFIX "ivshmem: "

/* A signal handler can only write text that already exists. */
static char messages[N_CAUSES][TARGET_MAX + 256];

void (*bus_error_before_end)(void);

static struct {
	const char *start;
	uint64_t size;
	int fd;
} watched;

/* Where bus_error_guard() goes on; NULL: it is not at work in this thread. */
static _Thread_local sigjmp_buf *guard;
static enum cause guarded_cause;

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
	if (guard) {
		guarded_cause = cause;
		siglongjmp(*guard, 1);
	}
	if (bus_error_before_end)
		bus_error_before_end();
	written = write(STDERR_FILENO, messages[cause], strlen(messages[cause]));
	(void)written;
	_exit(STATUS_FAILURE);
}

void
bus_error_handle(const char *target)
{
	struct sigaction action = {.sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO};

	for (unsigned i = 0; i < N_CAUSES; i++)
		snprintf(messages[i], sizeof(messages[i]), PREFIX "the shared memory of %s %s\n",
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

const char *
bus_error_guard(void (*access)(void *data), void *data)
{
	static char sentence[sizeof(messages[0])];
	sigjmp_buf here;

	if (sigsetjmp(here, 1) == 0) {
		guard = &here;
		access(data);
		guard = NULL;
		return NULL;
	}
	guard = NULL;
	/* Without who says it, and without the newline. */
	snprintf(sentence, sizeof(sentence), "%s", messages[guarded_cause] + strlen(PREFIX));
	sentence[strcspn(sentence, "\n")] = 0;
	return sentence;
}
