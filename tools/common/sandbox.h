/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef COMMON_SANDBOX_H
#define COMMON_SANDBOX_H

/*
 * What a service gives up: rights that it does not need any more, so that an attacker who takes it
 * over cannot use them.
 *
 * Theory of operation: the rights go in two stages.
 *
 *	1, sandbox_begin()	at the start, before anything is set up: no new privileges (a program
 *				that is set-user-ID gives none), no core with shared memory in it,
 *				and no other process of the same user may trace this one
 *	2, sandbox_enter()	when sockets, memory and loop are there, before the first client is
 *				served, while there is one thread only: the user, the
 *				capabilities, the file system (Landlock), the system calls
 *				(seccomp), in this order, because each step needs what a later one
 *				takes away
 *
 * Threads that start later have what this one has. What the C library loads late is loaded before: the
 * time zone for syslog(), and the names of users, which are looked up with the options.
 *
 * System calls are allowed by name. A call that is not in a table ends the process (SANDBOX_KILL), or
 * is reported to the kernel's audit and goes on (SANDBOX_LOG). A table has the reason next to each
 * call. A name that this machine or libseccomp does not know is passed over: names differ between
 * processors and releases, and a table has all of them.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct ivshmem_error;
struct log;

enum sandbox_mode {
	SANDBOX_DEFAULT, /* SANDBOX_KILL if this build and the kernel can, SANDBOX_OFF if not */
	SANDBOX_OFF,
	SANDBOX_LOG,
	SANDBOX_KILL,
};

/* Under which condition a call is allowed. */
enum sandbox_when {
	SANDBOX_ALWAYS,
	SANDBOX_IF,     /* the bits `mask` of the argument are `value` */
	SANDBOX_SELF,   /* the argument is our process id */
	SANDBOX_REFUSE, /* never: it fails with ENOSYS, and the C library uses another call */
};

struct sandbox_call {
	const char *name; /* NULL ends a table */
	const char *reason;
	enum sandbox_when when;
	unsigned argument; /* counted from 0 */
	uint64_t mask, value;
};

/* What of the file system stays. The path is a file or a directory; NULL or "" is passed over. */
enum sandbox_access {
	SANDBOX_READ,   /* read all below it */
	SANDBOX_DEVICE, /* read and write it */
	SANDBOX_REMOVE, /* remove files of its directory: the path is one of them */
	SANDBOX_CREATE, /* make and write files of its directory: the path is one of them */
	SANDBOX_SOCKET, /* remove and make sockets of its directory: the path is one of them */
};

struct sandbox_path {
	const char *path;
	enum sandbox_access access;
};

#define SANDBOX_TABLES_MAX 4
#define SANDBOX_PATHS_MAX  300

/* The user to become. */
struct sandbox_user {
	const char *name; /* NULL: stay who we are */
	uid_t uid;
	gid_t gid;
};

struct sandbox {
	enum sandbox_mode mode;
	struct sandbox_user user;
	/* Capabilities that stay, as bits: if we have them, and if somebody gave them to us by name. */
	uint64_t keep, keep_given;
	const struct sandbox_call *tables[SANDBOX_TABLES_MAX]; /* besides sandbox_common */
	struct sandbox_path paths[SANDBOX_PATHS_MAX];
	unsigned n_paths;
};

/* What every service of ours needs (sandbox_calls.c). */
extern const struct sandbox_call sandbox_common[];
/* What those need that have a guardian. */
extern const struct sandbox_call sandbox_guardian[];
/* What a program with sanitizers needs besides; empty in other builds. */
extern const struct sandbox_call sandbox_sanitizers[];

/* argument::take for --sandbox, where `to` is an enum sandbox_mode. */
int sandbox_take_mode(void *to, const char *what, const char *text, struct ivshmem_error *reterr);
/* argument::take for --user, where `to` is a struct sandbox_user. The text must stay. */
int sandbox_take_user(void *to, const char *what, const char *text, struct ivshmem_error *reterr);

/* To be called before sandbox_enter(). */
void sandbox_add_path(struct sandbox *sandbox, const char *path, enum sandbox_access access);
void sandbox_add_table(struct sandbox *sandbox, const struct sandbox_call *table);

/*
 * Stage 1. Decides what SANDBOX_DEFAULT means. -ENOTSUP if a mode was asked for that this build does not
 * have; -EPERM if another user was asked for and we are not root.
 */
int sandbox_begin(struct sandbox *sandbox, const struct log *log, struct ivshmem_error *reterr);

/* Stage 2. A failure leaves the process with less than it had, so the program must end. */
int sandbox_enter(struct sandbox *sandbox, const struct log *log, struct ivshmem_error *reterr);

/* The parts of the stages. */
bool sandbox_can_filter(void);
void sandbox_early_privileges(const struct sandbox *sandbox);
int sandbox_privileges(
	const struct sandbox *sandbox, const struct log *log, struct ivshmem_error *reterr);
int sandbox_files(
	const struct sandbox *sandbox, const struct log *log, struct ivshmem_error *reterr);
int sandbox_filter(const struct sandbox *sandbox, struct ivshmem_error *reterr);

#endif
