/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * The user and the capabilities. Of these, one that the program has a use for can stay. One that is worth
 * little to an attacker stays always, and a mightier one if somebody gave it by name: to a service that
 * is not root, or as an ambient one (AmbientCapabilities= in a unit).
 */
#include <common/sandbox.h>

#include <base/error.h>
#include <base/log.h>

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <libgen.h>
#include <limits.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

struct capabilities {
	uint64_t effective, permitted, inheritable;
};

static int
get_capabilities(struct capabilities *ret)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {0};

	if (syscall(SYS_capget, &header, data) < 0)
		return -errno;
	*ret = (struct capabilities){
		data[0].effective | (uint64_t)data[1].effective << 32,
		data[0].permitted | (uint64_t)data[1].permitted << 32,
		data[0].inheritable | (uint64_t)data[1].inheritable << 32,
	};
	return 0;
}

static int
set_capabilities(const struct capabilities *wanted)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {
		{(uint32_t)wanted->effective, (uint32_t)wanted->permitted,
			(uint32_t)wanted->inheritable},
		{(uint32_t)(wanted->effective >> 32), (uint32_t)(wanted->permitted >> 32),
			(uint32_t)(wanted->inheritable >> 32)},
	};

	return syscall(SYS_capset, &header, data) < 0 ? -errno : 0;
}

static uint64_t
capabilities_to_keep(const struct sandbox *sandbox)
{
	struct capabilities now;
	uint64_t keep = sandbox->keep;

	if (get_capabilities(&now) < 0)
		return 0;
	for (unsigned i = 0; i <= CAP_LAST_CAP; i++)
		if (sandbox->keep_given & UINT64_C(1) << i &&
			(geteuid() != 0 ||
				prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, i, 0, 0) == 1))
			keep |= UINT64_C(1) << i;
	return keep & now.permitted;
}

/* The server measures at its start how large a group it can hand over at the end: with the same rights. */
void
sandbox_early_privileges(const struct sandbox *sandbox)
{
	uint64_t gone = (UINT64_C(1) << CAP_NET_ADMIN) & ~capabilities_to_keep(sandbox);
	struct capabilities now = {0};

	if (get_capabilities(&now) < 0)
		return;
	now.effective &= ~gone;
	now.permitted &= ~gone;
	set_capabilities(&now);
}

static int
become(const struct sandbox_user *user, struct ivshmem_error *reterr)
{
	if (!user->name || geteuid() == user->uid)
		return 0;
	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0 || initgroups(user->name, user->gid) < 0 ||
		setresgid(user->gid, user->gid, user->gid) < 0 ||
		setresuid(user->uid, user->uid, user->uid) < 0)
		return error_set(reterr, -errno, "cannot become the user '%.100s' (--user): %s",
			user->name, strerror(errno));
	return 0;
}

/* What we cannot remove at the end stays. The next server replaces it, but should not come as a surprise. */
static void
warn_of_paths(const struct sandbox *sandbox, const struct log *log)
{
	char copy[PATH_MAX];

	for (unsigned i = 0; i < sandbox->n_paths; i++) {
		const struct sandbox_path *at = &sandbox->paths[i];

		if (at->access != SANDBOX_REMOVE && at->access != SANDBOX_SOCKET)
			continue;
		snprintf(copy, sizeof(copy), "%s", at->path);
		if (faccessat(AT_FDCWD, dirname(copy), W_OK | X_OK, AT_EACCESS) < 0)
			log_warning(log,
				"'%s' will stay when the program ends, because its directory does not belong to user "
				"%u; the next one replaces it",
				at->path, (unsigned)geteuid());
	}
}

int
sandbox_privileges(
	const struct sandbox *sandbox, const struct log *log, struct ivshmem_error *reterr)
{
	uint64_t keep = capabilities_to_keep(sandbox);
	const struct capabilities less = {keep, keep, 0};
	int r;

	/* Needs a capability itself, which a service without root has not: it needs no bounds either. */
	for (unsigned i = 0; i <= CAP_LAST_CAP; i++)
		prctl(PR_CAPBSET_DROP, i, 0, 0, 0);
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	r = become(&sandbox->user, reterr);
	if (r < 0)
		return r;
	r = set_capabilities(&less);
	if (r < 0)
		return error_set(reterr, r, "cannot give up capabilities: %s", strerror(-r));
	/* Another user may have made it traceable again. */
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
		(sandbox->mode != SANDBOX_OFF && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0))
		return error_set(reterr, -errno, "cannot give up rights: %s", strerror(errno));
	warn_of_paths(sandbox, log);
	return 0;
}
