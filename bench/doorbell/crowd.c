/* SPDX-License-Identifier: BSD-2-Clause */
#include "crowd.h"

#include "guest.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define MAX_MEMBERS 512

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct pollfd members[MAX_MEMBERS + 1]; /* the first one is a pipe that wakes the thread */
static nfds_t n_members;
static int wake = -1;
static bool leaving;
static pthread_t thread;

/* Descriptors that nobody makes room for are closed by the kernel. */
static void
drain(int socket)
{
	char buffer[4096];
	ssize_t n;

	do
		n = recv(socket, buffer, sizeof(buffer), MSG_DONTWAIT);
	while (n > 0);
	if (n == 0 || (n < 0 && errno != EAGAIN))
		vm_die("a server is gone");
}

static void *
read_for_all(void *data)
{
	(void)data;
	for (;;) {
		struct pollfd fds[MAX_MEMBERS + 1];
		nfds_t n;
		bool end;

		pthread_mutex_lock(&lock);
		n = n_members;
		memcpy(fds, members, n * sizeof(*fds));
		end = leaving;
		pthread_mutex_unlock(&lock);
		if (end)
			return NULL;
		if (poll(fds, n, -1) < 0 && errno != EINTR)
			vm_die("poll: %s", strerror(errno));
		if (fds[0].revents) {
			char byte;

			if (read(fds[0].fd, &byte, 1) != 1)
				vm_die("a pipe broke");
		}
		for (nfds_t i = 1; i < n; i++)
			if (fds[i].revents)
				drain(fds[i].fd);
	}
}

static void
wake_up(void)
{
	if (write(wake, "", 1) != 1)
		vm_die("a pipe broke");
}

static void
start(void)
{
	int pipes[2];

	if (pipe(pipes) < 0)
		vm_die("no pipe: %s", strerror(errno));
	members[0] = (struct pollfd){.fd = pipes[0], .events = POLLIN};
	n_members = 1;
	wake = pipes[1];
	if (pthread_create(&thread, NULL, read_for_all, NULL) != 0)
		vm_die("no thread");
}

uint16_t
crowd_join(const char *server)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int64_t greeting[2]; /* version, id */
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (wake < 0)
		start();
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", server);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		vm_die("no connection to %s: %s", server, strerror(errno));
	for (size_t have = 0; have < sizeof(greeting);) {
		ssize_t n = recv(fd, (char *)greeting + have, sizeof(greeting) - have, 0);

		if (n <= 0)
			vm_die("%s says nothing", server);
		have += (size_t)n;
	}
	if (greeting[0] != 0 || n_members > MAX_MEMBERS)
		vm_die("%s is another server, or there are too many clients", server);
	pthread_mutex_lock(&lock);
	members[n_members++] = (struct pollfd){.fd = fd, .events = POLLIN};
	pthread_mutex_unlock(&lock);
	wake_up();
	return (uint16_t)greeting[1];
}

void
crowd_leave(void)
{
	if (wake < 0)
		return;
	pthread_mutex_lock(&lock);
	leaving = true;
	pthread_mutex_unlock(&lock);
	wake_up();
	pthread_join(thread, NULL);
	for (nfds_t i = 0; i < n_members; i++)
		close(members[i].fd);
	close(wake);
}
