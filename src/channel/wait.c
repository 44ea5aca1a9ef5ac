/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Waiting: spin for a while, then ask to be rung, look once more, and sleep.
 *
 * Whoever is asked to ring stores what is new, has a fence, and looks whether it was asked. Whoever
 * sleeps asks, has a fence, and looks whether there is something new. At least one of the two sees
 * the other.
 *
 * How long to spin: as long as it pays. The time doubles when something came while we spun, and
 * halves when nothing did. It is 0 where we have one processor only, and when somebody else ran on
 * our processor while we spun: that may have been the one whom we were waiting for.
 */
#include <channel/participant.h>

#include <base/clock.h>
#include <trace/trace.h>

#include <errno.h>

#define MIN_SPIN UINT64_C(2000)
#define MAX_SPIN UINT64_C(200000)
#define STOLEN   UINT64_C(50000) /* a longer look than this: we did not have the processor */

static void
relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

static bool
spin(struct waiter *waiter, uint64_t deadline)
{
	uint64_t start = clock_now();
	uint64_t until = start + *waiter->budget;
	uint64_t now = start;

	if (now >= deadline)
		return false;
	if (until > deadline)
		until = deadline;
	while (now < until) {
		uint64_t before = now;

		for (unsigned i = 0; i < 16; i++) {
			if (waiter->there(waiter->data)) {
				*waiter->budget = 2 * *waiter->budget < MAX_SPIN
							  ? 2 * *waiter->budget
							  : MAX_SPIN;
				return true;
			}
			relax();
		}
		now = clock_now();
		if (now - before > STOLEN) {
			*waiter->budget = 0;
			return false;
		}
	}
	*waiter->budget = *waiter->budget / 2 >= MIN_SPIN ? *waiter->budget / 2 : 0;
	return false;
}

/*
 * Nothing rang us, and yet something is there. Either its ring is on the way, or who had to ring
 * has died, or the ring was lost, which must not happen.
 */
static void
count_rescue(struct ivshmem_participant *participant)
{
	int r;

	if (participant->must_look || participant->unannounced)
		return;
	r = participant_sleep(participant, participant->patience);
	participant->next_check = 0;
	/* What we were rung for may concern other channels, too. */
	participant_look(participant);
	if (r == 0 && !participant->must_look && !participant->unannounced) {
		TRACE(channel_rescue, participant->area);
		participant->rescues++;
	}
}

/*
 * For the trace. Who has nothing to do wakes up now and then to look, and would fill the ring with it.
 * So a sleep lasts until there was a ring, or something to do.
 */
static void
falls_asleep(struct ivshmem_participant *participant)
{
	if (!participant->asleep)
		TRACE(channel_sleep, participant->area);
	participant->asleep = true;
}

static void
wakes_up(struct ivshmem_participant *participant, bool rung)
{
	if (participant->asleep)
		TRACE(channel_wake, participant->area, rung);
	participant->asleep = false;
}

int
wait_for(struct ivshmem_participant *participant, struct waiter *waiter, uint64_t deadline)
{
	bool rung = true;

	for (;;) {
		uint64_t now;
		uint64_t pause;
		int r;

		participant->unannounced = false;
		r = participant_look(participant);
		if (r < 0)
			return r;
		if (waiter->there(waiter->data)) {
			participant_found_something(participant);
			wakes_up(participant, false);
			if (!rung)
				count_rescue(participant);
			return 0;
		}
		if (waiter->budget && participant->may_spin && *waiter->budget > 0 &&
			!waiter->slept && spin(waiter, deadline)) {
			waiter->spun = true;
			return 0;
		}
		now = clock_now();
		if (now >= deadline)
			return -ETIMEDOUT;
		if (waiter->arm)
			waiter->arm(waiter->data);
		/* The last look after having asked. */
		r = participant_look(participant);
		if (r < 0)
			return r;
		if (waiter->there(waiter->data))
			return 0;
		waiter->slept = true;
		pause = participant_next_pause(participant);
		falls_asleep(participant);
		r = participant_sleep(participant, pause < deadline - now ? pause : deadline - now);
		if (r > 0)
			wakes_up(participant, true);
		if (r < 0)
			return r;
		rung = r > 0;
	}
}
