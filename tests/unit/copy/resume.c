/* SPDX-License-Identifier: BSD-2-Clause */

/* Copies that are interrupted, and go on. */

#include "copy_room.h"

#include <string.h>

static struct copy_room room;
static const struct copy_options options = {.resume = true};

void
test_before(void)
{
	copy_room_open(&room);
}

void
test_after(void)
{
	copy_room_close(&room);
}

#define MIB (UINT64_C(1) << 20)

/* A copy that ends when so many bytes have come. */
static void
interrupt(uint64_t bytes)
{
	copy_connect(&room, 16384);
	copy_start(&room, &options, FROM("from/tree"), "to");
	while (receiver_totals(room.receiver)->bytes < bytes) {
		CHECK(sender_run(room.sender) >= 0);
		CHECK(receiver_run(room.receiver) >= 0);
	}
	copy_disconnect(&room);
}

static uint64_t
finish(void)
{
	struct copy_totals totals = copy_all(&room, &options, FROM("from/tree"), "to");

	CHECK_STR(room.told, "");
	CHECK(totals.complete);
	check_same("from/tree", "to/tree");
	shell("[ -z \"$(find to -name '.*.ivshmem-part')\" ]");
	return totals.bytes;
}

TEST(it_goes_on_where_it_was)
{
	uint64_t bytes;

	shell("mkdir from/tree; head -c 9000000 /dev/urandom > from/tree/x");
	interrupt(6 * MIB);
	shell("[ -e to/tree/.x.ivshmem-part ] && [ ! -e to/tree/x ]");
	bytes = finish();
	CHECK(bytes >= 9000000 - 7 * MIB && bytes <= 9000000 - 5 * MIB);
	/* All is there. */
	CHECK_EQ(finish(), 0);
}

TEST(what_is_there_is_not_the_beginning)
{
	uint64_t bytes;

	shell("mkdir from/tree; head -c 9000000 /dev/urandom > from/tree/x");
	interrupt(6 * MIB);
	shell("printf x | dd of=to/tree/.x.ivshmem-part bs=1 seek=2500000 conv=notrunc status=none");
	bytes = finish();
	CHECK_EQ(bytes, 9000000 - 2 * MIB);

	shell("rm to/tree/x");
	interrupt(6 * MIB);
	shell("head -c 9000000 /dev/urandom > from/tree/x");
	CHECK_EQ(finish(), 9000000);

	/* More is there than the file has. */
	shell("rm to/tree/x; cat from/tree/x from/tree/x > to/tree/.x.ivshmem-part");
	CHECK_EQ(finish(), 9000000 - 8 * MIB);
	shell("rm to/tree/x; cp from/tree/x to/tree/.x.ivshmem-part; echo short > from/tree/x");
	CHECK_EQ(finish(), 6);
}

TEST(holes)
{
	shell("mkdir from/tree; head -c 5000000 /dev/urandom > from/tree/x; truncate -s 4T from/tree/x; "
	      "head -c 3000000 /dev/urandom >> from/tree/x");
	copy_connect(&room, 16384);
	copy_start(&room, &options, FROM("from/tree"), "to");
	while (receiver_totals(room.receiver)->bytes < 7000000) {
		CHECK(sender_run(room.sender) >= 0);
		CHECK(receiver_run(room.receiver) >= 0);
	}
	copy_disconnect(&room);
	CHECK(copy_all(&room, &options, FROM("from/tree"), "to").complete);
	CHECK_STR(room.told, "");
	shell("[ $(stat -c %s from/tree/x) = $(stat -c %s to/tree/x) ] && "
	      "[ $(stat -c %b to/tree/x) -lt 20000 ] && "
	      "[ \"$(tail -c 3000000 from/tree/x | md5sum)\" = \"$(tail -c 3000000 to/tree/x | md5sum)\" ]");
}

TEST(at_any_point)
{
	shell("mkdir -p from/tree/a from/tree/b; head -c 2500000 /dev/urandom > from/tree/x; "
	      "head -c 1500000 /dev/urandom > from/tree/a/y; head -c 1234567 /dev/urandom > from/tree/b/z; "
	      "for i in $(seq 50); do echo $i > from/tree/b/$i; done");
	for (uint64_t bytes = 1; bytes < 5000000; bytes = bytes * 3 + 100000) {
		interrupt(bytes);
		finish();
		shell("rm -r to/tree");
	}
	/* Again and again, further and further. */
	for (uint64_t i = 0; i < 5; i++)
		interrupt(700000);
	finish();
}
