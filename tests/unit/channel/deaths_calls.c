/* SPDX-License-Identifier: BSD-2-Clause */

/* Who dies calls, or answers. */

#include "deaths_play.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>

#define CALLS  3    /* in each turn */
#define MOST   100  /* in all */
#define ANSWER 1000 /* the answer to request i is record i + ANSWER */

/* ---- who calls ------------------------------------------------------------------------------- */

struct caller {
	unsigned started; /* the request of call i is record i */
	uint64_t numbers[MOST];
	bool over[MOST]; /* its reply came, or it was cancelled */
	unsigned replies;
};

static int
status_of(unsigned call)
{
	return call % 3 == 1 ? -EIO : 0;
}

/* As many calls as there is room for, and at most CALLS; how it ended. */
static int
call_some(struct ivshmem_channel *channel, struct caller *caller, struct progress *progress)
{
	uint8_t request[PLAY_RECORD];
	int r = 0;

	for (unsigned i = 0; i < CALLS && r == 0; i++) {
		uint32_t length = play_fill(request, caller->started);

		CHECK(caller->started < MOST);
		r = ivshmem_call_start(
			channel, request, length, -1, &caller->numbers[caller->started]);
		caller->started += r == 0;
		play_note(progress, caller->started);
	}
	return r;
}

/* All replies that there are; how it ended. */
static int
take_replies(struct ivshmem_channel *channel, struct caller *caller)
{
	uint8_t reply[200];
	uint64_t number;
	int status;

	for (;;) {
		int64_t n = ivshmem_call_reply(channel, &number, &status, reply, sizeof(reply));
		unsigned i = 0;

		if (n < 0)
			return (int)n;
		while (i < caller->started && caller->numbers[i] != number)
			i++;
		CHECK(i < caller->started && !caller->over[i]);
		CHECK_EQ(status, status_of(i));
		CHECK(play_is_record(reply, n, i + ANSWER));
		caller->over[i] = true;
		caller->replies++;
	}
}

static void
cancel_the_last(struct ivshmem_channel *channel, struct caller *caller)
{
	CHECK_EQ(ivshmem_call_cancel(channel, caller->numbers[caller->started - 1]), 0);
	caller->over[caller->started - 1] = true;
}

/* ---- who answers ----------------------------------------------------------------------------- */

struct answerer {
	unsigned received, answered;
	unsigned waiting; /* these, for an answer: */
	uint64_t numbers[MOST];
	unsigned calls[MOST];
};

/* All requests that there are; how it ended. */
static int
take_requests(struct ivshmem_channel *channel, struct answerer *answerer)
{
	uint8_t request[200];
	uint64_t number;

	for (;;) {
		int64_t n = ivshmem_call_receive(channel, &number, request, sizeof(request));

		if (n < 0)
			return (int)n;
		CHECK(play_is_record(request, n, answerer->received));
		CHECK(answerer->waiting < MOST);
		answerer->numbers[answerer->waiting] = number;
		answerer->calls[answerer->waiting++] = answerer->received++;
	}
}

/* Answer the newest first, until so many wait; how it ended. */
static int
answer_some(struct ivshmem_channel *channel, struct answerer *answerer, unsigned keep,
	struct progress *progress)
{
	uint8_t reply[PLAY_RECORD];

	while (answerer->waiting > keep) {
		unsigned last = answerer->waiting - 1, call = answerer->calls[last];
		uint32_t length = play_fill(reply, call + ANSWER);
		int r = ivshmem_call_answer(
			channel, answerer->numbers[last], status_of(call), reply, length);

		if (r < 0)
			return r;
		answerer->waiting--;
		answerer->answered++;
		play_note(progress, answerer->answered);
	}
	return 0;
}

/* ---- who dies -------------------------------------------------------------------------------- */

#define TURNS 9

static void
die_calling(const struct play *play)
{
	struct caller caller = {0};
	struct ivshmem_participant *participant = stage_join(DEAD_AREA);
	struct ivshmem_channel *channel;

	play_end_turn();
	channel = stage_connect(participant, play->kind);
	play_end_turn();
	call_some(channel, &caller, cast.progress);
	play_end_turn();
	/* From now on, it asks for interrupts. */
	CHECK(ivshmem_channel_fd(channel) >= 0);
	take_replies(channel, &caller);
	call_some(channel, &caller, cast.progress);
	play_end_turn();
	CHECK_EQ(call_some(channel, &caller, cast.progress), 0);
	cancel_the_last(channel, &caller);
	play_end_turn();
	while (call_some(channel, &caller, cast.progress) == 0)
		;
	play_end_turn();
	take_replies(channel, &caller);
	call_some(channel, &caller, cast.progress);
	CHECK_EQ(ivshmem_channel_shutdown(channel), 0);
	play_end_turn();
	take_replies(channel, &caller);
	ivshmem_channel_close(channel);
	play_end_turn();
	ivshmem_participant_close(participant);
	play_end_turn();
}

static void
die_answering(const struct play *play)
{
	struct answerer answerer = {0};
	struct ivshmem_participant *participant = stage_join(DEAD_AREA);
	struct ivshmem_channel *listener, *channel;

	play_end_turn();
	listener = stage_listen(participant, play->kind);
	play_end_turn();
	channel = stage_accept(listener);
	for (unsigned keep = 2; keep > 0; keep--) {
		take_requests(channel, &answerer);
		answer_some(channel, &answerer, keep, cast.progress);
		play_end_turn();
		CHECK(ivshmem_channel_fd(channel) >= 0);
	}
	take_requests(channel, &answerer);
	answer_some(channel, &answerer, 0, cast.progress);
	play_end_turn();
	take_requests(channel, &answerer);
	play_end_turn();
	answer_some(channel, &answerer, 1, cast.progress);
	CHECK_EQ(ivshmem_channel_shutdown(channel), 0);
	play_end_turn();
	take_requests(channel, &answerer);
	ivshmem_channel_close(channel);
	ivshmem_channel_close(listener);
	play_end_turn();
	ivshmem_participant_close(participant);
	play_end_turn();
}

/* ---- who survives ---------------------------------------------------------------------------- */

static struct {
	struct ivshmem_channel *listener, *channel;
	struct caller caller;
	struct answerer answerer;
} ours;

static void
begin(const struct play *play)
{
	ours.listener = play->listens ? NULL : stage_listen(cast.survivor, play->kind);
	ours.channel = NULL;
	ours.caller = (struct caller){0};
	ours.answerer = (struct answerer){0};
}

static void
find_caller(void)
{
	int r = ivshmem_accept(&ours.channel, ours.listener);

	CHECK(r == 0 || r == -EAGAIN);
}

static void
find_answerer(const struct play *play)
{
	int r = ivshmem_connect(
		&ours.channel, cast.survivor, STAGE_NAME, play->kind, &stage_options, 0, NULL);

	CHECK(r == 0 || r == -ENOENT);
}

static void
act_answering(const struct play *play)
{
	(void)play;
	if (!ours.channel)
		find_caller();
	if (!ours.channel)
		return;
	take_requests(ours.channel, &ours.answerer);
	answer_some(ours.channel, &ours.answerer, 1, NULL);
}

static void
act_calling(const struct play *play)
{
	if (!ours.channel)
		find_answerer(play);
	if (!ours.channel)
		return;
	take_replies(ours.channel, &ours.caller);
	call_some(ours.channel, &ours.caller, NULL);
}

/* If nobody has looked since the other one died, receiving alone does not tell. */
static void
learn_by(bool taken, int (*receive)(void))
{
	int r = receive();

	CHECK(play_is_end(r) || (taken && r == -EAGAIN));
	CHECK_EQ(ivshmem_participant_dispatch(cast.survivor), 0);
	if (r == -EAGAIN)
		r = receive();
	CHECK(play_is_end(r));
	CHECK_EQ(ivshmem_channel_wait(ours.channel, IVSHMEM_READABLE, 1000), IVSHMEM_READABLE);
}

static int
take_our_requests(void)
{
	return take_requests(ours.channel, &ours.answerer);
}

static int
take_our_replies(void)
{
	return take_replies(ours.channel, &ours.caller);
}

static void
learn_answering(const struct play *play, bool taken)
{
	unsigned sent = cast.progress->sent;

	(void)play;
	if (!ours.channel)
		find_caller();
	if (ours.channel) {
		learn_by(taken, take_our_requests);
		if (ours.answerer.waiting > 0)
			CHECK(play_is_end(answer_some(ours.channel, &ours.answerer, 0, NULL)));
	}
	CHECK(taken || ours.answerer.received >= sent);
	CHECK(ours.answerer.received <= sent + 1);
	ours.channel = ivshmem_channel_close(ours.channel);
	ours.listener = ivshmem_channel_close(ours.listener);
}

static void
learn_calling(const struct play *play, bool taken)
{
	unsigned sent = cast.progress->sent;

	(void)play;
	if (ours.channel) {
		learn_by(taken, take_our_replies);
		CHECK(play_is_end(call_some(ours.channel, &ours.caller, NULL)));
	}
	CHECK(taken || ours.caller.replies >= sent);
	CHECK(ours.caller.replies <= sent + 1);
	ours.channel = ivshmem_channel_close(ours.channel);
}

static void
carry_on(const struct play *play, struct ivshmem_participant *next)
{
	struct ivshmem_participant *answers = play->listens ? next : cast.survivor;
	struct ivshmem_participant *calls = play->listens ? cast.survivor : next;
	struct ivshmem_channel *listener = stage_listen(answers, play->kind);
	struct ivshmem_channel *from = stage_connect(calls, play->kind);
	struct ivshmem_channel *to = stage_accept(listener);
	struct caller caller = {0};
	struct answerer answerer = {0};

	CHECK_EQ(call_some(from, &caller, NULL), 0);
	CHECK_EQ(take_requests(to, &answerer), -EAGAIN);
	CHECK_EQ(answer_some(to, &answerer, 0, NULL), 0);
	CHECK_EQ(take_replies(from, &caller), -EAGAIN);
	CHECK_EQ(caller.replies, CALLS);
	ivshmem_channel_close(from);
	ivshmem_channel_close(to);
	ivshmem_channel_close(listener);
	CHECK_EQ(ivshmem_participant_dispatch(calls), 0);
	CHECK_EQ(ivshmem_participant_dispatch(answers), 0);
}

static const struct play caller_dies = {
	.kind = IVSHMEM_CALL,
	.die = die_calling,
	.turns = TURNS,
	.open = begin,
	.act = act_answering,
	.learn = learn_answering,
	.carry_on = carry_on,
};

static const struct play answerer_dies = {
	.kind = IVSHMEM_CALL,
	.listens = true,
	.die = die_answering,
	.turns = TURNS,
	.open = begin,
	.act = act_calling,
	.learn = learn_calling,
	.carry_on = carry_on,
};

TEST_WITH(a_caller, .timeout_s = 1200)
{
	play_everywhere(&caller_dies);
}

TEST_WITH(an_answerer, .timeout_s = 1200)
{
	play_everywhere(&answerer_dies);
}

/* ---- at any moment --------------------------------------------------------------------------- */

/* Who waits for an answer without a time limit learns that there will be none. */
TEST(an_answerer_that_is_waited_for)
{
	struct ivshmem_channel *channel = NULL;
	char reply[8];
	uint64_t call;
	pid_t pid;

	play_begin(&answerer_dies);
	pid = test_fork();
	if (pid == 0) {
		struct ivshmem_channel *listener =
			stage_listen(stage_join(DEAD_AREA), IVSHMEM_CALL);

		CHECK(ivshmem_channel_wait(listener, IVSHMEM_READABLE, 20000) > 0);
		channel = stage_accept(listener);
		CHECK(ivshmem_channel_wait(channel, IVSHMEM_READABLE, 20000) > 0);
		CHECK_EQ(ivshmem_call_receive(channel, &call, reply, sizeof(reply)), 1);
		raise(SIGKILL);
	}
	CHECK_EQ(ivshmem_connect(
			 &ours.channel, cast.survivor, STAGE_NAME, IVSHMEM_CALL, NULL, 20000, NULL),
		0);
	CHECK_EQ(ivshmem_call(ours.channel, "?", 1, reply, sizeof(reply), -1), -ECONNRESET);
	CHECK_SYS(waitpid(pid, NULL, 0));
	play_end(&answerer_dies, false);
}
