/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Giving the memory another content, from a snapshot.
 *
 * Theory of operation: the header's magic says that the memory is being restored, from before the
 * first byte changes until after the last one has. Nobody takes such memory for a region. First the
 * areas are taken from their owners, each of whom asks for its claim before it writes: so they have
 * lost them, and know it, before they could see anything of the new content. The header comes last,
 * with a new epoch and with areas that are free, because the owners that a snapshot has are gone.
 * The magic is the last word. So a restore may end between any two of its stores: the memory stays
 * half-restored, everybody who looks sees that, and another restore or a format mends it.
 */
#include <channel/participant.h>

#include <base/error.h>

#include <ivshmem/channel.h>

#include <errno.h>
#include <string.h>

_Static_assert(IVSHMEM_CHANNELS_HEADER == LAYOUT_PAGE, "");

/* A claim may change so often while we take the area: its owner leaves, and others come. */
#define TRIES 1000

/* The words of a header page, in private memory. */
union header_page {
	struct layout_header header;
	uint64_t words[LAYOUT_PAGE / sizeof(uint64_t)];
};

static int
check_arguments(const void *memory, uint64_t size, struct ivshmem_error *reterr)
{
	if (!memory || (uintptr_t)memory % LAYOUT_LINE != 0 || size < LAYOUT_PAGE)
		return error_set(reterr, -EINVAL,
			"memory to restore begins at a multiple of %d and has at least %d bytes",
			LAYOUT_LINE, LAYOUT_PAGE);
	return 0;
}

static void
take_areas(struct layout_header *header)
{
	for (unsigned area = 0; area < LAYOUT_MAX_AREAS; area++) {
		uint64_t claim = word_acquire(&header->claims[area]);

		for (unsigned i = 0; i < TRIES && layout_claim_state(claim) == LAYOUT_OWNED; i++)
			if (__atomic_compare_exchange_n(&header->claims[area], &claim,
				    layout_claim(layout_claim_generation(claim), LAYOUT_DEAD),
				    false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
				break;
	}
}

EXPORT int
ivshmem_channels_restore_begin(void *memory, uint64_t size, struct ivshmem_error *reterr)
{
	struct layout_header *header = memory;
	int r = check_arguments(memory, size, reterr);
	uint64_t before;

	if (r < 0)
		return r;
	before = __atomic_exchange_n(&header->magic, LAYOUT_RESTORING, __ATOMIC_SEQ_CST);
	/* A restore that was killed may have come no further than that. */
	if (before == LAYOUT_MAGIC || before == LAYOUT_RESTORING)
		take_areas(header);
	word_fence();
	return 0;
}

/* The same areas, free, with generations that neither the memory nor the snapshot has seen. */
static void
free_areas(union header_page *page, const struct layout_header *current)
{
	for (unsigned area = 0; area < LAYOUT_MAX_AREAS; area++) {
		uint32_t old = layout_claim_generation(word_load(&current->claims[area]));
		uint32_t saved = layout_claim_generation(page->header.claims[area]);

		page->header.claims[area] = layout_claim(old > saved ? old : saved, LAYOUT_FREE);
	}
}

/* What the header page of a snapshot must become in `current`. */
static int
prepare(union header_page *page, const struct layout_header *current, uint64_t size,
	struct ivshmem_error *reterr)
{
	uint64_t magic = page->header.magic;

	if (magic == LAYOUT_RESTORING)
		return error_set(reterr, -EINPROGRESS,
			"the snapshot is of memory that was half-restored itself: it is worth nothing");
	if (size < MAP_MIN_SIZE || magic << 16 != LAYOUT_MAGIC << 16)
		return 0; /* no region: it comes back as it was */
	if (magic != LAYOUT_MAGIC)
		return map_check_magic(magic, reterr);
	page->header.epoch = map_random_epoch();
	free_areas(page, current);
	return 0;
}

EXPORT int
ivshmem_channels_restore_check(const void *header, uint64_t size, struct ivshmem_error *reterr)
{
	union header_page page;

	if (size < LAYOUT_PAGE)
		return error_set(reterr, -EINVAL, "a snapshot has at least %d bytes", LAYOUT_PAGE);
	memcpy(&page, header, sizeof(page));
	return prepare(&page, &page.header, size, reterr);
}

EXPORT int
ivshmem_channels_restore_end(
	void *memory, uint64_t size, const void *header, struct ivshmem_error *reterr)
{
	union header_page page;
	uint64_t *words = memory;
	int r = check_arguments(memory, size, reterr);

	if (r < 0)
		return r;
	memcpy(&page, header, sizeof(page));
	r = prepare(&page, memory, size, reterr);
	if (r < 0)
		return r;
	for (unsigned i = 1; i < LAYOUT_PAGE / sizeof(uint64_t); i++)
		word_store(&words[i], page.words[i]);
	/* Also in memory that is write-combining. */
	word_fence();
	word_release(&words[0], page.words[0]);
	word_fence();
	return 0;
}
