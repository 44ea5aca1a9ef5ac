/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef BASE_PARSE_H
#define BASE_PARSE_H

/*
 * Text to numbers, strictly: the whole string is the number, no sign, no white space, no overflow.
 * All return 0, -EINVAL (not a number) or -ERANGE (a number, but not between the bounds).
 */

#include <stdint.h>

/* Decimal or 0x hexadecimal. A leading 0 means nothing, as in a size: 010 is ten. */
int parse_u64(const char *text, uint64_t min, uint64_t max, uint64_t *ret_value);
int parse_uint(const char *text, unsigned min, unsigned max, unsigned *ret_value);

/*
 * A size in bytes, as QEMU writes them: decimal or 0x hexadecimal, then optionally one of B K M G T
 * P E (powers of 1024, either case). A decimal fraction is allowed before a suffix that scales:
 * "1.5G".
 */
int parse_size(const char *text, uint64_t *ret_bytes);

/*
 * Seconds with an optional fraction ("0.25"), or a number with a suffix "ms", "s", "m" or "h", to
 * milliseconds. A time of less than a millisecond that is not 0 is -ERANGE.
 */
int parse_duration_ms(const char *text, uint64_t max_ms, uint64_t *ret_ms);

/* Three or four octal digits: 660, 0660. */
int parse_mode(const char *text, unsigned *ret_mode);

/* "4 MiB", "5 GiB", "1000 bytes": exact, never rounded. Returns `buffer`. */
#define SIZE_TEXT_MAX 32
char *format_size(uint64_t bytes, char buffer[SIZE_TEXT_MAX]);

#endif
