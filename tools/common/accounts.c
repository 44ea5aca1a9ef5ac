/* SPDX-License-Identifier: BSD-2-Clause */
#include <common/accounts.h>

#include <base/error.h>
#include <base/parse.h>

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdint.h>
#include <string.h>
#include <sys/types.h>

/*
 * There is no such name, so it may be a number. The largest number is no id: chown() takes it for
 * "leave it". The C library has several errnos for a name that does not exist.
 */
static int
take_number(const char *what, const char *kind, const char *text, int error, unsigned *ret_id,
	struct ivshmem_error *reterr)
{
	if (parse_uint(text, 0, UINT32_MAX - 1, ret_id) == 0)
		return 0;
	switch (error) {
	case EIO:
	case EMFILE:
	case ENFILE:
	case ENOMEM:
	case EINTR:
	case ERANGE:
		return error_set(reterr, -error, "%s: cannot look up the %s '%.100s': %s", what,
			kind, text, strerror(error));
	default:
		return error_set(reterr, -EINVAL, "%s: there is no %s '%.100s'", what, kind, text);
	}
}

int
account_user(void *to, const char *what, const char *text, struct ivshmem_error *reterr)
{
	const struct passwd *user;
	uid_t *uid = to;

	errno = 0;
	user = getpwnam(text);
	if (!user)
		return take_number(what, "user", text, errno, uid, reterr);
	*uid = user->pw_uid;
	return 0;
}

int
account_group(void *to, const char *what, const char *text, struct ivshmem_error *reterr)
{
	const struct group *group;
	gid_t *gid = to;

	errno = 0;
	group = getgrnam(text);
	if (!group)
		return take_number(what, "group", text, errno, gid, reterr);
	*gid = group->gr_gid;
	return 0;
}
