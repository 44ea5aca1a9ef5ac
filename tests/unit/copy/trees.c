/* SPDX-License-Identifier: BSD-2-Clause */

/* A sender and a receiver: all kinds of trees, and all that can go wrong with files. */

#include "copy_room.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct copy_room room;
static const struct copy_options options;

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

#define TREE                                                                                              \
	"cd from && mkdir -p tree/a/b/c tree/empty tree/closed && cd tree && mkdir -m 1777 for-all && "   \
	"printf hello > a/hello && : > a/b/nothing && head -c 300000 /dev/urandom > a/b/c/random && "     \
	"truncate -s 50M holes && printf x | dd of=holes bs=1 seek=20000000 conv=notrunc status=none && " \
	"ln -s a/hello link && ln -s /nowhere/at/all a/dangling && ln -s .. a/b/up && "                   \
	"printf odd > \"$(printf 'new\\nline \\001 \\\"quote')\" && "                                     \
	"printf program > program && chmod 4755 program && printf secret > closed/x && "                  \
	"chmod 400 closed/x && chmod 500 closed && "                                                      \
	"for i in $(seq 300); do echo $i > a/b/$i; done && "                                              \
	"find . -exec touch -h -d '2001-02-03 04:05:06.789' {} + && touch -d '1960-01-01' a/hello"

TEST(a_tree)
{
	struct copy_totals totals;

	shell(TREE);
	totals = copy_all(&room, &options, FROM("from/tree"), "to");
	CHECK_STR(room.told, "");
	/* Rights of somebody else stay behind. */
	shell("chmod 755 from/tree/program; touch -d '2001-02-03 04:05:06.789' from/tree/program");
	check_same("from/tree", "to/tree");
	CHECK(totals.complete);
	CHECK_EQ(totals.problems, 0);
	CHECK_EQ(totals.files, 307);
	/* Holes are holes. */
	CHECK(totals.bytes < 1000000);
	shell("[ $(stat -c %b to/tree/holes) -lt 1000 ]");
	/* Once more, over what is there. */
	shell("chmod 700 to/tree/closed; echo other > to/tree/a/hello");
	copy_all(&room, &options, FROM("from/tree"), "to");
	CHECK_STR(room.told, "");
	check_same("from/tree", "to/tree");
}

TEST(any_size_of_records)
{
	static const size_t chunks[] = {1, 13, 1000, 7000};

	shell("head -c 20000 /dev/urandom > from/x; truncate -s 30000 from/x; echo end >> from/x");
	for (unsigned i = 0; i < 4; i++) {
		for (int uncached = 0; uncached < 2; uncached++) {
			struct copy_options these = {.chunk = chunks[i], .uncached = uncached};

			shell("rm -f to/x");
			copy_all(&room, &these, FROM("from/x"), "to");
			check_same("from/x", "to/x");
		}
	}
}

/* More than there is room for beside the ring, more than a loan, and a file that is refused. */
TEST(loans)
{
	struct copy_options these = {.count = false};
	struct copy_totals totals;

	shell("mkdir from/tree; head -c 3000000 /dev/urandom > from/tree/x; "
	      "head -c 70000 /dev/urandom > from/tree/y; echo small > from/tree/z");
	for (int uncached = 0; uncached < 2; uncached++) {
		these.uncached = uncached;
		totals = copy_all(&room, &these, FROM("from/tree"), "to");
		CHECK_STR(room.told, "");
		CHECK_EQ(totals.bytes, 3070006);
		check_same("from/tree", "to/tree");
	}
	shell("rm to/tree/x; mkdir to/tree/x");
	copy_all(&room, &these, FROM("from/tree"), "to");
	CHECK_HAS(room.told, "cannot write 'to/tree/x': Is a directory\n");
}

TEST(many_operands)
{
	struct copy_options these = {.many = true, .count = true};
	struct copy_totals totals;

	shell("echo one > from/one; echo two > from/two; mkdir from/three; echo > from/three/x; "
	      "ln -s one from/link");
	totals = copy_all(
		&room, &these, FROM("from/one", "from/two", "from/three/", "from/link"), "to/");
	CHECK_STR(room.told, "");
	shell("cmp from/one to/one && cmp from/two to/two && cmp from/three/x to/three/x && "
	      "cmp from/one to/link && [ ! -L to/link ]");
	CHECK(totals.counted && totals.files == 4);
	CHECK_EQ(totals.files_expected, 4);
	CHECK_EQ(totals.bytes_expected, 4 + 4 + 1 + 4);
}

TEST(a_new_name)
{
	shell("echo one > from/one; mkdir from/tree; echo > from/tree/x; echo old > to/old");
	copy_all(&room, &options, FROM("from/one"), "to/new");
	copy_all(&room, &options, FROM("from/one"), "to/old");
	copy_all(&room, &options, FROM("from/tree"), "to/tree2/");
	copy_all(&room, &options, FROM("from/tree/."), "to");
	copy_all(&room, &options, FROM("from/tree/."), "to/tree3");
	CHECK_STR(room.told, "");
	shell("cmp from/one to/new && cmp from/one to/old && cmp from/tree/x to/tree2/x && "
	      "cmp from/tree/x to/x && cmp from/tree/x to/tree3/x && [ $(ls to | wc -l) = 5 ]");
}

TEST(where_it_cannot_go)
{
	struct copy_options many = {.many = true};
	struct copy_totals totals;

	shell("echo one > from/one");
	totals = copy_all(&room, &options, FROM("from/one"), "to/no/where");
	CHECK_STR(room.told, "cannot copy to 'to/no/where': 'to/no': No such file or directory\n");
	CHECK(!totals.complete && totals.problems == 1);
	copy_all(&room, &many, FROM("from/one", "from/one"), "to/nowhere");
	CHECK_HAS(room.told, "cannot copy to 'to/nowhere': there is no such folder; several things "
			     "need a folder that exists\n");
	copy_all(&room, &options, FROM("from/one"), "");
	CHECK_STR(room.told, "the path to copy to is empty\n");
	shell("[ -z \"$(ls -A to)\" ]");
}

TEST(what_cannot_be_read)
{
	struct copy_options many = {.many = true};
	struct copy_totals totals;

	shell("mkfifo from/pipe; mkdir from/tree; echo > from/tree/x; ln -s nowhere from/tree/link");
	totals = copy_all(&room, &many,
		FROM("from/pipe", "from/missing", "", "from/tree/link", "from/tree"), "to");
	CHECK_STR(room.told,
		"'from/pipe' was left out: it is neither a file, a folder nor a symbolic link\n"
		"cannot read 'from/missing': No such file or directory\n"
		"a path is empty\n"
		"cannot read 'from/tree/link': No such file or directory\n");
	CHECK(totals.complete);
	CHECK_EQ(totals.problems, 4);
	CHECK_EQ(totals.files, 1);
	check_same("from/tree", "to/tree");
}

/* Run both until the receiver has some of it. */
static void
begin_copy(struct copy_room *copy, const char *const *from)
{
	copy_connect(copy, 16384);
	copy_start(copy, &options, from, "to");
	while (receiver_totals(copy->receiver)->bytes < 50000) {
		CHECK(sender_run(copy->sender) >= 0);
		CHECK(receiver_run(copy->receiver) >= 0);
	}
}

static void
check_left_out(const char *change, const char *told)
{
	shell("head -c 3000000 /dev/urandom > from/x; echo old > to/x; echo y > from/y");
	begin_copy(&room, FROM("from/x", "from/y"));
	shell("[ -e to/.x.ivshmem-part ]");
	shell(change);
	copy_finish(&room);
	CHECK_HAS(room.told, told);
	CHECK(receiver_totals(room.receiver)->complete);
	CHECK_EQ(receiver_totals(room.receiver)->files, 1);
	copy_disconnect(&room);
	shell("[ $(cat to/x) = old ] && [ $(cat to/y) = y ] && [ \"$(ls -A to)\" = \"$(printf 'x\\ny')\" ]");
}

TEST(a_file_that_changes)
{
	check_left_out(
		"echo more >> from/x", "'from/x' changed while it was read, and was left out");
	check_left_out("truncate -s 1000 from/x", "'from/x' changed while it was read");
	check_left_out("echo first | dd of=from/x conv=notrunc status=none", "'from/x' changed");
}

TEST(a_name_that_is_taken)
{
	shell("mkdir -p from/a from/b/c from/d; echo x > from/a/x; echo x > from/b/c/x; echo x > from/x; "
	      "mkdir to/from to/from/x; echo y > to/from/b; ln -s /tmp to/from/d; ln -s x from/l; "
	      "mkdir to/from/l");
	copy_all(&room, &options, FROM("from"), "to");
	CHECK_HAS(room.told, "cannot make the folder 'to/from/b': something else has this name\n");
	CHECK_HAS(room.told, "cannot make the folder 'to/from/d': something else has this name\n");
	CHECK_HAS(room.told, "cannot write 'to/from/x': Is a directory\n");
	CHECK_HAS(room.told, "cannot make the symbolic link 'to/from/l': Is a directory\n");
	shell("cmp from/a/x to/from/a/x && [ $(ls -A to/from | wc -l) = 5 ]");
}

/* A device of the receiver's, for instance, is not to become a file. */
TEST(what_is_no_file_keeps_its_name)
{
	shell("echo x > from/x; echo y > from/pipe; ln -s x from/link; mkfifo to/pipe to/link");
	copy_all(&room, &options, FROM("from/."), "to");
	CHECK_HAS(room.told, "cannot write 'to/pipe': something else has this name\n");
	CHECK_HAS(room.told,
		"cannot make the symbolic link 'to/link': something else has this name\n");
	shell("[ -p to/pipe ] && [ -p to/link ] && cmp from/x to/x && [ $(ls -A to | wc -l) = 3 ]");
	/* Nor if it is what is copied to. */
	copy_all(&room, &options, FROM("from/x"), "to/pipe");
	CHECK_STR(room.told, "cannot write 'to/pipe': something else has this name\n");
	copy_all(&room, &options, FROM("from/x"), "/dev/null");
	CHECK_STR(room.told, "cannot write '/dev/null': something else has this name\n");
	shell("[ -p to/pipe ] && [ -c /dev/null ]");
}

TEST(long_names_and_paths)
{
	char name[256] = {0};
	char command[1024];

	memset(name, 'x', 255);
	snprintf(command, sizeof(command),
		"cd from; echo x > %s; "
		"for i in $(seq 30); do mkdir %s; cd %s; done; echo deep > deep",
		name, name + 1, name + 1);
	shell(command);
	copy_all(&room, &options, FROM("from"), "to/all");
	CHECK_STR(room.told, "");
	shell("cd to/all; for i in $(seq 30); do cd x*xx/ ; done; [ $(cat deep) = deep ]");
}

TEST(too_many_folders)
{
	struct copy_totals totals;

	shell("cd from; for i in $(seq 250); do mkdir d; cd d; done; echo > x; cd; echo end");
	shell("echo y > from/y");
	totals = copy_all(&room, &options, FROM("from/d", "from/y"), "to");
	CHECK_HAS(room.told, "' was left out: it is in more than 200 folders\n");
	CHECK_EQ(totals.files, 1);
	CHECK_EQ(totals.problems, 1);
}

TEST(files_that_say_they_are_empty)
{
	copy_all(&room, &options, FROM("/proc/self/maps"), "to/maps");
	CHECK_STR(room.told, "");
	shell("[ -s to/maps ]");
}

TEST(a_part_file_of_somebody_else)
{
	shell("echo new > from/x; ln -s /etc/passwd to/.x.ivshmem-part");
	copy_all(&room, &options, FROM("from/x"), "to");
	CHECK_STR(room.told, "");
	shell("cmp from/x to/x; rm to/x; mkdir to/.x.ivshmem-part");
	copy_all(&room, &options, FROM("from/x"), "to");
	CHECK_HAS(room.told, "cannot write 'to/x': ");
}

TEST(a_file_that_another_copy_writes)
{
	struct copy_room other = {.told = ""};

	shell("head -c 3000000 /dev/urandom > from/x");
	begin_copy(&room, FROM("from/x"));
	room_open_pair(&other.memory, &other.here, &other.there);
	copy_all(&other, &options, FROM("from/x"), "to");
	CHECK_STR(other.told, "cannot write 'to/x': another copy writes this file now\n");
	room_close_pair(&other.memory, other.here, other.there);
	copy_finish(&room);
	CHECK_STR(room.told, "");
	check_same("from/x", "to/x");
}
