/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef DAEMON_H
#define DAEMON_H

/* How a program lives in the background, and is found there. */

#include <limits.h>
#include <sys/stat.h>

struct ivshmem_error;

/*
 * Go into the background. Returns in the child only, with a descriptor to report to. The parent
 * waits for the report and exits with it, so that its exit status 0 means that the daemon serves.
 * -errno on failure.
 */
int daemon_start(void);
/* All is ready: let the parent exit with 0, and let go of the terminal. If the child ends without
 * this, the parent exits with 1. */
void daemon_ready(int report_fd);

struct pid_file {
	int fd; /* locked as long as it is open */
	dev_t dev;
	ino_t ino;
	char path[PATH_MAX];
};

/*
 * Write our process id. -EBUSY if a living process holds the file, -EEXIST if the path leads to
 * anything but a plain file of our own or of root.
 */
int pid_file_open(struct pid_file *ret_file, const char *path, struct ivshmem_error *reterr);
/* This process is the server from now on, in the place of the one that opened the file. */
void pid_file_update(const struct pid_file *file);
/* Remove it if it is still ours. */
void pid_file_close(struct pid_file *file);

#endif
