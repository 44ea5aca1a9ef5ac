/* SPDX-License-Identifier: BSD-2-Clause */
#include <channel/heap.h>

#include <channel/layout.h>

#include <errno.h>
#include <stdlib.h>

static struct heap_block *
block_of(struct list *link)
{
	return container_of(link, struct heap_block, link);
}

void
heap_init(struct heap *heap, uint64_t start, uint64_t end)
{
	*heap = (struct heap){.start = start, .end = end};
	list_init(&heap->blocks);
}

void
heap_done(struct heap *heap)
{
	list_for_each_safe (link, &heap->blocks)
		heap_free(block_of(link));
}

/* Where the free piece before `link`, a block or the head of the list, begins; and how large it
 * is. */
static uint64_t
gap_before(struct heap *heap, struct list *link, uint64_t *ret_size)
{
	uint64_t end = link == &heap->blocks ? heap->end : block_of(link)->offset;
	uint64_t start = link->prev == &heap->blocks
				 ? heap->start
				 : block_of(link->prev)->offset + block_of(link->prev)->size;

	*ret_size = end - start;
	return start;
}

int
heap_allocate(struct heap *heap, uint64_t size, struct heap_block **ret_block)
{
	struct list *link = &heap->blocks;
	struct heap_block *block;
	uint64_t room;

	size = (size + LAYOUT_LINE - 1) / LAYOUT_LINE * LAYOUT_LINE;
	do {
		uint64_t start;

		link = link->next;
		start = gap_before(heap, link, &room);
		if (room < size)
			continue;
		block = calloc(1, sizeof(*block));
		if (!block)
			return -ENOMEM;
		block->offset = start;
		block->size = size;
		list_insert_before(link, &block->link);
		*ret_block = block;
		return 0;
	} while (link != &heap->blocks);
	return -ENOSPC;
}

void
heap_free(struct heap_block *block)
{
	if (block)
		list_remove(&block->link);
	free(block);
}

uint64_t
heap_largest(struct heap *heap)
{
	uint64_t largest = 0;
	uint64_t room;

	list_for_each (link, &heap->blocks) {
		gap_before(heap, link, &room);
		largest = room > largest ? room : largest;
	}
	gap_before(heap, &heap->blocks, &room);
	return room > largest ? room : largest;
}
