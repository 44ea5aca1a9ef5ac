/* SPDX-License-Identifier: BSD-2-Clause */

/* A device's membership while all goes well: joining, vectors, rings, peers that come and go. */

#include <member_stage.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define FULL (UINT64_MAX - 1)

void
test_before(void)
{
	stage_open();
}

void
test_after(void)
{
	CHECK_EQ(stage.n_lost, 0);
	stage_close();
}

/* ---- joining -------------------------------------------------------------------------------- */

TEST(joined_with_id_and_memory)
{
	char byte;

	stage_join_simple();
	CHECK(member_has_server(stage.member));
	CHECK_EQ(member_id(stage.member), 5);
	CHECK_EQ(member_memory_size(stage.member), STAGE_MEMORY);
	CHECK(fcntl(member_memory_fd(stage.member), F_GETFD) & FD_CLOEXEC);
	*(char *)member_memory(stage.member) = 'x';
	CHECK_EQ(pread(member_memory_fd(stage.member), &byte, 1, 0), 1);
	CHECK_EQ(byte, 'x');
	CHECK_EQ(member_peers(stage.member, NULL, 0), 0);
	CHECK_EQ(member_eventfd(stage.member, 5, 0), -1);

	stage_attach(1, 2);
	CHECK_EQ(stage_position(), 5);
	CHECK_EQ(ivshmem_device_read(stage.device, 2, 0, 1), 'x');
	CHECK_EQ(stage.n_warnings, 0);
}

static void
check_vectors(uint16_t peer, unsigned n, const uint64_t *marks)
{
	CHECK_EQ(ivshmem_device_peer_vectors(stage.device, peer), n);
	for (unsigned i = 0; i < n; i++)
		CHECK_EQ(mark_of(member_eventfd(stage.member, peer, i)), marks[i]);
	CHECK_EQ(member_eventfd(stage.member, peer, n), -1);
}

/* The peers there are come before the memory, or after, and either before there is a device. */
TEST(vectors_from_before_the_device_are_kept_in_their_order)
{
	const struct member_config config = stage_config(false);
	const struct wire_message messages[] = {{0, -1}, {5, -1}, {9, mark_new(10)},
		{5, mark_new(11)}, {9, mark_new(12)}, {-1, stage_memory(STAGE_MEMORY)},
		{5, mark_new(13)}, {0, mark_new(14)}, {9, mark_new(15)}};
	uint16_t ids[4];

	CHECK_EQ(stage_join(&config, messages, 9, NULL), 0);
	stage_dispatch();
	/* Nobody reads ours as long as there is nobody to be told. */
	CHECK_EQ(mark_of(member_eventfd(stage.member, 5, 0)), 11);

	stage_attach(1, 3);
	check_vectors(9, 3, (const uint64_t[]){10, 12, 15});
	check_vectors(5, 2, (const uint64_t[]){11, 13});
	check_vectors(0, 1, (const uint64_t[]){14});
	check_vectors(8, 0, NULL);
	CHECK_EQ(member_peers(stage.member, ids, 4), 3);
	CHECK_MEM(ids, ((const uint16_t[]){0, 5, 9}), 6);
	/* They were rung all the while. */
	stage_dispatch();
	CHECK_EQ(stage.interrupts[0], 1);
	CHECK_EQ(stage.interrupts[1], 1);
}

TEST(device_that_wants_another_size_is_refused_and_another_may_try)
{
	struct ivshmem_error error = {0};

	stage_join_simple();
	stage_make_device(1, 1, STAGE_MEMORY * 2);
	CHECK_EQ(member_attach(stage.member, stage.device, &error), -EINVAL);
	CHECK_EQ(error.code, -EINVAL);
	CHECK_HAS(error.message, "too small");
	/* It is not attached. */
	stage_give_vector(7);
	CHECK_EQ(ivshmem_device_peer_vectors(stage.device, 7), 0);
	stage_drop_device();
	CHECK_EQ(member_memory_size(stage.member), STAGE_MEMORY);
	stage_attach(1, 1);
	CHECK_EQ(stage_position(), 5);
	CHECK_EQ(ivshmem_device_peer_vectors(stage.device, 7), 1);
}

/* Who is a member has its vectors: nothing is dispatched here. */
TEST(opening_waits_for_our_vectors)
{
	const struct wire_message messages[] = {{0, -1}, {5, -1}, {-1, stage_memory(STAGE_MEMORY)},
		{9, mark_new(1)}, {5, mark_new(10)}, {5, mark_new(11)}, {5, mark_new(12)},
		{5, mark_new(13)}};
	struct member_config config = stage_config(false);

	config.vectors = 3;
	CHECK_EQ(stage_join(&config, messages, 8, NULL), 0);
	for (unsigned i = 0; i < 3; i++)
		CHECK_EQ(mark_of(member_eventfd(stage.member, 5, i)), 10 + i);
	/* The rest is left to the loop. */
	CHECK_EQ(member_eventfd(stage.member, 5, 3), -1);
	CHECK_EQ(stage.n_warnings, 0);
}

TEST(opening_with_fewer_vectors_is_told)
{
	const struct wire_message messages[] = {
		{0, -1}, {5, -1}, {-1, stage_memory(STAGE_MEMORY)}, {5, mark_new(1)}};
	struct member_config config = stage_config(false);

	config.vectors = 8;
	CHECK_EQ(stage_join(&config, messages, 4, NULL), 0);
	CHECK_EQ(stage.n_warnings, 1);
	CHECK_HAS(stage.warning, "gave us 1 vector, but the device has 8");
}

/* ---- rings ---------------------------------------------------------------------------------- */

TEST(behaviour_25_26_and_65_doorbell_adds_one_each_up_to_the_highest_id)
{
	int theirs[2], highest, ours;

	stage_begin(2);
	theirs[0] = stage_give_vector(7);
	theirs[1] = stage_give_vector(7);
	highest = stage_give_vector(65535);
	ours = stage_give_vector(5);
	for (int i = 0; i < 5; i++)
		stage_doorbell(0x70001);
	CHECK_EQ(stage_count(theirs[1]), 5);
	CHECK_EQ(stage_count(theirs[0]), 0);
	CHECK_EQ(stage_count(highest), 0);
	CHECK_EQ(stage_count(ours), 0);
	stage_doorbell(0xffff0000);
	CHECK_EQ(stage_count(highest), 1);
}

TEST(ring_of_nobody_does_nothing)
{
	int theirs = stage_begin_with(2, 7);

	member_ring(stage.member, 7, 1);
	member_ring(stage.member, 7, UINT32_MAX);
	member_ring(stage.member, 6, 0);
	member_ring(stage.member, 65535, 0);
	CHECK_EQ(stage_count(theirs), 0);
	CHECK(!member_take_ring(stage.member, 0));
	CHECK(!member_take_ring(stage.member, UINT32_MAX));
	member_watch(stage.member, 0, false);
	member_watch(stage.member, UINT32_MAX, true);
}

TEST(behaviour_31_full_eventfd_in_blocking_mode)
{
	int theirs = stage_begin_with(1, 7);

	/* The mode belongs to everybody who holds it. */
	CHECK_SYS(fcntl(theirs, F_SETFL, 0));
	CHECK_SYS(eventfd_write(theirs, FULL));
	stage_doorbell(0x70000);
	CHECK_EQ(fcntl(theirs, F_GETFL) & O_NONBLOCK, 0);
	CHECK(stage_count(theirs) >= FULL);
}

TEST(own_vectors_interrupt_by_number)
{
	int ours[3];

	stage_begin(3);
	for (int i = 0; i < 3; i++)
		ours[i] = stage_give_vector(5);
	stage_ring(ours[2]);
	CHECK_EQ(stage.interrupts[2], 1);
	/* Rings that nobody saw yet are one. */
	CHECK_SYS(eventfd_write(ours[0], 300));
	stage_ring(ours[0]);
	CHECK_EQ(stage.interrupts[0], 1);
	CHECK_EQ(stage.interrupts[1], 0);
	CHECK_EQ(stage_count(ours[0]), 0);
	/* A blocking one that somebody else has emptied since it was seen. */
	CHECK_SYS(fcntl(ours[1], F_SETFL, 0));
	stage_ring(ours[1]);
	CHECK_EQ(stage.interrupts[1], 1);
}

TEST(own_vector_that_an_irqfd_watches)
{
	int ours = stage_begin_with(1, 5);

	member_watch(stage.member, 0, false);
	member_watch(stage.member, 0, false);
	stage_ring(ours);
	CHECK_EQ(stage.interrupts[0], 0);
	CHECK_EQ(stage_count(ours), 1);
	/* What came when nobody watched is not lost. */
	CHECK_SYS(eventfd_write(ours, 1));
	member_watch(stage.member, 0, true);
	member_watch(stage.member, 0, true);
	stage_dispatch();
	CHECK_EQ(stage.interrupts[0], 1);
}

TEST(take_ring_empties_and_tells)
{
	int ours = stage_begin_with(1, 5);

	CHECK(!member_take_ring(stage.member, 0));
	CHECK_SYS(eventfd_write(ours, 3));
	CHECK(member_take_ring(stage.member, 0));
	CHECK(!member_take_ring(stage.member, 0));
	stage_dispatch();
	CHECK_EQ(stage.interrupts[0], 0);
}

/* More vectors than are looked at together; the loop does not run meanwhile. */
TEST(reset_forgets_rings)
{
	int fds[600];

	stage_begin(600);
	for (unsigned i = 0; i < 600; i++)
		fds[i] = stage_give_vector(5);
	for (unsigned i = 0; i < 600; i += i < 250 ? 50 : 1)
		CHECK_SYS(eventfd_write(fds[i], 1));
	ivshmem_device_reset(stage.device);
	for (unsigned i = 0; i < 600; i++)
		CHECK_EQ(stage_count(fds[i]), 0);
	stage_dispatch();
	for (unsigned i = 0; i < 600; i++)
		CHECK_EQ(stage.interrupts[i], 0);
}

/* ---- peers ---------------------------------------------------------------------------------- */

/* The others see that one of two holders of an eventfd closed it by nothing; so count ours. */
TEST(behaviour_57_to_59_peers_come_and_go_and_ids_come_again)
{
	stage_begin(2);
	stage_place_bars();
	for (unsigned round = 0; round < 10; round++) {
		unsigned before = test_open_fds();
		int theirs = stage_give_vector(7);

		CHECK_STR(stage.info, "peer 7 joined");
		stage_give_vector(7);
		stage_give_vector(7);
		CHECK_EQ(stage.n_triggers, 2);
		CHECK_EQ(test_open_fds(), before + 3 + 2);
		stage_doorbell(0x70000);
		CHECK_EQ(stage_count(theirs), 1);

		stage_say_and_dispatch(7, -1);
		CHECK_STR(stage.info, "peer 7 left");
		CHECK_EQ(stage.n_triggers, 0);
		CHECK_EQ(test_open_fds(), before + 3);
		CHECK_EQ(ivshmem_device_peer_vectors(stage.device, 7), 0);
		CHECK_EQ(member_peers(stage.member, NULL, 0), 0);
		stage_doorbell(0x70000);
		CHECK_EQ(stage_count(theirs), 0);
	}
	CHECK_EQ(stage.n_warnings, 0);
}

/* Of four eventfds each that the peer 7 and we have, as many are kept as the device has vectors. */
static void
check_more_eventfds(unsigned vectors, bool device_first)
{
	unsigned before;
	int theirs[4], ours[4];

	stage_join_simple();
	if (device_first)
		stage_attach(1, vectors);
	before = test_open_fds();
	for (int i = 0; i < 4; i++) {
		theirs[i] = stage_give_vector(7);
		ours[i] = stage_give_vector(5);
	}
	if (!device_first) {
		CHECK_EQ(test_open_fds(), before + 8 + 8);
		stage_attach(1, vectors);
	}
	CHECK_EQ(test_open_fds(), before + 8 + 2 * vectors);
	CHECK_EQ(ivshmem_device_peer_vectors(stage.device, 7), vectors);
	CHECK_EQ(member_eventfd(stage.member, 7, vectors), -1);
	CHECK_EQ(member_eventfd(stage.member, 5, vectors), -1);
	for (int i = 0; i < 4; i++) {
		CHECK(fcntl(theirs[i], F_GETFL) & O_NONBLOCK);
		CHECK(fcntl(ours[i], F_GETFL) & O_NONBLOCK);
		stage_ring(ours[i]);
	}
	for (unsigned i = 0; i < 4; i++)
		CHECK_EQ(stage.interrupts[i], i < vectors);
	stage_doorbell(0x70000);
	CHECK_EQ(stage_count(theirs[0]), 1);
	/* Told once, of our own. */
	CHECK_EQ(stage.n_warnings, 1);
	CHECK_HAS(stage.warning, vectors == 1 ? "more vectors than the 1 that the device has"
					      : "more vectors than the 2 that the device has");
}

TEST(behaviour_63_and_64_more_eventfds_than_vectors)
{
	check_more_eventfds(1, true);
}

TEST(behaviour_53_more_eventfds_than_vectors_before_the_device)
{
	check_more_eventfds(2, false);
}

TEST(behaviour_28_and_54_own_id_can_be_rung_though_there_are_fewer_eventfds_than_vectors)
{
	stage_begin_with(8, 5);
	stage_doorbell(0x50001);
	stage_doorbell(0x50000);
	CHECK_EQ(stage.interrupts[0], 0);
	stage_dispatch();
	CHECK_EQ(stage.interrupts[0], 1);
	CHECK_EQ(stage.interrupts[1], 0);
}

/* ---- one member, several devices ------------------------------------------------------------ */

TEST(detached_device_is_left_alone)
{
	int ours, theirs;

	stage_begin(1);
	ours = stage_give_vector(5);
	member_watch(stage.member, 0, false);
	member_detach(stage.member);
	member_detach(stage.member);
	/* What the device asks for when it is freed comes then. */
	member_watch(stage.member, 0, true);
	CHECK_SYS(eventfd_write(ours, 1));
	stage_give_vector(7);
	stage_say_and_dispatch(7, -1);
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
}

TEST(yielded_vector_is_ours_again_for_the_next_device)
{
	int ours = stage_begin_with(1, 5);

	member_watch(stage.member, 0, false);
	stage_drop_device();
	stage_attach(1, 1);
	stage_ring(ours);
	CHECK_EQ(stage.interrupts[0], 1);
}

TEST(close_tells_the_server)
{
	struct pollfd poll_fd;
	char byte;

	stage_begin(1);
	stage_drop_device();
	stage.member = member_close(stage.member);
	CHECK(member_close(NULL) == NULL);
	poll_fd = (struct pollfd){.fd = stage.server, .events = POLLIN};
	CHECK_EQ(poll(&poll_fd, 1, 20000), 1);
	CHECK_EQ(read(stage.server, &byte, 1), 0);
}
