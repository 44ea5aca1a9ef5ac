/* SPDX-License-Identifier: BSD-2-Clause */
#include "copy_room.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TURNS 10000000

void
shell(const char *command)
{
	int status = system(command);

	if (status != 0)
		FAIL("%s: status %d", command, status);
}

void
check_same(const char *a, const char *b)
{
	char command[1024];

	snprintf(command, sizeof(command), "diff -r --no-dereference %s %s >&2", a, b);
	shell(command);
	snprintf(command, sizeof(command),
		"list() { (cd \"$1\" && find . -printf '%%P %%y %%m %%T@ %%l ' \\( -type d -printf '\\n' "
		"-o -printf '%%s\\n' \\) | sort); }; "
		"[ \"$(list %s)\" = \"$(list %s)\" ] || { list %s > la; list %s > lb; diff la lb; exit 1; } >&2",
		a, b, a, b);
	shell(command);
}

void
copy_room_open(struct copy_room *room)
{
	memset(room, 0, sizeof(*room));
	CHECK_SYS(chdir(test_directory()));
	shell("mkdir from to");
	room_open_pair(&room->memory, &room->here, &room->there);
}

void
copy_room_close(struct copy_room *room)
{
	copy_disconnect(room);
	room_close_pair(&room->memory, room->here, room->there);
	/* What the harness could not remove: closed folders, and paths that are too long. */
	shell("chmod -R u+rwx .; rm -r *");
	CHECK_SYS(chdir("/"));
}

void
copy_connect(struct copy_room *room, uint64_t ring_size)
{
	room_connect(room->here, room->there, IVSHMEM_QUEUE, ring_size, &room->out, &room->in);
}

void
copy_disconnect(struct copy_room *room)
{
	room->sender = sender_free(room->sender);
	room->receiver = receiver_free(room->receiver);
	room->out = ivshmem_channel_close(room->out);
	room->in = ivshmem_channel_close(room->in);
}

static void
on_problem(void *data, const char *sentence)
{
	struct copy_room *room = data;
	size_t length = strlen(room->told);

	snprintf(room->told + length, sizeof(room->told) - length, "%s\n", sentence);
}

void
copy_start(struct copy_room *room, const struct copy_options *options, const char *const *from,
	const char *to)
{
	struct copy_options receiving = *options;

	receiving.problem = on_problem;
	receiving.data = room;
	room->told[0] = '\0';
	room->sender = sender_new(room->out, options, from);
	room->receiver = receiver_new(room->in, &receiving, to);
	CHECK(room->sender && room->receiver);
}

void
copy_finish(struct copy_room *room)
{
	int sends = COPY_RUNS, receives = COPY_RUNS;

	for (unsigned i = 0; sends != COPY_ENDED || receives != COPY_ENDED; i++) {
		CHECK(i < TURNS);
		if (sends != COPY_ENDED)
			sends = sender_run(room->sender);
		if (receives != COPY_ENDED)
			receives = receiver_run(room->receiver);
		CHECK(sends >= 0 && receives >= 0);
	}
}

struct copy_totals
copy_all(struct copy_room *room, const struct copy_options *options, const char *const *from,
	const char *to)
{
	struct copy_totals totals;

	copy_connect(room, 16384);
	copy_start(room, options, from, to);
	copy_finish(room);
	totals = *receiver_totals(room->receiver);
	CHECK_EQ(totals.files, sender_totals(room->sender)->files);
	copy_disconnect(room);
	return totals;
}
