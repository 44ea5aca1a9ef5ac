/* SPDX-License-Identifier: BSD-2-Clause */
#include <sockets.h>

#include <base/error.h>
#include <base/fd.h>
#include <base/log.h>
#include <base/parse.h>
#include <common/supervisor.h>
#include <socket/bag.h>

#include <ivshmem/abi.h>
#include <ivshmem/common.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define OBSERVERS_NAME "observers"
#define CONTROL_NAME   "control"
#define MEMBER_NAME    "member-"

void
sockets_init(struct sockets *sockets)
{
	*sockets = (struct sockets){
		.clients.fd = -1, .observers.fd = -1, .control.fd = -1, .kept = -1};
	for (unsigned i = 0; i < MEMBERS_MAX; i++)
		sockets->members[i].fd = -1;
}

/* ---- those of a supervisor -------------------------------------------------------------------- */

/* The number of this member, which is added if it is not there yet; or -E2BIG. */
static int
find_member(struct options *options, unsigned id, struct ivshmem_error *reterr)
{
	for (unsigned i = 0; i < options->n_members; i++)
		if (options->members[i].id == id)
			return (int)i;
	if (options->n_members == MEMBERS_MAX)
		return error_set(reterr, -E2BIG,
			"LISTEN_FDS and --member make more than %d members with a fixed id",
			MEMBERS_MAX);
	options->members[options->n_members] = (struct member_option){.id = (uint16_t)id};
	return (int)options->n_members++;
}

static int
adopt_at(struct listener *listener, const struct supervisor_socket *socket, const char *whom,
	const char *option, const char *path, struct ivshmem_error *reterr)
{
	int r;

	if (listener->fd >= 0)
		return error_set(
			reterr, -E2BIG, "LISTEN_FDS passes more than one socket for %s", whom);
	r = listener_adopt(listener, socket->fd, reterr);
	if (r == 0 && path && !listener_is_at(listener, path))
		return error_set(reterr, -EINVAL,
			"LISTEN_FDS passes the socket '%s' for %s, but %s says '%s': leave %s out",
			listener->path, whom, option, path, option);
	return r;
}

static int
adopt_member(struct sockets *sockets, struct options *options,
	const struct supervisor_socket *socket, struct ivshmem_error *reterr)
{
	char whom[32];
	unsigned id;
	int r;

	if (parse_uint(socket->name + strlen(MEMBER_NAME), 0, IVSHMEM_MAX_ID, &id) < 0)
		return error_set(reterr, -EINVAL,
			"LISTEN_FDNAMES: '%s' is the name of no member: write such as " MEMBER_NAME
			"0",
			socket->name);
	r = find_member(options, id, reterr);
	if (r < 0)
		return r;
	snprintf(whom, sizeof(whom), "member %u", id);
	return adopt_at(
		&sockets->members[r], socket, whom, "--member", options->members[r].socket, reterr);
}

/* The group that an earlier server left with the supervisor. If it was taken already, the supervisor
 * was not told. */
static int
adopt_kept(struct sockets *sockets, int fd, struct ivshmem_error *reterr)
{
	if (sockets->kept >= 0 && !bag_is_taken(sockets->kept) && !bag_is_taken(fd))
		return error_set(reterr, -E2BIG,
			"the supervisor keeps two groups for this server; stop the service, and start it anew");
	if (sockets->kept < 0 || bag_is_taken(sockets->kept)) {
		fd_close(sockets->kept);
		sockets->kept = fd;
	} else {
		fd_close(fd);
	}
	return 0;
}

static int
adopt(struct sockets *sockets, struct options *options, const struct supervisor_socket *socket,
	struct ivshmem_error *reterr)
{
	if (strncmp(socket->name, MEMBER_NAME, strlen(MEMBER_NAME)) == 0)
		return adopt_member(sockets, options, socket, reterr);
	if (strcmp(socket->name, HANDOVER_NAME) == 0)
		return adopt_kept(sockets, socket->fd, reterr);
	if (strcmp(socket->name, OBSERVERS_NAME) == 0)
		return adopt_at(&sockets->observers, socket, OBSERVERS_NAME, "--observer-socket",
			options->observer_socket, reterr);
	if (strcmp(socket->name, CONTROL_NAME) == 0)
		return adopt_at(&sockets->control, socket, "operators", "--control-socket",
			options->control_socket, reterr);
	return adopt_at(&sockets->clients, socket, "clients", "-S",
		options->socket_given ? options->socket : NULL, reterr);
}

int
sockets_adopt(struct sockets *sockets, struct options *options, struct ivshmem_error *reterr)
{
	struct supervisor_socket passed[SUPERVISOR_SOCKETS_MAX];
	int n = supervisor_sockets(passed, reterr), r = 0;
	bool others;

	for (int i = 0; i < n && r == 0; i++)
		r = adopt(sockets, options, &passed[i], reterr);
	if (n < 0 || r < 0)
		return n < 0 ? n : r;
	others = sockets->observers.fd >= 0 || sockets->control.fd >= 0;
	for (unsigned i = 0; i < options->n_members; i++)
		others |= sockets->members[i].fd >= 0;
	if (others && sockets->clients.fd < 0)
		return error_set(reterr, -EINVAL, "LISTEN_FDS passes no socket for clients");
	if (sockets->clients.fd >= 0)
		options->socket = sockets->clients.path;
	if (options->max_peers && options->max_peers < options->n_members)
		return error_set(reterr, -EINVAL,
			"--max-peers %u is less than there are members with a fixed id, %u",
			options->max_peers, options->n_members);
	return 0;
}

/* ---- our own ---------------------------------------------------------------------------------- */

/* All sockets have the same mode, because all lead to the same memory. */
static int
bind_at(struct listener *listener, const struct options *options, const char *path,
	struct ivshmem_error *reterr)
{
	struct listener_config config = {
		.path = path,
		.mode = options->socket_mode,
		.owner = options->socket_owner,
		.group = options->socket_group,
	};

	return listener->fd < 0 ? listener_bind(listener, &config, reterr) : 0;
}

int
sockets_observers_path(const struct options *options, char ret_path[SOCKET_PATH_MAX])
{
	const char *path = options->observer_socket ? options->observer_socket : options->socket;
	const char *suffix = options->observer_socket ? "" : IVSHMEM_OBSERVER_SUFFIX;
	int length;

	ret_path[0] = '\0';
	/* A socket that is not in the file system has no path beside it. */
	if (path[0] == '\0' || (path[0] == '@' && !options->observer_socket))
		return 0;
	length = snprintf(ret_path, SOCKET_PATH_MAX, "%s%s", path, suffix);
	if (length < (int)SOCKET_PATH_MAX)
		return 0;
	ret_path[0] = '\0';
	return -ENAMETOOLONG;
}

static int
bind_observers(struct sockets *sockets, const struct options *options, const struct log *log,
	struct ivshmem_error *reterr)
{
	const char *path = options->observer_socket;
	char beside[SOCKET_PATH_MAX];

	if (sockets->observers.fd >= 0)
		return 0;
	if (!path) {
		path = beside;
		if (sockets_observers_path(options, beside) < 0)
			log_warning(log,
				"there is no socket for observers, because its path '%s%s' would be too long; "
				"give another one (--observer-socket), or every 'ivshmem info' takes an id",
				options->socket, IVSHMEM_OBSERVER_SUFFIX);
	}
	return path[0] ? bind_at(&sockets->observers, options, path, reterr) : 0;
}

int
sockets_bind(struct sockets *sockets, const struct options *options, const struct log *log,
	struct ivshmem_error *reterr)
{
	int r = bind_at(&sockets->clients, options, options->socket, reterr);

	if (r == 0)
		r = bind_observers(sockets, options, log, reterr);
	for (unsigned i = 0; r == 0 && i < options->n_members; i++) {
		r = bind_at(&sockets->members[i], options, options->members[i].socket, reterr);
		sockets->seats[i] =
			(struct server_seat){options->members[i].id, sockets->members[i].fd};
	}
	return r;
}

int
sockets_listen(
	const struct sockets *sockets, const struct options *options, struct ivshmem_error *reterr)
{
	int r = 0;

	/* Observers first: a tool that finds the ordinary socket, but not theirs, would join as a
	 * member. */
	if (sockets->observers.fd >= 0)
		r = listener_listen(&sockets->observers, reterr);
	if (r == 0)
		r = listener_listen(&sockets->clients, reterr);
	for (unsigned i = 0; r == 0 && i < options->n_members; i++)
		r = listener_listen(&sockets->members[i], reterr);
	return r;
}

/* -EOPNOTSUPP: there is no path beside that of the clients. */
static int
bind_control(struct sockets *sockets, const struct options *options, struct ivshmem_error *reterr)
{
	struct listener_config config = {
		.path = options->control_socket,
		.mode = 0600,
		.owner = (uid_t)-1,
		.group = (gid_t)-1,
	};
	char beside[SOCKET_PATH_MAX + sizeof(IVSHMEM_CONTROL_SUFFIX)];

	if (!config.path) {
		/* A socket that is not in the file system has no path beside it. */
		if (options->socket[0] == '\0' || options->socket[0] == '@')
			return -EOPNOTSUPP;
		snprintf(beside, sizeof(beside), "%s%s", options->socket, IVSHMEM_CONTROL_SUFFIX);
		config.path = beside;
	}
	return listener_bind(&sockets->control, &config, reterr);
}

int
sockets_open_control(struct sockets *sockets, const struct options *options, const struct log *log,
	struct ivshmem_error *reterr)
{
	int r = 0;

	if (options->control_socket && !options->control_socket[0])
		return 0;
	if (sockets->control.fd < 0)
		r = bind_control(sockets, options, reterr);
	if (r == 0)
		return listener_listen(&sockets->control, reterr);
	if (options->control_socket)
		return r;
	/* Nobody asked for it, and clients do not need it. */
	if (r != -EOPNOTSUPP)
		log_warning(log,
			"there is no control socket: %s; 'ivshmem ctl' needs one (--control-socket)",
			reterr->message);
	return 0;
}

void
sockets_keep(struct sockets *sockets)
{
	sockets->clients.adopted = sockets->observers.adopted = true;
	for (unsigned i = 0; i < MEMBERS_MAX; i++)
		sockets->members[i].adopted = true;
}

void
sockets_close(struct sockets *sockets)
{
	listener_close(&sockets->clients);
	listener_close(&sockets->observers);
	listener_close(&sockets->control);
	for (unsigned i = 0; i < MEMBERS_MAX; i++)
		listener_close(&sockets->members[i]);
}
