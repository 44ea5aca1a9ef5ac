/* SPDX-License-Identifier: BSD-2-Clause */
#include "top/process.h"

#include "top/sample.h"

#include <base/fd.h>

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* The user's name is looked for in this file only: what else the system may ask for it takes long, and needs
 * libraries that a program without libraries does not have. */
#define USERS "/etc/passwd"

static ssize_t
read_file(const char *path, char *text, size_t size)
{
	_fd_cleanup_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, size - 1);

	if (n < 0)
		return -1;
	text[n] = 0;
	return n;
}

static void
find_user(uid_t uid, char *ret_user, size_t size)
{
	FILE *file = fopen(USERS, "re");
	char line[512];

	snprintf(ret_user, size, "%u", (unsigned)uid);
	while (file && fgets(line, sizeof(line), file)) {
		char *colon = strchr(line, ':');
		char *number = colon ? strchr(colon + 1, ':') : NULL;
		char *end;

		if (!number || strtoul(number + 1, &end, 10) != uid || end == number + 1 ||
			*end != ':')
			continue;
		*colon = 0;
		sample_copy_text(ret_user, size, line);
		break;
	}
	if (file)
		fclose(file);
}

/* Seconds since 1970 when this machine started, by the clock that processes are counted with. */
static double
boot_time(void)
{
	struct timespec now, since;

	clock_gettime(CLOCK_REALTIME, &now);
	clock_gettime(CLOCK_BOOTTIME, &since);
	return (double)(now.tv_sec - since.tv_sec) + (double)(now.tv_nsec - since.tv_nsec) / 1e9;
}

/* The name is in parentheses and may contain anything; the start is the 20th field after it, behind 20 blanks. */
static void
take_stat(char *text, struct top_process *process)
{
	char *open = strchr(text, '(');
	char *close = strrchr(text, ')');
	char *field;

	if (!open || !close || close < open)
		return;
	*close = 0;
	sample_copy_text(process->program, sizeof(process->program), open + 1);
	field = close + 1; /* the first blank */
	for (unsigned i = 0; field && i < 19; i++)
		field = strchr(field + 1, ' ');
	if (field)
		process->started = boot_time() +
				   (double)strtoull(field, NULL, 10) / (double)sysconf(_SC_CLK_TCK);
	process->known = true;
}

void
top_process_find(uint32_t pid, struct top_process *ret_process)
{
	struct top_process process = {.known = false};
	char path[64], text[1024];
	struct stat info;

	snprintf(path, sizeof(path), "/proc/%" PRIu32 "/stat", pid);
	if (read_file(path, text, sizeof(text)) > 0)
		take_stat(text, &process);
	if (process.known && stat(path, &info) == 0) {
		process.uid = info.st_uid;
		find_user(info.st_uid, process.user, sizeof(process.user));
	}
	*ret_process = process;
}
