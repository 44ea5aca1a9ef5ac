/* SPDX-License-Identifier: BSD-2-Clause */

#include "loop_owners.h"

#include <base/clock.h>
#include <test.h>

#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

char diary[1024];
struct loop *loop;

void
test_before(void)
{
	CHECK_EQ(loop_new(&loop), 0);
}

void
test_after(void)
{
	/* Nothing comes twice, or after it was removed. */
	CHECK_EQ(loop_dispatch(loop, 0), 0);
	CHECK(loop_free(loop) == NULL);
}

void
note(char letter)
{
	size_t length = strlen(diary);

	CHECK(length + 1 < sizeof(diary));
	diary[length] = letter;
	diary[length + 1] = 0;
}

/* The diary as a sorted set of letters: descriptors of one round come in no promised order. */
static int
compare_letters(const void *a, const void *b)
{
	return *(const char *)a - *(const char *)b;
}

void
check_diary(const char *expected)
{
	CHECK_STR(diary, expected);
	diary[0] = 0;
}

void
check_round(const char *expected)
{
	CHECK_EQ(loop_dispatch(loop, expected[0] ? -1 : 0), strlen(expected));
	check_diary(expected);
}

void
check_diary_in_any_order(const char *expected)
{
	qsort(diary, strlen(diary), 1, compare_letters);
	check_diary(expected);
}

void
bell_rang(struct loop_source *source, uint32_t events)
{
	struct bell *bell = container_of(source, struct bell, source);

	bell->events = events;
	note(bell->letter);
	if (bell->action)
		bell->action(bell);
}

struct bell *
bell_new(char letter, unsigned count)
{
	struct bell *bell = calloc(1, sizeof(*bell));
	int fd = CHECK_SYS(eventfd(count, EFD_CLOEXEC | EFD_NONBLOCK));

	CHECK(bell);
	bell->letter = letter;
	CHECK_EQ(loop_add(loop, &bell->source, fd, EPOLLIN, bell_rang), 0);
	return bell;
}

void
bell_free(struct bell *bell)
{
	loop_del(&bell->source);
	close(bell->source.fd);
	free(bell);
}

void
bell_quiet(struct bell *bell)
{
	uint64_t count;

	CHECK_EQ(read(bell->source.fd, &count, sizeof(count)), sizeof(count));
}

static void
alarm_due(struct loop_timer *timer)
{
	struct alarm_clock *clock = container_of(timer, struct alarm_clock, timer);

	CHECK(clock_now() >= timer->deadline);
	CHECK(!loop_timer_is_set(timer));
	note(clock->letter);
	if (clock->action)
		clock->action(clock);
}

void
alarm_set(struct alarm_clock *clock, char letter, uint64_t deadline)
{
	clock->letter = letter;
	loop_timer_set(loop, &clock->timer, deadline, alarm_due);
}

static void
chore_do(struct loop_work *work)
{
	struct chore *chore = container_of(work, struct chore, work);

	note(chore->letter);
	if (chore->action)
		chore->action(chore);
}

void
chore_defer(struct chore *chore, char letter)
{
	chore->letter = letter;
	loop_defer(loop, &chore->work, chore_do);
}

/* Rounds until nothing happens any more. */
void
drain(void)
{
	int r;

	while ((r = loop_dispatch(loop, 0)) > 0)
		;
	CHECK_EQ(r, 0);
}
