/* SPDX-License-Identifier: BSD-2-Clause */

/* When a group is joined again whose server is gone. */

#include <group/rejoin.h>

#include <base/clock.h>
#include <base/error.h>
#include <base/list.h>
#include <test.h>

#include <errno.h>

static struct user {
	struct loop *loop;
	struct log log;
	struct rejoin rejoin;
	bool listens; /* somebody does */
	unsigned begun, abandoned, settled, told;
	uint64_t begun_at;
} user;

static int
begin(struct rejoin *rejoin, struct ivshmem_error *reterr)
{
	CHECK(rejoin == &user.rejoin);
	user.begun++;
	user.begun_at = clock_now();
	return user.listens ? 0 : error_set(reterr, -ECONNREFUSED, "nobody listens");
}

static void
abandon(struct rejoin *rejoin)
{
	CHECK(rejoin == &user.rejoin);
	user.abandoned++;
}

static void
settled(struct rejoin *rejoin)
{
	CHECK(rejoin == &user.rejoin);
	CHECK(rejoin->state != REJOIN_JOINING);
	user.settled++;
}

static const struct rejoin_ops ops = {begin, abandon, settled};

static void
write_log(void *data, enum log_level level, const char *message)
{
	CHECK(data == &user && message);
	if (level == LOG_LEVEL_ERROR)
		user.told++;
}

static void
open_user(bool listens, unsigned timeout_ms)
{
	user = (struct user){.log = {LOG_LEVEL_DEBUG, write_log, &user}, .listens = listens};
	CHECK_EQ(loop_new(&user.loop), 0);
	rejoin_init(&user.rejoin, &ops, user.loop, &user.log, timeout_ms);
	CHECK_EQ(user.rejoin.state, REJOIN_JOINED);
}

static void
close_user(void)
{
	rejoin_done(&user.rejoin);
	CHECK_EQ(loop_dispatch(user.loop, 0), 0);
	loop_free(user.loop);
}

/* Wait for the next try, which comes after a pause of so many milliseconds at least. */
static void
expect_try(uint64_t pause_ms)
{
	uint64_t since = clock_now();
	unsigned before = user.begun;

	while (user.begun == before)
		CHECK(loop_dispatch(user.loop, 20000) == 1);
	CHECK(user.begun_at - since >= (pause_ms - 10) * NSEC_PER_MSEC);
}

static void
fail_with(const char *sentence)
{
	struct ivshmem_error error;

	error_set(&error, -EPROTO, "%s", sentence);
	rejoin_failed(&user.rejoin, &error);
	CHECK_EQ(user.rejoin.state, REJOIN_RESTING);
}

TEST(looks_until_somebody_listens)
{
	open_user(false, 0);
	rejoin_lost(&user.rejoin);
	CHECK_EQ(user.begun, 0);
	expect_try(500);
	expect_try(500);
	CHECK_EQ(user.rejoin.state, REJOIN_ALONE);
	user.listens = true;
	expect_try(500);
	CHECK_EQ(user.rejoin.state, REJOIN_JOINING);
	CHECK_EQ(user.settled, 0);
	rejoin_joined(&user.rejoin);
	CHECK_EQ(user.rejoin.state, REJOIN_JOINED);
	CHECK_EQ(user.settled, 1);
	CHECK_EQ(user.abandoned, 0);
	CHECK_EQ(user.told, 0);
	CHECK(!loop_timer_is_set(&user.rejoin.timer));
	close_user();
}

TEST(pauses_grow_and_a_failure_is_told_once)
{
	open_user(true, 0);
	rejoin_lost(&user.rejoin);
	expect_try(500);
	fail_with("it is of no use");
	CHECK(!rejoin_try(&user.rejoin));
	expect_try(1000);
	fail_with("it is of no use");
	CHECK_EQ(user.told, 1);
	expect_try(2000);
	fail_with("it is another one");
	CHECK_EQ(user.told, 2);
	CHECK_EQ(user.abandoned, 3);
	CHECK_EQ(user.settled, 3);
	close_user();
	CHECK_EQ(user.abandoned, 3);
}

TEST(short_memberships_make_the_pause_grow)
{
	open_user(true, 0);
	rejoin_lost(&user.rejoin);
	expect_try(500);
	rejoin_joined(&user.rejoin);
	rejoin_lost(&user.rejoin);
	/* Once is enough. */
	rejoin_lost(&user.rejoin);
	expect_try(1000);
	rejoin_joined(&user.rejoin);
	/* A good one ended. */
	user.rejoin.joined = clock_now() - 61 * NSEC_PER_SEC;
	rejoin_lost(&user.rejoin);
	expect_try(500);
	close_user();
	CHECK_EQ(user.abandoned, 1);
}

TEST(a_try_takes_too_long)
{
	open_user(true, 50);
	rejoin_lost(&user.rejoin);
	expect_try(500);
	CHECK_EQ(loop_dispatch(user.loop, 20000), 1);
	CHECK_EQ(user.rejoin.state, REJOIN_RESTING);
	CHECK_EQ(user.abandoned, 1);
	CHECK_EQ(user.told, 1);
	close_user();
}

TEST(not_while_it_is_not_allowed)
{
	open_user(false, 0);
	rejoin_allow(&user.rejoin, false);
	rejoin_lost(&user.rejoin);
	CHECK(!rejoin_try(&user.rejoin));
	CHECK(!loop_timer_is_set(&user.rejoin.timer));
	CHECK_EQ(user.begun, 0);

	/* At once when it is. */
	rejoin_allow(&user.rejoin, true);
	expect_try(10);
	user.listens = true;
	CHECK(rejoin_try(&user.rejoin));
	CHECK(rejoin_try(&user.rejoin));
	CHECK_EQ(user.begun, 2);

	/* A try that goes on is undone. */
	rejoin_allow(&user.rejoin, false);
	CHECK_EQ(user.abandoned, 1);
	CHECK_EQ(user.rejoin.state, REJOIN_ALONE);
	CHECK(!loop_timer_is_set(&user.rejoin.timer));
	close_user();
	CHECK_EQ(user.abandoned, 1);
}
