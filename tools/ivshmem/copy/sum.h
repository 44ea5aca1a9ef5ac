/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_COPY_SUM_H
#define IVSHMEM_COPY_SUM_H

/*
 * The checksum of a file. It finds errors: of memory, of a disk, of our own programs. It does not find
 * a forger, who can make another file with the same sum.
 *
 * Theory of operation. A file is cut into blocks of 1 MiB. The words of 8 bytes of a block go in turn
 * to four lanes, because a processor can multiply for several at a time: each lane takes a word with
 * an exclusive or, turns its bits, and multiplies. For each lane, this maps different states to
 * different states, so one wrong word is always found; errors in several words are missed once in 2^64
 * times. What the lanes of a block have become is mixed into one number of 64 bits, the sum. This is
 * as quick as CRC-32C with an instruction for it, and far quicker than that where there is none, as in
 * guests whose processor is emulated.
 *
 * A block of zeros is only counted, and a run of them is mixed in as its length. So a hole costs
 * nothing however long it is, and the sum is the same whether zeros are a hole or were written.
 *
 * Where a block ends, the whole state is two numbers (struct sum_mark). A copy that was interrupted
 * goes on from such a mark.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SUM_BLOCK  (UINT64_C(1) << 20)
#define SUM_LANES  4
#define SUM_STRIPE (SUM_LANES * 8)

/* The state between two blocks. */
struct sum_mark {
	uint64_t mixed;
	uint64_t zero_blocks; /* before it, and not mixed in yet */
};

struct sum {
	struct sum_mark mark; /* at the beginning of this block */
	uint64_t lanes[SUM_LANES];
	uint64_t in_block; /* bytes of this block so far */
	bool has_bytes;    /* and one of them is not 0 */
	uint8_t stripe[SUM_STRIPE];
	size_t in_stripe;
};

/* Begin with a file, or go on from a mark. */
void sum_begin(struct sum *sum, const struct sum_mark *from);

void sum_bytes(struct sum *sum, const void *bytes, size_t length);
void sum_zeros(struct sum *sum, uint64_t length);

/* The sum of all so far. */
uint64_t sum_end(struct sum *sum);

#endif
