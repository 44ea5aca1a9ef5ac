/* SPDX-License-Identifier: BSD-2-Clause */
#include <base/sized.h>

#include <ivshmem/common.h>

#include <test.h>

#include <errno.h>
#include <stdint.h>
#include <string.h>

/* Three versions of one struct. This library knows the second one. */
struct older {
	size_t struct_size;
	uint64_t a;
};

struct known {
	size_t struct_size;
	uint64_t a;
	uint64_t b;
};

struct newer {
	size_t struct_size;
	uint64_t a;
	uint64_t b;
	uint64_t c;
	unsigned char d[8];
};

static struct known known;
static struct ivshmem_error error;

static int
take(const void *given)
{
	memset(&known, 0x55, sizeof(known));
	error = (struct ivshmem_error){0};
	return sized_in(
		&known, sizeof(known), SIZED_FIRST(struct known, a), given, "struct known", &error);
}

static void
refused(const void *given, int code, const char *words)
{
	CHECK_EQ(take(given), code);
	CHECK_EQ(error.code, code);
	CHECK(strstr(error.message, words));
	CHECK(strstr(error.message, "struct known"));
	CHECK_EQ(known.a, 0x5555555555555555);
}

TEST(what_an_older_caller_lacks_is_0)
{
	struct older given = {sizeof(given), 7};

	CHECK_EQ(take(&given), 0);
	CHECK_EQ(known.struct_size, sizeof(known));
	CHECK_EQ(known.a, 7);
	CHECK_EQ(known.b, 0);
}

TEST(the_same_version)
{
	struct known given = {sizeof(given), 7, 8};

	CHECK_EQ(take(&given), 0);
	CHECK_EQ(known.struct_size, sizeof(known));
	CHECK_EQ(known.a, 7);
	CHECK_EQ(known.b, 8);
}

TEST(a_newer_caller_leaves_0_what_we_do_not_know)
{
	struct newer given = {sizeof(given), 7, 8, 0, {0}};

	CHECK_EQ(take(&given), 0);
	CHECK_EQ(known.struct_size, sizeof(known));
	CHECK_EQ(known.b, 8);
	given.d[7] = 1;
	refused(&given, -E2BIG, "use a newer library");
	given.d[7] = 0;
	given.c = 1;
	refused(&given, -E2BIG, "use a newer library");
	/* It is not there for a caller who says so. */
	given.struct_size = sizeof(known);
	CHECK_EQ(take(&given), 0);
}

TEST(a_size_that_was_not_set)
{
	static const size_t sizes[] = {0, 1, sizeof(void *), sizeof(struct older) - 1};
	struct newer given = {0};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		given.struct_size = sizes[i];
		refused(&given, -EINVAL, "struct_size");
	}
	/* Nothing beyond is read. */
	given.struct_size = 4097;
	refused(&given, -E2BIG, "struct_size");
	given.struct_size = SIZE_MAX;
	refused(&given, -E2BIG, "struct_size");
}

TEST(a_caller_is_given_what_it_has_room_for)
{
	const struct known ours = {sizeof(ours), 7, 8};
	struct newer theirs;

	for (size_t room = 0; room <= sizeof(theirs); room++) {
		unsigned char expected[sizeof(theirs)];

		memset(expected, 0x55, sizeof(expected));
		memset(expected, 0, room);
		memcpy(expected, &ours, room < sizeof(ours) ? room : sizeof(ours));
		memcpy(expected, &room, room < sizeof(room) ? room : sizeof(room));
		memset(&theirs, 0x55, sizeof(theirs));
		sized_out(&theirs, room, &ours, sizeof(ours));
		CHECK_MEM(&theirs, expected, sizeof(theirs));
	}
}

TEST(macros_name_the_struct_and_its_first_version)
{
	struct known given = {SIZED_FIRST(struct known, a) - 1, 7, 8}, copy;

	CHECK_EQ(SIZED_IN(struct known, a, &copy, &given, &error), -EINVAL);
	CHECK(strstr(error.message, "struct known"));
	CHECK_EQ(SIZED_CHECK(struct known, a, &given, &error), -EINVAL);
	given.struct_size++;
	CHECK_EQ(SIZED_CHECK(struct known, a, &given, &error), 0);
	CHECK_EQ(SIZED_IN(struct known, a, &copy, &given, &error), 0);
	CHECK_EQ(copy.a, 7);
	CHECK_EQ(copy.b, 0);
}
