/* SPDX-License-Identifier: BSD-2-Clause */
#include "login.h"

#include <base/error.h>

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SHELL "/bin/sh"

static void
take(struct login *login, const struct passwd *user)
{
	*login = (struct login){.uid = user->pw_uid, .gid = user->pw_gid};
	snprintf(login->name, sizeof(login->name), "%s", user->pw_name);
	snprintf(login->home, sizeof(login->home), "%s", user->pw_dir[0] ? user->pw_dir : "/");
	snprintf(login->shell, sizeof(login->shell), "%s",
		user->pw_shell[0] ? user->pw_shell : SHELL);
	login->groups[login->n_groups++] = user->pw_gid;
}

/* The entry of this name, or without a name of this id. */
static int
find(struct login *login, const char *name, uid_t uid)
{
	FILE *file = fopen("/etc/passwd", "re");
	const struct passwd *user;
	int r = -ENOENT;

	if (!file)
		return -errno;
	while (r < 0 && (user = fgetpwent(file)))
		if (name ? strcmp(user->pw_name, name) == 0 : user->pw_uid == uid) {
			take(login, user);
			r = 0;
		}
	fclose(file);
	return r;
}

static bool
is_member(const struct group *group, const char *name)
{
	for (char **member = group->gr_mem; *member; member++)
		if (strcmp(*member, name) == 0)
			return true;
	return false;
}

static int
find_groups(struct login *login)
{
	FILE *file = fopen("/etc/group", "re");
	const struct group *group;

	if (!file)
		return errno == ENOENT ? 0 : -errno;
	while (login->n_groups < LOGIN_GROUPS_MAX && (group = fgetgrent(file)))
		if (group->gr_gid != login->gid && is_member(group, login->name))
			login->groups[login->n_groups++] = group->gr_gid;
	fclose(file);
	return 0;
}

int
login_find(struct login *ret_login, const char *name, struct ivshmem_error *reterr)
{
	int r = find(ret_login, name, 0);

	if (r == -ENOENT)
		return error_set(reterr, r, "there is no user '%.100s' in /etc/passwd", name);
	if (r < 0)
		return error_set(reterr, r, "cannot read /etc/passwd: %s", strerror(-r));
	r = find_groups(ret_login);
	return r < 0 ? error_set(reterr, r, "cannot read /etc/group: %s", strerror(-r)) : 0;
}

void
login_of_ourselves(struct login *ret_login)
{
	if (find(ret_login, NULL, geteuid()) == 0)
		return;
	*ret_login =
		(struct login){.home = "/", .shell = SHELL, .uid = geteuid(), .gid = getegid()};
	snprintf(ret_login->name, sizeof(ret_login->name), "%u", geteuid());
}

int
login_become(const struct login *login)
{
	if (setgroups(login->n_groups, login->groups) < 0 ||
		setresgid(login->gid, login->gid, login->gid) < 0 ||
		setresuid(login->uid, login->uid, login->uid) < 0)
		return -errno;
	clearenv();
	return 0;
}
