/* SPDX-License-Identifier: BSD-2-Clause */
#include <base/parse.h>

#include <test.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#define KIB (UINT64_C(1) << 10)
#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)
#define TIB (UINT64_C(1) << 40)
#define PIB (UINT64_C(1) << 50)
#define EIB (UINT64_C(1) << 60)

/* What is in a ret_ parameter before, and must be there after a failure. */
#define UNTOUCHED UINT64_C(0x5a5a5a5a5a5a5a5a)

struct number {
	const char *text;
	int r;
	uint64_t value;
};

static unsigned bad_rows;

/* Compare a result with its row; the test goes on, so that all wrong rows are seen at once. */
static void
check_row(const struct number *row, int r, uint64_t value)
{
	uint64_t expected = row->r < 0 ? UNTOUCHED : row->value;

	if (r == row->r && value == expected)
		return;
	fprintf(stderr, "\"%s\" gave %d and %#jx, not %d and %#jx\n", row->text, r,
		(uintmax_t)value, row->r, (uintmax_t)expected);
	bad_rows++;
}

/* ---- parse_u64, parse_uint ------------------------------------------------------------------ */

static const struct number numbers[] = {
	{"0", 0, 0},
	{"1", 0, 1},
	{"9", 0, 9},
	{"10", 0, 10},
	{"64", 0, 64},
	{"65535", 0, 65535},
	{"4294967295", 0, UINT32_MAX},
	{"4294967296", 0, UINT64_C(1) << 32},
	{"4294967297", 0, (UINT64_C(1) << 32) + 1},
	{"18446744073709551615", 0, UINT64_MAX},
	{"0x0", 0, 0},
	{"0x10", 0, 16},
	{"0X1f", 0, 31},
	{"0xFF", 0, 255},
	{"0xffffffffffffffff", 0, UINT64_MAX},
	{"0x00000000000000000001", 0, 1},
	{"00", 0, 0},
	{"010", 0, 10},
	{"0777", 0, 777},
	{"018446744073709551615", 0, UINT64_MAX},
	{"08", 0, 8},
	{"09", 0, 9},

	{"18446744073709551616", -ERANGE, 0},
	{"99999999999999999999999999", -ERANGE, 0},
	{"0x10000000000000000", -ERANGE, 0},
	{"018446744073709551616", -ERANGE, 0},

	{"", -EINVAL, 0},
	{" ", -EINVAL, 0},
	{" 1", -EINVAL, 0},
	{"1 ", -EINVAL, 0},
	{"\t1", -EINVAL, 0},
	{"1\n", -EINVAL, 0},
	{"-1", -EINVAL, 0},
	{"-0", -EINVAL, 0},
	{"+1", -EINVAL, 0},
	{"--1", -EINVAL, 0},
	{"1x", -EINVAL, 0},
	{"x1", -EINVAL, 0},
	{"0x", -EINVAL, 0},
	{"0xg", -EINVAL, 0},
	{"0x 1", -EINVAL, 0},
	{"0x-1", -EINVAL, 0},
	{"0x+1", -EINVAL, 0},
	{"0x0x1", -EINVAL, 0},
	{"0b1", -EINVAL, 0},
	{"ff", -EINVAL, 0},
	{"1.0", -EINVAL, 0},
	{"1.", -EINVAL, 0},
	{".1", -EINVAL, 0},
	{"1e3", -EINVAL, 0},
	{"1,000", -EINVAL, 0},
	{"1_000", -EINVAL, 0},
	{"1'000", -EINVAL, 0},
	{"4K", -EINVAL, 0},
	{"one", -EINVAL, 0},
	{"nan", -EINVAL, 0},
	{"inf", -EINVAL, 0},
	{"\xd9\xa1", -EINVAL, 0}, /* an Arabic digit one */
	{"18446744073709551616x", -EINVAL, 0},
	{"18446744073709551616 ", -EINVAL, 0},
};

TEST(u64_every_text)
{
	for (size_t i = 0; i < COUNT(numbers); i++) {
		uint64_t value = UNTOUCHED;
		int r = parse_u64(numbers[i].text, 0, UINT64_MAX, &value);

		check_row(&numbers[i], r, value);
	}
	CHECK_EQ(bad_rows, 0);
}

TEST(u64_bounds_are_inclusive)
{
	uint64_t value = UNTOUCHED;

	CHECK_EQ(parse_u64("9", 10, 20, &value), -ERANGE);
	CHECK_EQ(parse_u64("21", 10, 20, &value), -ERANGE);
	CHECK_EQ(parse_u64("99999999999999999999", 10, 20, &value), -ERANGE);
	CHECK_EQ(value, UNTOUCHED);
	CHECK_EQ(parse_u64("10", 10, 20, &value), 0);
	CHECK_EQ(value, 10);
	CHECK_EQ(parse_u64("20", 10, 20, &value), 0);
	CHECK_EQ(value, 20);
	CHECK_EQ(parse_u64("7", 7, 7, &value), 0);
	CHECK_EQ(value, 7);
}

TEST(u64_not_a_number_comes_before_out_of_range)
{
	uint64_t value;

	CHECK_EQ(parse_u64("5x", 10, 20, &value), -EINVAL);
	CHECK_EQ(parse_u64("100x", 10, 20, &value), -EINVAL);
}

TEST(uint_every_text)
{
	for (size_t i = 0; i < COUNT(numbers); i++) {
		struct number row = numbers[i];
		unsigned value = (unsigned)UNTOUCHED;
		int r = parse_uint(row.text, 0, UINT32_MAX, &value);

		/* Beyond 32 bits is out of range, not cut off. */
		if (row.r == 0 && row.value > UINT32_MAX)
			row.r = -ERANGE;
		check_row(&row, r, r < 0 && value == (unsigned)UNTOUCHED ? UNTOUCHED : value);
	}
	CHECK_EQ(bad_rows, 0);
}

TEST(uint_bounds_are_inclusive)
{
	unsigned value = 77;

	CHECK_EQ(parse_uint("0", 1, 2048, &value), -ERANGE);
	CHECK_EQ(parse_uint("2049", 1, 2048, &value), -ERANGE);
	CHECK_EQ(parse_uint("4294967297", 1, 2048, &value), -ERANGE);
	CHECK_EQ(value, 77);
	CHECK_EQ(parse_uint("1", 1, 2048, &value), 0);
	CHECK_EQ(value, 1);
	CHECK_EQ(parse_uint("2048", 1, 2048, &value), 0);
	CHECK_EQ(value, 2048);
}

/* ---- parse_size ----------------------------------------------------------------------------- */

static const struct number sizes[] = {
	/* plain numbers are bytes */
	{"0", 0, 0},
	{"1", 0, 1},
	{"4096", 0, 4096},
	{"1048576", 0, MIB},
	{"18446744073709551615", 0, UINT64_MAX},
	/* a leading zero does not make it octal */
	{"010", 0, 10},
	{"08", 0, 8},
	{"0010K", 0, 10 * KIB},
	/* hexadecimal; B and E are digits there */
	{"0x0", 0, 0},
	{"0x100", 0, 256},
	{"0X100", 0, 256},
	{"0xffffffffffffffff", 0, UINT64_MAX},
	{"0x1B", 0, 0x1b},
	{"0x1e", 0, 0x1e},
	{"0x10K", 0, 16 * KIB},
	{"0x20M", 0, 32 * MIB},
	/* every suffix in either case */
	{"1B", 0, 1},
	{"1b", 0, 1},
	{"1K", 0, KIB},
	{"1k", 0, KIB},
	{"1M", 0, MIB},
	{"1m", 0, MIB},
	{"1G", 0, GIB},
	{"1g", 0, GIB},
	{"1T", 0, TIB},
	{"1t", 0, TIB},
	{"1P", 0, PIB},
	{"1p", 0, PIB},
	{"1E", 0, EIB},
	{"1e", 0, EIB},
	{"4M", 0, 4 * MIB},
	{"5G", 0, 5 * GIB},
	{"0K", 0, 0},
	{"0E", 0, 0},
	{"15E", 0, 15 * EIB},
	{"16777215T", 0, 16777215 * TIB},
	/* fractions of a unit, cut off to whole bytes */
	{"1.5K", 0, 1536},
	{"1.5G", 0, GIB + GIB / 2},
	{"0.5M", 0, MIB / 2},
	{"0.25k", 0, 256},
	{"1.0M", 0, MIB},
	{"1.000000000000000000000000000M", 0, MIB},
	{"0.0009765625K", 0, 1},
	{"0.0009K", 0, 0},
	{"0.001M", 0, 1048},
	{"1.999999999999999999G", 0, 2 * GIB - 1},
	{"0.5E", 0, EIB / 2},
	{"15.5E", 0, 15 * EIB + EIB / 2},
	{"12.345M", 0, 12944670},
	{"0.1G", 0, 107374182},

	/* too much */
	{"18446744073709551616", -ERANGE, 0},
	{"18446744073709551616B", -ERANGE, 0},
	{"16E", -ERANGE, 0},
	{"16.5E", -ERANGE, 0},
	{"16384P", -ERANGE, 0},
	{"16777216T", -ERANGE, 0},
	{"18014398509481984K", -ERANGE, 0},
	{"17592186044416M", -ERANGE, 0},
	{"0x10000000000000000", -ERANGE, 0},
	{"0xffffffffffffffffK", -ERANGE, 0},
	{"99999999999999999999999999999999T", -ERANGE, 0},

	/* not sizes */
	{"", -EINVAL, 0},
	{" ", -EINVAL, 0},
	{" 1", -EINVAL, 0},
	{"1 ", -EINVAL, 0},
	{"1 K", -EINVAL, 0},
	{"-1", -EINVAL, 0},
	{"-1K", -EINVAL, 0},
	{"+1", -EINVAL, 0},
	{"K", -EINVAL, 0},
	{".", -EINVAL, 0},
	{".5K", -EINVAL, 0},
	{"1.", -EINVAL, 0},
	{"1.K", -EINVAL, 0},
	{"1..5K", -EINVAL, 0},
	{"1.5.5K", -EINVAL, 0},
	{"1.-5K", -EINVAL, 0},
	{"1. 5K", -EINVAL, 0},
	{"1,5K", -EINVAL, 0},
	{"1e3K", -EINVAL, 0},
	{"1.5e1K", -EINVAL, 0},
	{"1x", -EINVAL, 0},
	{"1KB", -EINVAL, 0},
	{"1KiB", -EINVAL, 0},
	{"1MM", -EINVAL, 0},
	{"1K ", -EINVAL, 0},
	{"4Mx", -EINVAL, 0},
	{"1R", -EINVAL, 0},
	{"1Z", -EINVAL, 0},
	{"abc", -EINVAL, 0},
	{"0x", -EINVAL, 0},
	{"0xK", -EINVAL, 0},
	{"0xM", -EINVAL, 0},
	{"0x-1", -EINVAL, 0},
	{"0x1.8", -EINVAL, 0},
	{"0x1.8K", -EINVAL, 0},
	{"0x1p4", -EINVAL, 0},
	{"0x0x1", -EINVAL, 0},
	{"00x1", -EINVAL, 0},
	{"inf", -EINVAL, 0},
	{"nan", -EINVAL, 0},
	{"1\xc2\xb5", -EINVAL, 0},
	{"1\xff", -EINVAL, 0},
	/* a fraction of a byte, even none, is nonsense */
	{"1.5", -EINVAL, 0},
	{"1.0", -EINVAL, 0},
	{"1.5B", -EINVAL, 0},
	{"0.5b", -EINVAL, 0},
	/* and stays nonsense when it is too large besides */
	{"18446744073709551616x", -EINVAL, 0},
	{"18446744073709551616.K", -EINVAL, 0},
	{"18446744073709551616 K", -EINVAL, 0},
	{"18446744073709551616.5", -EINVAL, 0},
	{"0x10000000000000000.8K", -EINVAL, 0},
};

TEST(size_every_text)
{
	for (size_t i = 0; i < COUNT(sizes); i++) {
		uint64_t value = UNTOUCHED;
		int r = parse_size(sizes[i].text, &value);

		check_row(&sizes[i], r, value);
	}
	CHECK_EQ(bad_rows, 0);
}

TEST(size_every_single_character_suffix)
{
	/* Only the fourteen letters and the end are suffixes; 0 to 9 and the point are something
	 * else. */
	for (int c = 1; c < 256; c++) {
		char text[] = {'1', (char)c, 0};
		uint64_t value = UNTOUCHED;
		int r = parse_size(text, &value);
		bool good = strchr("0123456789BbKkMmGgTtPpEe", c) != NULL;

		if ((r == 0) != good)
			fprintf(stderr, "the character is %d\n", c);
		CHECK_EQ(r, good ? 0 : -EINVAL);
	}
}

TEST(size_every_shift_and_its_overflow)
{
	static const char suffixes[] = "KMGTPE";

	for (unsigned i = 0; i < 6; i++) {
		unsigned shift = 10 * (i + 1);
		uint64_t largest = UINT64_MAX >> shift, value;
		char text[64];

		snprintf(text, sizeof(text), "%ju%c", (uintmax_t)largest, suffixes[i]);
		CHECK_EQ(parse_size(text, &value), 0);
		CHECK_EQ(value, largest << shift);
		snprintf(text, sizeof(text), "%ju%c", (uintmax_t)largest + 1, suffixes[i]);
		CHECK_EQ(parse_size(text, &value), -ERANGE);
		/* The largest with the largest fraction is still below 2^64. */
		snprintf(text, sizeof(text), "%ju.999999999999999999%c", (uintmax_t)largest,
			suffixes[i]);
		CHECK_EQ(parse_size(text, &value), 0);
		CHECK(value > largest << shift || shift == 0);
	}
}

/* ---- parse_duration_ms ---------------------------------------------------------------------- */

static const struct number durations[] = {
	{"0", 0, 0},
	{"1", 0, 1000},
	{"5", 0, 5000},
	{"0.25", 0, 250},
	{"0.001", 0, 1},
	{"1.5", 0, 1500},
	{"0ms", 0, 0},
	{"250ms", 0, 250},
	{"1.5ms", 0, 1},
	{"0.000", 0, 0},
	{"0.0ms", 0, 0},
	{"00h", 0, 0},
	{"0.00002m", 0, 1},
	{"1s", 0, 1000},
	{"0.5s", 0, 500},
	{"2m", 0, 120000},
	{"0.5m", 0, 30000},
	{"1h", 0, 3600000},
	{"1.5h", 0, 5400000},
	{"08", 0, 8000},
	{"18446744073709551615ms", 0, UINT64_MAX},

	{"18446744073709551616ms", -ERANGE, 0},
	{"18446744073709551615", -ERANGE, 0},
	{"18446744073709551615h", -ERANGE, 0},
	{"99999999999999999999999", -ERANGE, 0},
	/* too little, but not nothing */
	{"0.0005", -ERANGE, 0},
	{"0.0001", -ERANGE, 0},
	{"0.999ms", -ERANGE, 0},
	{"0.0000000000000000000000001", -ERANGE, 0},
	{"0.0000000000000000000000001h", -ERANGE, 0},

	{"", -EINVAL, 0},
	{" 1", -EINVAL, 0},
	{"1 s", -EINVAL, 0},
	{"1s ", -EINVAL, 0},
	{"-1", -EINVAL, 0},
	{"+1", -EINVAL, 0},
	{"s", -EINVAL, 0},
	{"ms", -EINVAL, 0},
	{".5", -EINVAL, 0},
	{"1.", -EINVAL, 0},
	{"1.s", -EINVAL, 0},
	{"1..5", -EINVAL, 0},
	{"1,5", -EINVAL, 0},
	{"1e3", -EINVAL, 0},
	{"0x10", -EINVAL, 0},
	{"1S", -EINVAL, 0},
	{"1M", -EINVAL, 0},
	{"1us", -EINVAL, 0},
	{"1d", -EINVAL, 0},
	{"1sec", -EINVAL, 0},
	{"1m30s", -EINVAL, 0},
	{"1:30", -EINVAL, 0},
	{"inf", -EINVAL, 0},
	{"18446744073709551616x", -EINVAL, 0},
};

TEST(duration_every_text)
{
	for (size_t i = 0; i < COUNT(durations); i++) {
		uint64_t value = UNTOUCHED;
		int r = parse_duration_ms(durations[i].text, UINT64_MAX, &value);

		check_row(&durations[i], r, value);
	}
	CHECK_EQ(bad_rows, 0);
}

TEST(duration_maximum_is_inclusive)
{
	uint64_t value = UNTOUCHED;

	CHECK_EQ(parse_duration_ms("1.001", 1000, &value), -ERANGE);
	CHECK_EQ(value, UNTOUCHED);
	CHECK_EQ(parse_duration_ms("1", 1000, &value), 0);
	CHECK_EQ(value, 1000);
	CHECK_EQ(parse_duration_ms("0", 0, &value), 0);
	CHECK_EQ(value, 0);
}

/* ---- parse_mode ----------------------------------------------------------------------------- */

static const struct number modes[] = {
	{"000", 0, 0},
	{"600", 0, 0600},
	{"660", 0, 0660},
	{"0660", 0, 0660},
	{"777", 0, 0777},
	{"0777", 0, 0777},
	{"1777", -ERANGE, 0},
	{"4755", -ERANGE, 0},
	{"7777", -ERANGE, 0},
	{"", -EINVAL, 0},
	{"6", -EINVAL, 0},
	{"66", -EINVAL, 0},
	{"00660", -EINVAL, 0},
	{"66000", -EINVAL, 0},
	{"668", -EINVAL, 0},
	{"0x1b", -EINVAL, 0},
	{"-66", -EINVAL, 0},
	{"+660", -EINVAL, 0},
	{" 660", -EINVAL, 0},
	{"660 ", -EINVAL, 0},
	{"u=rw", -EINVAL, 0},
	{"6 0", -EINVAL, 0},
};

TEST(mode_every_text)
{
	for (size_t i = 0; i < COUNT(modes); i++) {
		unsigned value = (unsigned)UNTOUCHED;
		int r = parse_mode(modes[i].text, &value);

		check_row(&modes[i], r, r < 0 && value == (unsigned)UNTOUCHED ? UNTOUCHED : value);
	}
	CHECK_EQ(bad_rows, 0);
}

/* ---- format_size ---------------------------------------------------------------------------- */

static void
check_format(uint64_t bytes, const char *text)
{
	char buffer[SIZE_TEXT_MAX];

	CHECK_STR(format_size(bytes, buffer), text);
	CHECK(strlen(buffer) < SIZE_TEXT_MAX);
}

TEST(format_is_exact)
{
	check_format(0, "0 bytes");
	check_format(1, "1 byte");
	check_format(2, "2 bytes");
	check_format(1000, "1000 bytes");
	check_format(1023, "1023 bytes");
	check_format(KIB, "1 KiB");
	check_format(KIB + 1, "1025 bytes");
	check_format(1536, "1536 bytes");
	check_format(4096, "4 KiB");
	check_format(MIB, "1 MiB");
	check_format(MIB + KIB, "1025 KiB");
	check_format(4 * MIB, "4 MiB");
	check_format(5 * GIB, "5 GiB");
	check_format(GIB + GIB / 2, "1536 MiB");
	check_format(TIB, "1 TiB");
	check_format(PIB, "1 PiB");
	check_format(EIB, "1 EiB");
	check_format(UINT64_C(1) << 63, "8 EiB");
	check_format(UINT64_MAX, "18446744073709551615 bytes");
	check_format(UINT64_MAX - 1023, "18014398509481983 KiB");
}

TEST(format_of_every_power_of_two_is_short)
{
	for (unsigned shift = 0; shift < 64; shift++) {
		char buffer[SIZE_TEXT_MAX], unit[SIZE_TEXT_MAX];
		unsigned number;

		format_size(UINT64_C(1) << shift, buffer);
		CHECK_EQ(sscanf(buffer, "%u %31s", &number, unit), 2);
		CHECK_EQ(number, 1u << shift % 10);
	}
}
