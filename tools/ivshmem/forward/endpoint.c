/* SPDX-License-Identifier: BSD-2-Clause */
#include "endpoint.h"

#include <base/error.h>
#include <base/fd.h>
#include <base/parse.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BACKLOG 1024

/* What the shell says of a program that cannot be started. */
#define CANNOT_START 127

/* ---- words ----------------------------------------------------------------------------------- */

static int
parse_unix(struct endpoint *endpoint, const char *path, struct ivshmem_error *reterr)
{
	struct sockaddr_un *un = &endpoint->address.un;

	if (!path[0] || strlen(path) >= sizeof(un->sun_path))
		return error_set(reterr, -EINVAL, "'%s' needs a path of 1 to %zu bytes",
			endpoint->text, sizeof(un->sun_path) - 1);
	un->sun_family = AF_UNIX;
	strcpy(un->sun_path, path);
	endpoint->length = sizeof(*un);
	return 0;
}

/* "127.0.0.1", "[::1]", "localhost". A static program cannot look names up. */
static int
parse_host(struct endpoint *endpoint, const char *host, unsigned port)
{
	struct sockaddr_in *in = (struct sockaddr_in *)(void *)&endpoint->address.storage;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)(void *)&endpoint->address.storage;
	char text[INET6_ADDRSTRLEN];
	size_t length = strlen(host);

	if (strcmp(host, "localhost") == 0)
		host = "127.0.0.1";
	if (inet_pton(AF_INET, host, &in->sin_addr) == 1) {
		in->sin_family = AF_INET;
		in->sin_port = htons((uint16_t)port);
		endpoint->length = sizeof(*in);
		return 0;
	}
	if (host[0] != '[' || host[length - 1] != ']' || length - 2 >= sizeof(text))
		return -EINVAL;
	memcpy(text, host + 1, length - 2);
	text[length - 2] = 0;
	if (inet_pton(AF_INET6, text, &in6->sin6_addr) != 1)
		return -EINVAL;
	in6->sin6_family = AF_INET6;
	in6->sin6_port = htons((uint16_t)port);
	endpoint->length = sizeof(*in6);
	return 0;
}

static int
parse_tcp(struct endpoint *endpoint, const char *where, struct ivshmem_error *reterr)
{
	const char *colon = strrchr(where, ':');
	char host[64];
	unsigned port;

	endpoint->kind = ENDPOINT_TCP;
	if (colon && (size_t)(colon - where) < sizeof(host) &&
		parse_uint(colon + 1, 1, 65535, &port) == 0) {
		memcpy(host, where, (size_t)(colon - where));
		host[colon - where] = 0;
		if (parse_host(endpoint, host, port) == 0)
			return 0;
	}
	return error_set(reterr, -EINVAL,
		"'%s' needs an address and a port, such as tcp:127.0.0.1:8080, tcp:[::1]:8080 or "
		"tcp:localhost:8080; names are not looked up",
		endpoint->text);
}

int
endpoint_parse(struct endpoint *ret_endpoint, char *const *words, struct ivshmem_error *reterr)
{
	struct endpoint endpoint = {.text = words[0], .kind = ENDPOINT_UNIX};
	int r = 0;

	if (strcmp(words[0], "exec") == 0) {
		endpoint.kind = ENDPOINT_EXEC;
		endpoint.command = words + 1;
		if (!words[1])
			return error_set(reterr, -EINVAL,
				"exec needs a program, and -- before it: exec -- PROGRAM "
				"[ARGUMENT]...");
	} else if (words[1]) {
		return error_set(reterr, -EINVAL, "'%s' is one operand too many", words[1]);
	} else if (strcmp(words[0], "stdio") == 0) {
		endpoint.kind = ENDPOINT_STDIO;
	} else if (strncmp(words[0], "unix:", 5) == 0) {
		r = parse_unix(&endpoint, words[0] + 5, reterr);
	} else if (strncmp(words[0], "vsock:", 6) == 0) {
		endpoint.kind = ENDPOINT_VSOCK;
		r = parse_unix(&endpoint, words[0] + 6, reterr);
	} else if (strncmp(words[0], "tcp:", 4) == 0) {
		r = parse_tcp(&endpoint, words[0] + 4, reterr);
	} else {
		return error_set(reterr, -EINVAL,
			"'%s' is neither unix:PATH, tcp:ADDRESS:PORT, vsock:PATH, stdio nor exec",
			words[0]);
	}
	if (r == 0)
		*ret_endpoint = endpoint;
	return r;
}

/* ---- listening ------------------------------------------------------------------------------- */

static int
new_socket(const struct endpoint *endpoint)
{
	return socket(
		endpoint->address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

/* Remove the socket file of a program that has ended. */
static void
remove_stale(const struct endpoint *endpoint)
{
	_fd_cleanup_ int fd = new_socket(endpoint);

	if (fd >= 0 && connect(fd, &endpoint->address.any, endpoint->length) < 0 &&
		errno == ECONNREFUSED)
		endpoint_remove(endpoint);
}

void
endpoint_remove(const struct endpoint *endpoint)
{
	struct stat stat;

	/* Not what was never a socket. */
	if (endpoint->address.any.sa_family == AF_UNIX &&
		lstat(endpoint->address.un.sun_path, &stat) == 0 && S_ISSOCK(stat.st_mode))
		unlink(endpoint->address.un.sun_path);
}

int
endpoint_listen(const struct endpoint *endpoint, int *ret_fd, struct ivshmem_error *reterr)
{
	_fd_cleanup_ int fd = new_socket(endpoint);
	int on = 1;

	if (fd < 0)
		return error_set(reterr, -errno, "cannot make a socket: %s", strerror(errno));
	if (endpoint->address.any.sa_family == AF_UNIX)
		remove_stale(endpoint);
	else
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, &endpoint->address.any, endpoint->length) < 0 || listen(fd, BACKLOG) < 0)
		return error_set(reterr, -errno, "cannot listen on %s: %s", endpoint->text,
			errno == EADDRINUSE ? "something else has this address" : strerror(errno));
	*ret_fd = fd_take(&fd);
	return 0;
}

/* ---- connecting ------------------------------------------------------------------------------ */

static int
connect_address(const struct endpoint *endpoint, int *ret_fd, bool *ret_pending,
	struct ivshmem_error *reterr)
{
	_fd_cleanup_ int fd = new_socket(endpoint);
	int on = 1;
	int r;

	if (fd < 0)
		return error_set(reterr, -errno, "cannot make a socket: %s", strerror(errno));
	if (endpoint->kind == ENDPOINT_TCP)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	do
		r = connect(fd, &endpoint->address.any, endpoint->length);
	while (r < 0 && errno == EINTR);
	*ret_pending = r < 0 && errno == EINPROGRESS;
	/* The queue of a UNIX socket is full. */
	if (r < 0 && errno == EAGAIN)
		return -EAGAIN;
	if (r < 0 && !*ret_pending)
		return error_set(reterr, -errno, "cannot connect to %s: %s", endpoint->text,
			strerror(errno));
	*ret_fd = fd_take(&fd);
	return 0;
}

_Noreturn static void
become(char *const *command, int fd)
{
	sigset_t none;

	/* What we changed for ourselves. */
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	signal(SIGCHLD, SIG_DFL);
	if (dup2(fd, STDIN_FILENO) >= 0 && dup2(fd, STDOUT_FILENO) >= 0)
		execvp(command[0], command);
	fprintf(stderr, "ivshmem: cannot start '%s': %s\n", command[0], strerror(errno));
	_exit(CANNOT_START);
}

/* Its stdin and stdout are one socket. The system reaps it. */
static int
start(const struct endpoint *endpoint, int *ret_fd, struct ivshmem_error *reterr)
{
	int ends[2];
	int r = 0;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
		return error_set(reterr, -errno, "cannot make a socket: %s", strerror(errno));
	pid = fork();
	if (pid == 0)
		become(endpoint->command, ends[1]);
	if (pid < 0)
		r = error_set(reterr, -errno, "cannot start '%s': %s", endpoint->command[0],
			strerror(errno));
	close(ends[1]);
	if (r == 0)
		r = fcntl(ends[0], F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
	if (r < 0) {
		close(ends[0]);
		return r;
	}
	*ret_fd = ends[0];
	return 0;
}

int
endpoint_connect(const struct endpoint *endpoint, int *ret_in, int *ret_out, bool *ret_pending,
	struct ivshmem_error *reterr)
{
	int fd = -1;
	int r;

	*ret_pending = false;
	switch (endpoint->kind) {
	case ENDPOINT_UNIX:
	case ENDPOINT_TCP:
		r = connect_address(endpoint, &fd, ret_pending, reterr);
		break;
	case ENDPOINT_EXEC:
		r = start(endpoint, &fd, reterr);
		break;
	case ENDPOINT_STDIO:
	case ENDPOINT_VSOCK:
	default:
		*ret_in = STDIN_FILENO;
		*ret_out = STDOUT_FILENO;
		return 0;
	}
	if (r == 0)
		*ret_in = *ret_out = fd;
	return r;
}

/* ---- ends ------------------------------------------------------------------------------------ */

void
endpoint_reset_on_close(int fd, bool on)
{
	const struct linger reset = {.l_onoff = on};

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
}
