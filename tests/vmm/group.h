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

#include <ivshmem/client.h>

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
	struct member_options options; /* of those whom group_add() makes */
	char server[256];              /* its socket */
	pid_t server_pid;
	unsigned vectors, n, named;
	struct member members[GROUP_MAX];
};

/* A server whose clients have so many vectors; `name` is its own. Skips the test where there is no
 * KVM. */
void group_start(struct group *group, unsigned vectors, const char *name);
/* Everything goes. */
void group_stop(struct group *group);

/* The server goes, and the others stay. */
void group_stop_server(struct group *group);

/* One more VM, whose guest waits for its first command and has set up nothing. */
struct member *group_join(struct group *group, const struct member_options *options);
/* It goes; its place is taken by the next who joins. */
void group_leave(struct group *group, struct member *member);

/* Wait until each device knows each vector of each, `others` more clients (processes of the host, with
 * as many vectors) included. */
void group_settle(struct group *group, unsigned others);

/* One with the group's options, for whom all have settled, and whose guest has set up all vectors. */
struct member *group_add(struct group *group);

/* A process of the host. */
struct ivshmem_client *group_attach(const struct group *group);
/* Wait until it knows all vectors of `id`: it hears of others when it looks. */
void group_await(const struct group *group, struct ivshmem_client *client, uint16_t id);

static inline struct attachment *
device_of(const struct member *member)
{
	return member->vm->pci.functions[0];
}

/* How often a program has had a part in the rings of this member so far. */
uint64_t detours(const struct member *member);

/* One member's guest rings another's, so many times. */
void ring(const struct member *from, const struct member *to, unsigned vector, uint32_t times);
/* Once, by which the other's vector came `count` times altogether. */
void ring_and_expect(
	const struct member *from, const struct member *to, unsigned vector, uint32_t count);
/* The guests ring each other in turns: every ring is waited for, so each is one interrupt. */
void round_trips(
	const struct member *from, const struct member *to, unsigned vector, uint32_t times);

/* ---- tests ------------------------------------------------------------------------------------ */

/* The group that tests begin with, and its first two members. */
extern struct group here;
extern struct member *const a, *const b;

/* group_start() and group_add(), `n` times. */
void group_begin(enum way way, unsigned n, unsigned vectors);
void group_end(void);

#define TEST_WAY(name, suffix, way, n, ...)                                                        \
	TEST_WITH(name##suffix, .end = group_end, __VA_ARGS__)                                     \
	{                                                                                          \
		group_begin(way, n, VECTORS);                                                      \
		name();                                                                            \
	}

/* One test per way, which begins with `n` members of it: TEST_WAYS(name, 2) { ... }. The file has a
 * VECTORS. */
#define TEST_WAYS(name, n, ...)                                                                    \
	static void name(void);                                                                    \
	TEST_WAY(name, _embedded, WAY_EMBEDDED, n, __VA_ARGS__)                                    \
	TEST_WAY(name, _remote, WAY_REMOTE, n, __VA_ARGS__)                                        \
	TEST_WAY(name, _trapped, WAY_TRAPPED, n, __VA_ARGS__)                                      \
	static void name(void)

#endif
