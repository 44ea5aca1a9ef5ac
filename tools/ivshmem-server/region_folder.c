/* SPDX-License-Identifier: BSD-2-Clause */
#include <region_folder.h>

#include <base/error.h>

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SUFFIX       ".ini"
#define NAME_LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-"

/* A socket, and whose it is. */
struct claim {
	const char *socket;
	struct region_entry *entry;
};

static void
set_wrong(struct region_folder *folder, struct region_entry *entry)
{
	char name[REGION_NAME_MAX];

	memcpy(name, entry->file.name, sizeof(name));
	region_file_done(&entry->file);
	memcpy(entry->file.name, name, sizeof(name));
	folder->n_wrong++;
}

/* ---- sockets --------------------------------------------------------------------------------- */

static int
compare_claims(const void *a, const void *b)
{
	const struct claim *x = a, *y = b;

	return strcmp(x->socket, y->socket);
}

static void
refuse_pair(struct region_entry *entry, const struct region_entry *other, const char *socket)
{
	if (entry->error.code == 0)
		error_set(&entry->error, -EADDRINUSE,
			"%.150s: the socket '%.108s' is also that of %.150s: give each region its own",
			entry->path, socket, other->path);
}

static size_t
count_sockets(const struct region_folder *folder)
{
	size_t n = 0;

	for (size_t i = 0; i < folder->n; i++)
		if (folder->entries[i].error.code == 0)
			n += 2 + folder->entries[i].file.options.n_members;
	return n;
}

static size_t
list_sockets(const struct region_folder *folder, struct claim *claims)
{
	size_t n = 0;

	for (size_t i = 0; i < folder->n; i++) {
		struct region_entry *entry = &folder->entries[i];
		const struct options *options = &entry->file.options;

		if (entry->error.code < 0)
			continue;
		claims[n++] = (struct claim){options->socket, entry};
		if (options->observer_socket && options->observer_socket[0])
			claims[n++] = (struct claim){options->observer_socket, entry};
		for (unsigned m = 0; m < options->n_members; m++)
			claims[n++] = (struct claim){options->members[m].socket, entry};
	}
	return n;
}

static int
check_sockets(struct region_folder *folder, struct ivshmem_error *reterr)
{
	struct claim *claims = calloc(count_sockets(folder) + 1, sizeof(*claims));
	size_t n;

	if (!claims)
		return error_set(reterr, -ENOMEM, "there is no memory for that many regions");
	n = list_sockets(folder, claims);
	qsort(claims, n, sizeof(*claims), compare_claims);
	for (size_t i = 1; i < n; i++) {
		struct claim *a = &claims[i - 1], *b = &claims[i];

		if (strcmp(a->socket, b->socket) == 0 && a->entry != b->entry) {
			refuse_pair(a->entry, b->entry, a->socket);
			refuse_pair(b->entry, a->entry, a->socket);
		}
	}
	free(claims);
	/* The texts were still needed. */
	for (size_t i = 0; i < folder->n; i++)
		if (folder->entries[i].error.code < 0 && folder->entries[i].file.argv)
			set_wrong(folder, &folder->entries[i]);
	return 0;
}

/* ---- files ----------------------------------------------------------------------------------- */

/* Hidden files are none: editors and package managers put theirs there. */
static int
is_region(const struct dirent *entry)
{
	size_t length = strlen(entry->d_name), suffix = strlen(SUFFIX);

	return entry->d_name[0] != '.' && length > suffix &&
	       strcmp(entry->d_name + length - suffix, SUFFIX) == 0;
}

/* Not as the files are: "a-b.ini" comes before "a.ini". */
static int
compare_entries(const void *a, const void *b)
{
	const struct region_entry *x = a, *y = b;

	return strcmp(x->file.name, y->file.name);
}

static int
read_entry(struct region_folder *folder, const char *directory, const char *file,
	const char *runtime_dir, struct ivshmem_error *reterr)
{
	struct region_entry *entry = &folder->entries[folder->n];
	size_t length = strlen(file) - strlen(SUFFIX);
	char name[REGION_NAME_MAX];

	if (asprintf(&entry->path, "%s/%s", directory, file) < 0) {
		entry->path = NULL;
		return error_set(reterr, -ENOMEM, "there is no memory for that many regions");
	}
	folder->n++;
	if (length >= sizeof(name) || strspn(file, NAME_LETTERS) != strlen(file)) {
		error_set(&entry->error, -EINVAL,
			"%.200s: the name of a region has at most %d of these: letters, digits, '_', '.', '-'",
			entry->path, REGION_NAME_MAX - 1);
		folder->n_wrong++;
		return 0;
	}
	snprintf(name, sizeof(name), "%.*s", (int)length, file);
	if (region_file_read(entry->path, name, runtime_dir, &entry->file, &entry->error) < 0)
		folder->n_wrong++;
	memcpy(entry->file.name, name, sizeof(name));
	return 0;
}

static int
read_entries(struct region_folder *folder, const char *directory, struct dirent **files, size_t n,
	const char *runtime_dir, struct ivshmem_error *reterr)
{
	int r = 0;

	folder->entries = calloc(n + 1, sizeof(*folder->entries));
	if (!folder->entries)
		return error_set(reterr, -ENOMEM, "there is no memory for that many regions");
	for (size_t i = 0; i < n && r == 0; i++)
		r = read_entry(folder, directory, files[i]->d_name, runtime_dir, reterr);
	qsort(folder->entries, folder->n, sizeof(*folder->entries), compare_entries);
	return r < 0 ? r : check_sockets(folder, reterr);
}

int
region_folder_read(const char *directory, const char *runtime_dir, struct region_folder *ret_folder,
	struct ivshmem_error *reterr)
{
	struct region_folder folder = {0};
	struct dirent **files = NULL;
	int n = scandir(directory, &files, is_region, NULL), r;

	if (n < 0)
		return error_set(reterr, -errno, "cannot read the directory '%.200s': %s",
			directory, strerror(errno));
	r = read_entries(&folder, directory, files, (size_t)n, runtime_dir, reterr);
	for (int i = 0; i < n; i++)
		free(files[i]);
	free(files);
	if (r < 0)
		region_folder_done(&folder);
	else
		*ret_folder = folder;
	return r;
}

void
region_folder_done(struct region_folder *folder)
{
	for (size_t i = 0; i < folder->n; i++) {
		region_file_done(&folder->entries[i].file);
		free(folder->entries[i].path);
	}
	free(folder->entries);
	*folder = (struct region_folder){0};
}

static int
compare_name(const void *name, const void *entry)
{
	const struct region_entry *e = entry;

	return strcmp(name, e->file.name);
}

struct region_entry *
region_folder_find(const struct region_folder *folder, const char *name)
{
	return bsearch(name, folder->entries, folder->n, sizeof(*folder->entries), compare_name);
}
