/* SPDX-License-Identifier: BSD-2-Clause */
#include "values.h"

#include "output.h"

#include <base/clock.h>
#include <base/parse.h>

#include <ivshmem/abi.h>

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define DURATION_MAX_MS (UINT64_C(366) * 24 * 3600 * 1000)

int
value_u64(const char *what, const char *text, uint64_t min, uint64_t max, uint64_t *ret_value)
{
	if (!text || parse_u64(text, min, max, ret_value) == 0)
		return 0;
	if (max == UINT64_MAX)
		fail("%s '%s' is not a whole number of at least %" PRIu64, what, text, min);
	else
		fail("%s '%s' is not a whole number between %" PRIu64 " and %" PRIu64, what, text,
			min, max);
	return -EINVAL;
}

int
value_uint(const char *what, const char *text, unsigned min, unsigned max, unsigned *ret_value)
{
	uint64_t value = 0;

	if (!text)
		return 0;
	if (value_u64(what, text, min, max, &value) < 0)
		return -EINVAL;
	*ret_value = (unsigned)value;
	return 0;
}

int
value_size(const char *what, const char *text, uint64_t *ret_bytes)
{
	if (!text || parse_size(text, ret_bytes) == 0)
		return 0;
	fail("%s '%s' is not a number of bytes, such as 4096, 0x1000 or 4K", what, text);
	return -EINVAL;
}

int
value_duration(const char *what, const char *text, uint64_t *ret_ns)
{
	uint64_t ms;

	if (!text)
		return 0;
	if (parse_duration_ms(text, DURATION_MAX_MS, &ms) < 0) {
		fail("%s '%s' is not a time in seconds, such as 5 or 0.25, of at least 1 ms and at most a year",
			what, text);
		return -EINVAL;
	}
	*ret_ns = ms * NSEC_PER_MSEC;
	return 0;
}

int
value_interval(const char *what, const char *text, uint64_t *ret_ns)
{
	uint64_t ns = 1;

	if (value_duration(what, text, &ns) < 0)
		return -EINVAL;
	if (ns == 0) {
		fail("%s '%s' is less than a millisecond", what, text);
		return -EINVAL;
	}
	if (text)
		*ret_ns = ns;
	return 0;
}

int
value_bell(const char *text, struct bell *ret_bell)
{
	struct bell bell = {.vector = 0};
	const char *colon = strchr(text, ':');
	size_t length = colon ? (size_t)(colon - text) : strlen(text);
	char peer[32];
	unsigned id = 0;

	if (length >= sizeof(peer)) {
		fail("'%s' names no peer: it should be PEER, PEER:VECTOR, PEER:all or all", text);
		return -EINVAL;
	}
	memcpy(peer, text, length);
	peer[length] = '\0';

	if (strcmp(peer, "all") == 0) {
		bell.all_peers = true;
		bell.all_vectors = !colon;
	} else if (value_uint("peer", peer, 0, IVSHMEM_MAX_ID, &id) < 0) {
		return -EINVAL;
	}
	bell.peer = (uint16_t)id;

	if (colon && strcmp(colon + 1, "all") == 0)
		bell.all_vectors = true;
	else if (colon &&
		 value_uint("vector", colon + 1, 0, IVSHMEM_MAX_VECTORS - 1, &bell.vector) < 0)
		return -EINVAL;
	*ret_bell = bell;
	return 0;
}

int
value_single_bell(const char *text, struct bell *ret_bell)
{
	struct bell bell;

	if (value_bell(text, &bell) < 0)
		return -EINVAL;
	if (bell.all_peers || bell.all_vectors) {
		fail("'%s' must be one peer and one vector here: PEER or PEER:VECTOR", text);
		return -EINVAL;
	}
	*ret_bell = bell;
	return 0;
}
