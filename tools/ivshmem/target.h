/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_TARGET_H
#define IVSHMEM_TARGET_H

#include "cli.h"

/* "unix:" and the longest path there is, with room for a nonsensical one to be complained about. */
#define TARGET_MAX 4352

/*
 * Which target is meant: --target, else the environment, else what is there on this machine. Writes
 * the target in its long form ("unix:/path"). On failure the message was printed.
 */
enum status target_choose(const struct cli *cli, char ret_target[TARGET_MAX]);

/* Is it memory alone, which has neither peers nor interrupts? */
bool target_is_memory(const char *target);

/* The PCI device that a "pci:" target means, for showing. "" where it cannot be told. */
struct target_pci {
	char address[16]; /* 0000:00:05.0 */
	char driver[64];
};

/* 0, or -ENOENT if `target` is no PCI target or its device is not there. */
int target_find_pci(const char *target, struct target_pci *ret_pci);

#endif
