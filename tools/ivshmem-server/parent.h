/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SERVER_PARENT_H
#define SERVER_PARENT_H

/*
 * A process that runs servers as its children (child.h) and hears what becomes of them: their messages,
 * in systemd's protocol (common/supervisor.h), and their ends. What they say comes to a socket in a
 * directory of our own. A message counts for the child that sent it. What a child has sent before it
 * ended is in the queue when we hear of the end, so the queue is read first.
 */

#include <base/list.h>
#include <loop/loop.h>

#include <limits.h>
#include <stddef.h>
#include <sys/types.h>
#include <sys/un.h>

/* The variable that tells a server who its parent is. */
#define PARENT_NAME "IVSHMEM_SERVER_PARENT"

/* A server that the parent knows of. */
struct parent_server {
	struct list link; /* parent::servers */
	pid_t pid;        /* 0: none now, or its other process has not told yet who it is */
	pid_t group;      /* of its processes; 0: there are none */
	pid_t speaker;    /* its other process, which has spoken to us */
	/* What it has said; what is kept of `fds` is -1 afterwards. */
	void (*said)(struct parent_server *server, const char *text, int *fds, size_t n_fds);
	/* It has ended: `status` is waitpid()'s. */
	void (*ended)(struct parent_server *server, int status);
};

struct parent {
	/* SIGHUP, SIGINT or SIGTERM came. */
	void (*told)(struct parent *parent, int signal);

	char program[PATH_MAX];
	struct loop *loop;
	struct loop_source signals, messages;
	struct sockaddr_un address;
	struct list servers;
};

/* A negative errno; parent_close() is needed even then. */
int parent_open(struct parent *parent, void (*told)(struct parent *parent, int signal));
void parent_close(struct parent *parent);

/* Where the servers send their messages. */
const char *parent_address(const struct parent *parent);

#endif
