/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Numbers, sizes, times and permissions as people type them. The first byte chooses the function:
 * u(nsigned 64 bits), i(nteger), s(ize), d(uration), m(ode); the rest is the text. Integers and sizes
 * are compared with what a plain reading of the same text gives.
 */

#include <fuzz.h>

#include <base/parse.h>

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#define UNTOUCHED UINT64_C(0xa5a5a5a5a5a5a5a5)

static void
check(int r, uint64_t value)
{
	DEMAND(r == 0 || r == -EINVAL || r == -ERANGE);
	DEMAND(r == 0 || value == UNTOUCHED);
}

/* ---- a plain reading ------------------------------------------------------------------------ */

/* Larger than any number of 64 bits, and times any suffix still a number of 128. */
#define HUGE_NUMBER ((unsigned __int128)1 << 66)

static int
digit_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return 99;
}

/* Takes all digits there are, at least one; NULL without. */
static const char *
read_digits(const char *text, int base, unsigned __int128 *ret_value)
{
	unsigned __int128 value = 0;

	if (digit_value(*text) >= base)
		return NULL;
	for (; digit_value(*text) < base; text++) {
		value = value * (unsigned)base + (unsigned)digit_value(*text);
		if (value > HUGE_NUMBER)
			value = HUGE_NUMBER;
	}
	*ret_value = value;
	return text;
}

static bool
is_hexadecimal(const char *text)
{
	return text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
}

static int
read_u64(const char *text, unsigned __int128 *ret_value)
{
	const char *end;

	if (is_hexadecimal(text))
		end = read_digits(text + 2, 16, ret_value);
	else
		end = read_digits(text, 10, ret_value);
	if (!end || *end != '\0')
		return -EINVAL;
	return *ret_value > UINT64_MAX ? -ERANGE : 0;
}

/* The whole units and the fraction of a unit, which is nearly right. */
static int
read_size(const char *text, unsigned __int128 *ret_whole, unsigned *ret_shift,
	long double *ret_fraction)
{
	static const char suffixes[] = "bkmgtpe";
	bool hexadecimal = is_hexadecimal(text), has_fraction = false;
	const char *end = hexadecimal ? read_digits(text + 2, 16, ret_whole)
				      : read_digits(text, 10, ret_whole);
	long double digit = 0.1L;

	*ret_fraction = 0;
	*ret_shift = 0;
	if (!end)
		return -EINVAL;
	if (!hexadecimal && *end == '.') {
		has_fraction = true;
		end++;
		if (!isdigit((unsigned char)*end))
			return -EINVAL;
		for (; isdigit((unsigned char)*end); end++, digit /= 10)
			*ret_fraction += digit * (*end - '0');
	}
	for (unsigned i = 0; suffixes[i]; i++) {
		if (tolower((unsigned char)*end) != suffixes[i])
			continue;
		*ret_shift = 10 * i;
		end++;
		break;
	}
	if (*end != '\0' || (has_fraction && *ret_shift == 0))
		return -EINVAL;
	return *ret_whole << *ret_shift > UINT64_MAX ? -ERANGE : 0;
}

/* ---- side by side --------------------------------------------------------------------------- */

static void
fuzz_u64(const char *text)
{
	uint64_t value = UNTOUCHED, again = UNTOUCHED;
	int r = parse_u64(text, 0, UINT64_MAX, &value);
	unsigned __int128 expected = 0;

	check(r, value);
	DEMAND(r == read_u64(text, &expected));
	if (r < 0)
		return;
	DEMAND(value == expected);
	if (value > 0)
		DEMAND(parse_u64(text, 0, value - 1, &again) == -ERANGE && again == UNTOUCHED);
	if (value < UINT64_MAX)
		DEMAND(parse_u64(text, value + 1, UINT64_MAX, &again) == -ERANGE &&
			again == UNTOUCHED);
}

static void
fuzz_uint(const char *text)
{
	uint64_t wide = UNTOUCHED;
	unsigned value = (unsigned)UNTOUCHED;
	int r = parse_uint(text, 0, UINT32_MAX, &value),
	    r64 = parse_u64(text, 0, UINT32_MAX, &wide);

	DEMAND(r == r64);
	DEMAND(r == 0 ? value == wide : value == (unsigned)UNTOUCHED);
}

static void
fuzz_size(const char *text)
{
	uint64_t value = UNTOUCHED, again = UNTOUCHED;
	int r = parse_size(text, &value);
	char formatted[SIZE_TEXT_MAX], canonical[SIZE_TEXT_MAX], *space;
	unsigned __int128 whole = 0;
	long double fraction, part;
	unsigned shift;

	check(r, value);
	DEMAND(r == read_size(text, &whole, &shift, &fraction));
	if (r < 0)
		return;
	DEMAND(value >> shift == whole);
	/* Cut off to whole bytes; the plain reading is not exact to the last of them. */
	part = (long double)(value - ((uint64_t)whole << shift));
	fraction *= (long double)(UINT64_C(1) << shift);
	DEMAND(part <= fraction + 2 && part >= fraction - 3);
	DEMAND(format_size(value, formatted) == formatted);
	DEMAND(strlen(formatted) < SIZE_TEXT_MAX);
	/* "5 GiB" is "5G", "7 bytes" is "7": what is shown is exact, so it parses back. */
	memcpy(canonical, formatted, sizeof(canonical));
	space = strchr(canonical, ' ');
	DEMAND(space);
	space[0] = space[1] == 'b' ? '\0' : space[1];
	space[1] = '\0';
	DEMAND(parse_size(canonical, &again) == 0 && again == value);
}

static void
fuzz_duration(const char *text)
{
	uint64_t value = UNTOUCHED, again = UNTOUCHED;
	int r = parse_duration_ms(text, UINT64_MAX, &value);
	char canonical[32];

	check(r, value);
	if (r < 0)
		return;
	snprintf(canonical, sizeof(canonical), "%" PRIu64 "ms", value);
	DEMAND(parse_duration_ms(canonical, value, &again) == 0 && again == value);
	again = UNTOUCHED;
	if (value > 0)
		DEMAND(parse_duration_ms(text, value - 1, &again) == -ERANGE && again == UNTOUCHED);
}

static void
fuzz_mode(const char *text)
{
	unsigned value = (unsigned)UNTOUCHED;
	int r = parse_mode(text, &value);

	DEMAND(r == 0 || r == -EINVAL || r == -ERANGE);
	DEMAND(r == 0 ? value <= 0777 : value == (unsigned)UNTOUCHED);
	DEMAND(r < 0 || strlen(text) == 3 || strlen(text) == 4);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text;

	if (size < 1)
		return 0;
	text = fuzz_text(data + 1, size - 1);
	switch (data[0]) {
	case 'u':
		fuzz_u64(text);
		break;
	case 'i':
		fuzz_uint(text);
		break;
	case 's':
		fuzz_size(text);
		break;
	case 'd':
		fuzz_duration(text);
		break;
	case 'm':
		fuzz_mode(text);
		break;
	default:
		break;
	}
	free(text);
	return 0;
}
