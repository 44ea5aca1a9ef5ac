/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VMM_GROUP_H
#define VMM_GROUP_H

/*
 * A group of guests: a real ivshmem-server, VMs whose devices are attached in one of three ways, and
 * for the two remote ones a real ivshmem-device each.
 */

#include <driver.h>
#include <embedded.h>
#include <remote.h>

#include <stdbool.h>
#include <sys/types.h>

#define GROUP_MAX    4
#define GROUP_MEMORY (UINT32_C(1) << 20)

enum way {
	WAY_EMBEDDED, /* the library in the VMM */
	WAY_REMOTE,   /* ivshmem-device, with ioeventfds */
	WAY_TRAPPED,  /* ivshmem-device, each ring a message */
};

/* How a device differs from the defaults. */
struct member_options {
	enum way way;
	unsigned revision;
	bool no_msi, peer; /* peer: not the master; revision 1: neither, unless `master` */
	bool master;       /* revision 1: master=auto */
	bool words;        /* revision 1: doorbell_bar */
	bool own_routes;   /* embedded: the library keeps the VM's interrupt routes */
};

struct member {
	struct vm *vm;
	struct member_options options;
	pid_t device;    /* the process of a remote one */
	unsigned number; /* in the group, for names */
	uint16_t id;     /* after group_settle() */
};

struct group {
	char server[256]; /* its socket */
	pid_t server_pid;
	unsigned vectors, n, named;
	struct member members[GROUP_MAX];
};

/* A server whose clients have so many vectors. Skips the test where there is no KVM. */
void group_start(struct group *group, unsigned vectors);
/* One of several groups. */
void group_start_named(struct group *group, unsigned vectors, const char *name);
/* Everything goes. */
void group_stop(struct group *group);

/* A server process more, or another one for the same place (after group_stop_server()). */
void group_start_server(struct group *group);
void group_stop_server(struct group *group);

/* One more VM, whose guest waits for its first command and has set up nothing. */
struct member *group_join(struct group *group, const struct member_options *options);
/* It goes; its place is taken by the next who joins. */
void group_leave(struct group *group, struct member *member);

/* Wait until each device knows each vector of each, `others` more clients (processes of the host, with
 * as many vectors) included. */
void group_settle(struct group *group, unsigned others);

/* `n` VMs of one way, settled, whose guests have set up all vectors. */
void group_of(struct group *group, enum way way, unsigned n, unsigned vectors);

/* One test per way: TEST_WAYS(name) { ... uses `way` ... } */
#define TEST_WAYS(name, ...)                                                                       \
	static void name(enum way way);                                                            \
	TEST_WITH(name##_embedded, __VA_ARGS__)                                                    \
	{                                                                                          \
		name(WAY_EMBEDDED);                                                                \
	}                                                                                          \
	TEST_WITH(name##_remote, __VA_ARGS__)                                                      \
	{                                                                                          \
		name(WAY_REMOTE);                                                                  \
	}                                                                                          \
	TEST_WITH(name##_trapped, __VA_ARGS__)                                                     \
	{                                                                                          \
		name(WAY_TRAPPED);                                                                 \
	}                                                                                          \
	static void name(enum way way)

#endif
