/* SPDX-License-Identifier: BSD-2-Clause */
#include <base/parse.h>

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * The digits at the beginning of `text`. strtoull() also takes signs and leading blanks, which are
 * no part of a number here. A number that is too large is only noted, because what follows may show
 * that the text is no number at all.
 */
static int
parse_prefix(
	const char *text, int base, uint64_t *ret_value, bool *ret_overflow, const char **ret_end)
{
	char *end;

	if (!isdigit((unsigned char)text[0]))
		return -EINVAL;
	errno = 0;
	*ret_value = strtoull(text, &end, base);
	*ret_overflow = errno == ERANGE;
	*ret_end = end;
	return 0;
}

/* 10 or 16: a leading 0 does not make a number octal. */
static int
base_of(const char *text)
{
	return text[0] == '0' && (text[1] == 'x' || text[1] == 'X') ? 16 : 10;
}

int
parse_u64(const char *text, uint64_t min, uint64_t max, uint64_t *ret_value)
{
	const char *end;
	uint64_t value;
	bool overflow;
	int r = parse_prefix(text, base_of(text), &value, &overflow, &end);

	if (r < 0)
		return r;
	if (*end != '\0')
		return -EINVAL;
	if (overflow || value < min || value > max)
		return -ERANGE;
	*ret_value = value;
	return 0;
}

int
parse_uint(const char *text, unsigned min, unsigned max, unsigned *ret_value)
{
	uint64_t value;
	int r = parse_u64(text, min, max, &value);

	if (r < 0)
		return r;
	*ret_value = (unsigned)value;
	return 0;
}

/*
 * The digits after a point, as numerator and denominator: no floating point may decide how large a
 * memory is. Digits after the 18th cannot make a whole byte of anything below 2^60, and are only
 * checked.
 */
static const char *
parse_fraction(const char *text, uint64_t *ret_numerator, uint64_t *ret_denominator)
{
	uint64_t numerator = 0, denominator = 1;
	unsigned digits = 0;

	while (isdigit((unsigned char)*text)) {
		if (digits++ < 18) {
			numerator = numerator * 10 + (uint64_t)(*text - '0');
			denominator *= 10;
		}
		text++;
	}
	if (digits == 0)
		return NULL;
	*ret_numerator = numerator;
	*ret_denominator = denominator;
	return text;
}

/* The whole part of numerator / denominator, which is less than 1, times factor; in 64 bits, one
 * bit of the factor after the other. */
static uint64_t
multiply_fraction(uint64_t numerator, uint64_t denominator, uint64_t factor)
{
	uint64_t quotient = 0, rest = 0;

	for (unsigned bit = 64; bit-- > 0;) {
		quotient *= 2;
		rest *= 2;
		if (factor >> bit & 1)
			rest += numerator;
		while (rest >= denominator) {
			rest -= denominator;
			quotient++;
		}
	}
	return quotient;
}

static int
suffix_shift(char suffix, unsigned *ret_shift)
{
	static const char suffixes[] = "BKMGTPE";
	const char *found;

	if (suffix == '\0') {
		*ret_shift = 0;
		return 0;
	}
	found = strchr(suffixes, toupper((unsigned char)suffix));
	if (!found)
		return -EINVAL;
	*ret_shift = 10 * (unsigned)(found - suffixes);
	return 0;
}

int
parse_size(const char *text, uint64_t *ret_bytes)
{
	int base = base_of(text);
	uint64_t whole, numerator = 0, denominator = 1, part;
	const char *end;
	unsigned shift;
	bool fraction = false, overflow;
	int r;

	r = parse_prefix(text, base, &whole, &overflow, &end);
	if (r < 0)
		return r;
	if (base == 10 && *end == '.') {
		end = parse_fraction(end + 1, &numerator, &denominator);
		if (!end)
			return -EINVAL;
		fraction = true;
	}
	if (*end != '\0' && end[1] != '\0')
		return -EINVAL;
	r = suffix_shift(*end, &shift);
	if (r < 0)
		return r;
	if (fraction && shift == 0)
		return -EINVAL;
	if (overflow || (shift > 0 && whole >> (64 - shift) != 0))
		return -ERANGE;
	part = multiply_fraction(numerator, denominator, UINT64_C(1) << shift);
	*ret_bytes = (whole << shift) + part;
	return 0;
}

int
parse_duration_ms(const char *text, uint64_t max_ms, uint64_t *ret_ms)
{
	static const struct {
		const char *suffix;
		uint64_t ms;
	} units[] = {{"", 1000}, {"ms", 1}, {"s", 1000}, {"m", 60 * 1000}, {"h", 3600 * 1000}};
	uint64_t whole, numerator = 0, denominator = 1;
	const char *end;
	bool overflow;
	int r;

	r = parse_prefix(text, 10, &whole, &overflow, &end);
	if (r < 0)
		return r;
	if (*end == '.') {
		end = parse_fraction(end + 1, &numerator, &denominator);
		if (!end)
			return -EINVAL;
	}
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		uint64_t ms;

		if (strcmp(end, units[i].suffix) != 0)
			continue;
		if (overflow || __builtin_mul_overflow(whole, units[i].ms, &ms) ||
			__builtin_add_overflow(
				ms, multiply_fraction(numerator, denominator, units[i].ms), &ms) ||
			ms > max_ms)
			return -ERANGE;
		/* 0 often means "never", and a user who writes a very small number does not mean
		 * that. */
		if (ms == 0 && strpbrk(text, "123456789"))
			return -ERANGE;
		*ret_ms = ms;
		return 0;
	}
	return -EINVAL;
}

int
parse_mode(const char *text, unsigned *ret_mode)
{
	size_t length = strspn(text, "01234567");

	if (length < 3 || length > 4 || text[length] != '\0')
		return -EINVAL;
	if (length == 4 && text[0] != '0')
		return -ERANGE;
	*ret_mode = (unsigned)strtoul(text, NULL, 8);
	return 0;
}

char *
format_size(uint64_t bytes, char buffer[SIZE_TEXT_MAX])
{
	static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	unsigned unit = 0;

	while (bytes != 0 && bytes % 1024 == 0) {
		bytes /= 1024;
		unit++;
	}
	snprintf(buffer, SIZE_TEXT_MAX, "%" PRIu64 " %s", bytes,
		bytes == 1 && unit == 0 ? "byte" : units[unit]);
	return buffer;
}
