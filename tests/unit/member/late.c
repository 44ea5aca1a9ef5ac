/* SPDX-License-Identifier: BSD-2-Clause */

/* The device of 2010 joins: either dialect, and everything may come later. */

#include <member_stage.h>

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

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

TEST(behaviour_22_id_and_memory_come_late)
{
	int ours;

	stage_open();
	join();
	stage_attach(0, 2);
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
	ours = stage_give_vector(3);
	stage_doorbell(0x30000);
	stage_dispatch();
	CHECK_EQ(stage.interrupts[0], 1);
	CHECK_EQ(stage.n_warnings, 0);
	close(ours);
	stage_close();
}

TEST(everything_before_the_device)
{
	int ours, theirs;

	stage_open();
	join();
	stage_say(0, -1);
	stage_say(3, -1);
	theirs = stage_give_vector(9);
	ours = stage_give_vector(3);
	stage_say_and_dispatch(-1, stage_memory(STAGE_MEMORY));
	CHECK_EQ(member_id(stage.member), 3);
	stage_attach(0, 1);
	CHECK_EQ(stage_position(), 3);
	CHECK_SYS(eventfd_write(ours, 1));
	stage_dispatch();
	CHECK_EQ(stage.interrupts[0], 1);
	stage_doorbell(0x90000);
	CHECK_EQ(stage_count(theirs), 1);
	close(ours);
	close(theirs);
	stage_close();
}

/* The device comes after `n` of these messages: the result is the same. */
static void
check_sequence(const int64_t *numbers, unsigned length, unsigned n, int32_t id, bool is_2010)
{
	stage_open();
	join();
	for (unsigned i = 0; i <= length; i++) {
		if (i == n)
			stage_attach(0, 1);
		if (i == length)
			break;
		/* Negative: the memory; from 1000 on: a vector. */
		if (numbers[i] < 0)
			stage_say_and_dispatch(-1, stage_memory(STAGE_MEMORY));
		else if (numbers[i] >= 1000)
			stage_say_and_dispatch(numbers[i] - 1000, mark_new(1));
		else
			stage_say_and_dispatch(numbers[i], -1);
		if (strstr(stage.info, "our id"))
			CHECK_EQ(strstr(stage.info, "2010") != NULL, is_2010);
	}
	CHECK_EQ(member_id(stage.member), id);
	CHECK_EQ(stage_position(), (uint32_t)id);
	CHECK_EQ(ivshmem_device_peer_vectors(stage.device, (uint16_t)id), 1);
	CHECK_EQ(ivshmem_device_peer_vectors(stage.device, 8), 1);
	stage_dispatch();
	CHECK_EQ(stage.interrupts[0], 1);
	CHECK_EQ(stage.n_lost, 0);
	stage_close();
}

static void
check_sequences(const int64_t *numbers, unsigned length, int32_t id, bool is_2010)
{
	for (unsigned n = 0; n <= length; n++)
		check_sequence(numbers, length, n, id, is_2010);
}

TEST(greeting_of_today)
{
	static const int64_t zero[] = {0, 0, -1, 1000, 1008}, seven[] = {0, 7, 1008, -1, 1007};

	check_sequences(zero, 5, 0, false);
	check_sequences(seven, 5, 7, false);
}

TEST(greeting_of_2010)
{
	static const int64_t seven[] = {7, -1, 1000, 1007, 1008, 0};

	check_sequences(seven, 6, 7, true);
}

TEST(greeting_of_2010_with_id_0)
{
	static const int64_t memory[] = {0, -1, 1000, 1008}, vector[] = {0, 1000, 1008, -1};

	check_sequences(memory, 4, 0, true);
	check_sequences(vector, 4, 0, true);
}

/* Either order was legal in 2010. */
TEST(memory_before_the_id)
{
	static const int64_t zero[] = {-1, 0, 1000, 1008}, seven[] = {-1, 7, 1008, 1007};

	check_sequences(zero, 4, 0, true);
	check_sequences(seven, 4, 7, true);
}

/* member_open() waits for a while: what is there then is there before the device is. */
TEST(waits_for_id_memory_and_vectors)
{
	struct member_config config;
	const struct wire_message messages[] = {
		{0, -1}, {3, -1}, {-1, stage_memory(STAGE_MEMORY)}, {3, mark_new(1)}};
	struct ivshmem_error error = {0};

	stage_open();
	config = stage_config(true);
	config.late_ms = config.timeout_ms;
	config.vectors = 1;
	if (stage_join(&config, messages, 4, &error) < 0)
		FAIL("%s", error.message);
	CHECK_EQ(member_id(stage.member), 3);
	CHECK_EQ(member_memory_size(stage.member), STAGE_MEMORY);
	CHECK(member_eventfd(stage.member, 3, 0) >= 0);
	CHECK_EQ(stage.n_warnings, 0);
	stage_close();
}

TEST(goes_on_without_memory)
{
	struct member_config config;
	const struct wire_message messages[] = {{0, -1}, {3, -1}};
	struct ivshmem_error error = {0};

	stage_open();
	config = stage_config(true);
	config.late_ms = 1;
	config.vectors = 1;
	if (stage_join(&config, messages, 2, &error) < 0)
		FAIL("%s", error.message);
	CHECK_EQ(stage.n_warnings, 1);
	stage_check_words(stage.warning, "not sent the memory yet");
	stage_dispatch();
	stage_attach(0, 1);
	CHECK_EQ(stage_position(), UNKNOWN);
	stage_say_and_dispatch(-1, stage_memory(STAGE_MEMORY));
	CHECK_EQ(stage_position(), 3);
	CHECK_EQ(stage.n_lost, 0);
	stage_close();
}

/* What can never come is not waited for. */
TEST(refusal_while_it_waits)
{
	struct member_config config;
	const struct wire_message messages[] = {{-ENOSPC, -1}};
	struct ivshmem_error error = {0};

	stage_open();
	config = stage_config(true);
	config.late_ms = config.timeout_ms;
	CHECK_EQ(stage_join(&config, messages, 1, &error), -EPROTONOSUPPORT);
	stage_check_words(error.message, "refused");
	stage_close();
}

TEST(memory_that_is_too_small_is_not_given_to_anybody)
{
	unsigned before;

	stage_open();
	join();
	stage_attach(0, 1);
	stage_place_bars();
	before = test_open_fds();
	stage_say(0, -1);
	stage_say(3, -1);
	stage_say_and_dispatch(-1, stage_memory(STAGE_MEMORY / 2));
	CHECK_EQ(stage.n_lost, 1);
	CHECK_EQ(stage.lost.code, -EINVAL);
	stage_check_words(stage.lost.message, "too small");
	CHECK_EQ(member_memory_fd(stage.member), -1);
	CHECK(!member_memory(stage.member));
	CHECK_EQ(member_memory_size(stage.member), 0);
	CHECK_EQ(stage.n_mapped, 0);
	CHECK_EQ(stage_position(), UNKNOWN);
	/* Without the connection. */
	CHECK_EQ(test_open_fds(), before - 1);
	stage_close();
}

TEST(memory_that_is_larger)
{
	stage_open();
	join();
	stage_attach(0, 1);
	stage_say(0, -1);
	stage_say(3, -1);
	stage_say_and_dispatch(-1, stage_memory(STAGE_MEMORY * 4));
	CHECK_EQ(stage_position(), 3);
	CHECK_EQ(member_memory_size(stage.member), STAGE_MEMORY * 4);
	stage_close();
}

TEST(server_that_goes_before_it_said_anything)
{
	stage_open();
	join();
	stage_attach(0, 1);
	close(stage.server);
	stage.server = -1;
	stage_dispatch();
	CHECK_EQ(stage.n_lost, 1);
	CHECK_EQ(stage.lost.code, -ECONNRESET);
	CHECK_EQ(stage_position(), UNKNOWN);
	stage_doorbell(0x30000);
	stage_close();
}

TEST(server_that_refuses)
{
	stage_open();
	join();
	stage_attach(0, 1);
	stage_say_and_dispatch(-ENOSPC, -1);
	CHECK_EQ(stage.n_lost, 1);
	CHECK_EQ(stage.lost.code, -EPROTONOSUPPORT);
	stage_check_words(stage.lost.message, "refused");
	stage_close();
}
