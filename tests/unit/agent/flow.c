/* SPDX-License-Identifier: BSD-2-Clause */

/* Streams with credit, from a pipe through a queue into a pipe. */

#include <channel/channel_room.h>

#include <agent/flow.h>

#include <test.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RING   4096
#define STREAM 1

static struct room room;
static struct ivshmem_participant *sender, *receiver;
static struct ivshmem_channel *there, *here; /* of the sender, of the receiver */
static int in_pipe[2], out_pipe[2];
static struct flow_out out;
static struct flow_in in;

void
test_before(void)
{
	struct ivshmem_channel_status status = {.struct_size = sizeof(status)};

	signal(SIGPIPE, SIG_IGN);
	room_open_pair(&room, &sender, &receiver);
	room_connect(sender, receiver, IVSHMEM_QUEUE, RING, &there, &here);
	CHECK_SYS(pipe2(in_pipe, O_NONBLOCK | O_CLOEXEC));
	CHECK_SYS(pipe2(out_pipe, O_NONBLOCK | O_CLOEXEC));
	CHECK_EQ(ivshmem_channel_status(there, &status), 0);
	flow_out_begin(&out, STREAM, in_pipe[0], (size_t)status.max_record);
	flow_in_begin(&in, STREAM, out_pipe[1]);
}

void
test_after(void)
{
	flow_in_free(&in);
	for (unsigned i = 0; i < 2; i++) {
		close(in_pipe[i]);
		close(out_pipe[i]);
	}
	room_close_pair(&room, sender, receiver);
}

/* The next record of this end. */
static bool
receive(struct ivshmem_channel *channel, struct record *ret_record)
{
	static char buffer[RECORD_MAX];
	int64_t n;

	n = ivshmem_queue_receive(channel, buffer, sizeof(buffer));
	if (n == -EAGAIN)
		return false;
	CHECK(n > 0);
	CHECK_EQ(record_parse(ret_record, buffer, (size_t)n), 0);
	CHECK_EQ(ret_record->stream, STREAM);
	return true;
}

static void
sender_takes(const struct record *record)
{
	if (record->type == RECORD_CREDIT)
		CHECK_EQ(flow_out_credit(&out, record->number), 0);
	else if (record->type == RECORD_UNWANTED)
		flow_out_unwanted(&out);
	else
		FAIL("a record of type %u", record->type);
}

static void
receiver_takes(const struct record *record)
{
	if (record->type == RECORD_DATA)
		CHECK_EQ(flow_in_take(&in, record->bytes, record->length), 0);
	else if (record->type == RECORD_END)
		CHECK_EQ(flow_in_end(&in), 0);
	else
		FAIL("a record of type %u", record->type);
}

/* Let both do what they can. */
static void
run(void)
{
	bool done;

	do {
		struct record record;
		int r;

		out.readable = in.writable = true;
		r = flow_out_run(&out, there);
		CHECK(r >= 0 || r == -EAGAIN);
		done = r > 0;
		ivshmem_queue_flush(there);
		while (receive(here, &record)) {
			receiver_takes(&record);
			done = true;
		}
		done = flow_in_run(&in) || done;
		done = flow_in_tell(&in, here) > 0 || done;
		while (receive(there, &record)) {
			sender_takes(&record);
			done = true;
		}
	} while (done);
}

TEST(nothing_is_sent_without_credit)
{
	struct record record;

	CHECK_EQ(write(in_pipe[1], "x", 1), 1);
	out.readable = true;
	CHECK_EQ(flow_out_run(&out, there), 0);
	CHECK_EQ(flow_out_credit(&out, 1), 0);
	CHECK_EQ(flow_out_run(&out, there), 1);
	CHECK_EQ(write(in_pipe[1], "y", 1), 1);
	CHECK_EQ(flow_out_run(&out, there), 0);
	ivshmem_queue_flush(there);
	CHECK(receive(here, &record) && record.length == 1 && record.bytes[0] == 'x');
	CHECK(!receive(here, &record));
}

TEST(bytes_and_their_end_arrive)
{
	static uint8_t bytes[3 * FLOW_WINDOW], got[sizeof(bytes)];
	size_t written = 0, read_so_far = 0;

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 7 + i / 251);
	while (read_so_far < sizeof(bytes)) {
		ssize_t n = write(in_pipe[1], bytes + written, sizeof(bytes) - written);

		written += n > 0 ? (size_t)n : 0;
		run();
		n = read(out_pipe[0], got + read_so_far, sizeof(got) - read_so_far);
		read_so_far += n > 0 ? (size_t)n : 0;
	}
	CHECK_MEM(got, bytes, sizeof(bytes));
	CHECK(!in.ended);
	close(in_pipe[1]);
	in_pipe[1] = -1;
	run();
	CHECK(out.told && in.ended && flow_in_waiting(&in) == 0);
	CHECK_EQ(out.bytes, sizeof(bytes));
	CHECK_EQ(in.received, sizeof(bytes));
}

/* The window is full, then, and no more is read. */
TEST(a_receiver_that_does_not_write_stops_the_sender)
{
	static char block[FLOW_WINDOW];
	size_t written = 0;
	ssize_t n;

	for (unsigned i = 0; i < 20; i++) {
		n = write(in_pipe[1], block, sizeof(block));
		written += n > 0 ? (size_t)n : 0;
		run();
	}
	CHECK_EQ(flow_in_waiting(&in), FLOW_WINDOW - in.owed - in.credit);
	CHECK(out.bytes < written && out.bytes <= 2 * FLOW_WINDOW);
	CHECK_EQ(out.credit, 0);
	/* Other records get through. */
	CHECK_EQ(ivshmem_queue_send(there, "x", 1), 0);
}

TEST(who_sends_more_than_there_is_credit_for)
{
	static char byte[FLOW_WINDOW + 1];

	CHECK_EQ(flow_in_take(&in, byte, 1), -EPROTO);
	CHECK_EQ(flow_in_tell(&in, here), 1);
	CHECK_EQ(in.credit, FLOW_WINDOW);
	CHECK_EQ(flow_in_take(&in, byte, FLOW_WINDOW + 1), -EPROTO);
	CHECK_EQ(flow_in_take(&in, byte, FLOW_WINDOW), 0);
	CHECK_EQ(flow_in_take(&in, byte, 1), -EPROTO);
	CHECK_EQ(flow_in_take(&in, byte, 0), 0);
}

TEST(who_sends_after_the_end)
{
	CHECK_EQ(flow_in_tell(&in, here), 1);
	CHECK_EQ(flow_in_end(&in), 0);
	CHECK_EQ(flow_in_take(&in, "x", 1), -EPROTO);
	CHECK_EQ(flow_in_end(&in), -EPROTO);
}

TEST(who_gives_too_much_credit)
{
	CHECK_EQ(flow_out_credit(&out, (1u << 30) + 1), -EPROTO);
	CHECK_EQ(flow_out_credit(&out, 1u << 30), 0);
	CHECK_EQ(flow_out_credit(&out, 1), -EPROTO);
	CHECK_EQ(flow_out_credit(&out, UINT32_MAX), -EPROTO);
	CHECK_EQ(flow_out_credit(&out, 0), 0);
}

/* Whoever writes into the pipe is told. */
TEST(bytes_that_nobody_wants)
{
	run();
	close(out_pipe[0]);
	out_pipe[0] = -1;
	CHECK_EQ(write(in_pipe[1], "x", 1), 1);
	run();
	CHECK(in.unwanted && in.told && in.error == -EPIPE);
	CHECK(out.unwanted && out.told && in.ended);
	CHECK_EQ(flow_in_waiting(&in), 0);
}

/* Those that are on the way already. */
TEST(bytes_that_come_after_nobody_wants_any)
{
	CHECK_EQ(flow_in_tell(&in, here), 1);
	flow_in_refuse(&in);
	CHECK_EQ(flow_in_take(&in, "abc", 3), 0);
	CHECK_EQ(flow_in_waiting(&in), 0);
	CHECK_EQ(flow_in_tell(&in, here), 1);
	CHECK_EQ(flow_in_tell(&in, here), 0);
}

TEST(a_stream_with_so_many_bytes_left)
{
	CHECK_EQ(write(in_pipe[1], "abcdef", 6), 6);
	out.left = 4;
	run();
	CHECK(out.told && in.ended);
	CHECK_EQ(out.bytes, 4);
	flow_out_begin(&out, STREAM, in_pipe[0], 100);
	out.left = 0;
	CHECK_EQ(flow_out_run(&out, there), 1);
	CHECK(out.ended);
}

TEST(a_stream_that_has_only_what_is_there)
{
	CHECK_EQ(write(in_pipe[1], "abc", 3), 3);
	out.last = true;
	run();
	CHECK(out.told && in.ended);
	CHECK_EQ(out.bytes, 3);
}

/* What could not be read does not look complete. */
TEST(an_error_is_no_end)
{
	int folder = CHECK_SYS(open("/", O_RDONLY | O_CLOEXEC));

	out.fd = folder;
	run();
	CHECK_EQ(out.error, -EISDIR);
	CHECK(!out.told && !in.ended);
	CHECK_EQ(flow_out_run(&out, there), 0);
	close(folder);
}
