/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * ivshmem-bench-floor: what the kernel alone charges for the messages that a server sends.
 *
 * The server protocol forces one message of 8 bytes per descriptor, so the number of messages
 * cannot be reduced and no server can be faster than these sends. "hot" is one thread that fills a
 * UNIX stream socket and empties it again, with only the filling on the clock: buffers come back to
 * the same CPU at once. hot.sendmmsg is the floor that results are given in multiples of. "cross"
 * has the reader on another CPU, "fanout" sends one message each to many sockets which another CPU
 * drains; both count the CPU time of the sender only. They show how far above the floor a server
 * has to be that does nothing but send.
 */

#include "measure.h"

#include <getopt.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define BATCH       192 /* fits into the default send buffer, which takes 278 such messages */
#define FANOUT_MAX  1024
#define READ_EVENTS 256
#define SOCKETS_AT  (2 * FANOUT_MAX + 64)

static struct {
	struct mmsghdr headers[BATCH];
	struct iovec vectors[BATCH];
	uint64_t values[BATCH];
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int))];
	} control[BATCH];
} out, in;

static void
out_prepare(int fd)
{
	for (unsigned i = 0; i < BATCH; i++) {
		struct msghdr *header = &out.headers[i].msg_hdr;

		out.vectors[i] = (struct iovec){&out.values[i], sizeof(out.values[i])};
		*header = (struct msghdr){.msg_iov = &out.vectors[i], .msg_iovlen = 1};
		if (fd < 0)
			continue;
		header->msg_control = &out.control[i];
		header->msg_controllen = CMSG_LEN(sizeof(int));
		*CMSG_FIRSTHDR(header) = (struct cmsghdr){
			.cmsg_level = SOL_SOCKET,
			.cmsg_type = SCM_RIGHTS,
			.cmsg_len = CMSG_LEN(sizeof(int)),
		};
		memcpy(CMSG_DATA(CMSG_FIRSTHDR(header)), &fd, sizeof(fd));
	}
}

/* Receive up to a batch of messages and close their descriptors. Returns how many; 0 at the end. */
static unsigned
messages_read(int socket_fd, int flags)
{
	int lowest = -1, highest = -1, count;

	for (unsigned i = 0; i < BATCH; i++) {
		struct msghdr *header = &in.headers[i].msg_hdr;

		in.vectors[i] = (struct iovec){&in.values[i], sizeof(in.values[i])};
		*header = (struct msghdr){
			.msg_iov = &in.vectors[i],
			.msg_iovlen = 1,
			.msg_control = &in.control[i],
			.msg_controllen = CMSG_LEN(sizeof(int)),
		};
	}
	count = recvmmsg(socket_fd, in.headers, BATCH, flags, NULL);
	if (count <= 0 || in.headers[0].msg_len == 0)
		return 0;
	for (int i = 0; i < count; i++) {
		struct cmsghdr *c = CMSG_FIRSTHDR(&in.headers[i].msg_hdr);
		int fd;

		if (!c)
			continue;
		memcpy(&fd, CMSG_DATA(c), sizeof(fd));
		if (lowest < 0)
			lowest = fd;
		highest = fd;
	}
	/* Nothing else is opened meanwhile, so the descriptors of one batch are one range. */
	if (lowest >= 0 && close_range((unsigned)lowest, (unsigned)highest, 0) < 0)
		die("close_range");
	return (unsigned)count;
}

static void
batch_send(int socket_fd, bool one_call)
{
	for (unsigned i = 0; i < BATCH && !one_call; i++)
		if (sendmsg(socket_fd, &out.headers[i].msg_hdr, MSG_NOSIGNAL) < 0)
			die("sendmsg");
	for (unsigned sent = 0; sent < BATCH && one_call;) {
		int r = sendmmsg(socket_fd, out.headers + sent, BATCH - sent, MSG_NOSIGNAL);

		if (r < 0)
			die("sendmmsg");
		sent += (unsigned)r;
	}
}

/* Nanoseconds per message, median over the rounds. */
static double
measure_hot(int fd, bool one_call, unsigned rounds)
{
	uint64_t *times = calloc(rounds, sizeof(*times));
	double per_message;
	int pair[2];

	if (!times || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		die("socketpair");
	out_prepare(fd);
	for (unsigned i = 0; i < rounds; i++) {
		uint64_t start = clock_ns(CLOCK_MONOTONIC);

		batch_send(pair[0], one_call);
		times[i] = clock_ns(CLOCK_MONOTONIC) - start;
		for (unsigned got = 0; got < BATCH;)
			got += messages_read(pair[1], 0);
	}
	per_message = (double)median(times, rounds) / BATCH;
	free(times);
	close(pair[0]);
	close(pair[1]);
	return per_message;
}

/* The other process: drain all sockets until they are closed. */
static void
drain_all(const int *sockets, unsigned count)
{
	struct epoll_event events[READ_EVENTS];
	int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	unsigned open = count;

	for (unsigned i = 0; i < count; i++) {
		struct epoll_event event = {.events = EPOLLIN, .data.fd = sockets[i]};

		if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, sockets[i], &event) < 0)
			die("epoll_ctl");
	}
	while (open > 0) {
		int ready = epoll_wait(epoll_fd, events, READ_EVENTS, -1);

		for (int i = 0; i < ready; i++) {
			if (messages_read(events[i].data.fd, MSG_DONTWAIT) > 0)
				continue;
			epoll_ctl(epoll_fd, EPOLL_CTL_DEL, events[i].data.fd, NULL);
			open--;
		}
	}
}

/*
 * CPU nanoseconds of the sender per message, with the reader in another process. `fanout` sockets
 * get one message each in turn; with 1 it is batches into one socket.
 */
static double
measure_cross(int fd, bool one_call, unsigned rounds, unsigned fanout, int reader_cpu)
{
	static int send_side[FANOUT_MAX], receive_side[FANOUT_MAX];
	uint64_t start, used, messages;
	pid_t reader;

	for (unsigned i = 0; i < fanout; i++) {
		int pair[2];

		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
			die("socketpair");
		send_side[i] = pair[0];
		receive_side[i] = pair[1];
	}
	out_prepare(fd);
	reader = fork();
	if (reader < 0)
		die("fork");
	if (reader == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		cpu_pin(reader_cpu);
		for (unsigned i = 0; i < fanout; i++) {
			/* Out of the way: the numbers below are for what is received, without gaps.
			 */
			close(send_side[i]);
			if (dup2(receive_side[i], SOCKETS_AT + (int)i) < 0)
				die("dup2");
			close(receive_side[i]);
			receive_side[i] = SOCKETS_AT + (int)i;
		}
		drain_all(receive_side, fanout);
		_exit(0);
	}
	for (unsigned i = 0; i < fanout; i++)
		close(receive_side[i]);

	start = clock_ns(CLOCK_THREAD_CPUTIME_ID);
	for (unsigned round = 0; round < rounds; round++) {
		if (fanout == 1)
			batch_send(send_side[0], one_call);
		for (unsigned i = 0; i < fanout && fanout > 1; i++)
			if (sendmsg(send_side[i], &out.headers[0].msg_hdr, MSG_NOSIGNAL) < 0)
				die("sendmsg");
	}
	used = clock_ns(CLOCK_THREAD_CPUTIME_ID) - start;
	messages = fanout == 1 ? (uint64_t)rounds * BATCH : (uint64_t)rounds * fanout;

	for (unsigned i = 0; i < fanout; i++)
		close(send_side[i]);
	waitpid(reader, NULL, 0);
	return (double)used / (double)messages;
}

int
main(int argc, char **argv)
{
	static const struct option options[] = {
		{"cpu", required_argument, NULL, 'c'},
		{"reader-cpu", required_argument, NULL, 'r'},
		{"rounds", required_argument, NULL, 'n'},
		{"fanout", required_argument, NULL, 'f'},
		{NULL, 0, NULL, 0},
	};
	int cpu = -1, reader_cpu = -1, fd, option;
	unsigned rounds = 1000, fanout = 200;
	struct rlimit limit;

	while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		if (option == 'c')
			cpu = atoi(optarg);
		else if (option == 'r')
			reader_cpu = atoi(optarg);
		else if (option == 'n')
			rounds = (unsigned)atoi(optarg);
		else if (option == 'f')
			fanout = (unsigned)atoi(optarg);
		else
			return 2;
	}
	if (rounds < 1 || fanout < 2 || fanout > FANOUT_MAX) {
		fprintf(stderr, "ivshmem-bench-floor: --rounds from 1, --fanout from 2 to %d\n",
			FANOUT_MAX);
		return 2;
	}
	cpu_pin(cpu);
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
	fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (fd < 0)
		die("eventfd");

	measure_hot(fd, true, rounds / 4 + 1); /* warm up */
	printf("{\"hot\": {\"sendmsg\": %.1f, ", measure_hot(fd, false, rounds));
	printf("\"sendmmsg\": %.1f, ", measure_hot(fd, true, rounds));
	printf("\"sendmmsg_without_fd\": %.1f}, ", measure_hot(-1, true, rounds));
	printf("\"cross\": {\"sendmsg\": %.1f, ", measure_cross(fd, false, rounds, 1, reader_cpu));
	printf("\"sendmmsg\": %.1f}, ", measure_cross(fd, true, rounds, 1, reader_cpu));
	printf("\"fanout\": {\"sockets\": %u, \"sendmsg\": %.1f}}\n", fanout,
		measure_cross(fd, false, rounds * BATCH / fanout + 1, fanout, reader_cpu));
	return 0;
}
