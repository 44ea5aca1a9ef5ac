/* SPDX-License-Identifier: BSD-2-Clause */

/* The socket of a server or of a device: the path, and who answers. */

#include "attach.h"
#include "bus_error.h"
#include "finding.h"
#include "look.h"
#include "output.h"
#include "topics.h"

#include <base/fd.h>
#include <base/parse.h>

#include <ivshmem/abi.h>
#include <ivshmem/client.h>

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define PATH_MOST (sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1)

/* ---- the path -------------------------------------------------------------------------------- */

static void
tell_permission(struct doctor *doctor, const char *path, const struct stat *info)
{
	char who[WHO_TEXT_MAX], group[GROUP_TEXT_MAX];

	/* Nobody should have to be in root's group. */
	if (info->st_gid == 0)
		mend(doctor, "chgrp GROUP %s, or ivshmem-server --socket-group GROUP", path);
	else
		mend(doctor, "usermod -aG %s USER, and log in again",
			look_group(info->st_gid, group));
	found(doctor, "socket.no-permission", "user %u may not connect to %s: it belongs to %s",
		(unsigned)geteuid(), path, look_who_may(info, who));
}

/* The folder decides who may remove the socket and make another one. */
static void
check_folder(struct doctor *doctor, const char *path)
{
	char folder[PATH_MOST + 1];
	struct stat info;
	char *slash;

	snprintf(folder, sizeof(folder), "%s", path);
	slash = strrchr(folder, '/');
	if (!slash || slash == folder)
		return;
	*slash = '\0';
	if (stat(folder, &info) < 0 || !(info.st_mode & S_IWOTH))
		return;
	mend(doctor,
		"install -d -m 750 -g GROUP /run/ivshmem, and ivshmem-server -S /run/ivshmem/group.sock");
	found(doctor, "socket.shared-folder", "everybody may create files in %s", folder);
}

/* Whether it is worth connecting. */
static bool
check_path(struct doctor *doctor, const char *path, bool of_device)
{
	struct stat info;

	if (strlen(path) > PATH_MOST) {
		mend(doctor, "choose a shorter path, such as /run/ivshmem/group.sock");
		found(doctor, "socket.path-too-long",
			"the path has %zu bytes, and a socket's may have %zu", strlen(path),
			PATH_MOST);
		return false;
	}
	if (stat(path, &info) < 0) {
		if (errno == EACCES) {
			mend(doctor,
				"give the user a way to it: namei -l %s shows whose folders are in between",
				path);
			found(doctor, "socket.no-way", "user %u may not look into the folder of %s",
				(unsigned)geteuid(), path);
			return false;
		}
		mend(doctor, "%s %s %s, before the VMM",
			of_device ? "ivshmem-device --socket" : "ivshmem-server -F -S", path,
			of_device ? "--server SOCKET" : "-l SIZE -n VECTORS");
		found(doctor, "socket.missing", "there is no %s", path);
		return false;
	}
	if (!S_ISSOCK(info.st_mode)) {
		mend(doctor,
			"name the socket of the server; ss -xlp shows those on which somebody listens");
		found(doctor, "socket.not-a-socket", "%s is no socket", path);
		return false;
	}
	check_folder(doctor, path);
	if (access(path, W_OK) == 0)
		return true;
	tell_permission(doctor, path, &info);
	return false;
}

/* ---- who is behind it ------------------------------------------------------------------------ */

struct behind {
	pid_t pid;      /* 0: unknown */
	int64_t number; /* what it says first */
	bool said;      /* whether it did */
};

/* Connect, and go away again. `listens`: wait for the first number. */
static struct behind
look_behind(const char *path, bool listens)
{
	struct behind behind = {.pid = 0};
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	_fd_cleanup_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct timeval limit = {.tv_sec = 2};
	struct ucred peer = {.pid = 0};
	socklen_t length = sizeof(peer);
	uint64_t number;

	if (fd < 0 || strlen(path) > PATH_MOST)
		return behind;
	memcpy(address.sun_path, path, strlen(path) + 1);
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
		return behind;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0)
		behind.pid = peer.pid;
	if (listens && recv(fd, &number, sizeof(number), MSG_WAITALL) == sizeof(number)) {
		behind.number = (int64_t)le64toh(number);
		behind.said = true;
	}
	return behind;
}

/* ---- what may go wrong ----------------------------------------------------------------------- */

static const struct {
	int code;
	const char *remedy;
} refusals[] = {
	{ENOSPC, "end the client that is there longest, or start the server and all clients anew"},
	{EUSERS, "a larger --max-peers or --max-observers of ivshmem-server"},
	{EACCES, "a server whose --allow-user or --allow-group names you"},
	{EDQUOT,
		"end clients of your user, or a larger --max-peers-per-user or --max-observers-per-user"},
	{EBUSY, "end the process that has this seat: ivshmem -t PATH peers"},
	{ESHUTDOWN, "ivshmem ctl PATH drain off"},
	{EMFILE, "prlimit --pid SERVER --nofile=NUMBER, or LimitNOFILE= in the server's unit"},
	{ENFILE, "sysctl fs.file-max=NUMBER"},
	{ENOMEM, "make room in the memory of the host"},
	{ETOOMANYREFS, "end clients that do not read, or give the server CAP_SYS_RESOURCE"},
};

static void
tell_refused(struct doctor *doctor, const char *path, const struct ivshmem_error *error)
{
	struct behind behind = look_behind(path, true);

	if (!behind.said || behind.number >= 0 || behind.number < -4095) {
		mend(doctor, "use a server of ivshmem, or of QEMU 2.5 or later");
		found(doctor, "socket.version", "%s", error->message);
		return;
	}
	mend(doctor, "see what the server says in its log");
	for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++)
		if (behind.number == -refusals[i].code)
			mend(doctor, "%s", refusals[i].remedy);
	found(doctor, "socket.refused", "%s", error->message);
}

static void
tell_silent(struct doctor *doctor, const char *path, const struct ivshmem_error *error)
{
	struct behind behind = look_behind(path, false);
	char name[PROCESS_NAME_MAX] = "";

	if (behind.pid > 0)
		look_process_name(doctor, behind.pid, name);
	if (strcmp(name, "ivshmem-device") == 0) {
		mend(doctor, "name the socket that the device got with --server");
		found(doctor, "socket.of-a-device",
			"process %d, which listens, is an ivshmem-device: its socket is for a VMM",
			(int)behind.pid);
		return;
	}
	mend(doctor, "look at process %d: is it stopped (kill -CONT), or no ivshmem server?",
		(int)behind.pid);
	found(doctor, "socket.silent", "process %d (%s) listens: %s", (int)behind.pid, name,
		error->message);
}

static void
tell_failure(struct doctor *doctor, const char *path, int r, const struct ivshmem_error *error)
{
	switch (r) {
	case -ECONNREFUSED:
		mend(doctor,
			"ivshmem-server -F -S %s -l SIZE -n VECTORS, which replaces the socket",
			path);
		found(doctor, "socket.nobody-listens", "%s is there, and nobody listens on it",
			path);
		return;
	case -EPROTONOSUPPORT:
		tell_refused(doctor, path, error);
		return;
	case -ETIMEDOUT:
		tell_silent(doctor, path, error);
		return;
	case -EPROTO:
	case -ECONNRESET:
		mend(doctor,
			"name the socket of an ivshmem server; ss -xlp shows who listens on %s",
			path);
		found(doctor, "socket.not-a-server", "%s", error->message);
		return;
	default:
		mend(doctor, "see docs/protocol.md");
		found(doctor, "socket.cannot-attach", "%s", error->message);
	}
}

/* ---- a server -------------------------------------------------------------------------------- */

/* Only our server has a second socket, and whoever connects there disturbs nobody. */
static pid_t
find_server(const char *path, const char *suffix)
{
	char observer[PATH_MOST + 1];

	if (snprintf(observer, sizeof(observer), "%s%s", path, suffix) >= (int)sizeof(observer))
		return 0;
	return look_behind(observer, false).pid;
}

static const struct known_server *
remember(struct doctor *doctor, const char *path, const struct ivshmem_client *client)
{
	struct known_server *server = &doctor->servers[doctor->n_servers];
	size_t length = strlen(path);
	const size_t suffix = strlen(IVSHMEM_OBSERVER_SUFFIX);
	bool is_second =
		length > suffix && strcmp(path + length - suffix, IVSHMEM_OBSERVER_SUFFIX) == 0;

	if (doctor->n_servers == DOCTOR_MOST)
		server = &doctor->servers[DOCTOR_MOST - 1];
	else
		doctor->n_servers++;
	/* VMMs name the first socket. */
	snprintf(server->path, sizeof(server->path), "%.*s",
		(int)(is_second ? length - suffix : length), path);
	server->vectors = ivshmem_group_vectors(client);
	server->peers = ivshmem_peers(client, NULL, 0);
	server->size = ivshmem_size(client);
	server->pid = ivshmem_has_id(client)
			      ? 0
			      : find_server(path, is_second ? "" : IVSHMEM_OBSERVER_SUFFIX);
	return server;
}

static void
tell_answer(struct doctor *doctor, const struct known_server *server,
	const struct ivshmem_client *client)
{
	char size[SIZE_TEXT_MAX];

	if (!ivshmem_has_id(client)) {
		found(doctor, "socket.answers", "process %d serves %s to %d peer%s of %d vector%s",
			(int)server->pid, format_size(server->size, size), server->peers,
			plural((uint64_t)server->peers), server->vectors,
			plural((uint64_t)server->vectors));
		return;
	}
	found(doctor, "socket.answers",
		"a server serves %s to %d other peer%s, and gives us %u vector%s",
		format_size(server->size, size), server->peers, plural((uint64_t)server->peers),
		ivshmem_vectors(client), plural(ivshmem_vectors(client)));
	mend(doctor, "use ivshmem-server of this project, without --no-observer-socket");
	found(doctor, "socket.no-observers",
		"this look took the id %u, because there is no socket for observers next to the server's",
		ivshmem_id(client));
}

void
socket_check(struct doctor *doctor, const char *target)
{
	const char *path = strchr(target, ':') + 1;
	struct attach_config config = {.cli = doctor->cli, .target = target, .looks = true};
	const struct known_server *server;
	struct ivshmem_client *client;
	struct ivshmem_error error;
	int r;

	if (!check_path(doctor, path, false))
		return;
	r = attach(&config, &client, &error);
	if (r < 0) {
		tell_failure(doctor, path, r, &error);
		return;
	}
	server = remember(doctor, path, client);
	tell_answer(doctor, server, client);
	server_check(doctor, server);
	memory_check_attached(doctor, client);
	channels_check(doctor, client);
	ivshmem_detach(client);
}

/* ---- a device -------------------------------------------------------------------------------- */

/*
 * Whether somebody listens, without disturbing a device that serves one VMM at a time: a socket of
 * another type is refused with EPROTOTYPE, and with ECONNREFUSED if nobody is there. The lists of
 * /proc/net/unix and sock_diag lack the sockets of other network namespaces.
 */
static bool
somebody_listens(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	_fd_cleanup_ int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	memcpy(address.sun_path, path, strlen(path) + 1);
	return fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0 ||
	       errno != ECONNREFUSED;
}

void
socket_check_device(struct doctor *doctor, const char *path)
{
	if (!check_path(doctor, path, true) || somebody_listens(path))
		return;
	mend(doctor, "ivshmem-device --socket %s --server SOCKET, before the VMM", path);
	found(doctor, "socket.no-device", "no ivshmem-device listens on %s", path);
}
