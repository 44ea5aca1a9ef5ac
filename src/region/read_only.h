/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef REGION_READ_ONLY_H
#define REGION_READ_ONLY_H

/*
 * Memory for somebody who must not write it: a descriptor that was opened for reading only. The
 * kernel then refuses a writable mapping of it, and mprotect() of a mapping that was made for
 * reading (tests/protocol/server/test_server_policy.py).
 *
 * There is one way around: whoever has such a descriptor may open the same memory anew, through
 * /proc/self/fd, if the mode of the memory allows that. A memfd has the mode 0777 at first.
 * region_open_read_only() takes the permissions of others away. The owner of the memory, and a
 * process with CAP_DAC_OVERRIDE, can open it for writing all the same. F_SEAL_FUTURE_WRITE is no
 * help: it refuses writers that map the memory later, too.
 */

#include <stdbool.h>

struct ivshmem_error;

/*
 * Returns a descriptor of the same memory, for reading only. `anonymous`: the memory has no name,
 * so its mode is ours to change. A negative errno, and a sentence.
 */
int region_open_read_only(int fd, bool anonymous, struct ivshmem_error *reterr);

/* Can the descriptor only be read? */
bool region_is_read_only(int fd);

#endif
