/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * usage: queue_speaker TARGET NAME
 *
 * Listens for a queue under NAME. When somebody has connected and sent a record, it sends each line of
 * stdin, which is a record in hexadecimal digits, and stays until the other end has closed. For tests of
 * programs that must bear whatever who listens says.
 */
#include <ivshmem/channel.h>

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RECORD_MAX 65536

static char line[2 * RECORD_MAX + 2];
static uint8_t record[RECORD_MAX];

static void
demand(int64_t result, const char *what)
{
	if (result >= 0)
		return;
	fprintf(stderr, "queue_speaker: %s: %s\n", what, strerror((int)-result));
	exit(1);
}

/* The next record of the other end; false at its end. */
static bool
receive(struct ivshmem_channel *channel)
{
	const void *bytes;
	int64_t n;

	while ((n = ivshmem_queue_peek(channel, &bytes)) == -EAGAIN)
		ivshmem_channel_wait(channel, IVSHMEM_READABLE, -1);
	if (n >= 0)
		ivshmem_queue_release(channel);
	return n >= 0;
}

static void
say(struct ivshmem_channel *channel)
{
	size_t length = strcspn(line, "\n") / 2;
	int r;

	for (size_t i = 0; i < length; i++) {
		const char digits[] = {line[2 * i], line[2 * i + 1], '\0'};

		record[i] = (uint8_t)strtoul(digits, NULL, 16);
	}
	while ((r = ivshmem_queue_send(channel, record, length)) == -EAGAIN)
		ivshmem_channel_wait(channel, IVSHMEM_WRITABLE, -1);
	/* Whoever has heard enough may leave. */
	if (r != -EPIPE && r != -ECONNRESET)
		demand(r, "cannot send");
}

int
main(int argc, char **argv)
{
	struct ivshmem_participant *participant;
	struct ivshmem_channel *listener, *channel;
	int r;

	if (argc != 3)
		return 2;
	demand(ivshmem_participant_open(&participant, argv[1], NULL, NULL), "cannot take part");
	demand(ivshmem_listen(&listener, participant, argv[2], IVSHMEM_QUEUE, NULL, NULL),
		"cannot listen");
	puts("listening");
	fflush(stdout);
	while ((r = ivshmem_accept(&channel, listener)) == -EAGAIN)
		ivshmem_channel_wait(listener, IVSHMEM_READABLE, -1);
	demand(r, "cannot accept");
	if (receive(channel)) {
		while (fgets(line, sizeof(line), stdin))
			say(channel);
		while (receive(channel))
			;
	}
	ivshmem_participant_close(participant);
	return 0;
}
