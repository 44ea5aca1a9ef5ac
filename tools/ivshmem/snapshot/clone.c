/* SPDX-License-Identifier: BSD-2-Clause */

/* clone: new memory with a name, with the same content. */

#include "image.h"
#include "json.h"
#include "output.h"
#include "pages.h"
#include "saving.h"

#include <base/parse.h>

#include <ivshmem/channel.h>

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#define SHM_FOLDER "/dev/shm/" /* where shm_open() has its objects */

/* The path of what `name` means: shm:NAME or file:PATH. */
static enum status
take_name(const char *name, char ret_path[PATH_MAX])
{
	const char *rest = strchr(name, ':');
	bool shm = strncmp(name, "shm:", 4) == 0;
	int length;

	if ((!shm && strncmp(name, "file:", 5) != 0) || rest[1] == '\0' ||
		(shm && strchr(rest + 1, '/'))) {
		fail("'%s' cannot be new memory: give shm:NAME or file:PATH", name);
		return STATUS_USAGE;
	}
	length = snprintf(ret_path, PATH_MAX, "%s%s", shm ? SHM_FOLDER : "", rest + 1);
	if (length < 0 || length >= PATH_MAX) {
		fail("'%s' is too long", name);
		return STATUS_USAGE;
	}
	return STATUS_OK;
}

/* The copy is a region of its own: with another epoch, and with areas that nobody has. */
static enum status
renew_header(const struct image *image, uint64_t size)
{
	static _Alignas(IVSHMEM_CHANNELS_HEADER) uint8_t fresh[IVSHMEM_CHANNELS_HEADER];
	uint8_t header[IVSHMEM_CHANNELS_HEADER];
	struct ivshmem_error error;
	int r;

	r = (int)pages_read(image->part.fd, 0, header, sizeof(header));
	if (r == (int)sizeof(header)) {
		if (ivshmem_channels_restore_end(fresh, size, header, &error) < 0)
			return fail("cannot clone the memory: %s", error.message);
		r = memcmp(fresh, header, sizeof(header)) == 0
			    ? 0
			    : pages_write(image->part.fd, 0, fresh, sizeof(fresh));
	}
	return r < 0 ? fail("cannot write %s: %s", image->path, strerror(-r)) : STATUS_OK;
}

static enum status
report(const struct session *session, const char *name, const struct saved *saved)
{
	char size[SIZE_TEXT_MAX], data[SIZE_TEXT_MAX];
	struct json json = JSON_BEGIN;

	if (!session->cli->json) {
		print_line("%s: %s, %s of it data%s", name, format_size(saved->size, size),
			format_size(saved->data, data),
			saved->reflink ? ", which the files share" : "");
		return STATUS_OK;
	}
	json_object(&json, NULL);
	json_string(&json, "target", name);
	json_number(&json, "size", saved->size);
	json_number(&json, "data", saved->data);
	json_bool(&json, "reflink", saved->reflink);
	json_finish(&json);
	return STATUS_OK;
}

static enum status
clone_memory(struct session *session, const char *name, const char *path)
{
	struct saved saved;
	struct image image;
	enum status status = image_begin(&image, path, "remove that memory if nobody uses it",
		ivshmem_memory_fd(session->client));

	if (status != STATUS_OK)
		return status;
	status = save_memory(session, &image, &saved);
	if (status == STATUS_OK)
		status = renew_header(&image, saved.size);
	if (status != STATUS_OK) {
		image_discard(&image);
		return status;
	}
	status = image_finish(&image);
	return status == STATUS_OK ? report(session, name, &saved) : status;
}

static enum status
clone_run(const struct cli *cli, char *const *operands)
{
	_session_free_ struct session *session = session_new();
	char path[PATH_MAX];
	enum status status;

	if (!session)
		return STATUS_FAILURE;
	status = take_name(operands[0], path);
	if (status != STATUS_OK)
		return status;
	session->looks = true;
	status = session_open(session, cli, NULL, true, STATUS_FAILURE);
	return status == STATUS_OK ? clone_memory(session, operands[0], path) : status;
}

const struct command command_clone = {
	.name = "clone",
	.operands = "NAME",
	.min_operands = 1,
	.max_operands = 1,
	.summary = "make new memory with the same content",
	.description =
		"Makes new memory, shm:NAME or file:PATH, with the content that the memory of --target "
		"has now, as snapshot does. It is for devices and programs that use memory without a "
		"server, or for ivshmem-server with --shm or --file. If there are channels in it, all "
		"areas of the new memory are free. It belongs to who runs the command, and nobody else "
		"may open it: chmod changes that. Memory that exists is never replaced.",
	.json = "{\"target\":NAME,\"size\":BYTES,\"data\":BYTES-THAT-ARE-NOT-ZERO,\n"
		" \"reflink\":true|false}",
	.statuses = "1 also if NAME exists, if there is no room for it, or if the memory is "
		    "half-restored.",
	.examples = "ivshmem clone shm:second\n"
		    "ivshmem --target file:/var/lib/vm/memory clone file:/var/lib/vm/copy",
	.run = clone_run,
};
