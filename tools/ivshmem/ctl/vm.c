/* SPDX-License-Identifier: BSD-2-Clause */
#include "ctl/vm.h"

#include "plot/json_in.h"

#include "doctor/vmm_options.h"
#include <base/fd.h>
#include <base/json.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define NAME_TEXT_MAX 128

/* ---- a command line -------------------------------------------------------------------------- */

/* A file's name, without its folders and its extension. */
static void
name_of_path(const char *path, char name[NAME_TEXT_MAX])
{
	const char *slash = strrchr(path, '/');
	char *dot;

	snprintf(name, NAME_TEXT_MAX, "%s", slash ? slash + 1 : path);
	dot = strrchr(name, '.');
	if (dot && dot != name)
		*dot = '\0';
}

/* QEMU: -name NAME or -name guest=NAME. Cloud Hypervisor has no name, but a socket for each VM. */
static void
name_of_options(const struct vmm_options *options, enum vmm_kind kind, char name[NAME_TEXT_MAX])
{
	bool qemu = kind == VMM_QEMU;
	const char *key = qemu ? "name" : "api-socket";
	const struct vmm_option *option = NULL, *next;

	/* The last one counts. */
	while ((next = vmm_options_next(options, key, option)))
		option = next;
	if (option && qemu)
		snprintf(name, NAME_TEXT_MAX, "%s", vmm_option_type(option, "guest"));
	else if (option)
		name_of_path(vmm_option_type(option, "path"), name);
}

static void
name_of_line(const char *bytes, size_t length, char name[NAME_TEXT_MAX])
{
	struct vmm_options options;
	struct vmm_words words;

	if (vmm_words_split(&words, bytes, length) < 0)
		return;
	if (vmm_options_parse(&options, &words) == 0) {
		name_of_options(&options, words.kind, name);
		vmm_options_free(&options);
	}
	vmm_words_free(&words);
}

/* "" if it is not known. A process of another user than the one that connected is another process. */
static void
find_name(double pid, double uid, char name[NAME_TEXT_MAX])
{
	char path[64], *bytes = malloc(VMM_LINE_MAX);
	struct stat info;
	ssize_t n = -1;
	int fd = -1;

	name[0] = '\0';
	snprintf(path, sizeof(path), "/proc/%.0f/cmdline", pid);
	if (bytes && pid >= 1)
		fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0 && fstat(fd, &info) == 0 && (double)info.st_uid == uid)
		n = read(fd, bytes, VMM_LINE_MAX);
	if (n > 0)
		name_of_line(bytes, (size_t)n, name);
	fd_close(fd);
	free(bytes);
}

/* ---- the answer ------------------------------------------------------------------------------ */

/* What follows in an object of a peer, without its end. */
static bool
take_peer(struct json_in *in, double *ret_pid, double *ret_uid)
{
	bool first = true;
	char key[32];
	int r;

	*ret_pid = *ret_uid = -1;
	if (!json_in_take(in, '{'))
		return false;
	while ((r = json_in_key(in, &first, key, sizeof(key))) == 1) {
		bool good = strcmp(key, "pid") == 0   ? json_in_optional(in, ret_pid)
			    : strcmp(key, "uid") == 0 ? json_in_optional(in, ret_uid)
						      : json_in_skip(in);

		if (!good)
			return false;
	}
	return r == 0;
}

static bool
add_name(struct json_in *in, FILE *out)
{
	const char *start = in->at;
	char name[NAME_TEXT_MAX];
	struct json json = {.out = out, .depth = 1, .close = "}", .filled = {true}};
	double pid, uid;

	if (!take_peer(in, &pid, &uid))
		return false;
	/* The peers of a device have no processes. */
	if (pid < 0) {
		fwrite(start, 1, (size_t)(in->at - start), out);
		return true;
	}
	find_name(pid, uid, name);
	/* All but its end. */
	fwrite(start, 1, (size_t)(in->at - 1 - start), out);
	if (name[0])
		json_string(&json, "vm", name);
	else
		json_null(&json, "vm");
	json_end(&json);
	return true;
}

static bool
add_names(struct json_in *in, FILE *out)
{
	const char *start = in->at;
	bool first = true, outer = true;
	char key[16];

	if (!json_in_take(in, '{') || json_in_key(in, &outer, key, sizeof(key)) != 1 ||
		strcmp(key, "peers") != 0 || !json_in_take(in, '['))
		return false;
	fwrite(start, 1, (size_t)(in->at - start), out);
	for (;;) {
		start = in->at;
		if (!json_in_element(in, &first))
			break;
		fwrite(start, 1, (size_t)(in->at - start), out);
		if (!add_name(in, out))
			return false;
	}
	fwrite(in->at, 1, (size_t)(in->end - in->at), out);
	return true;
}

char *
vm_add_names(const char *answer, size_t length, size_t *ret_length)
{
	struct json_in in = json_in(answer, length);
	char *text = NULL;
	FILE *out = open_memstream(&text, ret_length);
	bool good;

	if (!out)
		return NULL;
	good = add_names(&in, out);
	if (fclose(out) == 0 && good)
		return text;
	free(text);
	return NULL;
}
