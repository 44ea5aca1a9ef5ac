/* SPDX-License-Identifier: BSD-2-Clause */

/* What a server has said, read again: all of it, after leaves and a lack of room, with descriptors
 * that were closed meanwhile. */

#include <wire/log.h>

#include <base/eventfd.h>
#include <base/fd.h>

#include <marks.h>
#include <test.h>

#include <errno.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROWS 32

static int server, client;
static struct wire_log *wire_log;
static struct wire_receiver receiver;

void
test_before(void)
{
	int pair[2];

	fdpass_pair(pair, 0);
	server = pair[0];
	client = pair[1];
	wire_receiver_init(&receiver);
	wire_log = wire_log_new(ROWS);
	CHECK(wire_log);
	wire_log_begin(wire_log, client);
}

void
test_after(void)
{
	wire_receiver_done(&receiver);
	wire_log_free(wire_log);
	fd_close(server);
	fd_close(client);
}

static void
say(int64_t number, int fd)
{
	const struct wire_message message = {number, fd};

	CHECK_EQ(wire_send(server, &message, 1), 1);
}

static void
expect(int64_t number, int fd)
{
	struct wire_message message;

	CHECK_EQ(wire_log_receive(wire_log, &receiver, &message), 1);
	CHECK_EQ(message.number, number);
	CHECK_EQ(message.fd, fd);
}

static int
expect_new(int64_t number)
{
	struct wire_message message;

	CHECK_EQ(wire_log_receive(wire_log, &receiver, &message), 1);
	CHECK_EQ(message.number, number);
	CHECK(message.fd >= 0);
	return message.fd;
}

static void
expect_nothing(int code)
{
	struct wire_message message;

	CHECK_EQ(wire_log_receive(wire_log, &receiver, &message), code);
}

static int
greet(void)
{
	int fd = eventfd(0, EFD_CLOEXEC), kept;

	say(0, -1);
	say(7, -1);
	say(-1, fd);
	expect(0, -1);
	expect(7, -1);
	kept = expect_new(-1);
	fd_close(fd);
	return kept;
}

/* Say a number with an eventfd. Returns the one that came. */
static int
announce(int64_t number)
{
	int fd = eventfd(0, EFD_CLOEXEC), kept;

	say(number, fd);
	kept = expect_new(number);
	fd_close(fd);
	return kept;
}

TEST(all_is_said_again)
{
	int memory = greet(), vector = announce(7);

	CHECK(!wire_log_is_behind(wire_log));
	wire_log_rewind(wire_log);
	CHECK(wire_log_is_behind(wire_log));
	expect(0, -1);
	expect(7, -1);
	expect(-1, memory);
	expect(7, vector);
	CHECK(!wire_log_is_behind(wire_log));
	expect_nothing(-EAGAIN);
	fd_close(memory);
	fd_close(vector);
}

TEST(a_closed_descriptor_is_another_eventfd)
{
	int memory = greet(), vector = announce(3), other;

	wire_log_forget(wire_log, vector);
	fd_close(vector);
	wire_log_rewind(wire_log);
	expect(0, -1);
	expect(7, -1);
	expect(-1, memory);
	other = expect_new(3);
	CHECK(eventfd_is(other));
	fd_close(other);
	fd_close(memory);
}

TEST(messages_in_pieces)
{
	const uint8_t five[8] = {5};
	int memory = greet();

	CHECK_EQ(write(server, five, 3), 3);
	expect_nothing(-EAGAIN);
	CHECK_EQ(write(server, five + 3, 5), 5);
	expect(5, -1);
	wire_log_rewind(wire_log);
	wire_receiver_init(&receiver);
	expect(0, -1);
	expect(7, -1);
	expect(-1, memory);
	expect(5, -1);
	fd_close(memory);
}

/* Peers come and go for ever; who is there stays in the log, in order. */
TEST(room_for_those_who_are_there)
{
	int memory = greet(), self = announce(7), stays = announce(1);

	for (unsigned i = 0; i < 10 * ROWS; i++) {
		int fd = announce(2);

		say(2, -1);
		expect(2, -1);
		wire_log_forget(wire_log, fd);
		fd_close(fd);
	}
	wire_log_rewind(wire_log);
	expect(0, -1);
	expect(7, -1);
	expect(-1, memory);
	expect(7, self);
	expect(1, stays);
	while (wire_log_is_behind(wire_log)) {
		int fd = expect_new(2);

		expect(2, -1);
		fd_close(fd);
	}
	fd_close(memory);
	fd_close(self);
	fd_close(stays);
}

TEST(no_room_is_an_error)
{
	int fds[ROWS];

	fds[0] = greet();
	for (unsigned i = 3; i < ROWS; i++)
		fds[i - 2] = announce(i);
	expect_nothing(-ENOSPC);
	for (unsigned i = 0; i < ROWS - 2; i++)
		fd_close(fds[i]);
}

/* What another process has received, this one can receive again. An ended connection stays so. */
TEST(another_process_has_received_it)
{
	int status;
	pid_t pid;

	say(9, -1);
	pid = fork();
	if (pid == 0) {
		expect(9, -1);
		_exit(0);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
	wire_log_rewind(wire_log);
	expect(9, -1);
	expect_nothing(-EAGAIN);
	wire_log_end(wire_log);
	expect_nothing(-ECONNRESET);
	CHECK(wire_log_has_begun(wire_log));
}
