/* SPDX-License-Identifier: BSD-2-Clause */
#include <common/sandbox.h>

#include <base/error.h>
#include <base/fd.h>
#include <base/log.h>
#include <base/parse.h>

#include <ivshmem/common.h>

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

/* Which memory a core has (core(5)): anonymous and private, ELF headers, private huge pages. */
#define CORE_WITHOUT_SHARED "0x31"

int
sandbox_take_mode(void *to, const char *what, const char *text, struct ivshmem_error *reterr)
{
	static const char *const names[] = {
		[SANDBOX_OFF] = "off", [SANDBOX_LOG] = "log", [SANDBOX_KILL] = "kill"};
	enum sandbox_mode *mode = to;

	for (unsigned i = SANDBOX_OFF; i <= SANDBOX_KILL; i++) {
		if (strcmp(text, names[i]) == 0) {
			*mode = (enum sandbox_mode)i;
			return 0;
		}
	}
	return error_set(reterr, -EINVAL, "%s: '%.100s' is none of off, log and kill", what, text);
}

int
sandbox_take_user(void *to, const char *what, const char *text, struct ivshmem_error *reterr)
{
	struct sandbox_user *user = to;
	const struct passwd *found;
	unsigned uid;

	errno = 0;
	found = getpwnam(text);
	if (!found && parse_uint(text, 0, UINT32_MAX - 1, &uid) == 0)
		found = getpwuid(uid);
	if (!found)
		return error_set(reterr, -EINVAL, "%s: there is no user '%.100s'%s%s", what, text,
			errno ? ": " : "", errno ? strerror(errno) : "");
	*user = (struct sandbox_user){text, found->pw_uid, found->pw_gid};
	return 0;
}

void
sandbox_add_path(struct sandbox *sandbox, const char *path, enum sandbox_access access)
{
	/* An abstract socket has no path. */
	if (!path || path[0] == '\0' || path[0] == '@' || sandbox->n_paths == SANDBOX_PATHS_MAX)
		return;
	sandbox->paths[sandbox->n_paths++] = (struct sandbox_path){path, access};
}

void
sandbox_add_table(struct sandbox *sandbox, const struct sandbox_call *table)
{
	for (unsigned i = 0; i < SANDBOX_TABLES_MAX; i++) {
		if (!sandbox->tables[i]) {
			sandbox->tables[i] = table;
			return;
		}
	}
}

/* ---- stage 1 --------------------------------------------------------------------------------- */

static int
choose_mode(struct sandbox *sandbox, const struct log *log, struct ivshmem_error *reterr)
{
	if (sandbox->mode == SANDBOX_OFF || sandbox_can_filter())
		return 0;
	if (sandbox->mode != SANDBOX_DEFAULT)
		return error_set(reterr, -ENOTSUP,
			"--sandbox: this program was built without libseccomp; leave it out, or build "
			"with -Dseccomp=enabled");
	log_debug(log, "no sandbox: this program was built without libseccomp");
	sandbox->mode = SANDBOX_OFF;
	return 0;
}

/* A core that somebody allows again, with gdb or suid_dumpable, has nothing of the guests either. */
static void
keep_out_of_cores(void)
{
	_fd_cleanup_ int fd = open("/proc/self/coredump_filter", O_WRONLY | O_CLOEXEC);

	if (fd >= 0 && write(fd, CORE_WITHOUT_SHARED, strlen(CORE_WITHOUT_SHARED)) < 0)
		errno = 0;
}

int
sandbox_begin(struct sandbox *sandbox, const struct log *log, struct ivshmem_error *reterr)
{
	int r = choose_mode(sandbox, log, reterr);

	if (r < 0)
		return r;
	if (sandbox->user.name && geteuid() != 0 && geteuid() != sandbox->user.uid)
		return error_set(reterr, -EPERM, "--user %.100s: only root can become another user",
			sandbox->user.name);
	if (sandbox->mode == SANDBOX_OFF)
		return 0;
	keep_out_of_cores();
	sandbox_early_privileges(sandbox);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return error_set(
			reterr, -errno, "cannot give up rights (--sandbox): %s", strerror(errno));
	return 0;
}

/* ---- stage 2 --------------------------------------------------------------------------------- */

int
sandbox_enter(struct sandbox *sandbox, const struct log *log, struct ivshmem_error *reterr)
{
	bool by_default = sandbox->mode == SANDBOX_DEFAULT;
	int r = 0;

	if (sandbox->mode != SANDBOX_OFF || sandbox->user.name)
		r = sandbox_privileges(sandbox, log, reterr);
	if (r < 0 || sandbox->mode == SANDBOX_OFF)
		return r;
	/* For syslog(), which could not open the file later. */
	tzset();
	r = sandbox_files(sandbox, log, reterr);
	if (r == 0)
		r = sandbox_filter(sandbox, reterr);
	/* A kernel without seccomp, or an emulator. */
	if (r == -EINVAL && by_default) {
		log_warning(log, "no filter of system calls: %s", reterr->message);
		r = 0;
	}
	return r;
}
