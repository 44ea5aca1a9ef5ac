/* SPDX-License-Identifier: BSD-2-Clause */

/* What a hostile sender or receiver may say: each kind of record, wrong in one way. */

#include "copy_room.h"

#include <errno.h>
#include <string.h>

static struct copy_room room;

void
test_before(void)
{
	copy_room_open(&room);
	shell("mkdir -p to/inside outside; echo precious > outside/file");
	copy_connect(&room, 16384);
}

void
test_after(void)
{
	shell("[ \"$(ls -A outside)\" = file ] && [ $(cat outside/file) = precious ] && "
	      "[ \"$(ls)\" = \"$(printf 'from\\noutside\\nto')\" ]");
	copy_room_close(&room);
}

/* ---- a hostile sender -------------------------------------------------------------------------- */

static void
receive_with(const struct copy_options *options)
{
	room.receiver = receiver_free(room.receiver);
	room.receiver = receiver_new(room.in, options, "to");
	CHECK(room.receiver);
}

static void
receive(void)
{
	receive_with(&(struct copy_options){.resume = false});
}

static void
send_bytes(struct ivshmem_channel *channel, const void *bytes, size_t length)
{
	CHECK_EQ(ivshmem_queue_send(channel, bytes, length), 0);
}

static void
send_record(struct ivshmem_channel *channel, const struct tree_record *record)
{
	uint8_t bytes[TREE_SMALL_MAX];

	send_bytes(channel, bytes, tree_write(record, bytes));
}

#define SEND(...) send_record(room.out, &(struct tree_record){__VA_ARGS__})

static void
send_data(uint32_t file, uint64_t offset, const char *text)
{
	uint8_t bytes[100];

	tree_write_data(bytes, file, offset);
	memcpy(bytes + TREE_HEAD, text, strlen(text));
	send_bytes(room.out, bytes, TREE_HEAD + strlen(text));
}

static void
accepted(void)
{
	CHECK_EQ(receiver_run(room.receiver), COPY_WAITS);
}

static void
refused(void)
{
	CHECK_EQ(receiver_run(room.receiver), -EPROTO);
	/* The rest of what was sent is for nobody. */
	copy_disconnect(&room);
	copy_connect(&room, 16384);
	receive();
}

TEST(names_that_lead_elsewhere)
{
	static const char *const names[] = {
		"..", ".", "/", "../x", "a/b", "/tmp", "x/", "a/../../b"};
	static const enum tree_record_type types[] = {TREE_FOLDER, TREE_FILE, TREE_LINK};

	receive();
	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		for (unsigned type = 0; type < 3; type++) {
			struct tree_record record = {.type = types[type], .file = 1, .text = "x"};

			strcpy(record.name, names[i]);
			send_record(room.out, &record);
			refused();
		}
	}
	for (unsigned type = 1; type < 3; type++) {
		SEND(.type = types[type], .text = "x");
		refused();
	}
}

TEST(names_with_nul_or_without_end)
{
	struct tree_record record = {.type = TREE_FILE, .file = 1, .name = "abcdef"};
	uint8_t bytes[TREE_SMALL_MAX];
	size_t length = tree_write(&record, bytes);

	receive();
	bytes[length - 3] = 0;
	send_bytes(room.out, bytes, length);
	refused();
	for (unsigned wrong = 0; wrong < 300; wrong++) {
		if (wrong == 6)
			continue;
		tree_write(&record, bytes);
		bytes[2] = (uint8_t)wrong;
		bytes[3] = (uint8_t)(wrong >> 8);
		send_bytes(room.out, bytes, length);
		refused();
	}
}

TEST(each_type_with_each_length)
{
	uint8_t bytes[200] = {0};

	receive();
	for (unsigned type = 0; type < 256; type++) {
		for (unsigned length = 1; length < 60; length++) {
			int r;

			bytes[0] = (uint8_t)type;
			send_bytes(room.out, bytes, length);
			r = receiver_run(room.receiver);
			CHECK(r == -EPROTO || r == COPY_WAITS || r == COPY_ENDED);
			if (r == COPY_WAITS)
				CHECK(strchr("TFp", (int)type));
			if (r == COPY_ENDED)
				CHECK(type == TREE_END && length == TREE_HEAD);
			copy_disconnect(&room);
			copy_connect(&room, 16384);
			receive();
		}
	}
}

TEST(a_link_that_was_just_received)
{
	receive();
	SEND(.type = TREE_LINK, .name = "way", .text = "../outside");
	SEND(.type = TREE_FOLDER, .name = "way");
	SEND(.type = TREE_FILE, .file = 1, .name = "file");
	send_data(1, 0, "hostile");
	SEND(.type = TREE_FOLDER, .name = "deeper");
	SEND(.type = TREE_LINK, .name = "another", .text = "/");
	SEND(.type = TREE_UP);
	SEND(.type = TREE_UP);
	/* A file takes the place of the link, and does not go through it. */
	SEND(.type = TREE_LINK, .name = "direct", .text = "../outside/file");
	SEND(.type = TREE_FILE, .file = 2, .name = "direct");
	SEND(.type = TREE_FILE_END, .file = 2);
	SEND(.type = TREE_LINK, .name = ".part.ivshmem-part", .text = "../outside/file");
	SEND(.type = TREE_FILE, .file = 3, .name = "part");
	SEND(.type = TREE_FILE_END, .file = 3);
	SEND(.type = TREE_END);
	CHECK_EQ(receiver_run(room.receiver), COPY_ENDED);
	shell("[ -L to/way ] && [ -f to/direct ] && [ ! -L to/direct ] && [ -f to/part ] && "
	      "[ ! -L to/part ] && [ $(ls -A to | wc -l) = 4 ]");
	CHECK_EQ(receiver_totals(room.receiver)->files, 2);
}

TEST(out_of_order)
{
	receive();
	SEND(.type = TREE_UP);
	refused();
	SEND(.type = TREE_FOLDER, .name = "x");
	SEND(.type = TREE_FOLDER, .name = "");
	refused();
	SEND(.type = TREE_FOLDER, .name = "x");
	SEND(.type = TREE_END);
	refused();
	for (unsigned i = 0; i < 5; i++) {
		static const enum tree_record_type types[] = {
			TREE_HOLE, TREE_RESUME, TREE_FILE_END, TREE_GIVE_UP, TREE_DONE};

		SEND(.type = types[i]);
		refused();
	}
	send_data(0, 0, "x");
	refused();
	for (unsigned i = 0; i < 6; i++) {
		static const enum tree_record_type types[] = {
			TREE_FOLDER, TREE_UP, TREE_LINK, TREE_FILE, TREE_END, TREE_TOTAL};

		SEND(.type = TREE_FILE, .file = 1, .name = "x");
		SEND(.type = types[i], .file = 2, .name = "y", .text = "z");
		refused();
	}
}

TEST(pieces_that_do_not_fit)
{
	static const uint64_t offsets[] = {1, 100, INT64_MAX, UINT64_MAX};

	receive();
	for (unsigned i = 0; i < 4; i++) {
		SEND(.type = TREE_FILE, .file = 1, .name = "x");
		send_data(1, offsets[i], "x");
		refused();
		SEND(.type = TREE_FILE, .file = 1, .name = "x");
		SEND(.type = TREE_HOLE, .file = 1, .value = offsets[i], .numbers = {5});
		refused();
		SEND(.type = TREE_FILE, .file = 1, .name = "x");
		SEND(.type = TREE_FILE_END, .file = 1, .value = offsets[i]);
		refused();
	}
	SEND(.type = TREE_FILE, .file = 1, .name = "x");
	SEND(.type = TREE_HOLE, .file = 1, .numbers = {UINT64_MAX});
	refused();
	SEND(.type = TREE_FILE, .file = 1, .name = "x");
	SEND(.type = TREE_HOLE, .file = 1, .numbers = {INT64_MAX});
	send_data(1, INT64_MAX, "x");
	refused();
	SEND(.type = TREE_FILE, .file = 1, .name = "x");
	send_data(2, 0, "x");
	refused();
	SEND(.type = TREE_FILE, .file = 1, .name = "x", .entry = {.mode = 010000});
	refused();
	SEND(.type = TREE_FILE, .file = 1, .name = "x", .entry = {.nanoseconds = 1000000000});
	refused();
	SEND(.type = TREE_FILE, .file = 1, .name = "x", .entry = {.size = UINT64_MAX});
	refused();
}

/* A file larger than any file system allows. */
TEST(sizes_that_no_file_has)
{
	receive();
	SEND(.type = TREE_FILE, .file = 1, .name = "x");
	SEND(.type = TREE_HOLE, .file = 1, .numbers = {INT64_MAX - 1});
	send_data(1, INT64_MAX - 1, "x");
	accepted();
	CHECK_EQ(receiver_totals(room.receiver)->problems, 1);
	SEND(.type = TREE_FILE, .file = 2, .name = "y");
	accepted();
	shell("[ ! -e to/.x.ivshmem-part ]");
}

TEST(a_wrong_checksum)
{
	receive_with(&(struct copy_options){.resume = true});
	SEND(.type = TREE_FILE, .file = 1, .name = "x");
	SEND(.type = TREE_RESUME, .file = 1);
	send_data(1, 0, "bytes");
	SEND(.type = TREE_FILE_END, .file = 1, .value = 5, .numbers = {12345});
	accepted();
	CHECK_EQ(receiver_totals(room.receiver)->problems, 1);
	CHECK_EQ(receiver_totals(room.receiver)->files, 0);
	shell("[ \"$(ls -A to)\" = inside ]");
}

TEST(resuming_where_nothing_is)
{
	static const uint64_t offsets[] = {1, 1 << 20, UINT64_C(1) << 40, UINT64_MAX};

	receive();
	for (unsigned i = 0; i < 4; i++) {
		receive_with(&(struct copy_options){.resume = true});
		SEND(.type = TREE_FILE, .file = 1, .name = "x");
		SEND(.type = TREE_RESUME, .file = 1, .value = offsets[i]);
		refused();
		receive_with(&(struct copy_options){.resume = true});
		SEND(.type = TREE_FILE, .file = 1, .name = "x");
		send_data(1, 0, "x");
		refused();
	}
	SEND(.type = TREE_FILE, .file = 1, .name = "x");
	SEND(.type = TREE_RESUME, .file = 1);
	refused();
}

/* Two things where one was to come. */
TEST(more_than_was_asked_for)
{
	room.receiver = receiver_new(room.in, &(struct copy_options){.resume = false}, "to/new");
	SEND(.type = TREE_FOLDER, .name = "a");
	SEND(.type = TREE_UP);
	SEND(.type = TREE_FOLDER, .name = "b");
	refused();
	shell("[ -d to/new ] && [ ! -e to/b ]");
}

TEST(folders_without_end)
{
	static const struct tree_record folder = {.type = TREE_FOLDER, .name = "d"};
	int r = COPY_WAITS;

	receive();
	for (unsigned i = 0; r != -EPROTO; i++) {
		CHECK(i < 10000);
		send_record(room.out, &folder);
		r = receiver_run(room.receiver);
		CHECK(r == COPY_WAITS || r == -EPROTO);
		CHECK(test_open_fds() < COPY_DEPTH_MAX + 50);
		/* What it has to say about that. */
		for (const void *said; ivshmem_queue_peek(room.out, &said) >= 0;)
			ivshmem_queue_release(room.out);
	}
}

/* ---- a hostile receiver ------------------------------------------------------------------------ */

#define ANSWER(...) send_record(room.in, &(struct tree_record){__VA_ARGS__})

static void
send_file(bool resume)
{
	static const char *const from[] = {"from/x", NULL};

	room.sender = sender_free(room.sender);
	copy_disconnect(&room);
	copy_connect(&room, 16384);
	room.sender = sender_new(room.out, &(struct copy_options){.resume = resume}, from);
	CHECK_EQ(sender_run(room.sender), COPY_WAITS);
}

static void
sender_refuses(void)
{
	CHECK_EQ(sender_run(room.sender), -EPROTO);
}

TEST(answers_that_make_no_sense)
{
	static const enum tree_record_type wrong[] = {TREE_TOTAL, TREE_FOLDER, TREE_UP, TREE_LINK,
		TREE_FILE, TREE_HOLE, TREE_RESUME, TREE_FILE_END, TREE_GIVE_UP, TREE_END};
	uint8_t bytes[TREE_HEAD] = {TREE_MARK};

	shell("head -c 3000000 /dev/urandom > from/x");
	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		send_file(false);
		ANSWER(.type = wrong[i], .name = "x", .text = "y");
		sender_refuses();
	}
	send_file(true);
	send_bytes(room.in, bytes, sizeof(bytes));
	sender_refuses();
	/* Marks that go back, or are none. */
	for (unsigned i = 0; i < 4; i++) {
		static const uint64_t offsets[] = {0, 1, 4096, UINT64_MAX};

		send_file(true);
		ANSWER(.type = TREE_MARK, .file = 1, .value = offsets[i]);
		sender_refuses();
	}
}

TEST(marks_that_are_not_ours)
{
	send_file(true);
	shell("head -c 3000000 /dev/urandom > from/x");
	send_file(true);
	/* Of other files, and beyond the end of this one. */
	ANSWER(.type = TREE_MARK, .file = 7, .value = 5);
	ANSWER(.type = TREE_SKIP, .file = 9);
	ANSWER(.type = TREE_MARK, .file = 1, .value = UINT64_C(1) << 40);
	CHECK(sender_run(room.sender) >= 0);
	while (sender_run(room.sender) == COPY_RUNS)
		;
	/* It sends from the start. */
	CHECK(sender_totals(room.sender)->bytes > 0);
	ANSWER(.type = TREE_DONE);
	CHECK_EQ(sender_run(room.sender), COPY_ENDED);
	CHECK(!sender_totals(room.sender)->complete);
}
