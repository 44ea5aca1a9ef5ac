/* SPDX-License-Identifier: BSD-2-Clause */
#include <group/rejoin.h>

#include <base/clock.h>
#include <base/error.h>
#include <base/list.h>
#include <base/log.h>

#include <errno.h>
#include <string.h>

/* To look whether somebody listens costs next to nothing. */
#define LOOK_PAUSE (500 * NSEC_PER_MSEC)

/* A membership that has lasted so long was a good one. */
#define GOOD_WHILE (60 * NSEC_PER_SEC)

#define MAX_PAUSE (60 * NSEC_PER_SEC)

/* A VMM may be waiting, and QEMU gives up after 5 s. */
#define MAX_JOINING_MS 3000

static void
set_timer(struct rejoin *rejoin, uint64_t delay, loop_timer_fn fn)
{
	loop_timer_set(rejoin->loop, &rejoin->timer, clock_now() + delay, fn);
}

/* Each pause is twice as long as the one before. */
static uint64_t
next_pause(struct rejoin *rejoin)
{
	uint64_t pause = rejoin->pause;

	rejoin->pause = 2 * pause < MAX_PAUSE ? 2 * pause : MAX_PAUSE;
	return pause;
}

/* ---- a try --------------------------------------------------------------------------------------- */

static void
wake_up(struct loop_timer *timer)
{
	struct rejoin *rejoin = container_of(timer, struct rejoin, timer);

	rejoin->state = REJOIN_ALONE;
	rejoin_try(rejoin);
}

static void
time_out(struct loop_timer *timer)
{
	struct ivshmem_error error;

	error_set(&error, -ETIMEDOUT,
		"the server accepted us but did not send id and memory in time");
	rejoin_failed(container_of(timer, struct rejoin, timer), &error);
}

bool
rejoin_try(struct rejoin *rejoin)
{
	struct ivshmem_error error;

	if (rejoin->state != REJOIN_ALONE || !rejoin->allowed)
		return rejoin->state == REJOIN_JOINING;
	if (rejoin->ops->begin(rejoin, &error) < 0) {
		log_debug(rejoin->log, "%s", error.message);
		set_timer(rejoin, LOOK_PAUSE, wake_up);
		return false;
	}
	rejoin->state = REJOIN_JOINING;
	set_timer(rejoin, rejoin->patience, time_out);
	return true;
}

void
rejoin_joined(struct rejoin *rejoin)
{
	rejoin->state = REJOIN_JOINED;
	rejoin->joined = clock_now();
	loop_timer_cancel(&rejoin->timer);
	rejoin->ops->settled(rejoin);
}

void
rejoin_failed(struct rejoin *rejoin, const struct ivshmem_error *error)
{
	if (strcmp(error->message, rejoin->said.message) != 0)
		log_error(rejoin->log, "the group cannot be joined again: %s", error->message);
	rejoin->said = *error;
	rejoin->ops->abandon(rejoin);
	rejoin->state = REJOIN_RESTING;
	set_timer(rejoin, next_pause(rejoin), wake_up);
	rejoin->ops->settled(rejoin);
}

/* ---- when --------------------------------------------------------------------------------------- */

void
rejoin_init(struct rejoin *rejoin, const struct rejoin_ops *ops, struct loop *loop,
	const struct log *log, unsigned timeout_ms)
{
	bool in_time = timeout_ms > 0 && timeout_ms < MAX_JOINING_MS;

	*rejoin = (struct rejoin){
		.ops = ops,
		.loop = loop,
		.log = log,
		.patience = (in_time ? timeout_ms : MAX_JOINING_MS) * NSEC_PER_MSEC,
		.state = REJOIN_JOINED,
		.allowed = true,
		.joined = clock_now(),
		.pause = LOOK_PAUSE,
	};
}

void
rejoin_done(struct rejoin *rejoin)
{
	loop_timer_cancel(&rejoin->timer);
	if (rejoin->state == REJOIN_JOINING)
		rejoin->ops->abandon(rejoin);
}

void
rejoin_lost(struct rejoin *rejoin)
{
	if (rejoin->state != REJOIN_JOINED)
		return;
	rejoin->state = REJOIN_ALONE;
	if (clock_now() - rejoin->joined > GOOD_WHILE) {
		rejoin->pause = LOOK_PAUSE;
		rejoin->said.message[0] = '\0';
	}
	/* Not at once: a server that dies may still listen when it has closed our connection. */
	if (rejoin->allowed)
		set_timer(rejoin, next_pause(rejoin), wake_up);
}

void
rejoin_allow(struct rejoin *rejoin, bool allowed)
{
	if (allowed == rejoin->allowed)
		return;
	rejoin->allowed = allowed;
	if (rejoin->state == REJOIN_JOINED)
		return;
	if (rejoin->state == REJOIN_JOINING)
		rejoin->ops->abandon(rejoin);
	rejoin->state = REJOIN_ALONE;
	if (allowed)
		set_timer(rejoin, 0, wake_up);
	else
		loop_timer_cancel(&rejoin->timer);
}
