/* SPDX-License-Identifier: BSD-2-Clause */
#include "look.h"

#include <base/fd.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

char *
look_path(const struct doctor *doctor, const char *path, char *buffer, size_t size)
{
	snprintf(buffer, size, "%s%s", doctor->root, path);
	return buffer;
}

/* Fill the buffer as far as the file goes. */
static ssize_t
read_up_to(int fd, char *buffer, size_t size)
{
	size_t length = 0;

	while (length < size) {
		ssize_t n = read(fd, buffer + length, size - length);

		/* EPIPE: the kernel's log has overwritten what comes next. */
		if (n < 0 && (errno == EINTR || errno == EPIPE))
			continue;
		if (n == 0 || (n < 0 && length > 0))
			break;
		if (n < 0)
			return -errno;
		length += (size_t)n;
	}
	return (ssize_t)length;
}

/* O_NONBLOCK: a file that others made can be a pipe. */
static int
open_file(const struct doctor *doctor, const char *path)
{
	char full[PATH_MAX];
	int fd = open(look_path(doctor, path, full, sizeof(full)),
		O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	return fd < 0 ? -errno : fd;
}

ssize_t
look_text(const struct doctor *doctor, const char *path, char *buffer, size_t size)
{
	_fd_cleanup_ int fd = open_file(doctor, path);
	ssize_t n = fd < 0 ? fd : read_up_to(fd, buffer, size - 1);

	if (n > 0 && buffer[n - 1] == '\n')
		n--;
	buffer[n > 0 ? n : 0] = '\0';
	return n;
}

ssize_t
look_bytes(const struct doctor *doctor, const char *path, size_t max, char **ret_bytes)
{
	_fd_cleanup_ int fd = open_file(doctor, path);
	struct stat info;
	char *bytes;
	ssize_t n;

	if (fd < 0)
		return fd;
	/* Of what /proc makes, nobody knows the size before. */
	if (fstat(fd, &info) == 0 && info.st_size > (off_t)max)
		lseek(fd, info.st_size - (off_t)max, SEEK_SET);
	bytes = malloc(max + 1);
	if (!bytes)
		return -ENOMEM;
	n = read_up_to(fd, bytes, max);
	if (n < 0) {
		free(bytes);
		return n;
	}
	bytes[n] = '\0';
	*ret_bytes = bytes;
	return n;
}

bool
look_link(const struct doctor *doctor, const char *path, char *buffer, size_t size)
{
	char full[PATH_MAX];
	ssize_t n = readlink(look_path(doctor, path, full, sizeof(full)), buffer, size - 1);

	buffer[n > 0 ? n : 0] = '\0';
	return n > 0;
}

/* ---- users ----------------------------------------------------------------------------------- */

char *
look_group(gid_t gid, char buffer[GROUP_TEXT_MAX])
{
	FILE *file = fopen("/etc/group", "re");
	char line[1024];

	snprintf(buffer, GROUP_TEXT_MAX, "%u", (unsigned)gid);
	while (file && fgets(line, sizeof(line), file)) {
		/* NAME:PASSWORD:NUMBER:MEMBERS */
		char *password = strchr(line, ':');
		char *number = password ? strchr(password + 1, ':') : NULL;

		if (number && strtoul(number + 1, NULL, 10) == gid) {
			snprintf(buffer, GROUP_TEXT_MAX, "%.*s", (int)(password - line), line);
			break;
		}
	}
	if (file)
		fclose(file);
	return buffer;
}

char *
look_who_may(const struct stat *info, char buffer[WHO_TEXT_MAX])
{
	char group[GROUP_TEXT_MAX];

	snprintf(buffer, WHO_TEXT_MAX, "user %u, group %s, mode %04o", (unsigned)info->st_uid,
		look_group(info->st_gid, group), (unsigned)info->st_mode & 07777);
	return buffer;
}

/* ---- processes ------------------------------------------------------------------------------- */

char *
look_process_name(const struct doctor *doctor, pid_t pid, char buffer[PROCESS_NAME_MAX])
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	look_text(doctor, path, buffer, PROCESS_NAME_MAX);
	return buffer;
}

uint64_t
look_process_started(const struct doctor *doctor, pid_t pid)
{
	char path[64], text[1024];
	const char *rest;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	look_text(doctor, path, text, sizeof(text));
	/* The second field is the name in parentheses, which can contain anything; the 22nd is what
	 * we want. */
	rest = strrchr(text, ')');
	for (unsigned field = 2; rest && field < 22; field++)
		rest = strchr(rest + 1, ' ');
	return rest ? strtoull(rest + 1, NULL, 10) : 0;
}

uint64_t
look_process_limit(const struct doctor *doctor, pid_t pid)
{
	static const char title[] = "Max open files";
	char path[64], text[4096];
	const char *line;

	snprintf(path, sizeof(path), "/proc/%d/limits", (int)pid);
	look_text(doctor, path, text, sizeof(text));
	line = strstr(text, title);
	return line ? strtoull(line + sizeof(title) - 1, NULL, 10) : 0;
}

uint64_t
look_process_open(const struct doctor *doctor, pid_t pid)
{
	char path[64], full[PATH_MAX];
	uint64_t n = 0;
	DIR *folder;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	folder = opendir(look_path(doctor, path, full, sizeof(full)));
	while (folder && readdir(folder))
		n++;
	if (folder)
		closedir(folder);
	/* Without "." and "..". */
	return n > 2 ? n - 2 : 0;
}

void
look_processes(
	struct doctor *doctor, bool (*fn)(struct doctor *doctor, pid_t pid, void *data), void *data)
{
	const struct dirent *entry;
	char full[PATH_MAX];
	bool go_on = true;
	DIR *folder = opendir(look_path(doctor, "/proc", full, sizeof(full)));

	while (go_on && folder && (entry = readdir(folder))) {
		char *end;
		unsigned long pid = strtoul(entry->d_name, &end, 10);

		if (pid > 0 && pid <= INT_MAX && *end == '\0')
			go_on = fn(doctor, (pid_t)pid, data);
	}
	if (folder)
		closedir(folder);
}
