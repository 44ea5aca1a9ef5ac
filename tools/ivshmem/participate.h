/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_PARTICIPATE_H
#define IVSHMEM_PARTICIPATE_H

/* Taking part in channels, for send and recv: what they have in common. */

#include "cli.h"

#include <ivshmem/channel.h>

#include <signal.h>

/* The options that both commands have. */
struct channel_arguments {
	bool queue, nul;
	uint64_t ring_size;
	unsigned vector;
	uint64_t timeout; /* nanoseconds; UINT64_MAX is for ever */
};

#define CHANNEL_ARGUMENTS                                                                          \
	{                                                                                          \
		.timeout = UINT64_MAX                                                              \
	}

/* Check options that must go together. On failure, prints why. */
enum status channel_arguments_check(const struct channel_arguments *given);

static inline enum ivshmem_channel_kind
channel_arguments_kind(const struct channel_arguments *given)
{
	return given->queue ? IVSHMEM_QUEUE : IVSHMEM_STREAM;
}

/*
 * Choose the target, attach to it as the global options say, and take part under `name`. On failure,
 * prints why. Signals end the process meanwhile.
 */
enum status participate(const struct cli *cli, const char *name, unsigned vector,
	struct ivshmem_participant **ret_participant);

/* Why there is no server any more, or NULL: then nobody tells us which peers have left. */
const char *participate_lost_server(void);

/* Whether the memory is mapped uncached or write-combining: no system call should work there. */
bool participate_uncached(const struct ivshmem_participant *participant);

/* Leave. With --verbose, says whether we were woken as we should have been. NULL is allowed. */
void participate_no_more(const struct cli *cli, struct ivshmem_participant *participant);

/*
 * From now on, SIGINT and SIGTERM let us leave as we should: they set participate_quit, and interrupt
 * writes to stdout. One that comes right before a sleep does not end it, so sleep for no longer than
 * PARTICIPATE_STEP_MS at a time.
 */
#define PARTICIPATE_STEP_MS 200
extern volatile sig_atomic_t participate_quit;
void participate_take_signals(void);

/*
 * Connect to who listens under `name`. If nobody does, say so, and wait for one, for at most `timeout`
 * nanoseconds (UINT64_MAX: for ever).
 */
enum status channel_connect(const struct cli *cli, struct ivshmem_participant *participant,
	const char *name, enum ivshmem_channel_kind kind, uint64_t ring_size, uint64_t timeout,
	struct ivshmem_channel **ret_channel);

/* Why we cannot take part any more, in a sentence. Returns STATUS_FAILURE. */
enum status participate_fail(int error);

/* How a channel ended, or a call on it failed, in a sentence. Returns STATUS_FAILURE. */
enum status channel_fail(const struct ivshmem_channel *channel, const char *name, int error);

/* The time until `deadline` (of clock_now()), but at most `max_ms`, in milliseconds. */
int channel_timeout(uint64_t deadline, int max_ms);

#endif
