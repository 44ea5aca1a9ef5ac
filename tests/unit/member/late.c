/* SPDX-License-Identifier: BSD-2-Clause */

/* The device of 2010 joins: either dialect, and everything may come later. */

#include <member_stage.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define UNKNOWN UINT32_MAX

/* Connected, and nothing was said. */
static void
join(void)
{
	const struct member_config config = stage_config(true);

	CHECK_EQ(stage_join(&config, NULL, 0, NULL), 0);
	CHECK_EQ(member_id(stage.member), -1);
	CHECK_EQ(member_memory_fd(stage.member), -1);
	CHECK(!member_memory(stage.member));
	CHECK_EQ(member_memory_size(stage.member), 0);
}

/* With a device. */
static void
join_with_device(void)
{
	join();
	stage_attach(0, 1);
}

/* What a server of today says with its memory, of this size. */
static void
say_greeting(uint64_t size)
{
	stage_say(0, -1);
	stage_say(3, -1);
	stage_say_and_dispatch(-1, stage_memory(size));
}

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

TEST(behaviour_22_id_and_memory_come_late)
{
	join_with_device();
	stage_place_bars();
	stage_dispatch();
	CHECK_EQ(stage_position(), UNKNOWN);
	CHECK_EQ(stage.n_mapped, 0);
	stage_say_and_dispatch(0, -1);
	CHECK_EQ(member_id(stage.member), -1);
	stage_say_and_dispatch(3, -1);
	CHECK_EQ(member_id(stage.member), 3);
	CHECK_EQ(stage_position(), UNKNOWN);
	stage_say_and_dispatch(-1, stage_memory(STAGE_MEMORY));
	CHECK_EQ(stage_position(), 3);
	CHECK_EQ(stage.n_mapped, 1);
	CHECK_EQ(member_memory_size(stage.member), STAGE_MEMORY);
	stage_give_vector(3);
	stage_doorbell(0x30000);
	stage_dispatch();
	CHECK_EQ(stage.interrupts[0], 1);
	CHECK_EQ(stage.n_warnings, 0);
}

/* Say it: negative is the memory; from 1000 on a vector. */
static void
say(int64_t number)
{
	if (number < 0)
		stage_say_and_dispatch(-1, stage_memory(STAGE_MEMORY));
	else if (number >= 1000)
		stage_say_and_dispatch(number - 1000, mark_new(1));
	else
		stage_say_and_dispatch(number, -1);
}

/* Whichever of the messages the device comes after, the result is the same. */
TEST(every_greeting_with_the_device_at_any_time)
{
	static const struct {
		const char *name;
		int32_t id;
		bool is_2010;
		unsigned length;
		int64_t numbers[6];
	} greetings[] = {
		{"of today, with id 0", 0, false, 5, {0, 0, -1, 1000, 1008}},
		{"of today", 7, false, 5, {0, 7, 1008, -1, 1007}},
		{"of 2010", 7, true, 6, {7, -1, 1000, 1007, 1008, 0}},
		{"of 2010 with id 0, then memory", 0, true, 4, {0, -1, 1000, 1008}},
		{"of 2010 with id 0, then vector", 0, true, 4, {0, 1000, 1008, -1}},
		/* Either order was legal in 2010. */
		{"of 2010, memory before id 0", 0, true, 4, {-1, 0, 1000, 1008}},
		{"of 2010, memory before the id", 7, true, 4, {-1, 7, 1008, 1007}},
	};

	for (size_t i = 0; i < sizeof(greetings) / sizeof(greetings[0]); i++) {
		int32_t id = greetings[i].id;

		for (unsigned before = 0; before <= greetings[i].length; before++) {
			fprintf(stderr, "%s: %u messages before the device\n", greetings[i].name,
				before);
			join();
			for (unsigned n = 0; n < greetings[i].length; n++) {
				if (n == before)
					stage_attach(0, 1);
				say(greetings[i].numbers[n]);
				if (strstr(stage.info, "our id"))
					CHECK_EQ(strstr(stage.info, "2010") != NULL,
						greetings[i].is_2010);
			}
			if (before == greetings[i].length)
				stage_attach(0, 1);
			CHECK_EQ(member_id(stage.member), id);
			CHECK_EQ(stage_position(), (uint32_t)id);
			CHECK_EQ(ivshmem_device_peer_vectors(stage.device, (uint16_t)id), 1);
			CHECK_EQ(ivshmem_device_peer_vectors(stage.device, 8), 1);
			stage_dispatch();
			CHECK_EQ(stage.interrupts[0], 1);
			stage_doorbell(0x80000);
			CHECK_EQ(mark_of(member_eventfd(stage.member, 8, 0)), 2);
			CHECK_EQ(stage.n_lost, 0);
			stage_close();
			stage_open();
		}
	}
}

/* ---- how long member_open() waits ------------------------------------------------------------ */

static int
join_patiently(unsigned late_ms, const struct wire_message *messages, unsigned n,
	struct ivshmem_error *reterr)
{
	struct member_config config = stage_config(true);

	config.late_ms = late_ms;
	config.vectors = 1;
	return stage_join(&config, messages, n, reterr);
}

/* What is there then is there before the device is. */
TEST(waits_for_id_memory_and_vectors)
{
	const struct wire_message messages[] = {
		{0, -1}, {3, -1}, {-1, stage_memory(STAGE_MEMORY)}, {3, mark_new(1)}};

	CHECK_EQ(join_patiently(20000, messages, 4, NULL), 0);
	CHECK_EQ(member_id(stage.member), 3);
	CHECK_EQ(member_memory_size(stage.member), STAGE_MEMORY);
	CHECK(member_eventfd(stage.member, 3, 0) >= 0);
	CHECK_EQ(stage.n_warnings, 0);
}

TEST(goes_on_without_memory)
{
	const struct wire_message messages[] = {{0, -1}, {3, -1}};

	CHECK_EQ(join_patiently(1, messages, 2, NULL), 0);
	CHECK_EQ(stage.n_warnings, 1);
	CHECK_HAS(stage.warning, "not sent the memory yet");
	stage_dispatch();
	stage_attach(0, 1);
	CHECK_EQ(stage_position(), UNKNOWN);
	stage_say_and_dispatch(-1, stage_memory(STAGE_MEMORY));
	CHECK_EQ(stage_position(), 3);
	CHECK_EQ(stage.n_lost, 0);
}

/* What can never come is not waited for. */
TEST(refusal_while_it_waits)
{
	const struct wire_message messages[] = {{-ENOSPC, -1}};
	struct ivshmem_error error = {0};

	CHECK_EQ(join_patiently(20000, messages, 1, &error), -EPROTONOSUPPORT);
	CHECK_HAS(error.message, "refused");
}

/* ---- what may still go wrong ----------------------------------------------------------------- */

TEST(memory_that_is_too_small_is_not_given_to_anybody)
{
	unsigned before;

	join_with_device();
	stage_place_bars();
	before = test_open_fds();
	say_greeting(STAGE_MEMORY / 2);
	CHECK_EQ(stage.n_lost, 1);
	CHECK_EQ(stage.lost.code, -EINVAL);
	CHECK_HAS(stage.lost.message, "too small");
	CHECK_EQ(member_memory_fd(stage.member), -1);
	CHECK(!member_memory(stage.member));
	CHECK_EQ(member_memory_size(stage.member), 0);
	CHECK_EQ(stage.n_mapped, 0);
	CHECK_EQ(stage_position(), UNKNOWN);
	/* Without the connection. */
	CHECK_EQ(test_open_fds(), before - 1);
}

TEST(memory_that_is_larger)
{
	join_with_device();
	say_greeting(STAGE_MEMORY * 4);
	CHECK_EQ(stage_position(), 3);
	CHECK_EQ(member_memory_size(stage.member), STAGE_MEMORY * 4);
}

TEST(server_that_goes_before_it_said_anything)
{
	join_with_device();
	stage_end_server();
	CHECK_EQ(stage.n_lost, 1);
	CHECK_EQ(stage.lost.code, -ECONNRESET);
	CHECK_EQ(stage_position(), UNKNOWN);
	stage_doorbell(0x30000);
}

TEST(server_that_refuses)
{
	join_with_device();
	stage_say_and_dispatch(-ENOSPC, -1);
	CHECK_EQ(stage.n_lost, 1);
	CHECK_EQ(stage.lost.code, -EPROTONOSUPPORT);
	CHECK_HAS(stage.lost.message, "refused");
}
