/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * The file system, by Landlock: what is open stays open, and new files can be opened, made and removed
 * only where the program says. Needs no rights. Sockets can still be connected to, wherever they are.
 */
#include <common/sandbox.h>

#include <base/error.h>
#include <base/fd.h>
#include <base/log.h>

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <linux/landlock.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define VERSION_FLAG 1U /* LANDLOCK_CREATE_RULESET_VERSION */

/* Rights that newer kernels have. */
#define ACCESS_FIRST     (LANDLOCK_ACCESS_FS_MAKE_SYM * 2 - 1) /* all of version 1 */
#define ACCESS_REFER     (UINT64_C(1) << 13)                   /* version 2 */
#define ACCESS_TRUNCATE  (UINT64_C(1) << 14)                   /* version 3 */
#define ACCESS_IOCTL_DEV (UINT64_C(1) << 15)                   /* version 5 */

static const uint64_t rights[] = {
	[SANDBOX_READ] = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR,
	[SANDBOX_DEVICE] = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE,
	[SANDBOX_REMOVE] = LANDLOCK_ACCESS_FS_REMOVE_FILE,
	[SANDBOX_CREATE] =
		LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_MAKE_REG | ACCESS_TRUNCATE,
	[SANDBOX_SOCKET] = LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_SOCK |
			   LANDLOCK_ACCESS_FS_READ_DIR,
};

static uint64_t
rights_of_version(long version)
{
	uint64_t handled = ACCESS_FIRST;

	if (version >= 2)
		handled |= ACCESS_REFER;
	if (version >= 3)
		handled |= ACCESS_TRUNCATE;
	if (version >= 5)
		handled |= ACCESS_IOCTL_DEV;
	return handled;
}

static int
allow(int rules, uint64_t handled, const char *path, uint64_t allowed)
{
	_fd_cleanup_ int fd = open(path, O_PATH | O_CLOEXEC);
	const struct landlock_path_beneath_attr rule = {allowed & handled, fd};

	/* What is not there cannot be used either. */
	if (fd < 0)
		return errno == ENOENT || errno == EACCES || errno == ENOTDIR ? 0 : -errno;
	return syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0
		       ? -errno
		       : 0;
}

static int
allow_all(const struct sandbox *sandbox, int rules, uint64_t handled)
{
	char copy[PATH_MAX];
	int r = 0;

	for (unsigned i = 0; i < sandbox->n_paths && r == 0; i++) {
		const struct sandbox_path *at = &sandbox->paths[i];
		bool beside = at->access >= SANDBOX_REMOVE;

		snprintf(copy, sizeof(copy), "%s", at->path);
		r = allow(rules, handled, beside ? dirname(copy) : at->path, rights[at->access]);
	}
	/* Sanitizers look at themselves, and run the symbolizer. */
	if (r == 0 && sandbox_sanitizers[0].name)
		r = allow(rules, handled, "/", rights[SANDBOX_READ] | LANDLOCK_ACCESS_FS_EXECUTE);
	return r;
}

int
sandbox_files(const struct sandbox *sandbox, const struct log *log, struct ivshmem_error *reterr)
{
	long version = syscall(SYS_landlock_create_ruleset, NULL, 0, VERSION_FLAG);
	struct landlock_ruleset_attr attr = {.handled_access_fs = rights_of_version(version)};
	_fd_cleanup_ int rules = -1;
	int r;

	if (version < 1) {
		log_debug(
			log, "the kernel has no Landlock: the file system stays open to this user");
		return 0;
	}
	rules = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr.handled_access_fs), 0);
	r = rules < 0 ? -errno : allow_all(sandbox, rules, attr.handled_access_fs);
	if (r == 0 && syscall(SYS_landlock_restrict_self, rules, 0) < 0)
		r = -errno;
	return r < 0 ? error_set(reterr, r == -EINVAL ? -EIO : r,
			       "cannot give up the file system (Landlock): %s", strerror(-r))
		     : 0;
}
