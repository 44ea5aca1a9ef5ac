/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_AGENT_LOGIN_H
#define IVSHMEM_AGENT_LOGIN_H

/*
 * Users, as /etc/passwd and /etc/group have them. A static program cannot ask for others, and the
 * agent in a guest is one.
 */

#include <ivshmem/common.h>

#include <sys/types.h>

#define LOGIN_GROUPS_MAX 256

struct login {
	char name[64], home[256], shell[256];
	uid_t uid;
	gid_t gid;
	gid_t groups[LOGIN_GROUPS_MAX]; /* with `gid` */
	unsigned n_groups;
};

/* Find a user by name. Fails with a sentence. */
int login_find(struct login *ret_login, const char *name, struct ivshmem_error *reterr);

/* The user who we are. Without an entry, home is "/", and the shell /bin/sh. */
void login_of_ourselves(struct login *ret_login);

/* Become this user, for good, with an empty environment. 0 or a negative errno. */
int login_become(const struct login *login);

#endif
