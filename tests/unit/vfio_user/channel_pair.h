/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef UNIT_CHANNEL_PAIR_H
#define UNIT_CHANNEL_PAIR_H

/* A channel with a real socket, and the other end of it. For one file of tests each. */

#include <vfio_user/channel.h>

#include <fdpass.h>
#include <marks.h>
#include <test.h>

#include <signal.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define HEADER   sizeof(struct vfio_user_header)
#define MAX_SIZE (HEADER + MESSAGE_MAX_BODY)

/* The VMM's end, and ours. */
static int pair[2];
static struct channel channel;

static void
open_spinning_channel(uint64_t spin_ns)
{
	fdpass_pair(pair, 0);
	CHECK_EQ(channel_init(&channel, pair[1], spin_ns, NULL), 0);
}

static void
open_channel(void)
{
	open_spinning_channel(0);
}

static void
close_end(unsigned end)
{
	if (pair[end] >= 0)
		close(pair[end]);
	pair[end] = -1;
}

static void
close_channel(void)
{
	channel_done(&channel);
	close_end(0);
	close_end(1);
}

#define CHANNEL_TEST(name, ...)                                                                    \
	TEST_WITH(name, .begin = open_channel, .end = close_channel, __VA_ARGS__)

/* What is at `i` of the body of message `id`. */
static uint8_t
body_byte(unsigned id, size_t i)
{
	return (uint8_t)(id * 31 + i * 7 + (i >> 8));
}

static void
on_alarm(int signal)
{
	(void)signal;
}

/* Signals that cut calls short, from now on; 0: no longer. */
static void
interrupt_every(suseconds_t us)
{
	const struct sigaction action = {.sa_handler = on_alarm};
	const struct itimerval timer = {{0, us}, {0, us}};

	CHECK_SYS(sigaction(SIGALRM, &action, NULL));
	CHECK_SYS(setitimer(ITIMER_REAL, &timer, NULL));
}

#endif
