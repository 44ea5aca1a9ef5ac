/* SPDX-License-Identifier: BSD-2-Clause */

/* What a VMM is told that comes while another one has the device. */

#include <refusal.h>

#include <protocol.h>

#include <fdpass.h>
#include <test.h>

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct loop *loop;
static struct refusals refusals;

static void
begin(void)
{
	CHECK_EQ(loop_new(&loop), 0);
	refusals_init(&refusals, loop);
}

static void
end(void)
{
	refusals_done(&refusals);
	CHECK_EQ(loop_dispatch(loop, 0), 0);
	loop_free(loop);
}

static void
dispatch(void)
{
	while (loop_dispatch(loop, 0) > 0)
		;
}

/* A VMM's end of a connection that is being refused. */
static int
newcomer(void)
{
	int pair[2];

	fdpass_pair(pair, SOCK_NONBLOCK);
	refusals_add(&refusals, &pair[1]);
	CHECK_EQ(pair[1], -1);
	return pair[0];
}

static void
say(int vmm, uint32_t flags, size_t rest)
{
	uint8_t bytes[4096] = {0};
	struct vfio_user_header header = {
		.id = 77, .command = 1, .size = (uint32_t)(sizeof(header) + rest), .flags = flags};

	memcpy(bytes, &header, sizeof(header));
	CHECK_EQ(fdpass_send(vmm, bytes, sizeof(header) + rest, &vmm, 1), sizeof(header) + rest);
}

static bool
is_waiting(int vmm)
{
	char c;

	return recv(vmm, &c, 1, MSG_PEEK) < 0 && errno == EAGAIN;
}

/* The end, and no reset. */
static void
check_end(int vmm)
{
	char c;

	CHECK_EQ(recv(vmm, &c, 1, 0), 0);
	close(vmm);
}

static void
check_busy(int vmm)
{
	struct vfio_user_header header;

	CHECK_EQ(recv(vmm, &header, sizeof(header), 0), sizeof(header));
	CHECK_EQ(header.id, 77);
	CHECK_EQ(header.command, 1);
	CHECK_EQ(header.size, 16);
	CHECK_EQ(header.flags, VFIO_USER_TYPE_REPLY | VFIO_USER_ERROR);
	CHECK_EQ(header.error, EBUSY);
	check_end(vmm);
}

TEST(busy)
{
	int vmm;

	begin();
	vmm = newcomer();
	dispatch();
	CHECK(is_waiting(vmm));
	say(vmm, 0, 200);
	dispatch();
	check_busy(vmm);
	/* Without a body, and with much more than a message. */
	vmm = newcomer();
	say(vmm, 0, 0);
	dispatch();
	check_busy(vmm);
	vmm = newcomer();
	for (unsigned i = 0; i < 20; i++)
		say(vmm, 0, 4000);
	dispatch();
	check_busy(vmm);
	end();
}

TEST(who_wants_no_reply_gets_none)
{
	int vmm;

	begin();
	vmm = newcomer();
	say(vmm, VFIO_USER_NO_REPLY, 200);
	dispatch();
	check_end(vmm);
	end();
}

TEST(less_than_a_header)
{
	int vmm;

	begin();
	vmm = newcomer();
	CHECK_EQ(send(vmm, "x", 1, 0), 1);
	dispatch();
	check_end(vmm);
	end();
}

TEST(gone_before_it_was_told)
{
	int vmm;

	begin();
	vmm = newcomer();
	close(vmm);
	dispatch();
	vmm = newcomer();
	say(vmm, 0, 100);
	close(vmm);
	dispatch();
	end();
}

/* Those who say nothing are cut: one after a while, or when others come. */
TEST(silence)
{
	int vmms[REFUSALS + 3], vmm;

	begin();
	vmm = newcomer();
	dispatch();
	CHECK(is_waiting(vmm));
	CHECK(loop_timer_is_set(&refusals.at_work[0].timer));
	/* The while is over. */
	loop_timer_set(loop, &refusals.at_work[0].timer, 1, refusals.at_work[0].timer.fn);
	dispatch();
	check_end(vmm);

	for (unsigned i = 0; i < REFUSALS + 3; i++) {
		vmms[i] = newcomer();
		if (i >= REFUSALS)
			check_end(vmms[i - REFUSALS]);
		dispatch();
	}
	for (unsigned i = 3; i < REFUSALS + 3; i++)
		CHECK(is_waiting(vmms[i]));
	/* One of those that wait is answered as ever. */
	say(vmms[5], 0, 100);
	dispatch();
	check_busy(vmms[5]);
	vmm = newcomer();
	CHECK(is_waiting(vmms[3]));
	refusals_done(&refusals);
	check_end(vmm);
	check_end(vmms[3]);
	check_end(vmms[4]);
	check_end(vmms[6]);
	end();
}

/* A VMM that does not read what it asked for: nobody waits. */
TEST(full_socket)
{
	int pair[2];
	char bytes[1024] = {0};

	begin();
	fdpass_pair(pair, SOCK_NONBLOCK);
	while (send(pair[1], bytes, sizeof(bytes), 0) > 0)
		;
	refusals_add(&refusals, &pair[1]);
	say(pair[0], 0, 100);
	dispatch();
	CHECK_EQ(refusals.at_work[0].source.fd, -1);
	close(pair[0]);
	end();
}
