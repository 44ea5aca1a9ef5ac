/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Whether a process has a connection to another one. A name does not tell: a server that was
 * replaced listens on the path of the one before. The kernel's list of sockets tells which two belong
 * together.
 */

#include "look.h"

#include <base/fd.h>

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* The numbers of the sockets that a process has, in order. */
struct sockets {
	uint32_t *numbers;
	size_t n;
};

static int
compare(const void *a, const void *b)
{
	const uint32_t *left = a, *right = b;

	return *left < *right ? -1 : *left > *right;
}

static bool
has(const struct sockets *sockets, uint32_t number)
{
	return sockets->n > 0 &&
	       bsearch(&number, sockets->numbers, sockets->n, sizeof(number), compare);
}

static int
add(struct sockets *sockets, uint32_t number)
{
	uint32_t *more = sockets->numbers;

	/* There is room for the next power of two. */
	if ((sockets->n & (sockets->n - 1)) == 0)
		more = reallocarray(more, sockets->n ? sockets->n * 2 : 1, sizeof(*more));
	if (!more)
		return -ENOMEM;
	sockets->numbers = more;
	sockets->numbers[sockets->n++] = number;
	return 0;
}

static int
read_sockets(const struct doctor *doctor, pid_t pid, struct sockets *sockets)
{
	char path[64], full[PATH_MAX], link[64];
	const struct dirent *entry;
	DIR *folder;
	int r = 0;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	folder = opendir(look_path(doctor, path, full, sizeof(full)));
	if (!folder)
		return -errno;
	while (r == 0 && (entry = readdir(folder))) {
		snprintf(path, sizeof(path), "/proc/%d/fd/%.20s", (int)pid, entry->d_name);
		if (look_link(doctor, path, link, sizeof(link)) &&
			strncmp(link, "socket:[", 8) == 0)
			r = add(sockets, (uint32_t)strtoul(link + 8, NULL, 10));
	}
	closedir(folder);
	if (sockets->n > 0)
		qsort(sockets->numbers, sockets->n, sizeof(*sockets->numbers), compare);
	return r;
}

/* ---- the kernel's list ----------------------------------------------------------------------- */

struct search {
	struct sockets ours, theirs;
	bool seen; /* one of ours: it is the list of our network namespace */
	bool connected;
};

/* The number of the socket at the other end; 0: none. */
static uint32_t
find_other(const char *attributes, size_t length)
{
	struct rtattr attribute;
	uint32_t other = 0;

	while (length >= sizeof(attribute)) {
		memcpy(&attribute, attributes, sizeof(attribute));
		if (attribute.rta_len < sizeof(attribute) || attribute.rta_len > length)
			break;
		if (attribute.rta_type == UNIX_DIAG_PEER &&
			attribute.rta_len >= sizeof(attribute) + sizeof(other))
			memcpy(&other, attributes + sizeof(attribute), sizeof(other));
		if (RTA_ALIGN(attribute.rta_len) >= length)
			break;
		attributes += RTA_ALIGN(attribute.rta_len);
		length -= RTA_ALIGN(attribute.rta_len);
	}
	return other;
}

static void
look_at_socket(struct search *search, const char *body, size_t length)
{
	struct unix_diag_msg socket;

	memcpy(&socket, body, sizeof(socket));
	if (!has(&search->ours, socket.udiag_ino))
		return;
	search->seen = true;
	if (has(&search->theirs, find_other(body + NLMSG_ALIGN(sizeof(socket)),
					 length - NLMSG_ALIGN(sizeof(socket)))))
		search->connected = true;
}

/* 1 if there is more to come. */
static int
look_at_part(int fd, struct search *search)
{
	char bytes[32768];
	ssize_t n = recv(fd, bytes, sizeof(bytes), 0);
	struct nlmsghdr header;

	if (n < 0)
		return -errno;
	for (size_t at = 0; at + NLMSG_HDRLEN <= (size_t)n; at += NLMSG_ALIGN(header.nlmsg_len)) {
		memcpy(&header, bytes + at, sizeof(header));
		if (header.nlmsg_type == NLMSG_DONE)
			return 0;
		if (header.nlmsg_type == NLMSG_ERROR || header.nlmsg_len > (size_t)n - at ||
			header.nlmsg_len < NLMSG_SPACE(sizeof(struct unix_diag_msg)))
			return -EOPNOTSUPP;
		look_at_socket(
			search, bytes + at + NLMSG_HDRLEN, header.nlmsg_len - (size_t)NLMSG_HDRLEN);
	}
	return n > 0;
}

static int
look_at_all(struct search *search)
{
	const struct {
		struct nlmsghdr header;
		struct unix_diag_req wish;
	} request = {
		.header = {.nlmsg_len = sizeof(request),
			.nlmsg_type = SOCK_DIAG_BY_FAMILY,
			.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
		.wish = {.sdiag_family = AF_UNIX,
			.udiag_states = UINT32_MAX,
			.udiag_show = UDIAG_SHOW_PEER},
	};
	_fd_cleanup_ int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	int r = 1;

	if (fd < 0 || send(fd, &request, sizeof(request), 0) < 0)
		return -errno;
	while (r > 0 && !search->connected)
		r = look_at_part(fd, search);
	return r;
}

int
look_connected(const struct doctor *doctor, pid_t pid, pid_t other)
{
	struct search search = {.seen = false};
	int r = read_sockets(doctor, pid, &search.ours);

	if (r == 0)
		r = read_sockets(doctor, other, &search.theirs);
	if (r == 0)
		r = look_at_all(&search);
	free(search.ours.numbers);
	free(search.theirs.numbers);
	if (r < 0)
		return r;
	return search.connected ? 1 : search.seen ? 0 : -ENODATA;
}
