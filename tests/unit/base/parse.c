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
	uint64_t value;
};

/* A parser of text; what it gives fits into 64 bits. */
typedef int (*parser)(const char *text, uint64_t *ret_value);

static unsigned bad_rows;

/* The test goes on, so that all wrong rows are seen at once. */
static void
check_text(parser parse, const char *text, int r, uint64_t value)
{
	uint64_t expected = r < 0 ? UNTOUCHED : value, got = UNTOUCHED;
	int got_r = parse(text, &got);

	if (got_r == r && got == expected)
		return;
	fprintf(stderr, "\"%s\" gave %d and %#jx, not %d and %#jx\n", text, got_r, (uintmax_t)got,
		r, (uintmax_t)expected);
	bad_rows++;
}

/* The texts that are numbers, those that are out of range, and those that are none at all. */
struct texts {
	const struct number *numbers;
	size_t n_numbers;
	const char *const *beyond;
	size_t n_beyond;
	const char *const *none;
	size_t n_none;
};

#define TEXTS(kind)                                                                                \
	&(const struct texts)                                                                      \
	{                                                                                          \
		kind, COUNT(kind), beyond_##kind, COUNT(beyond_##kind), no_##kind,                 \
			COUNT(no_##kind)                                                           \
	}

/* What is more than `max` is out of range, not cut off. */
static void
check_texts(parser parse, uint64_t max, const struct texts *texts)
{
	for (size_t i = 0; i < texts->n_numbers; i++) {
		uint64_t value = texts->numbers[i].value;

		check_text(parse, texts->numbers[i].text, value > max ? -ERANGE : 0, value);
	}
	for (size_t i = 0; i < texts->n_beyond; i++)
		check_text(parse, texts->beyond[i], -ERANGE, 0);
	for (size_t i = 0; i < texts->n_none; i++)
		check_text(parse, texts->none[i], -EINVAL, 0);
	CHECK_EQ(bad_rows, 0);
}

/* For parsers whose value is an unsigned. */
static int
widen(int r, unsigned value, uint64_t *ret_value)
{
	if (r == 0)
		*ret_value = value;
	else
		CHECK_EQ(value, (unsigned)UNTOUCHED);
	return r;
}

/* ---- parse_u64, parse_uint ------------------------------------------------------------------ */

static const struct number numbers[] = {
	{"0", 0},
	{"1", 1},
	{"9", 9},
	{"10", 10},
	{"64", 64},
	{"65535", 65535},
	{"4294967295", UINT32_MAX},
	{"4294967296", UINT64_C(1) << 32},
	{"4294967297", (UINT64_C(1) << 32) + 1},
	{"18446744073709551615", UINT64_MAX},
	{"0x0", 0},
	{"0x10", 16},
	{"0X1f", 31},
	{"0xFF", 255},
	{"0xffffffffffffffff", UINT64_MAX},
	{"0x00000000000000000001", 1},
	{"00", 0},
	{"010", 10},
	{"0777", 777},
	{"018446744073709551615", UINT64_MAX},
	{"08", 8},
	{"09", 9},
};

static const char *const beyond_numbers[] = {"18446744073709551616", "99999999999999999999999999",
	"0x10000000000000000", "018446744073709551616"};

/* The one before the last two is an Arabic digit one. */
static const char *const no_numbers[] = {"", " ", " 1", "1 ", "\t1", "1\n", "-1", "-0", "+1", "--1",
	"1x", "x1", "0x", "0xg", "0x 1", "0x-1", "0x+1", "0x0x1", "0b1", "ff", "1.0", "1.", ".1",
	"1e3", "1,000", "1_000", "1'000", "4K", "one", "nan", "inf", "\xd9\xa1",
	"18446744073709551616x", "18446744073709551616 "};

static int
any_u64(const char *text, uint64_t *ret_value)
{
	return parse_u64(text, 0, UINT64_MAX, ret_value);
}

TEST(u64_every_text)
{
	check_texts(any_u64, UINT64_MAX, TEXTS(numbers));
}

static int
any_uint(const char *text, uint64_t *ret_value)
{
	unsigned value = (unsigned)UNTOUCHED;
	int r = parse_uint(text, 0, UINT32_MAX, &value);

	return widen(r, value, ret_value);
}

TEST(uint_every_text)
{
	check_texts(any_uint, UINT32_MAX, TEXTS(numbers));
}

TEST(bounds_are_inclusive)
{
	static const struct {
		const char *text;
		unsigned min, max;
		int r;
		unsigned value;
	} rows[] = {
		{"9", 10, 20, -ERANGE, 77},
		{"10", 10, 20, 0, 10},
		{"20", 10, 20, 0, 20},
		{"21", 10, 20, -ERANGE, 77},
		{"99999999999999999999", 10, 20, -ERANGE, 77},
		{"4294967306", 10, 20, -ERANGE, 77}, /* 10, if it were cut off */
		{"7", 7, 7, 0, 7},
		{"5x", 10, 20, -EINVAL, 77},
		{"100x", 10, 20, -EINVAL, 77},
	};

	for (size_t i = 0; i < COUNT(rows); i++) {
		uint64_t wide = 77;
		unsigned value = 77;

		fprintf(stderr, "%s\n", rows[i].text);
		CHECK_EQ(parse_u64(rows[i].text, rows[i].min, rows[i].max, &wide), rows[i].r);
		CHECK_EQ(wide, rows[i].value);
		CHECK_EQ(parse_uint(rows[i].text, rows[i].min, rows[i].max, &value), rows[i].r);
		CHECK_EQ(value, rows[i].value);
	}
}

/* ---- parse_size ----------------------------------------------------------------------------- */

static const struct number sizes[] = {
	/* plain numbers are bytes */
	{"0", 0},
	{"1", 1},
	{"4096", 4096},
	{"1048576", MIB},
	{"18446744073709551615", UINT64_MAX},
	/* a leading zero does not make it octal */
	{"010", 10},
	{"08", 8},
	{"0010K", 10 * KIB},
	/* hexadecimal; B and E are digits there */
	{"0x0", 0},
	{"0x100", 256},
	{"0X100", 256},
	{"0xffffffffffffffff", UINT64_MAX},
	{"0x1B", 0x1b},
	{"0x1e", 0x1e},
	{"0x10K", 16 * KIB},
	{"0x20M", 32 * MIB},
	/* the other suffixes are tried below */
	{"1B", 1},
	{"1b", 1},
	{"4M", 4 * MIB},
	{"5G", 5 * GIB},
	{"0K", 0},
	{"0E", 0},
	{"15E", 15 * EIB},
	{"16777215T", 16777215 * TIB},
	/* fractions of a unit, cut off to whole bytes */
	{"1.5K", 1536},
	{"1.5G", GIB + GIB / 2},
	{"0.5M", MIB / 2},
	{"0.25k", 256},
	{"1.0M", MIB},
	{"1.000000000000000000000000000M", MIB},
	{"0.0009765625K", 1},
	{"0.0009K", 0},
	{"0.001M", 1048},
	{"1.999999999999999999G", 2 * GIB - 1},
	{"0.5E", EIB / 2},
	{"15.5E", 15 * EIB + EIB / 2},
	{"12.345M", 12944670},
	{"0.1G", 107374182},
};

static const char *const beyond_sizes[] = {"18446744073709551616", "18446744073709551616B", "16E",
	"16.5E", "16384P", "16777216T", "18014398509481984K", "17592186044416M",
	"0x10000000000000000", "0xffffffffffffffffK", "99999999999999999999999999999999T"};

/* A fraction of a byte, even none, is nonsense; and nonsense stays it when it is too large besides. */
static const char *const no_sizes[] = {"", " ", " 1", "1 ", "1 K", "-1", "-1K", "+1", "K", ".",
	".5K", "1.", "1.K", "1..5K", "1.5.5K", "1.-5K", "1. 5K", "1,5K", "1e3K", "1.5e1K", "1x",
	"1KB", "1KiB", "1MM", "1K ", "4Mx", "1R", "1Z", "abc", "0x", "0xK", "0xM", "0x-1", "0x1.8",
	"0x1.8K", "0x1p4", "0x0x1", "00x1", "inf", "nan", "1\xc2\xb5", "1\xff", "1.5", "1.0",
	"1.5B", "0.5b", "18446744073709551616x", "18446744073709551616.K", "18446744073709551616 K",
	"18446744073709551616.5", "0x10000000000000000.8K"};

TEST(size_every_text)
{
	check_texts(parse_size, UINT64_MAX, TEXTS(sizes));
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
	static const char suffixes[] = "KMGTPEkmgtpe";

	for (unsigned i = 0; i < 12; i++) {
		unsigned shift = 10 * (i % 6 + 1);
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
	{"0", 0},
	{"1", 1000},
	{"5", 5000},
	{"0.25", 250},
	{"0.001", 1},
	{"1.5", 1500},
	{"0ms", 0},
	{"250ms", 250},
	{"1.5ms", 1},
	{"0.000", 0},
	{"0.0ms", 0},
	{"00h", 0},
	{"0.00002m", 1},
	{"1s", 1000},
	{"0.5s", 500},
	{"2m", 120000},
	{"0.5m", 30000},
	{"1h", 3600000},
	{"1.5h", 5400000},
	{"08", 8000},
	{"18446744073709551615ms", UINT64_MAX},
};

static const char *const beyond_durations[] = {"18446744073709551616ms", "18446744073709551615",
	"18446744073709551615h", "99999999999999999999999", "0.0005", "0.0001", "0.999ms",
	"0.0000000000000000000000001", "0.0000000000000000000000001h"};

static const char *const no_durations[] = {"", " 1", "1 s", "1s ", "-1", "+1", "s", "ms", ".5",
	"1.", "1.s", "1..5", "1,5", "1e3", "0x10", "1S", "1M", "1us", "1d", "1sec", "1m30s", "1:30",
	"inf", "18446744073709551616x"};

static int
any_duration(const char *text, uint64_t *ret_value)
{
	return parse_duration_ms(text, UINT64_MAX, ret_value);
}

TEST(duration_every_text)
{
	check_texts(any_duration, UINT64_MAX, TEXTS(durations));
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
	{"000", 0},
	{"600", 0600},
	{"660", 0660},
	{"0660", 0660},
	{"777", 0777},
	{"0777", 0777},
};

static const char *const beyond_modes[] = {"1777", "4755", "7777"};

static const char *const no_modes[] = {"", "6", "66", "00660", "66000", "668", "0x1b", "-66",
	"+660", " 660", "660 ", "u=rw", "6 0"};

static int
any_mode(const char *text, uint64_t *ret_value)
{
	unsigned value = (unsigned)UNTOUCHED;
	int r = parse_mode(text, &value);

	return widen(r, value, ret_value);
}

TEST(mode_every_text)
{
	check_texts(any_mode, UINT64_MAX, TEXTS(modes));
}

/* ---- format_size ---------------------------------------------------------------------------- */

TEST(format_is_exact)
{
	static const struct {
		uint64_t bytes;
		const char *text;
	} table[] = {{0, "0 bytes"}, {1, "1 byte"}, {2, "2 bytes"}, {1000, "1000 bytes"},
		{1023, "1023 bytes"}, {KIB, "1 KiB"}, {KIB + 1, "1025 bytes"}, {1536, "1536 bytes"},
		{4096, "4 KiB"}, {MIB, "1 MiB"}, {MIB + KIB, "1025 KiB"}, {4 * MIB, "4 MiB"},
		{5 * GIB, "5 GiB"}, {GIB + GIB / 2, "1536 MiB"}, {TIB, "1 TiB"}, {PIB, "1 PiB"},
		{EIB, "1 EiB"}, {UINT64_C(1) << 63, "8 EiB"},
		{UINT64_MAX, "18446744073709551615 bytes"},
		{UINT64_MAX - 1023, "18014398509481983 KiB"}};

	for (size_t i = 0; i < COUNT(table); i++) {
		char buffer[SIZE_TEXT_MAX];

		CHECK_STR(format_size(table[i].bytes, buffer), table[i].text);
	}
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
