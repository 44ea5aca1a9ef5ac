/* SPDX-License-Identifier: BSD-2-Clause */
#include "deaths_play.h"

#include <base/clock.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#define MAX_TURNS 16
#define SAMPLES   40
#define NOWHERE   UINT32_MAX

struct cast cast;

/* ---- who dies -------------------------------------------------------------------------------- */

/* What it says about its turn. */
#define DONE   'd'
#define STANDS 's'

static struct {
	unsigned turns;         /* in which it can store as it likes */
	unsigned stores;        /* then, so many until it dies */
	int begin[2], ended[2]; /* pipes: a turn begins; how it ended */
} death;

static void
say(char how)
{
	CHECK_SYS(write(death.ended[1], &how, 1));
}

/* A trap after the next instruction, or no longer. */
static void
trap(ucontext_t *context, bool on)
{
#ifdef __x86_64__
	greg_t *flags = &context->uc_mcontext.gregs[REG_EFL];

	*flags = on ? *flags | 0x100 : *flags & ~0x100;
#else
	(void)context;
	(void)on;
#endif
}

/* It is about to store to the memory, which cannot be written to: let it, for one instruction. */
static void
before_store(int number, siginfo_t *info, void *context)
{
	uint8_t *address = info->si_addr;

	if (address < stage.memory || address >= stage.memory + stage.size) {
		signal(number, SIG_DFL);
		return;
	}
	if (cast.progress->stores++ == death.stores) {
		say(STANDS);
		pause();
	}
	mprotect(stage.memory, (size_t)stage.size, PROT_READ | PROT_WRITE);
	trap(context, true);
}

static void
after_store(int number, siginfo_t *info, void *context)
{
	(void)number;
	(void)info;
	mprotect(stage.memory, (size_t)stage.size, PROT_READ);
	trap(context, false);
}

static void
handle(int number, void (*handler)(int number, siginfo_t *info, void *context))
{
	struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO};

	CHECK_SYS(sigaction(number, &action, NULL));
}

static void
begin_turn(void)
{
	char byte;

	CHECK_SYS(read(death.begin[0], &byte, 1));
	if (death.turns-- > 0)
		return;
	handle(SIGSEGV, before_store);
	handle(SIGTRAP, after_store);
	CHECK_SYS(mprotect(stage.memory, (size_t)stage.size, PROT_READ));
}

void
play_end_turn(void)
{
	say(DONE);
	begin_turn();
}

void
play_note(struct progress *progress, unsigned sent)
{
	if (progress)
		__atomic_store_n(&progress->sent, sent, __ATOMIC_SEQ_CST);
}

uint32_t
play_fill(uint8_t *record, unsigned number)
{
	uint32_t length = number * 37 % PLAY_RECORD;

	stage_fill(record, length, number);
	return length;
}

bool
play_is_record(const uint8_t *record, int64_t length, unsigned number)
{
	return length == number * 37 % PLAY_RECORD &&
	       stage_is_filled(record, (uint32_t)length, number);
}

static pid_t
start(const struct play *play)
{
	pid_t pid;

	CHECK_SYS(pipe(death.begin));
	CHECK_SYS(pipe(death.ended));
	pid = test_fork();
	if (pid == 0) {
		test_close(&death.ended[0]);
		test_close(&death.begin[1]);
		begin_turn();
		play->die(play);
		say(DONE);
		pause();
	}
	test_close(&death.ended[1]);
	test_close(&death.begin[0]);
	return pid;
}

/* It does one turn: DONE, or STANDS where it is to die. */
static char
let_live(void)
{
	char how = 0;

	CHECK_SYS(write(death.begin[1], "", 1));
	CHECK_EQ(CHECK_SYS(read(death.ended[0], &how, 1)), 1);
	return how;
}

static void
bury(pid_t pid)
{
	int status;

	CHECK_SYS(kill(pid, SIGKILL));
	CHECK_SYS(waitpid(pid, &status, 0));
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	test_close(&death.ended[0]);
	test_close(&death.begin[1]);
}

/* ---- who has the area next ------------------------------------------------------------------- */

/* A channel in the same place, with other content. */
struct other {
	struct ivshmem_participant *next;
	struct ivshmem_channel *listener, *channel;
};

static int64_t
send_other(struct ivshmem_channel *channel)
{
	static const uint8_t bytes[100] = {[0 ... 99] = 0xee};
	uint64_t call;

	switch (channel->kind) {
	case IVSHMEM_STREAM:
		return ivshmem_stream_write(channel, bytes, sizeof(bytes));
	case IVSHMEM_QUEUE:
		return ivshmem_queue_send(channel, bytes, sizeof(bytes));
	case IVSHMEM_CALL:
		return ivshmem_call_start(channel, bytes, sizeof(bytes), -1, &call);
	case IVSHMEM_STATE:
		return ivshmem_state_publish(channel, bytes, sizeof(bytes));
	case IVSHMEM_TOPIC:
	case IVSHMEM_CHANNEL_KINDS:
		break;
	}
	return ivshmem_topic_publish(channel, bytes, sizeof(bytes));
}

static void
take_area(struct other *other, enum ivshmem_channel_kind kind)
{
	bool publishes = kind_is_published(kind);

	other->next = stage_join(DEAD_AREA);
	CHECK_EQ(ivshmem_listen(&other->listener, publishes ? other->next : cast.bystander, "next",
			 kind, &stage_options, NULL),
		0);
	if (!publishes)
		CHECK_EQ(ivshmem_connect(&other->channel, other->next, "next", kind, &stage_options,
				 0, NULL),
			0);
	for (unsigned i = 0; i < 30; i++)
		if (send_other(publishes ? other->listener : other->channel) < 0)
			break;
}

static void
end_other(struct other *other)
{
	ivshmem_channel_close(other->channel);
	ivshmem_channel_close(other->listener);
	CHECK_EQ(ivshmem_participant_dispatch(other->next), 0);
	CHECK_EQ(stage_entries(other->next), 0);
}

/* ---- who survives ---------------------------------------------------------------------------- */

bool
play_is_end(int64_t error)
{
	return error == -EPIPE || error == -ECONNRESET || error == -ECONNREFUSED;
}

void
play_begin(const struct play *play)
{
	if (!cast.progress) {
		cast.progress = mmap(NULL, LAYOUT_PAGE, PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		CHECK(cast.progress != MAP_FAILED);
	}
	*cast.progress = (struct progress){0};
	stage_open(3, AREA);
	cast.survivor = stage_join(0);
	cast.bystander = stage_join(1);
	play->open(play);
}

/* Whoever dies while it moves in is taken for alive for two seconds. Nobody waits for these here. */
static void
hurry(void)
{
	struct neighbour *neighbour = &cast.bystander->neighbours[DEAD_AREA];
	uint32_t generation = layout_claim_generation(word_load(map_claim(&stage.map, DEAD_AREA)));

	if (word_load(&map_identity(&stage.map, DEAD_AREA)->ready) == generation)
		return;
	CHECK_EQ(stage_check(cast.bystander), 0);
	neighbour->unready_since -= 10 * NSEC_PER_SEC;
	CHECK_EQ(stage_check(cast.bystander), 0);
}

/* There is nothing left of the dead one. */
static void
check_survivor(struct ivshmem_participant *participant, uint64_t room)
{
	CHECK_EQ(stage_check(participant), 0);
	CHECK_EQ(stage_entries(participant), 0);
	CHECK_EQ(heap_largest(&participant->heap), room);
	CHECK_EQ(participant->neighbours[DEAD_AREA].n_channels, 0);
}

void
play_end(const struct play *play, bool taken)
{
	uint64_t room = AREA - stage.map.heap_offset;
	struct ivshmem_participant *one_too_many = NULL;
	struct other other = {0};

	hurry();
	if (taken)
		take_area(&other, play->kind);
	else
		CHECK_EQ(stage_check(cast.survivor), 0);
	play->learn(play, taken);
	if (taken)
		end_other(&other);
	else
		other.next = stage_join(DEAD_AREA);
	check_survivor(cast.survivor, room);
	check_survivor(cast.bystander, room);

	/* All areas belong to somebody who works. */
	CHECK_EQ(ivshmem_participant_area(other.next), DEAD_AREA);
	CHECK_EQ(stage_try(&one_too_many, 3), -ENOSPC);
	if (play->carry_on)
		play->carry_on(play, other.next);
	stage_prove(cast.survivor, other.next);
	stage_prove(other.next, cast.bystander);
	stage_prove(cast.bystander, cast.survivor);
	ivshmem_participant_close(other.next);
	CHECK_EQ(ivshmem_participant_rescues(cast.survivor), 0);
	CHECK_EQ(ivshmem_participant_rescues(cast.bystander), 0);
	ivshmem_participant_close(cast.bystander);
	ivshmem_participant_close(cast.survivor);
	stage_close();
}

/* ---- all of it ------------------------------------------------------------------------------- */

/* Whoever looks for it finds that out. */
static void
look_for_it(const struct play *play)
{
	struct ivshmem_channel *channel = NULL;

	CHECK_EQ(ivshmem_connect(
			 &channel, cast.bystander, STAGE_NAME, play->kind, &stage_options, 0, NULL),
		-ENOENT);
}

/* What happens where it dies: they do their part while it stands still; and, before they know of its
 * death, somebody takes its area. */
#define ACT   1u
#define TAKEN 2u
#define WAYS  4u

/* Let it live for `turns`, and then until it has stored so many times; how often it did. */
static unsigned
die(const struct play *play, unsigned turns, unsigned stores, unsigned way)
{
	pid_t pid;

	fprintf(stderr, "turn %u, store %d, way %u\n", turns, (int)stores, way);
	death.turns = turns;
	death.stores = stores;
	play_begin(play);
	pid = start(play);
	for (unsigned turn = 0; turn < turns; turn++) {
		CHECK_EQ(let_live(), DONE);
		play->act(play);
	}
	CHECK_EQ(let_live(), stores == NOWHERE ? DONE : STANDS);
	if (way & ACT)
		play->act(play);
	bury(pid);
	if (play->listens && way & ACT)
		look_for_it(play);
	play_end(play, way & TAKEN);
	return cast.progress->stores;
}

void
play_everywhere(const struct play *play)
{
	bool all = getenv("IVSHMEM_TEST_LONG") != NULL;
	unsigned total = 0;
	unsigned stores[MAX_TURNS];

#ifndef __x86_64__
	SKIP("only x86 lets a process step itself");
#endif
	srandom((unsigned)clock_now());
	for (unsigned turn = 0; turn < play->turns; turn++) {
		stores[turn] = die(play, turn, NOWHERE, (unsigned)random() % WAYS);
		total += stores[turn];
	}
	CHECK(total > 100);
	/* That was all. */
	CHECK_EQ(die(play, play->turns, NOWHERE, 0), 0);
	for (unsigned turn = 0; turn < play->turns; turn++)
		for (unsigned i = 0; i < stores[turn]; i++)
			for (unsigned way = 0; way < WAYS; way++)
				if (all || (unsigned)random() % (total * WAYS / SAMPLES) == 0)
					die(play, turn, i, way);
}
