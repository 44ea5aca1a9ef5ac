/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * A participant is killed between any two of its stores to the shared memory. The others still work,
 * receive what it sent as it was sent, learn of its death, and somebody takes its area.
 *
 * The process that dies does its part in turns. Between them the survivor does its own part, so that
 * both are in the middle of something. In its last turn it cannot write to the memory: each store is a
 * fault, and is counted, and kills it, or is let through.
 */
#include "channel_room.h"

#include <base/clock.h>

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#define AREA    16384
#define TURNS   9
#define RECORDS 4 /* in each turn */
#define SAMPLES 20

/* ---- what is sent ---------------------------------------------------------------------------- */

/* What the process that dies has done; not in the memory that it shares as a participant. */
struct progress {
	unsigned sent;   /* records, or bytes of a stream */
	unsigned stores; /* in its last turn */
};

struct traffic {
	enum ivshmem_channel_kind kind;
	unsigned sent, received;
};

static uint32_t
length_of(unsigned number)
{
	return number * 37 % 120;
}

static uint8_t
byte_of(unsigned position)
{
	return (uint8_t)(position * 7 + position / 256);
}

/* Send as much as there is room for, and at most RECORDS; how it ended. */
static int
send_some(struct ivshmem_channel *channel, struct traffic *traffic, struct progress *progress)
{
	uint8_t bytes[120];
	int64_t r = 0;

	for (unsigned i = 0; i < RECORDS && r >= 0; i++) {
		if (traffic->kind == IVSHMEM_QUEUE) {
			uint32_t length = length_of(traffic->sent);

			stage_fill(bytes, length, traffic->sent);
			r = ivshmem_queue_send(channel, bytes, length);
			traffic->sent += r == 0;
		} else {
			for (unsigned k = 0; k < sizeof(bytes); k++)
				bytes[k] = byte_of(traffic->sent + k);
			r = ivshmem_stream_write(channel, bytes, sizeof(bytes));
			traffic->sent += r > 0 ? (unsigned)r : 0;
		}
		if (progress)
			__atomic_store_n(&progress->sent, traffic->sent, __ATOMIC_SEQ_CST);
	}
	return r < 0 ? (int)r : 0;
}

/* Receive all there is; how it ended. A stream's end is that of a queue. */
static int
receive_all(struct ivshmem_channel *channel, struct traffic *traffic)
{
	uint8_t bytes[200];

	for (;;) {
		int64_t r = traffic->kind == IVSHMEM_QUEUE
				    ? ivshmem_queue_receive(channel, bytes, sizeof(bytes))
				    : ivshmem_stream_read(channel, bytes, sizeof(bytes));

		if (r == 0 && traffic->kind == IVSHMEM_STREAM)
			return -EPIPE;
		if (r < 0)
			return (int)r;
		if (traffic->kind == IVSHMEM_QUEUE) {
			CHECK_EQ(r, length_of(traffic->received));
			CHECK(stage_is_filled(bytes, (uint32_t)r, traffic->received));
			traffic->received++;
		} else {
			for (int64_t i = 0; i < r; i++)
				CHECK_EQ(bytes[i], byte_of(traffic->received + (unsigned)i));
			traffic->received += (unsigned)r;
		}
	}
}

/* ---- who dies -------------------------------------------------------------------------------- */

static struct {
	struct progress *progress;
	unsigned turns;        /* in which it can store as it likes */
	unsigned stores;       /* then, so many until it dies */
	int begin[2], done[2]; /* pipes: a turn begins, and is done */
} death;

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
	if (death.progress->stores++ == death.stores)
		raise(SIGKILL);
	mprotect(stage.memory, stage.size, PROT_READ | PROT_WRITE);
	trap(context, true);
}

static void
after_store(int number, siginfo_t *info, void *context)
{
	(void)number;
	(void)info;
	mprotect(stage.memory, stage.size, PROT_READ);
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
	CHECK_SYS(mprotect(stage.memory, stage.size, PROT_READ));
}

static void
end_turn(void)
{
	CHECK_SYS(write(death.done[1], "", 1));
	begin_turn();
}

static void
live(enum ivshmem_channel_kind kind, bool listens)
{
	struct traffic traffic = {.kind = kind};
	struct ivshmem_participant *participant;
	struct ivshmem_channel *listener = NULL;
	struct ivshmem_channel *channel;

	begin_turn();
	participant = stage_join(2);
	end_turn();
	if (listens)
		listener = stage_listen(participant, kind);
	else
		channel = stage_connect(participant, kind);
	end_turn();
	if (listens)
		channel = stage_accept(listener);
	for (unsigned i = 0; i < 3; i++) {
		send_some(channel, &traffic, death.progress);
		end_turn();
		receive_all(channel, &traffic);
	}
	/* Until there is no room. */
	while (send_some(channel, &traffic, death.progress) == 0)
		;
	end_turn();
	send_some(channel, &traffic, death.progress);
	CHECK_EQ(ivshmem_channel_shutdown(channel), 0);
	end_turn();
	receive_all(channel, &traffic);
	ivshmem_channel_close(channel);
	ivshmem_channel_close(listener);
	end_turn();
	ivshmem_participant_close(participant);
	end_turn();
}

static pid_t
start(enum ivshmem_channel_kind kind, bool listens)
{
	pid_t pid;

	CHECK_SYS(pipe(death.begin));
	CHECK_SYS(pipe(death.done));
	pid = test_fork();
	if (pid == 0) {
		test_close(&death.done[0]);
		test_close(&death.begin[1]);
		live(kind, listens);
	}
	test_close(&death.done[1]);
	test_close(&death.begin[0]);
	return pid;
}

/* It does one turn; false if it died in it. */
static bool
let_live(void)
{
	char byte;

	CHECK_SYS(write(death.begin[1], "", 1));
	return CHECK_SYS(read(death.done[0], &byte, 1)) == 1;
}

static void
bury(pid_t pid)
{
	int status;

	CHECK_SYS(kill(pid, SIGKILL));
	CHECK_SYS(waitpid(pid, &status, 0));
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	test_close(&death.done[0]);
	test_close(&death.begin[1]);
}

/* ---- who survives ---------------------------------------------------------------------------- */

struct survivor {
	struct ivshmem_participant *participant, *bystander;
	struct ivshmem_channel *listener, *channel;
	struct traffic traffic;
	uint64_t room;
};

static void
survivor_open(struct survivor *survivor, enum ivshmem_channel_kind kind, bool listens)
{
	*survivor = (struct survivor){.traffic.kind = kind};
	survivor->participant = stage_join(0);
	survivor->bystander = stage_join(1);
	survivor->room = heap_largest(&survivor->participant->heap);
	if (listens)
		survivor->listener = stage_listen(survivor->participant, kind);
}

static void
find_channel(struct survivor *survivor)
{
	int r;

	if (survivor->listener) {
		r = ivshmem_accept(&survivor->channel, survivor->listener);
		CHECK(r == 0 || r == -EAGAIN);
	} else {
		static const struct ivshmem_channel_options small = {
			.struct_size = sizeof(small), .ring_size = STAGE_RING};

		r = ivshmem_connect(&survivor->channel, survivor->participant, STAGE_NAME,
			survivor->traffic.kind, &small, 0, NULL);
		CHECK(r == 0 || r == -ENOENT);
	}
}

static void
survivor_act(struct survivor *survivor)
{
	if (!survivor->channel)
		find_channel(survivor);
	if (!survivor->channel)
		return;
	receive_all(survivor->channel, &survivor->traffic);
	send_some(survivor->channel, &survivor->traffic, NULL);
}

static bool
is_end(int error)
{
	return error == -EPIPE || error == -ECONNRESET || error == -ECONNREFUSED;
}

/* The other one is dead. */
static void
survivor_learn(struct survivor *survivor)
{
	const struct progress *progress = death.progress;

	/* What it had sent when it died is there, even if we have not accepted yet. */
	if (!survivor->channel && survivor->listener)
		find_channel(survivor);
	CHECK_EQ(stage_check(survivor->participant), 0);
	if (survivor->channel) {
		CHECK(is_end(receive_all(survivor->channel, &survivor->traffic)));
		CHECK(is_end(send_some(survivor->channel, &survivor->traffic, NULL)));
		CHECK(survivor->traffic.received >= progress->sent);
		CHECK_EQ(ivshmem_channel_wait(survivor->channel, IVSHMEM_READABLE, 1000),
			IVSHMEM_READABLE);
	} else {
		CHECK_EQ(progress->sent, 0);
	}
	survivor->channel = ivshmem_channel_close(survivor->channel);
	survivor->listener = ivshmem_channel_close(survivor->listener);
	CHECK_EQ(stage_entries(survivor->participant), 0);
	CHECK_EQ(heap_largest(&survivor->participant->heap), survivor->room);
}

/* All areas belong to somebody who works. */
static void
survivor_go_on(struct survivor *survivor)
{
	struct ivshmem_participant *next = stage_join(2);
	struct ivshmem_participant *one_too_many = NULL;

	CHECK_EQ(ivshmem_participant_area(next), 2);
	CHECK_EQ(stage_try(&one_too_many, 3), -ENOSPC);
	stage_prove(survivor->participant, next);
	stage_prove(next, survivor->bystander);
	stage_prove(survivor->bystander, survivor->participant);
	ivshmem_participant_close(next);
	CHECK_EQ(ivshmem_participant_rescues(survivor->participant), 0);
	ivshmem_participant_close(survivor->bystander);
	ivshmem_participant_close(survivor->participant);
}

/* ---- all of it ------------------------------------------------------------------------------- */

/* Let it live for `turns`, and then until it has stored so many times; how often it did. */
static unsigned
die(enum ivshmem_channel_kind kind, bool listens, unsigned turns, unsigned stores)
{
	struct survivor survivor;
	pid_t pid;

	*death.progress = (struct progress){0};
	death.turns = turns;
	death.stores = stores;
	stage_open(3, AREA);
	survivor_open(&survivor, kind, !listens);
	pid = start(kind, listens);
	for (unsigned turn = 0; turn < turns; turn++) {
		CHECK(let_live());
		survivor_act(&survivor);
	}
	CHECK_EQ(let_live(), stores == UINT32_MAX);
	bury(pid);
	survivor_learn(&survivor);
	survivor_go_on(&survivor);
	stage_close();
	return death.progress->stores;
}

/* Everywhere, if there is time; else at so many places, which differ from run to run. */
static void
die_everywhere(enum ivshmem_channel_kind kind, bool listens)
{
	bool all = getenv("IVSHMEM_TEST_LONG") != NULL;
	unsigned total = 0;
	unsigned stores[TURNS];

#ifndef __x86_64__
	SKIP("only x86 lets a process step itself");
#endif
	death.progress =
		mmap(NULL, LAYOUT_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(death.progress != MAP_FAILED);
	for (unsigned turn = 0; turn < TURNS; turn++) {
		stores[turn] = die(kind, listens, turn, UINT32_MAX);
		total += stores[turn];
	}
	CHECK(total > 200);
	srandom((unsigned)clock_now());
	for (unsigned turn = 0; turn < TURNS; turn++)
		for (unsigned i = 0; i < stores[turn]; i++) {
			/* Whoever dies while it moves in is taken for alive for two seconds. */
			unsigned rarity = all ? 1 : turn == 0 ? stores[0] / 2 : total / SAMPLES;

			if ((unsigned)random() % rarity == 0)
				die(kind, listens, turn, i);
		}
}

TEST_WITH(queue_that_connects, .timeout_s = 1200)
{
	die_everywhere(IVSHMEM_QUEUE, false);
}

TEST_WITH(queue_that_listens, .timeout_s = 1200)
{
	die_everywhere(IVSHMEM_QUEUE, true);
}

TEST_WITH(stream_that_connects, .timeout_s = 1200)
{
	die_everywhere(IVSHMEM_STREAM, false);
}

TEST_WITH(stream_that_listens, .timeout_s = 1200)
{
	die_everywhere(IVSHMEM_STREAM, true);
}

/* ---- at any moment --------------------------------------------------------------------------- */

/* While both of them are busy, with interrupts. */
static void
die_in_traffic(unsigned round)
{
	struct survivor survivor;
	uint64_t killed;
	pid_t pid;
	int r;

	stage_open(3, AREA);
	survivor_open(&survivor, IVSHMEM_QUEUE, true);
	*death.progress = (struct progress){0};
	pid = test_fork();
	if (pid == 0) {
		struct traffic traffic = {.kind = IVSHMEM_QUEUE};
		struct ivshmem_channel *channel = stage_connect(stage_join(2), IVSHMEM_QUEUE);

		for (;;) {
			ivshmem_channel_wait(channel, IVSHMEM_WRITABLE, -1);
			send_some(channel, &traffic, death.progress);
			receive_all(channel, &traffic);
		}
	}
	CHECK_EQ(
		ivshmem_channel_wait(survivor.listener, IVSHMEM_READABLE, 20000), IVSHMEM_READABLE);
	find_channel(&survivor);
	for (unsigned i = 0; i < round; i++) {
		CHECK(ivshmem_channel_wait(survivor.channel, IVSHMEM_READABLE, 20000) > 0);
		survivor_act(&survivor);
	}
	CHECK_SYS(kill(pid, SIGKILL));
	CHECK_SYS(waitpid(pid, NULL, 0));
	killed = clock_now();
	do {
		CHECK(ivshmem_channel_wait(survivor.channel, IVSHMEM_READABLE, 20000) > 0);
		r = receive_all(survivor.channel, &survivor.traffic);
	} while (r == -EAGAIN);
	CHECK_EQ(r, -ECONNRESET);
	CHECK(clock_now() - killed < 10 * NSEC_PER_SEC);
	survivor_learn(&survivor);
	survivor_go_on(&survivor);
	stage_close();
}

TEST_WITH(in_traffic, .timeout_s = 1200)
{
	unsigned rounds = getenv("IVSHMEM_TEST_LONG") ? 300 : 5;

	death.progress =
		mmap(NULL, LAYOUT_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(death.progress != MAP_FAILED);
	for (unsigned round = 0; round < rounds; round++)
		die_in_traffic(round);
}

/* ---- who is not dead ------------------------------------------------------------------------- */

static int
count(void *data, const struct ivshmem_participant_info *info)
{
	(void)info;
	(*(unsigned *)data)++;
	return 0;
}

/* Each owner has its own two seconds: that the last one was seen moving in, long ago, is not held against the next. */
TEST(who_moves_in_is_given_time)
{
	struct ivshmem_participant *participant;
	unsigned n = 0;

	stage_open(2, AREA);
	participant = stage_join(0);
	word_store(map_claim(&stage.map, 1), layout_claim(5, LAYOUT_OWNED));
	CHECK_EQ(ivshmem_participants(participant, count, &n), 0);
	CHECK_EQ(n, 1);
	CHECK_EQ(*map_claim(&stage.map, 1), layout_claim(5, LAYOUT_OWNED));
	participant->neighbours[1].unready_since -= 10 * NSEC_PER_SEC;
	word_store(map_claim(&stage.map, 1), layout_claim(6, LAYOUT_OWNED));
	CHECK_EQ(ivshmem_participants(participant, count, &n), 0);
	CHECK_EQ(*map_claim(&stage.map, 1), layout_claim(6, LAYOUT_OWNED));
	participant->neighbours[1].unready_since -= 10 * NSEC_PER_SEC;
	CHECK_EQ(ivshmem_participants(participant, count, &n), 0);
	CHECK_EQ(*map_claim(&stage.map, 1), layout_claim(6, LAYOUT_DEAD));
	ivshmem_participant_close(participant);
	stage_close();
}

/* ---- who is taken for dead ------------------------------------------------------------------- */

static void
do_one(struct survivor *survivor, unsigned what)
{
	struct ivshmem_channel *channel = survivor->channel;
	char bytes[8];

	switch (what) {
	case 0:
		CHECK_EQ(ivshmem_queue_send(channel, "late", 4), -ESTALE);
		break;
	case 1:
		CHECK_EQ(ivshmem_queue_flush(channel), -ESTALE);
		break;
	case 2:
		CHECK_EQ(ivshmem_queue_publish(channel), -ESTALE);
		break;
	case 3:
		CHECK_EQ(ivshmem_queue_commit(channel, 1), -ESTALE);
		break;
	case 4:
		/* Its position would be told. */
		for (unsigned i = 0; i < RECORDS; i++)
			ivshmem_queue_receive(channel, bytes, sizeof(bytes));
		channel_arm(channel, IVSHMEM_READABLE | IVSHMEM_WRITABLE);
		break;
	case 5:
		CHECK_EQ(ivshmem_channel_wait(channel, IVSHMEM_WRITABLE | IVSHMEM_READABLE, 1000),
			IVSHMEM_WRITABLE | IVSHMEM_READABLE);
		break;
	case 6:
		CHECK_EQ(ivshmem_channel_drain(channel, 1000), -ESTALE);
		break;
	case 7:
		CHECK_EQ(ivshmem_channel_shutdown(channel), -ESTALE);
		break;
	case 8:
		ivshmem_channel_close(channel);
		break;
	case 9:
		ivshmem_channel_close(survivor->listener);
		break;
	case 10:
		CHECK_EQ(ivshmem_accept(&channel, survivor->listener), -ESTALE);
		break;
	case 11:
		CHECK_EQ(ivshmem_connect(&channel, survivor->participant, STAGE_NAME, IVSHMEM_QUEUE,
				 NULL, -1, NULL),
			-ESTALE);
		break;
	default:
		CHECK_EQ(ivshmem_listen(&channel, survivor->participant, "more", IVSHMEM_QUEUE,
				 NULL, NULL),
			-ESTALE);
	}
}

/* Somebody has the area now. Whatever we do next, we write nothing there. */
TEST(who_was_taken_for_dead_writes_nothing)
{
	for (unsigned what = 0; what <= 12; what++) {
		struct survivor survivor;
		struct ivshmem_channel *theirs;
		struct ivshmem_participant *other;
		uint8_t *area, *before = malloc(AREA);
		void *place;

		CHECK(before);
		stage_open(3, AREA);
		survivor_open(&survivor, IVSHMEM_QUEUE, true);
		other = stage_join(2);
		theirs = stage_connect(other, IVSHMEM_QUEUE);
		survivor.channel = stage_accept(survivor.listener);
		CHECK_EQ(ivshmem_queue_send(theirs, "text", 4), 0);
		for (unsigned i = 0; i < 3; i++) {
			CHECK_EQ(ivshmem_queue_reserve(survivor.channel, 10, &place), 0);
			CHECK_EQ(ivshmem_queue_commit(survivor.channel, 10), 0);
		}
		CHECK_EQ(ivshmem_queue_reserve(survivor.channel, 10, &place), 0);
		*map_claim(&stage.map, 0) += UINT64_C(1) << 32;
		area = map_area(&stage.map, 0);
		memcpy(before, area, AREA);
		do_one(&survivor, what);
		CHECK_MEM(area, before, AREA);
		CHECK_EQ(ivshmem_participant_dispatch(survivor.participant), -ESTALE);
		ivshmem_participant_close(survivor.participant);
		CHECK_MEM(area, before, AREA);
		ivshmem_participant_close(other);
		ivshmem_participant_close(survivor.bystander);
		stage_close();
		free(before);
	}
}
