/* SPDX-License-Identifier: BSD-2-Clause */
#include <channel/participant.h>

#include <base/clock.h>
#include <base/error.h>
#include <base/fd.h>
#include <trace/trace.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MOVING_IN (2 * NSEC_PER_SEC)
#define MAX_LOST  10000 /* races for an area */

/* ---- processes of this kernel ---------------------------------------------------------------- */

uint64_t
neighbour_kernel(void)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);
	char text[96] = {0};
	struct stat pids, times;
	_fd_cleanup_ int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);

	if (fd < 0 || read(fd, text, 40) <= 0 || stat("/proc/self/ns/pid", &pids) < 0)
		return 0;
	/* Linux before 5.6 has one time for all. */
	if (stat("/proc/self/ns/time", &times) < 0)
		times.st_ino = 0;
	snprintf(text + strcspn(text, "\n"), 48, " %" PRIu64 " %" PRIu64, (uint64_t)pids.st_ino,
		(uint64_t)times.st_ino);
	for (const char *c = text; *c; c++)
		hash = (hash ^ (unsigned char)*c) * UINT64_C(0x100000001b3);
	return hash | 1;
}

/* When a process started, in ticks, and its state. 0: we cannot tell. */
static uint64_t
started(uint32_t pid, char *ret_state)
{
	char path[64];
	char text[512];
	const char *rest;
	uint64_t ticks = 0;
	ssize_t n;
	_fd_cleanup_ int fd = -1;

	/* It is that of the first thread. In /proc/PID/stat, qemu-user gives programs for other
	 * processors a time of its own, which nobody else sees. */
	snprintf(path, sizeof(path), "/proc/%" PRIu32 "/task/%" PRIu32 "/stat", pid, pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (n <= 0)
		return 0;
	text[n] = 0;
	/* The second field is the name in parentheses, which can contain anything; the 22nd is what
	 * we want. */
	rest = strrchr(text, ')');
	if (!rest || rest[1] != ' ')
		return 0;
	*ret_state = rest[2];
	for (unsigned field = 2; rest && field < 22; field++)
		rest = strchr(rest + 1, ' ');
	if (rest)
		ticks = strtoull(rest, NULL, 10);
	return ticks;
}

/* Whether a process has nothing but its leader; then a leader that is a zombie was the last one. */
static bool
has_one_thread(uint32_t pid)
{
	char path[32];
	struct stat tasks;

	snprintf(path, sizeof(path), "/proc/%" PRIu32 "/task", pid);
	return stat(path, &tasks) < 0 || tasks.st_nlink <= 3;
}

bool
neighbour_is_ours(const struct layout_identity *identity, uint64_t kernel)
{
	return kernel != 0 && word_load(&identity->kernel) == kernel;
}

bool
neighbour_process_is_gone(const struct layout_identity *identity)
{
	uint32_t pid = half_load(&identity->pid);
	uint64_t when = word_load(&identity->started);
	char state = 0;
	uint64_t found;

	if (pid == 0 || pid > INT32_MAX)
		return false;
	if (kill((pid_t)pid, 0) < 0 && errno == ESRCH)
		return true;
	found = started(pid, &state);
	return found != 0 && (found != when || (state == 'Z' && has_one_thread(pid)));
}

void
neighbour_identify(const struct ivshmem_participant *participant, struct layout_identity *identity)
{
	uint32_t pid = (uint32_t)getpid();
	char state;

	word_store(&identity->kernel, participant->kernel);
	word_store(&identity->started, started(pid, &state));
	__atomic_store_n(&identity->pid, pid, __ATOMIC_RELAXED);
}

/* ---- knowing them ---------------------------------------------------------------------------- */

struct neighbour *
neighbour_know(struct ivshmem_participant *participant, unsigned area, uint32_t generation)
{
	struct neighbour *neighbour = &participant->neighbours[area];
	const struct layout_identity *identity = map_identity(&participant->map, area);

	if (word_acquire(&identity->ready) != generation || generation == 0)
		return NULL;
	if (neighbour->generation != generation) {
		neighbour->features = half_load(&identity->features);
		neighbour->peer = __atomic_load_n(&identity->peer, __ATOMIC_RELAXED);
		neighbour->vector = __atomic_load_n(&identity->vector, __ATOMIC_RELAXED);
		neighbour->generation = generation;
		neighbour->rung = false;
		participant->n_changes++;
		free(neighbour->taken);
		neighbour->taken = NULL;
	}
	return neighbour;
}

/* ---- who lives ------------------------------------------------------------------------------- */

/* Whether the owner of `area` is known to have died. */
static bool
owner_is_gone(struct ivshmem_participant *participant, unsigned area, uint32_t generation)
{
	const struct layout_identity *identity = map_identity(&participant->map, area);
	const struct ivshmem_transport *transport = &participant->transport;
	struct neighbour *neighbour = &participant->neighbours[area];

	/* Nobody can know who has just claimed the area. Whoever does so is ready within a
	 * moment. */
	if (word_acquire(&identity->ready) != generation) {
		if (neighbour->unready_since == 0 || neighbour->unready != generation)
			neighbour->unready_since = clock_now();
		neighbour->unready = generation;
		return clock_now() - neighbour->unready_since > MOVING_IN;
	}
	neighbour->unready_since = 0;
	if (neighbour_is_ours(identity, participant->kernel))
		return neighbour_process_is_gone(identity);
	return transport->is_gone && (half_load(&identity->features) & LAYOUT_CAN_BE_RUNG) &&
	       transport->is_gone(
		       transport->data, __atomic_load_n(&identity->peer, __ATOMIC_RELAXED));
}

uint64_t
neighbour_check(struct ivshmem_participant *participant, unsigned area)
{
	uint64_t *word = map_claim(&participant->map, area);
	uint64_t claim = word_acquire(word);
	uint64_t dead = layout_claim(layout_claim_generation(claim), LAYOUT_DEAD);

	if (layout_claim_state(claim) != LAYOUT_OWNED || area == participant->area ||
		!owner_is_gone(participant, area, layout_claim_generation(claim)))
		return claim;
	/* Several may find this out at the same time. */
	if (__atomic_compare_exchange_n(
		    word, &claim, dead, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
		TRACE(area_dead, (int32_t)participant->area, area, layout_claim_generation(claim));
		claim = dead;
	}
	return claim;
}

/* ---- taking an area -------------------------------------------------------------------------- */

/* Areas that nobody ever had come first, then those that were left, the least used one first: so
 * what was sent last can be read for long. */
static bool
is_better(uint64_t claim, uint64_t than)
{
	enum layout_claim_state state = layout_claim_state(claim);
	enum layout_claim_state other = layout_claim_state(than);

	if ((state == LAYOUT_FREE) != (other == LAYOUT_FREE))
		return state == LAYOUT_FREE;
	return layout_claim_generation(claim) < layout_claim_generation(than);
}

/* The best area to take: its number, or -1. */
static int
find_area(struct ivshmem_participant *participant, uint64_t *ret_claim)
{
	int best = -1;

	for (unsigned area = 0; area < participant->map.n_areas; area++) {
		uint64_t claim = neighbour_check(participant, area);

		if (layout_claim_state(claim) == LAYOUT_OWNED ||
			(best >= 0 && !is_better(claim, *ret_claim)))
			continue;
		*ret_claim = claim;
		best = (int)area;
	}
	return best;
}

/* Whether some area belongs to one who is not ready. */
static bool
somebody_moves_in(const struct ivshmem_participant *participant)
{
	for (unsigned area = 0; area < participant->map.n_areas; area++)
		if (participant->neighbours[area].unready_since != 0)
			return true;
	return false;
}

int
neighbours_claim(struct ivshmem_participant *participant, struct ivshmem_error *reterr)
{
	uint64_t until = clock_now() + MOVING_IN + NSEC_PER_SEC;
	uint64_t claim = 0;
	unsigned lost = 0;
	int area;

	participant->area = UINT32_MAX; /* none is ours yet */
	while ((area = find_area(participant, &claim)) >= 0 ||
		(somebody_moves_in(participant) && clock_now() < until)) {
		uint32_t generation = layout_claim_generation(claim) + 1;

		if (area < 0) {
			usleep(10000);
			continue;
		}
		generation += generation == 0;
		if (!__atomic_compare_exchange_n(map_claim(&participant->map, (unsigned)area),
			    &claim, layout_claim(generation, LAYOUT_OWNED), false, __ATOMIC_ACQ_REL,
			    __ATOMIC_RELAXED)) {
			/* Another one was quicker, or it writes claims all the time. */
			if (++lost > MAX_LOST)
				break;
			continue;
		}
		participant->area = (unsigned)area;
		participant->generation = generation;
		TRACE(area_taken, area, generation, participant->map.n_areas);
		/* Whoever still reads the area must see the claim before what we write there. */
		word_fence();
		return 0;
	}
	return error_set(reterr, -ENOSPC,
		"all %u areas of the shared memory belong to participants that live: end some (see 'ivshmem channels'), or "
		"format memory for more areas ('ivshmem format')",
		participant->map.n_areas);
}
