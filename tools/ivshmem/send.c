/* SPDX-License-Identifier: BSD-2-Clause */
#include "json.h"
#include "output.h"
#include "participate.h"
#include "progress.h"

#include <base/clock.h>

#include <ivshmem/abi.h>

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define CHUNK_SIZE 65536
#define STEP_MS    500 /* between two looks whether to show progress */

/* With --keep: wait until so many bytes were received, before more are sent. After the end of a receiver,
 * at most these come twice. */
#define BATCH    4096
#define RETRY_NS (100 * NSEC_PER_MSEC) /* before we connect to the next receiver */

/* How far we are: in the buffer, and in all. */
struct position {
	size_t at;
	uint64_t bytes, records;
};

struct sending {
	const struct cli *cli;
	const char *name;
	struct ivshmem_participant *participant;
	struct ivshmem_channel *channel;
	uint64_t max_record;
	struct progress progress;
	struct position sent, received; /* received: only with --keep */

	/* What was read from stdin and was not sent; with --keep, not received. */
	char *buffer;
	size_t end, capacity;
	bool at_end;
};

static struct channel_arguments given = CHANNEL_ARGUMENTS;
static bool keep;

static const struct argument send_options[] = {
	{"queue", NULL, "send records: each line of stdin is one", .flag = &given.queue},
	{"nul", NULL, "the records end with NUL instead of newline", .letter = '0',
		.flag = &given.nul},
	{"keep", NULL,
		"go on with the next receiver if one ends or dies: what it has not received is "
		"sent again; for --queue",
		.letter = 'k', .flag = &keep},
	{"size", "BYTES",
		"the size of the ring that we send through, which becomes a power of two "
		"(default: 256K, or less in small memory)",
		.size = &given.ring_size, .min = 256, .max = UINT64_C(1) << 31},
	{"vector", "V", "be woken on our vector V (default: 0)", .letter = 'V',
		.number = &given.vector, .max = IVSHMEM_MAX_VECTORS - 1},
	{"timeout", "SECONDS",
		"give up if nobody listens under NAME within SECONDS (default: wait for ever)",
		.letter = 'w', .ns = &given.timeout, .max = TIME_YEAR},
};

/* ---- the other end ------------------------------------------------------------------------ */

/* Whether the other end has ended, so that nobody will take what we send. What it sends to us is of
 * no use here. */
static int
other_end(struct sending *sending)
{
	char unwanted[4096];
	const void *record;
	int64_t r;

	do {
		r = given.queue ? ivshmem_queue_peek(sending->channel, &record)
				: ivshmem_stream_read(sending->channel, unwanted, sizeof(unwanted));
		if (r >= 0 && given.queue) {
			r = ivshmem_queue_release(sending->channel);
			r = r < 0 ? r : 1;
		}
	} while (r > 0);
	return r == -EAGAIN ? 0 : r == 0 ? -EPIPE : (int)r;
}

/* Wait for room in the ring. */
static int
wait_for_room(struct sending *sending)
{
	int r;

	do {
		progress_show(&sending->progress, sending->sent.bytes);
		r = ivshmem_channel_wait(sending->channel, IVSHMEM_WRITABLE, STEP_MS);
	} while (r == -ETIMEDOUT || r == -EINTR);
	return r < 0 ? r : 0;
}

/* Wait until the other end has received all that was sent. */
static int
drain(struct sending *sending)
{
	int r;

	do {
		progress_show(&sending->progress, sending->sent.bytes);
		r = ivshmem_channel_drain(sending->channel, STEP_MS);
	} while (r == -ETIMEDOUT || r == -EINTR);
	if (r == 0)
		sending->received = sending->sent;
	return r;
}

/* ---- stdin -------------------------------------------------------------------------------- */

/* Wait until stdin can be read, unless the other end ends. 0, or how that ended. */
static int
wait_for_input(struct sending *sending)
{
	int channel_fd = ivshmem_channel_fd(sending->channel);
	struct pollfd fds[] = {
		{.fd = STDIN_FILENO, .events = POLLIN},
		{.fd = channel_fd, .events = POLLIN},
	};

	if (channel_fd < 0)
		return channel_fd;
	if (poll(fds, 1, 0) != 0)
		return 0;
	for (;;) {
		int r = other_end(sending);

		if (r < 0)
			return r;
		if (poll(fds, 2, -1) > 0 && fds[0].revents)
			return 0;
	}
}

static enum status
make_room_in_buffer(struct sending *sending)
{
	size_t done = keep ? sending->received.at : sending->sent.at;

	if (done > 0) {
		memmove(sending->buffer, sending->buffer + done, sending->end - done);
		sending->end -= done;
		sending->sent.at -= done;
		sending->received.at = 0;
	}
	if (sending->capacity - sending->end < CHUNK_SIZE) {
		size_t capacity = sending->capacity ? 2 * sending->capacity : 2 * CHUNK_SIZE;
		char *buffer = realloc(sending->buffer, capacity);

		if (!buffer)
			return fail("out of memory");
		sending->buffer = buffer;
		sending->capacity = capacity;
	}
	return STATUS_OK;
}

/* Read once. */
static enum status
fill_buffer(struct sending *sending)
{
	ssize_t n;

	if (make_room_in_buffer(sending) != STATUS_OK)
		return STATUS_FAILURE;
	n = read(STDIN_FILENO, sending->buffer + sending->end, CHUNK_SIZE);
	if (n < 0 && errno != EINTR && errno != EAGAIN)
		return fail("cannot read stdin: %s", strerror(errno));
	if (n > 0)
		sending->end += (size_t)n;
	sending->at_end = n == 0;
	return STATUS_OK;
}

/* ---- sending ------------------------------------------------------------------------------ */

static int
send_bytes(struct sending *sending)
{
	while (sending->sent.at < sending->end) {
		int64_t n = ivshmem_stream_write(sending->channel,
			sending->buffer + sending->sent.at, sending->end - sending->sent.at);

		if (n == -EAGAIN)
			n = wait_for_room(sending);
		if (n < 0)
			return (int)n;
		sending->sent.at += (size_t)n;
		sending->sent.bytes += (uint64_t)n;
	}
	return 0;
}

static int
send_record(struct sending *sending, const char *record, size_t length)
{
	int r;

	while ((r = ivshmem_queue_send(sending->channel, record, length)) == -EAGAIN) {
		r = wait_for_room(sending);
		if (r < 0)
			return r;
	}
	if (r < 0)
		return r;
	sending->sent.bytes += length;
	sending->sent.records++;
	return 0;
}

/* Send the records that are complete. */
static int
send_records(struct sending *sending)
{
	int r = 0;

	while (r == 0 && sending->sent.at < sending->end) {
		const char *record = sending->buffer + sending->sent.at;
		size_t left = sending->end - sending->sent.at;
		const char *end = memchr(record, given.nul ? '\0' : '\n', left);
		size_t length = end ? (size_t)(end - record) : left;

		if (length > sending->max_record)
			return -EMSGSIZE;
		if (!end && !sending->at_end)
			break;
		r = send_record(sending, record, length);
		if (r < 0)
			break;
		sending->sent.at += length + (end != NULL);
		if (keep && sending->sent.at - sending->received.at >= BATCH)
			r = drain(sending);
	}
	return r == 0 && keep ? drain(sending) : r;
}

/* ---- receivers ---------------------------------------------------------------------------- */

static enum status
connect_receiver(struct sending *sending)
{
	struct ivshmem_channel_status channel = {.struct_size = sizeof(channel)};
	enum status status = channel_connect(sending->cli, sending->participant, sending->name,
		channel_arguments_kind(&given), given.ring_size, given.timeout, &sending->channel);

	if (status == STATUS_OK && ivshmem_channel_status(sending->channel, &channel) == 0)
		sending->max_record = channel.max_record;
	return status;
}

/* Whether another receiver can help. */
static bool
is_end_of_receiver(int error)
{
	return error == -EPIPE || error == -ECONNRESET || error == -ECONNREFUSED ||
	       error == -EPROTO;
}

/* With --keep: go on with the next receiver. */
static enum status
change_receiver(struct sending *sending, int error)
{
	const struct timespec pause = {.tv_nsec = RETRY_NS};

	if (error == -EPIPE)
		note(sending->cli, "the receiver of '%s' has ended; going on with the next one",
			sending->name);
	else
		channel_fail(sending->channel, sending->name, error);
	sending->channel = ivshmem_channel_close(sending->channel);
	sending->sent = sending->received;
	/* One that refuses each time must not keep us busy. */
	nanosleep(&pause, NULL);
	return connect_receiver(sending);
}

/* Read once, and send what is there. 0, or how the channel ended. */
static int
send_some(struct sending *sending, enum status *ret_status)
{
	int r = sending->at_end ? 0 : wait_for_input(sending);

	if (r < 0)
		return r;
	if (!sending->at_end)
		*ret_status = fill_buffer(sending);
	if (*ret_status != STATUS_OK)
		return 0;
	return given.queue ? send_records(sending) : send_bytes(sending);
}

static enum status
send_stdin(struct sending *sending)
{
	enum status status = STATUS_OK;
	int r = 0;

	while (status == STATUS_OK && r == 0 &&
		(!sending->at_end || sending->sent.at < sending->end)) {
		r = send_some(sending, &status);
		progress_show(&sending->progress, sending->sent.bytes);
		if (keep && is_end_of_receiver(r)) {
			status = change_receiver(sending, r);
			r = 0;
		}
	}
	if (status != STATUS_OK)
		return status;
	if (r == 0)
		r = ivshmem_channel_shutdown(sending->channel);
	/* With --keep, all was received, and whatever becomes of the receiver is its own affair. */
	if (keep && is_end_of_receiver(r))
		r = 0;
	else if (r == 0 && !keep)
		r = drain(sending);
	progress_end(&sending->progress);
	if (r == -EMSGSIZE)
		return fail("record %" PRIu64 " is too long: it can have at most %" PRIu64
			    " bytes; take a larger ring with --size",
			sending->sent.records + 1, sending->max_record);
	return r < 0 ? channel_fail(sending->channel, sending->name, r) : STATUS_OK;
}

static void
report(const struct sending *sending)
{
	struct json json = JSON_BEGIN;

	if (!sending->cli->json)
		return;
	json_object(&json, NULL);
	json_string(&json, "name", sending->name);
	json_number(&json, "bytes", sending->sent.bytes);
	if (given.queue)
		json_number(&json, "records", sending->sent.records);
	json_finish(&json);
}

static enum status
send_run(const struct cli *cli, char *const *operands)
{
	struct sending sending = {.cli = cli, .name = operands[0]};
	enum status status = channel_arguments_check(&given);

	if (status == STATUS_OK && keep && !given.queue) {
		fail("--keep is for --queue: what a receiver has got of a stream is no whole");
		return STATUS_USAGE;
	}
	if (status == STATUS_OK)
		status = participate(cli, "ivshmem send", given.vector, &sending.participant);
	if (status == STATUS_OK)
		status = connect_receiver(&sending);
	if (status == STATUS_OK) {
		progress_begin(&sending.progress, cli, "sent");
		status = send_stdin(&sending);
		progress_end(&sending.progress);
	}
	if (status == STATUS_OK)
		report(&sending);
	participate_no_more(cli, sending.participant);
	free(sending.buffer);
	return status;
}

const struct command command_send = {
	.name = "send",
	.operands = "NAME",
	.min_operands = 1,
	.max_operands = 1,
	.summary = "send stdin through a channel, to recv",
	.description =
		"Connects to who listens under NAME, which is ivshmem recv or any program that uses "
		"channels, waits for one if there is none yet, and sends what it reads from stdin up "
		"to its end. The command ends when the other end has received everything.\n"
		"A channel is a stream of bytes, or with --queue one of records, and both ends must "
		"say the same. Each line is a record, without its newline; the last one needs none. "
		"A record has at most half of the bytes of the ring, less 16.\n"
		"Each process that uses channels takes an area of the shared memory; the first one "
		"formats the memory, if it is zero. See ivshmem channels and ivshmem format.\n"
		"With --keep, the end of a receiver does not end the command: it waits for the next "
		"one, and reads no more of stdin meanwhile. No record is lost then, but some may come "
		"twice: what a receiver got that did not live to say so.\n"
		"A signal ends the command, and then the receiver learns that we died.",
	CLI_OPTIONS(send_options),
	.json = "{\"name\":NAME,\"bytes\":SENT}, and with --queue \"records\":SENT",
	.statuses = "1 also if the receiver ended or died before it had received everything; 3 if "
		    "nobody listened in time, with --keep also for the next time.",
	.examples = "ivshmem send backup < disk.img\n"
		    "journalctl -f -o json | ivshmem --target pci:auto send --queue --keep log",
	.run = send_run,
};
