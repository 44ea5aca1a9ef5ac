/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_TARGET_H
#define IVSHMEM_TARGET_H

#include "cli.h"

/* Room for "unix:" and the longest path there is, and for one that is too long and is refused. */
#define TARGET_MAX 4352

/*
 * Choose the target: --target, else the environment, else what this machine has. Writes the target in
 * its long form ("unix:/path"). On failure, prints why.
 */
enum status target_choose(const struct cli *cli, char ret_target[TARGET_MAX]);

/* Whether it is memory alone, without peers and interrupts. */
bool target_is_memory(const char *target);

/* Whether it is a PCI device of this machine, by its address or by a node. */
bool target_is_pci(const char *target);

/* The PCI device that such a target means, to be shown. "" is unknown. */
struct target_pci {
	char address[16]; /* 0000:00:05.0 */
	char driver[64];
};

/* 0, or -ENOENT if `target` is no PCI target or its device is not there. */
int target_find_pci(const char *target, struct target_pci *ret_pci);

#endif
