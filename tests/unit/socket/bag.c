/* SPDX-License-Identifier: BSD-2-Clause */
#include <socket/bag.h>

#include <ivshmem/common.h>

#include <fdpass.h>
#include <test.h>

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

/* More than one message takes, and no multiple of that. */
#define MANY 1000

static int fds[MANY];

/* Each has its own number in its counter. */
static void
open_many(unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		fds[i] = CHECK_SYS(eventfd(i + 1, EFD_CLOEXEC | EFD_NONBLOCK));
}

static void
close_all(int *array, size_t n)
{
	for (size_t i = 0; i < n; i++)
		CHECK_SYS(close(array[i]));
}

static int
pack(unsigned n)
{
	int bag = -1;

	CHECK_EQ(bag_new(&bag, fds, n), 0);
	CHECK_EQ(fcntl(bag, F_GETFD), FD_CLOEXEC);
	return bag;
}

static void
check_refused(int bag, int code, const char *words)
{
	unsigned open_fds = test_open_fds();
	struct ivshmem_error error = {0};
	int *got = NULL;
	size_t n = 0;

	CHECK_EQ(bag_read(bag, &got, &n, &error), code);
	CHECK(strstr(error.message, words));
	CHECK_EQ(bag_read(bag, &got, &n, NULL), code);
	CHECK(!got);
	CHECK_EQ(test_open_fds(), open_fds);
}

TEST(all_come_out_in_their_order_as_often_as_wanted)
{
	static const unsigned counts[] = {0, 1, 2, 252, 253, 254, 506, MANY};

	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		int bag;

		open_many(counts[i]);
		bag = pack(counts[i]);
		close_all(fds, counts[i]);
		for (unsigned turn = 0; turn < 3; turn++) {
			int *got = NULL;
			size_t n = 0;

			CHECK_EQ(bag_read(bag, &got, &n, NULL), 0);
			CHECK_EQ(n, counts[i]);
			for (unsigned j = 0; j < n; j++) {
				uint64_t count = j + 1;

				CHECK_EQ(fcntl(got[j], F_GETFD), FD_CLOEXEC);
				CHECK_EQ(read(got[j], &count, sizeof(count)), sizeof(count));
				CHECK_EQ(count, j + 1);
				CHECK_EQ(write(got[j], &count, sizeof(count)), sizeof(count));
			}
			close_all(got, n);
			free(got);
		}
		CHECK_SYS(close(bag));
	}
}

TEST(an_empty_bag_is_empty_for_all_who_have_it)
{
	int ends[2], bag, copy;
	struct pollfd other;

	CHECK_SYS(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends));
	fds[0] = ends[0];
	bag = pack(1);
	copy = CHECK_SYS(dup(bag));
	CHECK_SYS(close(ends[0]));
	other = (struct pollfd){.fd = ends[1], .events = POLLRDHUP};
	CHECK_EQ(poll(&other, 1, 0), 0);
	bag_empty(bag);
	/* Nobody had it open but the bag. */
	CHECK_EQ(poll(&other, 1, 0), 1);
	check_refused(copy, -ENODATA, "nothing is left");
	bag_empty(copy);
	CHECK_SYS(close(ends[1]));
	CHECK_SYS(close(bag));
	CHECK_SYS(close(copy));
}

/* Whoever empties it may be killed in the middle. */
TEST(a_bag_that_was_begun_is_taken)
{
	static const unsigned counts[] = {0, 1, 254, MANY};

	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		char bytes[64];
		int bag;

		open_many(counts[i]);
		bag = pack(counts[i]);
		close_all(fds, counts[i]);
		CHECK(!bag_is_taken(bag));
		while (recv(bag, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
			CHECK(bag_is_taken(bag));
		CHECK(bag_is_taken(bag));
		CHECK_SYS(close(bag));
	}
	CHECK(bag_is_taken(-1));
}

TEST(what_is_no_bag_is_refused)
{
	const uint64_t two[] = {htole64(2), 0}, more[] = {htole64(2), htole64(1)};
	int ends[2], eventfds[3];

	for (unsigned i = 0; i < 3; i++)
		eventfds[i] = CHECK_SYS(eventfd(0, EFD_CLOEXEC));
	check_refused(eventfds[0], -EINVAL, "nothing that a server keeps");

	CHECK_SYS(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends));
	check_refused(ends[1], -ENODATA, "nothing is left");
	CHECK_EQ(fdpass_send(ends[0], "abc", 3, eventfds, 1), 3);
	check_refused(ends[1], -EINVAL, "nothing that a server keeps");
	bag_empty(ends[1]);
	CHECK_EQ(fdpass_send(ends[0], "abcdefghijklmnopq", 17, eventfds, 1), 17);
	check_refused(ends[1], -EINVAL, "nothing that a server keeps");
	bag_empty(ends[1]);

	CHECK_EQ(fdpass_send(ends[0], two, 16, eventfds, 1), 16);
	check_refused(ends[1], -EINVAL, "1 of 2");
	CHECK_EQ(fdpass_send(ends[0], more, 16, eventfds, 2), 16);
	check_refused(ends[1], -EINVAL, "more descriptors");
	bag_empty(ends[1]);
	CHECK_EQ(fdpass_send(ends[0], two, 16, eventfds, 1), 16);
	CHECK_EQ(fdpass_send(ends[0], two, 16, eventfds, 1), 16);
	check_refused(ends[1], -EINVAL, "nothing that a server keeps");
	bag_empty(ends[1]);
	CHECK_EQ(fdpass_send(ends[0], two, 16, eventfds, 2), 16);
	CHECK_EQ(fdpass_send(ends[0], two, 16, NULL, 0), 16);
	check_refused(ends[1], -EINVAL, "more descriptors");
	test_close_pair(&ends);
	close_all(eventfds, 3);
}

TEST(a_reader_with_too_low_a_limit_leaves_all_of_it)
{
	struct rlimit limit;
	int *got = NULL;
	size_t n;
	int bag;

	open_many(MANY / 4);
	bag = pack(MANY / 4);
	close_all(fds, MANY / 4);
	CHECK_SYS(getrlimit(RLIMIT_NOFILE, &limit));
	CHECK_SYS(setrlimit(RLIMIT_NOFILE, &(struct rlimit){MANY / 8, limit.rlim_max}));
	check_refused(bag, -EMFILE, "limit of file descriptors is too low");
	CHECK_SYS(setrlimit(RLIMIT_NOFILE, &limit));
	CHECK_EQ(bag_read(bag, &got, &n, NULL), 0);
	CHECK_EQ(n, MANY / 4);
	close_all(got, n);
	free(got);
	CHECK_SYS(close(bag));
}

/* A client may have sent sockets, with sockets in their queues: no depth is too much (since Linux 4.14). */
TEST(a_socket_with_sockets_in_its_queue_goes_along)
{
	int chain[16][2], *got = NULL, bag;
	size_t n = 0;

	for (unsigned i = 0; i < 16; i++) {
		CHECK_SYS(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, chain[i]));
		if (i > 0)
			CHECK_EQ(fdpass_send(chain[i][0], "x", 1, &chain[i - 1][1], 1), 1);
	}
	open_many(300);
	CHECK_SYS(close(fds[270]));
	fds[270] = chain[15][1];
	bag = pack(300);
	close_all(fds, 300);
	CHECK_EQ(bag_read(bag, &got, &n, NULL), 0);
	CHECK_EQ(n, 300);
	CHECK_EQ(write(chain[15][0], "y", 1), 1);
	for (unsigned i = 0; i < 16; i++) {
		CHECK_SYS(close(chain[i][0]));
		if (i < 15)
			CHECK_SYS(close(chain[i][1]));
	}
	close_all(got, n);
	free(got);
	CHECK_SYS(close(bag));
}

TEST(there_is_room_for_many)
{
	size_t room = bag_room();
	int *many, bag = -1;

	CHECK(room >= 20000);
	many = calloc(room + 1, sizeof(*many));
	CHECK(many);
	fds[0] = CHECK_SYS(eventfd(0, EFD_CLOEXEC));
	for (size_t i = 0; i <= room; i++)
		many[i] = fds[0];
	CHECK_EQ(bag_new(&bag, many, room + 1), -ENOBUFS);
	CHECK_EQ(bag_new(&bag, many, room), 0);
	CHECK_SYS(close(bag));
	CHECK_SYS(close(fds[0]));
	free(many);
}
