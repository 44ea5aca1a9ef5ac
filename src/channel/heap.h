/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef CHANNEL_HEAP_H
#define CHANNEL_HEAP_H

/*
 * Which parts of the own area's heap are in use. Only the owner needs to know, so this is private
 * memory. First fit, in units of LAYOUT_LINE; there are few blocks, because each is a ring.
 */

#include <base/list.h>

#include <stdint.h>

struct heap {
	uint64_t start, end; /* offsets in the area */
	struct list blocks;  /* in ascending order */
};

struct heap_block {
	struct list link;
	uint64_t offset, size;
};

void heap_init(struct heap *heap, uint64_t start, uint64_t end);
/* Forgets all blocks. */
void heap_done(struct heap *heap);

/* -ENOSPC: there is no such piece. -ENOMEM. */
int heap_allocate(struct heap *heap, uint64_t size, struct heap_block **ret_block);
void heap_free(struct heap_block *block);

/* The size of the largest free piece. */
uint64_t heap_largest(struct heap *heap);

#endif
