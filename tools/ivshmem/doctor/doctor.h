/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef DOCTOR_DOCTOR_H
#define DOCTOR_DOCTOR_H

/*
 * `ivshmem doctor`: what every check knows, and how it says what it found.
 *
 * Theory of operation. First doctor.c gathers what there is to look at: virtual machine monitors with
 * their command lines, sockets, pieces of memory, PCI devices. Then each topic looks at what is of its
 * kind. A topic is one file with a table of small checks. A check looks and tells, and changes nothing.
 * What one topic learns and another one needs is kept in here: what a server said, and which sockets
 * and memory a command line names.
 */

#include "cli.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* The most things of each kind that one run looks at. */
#define DOCTOR_MOST 64

enum severity {
	SEVERITY_OK,
	SEVERITY_NOTE,    /* worth knowing */
	SEVERITY_WARNING, /* works, but not for ever or not well */
	SEVERITY_ERROR,
	SEVERITY_COUNT
};

/* What a server told us, who only look. */
struct known_server {
	char path[128];
	pid_t pid;     /* 0: unknown, as it has no socket for observers */
	int vectors;   /* of each peer; negative: unknown, for the same reason */
	int peers;     /* that are there */
	uint64_t size; /* of the memory */
};

struct doctor {
	const struct cli *cli;
	const char *root; /* goes before /proc, /sys and /var; "" but in tests */
	bool rings;       /* whether a guest may ring itself, once */

	const char *subject; /* what is looked at */
	unsigned counts[SEVERITY_COUNT];
	char remedy[2048]; /* of the next finding */

	char *targets
		[DOCTOR_MOST]; /* "unix:PATH", "device:PATH", "shm:NAME", "file:PATH" and so on */
	size_t n_targets;
	struct known_server servers[DOCTOR_MOST];
	size_t n_servers;
};

/* Say what mends the next finding: a command if there is one. */
void mend(struct doctor *doctor, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Tell of a finding of findings.c, about doctor->subject, in a sentence without full stop. */
void found(struct doctor *doctor, const char *id, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* The "s" behind a noun, or "". */
const char *plural(uint64_t n);

/* Print all findings that there are (--list). */
void findings_list(const struct doctor *doctor);

/* Remember something to be looked at, once. */
void doctor_add_target(struct doctor *doctor, const char *scheme, const char *path);

/* What a server told; NULL if none listens on this path, or it was not asked. */
const struct known_server *doctor_server(const struct doctor *doctor, const char *path);

/* ---- the topics ------------------------------------------------------------------------------ */

struct vmm;
struct ivshmem_client;

/* A server's socket, "unix:PATH" or "observe:PATH", and what is behind it. */
void socket_check(struct doctor *doctor, const char *target);
/* The socket of an ivshmem-device. It is looked at, and not connected to. */
void socket_check_device(struct doctor *doctor, const char *path);
/* The process that serves a socket. */
void server_check(struct doctor *doctor, const struct known_server *server);
/* Memory without a server, "shm:NAME" or "file:PATH". */
void memory_check(struct doctor *doctor, const char *target);
/* Memory that a server gave us. */
void memory_check_attached(struct doctor *doctor, const struct ivshmem_client *client);
/* What is in the memory. */
void channels_check(struct doctor *doctor, const struct ivshmem_client *client);
/* Security modules and what they refused. `vmm` may be NULL. */
void labels_check(struct doctor *doctor);
void labels_check_vmm(struct doctor *doctor, const struct vmm *vmm);
/* PCI devices of this machine: "pci:ADDRESS", "pci:auto" or "dev:NODE". */
void guest_check(struct doctor *doctor, const char *target);

#endif
