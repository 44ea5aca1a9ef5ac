/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Loans: records of a queue that lie in the sender's heap, and not in the ring.
 *
 * Theory of operation. The sender takes a piece of its heap, and gives it one of 64 numbers. When it
 * sends the loan, a record that only describes it goes through the ring. The receiver gives loans
 * back in any order, each by changing the bit of its number in a word of its own entry (`loans`).
 *
 *	sender		changes its private copy of the bit when it sends. While the two differ, the
 *			receiver has the loan.
 *	receiver	remembers which numbers it has. A number that comes once more before it was
 *			given back breaks the rules.
 *
 * A receiver that lies about a bit makes the sender use memory anew that the liar still reads, and
 * harms nobody else. One that gives nothing back has at most 64 loans, until the channel ends.
 *
 * A sender without room sets `loans_at`, has a fence, and looks once more; a receiver that gives a
 * loan back has a fence, and looks at that word. So one of them sees the other.
 */
#include <channel/channel.h>

#include <errno.h>
#include <stdlib.h>

_Static_assert(IVSHMEM_LOANS_MAX == LAYOUT_LOANS, "");

/* One that we lend. */
struct loan {
	struct heap_block *block; /* NULL: there is none with this number */
	uint32_t size;            /* what the user asked for */
	bool sent;
};

/* One that was lent to us. */
struct borrowed {
	const void *bytes; /* NULL: we do not have it */
	uint32_t length;
};

struct loans {
	struct loan lent[LAYOUT_LOANS];
	uint64_t lent_bits;
	bool armed; /* our loans_at is set */

	struct borrowed borrowed[LAYOUT_LOANS];
	uint64_t returned_bits; /* what our entry says */
	int peeked;         /* the number of the loan at the reader's position; -1: none is there */
	uint64_t peeked_at; /* that position */
	bool kept;          /* and it stays ours after that */
};

static struct loans *
loans_of(struct ivshmem_channel *channel)
{
	if (!channel->loans) {
		channel->loans = calloc(1, sizeof(*channel->loans));
		if (channel->loans)
			channel->loans->peeked = -1;
	}
	return channel->loans;
}

static uint64_t
bit_of(unsigned number)
{
	return UINT64_C(1) << number;
}

/* ---- lending --------------------------------------------------------------------------------- */

static void
drop(struct loan *loan)
{
	heap_free(loan->block);
	*loan = (struct loan){0};
}

/* Take back what the other end has given back. How many loans it still has. */
static unsigned
take_back(struct ivshmem_channel *channel)
{
	struct loans *loans = channel->loans;
	/* After this, nobody reads what we take back. */
	uint64_t theirs = channel->connected ? word_acquire(&channel->theirs->loans) : 0;
	unsigned n = 0;

	for (unsigned i = 0; i < LAYOUT_LOANS; i++) {
		if (!loans->lent[i].sent)
			continue;
		if ((theirs ^ loans->lent_bits) & bit_of(i))
			n++;
		else
			drop(&loans->lent[i]);
	}
	return n;
}

static struct loan *
find_unused(struct loans *loans)
{
	for (unsigned i = 0; i < LAYOUT_LOANS; i++)
		if (!loans->lent[i].block)
			return &loans->lent[i];
	return NULL;
}

static uint8_t *
area_of(const struct ivshmem_channel *channel)
{
	return map_area(&channel->participant->map, channel->participant->area);
}

/* -EAGAIN: there is no room until the other end gives one back. -ENOSPC: nor then. -ENOMEM. */
static int
take(struct ivshmem_channel *channel, uint32_t size, void **ret_bytes)
{
	unsigned n_out = take_back(channel);
	struct loan *loan = find_unused(channel->loans);
	int r = -ENOSPC;

	if (loan)
		r = heap_allocate(&channel->participant->heap, size, &loan->block);
	if (r < 0)
		return r == -ENOSPC && n_out > 0 ? -EAGAIN : r;
	loan->size = size;
	*ret_bytes = area_of(channel) + loan->block->offset;
	return 0;
}

static void
disarm(struct ivshmem_channel *channel)
{
	channel->loan_wanted = 0;
	if (channel->loans->armed)
		word_store(&channel->own->loans_at, 0);
	channel->loans->armed = false;
}

EXPORT int
ivshmem_loan_take(struct ivshmem_channel *channel, size_t size, void **ret_bytes)
{
	bool asked = false;

	if (!channel_is_queue(channel) || size == 0 || size > RING_MAX_SIZE)
		return -EINVAL;
	if (!loans_of(channel))
		return -ENOMEM;
	for (;;) {
		int r = participant_is_lost(channel->participant) ? channel->participant->lost
								  : channel_send_error(channel);

		channel->failed &= ~IVSHMEM_WRITABLE;
		if (r < 0)
			return r;
		r = take(channel, (uint32_t)size, ret_bytes);
		if (r != -EAGAIN) {
			disarm(channel);
			return r;
		}
		channel->loan_wanted = (uint32_t)size;
		channel->failed |= IVSHMEM_WRITABLE;
		if (asked)
			return r;
		asked = true;
		/* The other end gives nothing back that it has not seen. */
		channel_flush(channel);
		participant_look(channel->participant);
		if (channel_is_polled(channel))
			channel_ask(channel, IVSHMEM_WRITABLE);
	}
}

/* The loan that the user has there, and has not sent. */
static struct loan *
find(struct ivshmem_channel *channel, const void *bytes)
{
	for (unsigned i = 0; channel->loans && i < LAYOUT_LOANS; i++) {
		struct loan *loan = &channel->loans->lent[i];

		if (loan->block && !loan->sent && area_of(channel) + loan->block->offset == bytes)
			return loan;
	}
	return NULL;
}

EXPORT int
ivshmem_loan_send(struct ivshmem_channel *channel, void *bytes, size_t length)
{
	struct loan *loan = find(channel, bytes);
	struct loans *loans = channel->loans;
	struct layout_loan *description;
	unsigned number;
	void *place;
	int r;

	if (!loan || length > loan->size)
		return -EINVAL;
	r = channel_reserve(channel, sizeof(*description), &place);
	if (r < 0)
		return r;
	number = (unsigned)(loan - loans->lent);
	description = place;
	word_store(&description->number, number);
	word_store(&description->offset, loan->block->offset);
	word_store(&description->length, length);
	ring_commit_loan(&channel->writer);
	loan->sent = true;
	loans->lent_bits ^= bit_of(number);
	channel_flush(channel);
	return 0;
}

EXPORT int
ivshmem_loan_drop(struct ivshmem_channel *channel, void *bytes)
{
	struct loan *loan = find(channel, bytes);

	if (!loan)
		return -EINVAL;
	drop(loan);
	return 0;
}

bool
loans_have_room(struct ivshmem_channel *channel)
{
	/* If nothing more can come back, there will be no more room: the next call says so. */
	return take_back(channel) == 0 ||
	       (find_unused(channel->loans) &&
		       heap_largest(&channel->participant->heap) >= channel->loan_wanted);
}

void
loans_arm(struct ivshmem_channel *channel)
{
	channel->loans->armed = true;
	word_store(&channel->own->loans_at, 1);
}

void
loans_drop_unsent(struct ivshmem_channel *channel)
{
	for (unsigned i = 0; channel->loans && i < LAYOUT_LOANS; i++)
		if (!channel->loans->lent[i].sent)
			drop(&channel->loans->lent[i]);
}

void
loans_free(struct ivshmem_channel *channel)
{
	for (unsigned i = 0; channel->loans && i < LAYOUT_LOANS; i++)
		drop(&channel->loans->lent[i]);
	free(channel->loans);
	channel->loans = NULL;
}

/* ---- borrowing ------------------------------------------------------------------------------- */

/* What the description says, if it can be so. */
static int
borrow(struct ivshmem_channel *channel, const struct layout_loan *description)
{
	const struct map *map = &channel->participant->map;
	struct loans *loans = channel->loans;
	/* Each word is read once. */
	uint64_t number = word_load(&description->number);
	uint64_t offset = word_load(&description->offset);
	uint64_t length = word_load(&description->length);

	if (number >= LAYOUT_LOANS || loans->borrowed[number].bytes || offset % LAYOUT_LINE != 0 ||
		offset < map->heap_offset || offset > map->area_size ||
		length > map->area_size - offset || length > RING_MAX_SIZE)
		return -EPROTO;
	loans->borrowed[number] = (struct borrowed){
		.bytes = map_area(map, channel->peer_area) + offset,
		.length = (uint32_t)length,
	};
	loans->peeked = (int)number;
	loans->peeked_at = channel->reader.position;
	loans->kept = false;
	return 0;
}

int
loans_peek(struct ivshmem_channel *channel, const void *description, const void **ret_bytes,
	uint32_t *ret_length)
{
	struct loans *loans = loans_of(channel);
	int r = 0;

	if (!loans)
		return -ENOMEM;
	/* It is the same one until it is released, whatever the sender writes there meanwhile. */
	if (loans->peeked < 0 || loans->peeked_at != channel->reader.position)
		r = borrow(channel, description);
	if (r < 0)
		return r;
	*ret_bytes = loans->borrowed[loans->peeked].bytes;
	*ret_length = loans->borrowed[loans->peeked].length;
	return 0;
}

static void
give_back(struct ivshmem_channel *channel, unsigned number)
{
	struct loans *loans = channel->loans;

	loans->borrowed[number] = (struct borrowed){0};
	if (!channel->connected || participant_is_lost(channel->participant))
		return;
	loans->returned_bits ^= bit_of(number);
	word_release(&channel->own->loans, loans->returned_bits);
	word_fence();
	if (word_load(&channel->theirs->loans_at))
		channel->n_rings += participant_tell(
			channel->participant, channel->peer_area, channel_bit(channel->peer_entry));
}

void
loans_release(struct ivshmem_channel *channel)
{
	struct loans *loans = channel->loans;

	if (loans->peeked >= 0 && !loans->kept)
		give_back(channel, (unsigned)loans->peeked);
	loans->peeked = -1;
}

EXPORT int
ivshmem_loan_keep(struct ivshmem_channel *channel, const void *record)
{
	struct loans *loans = channel->loans;

	if (!loans || loans->peeked < 0 || loans->borrowed[loans->peeked].bytes != record)
		return -EINVAL;
	loans->kept = true;
	return 0;
}

/* Whether what the user has read of a loan is what was lent, however the channel has ended. */
static int
confirm_lender(struct ivshmem_channel *channel)
{
	if (participant_is_lost(channel->participant))
		return channel->participant->lost;
	return channel_confirm(channel) < 0 ? -ECONNRESET : 0;
}

EXPORT int
ivshmem_loan_return(struct ivshmem_channel *channel, const void *record)
{
	struct loans *loans = channel->loans;

	for (int i = 0; loans && record && i < LAYOUT_LOANS; i++) {
		int r;

		if (loans->borrowed[i].bytes != record)
			continue;
		r = confirm_lender(channel);
		/* It is still the next record. */
		if (i == loans->peeked)
			loans->kept = false;
		else if (r == 0)
			give_back(channel, (unsigned)i);
		else
			loans->borrowed[i] = (struct borrowed){0};
		return r;
	}
	return -EINVAL;
}
