/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef DOCTOR_LOOK_H
#define DOCTOR_LOOK_H

/* Small readers of /proc, /sys and /var. Paths are those of the machine; doctor->root goes before them. */

#include "context.h"

#include <sys/stat.h>

/* Read at most size - 1 bytes of a file, append a NUL and drop the newline at its end. Returns the length
 * or a negative errno, with "" in `buffer`. */
ssize_t look_text(const struct doctor *doctor, const char *path, char *buffer, size_t size);

/* The same with any bytes and on the heap: at most the last `max` of them, and a NUL. */
ssize_t look_bytes(const struct doctor *doctor, const char *path, size_t max, char **ret_bytes);

/* Where a link leads. False if it is none, and "" in `buffer`. */
bool look_link(const struct doctor *doctor, const char *path, char *buffer, size_t size);

/* The path with the root before it, for opendir(). */
char *look_path(const struct doctor *doctor, const char *path, char *buffer, size_t size);

/* "user 0, group ivshmem, mode 0660". Returns `buffer`. */
#define WHO_TEXT_MAX 128
char *look_who_may(const struct stat *info, char buffer[WHO_TEXT_MAX]);

/* The name of a group, or its number. Returns `buffer`. */
#define GROUP_TEXT_MAX 64
char *look_group(gid_t gid, char buffer[GROUP_TEXT_MAX]);

/* ---- processes ------------------------------------------------------------------------------- */

/* The name that a process has now; "" if it is gone. Returns `buffer`. */
#define PROCESS_NAME_MAX 32
char *look_process_name(const struct doctor *doctor, pid_t pid, char buffer[PROCESS_NAME_MAX]);

/* When it started, in ticks of the kernel; 0: unknown. */
uint64_t look_process_started(const struct doctor *doctor, pid_t pid);

/* Its soft limit on file descriptors, and how many it has open. 0: unknown. */
uint64_t look_process_limit(const struct doctor *doctor, pid_t pid);
uint64_t look_process_open(const struct doctor *doctor, pid_t pid);

/* Whether a socket of this process is connected to one of the other process: 1 or 0. A negative errno
 * if that cannot be seen, such as -EACCES, or -ENODATA in another network namespace. */
int look_connected(const struct doctor *doctor, pid_t pid, pid_t other);

/* Call `fn` for each process, until it returns false. */
void look_processes(struct doctor *doctor, bool (*fn)(struct doctor *doctor, pid_t pid, void *data),
	void *data);

#endif
