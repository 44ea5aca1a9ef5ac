/* SPDX-License-Identifier: BSD-2-Clause */

/* A device's membership while all goes well: joining, vectors, rings, peers that come and go. */

#include <member_stage.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define FULL (UINT64_MAX - 1)

/* ---- joining -------------------------------------------------------------------------------- */

TEST(joined_with_id_and_memory)
{
	int copy;
	char byte;

	stage_open();
	CHECK_EQ(stage.member == NULL, true);
	stage_join_simple();
	CHECK(member_has_server(stage.member));
	CHECK_EQ(member_id(stage.member), 5);
	CHECK_EQ(member_memory_size(stage.member), STAGE_MEMORY);
	CHECK(fcntl(member_memory_fd(stage.member), F_GETFD) & FD_CLOEXEC);
	*(char *)member_memory(stage.member) = 'x';
	copy = member_memory_fd(stage.member);
	CHECK_EQ(pread(copy, &byte, 1, 0), 1);
	CHECK_EQ(byte, 'x');
	CHECK_EQ(member_peers(stage.member, NULL, 0), 0);
	CHECK_EQ(member_eventfd(stage.member, 5, 0), -1);

	stage_attach(1, 2);
	CHECK_EQ(stage_position(), 5);
	CHECK_EQ(ivshmem_device_read(stage.device, 2, 0, 1), 'x');
	CHECK_EQ(stage.n_warnings, 0);
	stage_close();
}

/* The peers there are come before the memory, or after, and either before there is a device. */
TEST(vectors_from_before_the_device_are_kept_in_their_order)
{
	struct member_config config;
	int fds[6];
	struct wire_message messages[16] = {{0, -1}, {5, -1}};
	unsigned n = 2;
	uint16_t ids[4];

	stage_open();
	config = stage_config(false);
	for (uint64_t i = 0; i < 6; i++)
		fds[i] = mark_new(10 + i);
	messages[n++] = (struct wire_message){9, fcntl(fds[0], F_DUPFD_CLOEXEC, 0)};
	messages[n++] = (struct wire_message){5, fcntl(fds[1], F_DUPFD_CLOEXEC, 0)};
	messages[n++] = (struct wire_message){9, fcntl(fds[2], F_DUPFD_CLOEXEC, 0)};
	messages[n++] = (struct wire_message){-1, stage_memory(STAGE_MEMORY)};
	messages[n++] = (struct wire_message){5, fcntl(fds[3], F_DUPFD_CLOEXEC, 0)};
	messages[n++] = (struct wire_message){0, fcntl(fds[4], F_DUPFD_CLOEXEC, 0)};
	messages[n++] = (struct wire_message){9, fcntl(fds[5], F_DUPFD_CLOEXEC, 0)};
	CHECK_EQ(stage_join(&config, messages, n, NULL), 0);
	stage_dispatch();
	/* Nobody reads ours as long as there is nobody to be told. */
	CHECK_EQ(mark_of(fds[1]), 11);

	stage_attach(1, 3);
	CHECK_EQ(ivshmem_device_peer_vectors(stage.device, 9), 3);
	CHECK_EQ(ivshmem_device_peer_vectors(stage.device, 5), 2);
	CHECK_EQ(ivshmem_device_peer_vectors(stage.device, 0), 1);
	CHECK_EQ(mark_of(member_eventfd(stage.member, 9, 0)), 10);
	CHECK_EQ(mark_of(member_eventfd(stage.member, 9, 1)), 12);
	CHECK_EQ(mark_of(member_eventfd(stage.member, 9, 2)), 15);
	CHECK_EQ(mark_of(member_eventfd(stage.member, 5, 0)), 11);
	CHECK_EQ(mark_of(member_eventfd(stage.member, 0, 0)), 14);
	CHECK_EQ(member_eventfd(stage.member, 9, 3), -1);
	CHECK_EQ(member_eventfd(stage.member, 8, 0), -1);
	CHECK_EQ(member_peers(stage.member, ids, 4), 3);
	CHECK_EQ(ids[0], 0);
	CHECK_EQ(ids[1], 5);
	CHECK_EQ(ids[2], 9);
	/* They were rung all the while. */
	stage_dispatch();
	CHECK_EQ(stage.interrupts[0], 1);
	CHECK_EQ(stage.interrupts[1], 1);
	stage_close();
	for (int i = 0; i < 6; i++)
		close(fds[i]);
}

TEST(device_that_wants_another_size_is_refused_and_another_may_try)
{
	struct ivshmem_error error = {0};
	int theirs;

	stage_open();
	stage_join_simple();
	stage_make_device(1, 1, STAGE_MEMORY * 2);
	CHECK_EQ(member_attach(stage.member, stage.device, &error), -EINVAL);
	CHECK_EQ(error.code, -EINVAL);
	stage_check_words(error.message, "too small");
	/* It is not attached. */
	theirs = stage_give_vector(7);
	CHECK_EQ(ivshmem_device_peer_vectors(stage.device, 7), 0);
	stage_drop_device();
	CHECK_EQ(member_memory_size(stage.member), STAGE_MEMORY);
	stage_attach(1, 1);
	CHECK_EQ(stage_position(), 5);
	CHECK_EQ(ivshmem_device_peer_vectors(stage.device, 7), 1);
	close(theirs);
	stage_close();
}

/* ---- rings ---------------------------------------------------------------------------------- */

TEST(behaviour_25_and_26_doorbell_adds_one_each)
{
	int other, theirs[2], ours;

	stage_open();
	stage_join_simple();
	stage_attach(1, 2);
	theirs[0] = stage_give_vector(7);
	theirs[1] = stage_give_vector(7);
	other = stage_give_vector(8);
	ours = stage_give_vector(5);
	for (int i = 0; i < 5; i++)
		stage_doorbell(0x70001);
	CHECK_EQ(stage_count(theirs[1]), 5);
	CHECK_EQ(stage_count(theirs[0]), 0);
	CHECK_EQ(stage_count(other), 0);
	CHECK_EQ(stage_count(ours), 0);
	close(theirs[0]);
	close(theirs[1]);
	close(other);
	close(ours);
	stage_close();
}

TEST(ring_of_nobody_does_nothing)
{
	int theirs;

	stage_open();
	stage_join_simple();
	stage_attach(1, 2);
	theirs = stage_give_vector(7);
	member_ring(stage.member, 7, 1);
	member_ring(stage.member, 7, UINT32_MAX);
	member_ring(stage.member, 6, 0);
	member_ring(stage.member, 65535, 0);
	CHECK_EQ(stage_count(theirs), 0);
	CHECK(!member_take_ring(stage.member, 0));
	CHECK(!member_take_ring(stage.member, UINT32_MAX));
	member_watch(stage.member, 0, false);
	member_watch(stage.member, UINT32_MAX, true);
	close(theirs);
	stage_close();
}

TEST(behaviour_28_own_id_can_be_rung)
{
	int ours;

	stage_open();
	stage_join_simple();
	stage_attach(1, 1);
	ours = stage_give_vector(5);
	stage_doorbell(0x50000);
	CHECK_EQ(stage.interrupts[0], 0);
	stage_dispatch();
	CHECK_EQ(stage.interrupts[0], 1);
	close(ours);
	stage_close();
}

TEST(behaviour_31_full_eventfd_in_blocking_mode)
{
	int theirs;

	stage_open();
	stage_join_simple();
	stage_attach(1, 1);
	theirs = stage_give_vector(7);
	/* The mode belongs to everybody who holds it. */
	CHECK_SYS(fcntl(theirs, F_SETFL, 0));
	CHECK_SYS(eventfd_write(theirs, FULL));
	stage_doorbell(0x70000);
	CHECK_EQ(fcntl(theirs, F_GETFL) & O_NONBLOCK, 0);
	CHECK(stage_count(theirs) >= FULL);
	close(theirs);
	stage_close();
}

TEST(own_vectors_interrupt_by_number)
{
	int ours[3];

	stage_open();
	stage_join_simple();
	stage_attach(1, 3);
	for (int i = 0; i < 3; i++)
		ours[i] = stage_give_vector(5);
	CHECK_SYS(eventfd_write(ours[2], 1));
	stage_dispatch();
	CHECK_EQ(stage.interrupts[2], 1);
	/* Rings that nobody saw yet are one. */
	CHECK_SYS(eventfd_write(ours[0], 1));
	CHECK_SYS(eventfd_write(ours[0], 300));
	stage_dispatch();
	CHECK_EQ(stage.interrupts[0], 1);
	CHECK_EQ(stage.interrupts[1], 0);
	CHECK_EQ(stage_count(ours[0]), 0);
	/* A blocking one that somebody else has emptied since it was seen. */
	CHECK_SYS(fcntl(ours[1], F_SETFL, 0));
	CHECK_SYS(eventfd_write(ours[1], 1));
	stage_dispatch();
	CHECK_EQ(stage.interrupts[1], 1);
	for (int i = 0; i < 3; i++)
		close(ours[i]);
	stage_close();
}

TEST(own_vector_that_an_irqfd_watches)
{
	int ours;

	stage_open();
	stage_join_simple();
	stage_attach(1, 1);
	ours = stage_give_vector(5);
	member_watch(stage.member, 0, false);
	member_watch(stage.member, 0, false);
	CHECK_SYS(eventfd_write(ours, 1));
	stage_dispatch();
	CHECK_EQ(stage.interrupts[0], 0);
	CHECK_EQ(stage_count(ours), 1);
	/* What came when nobody watched is not lost. */
	CHECK_SYS(eventfd_write(ours, 1));
	member_watch(stage.member, 0, true);
	member_watch(stage.member, 0, true);
	stage_dispatch();
	CHECK_EQ(stage.interrupts[0], 1);
	close(ours);
	stage_close();
}

TEST(take_ring_empties_and_tells)
{
	int ours;

	stage_open();
	stage_join_simple();
	stage_attach(1, 1);
	ours = stage_give_vector(5);
	CHECK(!member_take_ring(stage.member, 0));
	CHECK_SYS(eventfd_write(ours, 3));
	CHECK(member_take_ring(stage.member, 0));
	CHECK(!member_take_ring(stage.member, 0));
	stage_dispatch();
	CHECK_EQ(stage.interrupts[0], 0);
	/* As reset does. */
	CHECK_SYS(eventfd_write(ours, 3));
	ivshmem_device_reset(stage.device);
	stage_dispatch();
	CHECK_EQ(stage.interrupts[0], 0);
	close(ours);
	stage_close();
}

/* ---- peers ---------------------------------------------------------------------------------- */

/* The others see that one of two holders of an eventfd closed it by nothing; so count ours. */
TEST(behaviour_57_and_58_peers_come_and_go)
{
	unsigned before;
	int theirs[3];

	stage_open();
	stage_join_simple();
	stage_attach(1, 2);
	stage_place_bars();
	before = test_open_fds();
	for (int i = 0; i < 3; i++)
		theirs[i] = stage_give_vector(7);
	CHECK_EQ(stage.n_triggers, 2);
	CHECK_EQ(test_open_fds(), before + 3 + 2);
	stage_doorbell(0x70000);
	CHECK_EQ(stage_count(theirs[0]), 1);

	stage_say_and_dispatch(7, -1);
	CHECK_EQ(stage.n_triggers, 0);
	CHECK_EQ(test_open_fds(), before + 3);
	CHECK_EQ(ivshmem_device_peer_vectors(stage.device, 7), 0);
	CHECK_EQ(member_peers(stage.member, NULL, 0), 0);
	stage_doorbell(0x70000);
	CHECK_EQ(stage_count(theirs[0]), 0);
	CHECK_EQ(stage.n_warnings, 0);
	for (int i = 0; i < 3; i++)
		close(theirs[i]);
	stage_close();
}

TEST(behaviour_59_id_that_comes_again)
{
	stage_open();
	stage_join_simple();
	stage_attach(1, 2);
	stage_place_bars();
	for (int i = 0; i < 10; i++) {
		int theirs = stage_give_vector(7);

		stage_doorbell(0x70000);
		CHECK_EQ(stage_count(theirs), 1);
		CHECK_EQ(stage.n_triggers, 1);
		stage_say_and_dispatch(7, -1);
		close(theirs);
	}
	stage_close();
}

TEST(behaviour_63_and_64_more_eventfds_than_vectors)
{
	unsigned before;
	int theirs[3], ours[3];

	stage_open();
	stage_join_simple();
	stage_attach(1, 1);
	before = test_open_fds();
	for (int i = 0; i < 3; i++) {
		theirs[i] = stage_give_vector(7);
		ours[i] = stage_give_vector(5);
	}
	/* One each is kept. */
	CHECK_EQ(test_open_fds(), before + 6 + 2);
	CHECK_EQ(ivshmem_device_peer_vectors(stage.device, 7), 1);
	CHECK_EQ(member_eventfd(stage.member, 7, 1), -1);
	CHECK_EQ(member_eventfd(stage.member, 5, 1), -1);
	for (int i = 0; i < 3; i++) {
		CHECK(fcntl(theirs[i], F_GETFL) & O_NONBLOCK);
		CHECK(fcntl(ours[i], F_GETFL) & O_NONBLOCK);
		CHECK_SYS(eventfd_write(ours[i], 1));
	}
	stage_dispatch();
	CHECK_EQ(stage.interrupts[0], 1);
	stage_doorbell(0x70000);
	CHECK_EQ(stage_count(theirs[0]), 1);
	/* Told once, of our own. */
	CHECK_EQ(stage.n_warnings, 1);
	stage_check_words(stage.warning, "more vectors than the 1 that the device has");
	CHECK_EQ(stage.n_lost, 0);
	for (int i = 0; i < 3; i++) {
		close(theirs[i]);
		close(ours[i]);
	}
	stage_close();
}

TEST(behaviour_53_more_eventfds_than_vectors_before_the_device)
{
	unsigned before;
	int theirs[4], ours[4];

	stage_open();
	stage_join_simple();
	before = test_open_fds();
	for (int i = 0; i < 4; i++) {
		theirs[i] = stage_give_vector(7);
		ours[i] = stage_give_vector(5);
	}
	CHECK_EQ(test_open_fds(), before + 16);
	stage_attach(1, 2);
	CHECK_EQ(test_open_fds(), before + 8 + 4);
	CHECK_EQ(ivshmem_device_peer_vectors(stage.device, 7), 2);
	for (int i = 0; i < 4; i++)
		CHECK_SYS(eventfd_write(ours[i], 1));
	stage_dispatch();
	CHECK_EQ(stage.interrupts[0], 1);
	CHECK_EQ(stage.interrupts[1], 1);
	CHECK_EQ(stage.interrupts[2], 0);
	for (int i = 0; i < 4; i++) {
		close(theirs[i]);
		close(ours[i]);
	}
	stage_close();
}

TEST(behaviour_54_fewer_own_eventfds_than_vectors)
{
	int ours;

	stage_open();
	stage_join_simple();
	stage_attach(1, 8);
	ours = stage_give_vector(5);
	stage_doorbell(0x50001);
	stage_doorbell(0x50000);
	stage_dispatch();
	CHECK_EQ(stage.interrupts[0], 1);
	CHECK_EQ(stage.interrupts[1], 0);
	close(ours);
	stage_close();
}

/* Who is a member has its vectors: nothing is dispatched here. */
TEST(opening_waits_for_our_vectors)
{
	struct wire_message messages[8] = {{0, -1}, {5, -1}};
	struct member_config config;
	unsigned n = 2;

	stage_open();
	config = stage_config(false);
	config.vectors = 3;
	messages[n++] = (struct wire_message){-1, stage_memory(STAGE_MEMORY)};
	messages[n++] = (struct wire_message){9, mark_new(1)};
	for (unsigned i = 0; i < 4; i++)
		messages[n++] = (struct wire_message){5, mark_new(10 + i)};
	CHECK_EQ(stage_join(&config, messages, n, NULL), 0);
	for (unsigned i = 0; i < 3; i++)
		CHECK_EQ(mark_of(member_eventfd(stage.member, 5, i)), 10 + i);
	/* The rest is left to the loop. */
	CHECK_EQ(member_eventfd(stage.member, 5, 3), -1);
	CHECK_EQ(stage.n_warnings, 0);
	stage_close();
}

TEST(opening_with_fewer_vectors_is_told)
{
	struct wire_message messages[8] = {{0, -1}, {5, -1}};
	struct member_config config;

	stage_open();
	config = stage_config(false);
	config.vectors = 8;
	messages[2] = (struct wire_message){-1, stage_memory(STAGE_MEMORY)};
	messages[3] = (struct wire_message){5, mark_new(1)};
	CHECK_EQ(stage_join(&config, messages, 4, NULL), 0);
	CHECK_EQ(stage.n_warnings, 1);
	stage_check_words(stage.warning, "gave us 1 vector, but the device has 8");
	stage_close();
}

TEST(behaviour_65_highest_id)
{
	int theirs;

	stage_open();
	stage_join_simple();
	stage_attach(1, 1);
	theirs = stage_give_vector(65535);
	stage_doorbell(0xffff0000);
	CHECK_EQ(stage_count(theirs), 1);
	close(theirs);
	stage_close();
}

/* ---- one member, several devices ------------------------------------------------------------ */

TEST(detached_device_is_left_alone)
{
	int ours, theirs;

	stage_open();
	stage_join_simple();
	stage_attach(1, 1);
	ours = stage_give_vector(5);
	member_watch(stage.member, 0, false);
	member_detach(stage.member);
	member_detach(stage.member);
	/* What the device asks for when it is freed comes then. */
	member_watch(stage.member, 0, true);
	CHECK_SYS(eventfd_write(ours, 1));
	theirs = stage_give_vector(7);
	stage_say_and_dispatch(7, -1);
	close(theirs);
	theirs = stage_give_vector(7);
	CHECK_EQ(stage.interrupts[0], 0);
	CHECK_EQ(ivshmem_device_peer_vectors(stage.device, 7), 0);
	stage_drop_device();

	/* The next one gets all of it. */
	stage_attach(1, 1);
	stage_dispatch();
	CHECK_EQ(stage.interrupts[0], 1);
	stage_doorbell(0x70000);
	CHECK_EQ(stage_count(theirs), 1);
	close(ours);
	close(theirs);
	stage_close();
}

TEST(yielded_vector_is_ours_again_for_the_next_device)
{
	int ours;

	stage_open();
	stage_join_simple();
	stage_attach(1, 1);
	ours = stage_give_vector(5);
	member_watch(stage.member, 0, false);
	stage_drop_device();
	stage_attach(1, 1);
	CHECK_SYS(eventfd_write(ours, 1));
	stage_dispatch();
	CHECK_EQ(stage.interrupts[0], 1);
	close(ours);
	stage_close();
}

TEST(close_of_nothing)
{
	CHECK(member_close(NULL) == NULL);
}

TEST(close_tells_the_server)
{
	struct pollfd poll_fd;
	char byte;

	stage_open();
	stage_join_simple();
	stage_attach(1, 1);
	stage_drop_device();
	stage.member = member_close(stage.member);
	poll_fd = (struct pollfd){.fd = stage.server, .events = POLLIN};
	CHECK_EQ(poll(&poll_fd, 1, 20000), 1);
	CHECK_EQ(read(stage.server, &byte, 1), 0);
	stage_close();
}

/* More vectors than are looked at together; the loop does not run meanwhile. */
TEST(reset_forgets_rings)
{
	int fds[600];

	stage_open();
	stage_join_simple();
	stage_attach(1, 600);
	for (unsigned i = 0; i < 600; i++)
		fds[i] = stage_give_vector(5);
	for (unsigned i = 0; i < 600; i += i < 250 ? 50 : 1)
		CHECK_SYS(eventfd_write(fds[i], 1));
	ivshmem_device_reset(stage.device);
	for (unsigned i = 0; i < 600; i++) {
		CHECK_EQ(stage_count(fds[i]), 0);
		close(fds[i]);
	}
	stage_close();
}
