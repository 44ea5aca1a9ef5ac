/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * ivshmem-bench-vfio-user: what an access of the guest costs over vfio-user, beside what the kernel
 * alone takes for the same: a process that answers messages of the same sizes and does nothing else
 * ("bare"). Rounds are interleaved. Prints JSON: of each round the median of each case, in ns.
 *
 *	read	a read of IVPosition: 32 bytes there, 36 back
 *	ring	a write of the doorbell that rings a peer: 36 bytes there, 32 back
 *	eventfd	the bare process writes an eventfd before it answers the same
 */

#include "measure.h"

#include <vfio_client.h>

#include <ivshmem/abi.h>

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_MESSAGE 512

struct access {
	struct vfio_user_header header;
	struct vfio_user_region_access access;
	uint32_t value;
};

static uint64_t spin_ns;

/* One read, after spinning for it. Returns 0 at the end. */
static size_t
receive(int fd, void *buffer, size_t size)
{
	ssize_t n = -1;

	if (spin_ns > 0) {
		uint64_t end = clock_ns(CLOCK_MONOTONIC) + spin_ns;

		do
			n = recv(fd, buffer, size, MSG_DONTWAIT);
		while (n < 0 && errno == EAGAIN && clock_ns(CLOCK_MONOTONIC) < end);
	}
	if (n < 0)
		n = recv(fd, buffer, size, 0);
	if (n < 0)
		die("recv");
	return (size_t)n;
}

/* ---- the bare other side ---------------------------------------------------------------------- */

/* Asks for an eventfd to be written before the answer, which is what it takes to ring. */
#define WITH_EVENTFD 0xffffffffu

static void
answer_all(int fd)
{
	const uint64_t one = 1;
	_Alignas(8) char buffer[MAX_MESSAGE] = {0};
	int rung = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	size_t n;

	while ((n = receive(fd, buffer, sizeof(buffer))) > 0) {
		const struct access *request = (const struct access *)(const void *)buffer;
		size_t size = request->header.command == VFIO_USER_REGION_READ ? 36 : 32;

		if (request->value == WITH_EVENTFD && size == 32 &&
			write(rung, &one, sizeof(one)) != (ssize_t)sizeof(one))
			die("write to an eventfd");

		if (send(fd, buffer, size, MSG_NOSIGNAL) != (ssize_t)size)
			die("send");
	}
}

static int
start_bare(int cpu)
{
	int pair[2];
	pid_t child;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		die("socketpair");
	child = fork();
	if (child < 0)
		die("fork");
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(pair[0]);
		cpu_pin(cpu);
		answer_all(pair[1]);
		_exit(0);
	}
	close(pair[1]);
	return pair[0];
}

/* ---- the device ------------------------------------------------------------------------------- */

static void
connect_device(struct vfio_client *client, const char *path)
{
	char text[MAX_MESSAGE];
	int r = vfio_client_connect(client, path);

	if (r == 0)
		r = vfio_client_version(client, "{}", text, sizeof(text));
	if (r < 0) {
		fprintf(stderr, "%s: %s\n", path, strerror(-r));
		exit(1);
	}
}

/* ---- measuring -------------------------------------------------------------------------------- */

static uint64_t
measure(int fd, const struct access *request, uint64_t *times, unsigned count)
{
	bool is_read = request->header.command == VFIO_USER_REGION_READ;
	size_t expected = is_read ? 36 : 32;
	char reply[MAX_MESSAGE];

	for (unsigned i = 0; i < count; i++) {
		uint64_t start = clock_ns(CLOCK_MONOTONIC);

		if (send(fd, request, request->header.size, MSG_NOSIGNAL) !=
				(ssize_t)request->header.size ||
			receive(fd, reply, sizeof(reply)) != expected)
			die("an access failed");
		times[i] = clock_ns(CLOCK_MONOTONIC) - start;
	}
	return median(times, count);
}

int
main(int argc, char **argv)
{
	static const struct option options[] = {
		{"socket", required_argument, NULL, 's'},
		{"peer", required_argument, NULL, 'p'},
		{"spin", required_argument, NULL, 'u'},
		{"cpu", required_argument, NULL, 'c'},
		{"bare-cpu", required_argument, NULL, 'b'},
		{"rounds", required_argument, NULL, 'r'},
		{"count", required_argument, NULL, 'n'},
		{NULL, 0, NULL, 0},
	};
	struct access read_request = {
		.header = {.command = VFIO_USER_REGION_READ, .size = 32},
		.access = {.offset = IVSHMEM_REG_IV_POSITION, .count = 4},
	};
	struct access ring_request = {
		.header = {.command = VFIO_USER_REGION_WRITE, .size = 36},
		.access = {.offset = IVSHMEM_REG_DOORBELL, .count = 4},
	};
	struct access eventfd_request = ring_request;
	unsigned rounds = 20, count = 2000;
	int cpu = -1, bare_cpu = -1, option, bare;
	struct vfio_client device;
	const char *path = NULL;
	uint64_t *times;

	while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		if (option == 's')
			path = optarg;
		else if (option == 'p')
			ring_request.value = (uint32_t)atoi(optarg) << 16;
		else if (option == 'u')
			spin_ns = (uint64_t)atoi(optarg) * 1000;
		else if (option == 'c')
			cpu = atoi(optarg);
		else if (option == 'b')
			bare_cpu = atoi(optarg);
		else if (option == 'r')
			rounds = (unsigned)atoi(optarg);
		else if (option == 'n')
			count = (unsigned)atoi(optarg);
		else
			return 2;
	}
	times = calloc(count, sizeof(*times));
	if (!path || rounds == 0 || !times) {
		fprintf(stderr, "ivshmem-bench-vfio-user: --socket is needed, --rounds from 1\n");
		return 2;
	}
	eventfd_request.value = WITH_EVENTFD;
	bare = start_bare(bare_cpu);
	connect_device(&device, path);
	cpu_pin(cpu);
	measure(bare, &read_request, times, count / 4 + 1); /* warm up */
	measure(device.socket, &read_request, times, count / 4 + 1);
	printf("[");
	for (unsigned i = 0; i < rounds; i++) {
		const struct {
			const char *name;
			int fd;
			const struct access *request;
		} cases[] = {
			{"bare_read", bare, &read_request},
			{"read", device.socket, &read_request},
			{"bare_ring", bare, &ring_request},
			{"ring", device.socket, &ring_request},
			{"bare_eventfd", bare, &eventfd_request},
		};
		unsigned n = sizeof(cases) / sizeof(cases[0]);

		printf("%s{", i > 0 ? ", " : "");
		/* In turns from both ends, so that a drift of the machine favours nobody. */
		for (unsigned k = 0; k < n; k++) {
			unsigned which = i % 2 == 0 ? k : n - 1 - k;

			printf("%s\"%s\": %llu", k > 0 ? ", " : "", cases[which].name,
				(unsigned long long)measure(
					cases[which].fd, cases[which].request, times, count));
		}
		printf("}");
	}
	printf("]\n");
	free(times);
	close(bare);
	vfio_client_close(&device);
	wait(NULL);
	return 0;
}
