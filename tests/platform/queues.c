/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * The queue of a socket keeps descriptors that nobody has open, and one can look at them without taking them
 * out: what src/socket/bag.h stands on.
 */

#include <fdpass.h>
#include <marks.h>
#include <test.h>

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define DEPTH 16

static int bag[2];

void
test_before(void)
{
	CHECK_SYS(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, bag));
}

void
test_after(void)
{
	test_close_pair(&bag);
}

static void
put_marked(char letter, uint64_t mark)
{
	_test_close_ int fd = mark_new(mark);

	CHECK_EQ(fdpass_send(bag[0], &letter, 1, &fd, 1), 1);
}

/* The next letter, and the descriptor that comes with it; -1 if none is opened. */
static char
look(int socket, int *ret_fd, int *ret_flags)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	char letter;
	struct iovec iov = {&letter, 1};
	struct msghdr message = {.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control)};

	*ret_fd = -1;
	CHECK_EQ(CHECK_SYS(recvmsg(socket, &message, MSG_PEEK | MSG_DONTWAIT | MSG_CMSG_CLOEXEC)),
		1);
	if (CMSG_FIRSTHDR(&message))
		memcpy(ret_fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(int));
	*ret_flags = message.msg_flags;
	return letter;
}

static void
look_from(int socket, int offset)
{
	CHECK_SYS(setsockopt(socket, SOL_SOCKET, SO_PEEK_OFF, &offset, sizeof(offset)));
}

static void
check_next(int socket, char letter, uint64_t mark)
{
	int fd, flags;

	CHECK_EQ(look(socket, &fd, &flags), letter);
	CHECK(!(flags & (MSG_CTRUNC | MSG_TRUNC)));
	mark_check(fd, mark);
}

static void
check_end(int socket)
{
	char byte;

	/* The other end is closed. */
	CHECK_EQ(recv(socket, &byte, 1, MSG_PEEK | MSG_DONTWAIT), 0);
}

TEST(descriptors_in_a_queue_outlive_their_sender)
{
	_test_close_pair_ int pair[2];
	struct pollfd other;
	size_t n_fds;
	char letter;
	pid_t pid;
	int fd;

	fdpass_pair(pair, 0);
	pid = test_fork();
	if (pid == 0) {
		CHECK_EQ(fdpass_send(bag[0], "a", 1, &pair[0], 1), 1);
		_exit(0);
	}
	test_join(pid);
	test_close(&pair[0]);
	test_close(&bag[0]);
	/* Nobody has that end open, and yet it is not closed. */
	other = (struct pollfd){.fd = pair[1], .events = POLLIN | POLLRDHUP};
	CHECK_EQ(poll(&other, 1, 0), 0);
	CHECK_EQ(fdpass_recv(bag[1], &letter, 1, &fd, 1, &n_fds, NULL), 1);
	CHECK_EQ(n_fds, 1);
	CHECK_EQ(write(fd, "x", 1), 1);
	CHECK_EQ(read(pair[1], &letter, 1), 1);
	close(fd);
	CHECK_EQ(poll(&other, 1, 0), 1);
}

TEST(looking_takes_nothing_out_and_goes_on_with_the_next_message)
{
	_test_close_ int copy = CHECK_SYS(dup(bag[1]));

	put_marked('a', 1);
	put_marked('b', 2);
	put_marked('c', 3);
	test_close(&bag[0]);
	for (int i = 0; i < 3; i++) {
		look_from(bag[1], 0);
		check_next(bag[1], 'a', 1);
		/* All who have the socket share the place. */
		check_next(copy, 'b', 2);
		check_next(bag[1], 'c', 3);
		check_end(copy);
	}
}

TEST(what_is_taken_out_is_gone_for_all)
{
	_test_close_ int copy = CHECK_SYS(dup(bag[1]));
	char letter;

	put_marked('a', 1);
	put_marked('b', 2);
	test_close(&bag[0]);
	CHECK_EQ(recv(bag[1], &letter, 1, 0), 1);
	CHECK_EQ(letter, 'a');
	look_from(copy, 0);
	check_next(copy, 'b', 2);
	check_end(bag[1]);
}

TEST(who_has_no_descriptor_free_leaves_the_message)
{
	struct rlimit limit, low;
	int flags, fd, last;

	put_marked('a', 1);
	last = mark_new(2);
	CHECK_SYS(getrlimit(RLIMIT_NOFILE, &limit));
	low = (struct rlimit){(rlim_t)last + 1, limit.rlim_max};
	/* It was opened last, so no number below is free. */
	look_from(bag[1], 0);
	CHECK_SYS(setrlimit(RLIMIT_NOFILE, &low));
	CHECK_EQ(look(bag[1], &fd, &flags), 'a');
	CHECK(flags & MSG_CTRUNC);
	CHECK_EQ(fd, -1);
	CHECK_SYS(setrlimit(RLIMIT_NOFILE, &limit));
	look_from(bag[1], 0);
	check_next(bag[1], 'a', 1);
	close(last);
}

/* What a client sends is in the queue of its socket; that is in a bag, and this in the queue of a supervisor. */
TEST(sockets_in_queues_of_sockets_are_kept_at_any_depth)
{
	int chain[DEPTH][2], fd;
	size_t n_fds;
	char letter;

	for (int i = 0; i < DEPTH; i++)
		fdpass_pair(chain[i], 0);
	for (int i = 1; i < DEPTH; i++) {
		CHECK_EQ(fdpass_send(chain[i][0], "a", 1, &chain[i - 1][1], 1), 1);
		test_close(&chain[i - 1][1]);
	}
	CHECK_EQ(fdpass_send(bag[0], "a", 1, &chain[DEPTH - 1][1], 1), 1);
	test_close(&chain[DEPTH - 1][1]);
	/* The kernel looks for sockets that nobody can reach when it closes others. */
	for (int i = 0; i < 100; i++) {
		int pair[2];

		fdpass_pair(pair, 0);
		test_close_pair(&pair);
	}
	CHECK_EQ(fdpass_recv(bag[1], &letter, 1, &fd, 1, &n_fds, NULL), 1);
	for (int i = DEPTH - 1; i > 0; i--) {
		int inner;

		CHECK_EQ(fdpass_recv(fd, &letter, 1, &inner, 1, &n_fds, NULL), 1);
		CHECK_EQ(n_fds, 1);
		close(fd);
		fd = inner;
	}
	CHECK_EQ(write(chain[0][0], "x", 1), 1);
	CHECK_EQ(read(fd, &letter, 1), 1);
	close(fd);
	for (int i = 0; i < DEPTH; i++)
		test_close(&chain[i][0]);
}

/* net.unix.max_dgram_qlen is 10 by default, and not for the two ends of a pair. */
TEST(a_pair_holds_as_many_messages_as_its_buffer)
{
	int n = 0;

	while (send(bag[0], "a", 1, MSG_DONTWAIT) == 1)
		n++;
	CHECK_EQ(errno, EAGAIN);
	CHECK(n >= 200);
}
