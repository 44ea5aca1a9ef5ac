/* SPDX-License-Identifier: BSD-2-Clause */

/* Replies through a real socket, whatever it holds, and the end of a connection. */

#include <channel_pair.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

/* ---- sending --------------------------------------------------------------------------------------- */

static void
make_reply(struct reply *reply, size_t length, const uint64_t *marks, unsigned n_marks)
{
	CHECK_EQ(reply_init(reply, NULL), 0);
	reply->length = length;
	for (size_t i = 0; i < length; i++)
		reply->body[i] = body_byte(9, i);
	for (unsigned i = 0; i < n_marks; i++)
		reply->fds[reply->n_fds++] = mark_new(marks[i]);
}

static struct vfio_user_header
reply_header(size_t length)
{
	return (struct vfio_user_header){.id = 9,
		.command = 5,
		.size = (uint32_t)(HEADER + length),
		.flags = VFIO_USER_TYPE_REPLY};
}

/* A socket that keeps messages apart shows that a reply is one. */
TEST(a_reply_is_sent_in_one_go)
{
	const size_t lengths[] = {0, 1, 16, 32, 4096, 60000};
	const uint64_t marks[] = {3, 4};
	uint8_t *bytes = malloc(MAX_SIZE);

	CHECK(bytes);
	for (unsigned i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		struct vfio_user_header header = reply_header(lengths[i]), got;
		unsigned n_marks = i % 3;
		struct reply reply;
		size_t n_fds = 0;
		int fds[4];

		CHECK_SYS(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair));
		CHECK_EQ(channel_init(&channel, pair[1], 0, NULL), 0);
		make_reply(&reply, lengths[i], marks, n_marks);
		CHECK_EQ(channel_send(&channel, &header, &reply), 0);
		CHECK_EQ(reply.n_fds, 0);
		CHECK_EQ(fdpass_recv(pair[0], bytes, MAX_SIZE, fds, 4, &n_fds, NULL),
			HEADER + lengths[i]);
		memcpy(&got, bytes, HEADER);
		CHECK_MEM(&got, &header, HEADER);
		for (size_t k = 0; k < lengths[i]; k++)
			CHECK_EQ(bytes[HEADER + k], body_byte(9, k));
		CHECK_EQ(n_fds, n_marks);
		for (unsigned k = 0; k < n_marks; k++)
			mark_check(fds[k], marks[k]);
		reply_done(&reply);
		close_channel();
	}
	free(bytes);
}

/*
 * A VMM that reads slowly, a socket that holds little, and signals, which cut the sending into pieces: all of
 * it arrives, its descriptors once.
 */
CHANNEL_TEST(a_large_reply_through_a_small_buffer, .timeout_s = 120)
{
	const size_t length = MESSAGE_MAX_BODY;
	struct vfio_user_header header = reply_header(length);
	const uint64_t marks[] = {3, 4, 5};
	struct reply reply;
	pid_t reader;

	CHECK_SYS(setsockopt(pair[1], SOL_SOCKET, SO_SNDBUF, &(int){1}, sizeof(int)));
	reader = test_fork();
	if (reader == 0) {
		uint8_t *bytes = malloc(HEADER + length);
		size_t got = 0, total_fds = 0, total_reads = 0;
		int fds[16];

		CHECK(bytes);
		close(pair[1]);
		channel_done(&channel);
		while (got < HEADER + length) {
			size_t n_fds = 0, want = HEADER + length - got;
			ssize_t n = fdpass_recv(pair[0], bytes + got, want < 3000 ? want : 3000,
				fds, 16, &n_fds, NULL);

			CHECK(n > 0);
			CHECK(n_fds == 0 || got == 0);
			for (unsigned i = 0; i < n_fds; i++)
				mark_check(fds[i], marks[total_fds++]);
			got += (size_t)n;
			/* Now and then the sender waits for so long that a signal finds it at it. */
			if (total_reads++ % 100 == 99)
				usleep(5000);
		}
		CHECK_EQ(total_fds, 3);
		CHECK_MEM(bytes, &header, HEADER);
		for (size_t i = 0; i < length; i++)
			CHECK_EQ(bytes[HEADER + i], body_byte(9, i));
		CHECK_EQ(recv(pair[0], bytes, 1, 0), 0);
		close(pair[0]);
		free(bytes);
		_exit(0);
	}
	make_reply(&reply, length, marks, 3);
	interrupt_every(1000);
	CHECK_EQ(channel_send(&channel, &header, &reply), 0);
	interrupt_every(0);
	CHECK_EQ(reply.n_fds, 0);
	reply_done(&reply);
	CHECK_SYS(shutdown(pair[1], SHUT_WR));
	test_join(reader);
}

CHANNEL_TEST(as_many_descriptors_as_the_kernel_takes, .timeout_s = 30)
{
	struct vfio_user_header header = reply_header(8);
	int fds[VFIO_USER_MAX_REPLY_FDS];
	struct reply reply;
	uint8_t bytes[64];
	size_t n_fds = 0;

	make_reply(&reply, 8, NULL, 0);
	for (unsigned i = 0; i < VFIO_USER_MAX_REPLY_FDS; i++)
		reply.fds[reply.n_fds++] = CHECK_SYS(fcntl(pair[0], F_DUPFD_CLOEXEC, 0));
	CHECK_EQ(channel_send(&channel, &header, &reply), 0);
	CHECK_EQ(fdpass_recv(pair[0], bytes, 64, fds, VFIO_USER_MAX_REPLY_FDS, &n_fds, NULL), 24);
	CHECK_EQ(n_fds, VFIO_USER_MAX_REPLY_FDS);
	for (unsigned i = 0; i < n_fds; i++)
		close(fds[i]);
	reply_done(&reply);
}

CHANNEL_TEST(sending_to_nobody, .timeout_s = 30)
{
	struct vfio_user_header header = reply_header(8);
	struct reply reply;

	close_end(0);
	make_reply(&reply, 8, &(uint64_t){1}, 1);
	CHECK_EQ(channel_send(&channel, &header, &reply), -EPIPE);
	CHECK_EQ(reply.n_fds, 0);
	reply_done(&reply);
}

/* ---- the end --------------------------------------------------------------------------------------- */

/* However much is unread, and with descriptors in it, the other side sees an end and no reset. */
TEST(shut_is_no_reset)
{
	uint8_t bytes[9000] = {0};
	struct vfio_user_header header = {.size = sizeof(bytes)};
	struct request request;
	char c;

	memcpy(bytes, &header, HEADER);
	for (unsigned read = 0; read < 3; read++) {
		open_channel();
		for (unsigned i = 0; i < 10; i++)
			CHECK_EQ(fdpass_send(pair[0], bytes, sizeof(bytes), &pair[0], i % 2),
				sizeof(bytes));
		/* Some of it has been read. */
		for (unsigned i = 0; i < read; i++)
			CHECK_EQ(channel_receive(&channel, &request), 1);
		channel_shut(pair[1]);
		channel_shut(pair[1]);
		close_end(1);
		CHECK_EQ(recv(pair[0], &c, 1, 0), 0);
		CHECK_EQ(send(pair[0], bytes, 1, MSG_NOSIGNAL), -1);
		CHECK_EQ(errno, EPIPE);
		close_channel();
	}
}
