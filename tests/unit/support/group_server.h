/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef UNIT_GROUP_SERVER_H
#define UNIT_GROUP_SERVER_H

/* A group: a server in a thread of its own, and host processes as peers. */

#include <ivshmem/client.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/un.h>

struct loop;
struct server;

#define GROUP_MEMORY (UINT64_C(1) << 20)

struct group {
	struct loop *loop;
	struct server *server;
	struct sockaddr_un address;
	int listener, memory;
	pthread_t thread;
	atomic_bool quit;
};

/* Start a server for peers with `vectors` vectors and GROUP_MEMORY bytes. */
void group_open(struct group *group, unsigned vectors);
/* The server dies. */
void group_kill(struct group *group);
void group_close(struct group *group);

struct ivshmem_client *group_join(struct group *group);

#endif
