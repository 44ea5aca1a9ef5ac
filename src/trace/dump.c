/* SPDX-License-Identifier: BSD-2-Clause */

/* The ring of this process as text, also while everything else is broken. */
#include <trace/text.h>
#include <trace/trace.h>

#include <errno.h>
#include <poll.h>
#include <unistd.h>

/* A process that crashes must not wait for ever for the reader of its stderr. */
#define PATIENCE_MS 1000

static int
write_all(int fd, const struct text *text)
{
	struct pollfd room = {.fd = fd, .events = POLLOUT};

	for (size_t done = 0; done < text->length;) {
		ssize_t n = poll(&room, 1, PATIENCE_MS);

		/* A pipe that has any room takes a line without blocking. */
		if (n > 0)
			n = write(fd, text->buffer + done, text->length - done);
		else if (n == 0)
			return -ETIMEDOUT;
		if (n < 0 && errno != EINTR && errno != EAGAIN)
			return -errno;
		done += n > 0 ? (size_t)n : 0;
	}
	return 0;
}

static void
copy_entry(struct trace_entry *copy, const struct trace_entry *from)
{
	copy->check = __atomic_load_n(&from->check, __ATOMIC_ACQUIRE);
	copy->number = __atomic_load_n(&from->number, __ATOMIC_RELAXED);
	copy->ticks = __atomic_load_n(&from->ticks, __ATOMIC_RELAXED);
	copy->what = __atomic_load_n(&from->what, __ATOMIC_RELAXED);
	for (unsigned i = 0; i < TRACE_ARGS; i++)
		copy->args[i] = __atomic_load_n(&from->args[i], __ATOMIC_RELAXED);
}

static int
write_entry(int fd, const struct trace_entry *entry, const struct trace_moment *first,
	const struct trace_moment *now)
{
	char buffer[TEXT_MAX];
	struct text text = {.buffer = buffer, .size = sizeof(buffer)};

	text_seconds(&text, trace_time(entry->ticks, first, now));
	text_puts(&text, " ");
	text_number(&text, trace_thread_of(entry), 10, 1);
	text_puts(&text, " ");
	text_event(&text, entry);
	text_puts(&text, "\n");
	return write_all(fd, &text);
}

int
trace_dump(int fd, unsigned most)
{
	const struct trace_entry *entries = trace_anchor.entries.pointer;
	uint64_t next = __atomic_load_n(&trace_anchor.next, __ATOMIC_RELAXED);
	struct trace_moment now = trace_moment_now();
	struct trace_moment first = {
		.ns = __atomic_load_n(&trace_anchor.first.ns, __ATOMIC_ACQUIRE),
		.ticks = __atomic_load_n(&trace_anchor.first.ticks, __ATOMIC_RELAXED),
	};
	uint64_t number = trace_oldest(next);
	int saved = errno;
	int r = 0;

	if (most != 0 && next - number > most)
		number = next - most;
	for (; number < next && r == 0; number++) {
		struct trace_entry entry;

		copy_entry(&entry, &entries[number % TRACE_ENTRIES]);
		if (trace_is_whole(&entry, number))
			r = write_entry(fd, &entry, &first, &now);
	}
	errno = saved;
	return r;
}
