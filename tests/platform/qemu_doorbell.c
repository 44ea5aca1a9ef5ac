/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * W8, which is not about the kernel but about QEMU, the client that our server is for: a doorbell
 * write to a vector of 256 or more rings that vector modulo 256, except through an ioeventfd. A QEMU that
 * never starts its processor is driven through its qtest interface, so neither a guest nor KVM is involved.
 */

#include <fdpass.h>
#include <test.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define QEMU    "qemu-system-x86_64"
#define VECTORS 300
#define BAR0    0xe0000000u
#define BAR1    0xe0100000u
#define BAR2    0xe0200000u

struct qemu {
	pid_t pid;
	FILE *to, *from;
	int connection;
};

static int peer_vectors[VECTORS], last_vector;

static uint64_t
take(int fd)
{
	struct pollfd pollfd = {.fd = fd, .events = POLLIN};
	uint64_t count = 0;

	/* QEMU takes O_NONBLOCK off a descriptor that it receives, for all who hold it, and puts it on again. */
	if (CHECK_SYS(poll(&pollfd, 1, 0)) == 1)
		CHECK_SYS(read(fd, &count, sizeof(count)));
	return count;
}

/* One command, one answer. */
static void
qtest(struct qemu *qemu, const char *command, unsigned address, unsigned value)
{
	char line[256];

	fprintf(qemu->to, "%s 0x%x 0x%x\n", command, address, value);
	fflush(qemu->to);
	CHECK(fgets(line, sizeof(line), qemu->from));
	if (strncmp(line, "OK", 2) != 0)
		FAIL("QEMU's answer \"%s\"", line);
}

static void
config_write(struct qemu *qemu, unsigned offset, unsigned value)
{
	/* Device 4, function 0, by configuration mechanism 1. */
	qtest(qemu, "outl", 0xcf8, 0x80000000u | 4u << 11 | offset);
	qtest(qemu, "outl", 0xcfc, value);
}

static void
ring(struct qemu *qemu, unsigned peer, unsigned vector)
{
	qtest(qemu, "writel", BAR0 + 12, peer << 16 | vector);
}

static void
send_number(struct qemu *qemu, int64_t number, int fd)
{
	CHECK_EQ(fdpass_send(qemu->connection, &number, sizeof(number), &fd, fd >= 0),
		sizeof(number));
}

/* The whole part of the server: QEMU is peer 0, the peers 1 and 2 are ours. */
static void
serve(struct qemu *qemu, int listener)
{
	struct pollfd poll_fd = {.fd = listener, .events = POLLIN};
	_test_close_ int memory = CHECK_SYS(memfd_create("test", MFD_CLOEXEC));

	CHECK_SYS(ftruncate(memory, 1 << 20));
	if (CHECK_SYS(poll(&poll_fd, 1, 20000)) == 0)
		FAIL("waiting for QEMU to connect");
	qemu->connection = CHECK_SYS(accept4(listener, NULL, NULL, SOCK_CLOEXEC));
	send_number(qemu, 0, -1);
	send_number(qemu, 0, -1);
	send_number(qemu, -1, memory);
	for (int i = 0; i < VECTORS; i++) {
		peer_vectors[i] = CHECK_SYS(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
		send_number(qemu, 1, peer_vectors[i]);
	}
	last_vector = CHECK_SYS(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
	send_number(qemu, 2, last_vector);
}

static void
qemu_start(struct qemu *qemu, const char *ioeventfd)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int listener = CHECK_SYS(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
	int to[2], from[2];
	char chardev[200], device[200];

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/socket", test_directory());
	snprintf(chardev, sizeof(chardev), "socket,id=server,path=%s", address.sun_path);
	snprintf(device, sizeof(device),
		"ivshmem-doorbell,chardev=server,vectors=%d,addr=4,ioeventfd=%s", VECTORS,
		ioeventfd);
	CHECK_SYS(bind(listener, (const struct sockaddr *)&address, sizeof(address)));
	CHECK_SYS(listen(listener, 1));
	CHECK_SYS(pipe2(to, O_CLOEXEC));
	CHECK_SYS(pipe2(from, O_CLOEXEC));
	qemu->pid = test_fork();
	if (qemu->pid == 0) {
		dup2(to[0], STDIN_FILENO);
		dup2(from[1], STDOUT_FILENO);
		execlp(QEMU, QEMU, "-machine", "pc,accel=tcg", "-S", "-nodefaults", "-display",
			"none", "-qtest", "stdio", "-chardev", chardev, "-device", device, NULL);
		_exit(errno == ENOENT ? 77 : 1);
	}
	close(to[0]);
	close(from[1]);
	qemu->to = fdopen(to[1], "we");
	qemu->from = fdopen(from[0], "re");
	CHECK(qemu->to && qemu->from);
	serve(qemu, listener);
	close(listener);

	config_write(qemu, 0x10, BAR0);
	config_write(qemu, 0x14, BAR1);
	config_write(qemu, 0x18, BAR2);
	config_write(qemu, 0x1c, 0);
	config_write(qemu, 0x04, 2); /* decode memory */
	/* When the last of them rings, QEMU has read about all. */
	do
		ring(qemu, 2, 0);
	while (take(last_vector) == 0);
}

static void
qemu_stop(struct qemu *qemu)
{
	fclose(qemu->to);
	fclose(qemu->from);
	close(qemu->connection);
	kill(qemu->pid, SIGKILL);
	CHECK_SYS(waitpid(qemu->pid, NULL, 0));
	for (int i = 0; i < VECTORS; i++)
		close(peer_vectors[i]);
	close(last_vector);
}

static void
skip_without_qemu(void)
{
	int status;
	pid_t pid = test_fork();

	if (pid == 0) {
		int null = open("/dev/null", O_WRONLY);

		dup2(null, STDOUT_FILENO);
		execlp(QEMU, QEMU, "-version", NULL);
		_exit(77);
	}
	CHECK_SYS(waitpid(pid, &status, 0));
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		SKIP("no " QEMU " here");
}

static void
check_vectors(const char *ioeventfd, bool cut)
{
	struct qemu qemu;

	skip_without_qemu();
	qemu_start(&qemu, ioeventfd);
	ring(&qemu, 1, 255);
	CHECK_EQ(take(peer_vectors[255]), 1);
	ring(&qemu, 1, 257);
	CHECK_EQ(take(peer_vectors[257]), !cut);
	CHECK_EQ(take(peer_vectors[1]), cut);
	qemu_stop(&qemu);
}

TEST_WITH(qemu_cuts_vectors_to_8_bits, .timeout_s = 60)
{
	check_vectors("off", true);
}

TEST_WITH(but_not_through_an_ioeventfd, .timeout_s = 60)
{
	check_vectors("on", false);
}
