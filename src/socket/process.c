/* SPDX-License-Identifier: BSD-2-Clause */
#include <socket/process.h>

#include <base/fd.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* No quotes, brackets, commas, blanks or control characters: a name must not look like a sentence
 * of ours, and must do nothing to a terminal. */
static const char safe[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._+-/:@";

static void
read_program(pid_t pid, char program[PROCESS_PROGRAM_MAX])
{
	char path[32];
	_fd_cleanup_ int fd = -1;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? 0 : read(fd, program, PROCESS_PROGRAM_MAX - 1);
	program[n > 0 ? n : 0] = '\0';
	/* The line from the kernel ends here. A newline in the name itself is no end. */
	if (n > 0 && program[n - 1] == '\n')
		program[n - 1] = '\0';
	for (char *c = program; *c; c++)
		if (!strchr(safe, *c))
			*c = '?';
}

struct process
process_behind(int socket)
{
	struct process process = {.uid = (uid_t)-1};
	struct ucred cred;
	socklen_t length = sizeof(cred);

	if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &cred, &length) < 0)
		return process;
	process.pid = cred.pid;
	process.uid = cred.uid;
	if (cred.pid > 0)
		read_program(cred.pid, process.program);
	return process;
}

int
process_groups(int socket, gid_t **ret_groups)
{
	socklen_t length = 0, cred_length = sizeof(struct ucred);
	struct ucred cred;
	gid_t *groups;

	if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &cred, &cred_length) < 0)
		return -errno;
	/* The kernel says how much room they need. */
	if (getsockopt(socket, SOL_SOCKET, SO_PEERGROUPS, NULL, &length) < 0 && errno != ERANGE)
		return -errno;
	groups = malloc(length + sizeof(*groups));
	if (!groups)
		return -ENOMEM;
	if (getsockopt(socket, SOL_SOCKET, SO_PEERGROUPS, groups, &length) < 0) {
		int r = -errno;

		free(groups);
		return r;
	}
	groups[length / sizeof(*groups)] = cred.gid;
	*ret_groups = groups;
	return (int)(length / sizeof(*groups)) + 1;
}

const char *
process_describe(const struct process *process, char text[PROCESS_TEXT_MAX])
{
	char id[16] = "unknown", user[24] = "";

	if (process->pid > 0)
		snprintf(id, sizeof(id), "%d", (int)process->pid);
	if (process->uid != (uid_t)-1)
		snprintf(user, sizeof(user), ", user %u", (unsigned)process->uid);
	snprintf(text, PROCESS_TEXT_MAX, "process %s%s%s%s", id, user,
		process->program[0] ? ", program " : "", process->program);
	return text;
}
