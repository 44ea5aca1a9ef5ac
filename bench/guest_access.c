/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * ivshmem-bench-guest-access: in a guest, what a read of IVPosition and a write of the doorbell take.
 * Arguments: the device's BAR0 in sysfs, how many accesses, what to write. Prints the medians in ns
 * of groups of accesses, because a guest's clock may itself be far away.
 */

#include "measure.h"

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <ivshmem/abi.h>

#define GROUP 20

int
main(int argc, char **argv)
{
	unsigned groups = argc == 5 ? (unsigned)atoi(argv[3]) / GROUP : 0;
	uint64_t *times = calloc(groups + 1, sizeof(*times));
	uint32_t value = argc == 5 ? (uint32_t)strtoul(argv[4], NULL, 0) : 0;
	volatile uint32_t *registers;
	int fd;

	if (groups == 0 || !times) {
		fprintf(stderr, "usage: guest_access RESOURCE0 OFFSET COUNT VALUE\n");
		return 2;
	}
	fd = open(argv[1], O_RDWR | O_SYNC);
	if (fd < 0) {
		perror(argv[1]);
		return 1;
	}
	registers = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (registers == MAP_FAILED) {
		perror("mmap");
		return 1;
	}
	/* A BAR smaller than a page need not begin with one. */
	registers += strtoul(argv[2], NULL, 0) / sizeof(*registers);
	for (unsigned write = 0; write < 2; write++) {
		for (unsigned i = 0; i < groups; i++) {
			uint64_t start = clock_ns(CLOCK_MONOTONIC);

			for (unsigned k = 0; k < GROUP; k++) {
				if (write)
					registers[IVSHMEM_REG_DOORBELL / 4] = value;
				else
					(void)registers[IVSHMEM_REG_IV_POSITION / 4];
			}
			times[i] = (clock_ns(CLOCK_MONOTONIC) - start) / GROUP;
		}
		printf("%s %llu\n", write ? "ring" : "read",
			(unsigned long long)median(times, groups));
	}
	free(times);
	return 0;
}
