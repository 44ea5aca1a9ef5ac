/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * The server as an object in this process: what it promises, takes and gives back. What its clients see is
 * tested in tests/protocol.
 */

#include <server/server.h>

#include <loop/loop.h>

#include <fdpass.h>
#include <test.h>

#include <ivshmem/abi.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define CLIENTS_MAX 250

static struct stage {
	struct loop *loop;
	struct server *server;
	struct sockaddr_un address;
	int listener, memory;
} stage;

void
test_before(void)
{
	stage = (struct stage){.address.sun_family = AF_UNIX};
	CHECK_EQ(loop_new(&stage.loop), 0);
	stage.memory = CHECK_SYS(memfd_create("test", MFD_CLOEXEC));
	stage.listener = CHECK_SYS(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
	snprintf(stage.address.sun_path, sizeof(stage.address.sun_path), "%s/socket",
		test_directory());
	CHECK_SYS(bind(
		stage.listener, (const struct sockaddr *)&stage.address, sizeof(stage.address)));
	CHECK_SYS(listen(stage.listener, SOMAXCONN));
}

static int
stage_serve(unsigned n_vectors)
{
	const struct server_config config = {
		.loop = stage.loop,
		.listen_fd = stage.listener,
		.memory_fd = stage.memory,
		.n_vectors = n_vectors,
	};

	return server_new(&stage.server, &config);
}

void
test_after(void)
{
	CHECK(server_free(stage.server) == NULL);
	/* Nothing of it is left in the loop. */
	CHECK_EQ(loop_dispatch(stage.loop, 0), 0);
	loop_free(stage.loop);
	close(stage.listener);
	close(stage.memory);
	CHECK_SYS(unlink(stage.address.sun_path));
}

static int
client_connect(void)
{
	int fd = CHECK_SYS(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));

	CHECK_SYS(connect(fd, (const struct sockaddr *)&stage.address, sizeof(stage.address)));
	return fd;
}

/* The first number that the server sends: 0, or why it refuses. */
static int64_t
client_version(int fd)
{
	int64_t version = -4711;
	size_t n_fds;
	int fds[2];

	CHECK_EQ(fdpass_recv(fd, &version, sizeof(version), fds, 2, &n_fds, NULL), sizeof(version));
	CHECK_EQ(n_fds, 0);
	return version;
}

/* Let the server work until the process of its clients has ended well. */
static void
serve_until_exit(pid_t pid)
{
	int status;

	while (CHECK_SYS(waitpid(pid, &status, WNOHANG)) == 0)
		CHECK(loop_dispatch(stage.loop, 20) >= 0);
	CHECK(WIFEXITED(status));
	CHECK_EQ(WEXITSTATUS(status), 0);
}

/* ---- capacity ------------------------------------------------------------------------------- */

TEST(capacity_table)
{
	CHECK_EQ(server_capacity(0, 0, 0), 0);
	CHECK_EQ(server_capacity(0, 10, 5), 0);
	CHECK_EQ(server_capacity(10, 10, 0), 0);
	CHECK_EQ(server_capacity(11, 10, 0), 1);
	CHECK_EQ(server_capacity(20, 10, 0), 10);
	/* Each peer costs its socket and its vectors; the last one has no other prepared after it. */
	CHECK_EQ(server_capacity(11, 10, 1), 0);
	CHECK_EQ(server_capacity(12, 10, 1), 1);
	CHECK_EQ(server_capacity(13, 10, 1), 1);
	CHECK_EQ(server_capacity(1024, 8, 1), 508);
	CHECK_EQ(server_capacity(1024, 8, 64), 15);
	CHECK_EQ(server_capacity(1000, 0, IVSHMEM_MAX_VECTORS), 0);
	CHECK_EQ(server_capacity(1 << 20, 8, 0), 65536);
	CHECK_EQ(server_capacity(1 << 20, 8, 16), 61680);
	CHECK_EQ(server_capacity(RLIM_INFINITY, 8, IVSHMEM_MAX_VECTORS), 65536);
}

/* Connect one client after the other until one is refused; they must be `capacity`. */
static _Noreturn void
use_up_capacity(unsigned capacity)
{
	unsigned n = 0;
	int64_t version;

	while ((version = client_version(client_connect())) == 0 && n < CLIENTS_MAX)
		n++;
	CHECK_EQ(version, -EMFILE);
	CHECK_EQ(n, capacity);
	_exit(0);
}

TEST_WITH(capacity_is_what_really_fits, .timeout_s = 120)
{
	static const unsigned n_vectors[] = {0, 1, 2, 7};

	for (size_t i = 0; i < 4; i++) {
		for (unsigned room = 60; room < 68; room++) {
			unsigned capacity, used;
			struct rlimit before, limit;
			pid_t pid;

			CHECK_EQ(stage_serve(n_vectors[i]), 0);
			/* As the program reckons: the prepared peer is not among the used ones. */
			used = test_open_fds() - n_vectors[i];
			CHECK_SYS(getrlimit(RLIMIT_NOFILE, &before));
			limit = (struct rlimit){used + room, before.rlim_max};
			capacity = server_capacity(limit.rlim_cur, used, n_vectors[i]);
			CHECK(capacity > 0);
			pid = test_fork();
			if (pid == 0)
				use_up_capacity(capacity);
			CHECK_SYS(setrlimit(RLIMIT_NOFILE, &limit));
			serve_until_exit(pid);
			CHECK_SYS(setrlimit(RLIMIT_NOFILE, &before));
			test_after();
			test_before();
		}
	}
}

/* ---- beginning and end ---------------------------------------------------------------------- */

TEST(new_without_descriptors_left)
{
	struct server *untouched = (struct server *)&errno;
	unsigned open_fds = test_open_fds();
	struct rlimit before;

	CHECK_SYS(getrlimit(RLIMIT_NOFILE, &before));
	stage.server = untouched;
	for (unsigned room = 0; room < 5; room++) {
		CHECK_SYS(setrlimit(
			RLIMIT_NOFILE, &(struct rlimit){open_fds + room, before.rlim_max}));
		CHECK_EQ(stage_serve(5), -EMFILE);
		CHECK(stage.server == untouched);
		CHECK_SYS(setrlimit(RLIMIT_NOFILE, &before));
		CHECK_EQ(test_open_fds(), open_fds);
	}
	CHECK_EQ(stage_serve(5), 0);
	CHECK_EQ(server_n_peers(stage.server), 0);
}

TEST(free_with_clients_in_every_state)
{
	int clients[40];

	CHECK_EQ(stage_serve(2), 0);
	for (int i = 0; i < 40; i++) {
		clients[i] = client_connect();
		/* Some have read all that there is, some nothing, some left, some sent a byte. */
		if (i % 4 == 0)
			CHECK_EQ(write(clients[i], "x", 1), 1);
		if (i % 4 == 1)
			clients[i] = -close(clients[i]) - 1;
		if (i % 3 == 0)
			CHECK(loop_dispatch(stage.loop, 0) >= 0);
		if (i % 4 == 2)
			for (int n = 0; n < i; n++) {
				int64_t number;

				if (recv(clients[i], &number, sizeof(number), MSG_DONTWAIT) < 0)
					break;
			}
	}
	CHECK(server_n_peers(stage.server) <= 40);
	for (int i = 0; i < 40; i++)
		if (clients[i] >= 0)
			close(clients[i]);
}

TEST(number_of_peers_follows_them)
{
	int clients[20];

	CHECK_EQ(stage_serve(1), 0);
	for (int i = 0; i < 20; i++)
		clients[i] = client_connect();
	while (server_n_peers(stage.server) < 20)
		CHECK(loop_dispatch(stage.loop, 20) >= 0);
	for (int i = 0; i < 20; i++)
		close(clients[i]);
	while (server_n_peers(stage.server) > 0)
		CHECK(loop_dispatch(stage.loop, 20) >= 0);
}
