/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef LOOP_OWNERS_H
#define LOOP_OWNERS_H

/*
 * Owners of sources, timers and work that write down what happened to them: what the tests of the
 * loop share. Removed owners are freed at once, so that a sanitizer sees late use.
 */

#include <loop/loop.h>

extern char diary[1024];  /* a letter per callback */
extern struct loop *loop; /* each test has one */

struct bell; /* a watched eventfd */
typedef void (*bell_action)(struct bell *bell);

struct bell {
	char letter;
	uint32_t events; /* as of the last callback */
	struct loop_source source;
	bell_action action;
	void *data;
};

struct alarm_clock {
	char letter;
	struct loop_timer timer;
	void (*action)(struct alarm_clock *clock);
	void *data;
};

struct chore {
	char letter;
	struct loop_work work;
	void (*action)(struct chore *chore);
	void *data;
};

void note(char letter);
/* Compare the diary, and begin a new one. */
void check_diary(const char *expected);
/* Dispatch once: these are called, as many as it says. */
void check_round(const char *expected);
/* Compare descriptors of one round, which come in no promised order. */
void check_diary_in_any_order(const char *expected);

void bell_rang(struct loop_source *source, uint32_t events);
struct bell *bell_new(char letter, unsigned count);
void bell_free(struct bell *bell);
void bell_quiet(struct bell *bell);
void alarm_set(struct alarm_clock *clock, char letter, uint64_t deadline);
void chore_defer(struct chore *chore, char letter);
/* Rounds until nothing happens any more. */
void drain(void);

#endif
