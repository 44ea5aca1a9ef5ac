/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * ivshmem-bench-guest-access: in a guest, what a program pays for using its devices in each of the
 * ways that there are (device.h). Prints a line of JSON that says what there is to measure, and one
 * for each round: what each task took, in ns, or, for copies, in ns for each byte.
 *
 *	guest_access [OPTION]... NAME=WAY@ADDRESS...
 *
 *	--rounds N	so many times everything; 1
 *	--sample MS	each task for so long; 5
 *	--reads		measure reads of a register
 *	--rings PEER	measure rings, of a peer that never looks
 *	--copies	measure copies, into the memory and out of it
 *	--answer PEER	after each round, answer the rings of this peer (answers.h)
 */

#include "answers.h"
#include "tasks.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#define TASKS_MOST 3

static struct {
	unsigned rounds;
	uint64_t sample_ns;
	const struct task *tasks[TASKS_MOST];
	unsigned n_tasks;
	int caller;
} given = {.rounds = 1, .sample_ns = 5000000, .caller = -1};

static struct device devices[MAX_DEVICES];
static unsigned n_devices;

static void
print_devices(void)
{
	printf("{");
	for (unsigned i = 0; i < n_devices; i++)
		printf("%s\"%s\": {\"peer\": %d, \"type\": \"%s\"}", i > 0 ? ", " : "",
			devices[i].name, devices[i].peer, devices[i].type);
	printf("}\n");
}

/* Every second round goes backwards, so that a drift of the machine favours nobody. */
static const struct device *
device_of_turn(unsigned round, unsigned turn)
{
	return &devices[round % 2 == 0 ? turn : n_devices - 1 - turn];
}

static void
measure_round(unsigned round)
{
	const char *separator = "";

	printf("{");
	for (unsigned i = 0; i < given.n_tasks; i++) {
		for (const struct task *task = given.tasks[i]; task->name; task++) {
			for (unsigned turn = 0; turn < n_devices; turn++) {
				const struct device *device = device_of_turn(round, turn);
				double ns = task_measure(task, device, given.sample_ns);

				if (ns < 0)
					continue;
				printf("%s\"%s: %s\": %.5g", separator, device->name, task->name,
					ns);
				separator = ", ";
			}
		}
	}
	printf("}\n");
}

static void
add_tasks(const struct task *tasks)
{
	if (given.n_tasks == TASKS_MOST) {
		fprintf(stderr, "guest_access: each kind of task once\n");
		exit(2);
	}
	given.tasks[given.n_tasks++] = tasks;
}

static int
parse(int argc, char **argv)
{
	static const struct option options[] = {
		{"rounds", required_argument, NULL, 'n'},
		{"sample", required_argument, NULL, 's'},
		{"reads", no_argument, NULL, 'r'},
		{"rings", required_argument, NULL, 'b'},
		{"copies", no_argument, NULL, 'c'},
		{"answer", required_argument, NULL, 'a'},
		{NULL, 0, NULL, 0},
	};
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		switch (option) {
		case 'n':
			given.rounds = (unsigned)atoi(optarg);
			break;
		case 's':
			given.sample_ns = (uint64_t)atoi(optarg) * 1000000;
			break;
		case 'r':
			add_tasks(tasks_reads);
			break;
		case 'b':
			tasks_idle_peer = (unsigned)atoi(optarg);
			add_tasks(tasks_rings);
			break;
		case 'c':
			add_tasks(tasks_copies);
			break;
		case 'a':
			given.caller = atoi(optarg);
			break;
		default:
			return -1;
		}
	}
	return argc - optind >= 1 && argc - optind <= MAX_DEVICES ? 0 : -1;
}

int
main(int argc, char **argv)
{
	if (parse(argc, argv) < 0) {
		fprintf(stderr,
			"usage: guest_access [--rounds N] [--sample MS] [--reads] [--rings PEER] "
			"[--copies] [--answer PEER] NAME=WAY@ADDRESS...\n");
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	while (optind < argc)
		device_open(&devices[n_devices++], argv[optind++]);
	if (given.caller >= 0)
		answers_begin(devices, n_devices);
	print_devices();
	for (unsigned round = 0; round < given.rounds; round++) {
		measure_round(round);
		if (given.caller >= 0)
			answers_give((unsigned)given.caller);
	}
	return 0;
}
