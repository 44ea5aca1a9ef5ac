/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SERVER_CHILD_H
#define SERVER_CHILD_H

/*
 * One server that a parent of ours (parent.h) runs and replaces, and whose group the parent keeps in
 * between. child.c has the theory.
 */

#include <base/list.h>
#include <loop/loop.h>
#include <parent.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct log;

enum child_state { CHILD_OVER, CHILD_WAITING, CHILD_STARTING, CHILD_SERVING };

struct child {
	/* From the owner; they outlive the child. */
	struct parent *parent;
	const struct log *log;
	void (*ready)(struct child *child); /* a server serves */
	/* It has ended, and no other one starts. The owner may free the child, or start it anew. */
	void (*over)(struct child *child, int status);

	char **argv;   /* of the next server; child_release_argv() frees it */
	char **former; /* those before, while others are being tried */
	struct loop_timer pause;
	enum child_state state;
	struct parent_server server; /* its pid is 0 if there is none */
	int group;                   /* what we keep; -1: nothing */
	bool ending;                 /* it was asked to */
	bool again;                  /* a server that has not served yet was asked to restart */
	bool leaving;                /* a server that serves was */
	bool served;                 /* some server has */
	uint64_t since;              /* clock_now() when it began to serve */
	unsigned failures;
};

/* Runs this program with `argv`, which ends with NULL; it is the child's from now on. Like each of its
 * strings, it is malloc's. */
void child_start(struct child *child, char **argv);

/* Restart the server, so that its clients notice nothing; at once if there is none. */
void child_restart(struct child *child);

/* The same with other arguments, which are the child's. If a server with them does not start, the one
 * with the former ones goes on with the group. */
void child_replace(struct child *child, char **argv);

/* Let the clients go, and end: over() follows, in this call if there is no server. */
void child_end(struct child *child);

/* Are there clients that a server with other arguments has to go on with? */
bool child_has_group(const struct child *child);

/* Is nothing under way that will soon be decided? */
bool child_is_settled(const struct child *child);

/* Give back what a child has; it must be over, or never have been started. */
void child_done(struct child *child);

/* Frees it and its strings; NULL is nothing. Returns NULL. */
char **child_free_argv(char **argv);

#endif
