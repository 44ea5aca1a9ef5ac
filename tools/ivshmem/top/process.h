/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TOP_PROCESS_H
#define TOP_PROCESS_H

/* What /proc tells of a process of this machine. */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct top_process {
	bool known;
	uid_t uid;
	char user[32];    /* its name, or the number; "" if it is not known */
	char program[32]; /* as the kernel has it */
	double started;   /* seconds since 1970; 0: it is not known */
};

/* What is not known stays empty. */
void top_process_find(uint32_t pid, struct top_process *ret_process);

#endif
