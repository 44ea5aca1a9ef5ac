/* SPDX-License-Identifier: BSD-2-Clause */
#include "call.h"
#include "console.h"

#include "output.h"
#include "participate.h"
#include <agent/flow.h>

#include <base/fd.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#define TURN 64 /* so many records before we look at descriptors again */

/* If the agent says nothing while so many signals come, it is the caller who is to end. */
#define UNANSWERED_MAX 3

/* Signals that wait for room in the ring. */
#define SIGNALS_MAX 16

struct call {
	struct ivshmem_channel *channel;
	const char *name; /* which the agent listens under */
	bool terminal;
	bool accepted;

	struct flow_out in; /* our stdin, which we send */
	struct flow_in out, err;
	int signals;
	uint8_t waiting[SIGNALS_MAX];
	unsigned n_waiting, n_unanswered;
	bool resized;

	bool out_closed;

	bool ended; /* with this status; the rest of the output may have to be written */
	int status;
};

static void
end(struct call *call, int status)
{
	call->ended = true;
	call->status = status;
}

/* Nobody is to wait any more, not even for who reads our output. */
static void
give_up(struct call *call, int status)
{
	flow_in_refuse(&call->out);
	flow_in_refuse(&call->err);
	end(call, status);
}

/* ---- what the agent sends ---------------------------------------------------------------------- */

static void
take_failure(struct call *call, const struct record *record)
{
	char sentence[2048];

	console_restore();
	fail("%s", foreign_text(record->bytes, record->length, sentence, sizeof(sentence)));
	end(call, record->number ? (int)record->number : CALL_FAILED);
}

static int
take_record(struct call *call, const struct record *record)
{
	struct flow_in *flow = record->stream == 1   ? &call->out
			       : record->stream == 2 ? &call->err
						     : NULL;

	switch (record->type) {
	case RECORD_ACCEPTED:
		if (call->accepted)
			return -EPROTO;
		call->accepted = true;
		if (call->terminal)
			console_make_raw();
		return 0;
	case RECORD_FAILED:
		take_failure(call, record);
		return 0;
	case RECORD_DATA:
		return flow ? flow_in_take(flow, record->bytes, record->length) : -EPROTO;
	case RECORD_END:
		return flow ? flow_in_end(flow) : -EPROTO;
	case RECORD_CREDIT:
		return record->stream == 0 ? flow_out_credit(&call->in, record->number) : -EPROTO;
	case RECORD_UNWANTED:
		if (record->stream != 0)
			return -EPROTO;
		flow_out_unwanted(&call->in);
		/* Whoever writes to it learns of it. A terminal is still to be restored. */
		if (!isatty(STDIN_FILENO))
			close(STDIN_FILENO);
		return 0;
	case RECORD_EXITED:
		end(call, (int)record->number);
		return 0;
	case RECORD_KILLED:
		end(call, 128 + (int)record->number);
		return 0;
	default:
		return -EPROTO;
	}
}

/* 1: a record was taken, 0: there is none, or how the channel failed. */
static int
receive(struct call *call)
{
	static char buffer[RECORD_MAX];
	struct record record;
	int64_t n;
	int r;

	if (call->ended)
		return 0;
	n = ivshmem_queue_receive(call->channel, buffer, sizeof(buffer));
	if (n < 0)
		return n == -EAGAIN ? 0 : n == -EMSGSIZE ? -EPROTO : (int)n;
	call->n_unanswered = 0;
	r = record_parse(&record, buffer, (size_t)n);
	if (r == 0)
		r = take_record(call, &record);
	return r < 0 ? r : 1;
}

/* ---- what we send ------------------------------------------------------------------------------ */

static int
send_record(struct call *call, const struct record *record)
{
	char bytes[RECORD_SMALL];

	return ivshmem_queue_send(call->channel, bytes, record_format(bytes, record));
}

static int
send_signals(struct call *call)
{
	int r = 0;

	while (r == 0 && call->n_waiting > 0) {
		const struct record record = {.type = RECORD_SIGNAL, .number = call->waiting[0]};

		r = send_record(call, &record);
		if (r == 0)
			memmove(call->waiting, call->waiting + 1, --call->n_waiting);
	}
	if (r == 0 && call->resized) {
		struct record record = {.type = RECORD_TERMINAL_SIZE};

		console_size(&record.rows, &record.columns);
		r = send_record(call, &record);
		call->resized = r != 0;
	}
	return r;
}

/* 1: something was sent, 0: there is nothing, or how the channel failed. */
static int
send_all(struct call *call)
{
	int out, err, in, r = call->accepted ? send_signals(call) : 0;

	if (r < 0)
		return r;
	out = flow_in_tell(&call->out, call->channel);
	if (out < 0)
		return out;
	err = flow_in_tell(&call->err, call->channel);
	if (err < 0)
		return err;
	in = flow_out_run(&call->in, call->channel);
	/* Whether there is more, poll() tells. */
	if (in > 0 && !call->in.ended)
		call->in.readable = false;
	return in < 0 ? in : out + err + in > 0;
}

/* ---- signals ----------------------------------------------------------------------------------- */

static const int passed_on[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};

static int
take_signals(struct call *call)
{
	sigset_t set;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	for (unsigned i = 0; i < sizeof(passed_on) / sizeof(passed_on[0]); i++)
		sigaddset(&set, passed_on[i]);
	if (call->terminal)
		sigaddset(&set, SIGWINCH);
	sigprocmask(SIG_BLOCK, &set, NULL);
	call->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return call->signals < 0 ? -errno : 0;
}

static void
read_signals(struct call *call)
{
	struct signalfd_siginfo info;

	while (read(call->signals, &info, sizeof(info)) == sizeof(info)) {
		if (info.ssi_signo == SIGWINCH)
			call->resized = true;
		else if (!call->accepted || call->ended || ++call->n_unanswered == UNANSWERED_MAX)
			give_up(call, 128 + (int)info.ssi_signo);
		else if (call->n_waiting < SIGNALS_MAX)
			call->waiting[call->n_waiting++] = (uint8_t)info.ssi_signo;
	}
}

/* ---- our descriptors --------------------------------------------------------------------------- */

/*
 * Others have our stdout and stderr, too, so these have to stay blocking. Pipes and terminals can be
 * opened once more, for us alone. If that fails: a pipe that poll() calls writable has room for PIPE_BUF
 * bytes. A file has room for any.
 */
static void
begin_out(struct flow_in *flow, uint8_t stream, int fd)
{
	char path[32];
	struct stat stat;
	int own = -1;

	flow_in_begin(flow, stream, fd);
	if (fstat(fd, &stat) < 0 || S_ISREG(stat.st_mode))
		return;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (S_ISFIFO(stat.st_mode) || S_ISCHR(stat.st_mode))
		own = open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (own >= 0)
		flow->fd = own;
	else
		flow->most = PIPE_BUF;
}

/* Whoever reads our stdout learns that nothing more comes, while we may go on. */
static void
close_stdout(struct flow_in *flow)
{
	int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);

	if (nowhere < 0)
		return;
	dup2(nowhere, STDOUT_FILENO);
	if (flow->fd != STDOUT_FILENO)
		dup2(nowhere, flow->fd);
	close(nowhere);
}

static bool
can_go_on(const struct call *call)
{
	return !call->ended || flow_in_waiting(&call->out) > 0 || flow_in_waiting(&call->err) > 0;
}

/* Sleep until something can be done. */
static void
wait_for_events(struct call *call, int channel_fd)
{
	bool wants_in = !call->in.ended && call->in.credit > 0 && !call->ended;
	struct pollfd fds[] = {
		{.fd = call->ended ? -1 : channel_fd, .events = POLLIN},
		{.fd = call->signals, .events = POLLIN},
		{.fd = wants_in ? STDIN_FILENO : -1, .events = POLLIN},
		{.fd = flow_in_waiting(&call->out) > 0 ? call->out.fd : -1, .events = POLLOUT},
		{.fd = flow_in_waiting(&call->err) > 0 ? call->err.fd : -1, .events = POLLOUT},
	};

	if (poll(fds, 5, -1) <= 0)
		return;
	if (fds[1].revents)
		read_signals(call);
	call->in.readable = fds[2].revents != 0;
	call->out.writable = fds[3].revents != 0;
	call->err.writable = fds[4].revents != 0;
}

/* Write what poll() has allowed. */
static void
write_out(struct call *call)
{
	struct flow_in *const flows[] = {&call->out, &call->err};

	for (unsigned i = 0; i < 2; i++) {
		flow_in_run(flows[i]);
		flows[i]->writable = false;
	}
	if (call->out.ended && flow_in_waiting(&call->out) == 0 && !call->out_closed) {
		close_stdout(&call->out);
		call->out_closed = true;
	}
}

/* What went wrong with our own descriptors. Whoever reads our output may end when they like. */
static void
check_descriptors(struct call *call)
{
	int error = call->out.error ? call->out.error : call->err.error;

	if (call->in.error)
		fail("cannot read stdin: %s", strerror(-call->in.error));
	else if (error && error != -EPIPE)
		fail("cannot write what the command printed: %s", strerror(-error));
	else
		return;
	give_up(call, CALL_FAILED);
	call->in.error = call->out.error = call->err.error = 0;
}

/* ---- running ----------------------------------------------------------------------------------- */

static int
run_channel(struct call *call)
{
	int r = 1;

	for (unsigned i = 0; i < TURN && r > 0 && !call->ended; i++) {
		int received = receive(call), sent;

		if (received < 0)
			return received;
		sent = call->ended ? 0 : send_all(call);
		if (sent < 0 && sent != -EAGAIN && sent != -EPIPE)
			return sent;
		r = received + (sent > 0);
	}
	ivshmem_queue_flush(call->channel);
	return r;
}

static void
fail_channel(struct call *call, int error)
{
	console_restore();
	if (error == -EPIPE || error == -ECONNRESET || error == -ECONNREFUSED)
		fail("the agent '%s' ended, or died, before the command did", call->name);
	else
		channel_fail(call->channel, call->name, error);
	end(call, CALL_FAILED);
}

static void
loop(struct call *call, int channel_fd)
{
	while (can_go_on(call)) {
		int r = call->ended ? 0 : run_channel(call);

		if (r < 0)
			fail_channel(call, r);
		write_out(call);
		check_descriptors(call);
		if (!can_go_on(call))
			break;
		if (r <= 0)
			wait_for_events(call, channel_fd);
	}
}

int
call_run(struct ivshmem_channel *channel, const char *name, bool terminal)
{
	struct call call = {.channel = channel, .name = name, .terminal = terminal, .signals = -1};
	struct ivshmem_channel_status status = {.struct_size = sizeof(status)};
	int fd = ivshmem_channel_fd(channel);
	int r = take_signals(&call);

	if (fd < 0 || r < 0) {
		fail("cannot wait for the agent: %s", strerror(fd < 0 ? -fd : -r));
		return CALL_FAILED;
	}
	ivshmem_channel_status(channel, &status);
	flow_out_begin(&call.in, 0, STDIN_FILENO, (size_t)status.max_record);
	begin_out(&call.out, 1, STDOUT_FILENO);
	begin_out(&call.err, 2, STDERR_FILENO);
	loop(&call, fd);
	console_restore();
	flow_in_free(&call.out);
	flow_in_free(&call.err);
	fd_close(call.signals);
	return call.status;
}
