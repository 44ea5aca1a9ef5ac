/* SPDX-License-Identifier: BSD-2-Clause */
#include <copy/sum.h>

#include <test.h>

#include <stdlib.h>
#include <string.h>

#define SIZE (3 * SUM_BLOCK + 12345)

static uint8_t *bytes;

void
test_before(void)
{
	uint64_t random = 1;

	bytes = malloc(SIZE);
	CHECK(bytes);
	for (size_t i = 0; i < SIZE; i++) {
		random = random * UINT64_C(6364136223846793005) + 1442695040888963407u;
		bytes[i] = (uint8_t)(random >> 56);
	}
}

void
test_after(void)
{
	free(bytes);
}

static uint64_t
whole(size_t length)
{
	struct sum sum;

	sum_begin(&sum, NULL);
	sum_bytes(&sum, bytes, length);
	return sum_end(&sum);
}

/* The sum is part of the protocol. */
TEST(it_stays_as_it_is)
{
	CHECK_EQ(whole(0), 0);
	CHECK_EQ(whole(1000), UINT64_C(0xcb6c56d4e615515d));
	CHECK_EQ(whole(SIZE), UINT64_C(0x93330c7a4d8fd6c));
}

/* A line of the bus that is broken: the same bit of two words, of each lane. */
TEST(the_same_bit_of_two_words)
{
	uint64_t expected = whole(4096);

	for (size_t distance = 8; distance <= 256; distance += 8) {
		for (unsigned bit = 0; bit < 64; bit++) {
			uint8_t mask = (uint8_t)(1 << bit % 8);

			bytes[1000 + bit / 8] ^= mask;
			bytes[1000 + distance + bit / 8] ^= mask;
			CHECK(whole(4096) != expected);
			bytes[1000 + bit / 8] ^= mask;
			bytes[1000 + distance + bit / 8] ^= mask;
		}
	}
	CHECK_EQ(whole(4096), expected);
}

TEST(pieces_of_any_length_give_the_same)
{
	uint64_t expected = whole(SIZE);

	for (size_t piece = 1; piece < SUM_BLOCK * 2; piece = piece * 3 + 1) {
		struct sum sum;

		sum_begin(&sum, NULL);
		for (size_t at = 0; at < SIZE; at += piece)
			sum_bytes(&sum, bytes + at, piece < SIZE - at ? piece : SIZE - at);
		CHECK_EQ(sum_end(&sum), expected);
	}
}

TEST(each_bit_counts)
{
	uint64_t expected = whole(SIZE);

	for (size_t at = 0; at < SIZE; at += 99991) {
		bytes[at] ^= (uint8_t)(1 << at % 8);
		CHECK(whole(SIZE) != expected);
		bytes[at] ^= (uint8_t)(1 << at % 8);
	}
	CHECK_EQ(whole(SIZE), expected);
}

TEST(each_length_counts)
{
	uint64_t sums[100];

	for (int zeros = 0; zeros < 2; zeros++) {
		for (size_t i = 0; i < 100; i++) {
			sums[i] = whole(i);
			for (size_t other = 0; other < i; other++)
				CHECK(sums[other] != sums[i]);
		}
		memset(bytes, 0, SIZE);
	}
}

/* A hole, and zeros that were written. */
TEST(zeros_are_zeros)
{
	static const size_t starts[] = {0, 1, 4096, SUM_BLOCK - 1, SUM_BLOCK, SUM_BLOCK + 1};

	for (unsigned i = 0; i < sizeof(starts) / sizeof(starts[0]); i++) {
		struct sum sum;
		size_t start = starts[i], end = SIZE - 5000;

		memset(bytes + start, 0, end - start);
		sum_begin(&sum, NULL);
		sum_bytes(&sum, bytes, start);
		sum_zeros(&sum, end - start);
		sum_bytes(&sum, bytes + end, SIZE - end);
		CHECK_EQ(sum_end(&sum), whole(SIZE));
	}
}

TEST(a_hole_costs_nothing)
{
	struct sum a, b;

	sum_begin(&a, NULL);
	sum_zeros(&a, INT64_MAX);
	sum_begin(&b, NULL);
	sum_zeros(&b, INT64_MAX - SUM_BLOCK);
	CHECK(sum_end(&a) != sum_end(&b));
}

/* The pieces that zeros are looked at in do not end where a block does. */
TEST(a_hole_anywhere_costs_nothing)
{
	struct sum a, b;

	sum_begin(&a, NULL);
	sum_bytes(&a, "x", 1);
	sum_zeros(&a, INT64_MAX - 1);
	sum_begin(&b, NULL);
	sum_bytes(&b, "x", 1);
	sum_zeros(&b, SUM_BLOCK - 1);
	sum_zeros(&b, INT64_MAX - SUM_BLOCK);
	CHECK_EQ(sum_end(&a), sum_end(&b));
}

TEST(it_goes_on_from_a_mark)
{
	for (unsigned blocks = 0; blocks <= 3; blocks++) {
		struct sum sum, rest;

		memset(bytes, 0, SUM_BLOCK);
		sum_begin(&sum, NULL);
		sum_bytes(&sum, bytes, blocks * SUM_BLOCK);
		sum_begin(&rest, &sum.mark);
		sum_bytes(&rest, bytes + blocks * SUM_BLOCK, SIZE - blocks * SUM_BLOCK);
		CHECK_EQ(sum_end(&rest), whole(SIZE));
	}
}
