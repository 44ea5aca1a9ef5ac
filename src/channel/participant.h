/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef CHANNEL_PARTICIPANT_H
#define CHANNEL_PARTICIPANT_H

/*
 * The inside of a participant: its area, what it knows of the others, its channels.
 *
 * Theory of operation. Everything that others may have done is found by looking at their areas. A
 * notice (layout.h) says in which of them to look, and an interrupt says that there is a notice. So
 * an interrupt that is lost, or comes without a reason, does no harm: participant_look() looks at
 * all notices, once a second at everything, and costs one load for each area otherwise.
 *
 *	participant	the own area, looking, telling others, sleeping
 *	neighbours	whose the other areas are, and whether they live
 *	wait		spinning and sleeping
 *	channel		listeners and ends of channels (channel.h)
 */

#include <channel/heap.h>
#include <channel/map.h>
#include <channel/ring.h>

#include <base/list.h>

#include <ivshmem/channel.h>

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>

#define PARTICIPANT_MIN_PAUSE UINT64_C(50000) /* ns */

#define EXPORT __attribute__((visibility("default")))

/* What we know of another area. */
struct neighbour {
	uint32_t generation; /* whose numbers these are; 0: nobody's yet */
	uint32_t features;
	uint16_t peer;
	uint16_t vector;
	uint64_t claim; /* as we saw it last, if we have a channel to it */
	uint64_t seen;  /* our copy of its bits for us; the other one is in our area */
	uint64_t told;  /* our bits for it; the other copy is in our area */
	bool rung;      /* since this generation; what it has not seen before, nobody rang it for */
	/* For each of its entries, the generation whose connection we have accepted. */
	uint32_t *taken;
	unsigned n_channels;    /* that we have to it; one who reads what we publish counts, too */
	uint64_t unready_since; /* when we first saw that its owner is not ready; 0: it is */
	uint32_t unready;       /* the generation that this is about */
};

struct ivshmem_participant {
	struct map map;
	struct ivshmem_transport transport;
	char name[LAYOUT_MAX_NAME];

	unsigned area;
	uint32_t generation;
	uint64_t epoch;
	struct heap heap;
	struct neighbour *neighbours;     /* map.n_areas */
	struct ivshmem_channel **entries; /* map.n_entries; NULL: free */
	uint32_t *entry_generations;      /* map.n_entries; how often each was used */
	struct list channels;
	/* What looking leads to (channel.c): an area has a notice with these bits, or (0)
	 * everything is to be looked at; the own area is lost. */
	void (*area_changed)(struct ivshmem_participant *participant, unsigned area, uint64_t bits);
	void (*area_lost)(struct ivshmem_participant *participant);

	int timer; /* a timerfd, for those who wait by descriptors */
	/* For one who polls all channels at once: an epoll descriptor as that of a channel, or -1;
	 * an eventfd that is readable while there are `ready_channels`. */
	int fd, ready;
	struct list ready_channels;
	bool looked;         /* for those, since the user was told last that there are none */
	uint64_t kernel;     /* neighbour_kernel() */
	bool may_spin;       /* there is more than one processor */
	uint64_t next_check; /* when to look at everything again; clock_now() */
	uint64_t due;        /* when to look because somebody's patience ends; 0: never */
	uint64_t pause;      /* how long to sleep before the next look, if nobody rings us; ns */
	uint64_t n_changes;  /* how often entries of others have changed */
	bool asleep;         /* for the trace */
	bool must_look;      /* somebody who matters cannot ring us, or nobody can */
	bool unannounced;    /* we have found what nobody rings for: that somebody died */
	int lost;            /* 0; or why the area cannot be used any more, -ESTALE or -ENODEV */
	uint64_t patience;   /* how long a ring may be on its way before it counts as lost; ns */
	uint64_t rescues;
	uint64_t violations; /* how often another participant broke the rules */
};

/* ---- participant ----------------------------------------------------------------------------- */

static inline uint64_t *
participant_own_claim(const struct ivshmem_participant *participant)
{
	return map_claim(&participant->map, participant->area);
}

/* Tell the others that we do nothing any more: they see it within a second. */
void participant_mark_dead(struct ivshmem_participant *participant);

/* The area is not ours any more (-ESTALE), or the memory must not be touched any more (-ENODEV):
 * all channels end with this error. */
void participant_lose(struct ivshmem_participant *participant, int error);

/* The participant of area `of` broke the rules. */
void participant_violated(struct ivshmem_participant *participant, unsigned of);

/* Whether that is so. Whoever is about to write to the area asks. */
static inline bool
participant_is_lost(struct ivshmem_participant *participant)
{
	if (!participant->lost && word_load(participant_own_claim(participant)) !=
					  layout_claim(participant->generation, LAYOUT_OWNED))
		participant_lose(participant, -ESTALE);
	return participant->lost != 0;
}

/* Handle all notices, and once a second look at everything. -ESTALE or -ENODEV if we are lost. */
int participant_look(struct ivshmem_participant *participant);

/* Whether `area` has a notice for us. */
static inline bool
participant_has_notice(const struct ivshmem_participant *participant, unsigned area)
{
	return word_load(&map_notice(&participant->map, area, participant->area)->bits) !=
	       participant->neighbours[area].seen;
}

/*
 * Give the participant of `area` a notice with these bits, and ring it unless it has not seen the
 * last notice. The caller has had a fence after what it did. True if it was rung.
 */
bool participant_tell(struct ivshmem_participant *participant, unsigned area, uint64_t bits);

/*
 * Leave word of what is to happen if this process dies: the area is marked as dead, and those whom
 * we have channels to are rung. Called whenever these change.
 */
void participant_leave_word(struct ivshmem_participant *participant);

/* We have a channel to `area` from now on, or one less. */
void participant_link(struct ivshmem_participant *participant, unsigned area);
void participant_unlink(struct ivshmem_participant *participant, unsigned area);

/* The area is not ours any more, or we end in an orderly way. */
void participant_take_word_back(struct ivshmem_participant *participant);

/* At this time there is something to do, and nobody rings. */
void participant_look_at(struct ivshmem_participant *participant, uint64_t time);

/* How long one who sleeps may sleep until the next look, in nanoseconds. */
uint64_t participant_next_pause(struct ivshmem_participant *participant);

/* Something was found: look often again. */
void participant_found_something(struct ivshmem_participant *participant);

/*
 * Sleep until we are rung or for `timeout_ns`, then take the interrupts. 1 if we were rung, 0, or
 * -EINTR.
 */
int participant_sleep(struct ivshmem_participant *participant, uint64_t timeout_ns);

/* For who waits by descriptors: take the interrupts that came, and set the timer for the next
 * look. */
void participant_poll_again(struct ivshmem_participant *participant);

/* ---- neighbours ------------------------------------------------------------------------------ */

/* Take an area: a free one, or one of a participant that has left or died. -ENOSPC. */
int neighbours_claim(struct ivshmem_participant *participant, struct ivshmem_error *reterr);

/* What we know of `area`, if generation `generation` has it and can be read; else NULL. */
struct neighbour *neighbour_know(
	struct ivshmem_participant *participant, unsigned area, uint32_t generation);

/* The claim of `area`, after we have looked whether its owner still lives, as far as we can
 * tell. */
uint64_t neighbour_check(struct ivshmem_participant *participant, unsigned area);

/* What only those have who see the same processes with the same numbers and times: this start of
 * this kernel, and the namespaces of PIDs and time. 0: unknown. */
uint64_t neighbour_kernel(void);

/* Whether this is a process that we can look for, because it is of `kernel`, which is ours. */
bool neighbour_is_ours(const struct layout_identity *identity, uint64_t kernel);
/* If so: whether it has died. */
bool neighbour_process_is_gone(const struct layout_identity *identity);

/* Who we are, for those in the same kernel. */
void neighbour_identify(
	const struct ivshmem_participant *participant, struct layout_identity *identity);

/* ---- wait ------------------------------------------------------------------------------------ */

struct waiter {
	/* Whether it is there. */
	bool (*there)(void *data);
	/* Ask to be rung for it. */
	void (*arm)(void *data);
	void *data;
	uint64_t *budget; /* for spinning; NULL: do not spin */
	bool slept, spun; /* what it did */
};

/* Wait until `deadline` (clock_deadline()) at most. 0, -ETIMEDOUT, -EINTR, -ESTALE, -ENODEV. */
int wait_for(struct ivshmem_participant *participant, struct waiter *waiter, uint64_t deadline);

#endif
