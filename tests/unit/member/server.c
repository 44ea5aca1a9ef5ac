/* SPDX-License-Identifier: BSD-2-Clause */

/* Members and the real server. */

#include <member_stage.h>

#include <loop/loop.h>
#include <server/server.h>

#include <base/clock.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#define VECTORS 3

/* A server of this group in a process of its own. */
static pid_t
serve(void)
{
	struct server_config config = {.n_vectors = VECTORS};
	struct server *server;
	pid_t pid = test_fork();

	if (pid > 0)
		return pid;
	CHECK_EQ(loop_new(&config.loop), 0);
	CHECK_SYS(fcntl(stage.listener, F_SETFL, O_NONBLOCK));
	config.listen_fd = stage.listener;
	config.memory_fd = stage_memory(STAGE_MEMORY);
	CHECK_EQ(server_new(&server, &config), 0);
	loop_run(config.loop);
	_exit(1);
}

static void
stop(pid_t pid)
{
	CHECK_SYS(kill(pid, SIGKILL));
	CHECK_EQ(waitpid(pid, NULL, 0), pid);
}

/* Dispatch until this is true, which it will be. */
#define UNTIL(condition)                                                                           \
	do {                                                                                       \
		uint64_t until_deadline_ = clock_now() + 20 * NSEC_PER_SEC;                        \
		while (!(condition)) {                                                             \
			CHECK(loop_dispatch(stage.loop, 100) >= 0);                                \
			CHECK(clock_now() < until_deadline_);                                      \
		}                                                                                  \
	} while (0)

static struct member *
join(bool late)
{
	const struct member_config config = stage_config(late);
	struct member *member = NULL;
	struct ivshmem_error error;

	if (member_open(&member, stage.loop, &config, &stage.log, &error) < 0)
		FAIL("%s", error.message);
	return member;
}

static void
check_with_a_neighbour(bool late)
{
	struct member *neighbour;
	uint16_t own, other;
	pid_t server;

	stage_open();
	server = serve();
	neighbour = join(false);
	stage.member = join(late);
	UNTIL(member_id(stage.member) >= 0);
	own = (uint16_t)member_id(stage.member);
	other = (uint16_t)member_id(neighbour);
	CHECK(own != other);
	stage_attach(late ? 0 : 1, VECTORS);
	UNTIL(ivshmem_device_peer_vectors(stage.device, own) == VECTORS);
	UNTIL(ivshmem_device_peer_vectors(stage.device, other) == VECTORS);
	UNTIL(member_eventfd(neighbour, own, VECTORS - 1) >= 0);
	CHECK_EQ(stage_position(), own);

	/* One memory, and rings in both directions. */
	((char *)member_memory(stage.member))[STAGE_MEMORY - 1] = 'x';
	CHECK_EQ(((const char *)member_memory(neighbour))[STAGE_MEMORY - 1], 'x');
	for (unsigned vector = 0; vector < VECTORS; vector++) {
		CHECK(!member_take_ring(neighbour, vector));
		stage_doorbell(ivshmem_doorbell_value(other, (uint16_t)vector));
		CHECK(member_take_ring(neighbour, vector));
		member_ring(neighbour, own, vector);
		UNTIL(stage.interrupts[vector] == 1);
	}

	/* It leaves, and another one comes. */
	member_close(neighbour);
	UNTIL(ivshmem_device_peer_vectors(stage.device, other) == 0);
	neighbour = join(false);
	other = (uint16_t)member_id(neighbour);
	UNTIL(ivshmem_device_peer_vectors(stage.device, other) == VECTORS);
	UNTIL(member_eventfd(neighbour, other, VECTORS - 1) >= 0);
	stage_doorbell(ivshmem_doorbell_value(other, 0));
	CHECK(member_take_ring(neighbour, 0));
	CHECK_EQ(stage.n_warnings, 0);

	/* The server dies, the group does not. */
	stop(server);
	UNTIL(stage.n_lost == 2);
	stage_doorbell(ivshmem_doorbell_value(other, 1));
	CHECK(member_take_ring(neighbour, 1));
	member_close(neighbour);
	stage_close();
}

TEST(group_of_two)
{
	check_with_a_neighbour(false);
}

TEST(group_of_two_with_a_device_of_2010)
{
	check_with_a_neighbour(true);
}
