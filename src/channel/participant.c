/* SPDX-License-Identifier: BSD-2-Clause */
#include <channel/participant.h>

#include <base/clock.h>
#include <trace/trace.h>

#include <ivshmem/client.h>

#include <errno.h>
#include <poll.h>
#include <sys/timerfd.h>

#define CHECK_EVERY NSEC_PER_SEC
#define MAX_PAUSE   (10 * NSEC_PER_MSEC)

/* ---- looking --------------------------------------------------------------------------------- */

static void
take_notice(struct ivshmem_participant *participant, unsigned area)
{
	struct neighbour *neighbour = &participant->neighbours[area];
	uint64_t bits = word_acquire(&map_notice(&participant->map, area, participant->area)->bits);
	uint64_t news = bits ^ neighbour->seen;

	if (!news)
		return;
	/* Who has something new after this gives another notice. */
	neighbour->seen = bits;
	word_store(&map_notice(&participant->map, participant->area, area)->seen, bits);
	word_fence();
	participant->area_changed(participant, area, news);
}

void
participant_mark_dead(struct ivshmem_participant *participant)
{
	uint64_t claim = layout_claim(participant->generation, LAYOUT_OWNED);

	__atomic_compare_exchange_n(participant_own_claim(participant), &claim,
		layout_claim(participant->generation, LAYOUT_DEAD), false, __ATOMIC_ACQ_REL,
		__ATOMIC_RELAXED);
}

void
participant_lose(struct ivshmem_participant *participant, int error)
{
	if (participant->lost)
		return;
	TRACE(area_lost, participant->area, error);
	participant->lost = error;
	participant_take_word_back(participant);
	participant->area_lost(participant);
}

void
participant_violated(struct ivshmem_participant *participant, unsigned of)
{
	TRACE(violation, participant->area, of);
	participant->violations++;
}

/* What needs no notice: that others die, and that there are some who cannot ring. */
static void
check_everything(struct ivshmem_participant *participant)
{
	struct layout_identity *identity = map_identity(&participant->map, participant->area);
	bool must_look = participant->transport.fd < 0;

	if (word_load(&map_header(&participant->map)->magic) != LAYOUT_MAGIC ||
		word_load(&map_header(&participant->map)->epoch) != participant->epoch) {
		participant_lose(participant, -ESTALE);
		return;
	}
	word_store(&identity->heartbeat, word_load(&identity->heartbeat) + 1);
	/* Once, and not for each area, so that nobody searches the entries more often than that. */
	participant->n_changes++;
	for (unsigned area = 0; area < participant->map.n_areas; area++) {
		/* Also of those that we have nothing to do with: others may have no way to tell. */
		uint64_t claim = neighbour_check(participant, area);
		const struct neighbour *neighbour;

		/* The check asks the transport, which may hear that the device left. */
		if (participant->lost)
			return;
		neighbour = neighbour_know(participant, area, layout_claim_generation(claim));
		if (neighbour && layout_claim_state(claim) == LAYOUT_OWNED &&
			!(neighbour->features & LAYOUT_CAN_RING))
			must_look = true;
		participant->area_changed(participant, area, 0);
	}
	/* Who could not ring has left, and nobody rang for what it did before. */
	participant->unannounced |= participant->must_look && !must_look;
	participant->must_look = must_look;
}

/* Whoever marks a participant as dead gives no notice. */
static void
look_at_claim(struct ivshmem_participant *participant, unsigned area)
{
	struct neighbour *neighbour = &participant->neighbours[area];
	uint64_t claim;

	if (neighbour->n_channels == 0)
		return;
	claim = word_acquire(map_claim(&participant->map, area));
	if (claim == neighbour->claim)
		return;
	neighbour->claim = claim;
	participant->unannounced |= layout_claim_state(claim) == LAYOUT_DEAD;
	participant->n_changes++;
	participant->area_changed(participant, area, 0);
}

int
participant_look(struct ivshmem_participant *participant)
{
	uint64_t now;

	if (participant_is_lost(participant))
		return participant->lost;
	now = clock_now();
	if (now >= participant->next_check) {
		participant->next_check = now + CHECK_EVERY;
		/* With them, we learn who is gone. Their notices are taken below. */
		participant_sleep(participant, 0);
		if (!participant->lost)
			check_everything(participant);
	}
	if (participant->due != 0 && now >= participant->due) {
		participant->due = 0;
		participant->unannounced = true;
	}
	for (unsigned area = 0; area < participant->map.n_areas && !participant->lost; area++) {
		look_at_claim(participant, area);
		take_notice(participant, area);
	}
	return participant->lost;
}

EXPORT int
ivshmem_participant_dispatch(struct ivshmem_participant *participant)
{
	participant_sleep(participant, 0);
	return participant_look(participant);
}

/* ---- telling others -------------------------------------------------------------------------- */

bool
participant_tell(struct ivshmem_participant *participant, unsigned area, uint64_t bits)
{
	struct neighbour *neighbour = &participant->neighbours[area];
	uint64_t seen = word_load(&map_notice(&participant->map, area, participant->area)->seen);
	uint64_t told = (neighbour->told & ~bits) | (~seen & bits);

	/* What it has not seen yet, it was rung for; unless either area had another owner then, who
	 * left bits or copies behind that look like a notice. */
	if (told == neighbour->told && neighbour->rung)
		return false;
	neighbour->told = told;
	neighbour->rung = true;
	word_release(&map_notice(&participant->map, participant->area, area)->bits, told);
	if (!participant->transport.ring || !(neighbour->features & LAYOUT_CAN_BE_RUNG))
		return false;
	TRACE(channel_ring, participant->area, area, neighbour->peer, neighbour->vector);
	participant->transport.ring(
		participant->transport.data, neighbour->peer, neighbour->vector);
	return true;
}

void
participant_leave_word(struct ivshmem_participant *participant)
{
	const struct ivshmem_transport *transport = &participant->transport;
	const struct ivshmem_store store = {
		.offset = (uint64_t)((uint8_t *)participant_own_claim(participant) -
				     participant->map.memory),
		.value = layout_claim(participant->generation, LAYOUT_DEAD),
	};
	struct ivshmem_target targets[IVSHMEM_ON_CLOSE_MOST];
	size_t n = 0;

	if (!transport->on_close)
		return;
	for (unsigned area = 0; area < participant->map.n_areas && n < IVSHMEM_ON_CLOSE_MOST;
		area++) {
		const struct neighbour *neighbour = &participant->neighbours[area];

		/* Those who are left out find out within a second. */
		if (neighbour->n_channels > 0 && neighbour->features & LAYOUT_CAN_BE_RUNG)
			targets[n++] = (struct ivshmem_target){neighbour->peer, neighbour->vector};
	}
	transport->on_close(transport->data, &store, 1, targets, transport->ring ? n : 0);
}

void
participant_link(struct ivshmem_participant *participant, unsigned area)
{
	if (participant->neighbours[area].n_channels++ == 0)
		participant_leave_word(participant);
}

void
participant_unlink(struct ivshmem_participant *participant, unsigned area)
{
	if (--participant->neighbours[area].n_channels == 0)
		participant_leave_word(participant);
}

void
participant_take_word_back(struct ivshmem_participant *participant)
{
	struct ivshmem_transport *transport = &participant->transport;

	if (transport->on_close)
		transport->on_close(transport->data, NULL, 0, NULL, 0);
	transport->on_close = NULL;
}

/* ---- sleeping -------------------------------------------------------------------------------- */

void
participant_look_at(struct ivshmem_participant *participant, uint64_t time)
{
	if (participant->due == 0 || time < participant->due)
		participant->due = time;
}

uint64_t
participant_next_pause(struct ivshmem_participant *participant)
{
	uint64_t pause = CHECK_EVERY;

	if (participant->must_look) {
		pause = participant->pause;
		participant->pause = 2 * pause < MAX_PAUSE ? 2 * pause : MAX_PAUSE;
	}
	if (participant->due != 0) {
		uint64_t now = clock_now();
		/* A timer of 0 would never end. */
		uint64_t left = participant->due > now ? participant->due - now : 1;

		pause = left < pause ? left : pause;
	}
	return pause;
}

void
participant_found_something(struct ivshmem_participant *participant)
{
	participant->pause = PARTICIPANT_MIN_PAUSE;
}

int
participant_sleep(struct ivshmem_participant *participant, uint64_t timeout_ns)
{
	struct pollfd fds[] = {{.fd = participant->transport.fd, .events = POLLIN}};
	struct timespec timeout = {
		.tv_sec = (time_t)(timeout_ns / NSEC_PER_SEC),
		.tv_nsec = (long)(timeout_ns % NSEC_PER_SEC),
	};
	int r = ppoll(fds, 1, &timeout, NULL);

	if (r < 0)
		return -errno;
	if (r == 0)
		return 0;
	participant->transport.clear(participant->transport.data);
	return 1;
}

void
participant_poll_again(struct ivshmem_participant *participant)
{
	uint64_t pause = participant_next_pause(participant);
	struct itimerspec when = {
		.it_value.tv_sec = (time_t)(pause / NSEC_PER_SEC),
		.it_value.tv_nsec = (long)(pause % NSEC_PER_SEC),
	};

	participant_sleep(participant, 0);
	timerfd_settime(participant->timer, 0, &when, NULL);
}

/* ---- what it is like ------------------------------------------------------------------------- */

EXPORT unsigned
ivshmem_participant_area(const struct ivshmem_participant *participant)
{
	return participant->area;
}

EXPORT uint64_t
ivshmem_participant_violations(const struct ivshmem_participant *participant)
{
	return participant->violations;
}

EXPORT uint64_t
ivshmem_participant_rescues(const struct ivshmem_participant *participant)
{
	return participant->rescues;
}
