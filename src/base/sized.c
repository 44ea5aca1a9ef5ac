/* SPDX-License-Identifier: BSD-2-Clause */
#include <base/sized.h>

#include <base/error.h>

#include <errno.h>
#include <string.h>

/* As in the kernel. A larger struct_size is garbage, and we do not look into such a struct. */
#define SIZED_MAX 4096

static size_t
less(size_t a, size_t b)
{
	return a < b ? a : b;
}

int
sized_check(size_t struct_size, size_t first, const char *name, struct ivshmem_error *reterr)
{
	if (struct_size < first)
		return error_set(reterr, -EINVAL,
			"struct_size is %zu, which no %s has: set it to the size of the struct",
			struct_size, name);
	if (struct_size > SIZED_MAX)
		return error_set(reterr, -E2BIG,
			"struct_size is %zu, too large for a %s: set it to the size of the struct",
			struct_size, name);
	return 0;
}

int
sized_in(void *to, size_t size, size_t first, const void *from, const char *name,
	struct ivshmem_error *reterr)
{
	const unsigned char *bytes = from;
	size_t given;
	int r;

	memcpy(&given, from, sizeof(given));
	r = sized_check(given, first, name, reterr);
	if (r < 0)
		return r;
	for (size_t i = size; i < given; i++)
		if (bytes[i] != 0)
			return error_set(reterr, -E2BIG,
				"something is set in a %s that this version of the library does "
				"not know (byte %zu; it knows %zu): use a newer library, or leave "
				"it 0",
				name, i, size);
	memset(to, 0, size);
	memcpy(to, from, less(given, size));
	memcpy(to, &size, sizeof(size));
	return 0;
}

void
sized_out(void *to, size_t room, const void *from, size_t size)
{
	memset(to, 0, room);
	memcpy(to, from, less(room, size));
	memcpy(to, &room, less(room, sizeof(room)));
}
