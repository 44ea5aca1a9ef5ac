/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * How Linux carries bytes and descriptors over a UNIX stream socket: W1 to W4 of the facts that
 * src/wire and src/server stand on (docs/testing.md).
 */

#include <fdpass.h>
#include <marks.h>
#include <test.h>

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

static int pair[2];

static void
pair_anew(int flags)
{
	test_close_pair(&pair);
	fdpass_pair(pair, flags);
}

void
test_before(void)
{
	fdpass_pair(pair, 0);
}

void
test_after(void)
{
	test_close_pair(&pair);
}

static void
send_number(int64_t number, int fd)
{
	CHECK_EQ(
		fdpass_send(pair[0], &number, sizeof(number), &fd, fd < 0 ? 0 : 1), sizeof(number));
}

/* The number, with a descriptor that has this mark (0: with none). */
static void
send_marked(int64_t number, uint64_t mark)
{
	_test_close_ int fd = mark > 0 ? mark_new(mark) : -1;

	send_number(number, fd);
}

/* With room for `room` bytes, `length` come, and with them one descriptor with this mark, or none. */
static void
check_recv(void *bytes, size_t room, size_t length, uint64_t mark)
{
	int fds[8];
	size_t n_fds;

	CHECK_EQ(fdpass_recv(pair[1], bytes, room, fds, 8, &n_fds, NULL), length);
	CHECK_EQ(n_fds, mark > 0);
	if (mark > 0)
		mark_check(fds[0], mark);
}

/* What comes is this number. */
static void
check_recv_number(size_t room, int64_t number, uint64_t mark)
{
	int64_t numbers[8];

	check_recv(numbers, room, sizeof(number), mark);
	CHECK_EQ(numbers[0], number);
}

TEST(large_read_glues_descriptor_to_the_wrong_number)
{
	int64_t numbers[8];

	send_marked(0, 0);
	send_marked(7, 0);
	send_marked(-1, 77);
	/* One read gives all three numbers; the descriptor that comes with the first byte is the
	 * third's. */
	check_recv(numbers, sizeof(numbers), 24, 77);
	CHECK_EQ(numbers[0], 0);
	CHECK_EQ(numbers[1], 7);
	CHECK_EQ(numbers[2], -1);
}

TEST(two_messages_with_descriptors_are_never_merged)
{
	for (unsigned i = 1; i <= 3; i++)
		send_marked(i, i);
	for (unsigned i = 1; i <= 3; i++)
		check_recv_number(64, i, i);
}

TEST(bytes_after_a_descriptor_are_not_merged_into_its_read)
{
	send_marked(1, 5);
	send_marked(2, 0);
	check_recv_number(64, 1, 5);
	check_recv_number(64, 2, 0);
}

TEST(descriptor_comes_with_the_first_byte)
{
	/* Whatever the size of the first short read. */
	for (size_t first = 1; first < 8; first++) {
		uint8_t bytes[8];

		send_marked(3, 9);
		check_recv(bytes, first, first, 9);
		check_recv(bytes, 8, 8 - first, 0);
	}
}

TEST(reads_up_to_the_end_of_a_message_keep_descriptors_right)
{
	/* Numbers, every third with a descriptor; read with every cut of the first message. */
	for (size_t cut = 0; cut < 8; cut++) {
		for (unsigned i = 0; i < 12; i++)
			send_marked(i, i % 3 == 2 ? i : 0);
		for (unsigned i = 0; i < 12; i++) {
			uint64_t mark = i % 3 == 2 ? i : 0;
			int64_t number;

			if (cut > 0)
				check_recv(&number, cut, cut, mark);
			check_recv((uint8_t *)&number + cut, 8 - cut, 8 - cut, cut > 0 ? 0 : mark);
			CHECK_EQ(number, i);
		}
	}
}

TEST(small_control_buffer_truncates_and_closes_the_rest)
{
	uint8_t byte = 1;
	int pipes[3][2], fds[8], flags;
	size_t n_fds;

	for (int i = 0; i < 3; i++)
		CHECK_SYS(pipe(pipes[i]));
	CHECK_EQ(fdpass_send(pair[0], &byte, 1, (int[]){pipes[0][1], pipes[1][1], pipes[2][1]}, 3),
		1);
	for (int i = 0; i < 3; i++)
		close(pipes[i][1]);
	CHECK_EQ(fdpass_recv(pair[1], &byte, 1, fds, 1, &n_fds, &flags), 1);
	CHECK(flags & MSG_CTRUNC);
	CHECK_EQ(n_fds, 1);
	/* The two that did not fit are closed: their pipes have no writer any more. */
	CHECK_EQ(CHECK_SYS(read(pipes[1][0], &byte, 1)), 0);
	CHECK_EQ(CHECK_SYS(read(pipes[2][0], &byte, 1)), 0);
	/* The one that did is ours, and the first of them. */
	CHECK_EQ(write(fds[0], "x", 1), 1);
	CHECK_EQ(CHECK_SYS(read(pipes[0][0], &byte, 1)), 1);
	CHECK_EQ(byte, 'x');
	close(fds[0]);
	for (int i = 0; i < 3; i++)
		close(pipes[i][0]);
}

TEST(no_control_buffer_closes_descriptors_and_says_so)
{
	uint8_t byte = 1;
	_test_close_pair_ int ends[2];
	int flags;
	size_t n_fds;

	CHECK_SYS(pipe(ends));
	CHECK_EQ(fdpass_send(pair[0], &byte, 1, &ends[1], 1), 1);
	test_close(&ends[1]);
	CHECK_EQ(fdpass_recv(pair[1], &byte, 1, NULL, 0, &n_fds, &flags), 1);
	CHECK(flags & MSG_CTRUNC);
	CHECK_EQ(CHECK_SYS(read(ends[0], &byte, 1)), 0);
}

TEST(descriptors_without_room_in_the_process_are_truncated)
{
	uint8_t byte = 1;
	_test_close_ int mark = mark_new(1);
	int fds[8], flags;
	struct rlimit limit;
	size_t n_fds;

	/* A receiver at its limit gets the byte, MSG_CTRUNC and no descriptor: not an error. */
	CHECK_EQ(fdpass_send(pair[0], &byte, 1, &mark, 1), 1);
	CHECK_SYS(getrlimit(RLIMIT_NOFILE, &limit));
	/* The mark was opened last, so no number below is free. */
	limit.rlim_cur = (rlim_t)mark + 1;
	CHECK_SYS(setrlimit(RLIMIT_NOFILE, &limit));
	CHECK_ERRNO(dup(mark), EMFILE);
	CHECK_EQ(fdpass_recv(pair[1], &byte, 1, fds, 8, &n_fds, &flags), 1);
	CHECK(flags & MSG_CTRUNC);
	CHECK_EQ(n_fds, 0);
	limit.rlim_cur = limit.rlim_max;
	CHECK_SYS(setrlimit(RLIMIT_NOFILE, &limit));
}

TEST(sendmmsg_keeps_messages_with_descriptors_apart)
{
	enum { N = 64 };
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control[N];
	struct mmsghdr messages[N] = {0};
	struct iovec iov[N];
	int64_t numbers[N];
	int marks[N];

	pair_anew(SOCK_NONBLOCK);
	for (int i = 0; i < N; i++) {
		struct cmsghdr *header;

		numbers[i] = i;
		marks[i] = mark_new((uint64_t)i + 1);
		iov[i] = (struct iovec){.iov_base = &numbers[i], .iov_len = 8};
		messages[i].msg_hdr.msg_iov = &iov[i];
		messages[i].msg_hdr.msg_iovlen = 1;
		messages[i].msg_hdr.msg_control = control[i].bytes;
		messages[i].msg_hdr.msg_controllen = sizeof(control[i].bytes);
		header = CMSG_FIRSTHDR(&messages[i].msg_hdr);
		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(header), &marks[i], sizeof(int));
	}
	CHECK_EQ(CHECK_SYS(sendmmsg(pair[0], messages, N, MSG_NOSIGNAL)), N);
	for (int i = 0; i < N; i++) {
		check_recv_number(64, i, (uint64_t)i + 1);
		close(marks[i]);
	}
}

TEST(sendmmsg_into_a_full_socket_tells_how_many_went_out)
{
	enum { N = 64 };
	struct mmsghdr messages[N] = {0};
	struct iovec iov[N];
	int64_t numbers[N];
	int total = 0, sent;
	int64_t number;

	pair_anew(SOCK_NONBLOCK);
	for (int i = 0; i < N; i++) {
		iov[i] = (struct iovec){.iov_base = &numbers[i], .iov_len = 8};
		messages[i].msg_hdr.msg_iov = &iov[i];
		messages[i].msg_hdr.msg_iovlen = 1;
	}
	do {
		for (int i = 0; i < N; i++)
			numbers[i] = total + i;
		sent = sendmmsg(pair[0], messages, N, MSG_NOSIGNAL);
		if (sent > 0)
			total += sent;
	} while (sent > 0);
	/* It ends with an error and nothing sent, not with a message cut in two. */
	CHECK_EQ(errno, EAGAIN);
	CHECK(total > N);
	for (int i = 0; i < total; i++) {
		CHECK_EQ(CHECK_SYS(read(pair[1], &number, sizeof(number))), 8);
		CHECK_EQ(number, i);
	}
	CHECK_ERRNO(read(pair[1], &number, sizeof(number)), EAGAIN);
}

TEST(several_numbers_in_one_sendmsg_are_read_8_bytes_at_a_time)
{
	int64_t numbers[64];

	for (int i = 0; i < 64; i++)
		numbers[i] = i - 1;
	CHECK_EQ(fdpass_send(pair[0], numbers, sizeof(numbers), NULL, 0), sizeof(numbers));
	for (int i = 0; i < 64; i++)
		check_recv_number(8, i - 1, 0);
}

TEST(several_descriptors_in_one_sendmsg_all_come_with_its_first_byte)
{
	int64_t numbers[3] = {1, 2, 3}, number;
	int marks[3], fds[8];
	size_t n_fds;

	/* Why messages with descriptors must not share a sendmsg(). */
	for (int i = 0; i < 3; i++)
		marks[i] = mark_new((uint64_t)i + 1);
	CHECK_EQ(fdpass_send(pair[0], numbers, sizeof(numbers), marks, 3), sizeof(numbers));
	for (int i = 0; i < 3; i++) {
		CHECK_EQ(fdpass_recv(pair[1], &number, 8, fds, 8, &n_fds, NULL), 8);
		CHECK_EQ(n_fds, i == 0 ? 3 : 0);
		for (size_t j = 0; j < n_fds; j++)
			mark_check(fds[j], j + 1);
		close(marks[i]);
	}
}

/*
 * With the default send buffer. What cannot be promised is a sendmsg() larger than half of
 * SO_SNDBUF: the kernel cuts it into several buffers and may run out of room between them.
 */
TEST(non_blocking_send_up_to_4096_bytes_is_all_or_nothing)
{
	static const size_t sizes[] = {8, 4096, 16, 4088, 512, 24, 1000, 4095, 1, 2048};
	static uint8_t bytes[65536];
	int refusals = 0;
	size_t inside = 0, next = 0;

	pair_anew(SOCK_NONBLOCK);
	while (refusals < 500) {
		size_t size = sizes[next++ % 10];
		ssize_t sent = fdpass_send(pair[0], bytes, size, NULL, 0);

		if (sent > 0) {
			CHECK_EQ(sent, size);
			inside += size;
			continue;
		}
		CHECK_ERRNO(sent, EAGAIN);
		/* Make room: an odd bit, that frees next to nothing or much. */
		refusals++;
		sent = CHECK_SYS(read(pair[1], bytes, (size_t)refusals * 97 % sizeof(bytes) + 1));
		inside -= (size_t)sent;
	}
	/* Nothing was lost and nothing doubled. */
	while (inside > 0)
		inside -= (size_t)CHECK_SYS(read(pair[1], bytes, sizeof(bytes)));
	CHECK_ERRNO(read(pair[1], bytes, 1), EAGAIN);
}

TEST(default_send_buffer_is_large_enough_for_that)
{
	int size;
	socklen_t length = sizeof(size);

	CHECK_SYS(getsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &size, &length));
	CHECK(size >= 2 * (4096 + 64));
}

TEST(unread_bytes_turn_a_close_into_a_reset)
{
	uint8_t byte = 1;

	/* A server that drops a client which sent a byte: the client sees ECONNRESET, not the end.
	 */
	CHECK_EQ(write(pair[0], &byte, 1), 1);
	test_close(&pair[1]);
	CHECK_ERRNO(read(pair[0], &byte, 1), ECONNRESET);
}

TEST(descriptor_in_flight_outlives_the_senders)
{
	int64_t number;

	/* An eventfd may be closed as soon as it was sent, and the sender may die. */
	send_marked(1, 3);
	test_close(&pair[0]);
	check_recv_number(8, 1, 3);
	check_recv(&number, 8, 0, 0);
}

TEST(hangup_and_unread_data_are_reported_together)
{
	uint8_t byte = 1;
	struct pollfd poll_fd;

	/* The last words of a server can still be read after it closed. */
	CHECK_EQ(write(pair[0], &byte, 1), 1);
	test_close(&pair[0]);
	poll_fd = (struct pollfd){.fd = pair[1], .events = POLLIN};
	CHECK_EQ(CHECK_SYS(poll(&poll_fd, 1, 0)), 1);
	CHECK(poll_fd.revents & POLLIN);
	CHECK(poll_fd.revents & POLLHUP);
	CHECK_EQ(CHECK_SYS(read(pair[1], &byte, 1)), 1);
	CHECK_EQ(CHECK_SYS(read(pair[1], &byte, 1)), 0);
}
