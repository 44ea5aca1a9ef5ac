/* SPDX-License-Identifier: BSD-2-Clause */

/* Reading the ring of another process, which may have anything in it. */
#include <traced.h>

#include <trace/text.h>
#include <trace/trace.h>

#include <test.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static struct traced traced;
static struct traced_events events;
static pid_t child;

/* A process with a ring of its own, in which `spoil` has done its worst. */
static void
trace_child(void (*spoil)(void))
{
	int ready[2];
	char byte;

	CHECK_SYS(pipe2(ready, O_CLOEXEC));
	child = test_fork();
	if (child == 0) {
		spoil();
		CHECK_EQ(write(ready[1], "", 1), 1);
		for (;;)
			pause();
	}
	close(ready[1]);
	CHECK_EQ(read(ready[0], &byte, 1), 1);
	close(ready[0]);
}

static void
end_child(void)
{
	traced_close(&traced);
	free(events.events);
	events = (struct traced_events){.n = 0};
	CHECK_SYS(kill(child, SIGKILL));
	CHECK_SYS(waitpid(child, NULL, 0));
}

static void
open_child(void)
{
	struct ivshmem_error error;

	if (traced_open(&traced, child, &error) < 0)
		FAIL("%s", error.message);
	CHECK(traced.n_rings > 0);
}

/* Whatever it was, it becomes a text that a terminal can bear. */
static void
check_texts(void)
{
	for (size_t i = 0; i < events.n; i++) {
		char buffer[TEXT_MAX];
		struct text text = {.buffer = buffer, .size = sizeof(buffer)};

		text_event(&text, &events.events[i].entry);
		for (size_t k = 0; k < text.length; k++)
			CHECK(buffer[k] >= ' ' && buffer[k] <= '~');
	}
}

static struct trace_entry *
entries(void)
{
	static struct trace_entry *writable;

	if (!writable)
		memcpy(&writable, &trace_anchor.entries.pointer, sizeof(writable));
	return writable;
}

static void
three_events(void)
{
	for (unsigned i = 0; i < 3; i++)
		TRACE(client_peer_left, 0, i);
}

TEST(an_honest_process)
{
	trace_child(three_events);
	open_child();
	CHECK_EQ(traced_look(&traced, &events, 7, 3), 0);
	CHECK_EQ(events.n, 3);
	for (unsigned i = 0; i < 3; i++) {
		CHECK_EQ(events.events[i].entry.args[1], i);
		CHECK_EQ(events.events[i].process, 7);
		CHECK_EQ(events.events[i].round, 3);
		CHECK_EQ(trace_thread_of(&events.events[i].entry), child);
	}
	/* Nothing is new. */
	CHECK_EQ(traced_look(&traced, &events, 7, 4), 0);
	CHECK_EQ(events.n, 3);
	CHECK(!traced.ended);
	end_child();
}

static void
on_signal(int number)
{
	for (unsigned i = 0; i < (number == SIGUSR1 ? 2u : 3u * TRACE_ENTRIES); i++)
		TRACE(client_peer_left, 1, i);
}

static void
events_on_signals(void)
{
	signal(SIGUSR1, on_signal);
	signal(SIGUSR2, on_signal);
	three_events();
}

/* Until the process has recorded so many in all. */
static void
look_until(uint64_t n)
{
	while (traced.rings[0].seen < n) {
		CHECK_EQ(traced_look(&traced, &events, 0, 0), 0);
		usleep(1000);
	}
}

TEST(what_is_new_is_seen_once)
{
	trace_child(events_on_signals);
	open_child();
	look_until(3);
	CHECK_SYS(kill(child, SIGUSR1));
	look_until(5);
	CHECK_EQ(events.n, 5);
	CHECK_EQ(traced.missed, 0);
	end_child();
}

TEST(what_was_overwritten_is_counted)
{
	const uint64_t n = 3 + 3 * TRACE_ENTRIES;

	trace_child(events_on_signals);
	open_child();
	look_until(3);
	CHECK_SYS(kill(child, SIGUSR2));
	look_until(n);
	CHECK_EQ(events.n + traced.missed, n);
	CHECK(traced.missed > 0);
	end_child();
}

TEST(a_process_that_ends)
{
	trace_child(three_events);
	open_child();
	CHECK_SYS(kill(child, SIGKILL));
	CHECK_SYS(waitpid(child, NULL, 0));
	while (!traced.ended)
		CHECK_EQ(traced_look(&traced, &events, 0, 0), 0);
	traced_close(&traced);
	free(events.events);
}

/* ---- lies ------------------------------------------------------------------------------------ */

static void
set_next(uint64_t next)
{
	three_events();
	trace_anchor.next = next;
}

static void
next_is_the_greatest(void)
{
	set_next(UINT64_MAX);
}

static void
next_is_0(void)
{
	set_next(0);
}

static void
entries_are_nowhere(void)
{
	three_events();
	trace_anchor.entries.number = 0x10000;
}

static void
entries_are_the_kernels(void)
{
	three_events();
	trace_anchor.entries.number = UINT64_C(0xffff800000000000);
}

static void
entries_end_beyond_all_memory(void)
{
	three_events();
	trace_anchor.entries.number = UINT64_MAX - 7;
}

static void
entries_end_too_early(void)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	uint8_t *pages =
		mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	munmap(pages + page, page);
	three_events();
	trace_anchor.entries.pointer = pages;
}

static void
moments_are_absurd(void)
{
	three_events();
	trace_anchor.first = (struct trace_moment){UINT64_MAX, UINT64_MAX};
	trace_anchor.last = (struct trace_moment){0, UINT64_MAX};
}

TEST(numbers_that_cannot_be)
{
	void (*const lies[])(void) = {next_is_the_greatest, next_is_0, entries_are_nowhere,
		entries_are_the_kernels, entries_end_beyond_all_memory, entries_end_too_early,
		moments_are_absurd};

	for (unsigned i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		trace_child(lies[i]);
		open_child();
		for (unsigned k = 0; k < 3; k++)
			CHECK_EQ(traced_look(&traced, &events, 0, k), 0);
		CHECK(events.n <= 3);
		check_texts();
		end_child();
	}
}

static void
another_layout(void)
{
	trace_anchor.entry_size = 32;
}

static void
more_entries(void)
{
	trace_anchor.n_entries = UINT32_MAX;
}

static void
another_version(void)
{
	trace_anchor.magic[14] = '2';
}

TEST(a_ring_of_another_layout_is_none)
{
	void (*const spoil[])(void) = {another_layout, more_entries, another_version};

	for (unsigned i = 0; i < sizeof(spoil) / sizeof(spoil[0]); i++) {
		struct ivshmem_error error;

		trace_child(spoil[i]);
		CHECK_EQ(traced_open(&traced, child, &error), -ENODATA);
		CHECK_HAS(error.message, "has no trace");
		end_child();
	}
}

/* Each entry has any words, and a check sum that is right. */
static void
fill_with_anything(void)
{
	srandom(11);
	for (unsigned i = 0; i < TRACE_ENTRIES; i++) {
		struct trace_entry *entry = &entries()[i];

		*entry = (struct trace_entry){.number = i,
			.ticks = (uint64_t)random() << random() % 40,
			.what = (uint64_t)random() << 32 |
				(random() % 2 ? (uint64_t)random()
					      : trace_events[(size_t)random() % trace_n_events]
							.number)};
		for (unsigned k = 0; k < TRACE_ARGS; k++)
			entry->args[k] = (uint64_t)random() << random() % 40;
		entry->check = trace_check(entry);
	}
	trace_anchor.next = TRACE_ENTRIES;
}

TEST(entries_with_anything)
{
	trace_child(fill_with_anything);
	open_child();
	CHECK_EQ(traced_look(&traced, &events, 0, 0), 0);
	CHECK_EQ(events.n, TRACE_ENTRIES);
	check_texts();
	end_child();
}

static void *
scribble(void *data)
{
	uint64_t *words = (uint64_t *)&trace_anchor;

	(void)data;
	for (unsigned i = 0;; i++) {
		/* Not the magic, so that there is something to look at. */
		size_t word = 3 + i % (sizeof(trace_anchor) / sizeof(*words) - 3);

		__atomic_store_n(
			&words[word], (uint64_t)random() << random() % 40, __ATOMIC_RELAXED);
		if (i % 3 == 0) {
			__atomic_store_n(
				&trace_anchor.entries.pointer, entries(), __ATOMIC_RELAXED);
			fill_with_anything();
		}
	}
	return NULL;
}

static void
scribble_for_ever(void)
{
	pthread_t thread;

	three_events();
	entries();
	pthread_create(&thread, NULL, scribble, NULL);
}

TEST(a_ring_that_changes_all_the_time)
{
	unsigned n = test_count(300);

	trace_child(scribble_for_ever);
	open_child();
	for (unsigned i = 0; i < n; i++) {
		traced.ended = false;
		events.n = 0;
		CHECK_EQ(traced_look(&traced, &events, 0, i), 0);
		CHECK(events.n <= TRACE_ENTRIES);
		check_texts();
	}
	end_child();
}

static void
take_a_name(void)
{
	three_events();
	prctl(PR_SET_NAME, "\x1b[2Jname\n\x9b");
}

TEST(a_name_cannot_move_the_cursor)
{
	trace_child(take_a_name);
	open_child();
	for (const char *c = traced.program; *c; c++)
		CHECK(*c >= ' ' && *c <= '~');
	CHECK_HAS(traced.program, "name");
	end_child();
}
