/* SPDX-License-Identifier: BSD-2-Clause */

/* snapshot: the memory into a file. */

#include "image.h"
#include "json.h"
#include "output.h"
#include "saving.h"

#include <base/parse.h>

static bool overwrite;

static const struct argument snapshot_options[] = {
	{"overwrite", NULL, "replace FILE if it exists", .letter = 'o', .flag = &overwrite},
};

static void
report(const struct session *session, const char *file, const struct saved *saved)
{
	char size[SIZE_TEXT_MAX], data[SIZE_TEXT_MAX];
	struct json json = JSON_BEGIN;

	if (!session->cli->json) {
		print_line("saved %s, %s of it data%s", format_size(saved->size, size),
			format_size(saved->data, data),
			saved->reflink ? ", which the files share" : "");
		return;
	}
	json_object(&json, NULL);
	json_string(&json, "file", file);
	json_number(&json, "size", saved->size);
	json_number(&json, "data", saved->data);
	json_bool(&json, "reflink", saved->reflink);
	json_finish(&json);
}

static enum status
take_snapshot(struct session *session, const char *file)
{
	const char *remedy = overwrite ? NULL : "replace it with --overwrite";
	struct saved saved;
	struct image image;
	enum status status = image_begin(&image, file, remedy, ivshmem_memory_fd(session->client));

	if (status != STATUS_OK)
		return status;
	status = save_memory(session, &image, &saved);
	if (status != STATUS_OK) {
		image_discard(&image);
		return status;
	}
	status = image_finish(&image);
	if (status == STATUS_OK)
		report(session, file, &saved);
	return status;
}

static enum status
snapshot_run(const struct cli *cli, char *const *operands)
{
	_session_free_ struct session *session = session_new();
	enum status status;

	if (!session)
		return STATUS_FAILURE;
	session->looks = true;
	status = session_open(session, cli, NULL, true, STATUS_FAILURE);
	return status == STATUS_OK ? take_snapshot(session, operands[0]) : status;
}

const struct command command_snapshot = {
	.name = "snapshot",
	.operands = "FILE",
	.min_operands = 1,
	.max_operands = 1,
	.summary = "copy the whole memory to a file",
	.description =
		"Writes the memory to FILE, byte for byte and with nothing else, so that any program can "
		"read or map it. Pages that are zero become holes. If the memory is a file, and FILE "
		"is on the same file system and that can share blocks (XFS, Btrfs), nothing is "
		"copied. FILE is complete and on the disk when it gets its name; until then, and if "
		"the command is killed, a former file of this name stays. Only its owner may read it.\n"
		"The command stops nobody. Each page is as it was at some moment between the "
		"beginning and the end of the command, so what others write meanwhile may be in it "
		"in part. Stop them first if that matters: docs/snapshots.md says how for guests.",
	CLI_OPTIONS(snapshot_options),
	.json = "{\"file\":FILE,\"size\":BYTES,\"data\":BYTES-THAT-ARE-NOT-ZERO,\"reflink\":true|false}",
	.statuses = "1 also if FILE exists, if there is no room for it, or if the memory is "
		    "half-restored.",
	.examples = "ivshmem snapshot before-upgrade.img\n"
		    "ivshmem --target shm:vm,ro snapshot --overwrite vm.img",
	.run = snapshot_run,
};
