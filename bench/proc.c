/* SPDX-License-Identifier: BSD-2-Clause */
#include "proc.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Read a small file of /proc/PID as a string. */
static int
file_read(pid_t pid, const char *name, char *text, size_t size)
{
	char path[300];
	ssize_t got;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	got = read(fd, text, size - 1);
	if (got < 0) {
		int r = -errno;
		close(fd);
		return r;
	}
	close(fd);
	text[got] = '\0';
	return 0;
}

/* The number that follows `key` in text made of lines "key: number kB". */
static int
field_find(const char *text, const char *key, uint64_t *ret_value)
{
	const char *at = strstr(text, key);

	if (!at)
		return -ENOENT;
	at += strlen(key);
	*ret_value = strtoull(at + strspn(at, ": \t"), NULL, 10);
	return 0;
}

int
proc_cpu_ns(pid_t pid, uint64_t *ret_ns)
{
	char path[64], text[128];
	struct dirent *entry;
	uint64_t sum = 0;
	DIR *tasks;
	int r = -ESRCH;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	tasks = opendir(path);
	if (!tasks)
		return -errno;
	while ((entry = readdir(tasks))) {
		char name[280];

		if (entry->d_name[0] == '.')
			continue;
		snprintf(name, sizeof(name), "task/%s/schedstat", entry->d_name);
		if (file_read(pid, name, text, sizeof(text)) < 0)
			continue;
		sum += strtoull(text, NULL, 10);
		r = 0;
	}
	closedir(tasks);
	if (r == 0)
		*ret_ns = sum;
	return r;
}

int
proc_memory(pid_t pid, struct proc_memory *ret_memory)
{
	struct proc_memory memory = {0};
	char text[4096];
	int r;

	r = file_read(pid, "status", text, sizeof(text));
	if (r < 0)
		return r;
	if (field_find(text, "\nVmRSS", &memory.vm_rss_kib) < 0)
		return -ESRCH; /* a zombie has no memory left to report */
	field_find(text, "\nVmHWM", &memory.vm_hwm_kib);
	r = file_read(pid, "smaps_rollup", text, sizeof(text));
	if (r < 0 || field_find(text, "\nRss", &memory.rss_kib) < 0)
		memory.rss_kib = memory.vm_rss_kib;
	*ret_memory = memory;
	return 0;
}

int
proc_fd_count(pid_t pid, unsigned *ret_count)
{
	struct dirent *entry;
	unsigned count = 0;
	char path[64];
	DIR *fds;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	fds = opendir(path);
	if (!fds)
		return -errno;
	while ((entry = readdir(fds)))
		count += entry->d_name[0] != '.';
	closedir(fds);
	*ret_count = count;
	return 0;
}

/* The state letter of /proc/PID/stat; it follows the name, which may itself contain parentheses. */
static char
proc_state(pid_t pid)
{
	char text[512];
	const char *at;

	if (file_read(pid, "stat", text, sizeof(text)) < 0)
		return '\0';
	at = strrchr(text, ')');
	return at && at[1] == ' ' ? at[2] : '\0';
}

bool
proc_alive(pid_t pid)
{
	char state = proc_state(pid);

	return state != '\0' && state != 'Z' && state != 'X';
}

bool
proc_settle(pid_t pid, unsigned limit_ms)
{
	const struct timespec step = {.tv_nsec = 1000000};
	uint64_t before = 0, now = 0;
	unsigned quiet = 0;

	for (unsigned ms = 0; ms < limit_ms && quiet < 3; ms++) {
		char state = proc_state(pid);

		if (state == '\0' || state == 'Z' || state == 'X' || proc_cpu_ns(pid, &now) < 0)
			return true;
		quiet = state == 'S' && now == before ? quiet + 1 : 0;
		before = now;
		nanosleep(&step, NULL);
	}
	return quiet >= 3;
}
