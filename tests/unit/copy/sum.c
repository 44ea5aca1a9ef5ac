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

/* The words of the one block are "12345678", one for each CRC, and 9 more bytes; the check value of
 * CRC-32C, of "123456789", is 0xe3069283 after the last inversion. */
TEST(it_is_crc_32c)
{
	struct sum sum;

	for (int i = 0; i < 2; i++) {
		sum_take_table(i == 0);
		sum_begin(&sum, NULL);
		for (int lane = 0; lane < SUM_LANES; lane++)
			sum_bytes(&sum, "12345678", 8);
		for (int lane = 0; lane < SUM_LANES; lane++) {
			uint32_t crc = sum.lanes[lane] ^ '9';

			for (unsigned bit = 0; bit < 8; bit++)
				crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
			CHECK_EQ(~crc, 0xe3069283u);
		}
	}
}

TEST(table_and_instruction_give_the_same)
{
	static const size_t lengths[] = {0, 1, 7, 31, 32, 33, 1000, 1 << 20, (1 << 20) + 1, SIZE};

	for (unsigned i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		uint64_t by_table;

		sum_take_table(true);
		by_table = whole(lengths[i]);
		sum_take_table(false);
		CHECK_EQ(whole(lengths[i]), by_table);
	}
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
