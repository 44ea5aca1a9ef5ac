/* SPDX-License-Identifier: BSD-2-Clause */
#include "flow.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Credit is given in pieces of at least this size, so that not every write causes a record. */
#define CREDIT_STEP (FLOW_WINDOW / 4)

/* Nobody may give more credit than this. */
#define CREDIT_MAX (UINT32_C(1) << 30)

static int
send_record(struct ivshmem_channel *channel, uint8_t type, uint8_t stream, uint32_t number)
{
	const struct record record = {.type = type, .stream = stream, .number = number};
	char bytes[RECORD_SMALL];
	int r = ivshmem_queue_send(channel, bytes, record_format(bytes, &record));

	return r < 0 ? r : 1;
}

/* ---- sending ---------------------------------------------------------------------------------- */

void
flow_out_begin(struct flow_out *flow, uint8_t stream, int fd, size_t max_record)
{
	size_t record = max_record < RECORD_MAX ? max_record : RECORD_MAX;

	*flow = (struct flow_out){.stream = stream,
		.fd = fd,
		.most = record - RECORD_DATA_HEADER,
		.left = UINT64_MAX};
}

int
flow_out_credit(struct flow_out *flow, uint32_t bytes)
{
	if (bytes > CREDIT_MAX || flow->credit > CREDIT_MAX - bytes)
		return -EPROTO;
	flow->credit += bytes;
	return 0;
}

void
flow_out_unwanted(struct flow_out *flow)
{
	flow->unwanted = flow->ended = true;
}

static size_t
next_length(const struct flow_out *flow)
{
	size_t length = flow->credit < flow->most ? flow->credit : flow->most;

	return length < flow->left ? length : (size_t)flow->left;
}

/* The record is read where it will be sent from. */
static int
read_record(struct flow_out *flow, struct ivshmem_channel *channel)
{
	const struct record header = {.type = RECORD_DATA, .stream = flow->stream};
	size_t length = next_length(flow);
	void *record;
	ssize_t n;
	int r = ivshmem_queue_reserve(channel, RECORD_DATA_HEADER + length, &record);

	if (r < 0)
		return r;
	n = read(flow->fd, (char *)record + RECORD_DATA_HEADER, length);
	if (n < 0 && errno == EINTR)
		return 1;
	if (n < 0 && errno == EAGAIN) {
		flow->readable = false;
		flow->ended = flow->last;
		return flow->last;
	}
	/* A terminal that nobody has open any more says EIO. */
	if (n <= 0) {
		flow->error = n < 0 && errno != EIO ? -errno : 0;
		flow->ended = true;
		return 1;
	}
	record_format(record, &header);
	flow->credit -= (uint32_t)n;
	flow->left -= (uint64_t)n;
	flow->bytes += (uint64_t)n;
	flow->ended = flow->left == 0;
	r = ivshmem_queue_commit(channel, RECORD_DATA_HEADER + (size_t)n);
	return r < 0 ? r : 1;
}

int
flow_out_run(struct flow_out *flow, struct ivshmem_channel *channel)
{
	int r;

	/* After an error, the bytes are not to look complete. */
	if (flow->told || flow->error)
		return 0;
	if (flow->ended) {
		r = send_record(channel, RECORD_END, flow->stream, 0);
		flow->told = r > 0;
		return r;
	}
	if (flow->left == 0) {
		flow->ended = true;
		return 1;
	}
	return flow->readable && flow->credit > 0 ? read_record(flow, channel) : 0;
}

/* ---- receiving -------------------------------------------------------------------------------- */

void
flow_in_begin(struct flow_in *flow, uint8_t stream, int fd)
{
	*flow = (struct flow_in){
		.stream = stream, .fd = fd, .most = FLOW_WINDOW, .owed = FLOW_WINDOW};
}

void
flow_in_free(struct flow_in *flow)
{
	free(flow->bytes);
	flow->bytes = NULL;
	flow->start = flow->end = 0;
}

int
flow_in_take(struct flow_in *flow, const char *bytes, size_t length)
{
	if (flow->ended || length > flow->credit)
		return -EPROTO;
	flow->credit -= (uint32_t)length;
	flow->received += length;
	if (length > 0)
		flow->last = bytes[length - 1];
	if (flow->unwanted)
		return 0;
	if (!flow->bytes)
		flow->bytes = malloc(FLOW_WINDOW);
	if (!flow->bytes)
		return -ENOMEM;
	/* There is room: credit and what waits are never more than the window. */
	if (length > FLOW_WINDOW - flow->end) {
		memmove(flow->bytes, flow->bytes + flow->start, flow->end - flow->start);
		flow->end -= flow->start;
		flow->start = 0;
	}
	memcpy(flow->bytes + flow->end, bytes, length);
	flow->end += length;
	return 0;
}

int
flow_in_end(struct flow_in *flow)
{
	if (flow->ended)
		return -EPROTO;
	flow->ended = true;
	return 0;
}

void
flow_in_refuse(struct flow_in *flow)
{
	flow->unwanted = true;
	flow_in_free(flow);
}

bool
flow_in_run(struct flow_in *flow)
{
	size_t length = flow_in_waiting(flow);
	ssize_t n;

	if (length == 0 || !flow->writable)
		return false;
	n = write(flow->fd, flow->bytes + flow->start, length < flow->most ? length : flow->most);
	if (n < 0 && errno == EINTR)
		return true;
	if (n < 0 && errno == EAGAIN) {
		flow->writable = false;
		return false;
	}
	if (n < 0) {
		flow->error = -errno;
		flow_in_refuse(flow);
		return true;
	}
	flow->start += (size_t)n;
	flow->owed += (uint32_t)n;
	if (flow->start == flow->end)
		flow->start = flow->end = 0;
	return true;
}

int
flow_in_tell(struct flow_in *flow, struct ivshmem_channel *channel)
{
	int r;

	if (flow->ended || flow->told)
		return 0;
	if (flow->unwanted) {
		r = send_record(channel, RECORD_UNWANTED, flow->stream, 0);
		flow->told = r > 0;
		return r;
	}
	if (flow->owed < CREDIT_STEP)
		return 0;
	r = send_record(channel, RECORD_CREDIT, flow->stream, flow->owed);
	if (r > 0) {
		flow->credit += flow->owed;
		flow->owed = 0;
	}
	return r;
}
