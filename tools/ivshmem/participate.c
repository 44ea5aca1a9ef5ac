/* SPDX-License-Identifier: BSD-2-Clause */
#include "participate.h"

#include "attach.h"
#include "bus_error.h"
#include "output.h"
#include "target.h"

#include <base/clock.h>

#include <ivshmem/client.h>

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <string.h>

/* The time between two attempts to find a server. */
#define WAIT_STEP_MS 100

enum status
channel_arguments_check(const struct channel_arguments *given)
{
	if (!given->nul || given->queue)
		return STATUS_OK;
	fail("--nul is for the records of --queue; a stream is bytes as they come");
	return STATUS_USAGE;
}

static void
on_log(struct ivshmem_client *client, enum ivshmem_log_level level, const char *message, void *data)
{
	const bool *verbose = data;

	(void)client;
	if (level == IVSHMEM_LOG_WARNING)
		fail("warning: %s", message);
	else if (*verbose)
		fail("debug: %s", message);
}

static struct ivshmem_error lost_server;

static void
on_lost(struct ivshmem_client *client, const struct ivshmem_error *error, void *data)
{
	(void)client;
	(void)data;
	if (error->code != -ENODEV)
		lost_server = *error;
}

const char *
participate_lost_server(void)
{
	return lost_server.code ? lost_server.message : NULL;
}

enum status
participate(const struct cli *cli, const char *name, unsigned vector,
	struct ivshmem_participant **ret_participant)
{
	static bool verbose;
	static const struct ivshmem_ops ops = {
		.struct_size = sizeof(ops), .log = on_log, .lost = on_lost};
	struct ivshmem_options attach = {
		.struct_size = sizeof(attach),
		.ops = &ops,
		.data = &verbose,
		.timeout_ms = cli->connect_timeout_ms,
		.backend = cli->backend,
	};
	struct ivshmem_participant_options options = {
		.struct_size = sizeof(options),
		.name = name,
		.vector = vector,
		.attach = &attach,
	};
	uint64_t end = clock_now() + cli->wait;
	struct ivshmem_error error = {.message = ""};
	char target[TARGET_MAX];
	enum status status = target_choose(cli, target);
	int r;

	if (status != STATUS_OK)
		return status;
	verbose = cli->verbose;
	bus_error_handle(target);
	while ((r = ivshmem_participant_open(ret_participant, target, &options, &error)) < 0 &&
		attach_may_succeed_later(target, r) && clock_now() < end)
		poll(NULL, 0, WAIT_STEP_MS);
	if (r < 0)
		return fail("%s", error.message[0] ? error.message : strerror(-r));
	bus_error_watch(ivshmem_participant_client(*ret_participant));
	return STATUS_OK;
}

bool
participate_uncached(const struct ivshmem_participant *participant)
{
	return ivshmem_memory_mapping(ivshmem_participant_client(participant)) !=
	       IVSHMEM_MAPPING_WRITE_BACK;
}

void
participate_no_more(const struct cli *cli, struct ivshmem_participant *participant)
{
	uint64_t violations = participant ? ivshmem_participant_violations(participant) : 0;

	if (violations > 0)
		fail("warning: others broke the rules of channels %" PRIu64 " times", violations);
	if (participant && cli->verbose)
		fail("debug: something was there, and nobody had woken us: %" PRIu64 " times",
			ivshmem_participant_rescues(participant));
	ivshmem_participant_close(participant);
}

volatile sig_atomic_t participate_quit;

static void
on_signal(int number)
{
	(void)number;
	participate_quit = 1;
}

void
participate_take_signals(void)
{
	struct sigaction action = {.sa_handler = on_signal};

	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	signal(SIGPIPE, SIG_IGN);
}

enum status
channel_connect(const struct cli *cli, struct ivshmem_participant *participant, const char *name,
	enum ivshmem_channel_kind kind, uint64_t ring_size, uint64_t timeout,
	struct ivshmem_channel **ret_channel)
{
	uint64_t deadline = timeout == UINT64_MAX ? UINT64_MAX : clock_now() + timeout;
	struct ivshmem_channel_options options = {
		.struct_size = sizeof(options), .ring_size = ring_size};
	struct ivshmem_error error;
	bool noted = false;
	int wait_ms = 0;
	int r;

	/* Try at once, and if nobody is there, tell the user and wait. */
	while ((r = ivshmem_connect(
			ret_channel, participant, name, kind, &options, wait_ms, &error)) < 0) {
		if (r != -ENOENT && r != -EINTR)
			return fail("%s", error.message);
		wait_ms = channel_timeout(deadline, INT_MAX);
		if (wait_ms == 0) {
			fail("timed out: %s", error.message);
			return STATUS_TIMEOUT;
		}
		if (!noted)
			note(cli, "waiting: %s", error.message);
		noted = true;
	}
	return STATUS_OK;
}

enum status
participate_fail(int error)
{
	if (error == -ESTALE)
		return fail("our part of the shared memory is lost: somebody formatted or "
			    "restored the memory, or took us for dead; start again");
	if (error == -ENODEV)
		return fail("cannot take part any more: the device was unplugged");
	return fail("cannot take part any more: %s", strerror(-error));
}

enum status
channel_fail(const struct ivshmem_channel *channel, const char *name, int error)
{
	struct ivshmem_channel_status status = {.struct_size = sizeof(status)};

	ivshmem_channel_status(channel, &status);
	switch (error) {
	case -EPIPE:
		return fail("the receiver of '%s' ended before it had received everything", name);
	case -ECONNREFUSED:
		return fail(
			"'%s' did not accept us: who listened there has ended, or takes no more",
			name);
	case -ECONNRESET:
		return fail("the other end of '%s' died or gave up: %s", name, status.peer_name);
	case -EPROTO:
		return fail("what the other end of '%s' wrote into the memory makes no sense: %s",
			name, status.peer_name);
	case -ESTALE:
		return participate_fail(error);
	case -ENODEV:
		return fail("cannot use '%s' any more: the device was unplugged", name);
	default:
		return fail("cannot use '%s': %s", name, strerror(-error));
	}
}

int
channel_timeout(uint64_t deadline, int max_ms)
{
	uint64_t left_ms = clock_left_ms(deadline);

	return left_ms < (uint64_t)max_ms ? (int)left_ms : max_ms;
}
