/* SPDX-License-Identifier: BSD-2-Clause */
#include "sum.h"

#include <endian.h>
#include <string.h>

#define WORD 8
#define TURN 29
/* Odd, with about as many ones as zeros. */
#define FACTOR UINT64_C(0x9e3779b97f4a7c15)

/* ---- stripes: a word to each lane ------------------------------------------------------------ */

static inline uint64_t
take_word(uint64_t lane, const uint8_t *bytes)
{
	uint64_t word;

	memcpy(&word, bytes, WORD);
	lane ^= le64toh(word);
	return (lane << TURN | lane >> (64 - TURN)) * FACTOR;
}

static void
stripes(uint64_t lanes[SUM_LANES], const uint8_t *bytes, size_t n)
{
	uint64_t a = lanes[0], b = lanes[1], c = lanes[2], d = lanes[3];

	for (; n > 0; n--, bytes += SUM_STRIPE) {
		a = take_word(a, bytes);
		b = take_word(b, bytes + WORD);
		c = take_word(c, bytes + 2 * WORD);
		d = take_word(d, bytes + 3 * WORD);
	}
	lanes[0] = a;
	lanes[1] = b;
	lanes[2] = c;
	lanes[3] = d;
}

/* ---- blocks ---------------------------------------------------------------------------------- */

/* Any two different values, before or after, give different results. */
static uint64_t
mix(uint64_t mixed, uint64_t value)
{
	mixed ^= value;
	mixed = (mixed ^ mixed >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	mixed = (mixed ^ mixed >> 27) * UINT64_C(0x94d049bb133111eb);
	return mixed ^ mixed >> 31;
}

static void
begin_block(struct sum *sum)
{
	for (unsigned i = 0; i < SUM_LANES; i++)
		sum->lanes[i] = (i + 1) * FACTOR;
	sum->in_block = 0;
	sum->has_bytes = false;
	sum->in_stripe = 0;
}

static void
mix_in_zero_blocks(struct sum_mark *mark)
{
	if (mark->zero_blocks > 0)
		mark->mixed = mix(mix(mark->mixed, 0), mark->zero_blocks);
	mark->zero_blocks = 0;
}

static void
end_block(struct sum *sum)
{
	if (sum->has_bytes) {
		mix_in_zero_blocks(&sum->mark);
		sum->mark.mixed = mix(sum->mark.mixed, sum->in_block);
		for (unsigned i = 0; i < SUM_LANES; i++)
			sum->mark.mixed = mix(sum->mark.mixed, sum->lanes[i]);
	} else {
		sum->mark.zero_blocks++;
	}
	begin_block(sum);
}

/* Zeros need a look at each byte only until there is another one in the block. */
static bool
is_zero(const uint8_t *bytes, size_t length)
{
	return length == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, length - 1) == 0);
}

/* Bytes of one block. */
static void
add(struct sum *sum, const uint8_t *bytes, size_t length)
{
	size_t n;

	if (!sum->has_bytes)
		sum->has_bytes = !is_zero(bytes, length);
	sum->in_block += length;
	if (sum->in_stripe > 0) {
		n = SUM_STRIPE - sum->in_stripe;
		n = n < length ? n : length;
		memcpy(sum->stripe + sum->in_stripe, bytes, n);
		sum->in_stripe += n;
		bytes += n;
		length -= n;
		if (sum->in_stripe < SUM_STRIPE)
			return;
		stripes(sum->lanes, sum->stripe, 1);
		sum->in_stripe = 0;
	}
	n = length / SUM_STRIPE;
	stripes(sum->lanes, bytes, n);
	sum->in_stripe = length - n * SUM_STRIPE;
	memcpy(sum->stripe, bytes + n * SUM_STRIPE, sum->in_stripe);
}

void
sum_begin(struct sum *sum, const struct sum_mark *from)
{
	sum->mark = from ? *from : (struct sum_mark){0};
	begin_block(sum);
}

void
sum_bytes(struct sum *sum, const void *bytes, size_t length)
{
	const uint8_t *from = bytes;

	while (length > 0) {
		size_t n = (size_t)(SUM_BLOCK - sum->in_block);

		n = n < length ? n : length;
		add(sum, from, n);
		from += n;
		length -= n;
		if (sum->in_block == SUM_BLOCK)
			end_block(sum);
	}
}

void
sum_zeros(struct sum *sum, uint64_t length)
{
	static const uint8_t zeros[4096];

	while (length > 0) {
		uint64_t n = SUM_BLOCK - sum->in_block;

		/* Not beyond the block: whole ones follow, which are only counted. */
		n = n < length ? n : length;
		n = n < sizeof(zeros) ? n : sizeof(zeros);
		if (sum->in_block == 0 && length >= SUM_BLOCK) {
			n = length - length % SUM_BLOCK;
			sum->mark.zero_blocks += n / SUM_BLOCK;
		} else {
			sum_bytes(sum, zeros, (size_t)n);
		}
		length -= n;
	}
}

uint64_t
sum_end(struct sum *sum)
{
	static const uint8_t zeros[SUM_STRIPE];
	uint64_t length = sum->in_block;
	bool has_bytes = sum->has_bytes;

	mix_in_zero_blocks(&sum->mark);
	if (sum->in_stripe > 0)
		add(sum, zeros, SUM_STRIPE - sum->in_stripe);
	/* The last block counts with its length, also if it is zero. */
	sum->in_block = length;
	sum->has_bytes = has_bytes;
	if (length > 0) {
		sum->has_bytes = true;
		end_block(sum);
	}
	return sum->mark.mixed;
}
