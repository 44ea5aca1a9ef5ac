/* SPDX-License-Identifier: BSD-2-Clause */
#include "record/pinger.h"

#include "bench.h"
#include "output.h"

#include <base/clock.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct pinger {
	const struct cli *cli;
	struct ivshmem_participant *participant;
	struct ivshmem_channel *channel;
	uint64_t number; /* of the record that was sent last */
	int ended;       /* 0, or a negative errno */
};

/* Tell the other end what is to become of our records. */
static int
begin(struct pinger *pinger)
{
	const char wish = BENCH_ECHO;
	int r;

	while ((r = ivshmem_queue_send(pinger->channel, &wish, 1)) == -EAGAIN) {
		r = ivshmem_channel_wait(pinger->channel, IVSHMEM_WRITABLE, PARTICIPATE_STEP_MS);
		if (r < 0 && r != -ETIMEDOUT && r != -EINTR)
			break;
	}
	return r;
}

enum status
pinger_open(const struct cli *cli, const char *name, struct pinger **ret_pinger)
{
	struct pinger *pinger = calloc(1, sizeof(*pinger));
	char full_name[BENCH_NAME_SIZE];
	enum status status;

	if (!pinger)
		return fail("out of memory");
	pinger->cli = cli;
	status = participate(cli, "ivshmem record", 0, &pinger->participant);
	if (status == STATUS_OK)
		status = channel_connect(cli, pinger->participant,
			bench_channel_name(full_name, name, IVSHMEM_QUEUE), IVSHMEM_QUEUE, 4096,
			UINT64_MAX, &pinger->channel);
	if (status == STATUS_OK && (pinger->ended = begin(pinger)) < 0)
		status = channel_fail(pinger->channel, name, pinger->ended);
	if (status == STATUS_OK)
		*ret_pinger = pinger;
	else
		pinger_close(pinger);
	return status;
}

struct pinger *
pinger_close(struct pinger *pinger)
{
	if (!pinger)
		return NULL;
	ivshmem_channel_close(pinger->channel);
	participate_no_more(pinger->cli, pinger->participant);
	free(pinger);
	return NULL;
}

/* Receive records up to the one that was sent last: those before it are late. 1: there it is; 0: not yet. */
static int
receive_answer(struct pinger *pinger)
{
	for (;;) {
		uint64_t number = 0;
		int64_t n = ivshmem_queue_receive(pinger->channel, &number, sizeof(number));

		if (n == -EAGAIN)
			return 0;
		if (n < 0)
			return (int)n;
		if (n == (int64_t)sizeof(number) && number == pinger->number)
			return 1;
	}
}

static int
wait_for(struct pinger *pinger, int events, uint64_t deadline)
{
	int r = ivshmem_channel_wait(
		pinger->channel, events, channel_timeout(deadline, PARTICIPATE_STEP_MS));

	if (clock_now() >= deadline)
		return -ETIMEDOUT;
	return r == -ETIMEDOUT || r == -EINTR || r >= 0 ? 0 : r;
}

/* One round trip. 0, or -ETIMEDOUT, or how the channel ended. */
static int
exchange(struct pinger *pinger, uint64_t deadline)
{
	int r;

	pinger->number++;
	while ((r = ivshmem_queue_send(pinger->channel, &pinger->number, sizeof(pinger->number))) ==
		-EAGAIN) {
		r = wait_for(pinger, IVSHMEM_WRITABLE, deadline);
		if (r < 0)
			return r;
	}
	while (r == 0) {
		r = receive_answer(pinger);
		if (r == 0)
			r = wait_for(pinger, IVSHMEM_READABLE, deadline);
	}
	return r < 0 ? r : 0;
}

size_t
pinger_run(struct pinger *pinger, uint64_t *ns, size_t n, uint64_t deadline, const char **ret_ended)
{
	static char sentence[128];
	size_t done = 0;
	int r = pinger->ended;

	*ret_ended = NULL;
	if (r < 0)
		return 0;
	while (done < n && r == 0) {
		uint64_t start = clock_now();

		r = exchange(pinger, deadline);
		if (r == 0)
			ns[done++] = clock_now() - start;
	}
	if (r < 0 && r != -ETIMEDOUT) {
		pinger->ended = r;
		snprintf(sentence, sizeof(sentence), "no more round trips: %s",
			r == -EPIPE || r == -ECONNRESET ? "the other end has ended or died"
							: strerror(-r));
		*ret_ended = sentence;
	}
	return done;
}
