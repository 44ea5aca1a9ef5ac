/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * What the processor and the kernel can do, without a library.
 *
 *	lines	the sender stores one word in each line of 64 bytes, the receiver loads it
 *	whole	the same, and the rest of each line is copied in and out
 *	pong	8 bytes there and back, in a line for each direction
 *	copies	the sender copies records in, the receiver copies them out; a word for each says
 *		that it is complete
 *	socket	a UNIX stream socket, written and read in pieces of the record's length
 *	eventfd	one is rung there, one is rung back; both sides sleep in poll()
 */
#include "sides.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* As large as the default ring of a channel. */
#define RING 262144u

/* The words that are not data, each in lines of its own. */
struct words {
	_Atomic uint64_t head;
	char padding_1[120];
	_Atomic uint64_t there;
	char padding_2[120];
	_Atomic uint64_t back;
	char padding_3[120];
	_Atomic uint64_t complete[64][16];
};

static struct words *
words_of(const struct sides *sides)
{
	return sides->memory;
}

static char *
ring_of(const struct sides *sides)
{
	return (char *)sides->memory + 65536;
}

static void
wait_for(_Atomic uint64_t *word, uint64_t value)
{
	while (atomic_load_explicit(word, memory_order_acquire) < value)
		sides_relax();
}

/* ---- lines ----------------------------------------------------------------------------------- */

#define LINE  64u
#define LINES (RING / LINE)

static _Atomic uint64_t *
line(const struct sides *sides, uint64_t number)
{
	return (_Atomic uint64_t *)(void *)(ring_of(sides) + number % LINES * LINE);
}

static char *
rest_of_line(const struct sides *sides, uint64_t number)
{
	return ring_of(sides) + number % LINES * LINE + sizeof(uint64_t);
}

static inline void
send_lines_with(struct sides *sides, bool whole)
{
	char bytes[LINE] = {0};
	uint64_t head = 0;

	sides_begin(sides);
	for (uint64_t i = 0; i < sides->count; i++) {
		while (i - head >= LINES)
			head = atomic_load_explicit(&words_of(sides)->head, memory_order_acquire);
		if (whole)
			memcpy(rest_of_line(sides, i), bytes, LINE - 8);
		atomic_store_explicit(line(sides, i), i + 1, memory_order_release);
	}
}

static inline void
receive_lines_with(struct sides *sides, bool whole)
{
	char bytes[LINE];

	sides_begin(sides);
	for (uint64_t i = 0; i < sides->count; i++) {
		while (atomic_load_explicit(line(sides, i), memory_order_acquire) != i + 1)
			sides_relax();
		if (whole)
			memcpy(bytes, rest_of_line(sides, i), LINE - 8);
		/* It is not left out because nobody reads it. */
		__asm__ volatile("" : : "r"(bytes) : "memory");
		if (i % (LINES / 8) == 0)
			atomic_store_explicit(&words_of(sides)->head, i, memory_order_release);
	}
	atomic_store_explicit(&words_of(sides)->head, sides->count, memory_order_release);
	sides_end(sides);
}

static void
send_lines(struct sides *sides)
{
	send_lines_with(sides, false);
}

static void
receive_lines(struct sides *sides)
{
	receive_lines_with(sides, false);
}

static void
send_whole(struct sides *sides)
{
	send_lines_with(sides, true);
}

static void
receive_whole(struct sides *sides)
{
	receive_lines_with(sides, true);
}

/* ---- pong ------------------------------------------------------------------------------------ */

static void
send_pong(struct sides *sides)
{
	sides_begin(sides);
	for (uint64_t i = 1; i <= sides->count; i++) {
		wait_for(&words_of(sides)->back, i);
		atomic_store_explicit(&words_of(sides)->there, i, memory_order_release);
	}
}

static void
receive_pong(struct sides *sides)
{
	sides_begin(sides);
	for (uint64_t i = 1; i <= sides->count; i++) {
		atomic_store_explicit(&words_of(sides)->back, i, memory_order_release);
		wait_for(&words_of(sides)->there, i);
	}
	sides_end(sides);
}

/* ---- copies ---------------------------------------------------------------------------------- */

/* In parts of the ring, as many as are the fastest. */
static size_t
part_of(const struct sides *sides)
{
	return sides->length < RING / 8 ? sides->length : RING / 8;
}

static void
send_copies(struct sides *sides)
{
	char *buffer = sides_buffer(sides);
	size_t part = part_of(sides), parts = RING / part;
	uint64_t number = 0;

	sides_begin(sides);
	for (uint64_t i = 0; i < sides->count; i++)
		for (size_t at = 0; at < sides->length; at += part, number++) {
			if (number >= parts)
				wait_for(&words_of(sides)->head, number - parts + 1);
			memcpy(ring_of(sides) + number % parts * part, buffer + at, part);
			atomic_store_explicit(&words_of(sides)->complete[number % parts % 64][0],
				number + 1, memory_order_release);
		}
	free(buffer);
}

static void
receive_copies(struct sides *sides)
{
	char *buffer = sides_buffer(sides);
	size_t part = part_of(sides), parts = RING / part;
	uint64_t number = 0;

	sides_begin(sides);
	for (uint64_t i = 0; i < sides->count; i++)
		for (size_t at = 0; at < sides->length; at += part, number++) {
			wait_for(&words_of(sides)->complete[number % parts % 64][0], number + 1);
			memcpy(buffer + at, ring_of(sides) + number % parts * part, part);
			atomic_store_explicit(
				&words_of(sides)->head, number + 1, memory_order_release);
		}
	sides_end(sides);
	free(buffer);
}

/* ---- socket ---------------------------------------------------------------------------------- */

static void
send_socket(struct sides *sides)
{
	char *buffer = sides_buffer(sides);

	sides_begin(sides);
	for (uint64_t left = sides->count * sides->length; left > 0;) {
		ssize_t n =
			write(sides->fds[0], buffer, left < sides->length ? left : sides->length);

		if (n < 0)
			sides_die("write to a socket", errno);
		left -= (size_t)n;
	}
	free(buffer);
}

static void
receive_socket(struct sides *sides)
{
	char *buffer = sides_buffer(sides);

	sides_begin(sides);
	for (uint64_t left = sides->count * sides->length; left > 0;) {
		ssize_t n = read(sides->fds[1], buffer, sides->length);

		if (n <= 0)
			sides_die("read from a socket", errno);
		left -= (size_t)n;
	}
	sides_end(sides);
	free(buffer);
}

/* ---- eventfd --------------------------------------------------------------------------------- */

static int eventfds[2];

__attribute__((constructor)) static void
make_eventfds(void)
{
	for (unsigned i = 0; i < 2; i++)
		eventfds[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
}

static void
ring(int fd)
{
	const uint64_t one = 1;

	if (write(fd, &one, sizeof(one)) != (ssize_t)sizeof(one))
		sides_die("write to an eventfd", errno);
}

static void
be_rung(int fd)
{
	struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
	uint64_t value;

	if (poll(&poll_fd, 1, -1) < 0 || read(fd, &value, sizeof(value)) != (ssize_t)sizeof(value))
		sides_die("read from an eventfd", errno);
}

static void
send_eventfd(struct sides *sides)
{
	sides_begin(sides);
	for (uint64_t i = 0; i < sides->count; i++) {
		be_rung(eventfds[0]);
		ring(eventfds[1]);
	}
}

static void
receive_eventfd(struct sides *sides)
{
	sides_begin(sides);
	for (uint64_t i = 0; i < sides->count; i++) {
		ring(eventfds[0]);
		be_rung(eventfds[1]);
	}
	sides_end(sides);
}

int
main(int argc, char **argv)
{
	static const struct sides_case cases[] = {
		{"lines", send_lines, receive_lines},
		{"whole", send_whole, receive_whole},
		{"pong", send_pong, receive_pong},
		{"copies", send_copies, receive_copies},
		{"socket", send_socket, receive_socket},
		{"eventfd", send_eventfd, receive_eventfd},
	};

	return sides_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
