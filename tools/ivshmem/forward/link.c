/* SPDX-License-Identifier: BSD-2-Clause */
#include "link.h"

#include "endpoint.h"

#include <base/fd.h>

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define CHUNK 131072

/* So many chunks go in each direction before another link has its turn. */
#define TURN 16

/* What is taken from one side is here until the other side has it. */
static char buffer[CHUNK];

/* ---- bytes that wait ------------------------------------------------------------------------- */

static int
keep(struct waiting *waiting, const char *bytes, size_t length)
{
	waiting->bytes = malloc(length);
	if (!waiting->bytes)
		return -ENOMEM;
	memcpy(waiting->bytes, bytes, length);
	waiting->start = 0;
	waiting->end = length;
	return 0;
}

static void
forget(struct waiting *waiting)
{
	free(waiting->bytes);
	*waiting = (struct waiting){0};
}

/* ---- descriptors ----------------------------------------------------------------------------- */

/* Whether a descriptor that blocks would not. */
static bool
is_ready(int fd, short events)
{
	struct pollfd poller = {.fd = fd, .events = events};

	return poll(&poller, 1, 0) > 0;
}

static ssize_t
read_in(struct link *link)
{
	ssize_t n;

	if (link->blocking && !is_ready(link->in, POLLIN))
		return -EAGAIN;
	n = read(link->in, buffer, sizeof(buffer));
	return n < 0 ? -errno : n;
}

static ssize_t
write_out(struct link *link, const char *bytes, size_t length)
{
	ssize_t n;

	if (link->blocking) {
		if (!is_ready(link->out, POLLOUT))
			return -EAGAIN;
		/* For so many, a pipe that is ready has room. */
		length = length < PIPE_BUF ? length : PIPE_BUF;
	}
	n = write(link->out, bytes, length);
	return n < 0 ? -errno : n;
}

/* Whether the socket is connected by now: 0, -EAGAIN, or why not. */
static int
finish_connecting(struct link *link)
{
	int error = 0;
	socklen_t length = sizeof(error);

	if (!link->may_out)
		return -EAGAIN;
	if (getsockopt(link->out, SOL_SOCKET, SO_ERROR, &error, &length) < 0)
		error = errno;
	link->pending = false;
	return -error;
}

/* ---- from `in` to the channel ---------------------------------------------------------------- */

/* Send what was read before. */
static int64_t
send_bytes(struct link *link, const char *bytes, size_t length)
{
	int64_t n = ivshmem_stream_write(link->channel, bytes, length);

	if (n == -EAGAIN)
		link->may_write = false;
	/* They receive nothing more. What they sent before may still be there. */
	if (n == -EPIPE) {
		link->sent_all = true;
		return -EPIPE;
	}
	link->sent += n > 0 ? (uint64_t)n : 0;
	return n == -EAGAIN ? 0 : n;
}

/* Nobody receives it. A program that nobody reads from may not read from us, either. */
static int
discard_in(struct link *link)
{
	ssize_t n = link->may_in ? read_in(link) : -EAGAIN;

	if (n == -EAGAIN)
		link->may_in = false;
	else if (n <= 0 && n != -EINTR)
		link->in_ended = true;
	return n > 0;
}

/* One step: 1 if something was done, 0 if nothing can be done, or how it failed. */
static int
step_in(struct link *link, bool *ret_ours)
{
	struct waiting *waiting = &link->to_channel;
	int64_t done;
	ssize_t n;

	if (link->sent_all && !link->in_ended)
		return discard_in(link);
	if (link->sent_all || !link->may_write)
		return 0;
	if (waiting->bytes) {
		done = send_bytes(
			link, waiting->bytes + waiting->start, waiting->end - waiting->start);
		if (done > 0)
			waiting->start += (size_t)done;
		if (done == -EPIPE || waiting->start == waiting->end)
			forget(waiting);
		return done == -EPIPE ? 1 : done < 0 ? (int)done : done > 0;
	}
	if (link->in_ended) {
		int r;

		/* A connection that was reset has not said everything. */
		if (link->out_error == -ECONNRESET) {
			*ret_ours = true;
			return link->out_error;
		}
		r = ivshmem_channel_shutdown(link->channel);
		link->sent_all = true;
		return r == 0 || r == -EPIPE ? 1 : r;
	}
	if (!link->may_in)
		return 0;
	n = read_in(link);
	if (n == -EINTR)
		return 1;
	if (n == -EAGAIN) {
		link->may_in = false;
		return 0;
	}
	*ret_ours = n < 0;
	if (n < 0)
		return (int)n;
	link->in_ended = n == 0;
	if (n == 0)
		return 1;
	done = send_bytes(link, buffer, (size_t)n);
	if (done == -EPIPE)
		return 1;
	if (done < 0)
		return (int)done;
	return done < n ? keep(waiting, buffer + done, (size_t)(n - done)) < 0 ? -ENOMEM : 1 : 1;
}

/* ---- from the channel to `out` --------------------------------------------------------------- */

static ssize_t
write_bytes(struct link *link, const char *bytes, size_t length)
{
	ssize_t n = write_out(link, bytes, length);

	if (n == -EAGAIN)
		link->may_out = false;
	return n == -EAGAIN || n == -EINTR ? 0 : n;
}

/* Say that nothing more comes. */
static void
end_out(struct link *link)
{
	link->wrote_all = true;
	if (link->blocking)
		close(link->out);
	else
		shutdown(link->out, SHUT_WR);
}

/* They have said everything. If they are gone, too, there is nobody to whom our side could say
 * anything, which may never come. */
static int
notice_end(struct link *link)
{
	int64_t r = ivshmem_stream_write(link->channel, NULL, 0);

	link->sent_all = r == -EPIPE;
	return link->sent_all ? 1 : (int)r;
}

/* The socket takes nothing more. */
static int
fail_out(struct link *link, int error, bool *ret_ours)
{
	/* Nothing is left that could be passed on; stdout is not where stdin comes from. */
	if (link->sent_all || link->in != link->out) {
		*ret_ours = true;
		return error;
	}
	link->out_error = error;
	link->wrote_all = true;
	forget(&link->to_out);
	return 1;
}

/* Nobody reads it. Who waits until we have taken it, before it takes what we have, must not wait
 * for ever. */
static int
discard_channel(struct link *link)
{
	int64_t n;

	if (!link->may_read)
		return 0;
	n = ivshmem_stream_read(link->channel, buffer, sizeof(buffer));
	if (n > 0)
		return 1;
	link->may_read = false;
	return n == -EAGAIN ? 0 : (int)n;
}

static int
step_out(struct link *link, bool *ret_ours)
{
	struct waiting *waiting = &link->to_out;
	ssize_t done;
	int64_t n;

	if (link->out_error != 0)
		return discard_channel(link);
	if (link->wrote_all)
		return link->sent_all ? 0 : notice_end(link);
	if (!link->may_out)
		return 0;
	if (waiting->bytes) {
		done = write_bytes(
			link, waiting->bytes + waiting->start, waiting->end - waiting->start);
		if (done < 0)
			return fail_out(link, (int)done, ret_ours);
		waiting->start += (size_t)done;
		if (waiting->start == waiting->end)
			forget(waiting);
		return done > 0;
	}
	if (link->channel_ended) {
		end_out(link);
		return 1;
	}
	if (!link->may_read)
		return 0;
	n = ivshmem_stream_read(link->channel, buffer, sizeof(buffer));
	if (n == -EAGAIN) {
		link->may_read = false;
		return 0;
	}
	if (n < 0)
		return (int)n;
	link->channel_ended = n == 0;
	if (n == 0)
		return 1;
	link->received += (uint64_t)n;
	done = write_bytes(link, buffer, (size_t)n);
	if (done < 0)
		return fail_out(link, (int)done, ret_ours);
	return done < n ? keep(waiting, buffer + done, (size_t)(n - done)) < 0 ? -ENOMEM : 1 : 1;
}

/* ---- both ------------------------------------------------------------------------------------ */

int
link_run(struct link *link, bool *ret_ours)
{
	*ret_ours = true;
	if (link->pending) {
		int r = finish_connecting(link);

		if (r < 0)
			return r == -EAGAIN ? LINK_WAITS : r;
	}
	for (unsigned i = 0; i < TURN; i++) {
		int in, out;

		*ret_ours = false;
		in = step_in(link, ret_ours);
		if (in < 0)
			return in;
		out = step_out(link, ret_ours);
		if (out < 0)
			return out;
		if (link->sent_all && link->out_error != 0) {
			*ret_ours = true;
			return link->out_error;
		}
		if (link->sent_all && (link->wrote_all || link->hung_up))
			return LINK_ENDED;
		if (!in && !out)
			return LINK_WAITS;
	}
	return LINK_RUNS;
}

void
link_free(struct link *link, bool broken)
{
	if (!link->blocking)
		endpoint_reset_on_close(link->in, broken);
	list_remove(&link->link);
	list_remove(&link->busy);
	if (broken)
		ivshmem_channel_abort(link->channel);
	else
		ivshmem_channel_close(link->channel);
	if (!link->blocking)
		fd_close(link->in);
	forget(&link->to_channel);
	forget(&link->to_out);
	free(link);
}
