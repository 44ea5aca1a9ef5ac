/* SPDX-License-Identifier: BSD-2-Clause */

/* Servers that are slow, wrong, gone or hostile. What each message means is in unit-follower. */

#include <member_stage.h>

#include <base/fd.h>
#include <base/pace.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

void
test_before(void)
{
	stage_open();
}

void
test_after(void)
{
	stage_close();
}

/* ---- joining -------------------------------------------------------------------------------- */

/* Demand that it fails like this, and leaves nothing behind. */
static void
join_fails(const struct wire_message *messages, unsigned n, int code, const char *words)
{
	struct member_config config = stage_config(false);
	struct ivshmem_error error = {0};
	unsigned open_fds = test_open_fds();

	for (unsigned i = 0; i < n; i++)
		open_fds -= messages[i].fd >= 0;
	if (code == -ETIMEDOUT)
		config.timeout_ms = 50;
	CHECK_EQ(stage_join(&config, messages, n, &error), code);
	CHECK_EQ(error.code, code);
	CHECK_HAS(error.message, words);
	CHECK(!stage.member);
	CHECK_EQ(stage.n_lost, 0);
	test_close(&stage.server);
	CHECK_EQ(test_open_fds(), open_fds);
}

TEST(behaviour_42_to_46_greetings_that_are_wrong)
{
	const struct wire_message refused[] = {{-ENOSPC, -1}};
	const struct wire_message version_fd[] = {{0, mark_new(1)}};
	const struct wire_message strange[] = {{0, -1}, {1, -1}, {-2, mark_new(1)}};

	join_fails(refused, 1, -EPROTONOSUPPORT, "refused");
	join_fails(version_fd, 1, -EPROTO, "descriptor");
	join_fails(strange, 3, -EPROTO, "-2");
}

TEST(behaviour_47_and_48_server_that_closes_or_does_not_send_during_the_greeting)
{
	static const char *const awaited[] = {"version", "id", "memory", "memory"};

	for (unsigned i = 0; i < 8; i++) {
		const struct wire_message messages[] = {{0, -1}, {5, -1}, {7, mark_new(1)}};
		unsigned n = i / 2;

		fprintf(stderr, "%s after %u messages\n", i % 2 ? "closed" : "silent", n);
		stage.hang_up = i % 2;
		join_fails(messages, n, i % 2 ? -ECONNRESET : -ETIMEDOUT,
			i % 2 ? "closed" : awaited[n]);
		if (n < 3)
			close(messages[2].fd);
	}
}

TEST(behaviour_55_memory_that_cannot_be_used)
{
	struct wire_message messages[] = {{0, -1}, {5, -1}, {-1, -1}};

	messages[2].fd = stage_memory(0);
	join_fails(messages, 3, -EINVAL, "0 bytes");
}

TEST(no_server)
{
	struct member_config config = stage_config(false);
	struct member *member = NULL;
	struct ivshmem_error error = {0};

	CHECK_SYS(unlink(stage.path));
	CHECK_EQ(member_open(&member, stage.loop, &config, NULL, &error), -ENOENT);
	CHECK_HAS(error.message, stage.path);
	config.late = true;
	CHECK_EQ(member_open(&member, stage.loop, &config, NULL, &error), -ENOENT);
	config = (struct member_config){.timeout_ms = 1};
	CHECK_EQ(member_open(&member, stage.loop, &config, NULL, &error), -EINVAL);
	CHECK(!member);
}

TEST(first_error_names_what_is_refused_without_a_log)
{
	const struct wire_message messages[] = {{0, -1}, {5, -1}, {-1, stage_memory(STAGE_MEMORY)}};
	struct member_config config = stage_config(false);

	stage.log.write = NULL;
	config.lost = NULL;
	CHECK_EQ(stage_join(&config, messages, 3, NULL), 0);
	stage_say(7, -1);
	stage_say_and_dispatch(65536, -1);
	CHECK_EQ(stage.n_lost, 0);
}

/* ---- what is senseless ---------------------------------------------------------------------- */

TEST(behaviour_60_to_62_what_is_senseless_is_told_and_ignored)
{
	const struct {
		int64_t number;
		int fd;
		const char *words;
	} senseless[] = {
		{9, -1, "peer 9"},       /* was never there */
		{7, -1, "peer 7"},       /* left before */
		{5, -1, "that we left"}, /* ourselves */
		{-1, stage_memory(2 * STAGE_MEMORY), "second time"},
	};
	void *memory;
	int ours;

	stage_begin(1);
	memory = member_memory(stage.member);
	ours = stage_give_vector(5);
	stage_give_vector(7);
	stage_say_and_dispatch(7, -1);
	CHECK_EQ(stage.n_warnings, 0);
	for (unsigned i = 0; i < 4; i++) {
		unsigned open_fds = test_open_fds() - (senseless[i].fd >= 0);

		stage_say_and_dispatch(senseless[i].number, senseless[i].fd);
		CHECK_EQ(stage.n_warnings, i + 1);
		CHECK_HAS(stage.warning, senseless[i].words);
		CHECK_EQ(test_open_fds(), open_fds);
	}
	CHECK(member_memory(stage.member) == memory);
	CHECK_EQ(member_memory_size(stage.member), STAGE_MEMORY);
	stage_ring(ours);
	CHECK_EQ(stage.interrupts[0], 1);
	CHECK_EQ(stage.n_lost, 0);
}

TEST(log_is_not_flooded)
{
	stage_begin(1);
	for (int i = 0; i < 1000; i++)
		stage_say_and_dispatch(7, -1);
	/* A slow machine may begin a second while. */
	CHECK(stage.n_warnings >= PACE_LINES && stage.n_warnings <= 4 * PACE_LINES);
	CHECK_EQ(stage.n_lost, 0);
}

/* What is no eventfd cannot be rung or read, but has its number. */
TEST(vectors_that_are_no_eventfds)
{
	unsigned before;
	int theirs, ours;

	stage_begin(2);
	before = test_open_fds();
	stage_say_and_dispatch(7, stage_memory(4096));
	theirs = stage_give_vector(7);
	stage_say_and_dispatch(5, CHECK_SYS(open("/dev/zero", O_RDWR | O_CLOEXEC)));
	ours = stage_give_vector(5);
	CHECK_EQ(test_open_fds(), before + 4);
	CHECK_EQ(stage.n_warnings, 2);
	CHECK_HAS(stage.warning, "eventfd");
	CHECK_EQ(member_eventfd(stage.member, 7, 0), -1);
	CHECK_EQ(member_eventfd(stage.member, 5, 0), -1);
	member_ring(stage.member, 7, 0);
	member_watch(stage.member, 0, false);
	member_watch(stage.member, 0, true);
	CHECK(!member_take_ring(stage.member, 0));
	stage_doorbell(0x70001);
	CHECK_EQ(stage_count(theirs), 1);
	stage_ring(ours);
	CHECK_EQ(stage.interrupts[0], 0);
	CHECK_EQ(stage.interrupts[1], 1);
	CHECK_EQ(stage.n_lost, 0);
}

TEST(too_many_vectors_that_are_no_eventfds)
{
	unsigned n = 0;

	stage_begin(1);
	while (stage.n_lost == 0 && n < 10000)
		stage_say_and_dispatch(n++, stage_memory(4096));
	CHECK_EQ(n, IVSHMEM_MAX_VECTORS + 1);
	CHECK_EQ(stage.lost.code, -EPROTO);
	CHECK_HAS(stage.lost.message, "eventfds");
}

/* More than the protocol allows, while there is no device to say so. */
TEST_WITH(vectors_of_one_peer_without_end, .timeout_s = 120)
{
	_test_close_ int fd = mark_new(1);
	unsigned before;

	if (fd_raise_limit() < 2 * IVSHMEM_MAX_VECTORS + 100)
		SKIP("the limit of descriptors is too low");
	stage_join_simple();
	before = test_open_fds();
	for (unsigned i = 0; i < IVSHMEM_MAX_VECTORS + 50; i++) {
		stage_say_and_dispatch(7, CHECK_SYS(fcntl(fd, F_DUPFD_CLOEXEC, 0)));
		stage_say_and_dispatch(5, CHECK_SYS(fcntl(fd, F_DUPFD_CLOEXEC, 0)));
	}
	CHECK_EQ(test_open_fds(), before + 2 * IVSHMEM_MAX_VECTORS);
	CHECK(stage.n_warnings >= PACE_LINES && stage.n_warnings <= 4 * PACE_LINES);
	stage_attach(1, IVSHMEM_MAX_VECTORS);
	CHECK_EQ(ivshmem_device_peer_vectors(stage.device, 7), IVSHMEM_MAX_VECTORS);
	CHECK_EQ(stage.n_lost, 0);
	stage_drop_device();
	/* What nobody wants any more is closed. */
	stage_attach(1, 1);
	CHECK_EQ(test_open_fds(), before + 2);
}

/* ---- losing the server ---------------------------------------------------------------------- */

TEST(behaviour_66_all_that_there_is_works_on)
{
	int ours, theirs;

	stage_begin(1);
	stage_place_bars();
	ours = stage_give_vector(5);
	theirs = stage_give_vector(7);
	stage_end_server();
	CHECK_EQ(stage.n_lost, 1);
	CHECK_EQ(stage.lost.code, -ECONNRESET);
	stage_dispatch();
	CHECK_EQ(stage.n_lost, 1);
	CHECK_EQ(stage.n_mapped, 1);
	CHECK_EQ(stage.n_triggers, 2);
	stage_doorbell(0x70000);
	CHECK_EQ(stage_count(theirs), 1);
	stage_ring(ours);
	CHECK_EQ(stage.interrupts[0], 1);
	CHECK_EQ(stage_position(), 5);
	*(char *)member_memory(stage.member) = 'x';
	CHECK_EQ(ivshmem_device_read(stage.device, 2, 0, 1), 'x');
	/* A device that is made later has all of it, too. */
	stage_drop_device();
	stage_attach(1, 1);
	stage_doorbell(0x70000);
	CHECK_EQ(stage_count(theirs), 1);
}

TEST(everything_said_before_the_end_counts)
{
	stage_begin(1);
	stage_say(7, mark_new(1));
	stage_end_server();
	CHECK_EQ(stage.n_lost, 1);
	stage_doorbell(0x70000);
	CHECK_EQ(mark_of(member_eventfd(stage.member, 7, 0)), 2);
}

TEST(behaviour_67_what_breaks_the_protocol_ends_the_connection)
{
	unsigned before;

	stage_begin(1);
	before = test_open_fds();
	stage_say(65536, mark_new(1));
	stage_say_and_dispatch(7, mark_new(1));
	CHECK_EQ(stage.n_lost, 1);
	CHECK_EQ(stage.lost.code, -EPROTO);
	CHECK_EQ(ivshmem_device_peer_vectors(stage.device, 7), 0);
	CHECK_EQ(test_open_fds(), before - 1);
}

TEST(half_a_message_with_a_descriptor_and_the_end)
{
	unsigned before;
	int fd;

	stage_begin(1);
	before = test_open_fds();
	fd = mark_new(1);
	CHECK_EQ(fdpass_send(stage.server, "\7\0\0", 3, &fd, 1), 3);
	close(fd);
	stage_dispatch();
	CHECK_EQ(test_open_fds(), before + 1);
	stage_end_server();
	CHECK_EQ(stage.n_lost, 1);
	CHECK_EQ(test_open_fds(), before - 2);
}

TEST(closed_by_lost)
{
	stage_begin(1);
	stage_place_bars();
	stage_give_vector(7);
	stage.close_when_lost = true;
	stage_say(-2, -1);
	stage_say_and_dispatch(7, mark_new(1));
	CHECK_EQ(stage.n_lost, 1);
	CHECK(!stage.member && !stage.device);
}

TEST(no_descriptors_left)
{
	_test_close_ int fd = mark_new(1);
	struct rlimit before;
	int n = 0;

	stage_begin(2048);
	CHECK_SYS(getrlimit(RLIMIT_NOFILE, &before));
	/* Ours are open already: the message holds its own descriptors. */
	CHECK_SYS(
		setrlimit(RLIMIT_NOFILE, &(struct rlimit){test_open_fds() + 20, before.rlim_max}));
	while (stage.n_lost == 0 && n++ < 1000) {
		struct wire_message message = {7, fd};

		CHECK_EQ(wire_send(stage.server, &message, 1), 1);
		stage_dispatch();
	}
	CHECK_SYS(setrlimit(RLIMIT_NOFILE, &before));
	CHECK_EQ(stage.n_lost, 1);
	CHECK_EQ(stage.lost.code, -EMFILE);
	CHECK_HAS(stage.lost.message, "ulimit -n");
	CHECK_EQ(ivshmem_device_peer_vectors(stage.device, 7), n - 1);
	stage_doorbell(0x70000);
	CHECK_EQ(mark_of(fd), 2);
}

/* Whatever it says, in whatever order. */
TEST_WITH(random_messages, .timeout_s = 120)
{
	static const int64_t odd[] = {-1, -2, 65535, 65536, 0, 5};
	unsigned before = test_open_fds();

	srand(4711);
	for (int round = 0; round < 200; round++) {
		struct member_config config = stage_config(true);
		int n = rand() % 200, at = rand() % 200;

		stage.log.level = LOG_LEVEL_ERROR;
		CHECK_EQ(stage_join(&config, NULL, 0, NULL), 0);
		if (rand() % 2)
			stage_say(0, -1);
		for (int i = 0; i < n && stage.n_lost == 0; i++) {
			int64_t number = rand() % 20 ? rand() % 6 : odd[rand() % 6];
			int fd = -1;

			if (i == 3)
				number = -1;
			if (number == -1)
				fd = stage_memory(STAGE_MEMORY);
			else if (i > 0 && rand() % 3)
				fd = mark_new(1);
			if (i == at) {
				stage_attach(0, 1 + (unsigned)rand() % 4);
				stage_place_bars();
			}
			stage_say_and_dispatch(number, fd);
			if (stage.device)
				stage_doorbell((uint32_t)(rand() % 6) << 16 | (uint32_t)rand() % 4);
		}
		stage_close();
		stage_open();
		CHECK_EQ(test_open_fds(), before);
	}
}
