/* SPDX-License-Identifier: BSD-2-Clause */
#include "sides.h"

#include <measure.h>

#include <errno.h>
#include <getopt.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define PRIORITY 10

struct sides_clock {
	_Atomic unsigned ready;
	_Atomic uint64_t begin, end;
	double result;
};

void
sides_die(const char *what, int error)
{
	fprintf(stderr, "%s: %s\n", what, strerror(error < 0 ? -error : error));
	_exit(1);
}

char *
sides_buffer(const struct sides *sides)
{
	char *buffer = malloc(sides->length);

	if (!buffer)
		sides_die("malloc", ENOMEM);
	memset(buffer, 1, sides->length);
	return buffer;
}

void
sides_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

void
sides_begin(struct sides *sides)
{
	const struct sched_param param = {.sched_priority = PRIORITY};

	/* Who may not do this measures the rest of the machine, too. */
	sched_setscheduler(0, SCHED_FIFO, &param);
	atomic_fetch_add(&sides->clock->ready, 1);
	while (atomic_load(&sides->clock->ready) < 2)
		sides_relax();
	atomic_store(&sides->clock->begin, clock_ns(CLOCK_MONOTONIC));
}

void
sides_end(struct sides *sides)
{
	atomic_store(&sides->clock->end, clock_ns(CLOCK_MONOTONIC));
}

void
sides_result(struct sides *sides, double value)
{
	sides->clock->result = value;
}

static void *
share(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (memory == MAP_FAILED)
		sides_die("mmap", errno);
	return memory;
}

static pid_t
start(void (*side)(struct sides *sides), struct sides *sides, int cpu)
{
	pid_t child = fork();

	if (child < 0)
		sides_die("fork", errno);
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		cpu_pin(cpu);
		side(sides);
		exit(0); /* a library may have something to tidy up */
	}
	return child;
}

static void
run(const struct sides_case *what, struct sides *sides, int send_cpu, int receive_cpu)
{
	pid_t sender;

	sides->clock = share(sizeof(*sides->clock));
	sides->memory = share(SIDES_MEMORY);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sides->fds) < 0)
		sides_die("socketpair", errno);
	sender = start(what->send, sides, send_cpu);
	start(what->receive, sides, receive_cpu);
	for (unsigned i = 0; i < 2; i++) {
		int status;
		pid_t ended = wait(&status);

		if (ended > 0 && status == 0)
			continue;
		/* The other side may wait for this one for ever. It ends with us. */
		fprintf(stderr, "the %s failed\n", ended == sender ? "sender" : "receiver");
		exit(1);
	}
}

int
sides_main(int argc, char **argv, const struct sides_case *cases, size_t n_cases)
{
	static const struct option options[] = {
		{"length", required_argument, NULL, 'l'},
		{"count", required_argument, NULL, 'n'},
		{"target", required_argument, NULL, 't'},
		{"send-cpu", required_argument, NULL, 's'},
		{"receive-cpu", required_argument, NULL, 'r'},
		{NULL, 0, NULL, 0},
	};
	struct sides sides = {.length = 64, .count = 1000000};
	int send_cpu = -1, receive_cpu = -1, option;
	uint64_t end;
	double result;

	while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		if (option == 'l')
			sides.length = strtoul(optarg, NULL, 10);
		else if (option == 'n')
			sides.count = strtoul(optarg, NULL, 10);
		else if (option == 't')
			sides.target = optarg;
		else if (option == 's')
			send_cpu = atoi(optarg);
		else if (option == 'r')
			receive_cpu = atoi(optarg);
		else
			return 2;
	}
	if (sides.length == 0 || sides.count == 0) {
		fprintf(stderr, "%s: --length and --count are numbers from 1\n", argv[0]);
		return 2;
	}
	for (size_t i = 0; optind < argc && i < n_cases; i++) {
		if (strcmp(cases[i].name, argv[optind]) != 0)
			continue;
		run(&cases[i], &sides, send_cpu, receive_cpu);
		result = sides.clock->result;
		end = atomic_load(&sides.clock->end);
		if (end != 0)
			result = (double)(end - atomic_load(&sides.clock->begin)) /
				 (double)sides.count;
		printf("%.3f\n", result);
		return 0;
	}
	fprintf(stderr, "%s: which case?\n", argv[0]);
	return 2;
}
