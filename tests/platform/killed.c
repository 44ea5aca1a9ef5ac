/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * What a process that is killed (SIGKILL) within recvmmsg() and sendmmsg() has noted: the lengths in
 * the headers are those of what really came and went. src/wire/log.h and src/vfio_user/kept.h stand on
 * it.
 */

#include <marks.h>
#include <test.h>

#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROUNDS 300

/* What both processes see. One header for each call, which nobody resets. */
#define CALLS 65536
struct notes {
	unsigned calls; /* that have begun */
	struct mmsghdr headers[CALLS];
};

static struct notes *notes;
static int pair[2];

void
test_before(void)
{
	fdpass_pair(pair, 0);
	notes = mmap(NULL, sizeof(*notes), PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	CHECK(notes != MAP_FAILED);
}

void
test_after(void)
{
	munmap(notes, sizeof(*notes));
	test_close_pair(&pair);
}

/* Receive, or send, a byte or more in each call, until killed. */
static void
run(bool receives)
{
	char bytes[8] = {0};

	while (notes->calls < CALLS) {
		struct iovec iov = {bytes, sizeof(bytes)};
		struct mmsghdr *header = &notes->headers[notes->calls++];

		header->msg_hdr = (struct msghdr){.msg_iov = &iov, .msg_iovlen = 1};
		if (receives)
			recvmmsg(pair[1], header, 1, 0, NULL);
		else
			sendmmsg(pair[1], header, 1, MSG_NOSIGNAL);
	}
	pause();
}

static size_t
noted(void)
{
	size_t sum = 0;

	for (unsigned i = 0; i < notes->calls; i++) {
		sum += notes->headers[i].msg_len;
		notes->headers[i].msg_len = 0;
	}
	notes->calls = 0;
	return sum;
}

static size_t
drain(int socket)
{
	char bytes[4096];
	size_t sum = 0;
	ssize_t n;

	while ((n = recv(socket, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0)
		sum += (size_t)n;
	return sum;
}

static size_t
play(bool receives, unsigned round)
{
	char bytes[8] = {0};
	size_t moved = 0;
	pid_t pid = fork();

	if (pid == 0)
		run(receives);
	for (unsigned i = 0; i < round % 64; i++) {
		ssize_t n = receives ? send(pair[0], bytes, 8, MSG_DONTWAIT)
				     : recv(pair[0], bytes, 8, 0);

		if (n > 0)
			moved += (size_t)n;
	}
	kill(pid, SIGKILL);
	CHECK_EQ(waitpid(pid, NULL, 0), pid);
	return moved;
}

TEST(what_came_is_noted)
{
	for (unsigned i = 0; i < ROUNDS; i++) {
		size_t sent = play(true, i);

		CHECK_EQ(noted() + drain(pair[1]), sent);
	}
}

TEST(what_went_is_noted)
{
	for (unsigned i = 0; i < ROUNDS; i++) {
		size_t received = play(false, i);

		CHECK_EQ(received + drain(pair[0]), noted());
	}
}
