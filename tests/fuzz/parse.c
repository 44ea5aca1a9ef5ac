/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Numbers, sizes, times and permissions as people type them. The first byte chooses the function:
 * u(nsigned 64 bits), i(nteger), s(ize), d(uration), m(ode); the rest is the text.
 */

#include <fuzz.h>

#include <parse.h>

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

static void
fuzz_u64(const char *text)
{
	uint64_t value = UNTOUCHED, again = UNTOUCHED;
	int r = parse_u64(text, 0, UINT64_MAX, &value);
	char canonical[32];

	check(r, value);
	if (r < 0)
		return;
	DEMAND(isdigit((unsigned char)text[0]));
	snprintf(canonical, sizeof(canonical), "%" PRIu64, value);
	DEMAND(parse_u64(canonical, value, value, &again) == 0 && again == value);
	again = UNTOUCHED;
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

	check(r, value);
	if (r < 0)
		return;
	DEMAND(isdigit((unsigned char)text[0]));
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
	text = strndup((const char *)data + 1, size - 1);
	DEMAND(text);
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
