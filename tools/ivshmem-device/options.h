/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef DEVICE_OPTIONS_H
#define DEVICE_OPTIONS_H

/* The command line of ivshmem-device: the properties of QEMU's device, and what else a process
 * needs. */

#include <common/sandbox.h>

#include <ivshmem/device.h>

#include <stdbool.h>
#include <sys/types.h>

struct ivshmem_error;

enum device_action { DEVICE_ACTION_SERVE, DEVICE_ACTION_HELP, DEVICE_ACTION_VERSION };

struct device_options {
	enum device_action action; /* unless it is DEVICE_ACTION_SERVE, nothing else is checked */
	bool verbose;

	/* where the VMM connects */
	const char *socket; /* NULL: by `fd`, or a supervisor passes one */
	int fd;             /* -1, or a socket that listens or is connected to a VMM */
	mode_t socket_mode;
	uid_t socket_owner; /* (uid_t)-1: leave */
	gid_t socket_group; /* (gid_t)-1: leave */

	const char *control_socket; /* NULL: none */

	/* where the memory comes from: exactly one, the others are NULL */
	const char *server; /* path of the socket, without "unix:" */
	const char *shm;
	const char *file;
	bool preallocate; /* shm and file: allocate all of the memory, or fail */

	/*
	 * The device, as far as the options decide. The id and, in revision 1, the size come with
	 * the memory. A size given to revision 1 (without a server) is the size of memory to be
	 * created, and existing memory must have it.
	 */
	struct ivshmem_device_config config;

	unsigned spin_us; /* how long to look for a request before sleeping */
	unsigned timeout_ms;
	unsigned wait_ms; /* for a server that is not there yet */

	bool guard; /* a second process goes on if this one is killed */

	const char *trace_file; /* NULL: stderr */

	struct sandbox_user user;
	enum sandbox_mode sandbox;

	const char *warning; /* for the user; NULL: none */
};

/*
 * Returns 0, or -EINVAL and the sentence. `*ret_usage` then tells whether the command line as a
 * whole makes no sense, so that the usage helps more than the sentence. This opens nothing, and
 * looks up only the names of user and group.
 */
int device_options_parse(int argc, char **argv, struct device_options *ret_options, bool *ret_usage,
	struct ivshmem_error *reterr);

extern const char device_options_usage[];

#endif
