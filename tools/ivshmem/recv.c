/* SPDX-License-Identifier: BSD-2-Clause */
#include "json.h"
#include "output.h"
#include "participate.h"
#include "progress.h"

#include <base/clock.h>

#include <ivshmem/abi.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHUNK_SIZE 65536
#define RECORDS    64 /* so many are taken at a time */

struct receiving {
	const struct cli *cli;
	const char *name;
	struct ivshmem_channel *listener, *channel;
	struct progress progress;
	uint64_t bytes;

	char *buffer;
	size_t capacity;
};

static struct channel_arguments given = CHANNEL_ARGUMENTS;
static bool keep;

static const struct argument recv_options[] = {
	{"queue", NULL, "receive records: each becomes a line", .flag = &given.queue},
	{"nul", NULL, "end the records with NUL instead of newline", .letter = '0',
		.flag = &given.nul},
	{"keep", NULL, "go on with the next sender, and the next, until a signal comes",
		.letter = 'k', .flag = &keep},
	{"vector", "V", "be woken on our vector V (default: 0)", .letter = 'V',
		.number = &given.vector, .max = IVSHMEM_MAX_VECTORS - 1},
	{"timeout", "SECONDS", "give up if no sender comes within SECONDS (default: wait for ever)",
		.letter = 'w', .ns = &given.timeout, .max = TIME_YEAR},
};

/* ---- senders ------------------------------------------------------------------------------ */

/* Wait until the channel or the listener has something. 0, -ETIMEDOUT, or -EINTR to end. */
static int
wait_readable(struct receiving *receiving, struct ivshmem_channel *channel, uint64_t deadline)
{
	while (!participate_quit) {
		int r = ivshmem_channel_wait(
			channel, IVSHMEM_READABLE, channel_timeout(deadline, PARTICIPATE_STEP_MS));

		if (r > 0)
			return 0;
		if (r != -EINTR && r != -ETIMEDOUT)
			return r;
		progress_show(&receiving->progress, receiving->bytes);
		if (clock_now() >= deadline)
			return -ETIMEDOUT;
	}
	return -EINTR;
}

static enum status
accept_sender(struct receiving *receiving)
{
	uint64_t deadline = given.timeout == UINT64_MAX ? UINT64_MAX : clock_now() + given.timeout;
	int r;

	while ((r = ivshmem_accept(&receiving->channel, receiving->listener)) == -EAGAIN) {
		r = wait_readable(receiving, receiving->listener, deadline);
		if (r == -ETIMEDOUT) {
			fail("timed out: nobody sent to '%s'", receiving->name);
			return STATUS_TIMEOUT;
		}
		if (r == -EINTR && keep)
			return STATUS_OK;
		if (r == -EINTR)
			return fail("interrupted: nobody sent to '%s'", receiving->name);
		if (r < 0)
			break;
	}
	return r < 0 ? channel_fail(receiving->listener, receiving->name, r) : STATUS_OK;
}

/* ---- receiving ---------------------------------------------------------------------------- */

static int
reserve_buffer(struct receiving *receiving, size_t size)
{
	char *buffer;

	if (size <= receiving->capacity)
		return 0;
	buffer = realloc(receiving->buffer, size);
	if (!buffer)
		return -ENOMEM;
	receiving->buffer = buffer;
	receiving->capacity = size;
	return 0;
}

/* The next bytes. Returns how many, 0 at the end, or a negative errno. */
static int64_t
receive_bytes(struct receiving *receiving)
{
	int64_t n = ivshmem_stream_read(receiving->channel, receiving->buffer, receiving->capacity);

	if (n > 0) {
		fwrite(receiving->buffer, 1, (size_t)n, stdout);
		receiving->bytes += (uint64_t)n;
	}
	return n;
}

static void
print_record(const struct receiving *receiving, const char *record, size_t length)
{
	struct json json = JSON_BEGIN;

	if (!receiving->cli->json) {
		print_foreign_text(record, length);
		putchar(given.nul ? '\0' : '\n');
		return;
	}
	json_object(&json, NULL);
	json_number(&json, "length", length);
	json_text(&json, "text", record, length);
	json_hex_begin(&json, "hex");
	json_hex(&json, record, length);
	json_hex_end(&json);
	json_finish(&json);
}

/* Copy the next records, which may change, into the buffer, one after the other. Returns how many. */
static int64_t
copy_records(struct receiving *receiving, size_t lengths[RECORDS])
{
	struct ivshmem_record records[RECORDS];
	int64_t n = ivshmem_queue_peek_many(receiving->channel, records, RECORDS);
	size_t size = 0, at = 0;
	int64_t again;

	for (int64_t i = 0; i < n; i++)
		size += records[i].length;
	if (n > 0 && reserve_buffer(receiving, size) < 0)
		return -ENOMEM;
	for (int64_t i = 0; i < n; i++) {
		lengths[i] = records[i].length;
		memcpy(receiving->buffer + at, records[i].bytes, lengths[i]);
		at += lengths[i];
	}
	if (n <= 0)
		return n;
	/* Only now it is certain that what we have copied was the sender's. */
	again = ivshmem_queue_peek_many(receiving->channel, records, (size_t)n);
	return again == n || again < 0 ? again : -EPROTO;
}

/* The next records. Returns 1, 0 at the end, or a negative errno. The sender hears that they were
 * received after they were written: --keep sends again what was not. */
static int64_t
receive_records(struct receiving *receiving)
{
	size_t lengths[RECORDS], at = 0;
	int64_t n = copy_records(receiving, lengths);
	int r;

	if (n < 0)
		return n == -EPIPE ? 0 : n;
	for (int64_t i = 0; i < n; i++) {
		print_record(receiving, receiving->buffer + at, lengths[i]);
		at += lengths[i];
	}
	if (output_flush() < 0)
		return 1;
	receiving->bytes += at;
	r = ivshmem_queue_release(receiving->channel);
	return r < 0 ? r : 1;
}

/* Everything from one sender. */
static enum status
receive(struct receiving *receiving)
{
	int64_t r;

	do {
		r = given.queue ? receive_records(receiving) : receive_bytes(receiving);
		/* Who reads our output sees all that there is before we sleep. */
		if (!given.queue && output_flush() < 0)
			return STATUS_FAILURE;
		if (output_failure() < 0)
			return STATUS_FAILURE;
		if (r == -EAGAIN) {
			r = wait_readable(receiving, receiving->channel, UINT64_MAX);
			r = r < 0 ? r : 1;
		}
		progress_show(&receiving->progress, receiving->bytes);
	} while (r > 0 && !participate_quit);

	progress_end(&receiving->progress);
	if (r == 0)
		return STATUS_OK;
	if (participate_quit)
		return fail("interrupted: the sender of '%s' was not done", receiving->name);
	return channel_fail(receiving->channel, receiving->name, (int)r);
}

static enum status
receive_from_senders(struct receiving *receiving)
{
	enum status status;

	do {
		status = accept_sender(receiving);
		if (!receiving->channel)
			return status;
		/* Whoever comes now can wait for another one who listens under this name. */
		if (!keep)
			receiving->listener = ivshmem_channel_close(receiving->listener);
		progress_begin(&receiving->progress, receiving->cli,
			isatty(STDOUT_FILENO) ? NULL : "received");
		receiving->bytes = 0;
		status = receive(receiving);
		receiving->channel = ivshmem_channel_close(receiving->channel);
	} while (keep && !participate_quit && output_failure() == 0);
	return status;
}

static enum status
recv_run(const struct cli *cli, char *const *operands)
{
	struct receiving receiving = {.cli = cli, .name = operands[0]};
	/* The ring of what we send: that is nothing. */
	struct ivshmem_channel_options options = {.struct_size = sizeof(options), .ring_size = 256};
	struct ivshmem_participant *participant = NULL;
	struct ivshmem_error error;
	enum status status = channel_arguments_check(&given);

	if (status == STATUS_OK && cli->json && (!given.queue || given.nul)) {
		fail("--json is for the records of --queue, and excludes --nul");
		return STATUS_USAGE;
	}
	if (status == STATUS_OK)
		status = participate(cli, "ivshmem recv", given.vector, &participant);
	if (status != STATUS_OK)
		return status;
	participate_take_signals();
	if (reserve_buffer(&receiving, CHUNK_SIZE) < 0)
		status = fail("out of memory");
	else if (ivshmem_listen(&receiving.listener, participant, receiving.name,
			 channel_arguments_kind(&given), &options, &error) < 0)
		status = fail("%s", error.message);
	else
		note(cli, "listening under '%s'", receiving.name);
	if (status == STATUS_OK)
		status = receive_from_senders(&receiving);
	participate_no_more(cli, participant);
	free(receiving.buffer);
	return status;
}

const struct command command_recv = {
	.name = "recv",
	.operands = "NAME",
	.min_operands = 1,
	.max_operands = 1,
	.summary = "print what comes through a channel, from send",
	.description =
		"Listens under NAME, accepts the first one who connects, which is ivshmem send or "
		"any program that uses channels, and prints what it sends, up to its end. With "
		"--keep, it accepts the next one then; meanwhile, others can connect, and wait. If "
		"one of them fails, the command says so and goes on.\n"
		"A channel is a stream of bytes, or with --queue one of records, and both ends must "
		"say the same. On a terminal, control characters in records are shown as \\xNN, "
		"because any peer may have put them there.\n"
		"Each process that uses channels takes an area of the shared memory; the first one "
		"formats the memory, if it is zero. See ivshmem channels and ivshmem format.\n"
		"SIGINT and SIGTERM end the command. The exit code is 0 then with --keep between two "
		"senders, else 1.",
	CLI_OPTIONS(recv_options),
	.json = "Only with --queue, for each record: {\"length\":L,\"text\":TEXT,\"hex\":\"00ff...\"}\n"
		"In TEXT, each byte that is not UTF-8 is replaced by U+FFFD.",
	.statuses = "1 also if the sender died or was not done, or if the name is in use; 3 if no "
		    "sender came in time.",
	.examples = "ivshmem recv backup > disk.img\n"
		    "ivshmem recv --queue --keep log --json",
	.run = recv_run,
};
