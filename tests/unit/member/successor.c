/* SPDX-License-Identifier: BSD-2-Clause */

/* Another member takes the place of one whose server is gone. */

#include <member/successor.h>

#include <base/error.h>
#include <member_stage.h>

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

static struct successor successor;
static unsigned n_replaced, n_settled;
static bool refuse;

static void
lost(struct member *member, const struct ivshmem_error *error, void *data)
{
	CHECK(data == &stage && error->code < 0);
	/* That of a member on its way is not for us. */
	CHECK(member == stage.member);
	stage.n_lost++;
	rejoin_lost(&successor.rejoin);
}

static int
replace(struct member *next, void *data, struct ivshmem_error *reterr)
{
	CHECK(data == &stage);
	CHECK(next != stage.member);
	n_replaced++;
	if (refuse)
		return error_set(reterr, -EINVAL, "it is of no use");
	member_close(stage.member);
	stage.member = next;
	return 0;
}

static void
settled(void *data)
{
	CHECK(data == &stage);
	n_settled++;
}

/* A member with id 5, whose server is gone. */
static void
begin(void)
{
	const struct wire_message messages[] = {{0, -1}, {5, -1}, {-1, stage_memory(STAGE_MEMORY)}};
	struct member_config config;
	struct ivshmem_error error;

	stage_open();
	config = stage_config(false);
	config.lost = lost;
	CHECK_EQ(stage_join(&config, messages, 3, &error), 0);
	successor = (struct successor){
		.config = config, .replace = replace, .settled = settled, .data = &stage};
	successor_init(&successor, stage.loop, &stage.log);
	close(stage.server);
	stage_dispatch();
	CHECK_EQ(stage.n_lost, 1);
}

static void
end(void)
{
	successor_done(&successor);
	stage_close();
}

/* The next server takes us in. */
static void
accept_next(void)
{
	while (successor.rejoin.state != REJOIN_JOINING)
		CHECK(loop_dispatch(stage.loop, 20000) >= 0);
	stage.server = CHECK_SYS(accept4(stage.listener, NULL, NULL, SOCK_CLOEXEC));
	stage_say_and_dispatch(0, -1);
	stage_say_and_dispatch(7, -1);
	CHECK_EQ(n_replaced, 0);
}

TEST(takes_the_place)
{
	begin();
	accept_next();
	stage_say_and_dispatch(-1, stage_memory(2 * STAGE_MEMORY));
	CHECK_EQ(n_replaced, 1);
	CHECK_EQ(n_settled, 1);
	CHECK_EQ(successor.rejoin.state, REJOIN_JOINED);
	CHECK_EQ(member_id(stage.member), 7);
	CHECK_EQ(member_memory_size(stage.member), 2 * STAGE_MEMORY);

	/* It can lose its server, too. */
	close(stage.server);
	stage.server = -1;
	stage_dispatch();
	CHECK_EQ(stage.n_lost, 2);
	CHECK_EQ(successor.rejoin.state, REJOIN_ALONE);
	end();
}

/* What there was stays. */
static void
check_failed(unsigned replaced)
{
	CHECK_EQ(n_replaced, replaced);
	CHECK_EQ(n_settled, 1);
	CHECK_EQ(successor.rejoin.state, REJOIN_RESTING);
	CHECK(!successor.next);
	CHECK_EQ(stage.n_lost, 1);
	CHECK_EQ(member_id(stage.member), 5);
	end();
}

TEST(next_server_hangs_up)
{
	begin();
	accept_next();
	close(stage.server);
	stage.server = -1;
	stage_dispatch();
	check_failed(0);
}

TEST(next_member_is_refused)
{
	begin();
	refuse = true;
	accept_next();
	stage_say_and_dispatch(-1, stage_memory(STAGE_MEMORY));
	check_failed(1);
}

TEST(ends_while_it_joins)
{
	begin();
	accept_next();
	end();
	CHECK(!successor.next);
	CHECK_EQ(n_settled, 0);
}
