/* SPDX-License-Identifier: BSD-2-Clause */

/* VMMs at the door: who is let in, who waits, who is sent away, and with which words. */

#include <vfio_user/door.h>

#include <base/log.h>
#include <base/pace.h>
#include <vfio_user/protocol.h>

#include <fdpass.h>
#include <marks.h>
#include <test.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct loop *loop;
static struct door door;
static struct pace complaints;
static enum door_state state;
static int inside[4], n_inside; /* who was let in */
static unsigned n_warnings;
static char warning[1024];

static enum door_state
get_state(void *data)
{
	CHECK(data == &door);
	return state;
}

static void
enter(int *socket, const struct process *who, void *data)
{
	CHECK(data == &door);
	CHECK_EQ(who->pid, getpid());
	CHECK(n_inside < 4);
	inside[n_inside++] = *socket;
	*socket = -1;
	state = DOOR_CLOSED;
}

static void
write_log(void *data, enum log_level level, const char *message)
{
	CHECK(data == &door);
	CHECK_EQ(level, LOG_LEVEL_WARNING);
	snprintf(warning, sizeof(warning), "%s", message);
	n_warnings++;
}

static const struct log log_here = {LOG_LEVEL_WARNING, write_log, &door};

static void
begin(void)
{
	CHECK_EQ(loop_new(&loop), 0);
	complaints = (struct pace){.log = &log_here, .level = LOG_LEVEL_WARNING};
	door = (struct door){
		.loop = loop,
		.complaints = &complaints,
		.grace_ns = DOOR_GRACE,
		.state = get_state,
		.enter = enter,
		.data = &door,
	};
	door_init(&door);
	state = DOOR_OPEN;
	n_inside = 0;
	n_warnings = 0;
}

static void
end(void)
{
	door_done(&door);
	while (n_inside > 0)
		close(inside[--n_inside]);
	CHECK_EQ(loop_dispatch(loop, 0), 0);
	loop_free(loop);
}

/* A test at an open door, until it says something else. */
#define DOOR_TEST(name) TEST_WITH(name, .begin = begin, .end = end)

static void
dispatch(void)
{
	while (loop_dispatch(loop, 0) > 0)
		;
}

/* A VMM's end of a new connection. */
static int
newcomer(void)
{
	int pair[2];

	fdpass_pair(pair, SOCK_NONBLOCK);
	door_add(&door, &pair[1]);
	CHECK_EQ(pair[1], -1);
	dispatch();
	return pair[0];
}

/* A first message of this size, of which so many bytes are sent, with a descriptor. */
static void
say_part(int vmm, uint32_t flags, uint32_t size, size_t sent)
{
	static uint8_t bytes[4096];
	struct vfio_user_header header = {.id = 77, .command = 1, .size = size, .flags = flags};

	memcpy(bytes, &header, sizeof(header));
	CHECK_EQ(fdpass_send(vmm, bytes, sent, &(int){STDERR_FILENO}, 1), sent);
	dispatch();
}

static void
say(int vmm, uint32_t flags, uint32_t size)
{
	say_part(vmm, flags, size, size);
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
check_refused(int vmm, uint32_t error)
{
	struct vfio_user_header header;

	CHECK_EQ(recv(vmm, &header, sizeof(header), 0), sizeof(header));
	CHECK_EQ(header.id, 77);
	CHECK_EQ(header.command, 1);
	CHECK_EQ(header.size, 16);
	CHECK_EQ(header.flags, VFIO_USER_TYPE_REPLY | VFIO_USER_ERROR);
	CHECK_EQ(header.error, error);
	check_end(vmm);
}

/* Nothing else may wait in the socket. */
static void
check_inside(int number, int vmm)
{
	char bytes[200];

	while (recv(inside[number], bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
		;
	CHECK_EQ(send(vmm, "this", 4, 0), 4);
	CHECK_EQ(recv(inside[number], bytes, sizeof(bytes), MSG_DONTWAIT), 4);
}

/* The time of a visitor is over. */
static void
expire(unsigned place)
{
	struct loop_timer *timer = &door.visitors[place].timer;

	CHECK(loop_timer_is_set(timer));
	loop_timer_set(loop, timer, 1, timer->fn);
	dispatch();
}

static void
check_warning(const char *words)
{
	if (!strstr(warning, words))
		FAIL("finding \"%s\" in \"%s\"", words, warning);
}

/* Nothing was read: the one inside gets the message, and its descriptor. */
DOOR_TEST(who_speaks_is_let_in)
{
	uint8_t bytes[256];
	int vmm = newcomer(), fds[4];
	size_t n_fds;

	CHECK_EQ(n_inside, 0);
	say(vmm, 0, 200);
	CHECK_EQ(n_inside, 1);
	CHECK_EQ(fdpass_recv(inside[0], bytes, sizeof(bytes), fds, 4, &n_fds, NULL), 200);
	CHECK_EQ(n_fds, 1);
	close(fds[0]);
	close(vmm);
	CHECK_EQ(n_warnings, 0);
}

/* Half a message, in pieces, is not a word; the last piece makes it one. */
DOOR_TEST(in_pieces)
{
	int vmm = newcomer();

	say_part(vmm, 0, 100, 16);
	for (unsigned i = 16; i < 100; i++) {
		CHECK_EQ(n_inside, 0);
		CHECK_EQ(send(vmm, "x", 1, 0), 1);
		dispatch();
	}
	CHECK_EQ(n_inside, 1);
	close(vmm);
}

/* What is no message is for the session to refuse; what never fits is refused here. */
TEST(impossible_sizes)
{
	const uint32_t sizes[] = {0, 15, UINT32_MAX};
	int vmm;

	for (unsigned i = 0; i < 3; i++) {
		begin();
		vmm = newcomer();
		say_part(vmm, 0, sizes[i], 16);
		CHECK_EQ(n_inside, 1);
		close(vmm);
		end();
	}
	begin();
	vmm = newcomer();
	say_part(vmm, 0, 1 << 20, 2000);
	CHECK_EQ(n_inside, 0);
	check_refused(vmm, EINVAL);
	check_warning("too long");
	end();
}

/* Whoever says nothing holds up nobody. */
DOOR_TEST(silence)
{
	int silent = newcomer(), half = newcomer(), vmm;

	say_part(half, 0, 100, 99);
	vmm = newcomer();
	say(vmm, 0, 100);
	CHECK_EQ(n_inside, 1);
	CHECK(is_waiting(silent));
	CHECK(is_waiting(half));
	expire(0);
	check_end(silent);
	check_warning("sent no whole message");
	expire(1);
	check_end(half);
	CHECK_EQ(n_warnings, 2);
	close(vmm);
}

/* The place is taken, and stays so. */
DOOR_TEST(busy)
{
	int vmm = newcomer();

	state = DOOR_CLOSED;
	say(vmm, 0, 200);
	CHECK(is_waiting(vmm));
	expire(0);
	check_refused(vmm, EBUSY);
	check_warning("another VMM has the device");
	/* With much more than a message, and without a wish for an answer. */
	vmm = newcomer();
	for (unsigned i = 0; i < 20; i++)
		say(vmm, 0, 4000);
	expire(0);
	check_refused(vmm, EBUSY);
	vmm = newcomer();
	say(vmm, VFIO_USER_NO_REPLY, 200);
	expire(0);
	check_end(vmm);
	CHECK_EQ(n_inside, 0);
}

/* The one inside goes while others wait: the first who spoke is next, whoever came first. */
DOOR_TEST(who_waits_longest_is_next)
{
	int vmms[3];

	state = DOOR_CLOSED;
	for (unsigned i = 0; i < 3; i++)
		vmms[i] = newcomer();
	say(vmms[1], 0, 100);
	say(vmms[0], 0, 100);
	door_look(&door);
	CHECK_EQ(n_inside, 0);
	state = DOOR_OPEN;
	door_look(&door);
	CHECK_EQ(n_inside, 1);
	check_inside(0, vmms[1]);
	state = DOOR_OPEN;
	door_look(&door);
	CHECK_EQ(n_inside, 2);
	check_inside(1, vmms[0]);
	for (unsigned i = 0; i < 3; i++)
		close(vmms[i]);
	CHECK_EQ(n_warnings, 0);
}

/* The one inside is about to go: nobody is refused until it has, however long that takes. */
DOOR_TEST(soon)
{
	int vmm = newcomer();

	state = DOOR_SOON;
	say(vmm, 0, 100);
	for (unsigned i = 0; i < 3; i++) {
		expire(0);
		CHECK(is_waiting(vmm));
	}
	state = DOOR_OPEN;
	door_look(&door);
	CHECK_EQ(n_inside, 1);
	close(vmm);
}

DOOR_TEST(gone_before_it_was_told)
{
	int vmm = newcomer();

	state = DOOR_CLOSED;
	close(vmm);
	dispatch();
	CHECK_EQ(door.visitors[0].source.fd, -1);
	vmm = newcomer();
	say(vmm, 0, 100);
	close(vmm);
	dispatch();
	CHECK_EQ(door.visitors[0].source.fd, -1);
	vmm = newcomer();
	CHECK_EQ(send(vmm, "x", 1, 0), 1);
	CHECK_EQ(shutdown(vmm, SHUT_WR), 0);
	dispatch();
	check_end(vmm);
}

/* Crowds: the silent go first, then those who wait longest, and the newest always has a place. */
DOOR_TEST(crowd)
{
	int vmms[2 * DOOR_VISITORS + 1], vmm;

	state = DOOR_CLOSED;
	for (unsigned i = 0; i < DOOR_VISITORS + 3; i++) {
		vmms[i] = newcomer();
		if (i >= DOOR_VISITORS)
			check_end(vmms[i - DOOR_VISITORS]);
	}
	for (unsigned i = 3; i < DOOR_VISITORS + 3; i++) {
		CHECK(is_waiting(vmms[i]));
		if (i > 3)
			say(vmms[i], 0, 100);
	}
	vmm = newcomer();
	check_end(vmms[3]);
	say(vmm, 0, 100);
	CHECK_EQ(n_warnings, 0);
	/* All wait now. */
	vmms[3] = newcomer();
	check_refused(vmms[4], EBUSY);
	CHECK_EQ(n_warnings, 1);
	door_done(&door);
	check_end(vmm);
	check_end(vmms[3]);
	for (unsigned i = 5; i < DOOR_VISITORS + 3; i++)
		check_end(vmms[i]);
}

/* A VMM that does not read what it is told: nobody waits. */
DOOR_TEST(full_socket)
{
	int pair[2];
	char bytes[1024] = {0};

	state = DOOR_CLOSED;
	fdpass_pair(pair, SOCK_NONBLOCK);
	while (send(pair[1], bytes, sizeof(bytes), 0) > 0)
		;
	door_add(&door, &pair[1]);
	say(pair[0], 0, 100);
	expire(0);
	CHECK_EQ(door.visitors[0].source.fd, -1);
	close(pair[0]);
}
