/* SPDX-License-Identifier: BSD-2-Clause */
#include <common/arguments.h>

#include <base/parse.h>

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdint.h>
#include <string.h>

int
argument_number(const char *option, const char *text, unsigned min, unsigned max,
	unsigned *ret_value, struct error *reterr)
{
	int r = parse_uint(text, min, max, ret_value);

	if (r < 0)
		return error_set(reterr, -EINVAL, "%s: '%.100s' is not a number from %u to %u",
			option, text, min, max);
	return 0;
}

int
argument_mode(const char *option, const char *text, mode_t *ret_mode, struct error *reterr)
{
	unsigned mode;

	if (parse_mode(text, &mode) < 0)
		return error_set(reterr, -EINVAL,
			"%s: '%.100s' is not a set of permissions: write octal digits like 0660",
			option, text);
	*ret_mode = mode;
	return 0;
}

/* The largest number is no id, but stands for "leave it". */
static int
parse_id(const char *text, unsigned *ret_id)
{
	return parse_uint(text, 0, UINT32_MAX - 1, ret_id);
}

/* No such name is no error to the C library; it has several errnos for it. */
static int
refuse_name(const char *option, const char *kind, const char *text, int error, struct error *reterr)
{
	switch (error) {
	case EIO:
	case EMFILE:
	case ENFILE:
	case ENOMEM:
	case EINTR:
	case ERANGE:
		return error_set(reterr, -error, "%s: cannot look up the %s '%.100s': %s", option,
			kind, text, strerror(error));
	default:
		return error_set(
			reterr, -EINVAL, "%s: there is no %s '%.100s'", option, kind, text);
	}
}

int
argument_user(const char *option, const char *text, uid_t *ret_uid, struct error *reterr)
{
	const struct passwd *user;
	unsigned number;
	int error;

	errno = 0;
	user = getpwnam(text);
	error = errno;
	if (user)
		*ret_uid = user->pw_uid;
	else if (parse_id(text, &number) == 0)
		*ret_uid = number;
	else
		return refuse_name(option, "user", text, error, reterr);
	return 0;
}

int
argument_group(const char *option, const char *text, gid_t *ret_gid, struct error *reterr)
{
	const struct group *group;
	unsigned number;
	int error;

	errno = 0;
	group = getgrnam(text);
	error = errno;
	if (group)
		*ret_gid = group->gr_gid;
	else if (parse_id(text, &number) == 0)
		*ret_gid = number;
	else
		return refuse_name(option, "group", text, error, reterr);
	return 0;
}

int
argument_refuse(int result, char **argv, const struct option *long_options, struct error *reterr)
{
	/* Of a long option, or of one at the end, the argument that it stands in; a letter that is
	 * unknown may stand amid others. */
	const char *given = argv[optind - 1];
	const struct option *option = long_options;

	while (option->name && option->val != optopt)
		option++;
	if (result == ':' && option->name && strncmp(given, "--", 2) == 0)
		return error_set(reterr, -EINVAL, "option '--%s' needs a value", option->name);
	if (result == ':')
		return error_set(reterr, -EINVAL, "option '-%c' needs a value", optopt);
	if (optopt != 0 && option->name)
		return error_set(reterr, -EINVAL, "option '--%s' takes no value", option->name);
	if (optopt != 0)
		return error_set(reterr, -EINVAL, "unknown option '-%c'", optopt);
	for (option = long_options; option->name; option++) {
		if (strncmp(given + 2, option->name, strcspn(given + 2, "=")) == 0)
			return error_set(reterr, -EINVAL,
				"option '%.100s' is ambiguous: write it out, such as '--%s'", given,
				option->name);
	}
	return error_set(reterr, -EINVAL, "unknown option '%.100s'", given);
}
