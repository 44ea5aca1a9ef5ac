/* SPDX-License-Identifier: BSD-2-Clause */
#include <region_file.h>

#include <base/error.h>
#include <base/fd.h>
#include <common/arguments.h>
#include <policy_options.h>
#include <region_lines.h>

#include <ivshmem/common.h>

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SIZE_MAX_FILE (64 * 1024)
#define KEYS_MAX      1024

/* These say what a process is, and not what a region is; the manager sets them. */
static const char *const not_keys[] = {"help", "version", "foreground", "keep-clients", "supervise",
	"regions", "runtime-dir", "check", "name", "pidfile"};

/* A file while it is read. */
struct draft {
	struct region_file *file;
	struct option_kind kinds[ARGUMENTS_MAX];
	unsigned n_kinds;
};

/* ---- which keys there are -------------------------------------------------------------------- */

static bool
is_key(const char *name)
{
	for (unsigned i = 0; i < sizeof(not_keys) / sizeof(not_keys[0]); i++)
		if (strcmp(name, not_keys[i]) == 0)
			return false;
	return true;
}

static const struct option_kind *
find_kind(const struct draft *draft, const char *name)
{
	for (unsigned i = 0; i < draft->n_kinds; i++)
		if (strcmp(draft->kinds[i].name, name) == 0)
			return &draft->kinds[i];
	return NULL;
}

/* How many letters must be put in, left out or changed to make one word of the other. */
static unsigned
distance(const char *a, const char *b)
{
	unsigned row[33];
	size_t length = strlen(b);

	if (length > 32 || strlen(a) > 32)
		return 64;
	for (unsigned i = 0; i <= length; i++)
		row[i] = i;
	for (; *a; a++) {
		unsigned before = row[0]++;

		for (size_t i = 1; i <= length; i++) {
			unsigned above = row[i], least = before + (*a != b[i - 1]);

			if (above + 1 < least)
				least = above + 1;
			if (row[i - 1] + 1 < least)
				least = row[i - 1] + 1;
			row[i] = least;
			before = above;
		}
	}
	return row[length];
}

static int
refuse_key(const struct draft *draft, const char *key, struct ivshmem_error *reterr)
{
	const char *near = NULL;
	/* What is a slip of the fingers depends on the length. */
	size_t least = strlen(key) < 9 ? strlen(key) / 3 + 1 : 4;
	char all[360];
	size_t length = 0;

	if (!is_key(key))
		return error_set(reterr, -EINVAL,
			"'%s' cannot be set for a region: that is the manager's", key);
	all[0] = '\0';
	for (unsigned i = 0; i < draft->n_kinds; i++) {
		const char *name = draft->kinds[i].name;

		if (!is_key(name))
			continue;
		if (distance(key, name) < least) {
			least = distance(key, name);
			near = name;
		}
		if (length + strlen(name) + 3 < sizeof(all))
			length += (size_t)sprintf(all + length, "%s%s", length ? ", " : "", name);
	}
	if (near)
		return error_set(
			reterr, -EINVAL, "unknown key '%.60s': did you mean '%s'?", key, near);
	return error_set(reterr, -EINVAL, "unknown key '%.60s'; the keys are %s", key, all);
}

/* ---- from keys to a command line ------------------------------------------------------------- */

__attribute__((format(printf, 3, 4))) static int
add(struct region_file *file, unsigned line, const char *format, ...)
{
	size_t room = file->argc + 2; /* with NULL */
	char **argv = reallocarray(file->argv, room, sizeof(*argv)), *text;
	unsigned *lines;
	va_list args;
	int n;

	if (!argv)
		return -ENOMEM;
	file->argv = argv;
	lines = reallocarray(file->lines, room, sizeof(*lines));
	if (!lines)
		return -ENOMEM;
	file->lines = lines;
	va_start(args, format);
	n = vasprintf(&text, format, args);
	va_end(args);
	if (n < 0)
		return -ENOMEM;
	argv[file->argc] = text;
	lines[file->argc++] = line;
	argv[file->argc] = NULL;
	return 0;
}

/* The first argument that is option `name`, or NULL. */
static const char *
find_argument(const struct region_file *file, const char *name, unsigned *ret_line)
{
	size_t length = strlen(name);

	for (unsigned i = 1; i < file->argc; i++) {
		const char *arg = file->argv[i] + 2;

		if (strncmp(arg, name, length) == 0 && (arg[length] == '=' || !arg[length])) {
			*ret_line = file->lines[i];
			return file->argv[i];
		}
	}
	return NULL;
}

/* A key that was "no" before leaves nothing, so it may come again; that does no harm. */
static int
take_line(
	void *data, unsigned line, const char *key, const char *value, struct ivshmem_error *reterr)
{
	struct draft *draft = data;
	struct region_file *file = draft->file;
	const struct option_kind *kind = find_kind(draft, key);
	unsigned before;
	int r;

	if (!kind || !is_key(key))
		return refuse_key(draft, key, reterr);
	if (!kind->repeats && find_argument(file, key, &before))
		return error_set(reterr, -EINVAL, "'%s' is set a second time; first in line %u",
			key, before);
	if (file->argc >= KEYS_MAX)
		return error_set(reterr, -EINVAL, "too many keys: at most %d", KEYS_MAX);
	if (!kind->takes_value && strcmp(value, "no") == 0)
		return 0;
	if (!kind->takes_value && strcmp(value, "yes") != 0)
		return error_set(reterr, -EINVAL, "%s: '%.60s' is not yes or no", key, value);
	r = kind->takes_value ? add(file, line, "--%s=%s", key, value)
			      : add(file, line, "--%s", key);
	return r < 0 ? error_set(reterr, r, "there is no memory to read it") : 0;
}

/* The program parses what the server will. */
static int
parse_first(struct region_file *file, unsigned n, struct ivshmem_error *reterr)
{
	char *saved = file->argv[n];
	bool usage;
	int r;

	file->argv[n] = NULL;
	r = options_parse((int)n, file->argv, &file->options, &usage, reterr);
	file->argv[n] = saved;
	return r;
}

/* Which line is to blame? The first one with which the same is wrong. */
static unsigned
find_line(struct region_file *file, const struct ivshmem_error *error)
{
	struct ivshmem_error other;

	for (unsigned n = 2; n <= file->argc; n++)
		if (parse_first(file, n, &other) < 0 && strcmp(other.message, error->message) == 0)
			return file->lines[n - 1];
	return 0;
}

static int
check_options(struct region_file *file, unsigned *ret_line, struct ivshmem_error *reterr)
{
	struct ivshmem_error error;
	int r = parse_first(file, file->argc, &error);

	*ret_line = 0;
	if (r == 0)
		return 0;
	*ret_line = find_line(file, &error);
	/* A key has no dashes. */
	return error_set(
		reterr, r, "%s", error.message + (strncmp(error.message, "--", 2) == 0 ? 2 : 0));
}

static int
set_defaults(struct region_file *file, const char *name, struct ivshmem_error *reterr)
{
	int r;

	snprintf(file->name, sizeof(file->name), "%s", name);
	r = add(file, 0, "ivshmem-server");
	if (r == 0)
		r = add(file, 0, "--foreground");
	if (r == 0)
		r = add(file, 0, "--keep-clients");
	if (r == 0)
		r = add(file, 0, "--name=%s", name);
	return r < 0 ? error_set(reterr, r, "there is no memory to read it") : 0;
}

static int
parse(struct region_file *file, const char *text, size_t size, const char *runtime_dir,
	unsigned *ret_line, struct ivshmem_error *reterr)
{
	struct draft draft = {.file = file};
	unsigned line;
	int r;

	draft.n_kinds = options_list(draft.kinds);
	r = region_lines(text, size, take_line, &draft, ret_line, reterr);
	if (r == 0 && !find_argument(file, "socket", &line) &&
		add(file, 0, "--socket=%s/%s.sock", runtime_dir, file->name) < 0)
		r = error_set(reterr, -ENOMEM, "there is no memory to read it");
	return r < 0 ? r : check_options(file, ret_line, reterr);
}

/* "PATH:LINE: SENTENCE". */
static int
place(const struct ivshmem_error *error, const char *path, unsigned line,
	struct ivshmem_error *reterr)
{
	if (line)
		return error_set(reterr, error->code, "%.200s:%u: %s", path, line, error->message);
	return error_set(reterr, error->code, "%.200s: %s", path, error->message);
}

int
region_file_parse(const char *text, size_t size, const char *path, const char *name,
	const char *runtime_dir, struct region_file *ret_file, struct ivshmem_error *reterr)
{
	struct region_file file = {0};
	struct ivshmem_error error;
	unsigned line = 0;
	int r = set_defaults(&file, name, &error);

	if (r == 0)
		r = parse(&file, text, size, runtime_dir, &line, &error);
	if (r < 0) {
		region_file_done(&file);
		return place(&error, path, line, reterr);
	}
	*ret_file = file;
	return 0;
}

/* ---- the file -------------------------------------------------------------------------------- */

static int
open_file(const char *path, struct ivshmem_error *reterr)
{
	/* A FIFO must not stop us. */
	_fd_cleanup_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat st;

	if (fd < 0 && errno == ENOENT && lstat(path, &st) == 0)
		return error_set(reterr, -ENOENT, "%.200s: it is a symbolic link to nothing", path);
	if (fd < 0 || fstat(fd, &st) < 0)
		return error_set(
			reterr, -errno, "%.200s: cannot read it: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return error_set(reterr, -EINVAL, "%.200s: it is %s, and not a file", path,
			S_ISDIR(st.st_mode) ? "a directory" : "something special");
	if (st.st_size > SIZE_MAX_FILE)
		return error_set(reterr, -EINVAL,
			"%.200s: it has more than %d KiB: is this an INI file?", path,
			SIZE_MAX_FILE / 1024);
	return fd_take(&fd);
}

int
region_file_read(const char *path, const char *name, const char *runtime_dir,
	struct region_file *ret_file, struct ivshmem_error *reterr)
{
	_fd_cleanup_ int fd = open_file(path, reterr);
	char text[SIZE_MAX_FILE];
	size_t size = 0;

	if (fd < 0)
		return fd;
	while (size < sizeof(text)) {
		ssize_t n = read(fd, text + size, sizeof(text) - size);

		if (n < 0 && errno != EINTR)
			return error_set(reterr, -errno, "%.200s: cannot read it: %s", path,
				strerror(errno));
		if (n == 0)
			break;
		if (n > 0)
			size += (size_t)n;
	}
	return region_file_parse(text, size, path, name, runtime_dir, ret_file, reterr);
}

void
region_file_done(struct region_file *file)
{
	for (unsigned i = 0; file->argv && i < file->argc; i++)
		free(file->argv[i]);
	free(file->argv);
	free(file->lines);
	*file = (struct region_file){0};
}

/* ---- other options ----------------------------------------------------------------------------- */

bool
region_file_is(const struct region_file *file, char **argv)
{
	unsigned i = 0;

	while (i < file->argc && argv[i] && strcmp(file->argv[i], argv[i]) == 0)
		i++;
	return i == file->argc && !argv[i];
}

char **
region_file_take(struct region_file *file)
{
	char **argv = file->argv;

	file->argv = NULL;
	return argv;
}

static bool
same_text(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

static bool
same_members(const struct options *a, const struct options *b)
{
	if (a->n_members != b->n_members)
		return false;
	for (unsigned i = 0; i < a->n_members; i++)
		if (a->members[i].id != b->members[i].id ||
			!same_text(a->members[i].socket, b->members[i].socket))
			return false;
	return true;
}

/* The key whose value the group depends on, and which is not the same; NULL if there is none. See the
 * table in docs/restart.md. */
static const char *
find_difference(const struct options *a, const struct options *b)
{
	const struct region_config *x = &a->memory, *y = &b->memory;
	char saw[POLICY_SEE_MAX], sees[POLICY_SEE_MAX];

	if (a->n_vectors != b->n_vectors)
		return "vectors";
	if (x->size != y->size)
		return "size";
	if (x->huge_page != y->huge_page)
		return "hugetlb";
	if (x->kind != y->kind || !same_text(x->name, y->name))
		return y->kind == REGION_DIRECTORY ||
				       (x->kind == REGION_DIRECTORY && y->kind == REGION_MEMFD)
			       ? "directory"
			       : "shm";
	policy_describe_see(&a->policy, saw);
	policy_describe_see(&b->policy, sees);
	if (strcmp(saw, sees) != 0)
		return "see";
	if (!same_text(a->socket, b->socket))
		return "socket";
	if (!same_text(a->observer_socket, b->observer_socket))
		return "observer-socket";
	return same_members(a, b) ? NULL : "member";
}

int
region_file_follows(
	const struct region_file *file, char **argv, const char *path, struct ivshmem_error *reterr)
{
	struct options was;
	struct ivshmem_error error;
	const char *key;
	unsigned line = 0;
	bool usage;
	int argc = 0, r;

	while (argv[argc])
		argc++;
	r = options_parse(argc, argv, &was, &usage, reterr);
	if (r < 0)
		return r;
	key = find_difference(&was, &file->options);
	if (!key)
		return 0;
	find_argument(file, key, &line);
	error_set(&error, -EINVAL,
		"'%s' cannot change while clients keep the group: to let them go and start anew, move "
		"the file away, reload, put it back and reload again",
		key);
	return place(&error, path, line, reterr);
}
