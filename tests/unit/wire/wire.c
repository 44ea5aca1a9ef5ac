/* SPDX-License-Identifier: BSD-2-Clause */

/* The wire codec: every split point of a message, descriptors on each of its bytes, and full
 * sockets. */

#include <wire/wire.h>

#include <fdpass.h>
#include <marks.h>
#include <test.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Numbers with telling bytes, and how they look on the wire. */
static const struct {
	int64_t number;
	uint8_t bytes[8];
} samples[] = {
	{0, {0, 0, 0, 0, 0, 0, 0, 0}},
	{1, {1, 0, 0, 0, 0, 0, 0, 0}},
	{-1, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}},
	{-2, {0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}},
	{65535, {0xff, 0xff, 0, 0, 0, 0, 0, 0}},
	{65536, {0, 0, 1, 0, 0, 0, 0, 0}},
	{0x0102030405060708, {8, 7, 6, 5, 4, 3, 2, 1}},
	{INT64_MIN, {0, 0, 0, 0, 0, 0, 0, 0x80}},
	{INT64_MAX, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}},
};

static const struct wire_message nothing = {.number = 4711, .fd = 4711};

/* A server and a client that are connected. */
static int server, client;
static struct wire_receiver receiver;

void
test_before(void)
{
	int pair[2];

	fdpass_pair(pair, 0);
	server = pair[0];
	client = pair[1];
	wire_receiver_init(&receiver);
}

void
test_after(void)
{
	wire_receiver_done(&receiver);
	test_close(&server);
	test_close(&client);
}

static void
link_anew(void)
{
	test_after();
	test_before();
}

/* ---- feeding -------------------------------------------------------------------------------- */

/* A part of the sample whose bytes are all different; whether a message is complete. */
static void
feed(size_t from, size_t length, const int *fds, size_t n_fds, bool complete,
	struct wire_message *message)
{
	CHECK_EQ(
		wire_receiver_feed(&receiver, samples[6].bytes + from, length, fds, n_fds, message),
		complete);
}

TEST(feed_whole_messages)
{
	for (size_t i = 0; i < COUNT(samples); i++) {
		struct wire_message message = nothing;

		CHECK_EQ(wire_receiver_wants(&receiver), 8);
		CHECK_EQ(wire_receiver_feed(&receiver, samples[i].bytes, 8, NULL, 0, &message), 1);
		CHECK_EQ(message.number, samples[i].number);
		CHECK_EQ(message.fd, -1);
	}
}

/* Feed one sample cut at the set bits of `cuts`: bit i is a cut behind byte i. */
static void
feed_cut(const uint8_t *bytes, int64_t number, unsigned cuts, int fd_at, int fd)
{
	struct wire_message message = nothing;
	size_t from = 0;

	for (size_t i = 0; i < 8; i++) {
		size_t length = i + 1 - from;
		bool with_fd = fd_at >= (int)from && fd_at <= (int)i;
		int r;

		if (i < 7 && !(cuts >> i & 1))
			continue;
		CHECK_EQ(wire_receiver_wants(&receiver), 8 - from);
		r = wire_receiver_feed(&receiver, bytes + from, length, &fd, with_fd, &message);
		CHECK_EQ(r, i == 7);
		from = i + 1;
	}
	CHECK_EQ(message.number, number);
	CHECK_EQ(message.fd, fd);
	CHECK_EQ(wire_receiver_wants(&receiver), 8);
}

TEST(feed_every_way_of_cutting)
{
	for (size_t i = 0; i < COUNT(samples); i++)
		for (unsigned cuts = 0; cuts < 128; cuts++)
			feed_cut(samples[i].bytes, samples[i].number, cuts, -1, -1);
}

TEST(feed_every_way_of_cutting_with_a_descriptor_on_every_byte)
{
	int fd = mark_new(3);

	for (unsigned cuts = 0; cuts < 128; cuts++)
		for (int at = 0; at < 8; at++)
			feed_cut(samples[6].bytes, samples[6].number, cuts, at, fd);
	mark_check(fd, 3);
}

TEST(feed_nothing)
{
	struct wire_message message = nothing;

	feed(0, 0, NULL, 0, false, &message);
	CHECK_EQ(wire_receiver_wants(&receiver), 8);
	feed(0, 5, NULL, 0, false, &message);
	feed(5, 0, NULL, 0, false, &message);
	CHECK_EQ(wire_receiver_wants(&receiver), 3);
	CHECK_EQ(message.number, nothing.number);
	CHECK_EQ(message.fd, nothing.fd);
}

TEST(feed_several_descriptors_keeps_the_first_and_closes_the_others)
{
	/* Two with the first byte and one more with a later one, or all at once. */
	for (unsigned second = 1; second <= 8; second++) {
		struct wire_message message;
		int fds[] = {mark_new(1), mark_new(2), mark_new(3)};
		unsigned open_fds = test_open_fds();

		feed(0, second, fds, second == 8 ? 3 : 2, second == 8, &message);
		if (second < 8)
			feed(second, 8 - second, fds + 2, 1, true, &message);
		CHECK_EQ(test_open_fds(), open_fds - 2);
		mark_check(message.fd, 1);
	}
}

TEST(done_closes_the_descriptor_of_an_incomplete_message)
{
	for (size_t length = 0; length < 8; length++) {
		struct wire_message message;
		int fd = mark_new(1);

		feed(0, length, &fd, 1, false, &message);
		/* The harness counts; and again is harmless. */
		wire_receiver_done(&receiver);
		wire_receiver_done(&receiver);
	}
}

/* ---- receiving ------------------------------------------------------------------------------ */

static void
raw_send(const void *bytes, size_t length, const int *fds, size_t n_fds)
{
	CHECK_EQ(fdpass_send(server, bytes, length, fds, n_fds), length);
}

static void
check_receive(int64_t number, uint64_t mark)
{
	struct wire_message message = nothing;

	CHECK_EQ(wire_receive(&receiver, client, &message), 1);
	CHECK_EQ(message.number, number);
	if (mark > 0) {
		CHECK(fcntl(message.fd, F_GETFD) & FD_CLOEXEC);
		mark_check(message.fd, mark);
	} else {
		CHECK_EQ(message.fd, -1);
	}
}

static void
check_receive_fails(int code)
{
	struct wire_message message = nothing;

	CHECK_EQ(wire_receive(&receiver, client, &message), code);
	CHECK_EQ(message.number, nothing.number);
	CHECK_EQ(message.fd, nothing.fd);
}

TEST(receive_never_blocks)
{
	/* On a blocking socket, whose mode it must not change. */
	check_receive_fails(-EAGAIN);
	raw_send(samples[6].bytes, 5, NULL, 0);
	check_receive_fails(-EAGAIN);
	check_receive_fails(-EAGAIN);
	raw_send(samples[6].bytes + 5, 3, NULL, 0);
	check_receive(samples[6].number, 0);
	check_receive_fails(-EAGAIN);
	CHECK(!(fcntl(client, F_GETFL) & O_NONBLOCK));
}

TEST(receive_a_whole_greeting_that_lies_in_the_socket)
{
	_test_close_ int memory = mark_new(100), one = mark_new(1), two = mark_new(2);
	static const int64_t numbers[] = {0, 3, -1, 0, 0, 3, 3};
	const int fds[] = {-1, -1, memory, one, two, one, two};

	for (size_t i = 0; i < COUNT(numbers); i++)
		raw_send(&numbers[i], 8, &fds[i], fds[i] >= 0);
	check_receive(0, 0);
	check_receive(3, 0);
	check_receive(-1, 100);
	check_receive(0, 1);
	check_receive(0, 2);
	check_receive(3, 1);
	check_receive(3, 2);
	check_receive_fails(-EAGAIN);
}

TEST(receive_messages_that_were_sent_together)
{
	uint8_t bytes[8 * COUNT(samples)];

	for (size_t i = 0; i < COUNT(samples); i++)
		memcpy(bytes + 8 * i, samples[i].bytes, 8);
	raw_send(bytes, sizeof(bytes), NULL, 0);
	for (size_t i = 0; i < COUNT(samples); i++)
		check_receive(samples[i].number, 0);
	check_receive_fails(-EAGAIN);
}

TEST(receive_every_split_point_with_a_descriptor_on_either_side)
{
	/* Both halves in the socket at once, or one after the other. */
	for (size_t split = 1; split < 8; split++) {
		for (int at_once = 0; at_once < 2; at_once++) {
			for (int side = 0; side < 2; side++) {
				_test_close_ int mark = mark_new(6);

				link_anew();
				raw_send(samples[6].bytes, split, &mark, side == 0);
				if (!at_once)
					check_receive_fails(-EAGAIN);
				raw_send(samples[6].bytes + split, 8 - split, &mark, side == 1);
				raw_send(samples[1].bytes, 8, NULL, 0);
				check_receive(samples[6].number, 6);
				check_receive(samples[1].number, 0);
			}
		}
	}
}

TEST(receive_end_of_connection_at_every_byte)
{
	for (size_t length = 0; length < 8; length++) {
		_test_close_ int mark = mark_new(2);

		link_anew();
		raw_send(samples[1].bytes, 8, NULL, 0);
		if (length > 0)
			raw_send(samples[6].bytes, length, &mark, 1);
		shutdown(server, SHUT_RDWR);
		check_receive(samples[1].number, 0);
		check_receive_fails(-ECONNRESET);
		check_receive_fails(-ECONNRESET);
	}
}

TEST(receive_reset_of_connection)
{
	/* What a server does that saw a byte of ours. */
	CHECK_EQ(write(client, "x", 1), 1);
	test_close(&server);
	check_receive_fails(-ECONNRESET);
}

TEST(receive_up_to_four_descriptors_keeps_the_first)
{
	static const size_t numbers[] = {1, 2, 3, 4, 5, 6, 17, 64, FDPASS_MAX};

	for (size_t i = 0; i < COUNT(numbers); i++) {
		_test_close_ int first = mark_new(1), other = mark_new(2);
		int fds[FDPASS_MAX] = {first};

		for (size_t j = 1; j < numbers[i]; j++)
			fds[j] = other;
		link_anew();
		raw_send(samples[6].bytes, 8, fds, numbers[i]);
		raw_send(samples[1].bytes, 8, NULL, 0);
		if (numbers[i] > 4) {
			check_receive_fails(-EPROTO);
			continue;
		}
		check_receive(samples[6].number, 1);
		check_receive(samples[1].number, 0);
	}
}

TEST(receive_at_the_limit_of_descriptors)
{
	/* Room for none, or for one of two: both are our lack, not the server's fault. */
	for (rlim_t room = 0; room < 2; room++) {
		_test_close_ int mark = mark_new(1);
		int marks[2] = {mark, mark};
		struct rlimit limit;

		link_anew();
		raw_send(samples[6].bytes, 8, marks, room + 1);
		CHECK_SYS(getrlimit(RLIMIT_NOFILE, &limit));
		limit.rlim_cur = (rlim_t)(client > mark ? client : mark) + 1 + room;
		CHECK_SYS(setrlimit(RLIMIT_NOFILE, &limit));
		check_receive_fails(-EMFILE);
		limit.rlim_cur = limit.rlim_max;
		CHECK_SYS(setrlimit(RLIMIT_NOFILE, &limit));
	}
}

TEST(receive_from_what_is_no_socket)
{
	struct wire_message message = nothing;
	_test_close_ int fd = mark_new(1);

	CHECK_EQ(wire_receive(&receiver, fd, &message), -ENOTSOCK);
	CHECK_EQ(wire_receive(&receiver, -1, &message), -EBADF);
}

/* ---- sending -------------------------------------------------------------------------------- */

TEST(send_looks_right_on_the_wire)
{
	for (size_t i = 0; i < COUNT(samples); i++) {
		struct wire_message message = {.number = samples[i].number, .fd = -1};
		uint8_t bytes[16];
		size_t n_fds;
		int fds[4];

		CHECK_EQ(wire_send(server, &message, 1), 1);
		CHECK_EQ(fdpass_recv(client, bytes, sizeof(bytes), fds, 4, &n_fds, NULL), 8);
		CHECK_EQ(n_fds, 0);
		CHECK_MEM(bytes, samples[i].bytes, 8);
	}
}

/* The messages 0 to n-1; those set in `with_fd` carry a descriptor marked with their number + 1. */
static void
make_messages(struct wire_message *messages, unsigned n, uint64_t with_fd)
{
	for (unsigned i = 0; i < n; i++) {
		messages[i].number = i;
		messages[i].fd = with_fd >> i & 1 ? mark_new(i + 1) : -1;
	}
}

static void
free_messages(struct wire_message *messages, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (messages[i].fd >= 0)
			close(messages[i].fd);
}

/* Each number comes with its own descriptor or none, with room for so many numbers. */
static void
check_patterns(size_t room)
{
	for (uint64_t with_fd = 0; with_fd < 256; with_fd++) {
		struct wire_message messages[8];
		unsigned i = 0;

		make_messages(messages, 8, with_fd);
		CHECK_EQ(wire_send(server, messages, 8), 8);
		/* Borrowed: still open, and ours. */
		free_messages(messages, 8);
		while (i < 8) {
			int64_t numbers[8];
			size_t n_fds;
			int fds[4];
			ssize_t length =
				fdpass_recv(client, numbers, 8 * room, fds, 4, &n_fds, NULL);

			CHECK(length > 0 && length % 8 == 0);
			/* The kernel glues what has none to the next that has one, not more. */
			i += (unsigned)length / 8;
			CHECK_EQ(numbers[length / 8 - 1], i - 1);
			CHECK_EQ(n_fds, with_fd >> (i - 1) & 1);
			if (n_fds > 0)
				mark_check(fds[0], i);
		}
	}
}

/* Read as QEMU does, 8 bytes at a time. */
TEST(send_every_pattern_of_descriptors)
{
	check_patterns(1);
}

/* Read with a large buffer: a message with a descriptor begins and ends its read. */
TEST(send_message_with_descriptor_alone)
{
	check_patterns(8);
}

TEST(send_as_many_as_it_takes)
{
	struct wire_message messages[WIRE_SEND_MAX];

	make_messages(messages, WIRE_SEND_MAX, UINT64_C(0xaaaaaaaaaaaaaaaa));
	CHECK_EQ(wire_send(server, messages, WIRE_SEND_MAX), WIRE_SEND_MAX);
	for (unsigned i = 0; i < WIRE_SEND_MAX; i++)
		check_receive(i, i % 2 ? i + 1 : 0);
	check_receive_fails(-EAGAIN);
	free_messages(messages, WIRE_SEND_MAX);
}

/* Send until the socket is full, with this pattern; nothing may be lost or doubled. */
static void
fill_and_empty(uint64_t with_fd)
{
	struct wire_message messages[WIRE_SEND_MAX];
	uint64_t sent = 0, received = 0;
	int rounds = 0, r;

	make_messages(messages, WIRE_SEND_MAX, with_fd);
	while (rounds < 20) {
		unsigned from = (unsigned)(sent % WIRE_SEND_MAX);

		r = wire_send(server, messages + from, WIRE_SEND_MAX - from);
		if (r > 0) {
			CHECK(r <= (int)(WIRE_SEND_MAX - from));
			sent += (unsigned)r;
			continue;
		}
		CHECK_EQ(r, -EAGAIN);
		/* Take some of it, so that the next round begins anywhere. */
		for (int i = 0; i < 1 + 37 * rounds % 150; i++) {
			unsigned n = (unsigned)(received++ % WIRE_SEND_MAX);

			check_receive(n, with_fd >> n & 1 ? n + 1 : 0);
		}
		rounds++;
	}
	while (received < sent) {
		unsigned n = (unsigned)(received++ % WIRE_SEND_MAX);

		check_receive(n, with_fd >> n & 1 ? n + 1 : 0);
	}
	check_receive_fails(-EAGAIN);
	free_messages(messages, WIRE_SEND_MAX);
}

TEST(send_into_a_full_socket_with_and_without_descriptors)
{
	fill_and_empty(0);
	fill_and_empty(UINT64_MAX);
	fill_and_empty(UINT64_C(0x00f0ff013371aa55));
}

TEST(send_to_nobody)
{
	struct wire_message message = {.number = 1, .fd = -1};

	/* The default action of SIGPIPE would end the test. */
	test_close(&client);
	CHECK_EQ(wire_send(server, &message, 1), -EPIPE);
}

TEST(send_stops_before_a_message_that_cannot_be_sent)
{
	struct wire_message messages[4] = {{1, -1}, {2, -1}, {3, 999}, {4, -1}};

	CHECK_EQ(wire_send(server, messages, 4), 2);
	CHECK_EQ(wire_send(server, messages + 2, 2), -EBADF);
	check_receive(1, 0);
	check_receive(2, 0);
	check_receive_fails(-EAGAIN);
}

TEST(send_beyond_the_limit_of_descriptors_in_flight)
{
	struct wire_message messages[WIRE_SEND_MAX];
	struct rlimit limit = {40, 40};
	int sent = 0, r;

	test_drop_root();
	for (unsigned i = 0; i < WIRE_SEND_MAX; i++)
		messages[i] = (struct wire_message){.number = i, .fd = server};
	CHECK_SYS(setrlimit(RLIMIT_NOFILE, &limit));
	/* The first call sends what fits, the next says why no more. */
	while ((r = wire_send(server, messages + sent, WIRE_SEND_MAX - (unsigned)sent)) > 0)
		sent += r;
	if (r == 0)
		SKIP("no limit on descriptors in flight for this user");
	CHECK_EQ(r, -ETOOMANYREFS);
	CHECK_EQ(sent, 41);
	for (int i = 0; i < sent; i++) {
		struct wire_message message;

		CHECK_EQ(wire_receive(&receiver, client, &message), 1);
		CHECK_EQ(message.number, i);
		close(message.fd);
	}
	CHECK(wire_send(server, messages + sent, WIRE_SEND_MAX - (unsigned)sent) > 0);
}

/* ---- there and back ------------------------------------------------------------------------- */

TEST(random_messages_in_random_pieces)
{
	const char *seed_text = getenv("TEST_SEED");
	unsigned seed = seed_text ? (unsigned)strtoul(seed_text, NULL, 0) : (unsigned)getpid();

	printf("TEST_SEED=%u\n", seed);
	for (int round = 0; round < 3000; round++) {
		int64_t number = (int64_t)((uint64_t)(unsigned)rand_r(&seed) << 40 ^
					   (uint64_t)(unsigned)rand_r(&seed));
		_test_close_ int mark = rand_r(&seed) % 2 ? mark_new((uint64_t)round + 1) : -1;
		size_t from = 0;
		bool first = true;

		while (from < 8) {
			size_t length = 1 + (size_t)rand_r(&seed) % (8 - from);

			raw_send((const char *)&number + from, length, &mark, first && mark >= 0);
			first = false;
			from += length;
			if (from < 8 && rand_r(&seed) % 2)
				check_receive_fails(-EAGAIN);
		}
		check_receive(number, mark >= 0 ? (uint64_t)round + 1 : 0);
	}
}
