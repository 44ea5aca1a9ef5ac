/* SPDX-License-Identifier: BSD-2-Clause */
#include <vfio_user/rejoin.h>

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
fail(struct rejoin *rejoin, const struct ivshmem_error *error)
{
	if (strcmp(error->message, rejoin->said.message) != 0)
		log_error(rejoin->log, "the group cannot be joined again: %s", error->message);
	rejoin->said = *error;
	rejoin->next = member_close(rejoin->next);
	rejoin->state = REJOIN_RESTING;
	set_timer(rejoin, next_pause(rejoin), wake_up);
	rejoin->settled(rejoin->data);
}

static void
time_out(struct loop_timer *timer)
{
	struct ivshmem_error error;

	error_set(&error, -ETIMEDOUT,
		"the server accepted us but did not send id and memory in time");
	fail(container_of(timer, struct rejoin, timer), &error);
}

static void
joined(struct member *member, void *data)
{
	struct rejoin *rejoin = data;
	struct ivshmem_error error;

	if (member != rejoin->next)
		return;
	if (rejoin->replace(member, rejoin->data, &error) < 0) {
		fail(rejoin, &error);
		return;
	}
	rejoin->next = NULL;
	rejoin->state = REJOIN_JOINED;
	rejoin->joined = clock_now();
	loop_timer_cancel(&rejoin->timer);
	rejoin->settled(rejoin->data);
}

/* Of a member that is on its way, it is ours to know; of one in use, it is the first one's owner's. */
static void
lost(struct member *member, const struct ivshmem_error *error, void *data)
{
	struct rejoin *rejoin = data;

	if (member == rejoin->next)
		fail(rejoin, error);
	else if (rejoin->config.lost)
		rejoin->config.lost(member, error, rejoin->config.data);
}

bool
rejoin_try(struct rejoin *rejoin)
{
	struct member_config config = rejoin->config;
	unsigned ms = config.timeout_ms;
	struct ivshmem_error error;

	if (rejoin->state != REJOIN_ALONE || !rejoin->allowed)
		return rejoin->state == REJOIN_JOINING;
	config.joined = joined;
	config.lost = lost;
	config.data = rejoin;
	if (member_open(&rejoin->next, rejoin->loop, &config, rejoin->log, &error) < 0) {
		log_debug(rejoin->log, "%s", error.message);
		set_timer(rejoin, LOOK_PAUSE, wake_up);
		return false;
	}
	rejoin->state = REJOIN_JOINING;
	set_timer(rejoin, (ms > 0 && ms < MAX_JOINING_MS ? ms : MAX_JOINING_MS) * NSEC_PER_MSEC,
		time_out);
	return true;
}

/* ---- when --------------------------------------------------------------------------------------- */

void
rejoin_init(struct rejoin *rejoin)
{
	rejoin->state = REJOIN_JOINED;
	rejoin->allowed = true;
	rejoin->joined = clock_now();
	rejoin->pause = LOOK_PAUSE;
}

void
rejoin_done(struct rejoin *rejoin)
{
	loop_timer_cancel(&rejoin->timer);
	rejoin->next = member_close(rejoin->next);
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
	rejoin->allowed = allowed;
	if (rejoin->state == REJOIN_JOINED)
		return;
	/* A VMM is let in only when nothing is on its way. */
	if (allowed)
		set_timer(rejoin, 0, wake_up);
	else
		loop_timer_cancel(&rejoin->timer);
	rejoin->state = REJOIN_ALONE;
}
