/* SPDX-License-Identifier: BSD-2-Clause */

/* The process of a server, as /proc shows it. */

#include "finding.h"
#include "look.h"
#include "topics.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* So many more peers should find room. */
#define ROOM_ENOUGH 8

static void
check_program(struct doctor *doctor, const struct known_server *server)
{
	static const char mark[] = " (deleted)";
	char path[64], link[512];
	size_t length;

	snprintf(path, sizeof(path), "/proc/%d/exe", (int)server->pid);
	look_link(doctor, path, link, sizeof(link));
	length = strlen(link);
	if (length < sizeof(mark) || strcmp(link + length - sizeof(mark) + 1, mark) != 0)
		return;
	mend(doctor, "shut the guests down, start the server anew, and start the guests");
	found(doctor, "server.replaced",
		"process %d runs a program that is not on the disk any more: %s", (int)server->pid,
		link);
}

static void
check_descriptors(struct doctor *doctor, const struct known_server *server)
{
	uint64_t limit = look_process_limit(doctor, server->pid);
	uint64_t open = look_process_open(doctor, server->pid);
	uint64_t each = 1 + (server->vectors > 0 ? (uint64_t)server->vectors : 0);
	uint64_t room;

	if (limit == 0 || open == 0)
		return;
	room = limit > open ? (limit - open) / each : 0;
	if (room >= ROOM_ENOUGH)
		return;
	mend(doctor,
		"prlimit --pid %d --nofile=%" PRIu64 ":%" PRIu64
		", or LimitNOFILE= in the server's unit",
		(int)server->pid, limit * 16, limit * 16);
	found(doctor, "server.few-descriptors",
		"process %d has %" PRIu64 " of %" PRIu64 " file descriptors open: room for %" PRIu64
		" more peer%s, of which each takes %" PRIu64,
		(int)server->pid, open, limit, room, plural(room), each);
}

void
server_check(struct doctor *doctor, const struct known_server *server)
{
	if (server->pid == 0)
		return;
	check_program(doctor, server);
	check_descriptors(doctor, server);
}
