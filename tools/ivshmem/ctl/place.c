/* SPDX-License-Identifier: BSD-2-Clause */
#include "ctl/place.h"

#include "output.h"

#include <ivshmem/abi.h>

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define SUFFIX         IVSHMEM_CONTROL_SUFFIX
#define DEFAULT_SOCKET "/tmp/ivshmem_socket"

static bool
ends_with(const char *text, const char *end)
{
	size_t length = strlen(text), end_length = strlen(end);

	return length > end_length && strcmp(text + length - end_length, end) == 0;
}

static void
cut_end(char *text, const char *end)
{
	if (ends_with(text, end))
		text[strlen(text) - strlen(end)] = '\0';
}

static bool
is_socket(const char *path)
{
	struct stat info;

	return stat(path, &info) == 0 && S_ISSOCK(info.st_mode);
}

/* ---- all of them ----------------------------------------------------------------------------- */

static int
compare(const void *one, const void *other)
{
	return strcmp(((const struct place *)one)->name, ((const struct place *)other)->name);
}

static bool
take_entry(const char *directory, const char *entry, struct place *place)
{
	if (!ends_with(entry, SUFFIX) || snprintf(place->path, sizeof(place->path), "%s/%s",
						 directory, entry) >= (int)sizeof(place->path))
		return false;
	snprintf(place->name, sizeof(place->name), "%s", entry);
	cut_end(place->name, SUFFIX);
	cut_end(place->name, ".sock");
	return is_socket(place->path);
}

int
places_list(const char *directory, struct place **ret_places)
{
	struct place *places = NULL, *more;
	const struct dirent *entry;
	DIR *folder = opendir(directory);
	size_t n = 0;

	if (!folder)
		return -errno;
	while (n < PLACES_MAX && (entry = readdir(folder))) {
		more = reallocarray(places, n + 1, sizeof(*places));
		if (!more)
			break;
		places = more;
		n += take_entry(directory, entry->d_name, &places[n]);
	}
	closedir(folder);
	if (n > 0)
		qsort(places, n, sizeof(*places), compare);
	*ret_places = places;
	return (int)n;
}

/* ---- one of them ----------------------------------------------------------------------------- */

/* The path itself, or that of the control socket beside it. */
static enum status
take_path(const char *path, char ret_path[PATH_MAX])
{
	bool control = ends_with(path, SUFFIX);

	if (snprintf(ret_path, PATH_MAX, "%s%s", path, control ? "" : SUFFIX) >= PATH_MAX)
		return fail("the path is too long: '%.100s...'", path);
	return STATUS_OK;
}

static enum status
take_name(const char *directory, const char *name, char ret_path[PATH_MAX])
{
	snprintf(ret_path, PATH_MAX, "%s/%s.sock" SUFFIX, directory, name);
	if (is_socket(ret_path))
		return STATUS_OK;
	snprintf(ret_path, PATH_MAX, "%s/%s" SUFFIX, directory, name);
	if (is_socket(ret_path))
		return STATUS_OK;
	return fail(
		"there is no control socket of '%s' in %s: 'ivshmem ctl' lists those that there "
		"are; a path has a slash in it, such as ./%s",
		name, directory, name);
}

static enum status
take_target(const char *target, char ret_path[PATH_MAX])
{
	if (strncmp(target, "unix:", 5) == 0)
		target += 5;
	if (strchr(target, ':')) {
		fail("'%s' has no control socket: name a server's socket, unix:PATH", target);
		return STATUS_USAGE;
	}
	return take_path(target, ret_path);
}

static enum status
take_only(const char *directory, char ret_path[PATH_MAX])
{
	struct place *places = NULL;
	int n = places_list(directory, &places);

	if (n == 1)
		snprintf(ret_path, PATH_MAX, "%s", places[0].path);
	free(places);
	if (n == 1)
		return STATUS_OK;
	if (n > 1)
		return fail(
			"there are %d control sockets in %s: say which one, such as 'ivshmem ctl "
			"NAME status'; 'ivshmem ctl' lists them",
			n, directory);
	if (is_socket(DEFAULT_SOCKET SUFFIX)) {
		snprintf(ret_path, PATH_MAX, "%s", DEFAULT_SOCKET SUFFIX);
		return STATUS_OK;
	}
	return fail("there is no control socket in %s, nor " DEFAULT_SOCKET SUFFIX
		    ": name the server's socket",
		directory);
}

enum status
place_find(const struct cli *cli, const char *directory, const char *text, char ret_path[PATH_MAX])
{
	const char *environment = getenv("IVSHMEM_TARGET");

	if (text && strchr(text, '/'))
		return take_target(text, ret_path);
	if (text)
		return take_name(directory, text, ret_path);
	if (cli->target)
		return take_target(cli->target, ret_path);
	if (environment && *environment)
		return take_target(environment, ret_path);
	return take_only(directory, ret_path);
}
