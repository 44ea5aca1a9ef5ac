/* SPDX-License-Identifier: BSD-2-Clause */
#include "session.h"

#include "attach.h"
#include "bus_error.h"
#include "heard.h"
#include "output.h"

#include <base/clock.h>
#include <base/fd.h>
#include <base/parse.h>

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

/* The time between two attempts to find a server. */
#define WAIT_STEP_MS 100

/* ---- signals ------------------------------------------------------------------------------ */

static void
signal_set(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGTERM);
}

static int
signals_open(struct session *session)
{
	sigset_t set;

	signal_set(&set);
	sigprocmask(SIG_BLOCK, &set, NULL);
	session->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return session->signal_fd < 0 ? -errno : 0;
}

static void
signals_read(struct session *session)
{
	struct signalfd_siginfo info;

	if (read(session->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
		session->quit = (int)info.ssi_signo;
}

static int
session_poll(struct pollfd *fds, nfds_t n_fds, uint64_t deadline)
{
	struct timespec timeout, *timeout_pointer = NULL;

	if (deadline != SESSION_FOREVER) {
		uint64_t now = clock_now();
		uint64_t left = deadline > now ? deadline - now : 0;

		timeout.tv_sec = (time_t)(left / NSEC_PER_SEC);
		timeout.tv_nsec = (long)(left % NSEC_PER_SEC);
		timeout_pointer = &timeout;
	}
	return ppoll(fds, n_fds, timeout_pointer, NULL);
}

/* ---- attaching ---------------------------------------------------------------------------- */

static struct attach_config
attach_config(struct session *session)
{
	return (struct attach_config){
		.cli = session->cli,
		.target = session->target,
		.looks = session->looks,
		.hears = session->hears,
		.ops = &heard_ops,
		.data = session,
	};
}

/* Attach, or return early if a signal comes and the command has asked for signals. */
static int
attach_or_signal(struct session *session, struct ivshmem_error *reterr)
{
	struct attach_config config = attach_config(session);
	struct pollfd fds[] = {
		{.fd = session->signal_fd, .events = POLLIN},
		{.events = POLLIN},
	};
	int r;

	if (session->signal_fd < 0)
		return attach(&config, &session->client, reterr);
	r = attaching_start(&session->attaching, &config, reterr);
	if (r < 0)
		return r;
	fds[1].fd = attaching_fd(session->attaching);
	while (fds[1].revents == 0) {
		if (session_poll(fds, 2, SESSION_FOREVER) > 0 && fds[0].revents)
			signals_read(session);
		if (session->quit)
			return -EINTR;
	}
	r = attaching_finish(session->attaching, &session->client, reterr);
	session->attaching = NULL;
	return r;
}

/* Try until the server is there, but no longer than the user wants to wait. */
static int
session_attach_first(struct session *session, struct ivshmem_error *reterr)
{
	uint64_t end = clock_now() + session->cli->wait;
	int r;

	for (;;) {
		struct pollfd signals = {.fd = session->signal_fd, .events = POLLIN};

		r = attach_or_signal(session, reterr);
		if (session->quit)
			return r;
		if (!attach_may_succeed_later(session->target, r) || clock_now() >= end)
			return r;
		if (poll(&signals, 1, WAIT_STEP_MS) == 1)
			signals_read(session);
		if (session->quit)
			return r;
	}
}

static void
session_report_attached(struct session *session)
{
	struct event event = {.type = EVENT_ATTACHED};

	session->attached_at = session->heard_at = clock_now();
	session_event(session, &event);
}

struct session *
session_new(void)
{
	struct session *session = calloc(1, sizeof(*session));

	if (!session) {
		fail("out of memory");
		return NULL;
	}
	session->signal_fd = -1;
	session->hears = IVSHMEM_ANY_VECTOR;
	return session;
}

struct session *
session_free(struct session *session)
{
	if (!session)
		return NULL;
	session_close(session);
	/* An attempt that we left behind still uses it. */
	if (!session->attaching)
		free(session);
	return NULL;
}

enum status
session_open(struct session *session, const struct cli *cli,
	void (*event)(struct session *session, const struct event *event), bool signals,
	enum status signal_status)
{
	struct ivshmem_error error = {.message = ""};
	enum status status;
	int r;

	session->cli = cli;
	session->event = event;
	session->muted = SESSION_MUTE_NONE;
	session->reattach_interval = NSEC_PER_SEC;
	status = target_choose(cli, session->target);
	if (status != STATUS_OK)
		return status;
	session->is_pci = target_is_pci(session->target);
	session->is_memory = target_is_memory(session->target);
	if (session->needs_peers && session_check_peers(session) != STATUS_OK)
		return STATUS_FAILURE;
	bus_error_handle(session->target);

	if (signals) {
		r = signals_open(session);
		if (r < 0)
			return fail("cannot receive signals: %s", strerror(-r));
	}
	session->signal_status = signal_status;
	r = session_attach_first(session, &error);
	if (session->quit) {
		output_flush();
		_exit((int)signal_status);
	}
	if (r < 0)
		return fail("%s", error.message[0] ? error.message : strerror(-r));
	session_report_attached(session);
	return STATUS_OK;
}

void
session_close(struct session *session)
{
	attaching_abandon(session->attaching);
	session->client = ivshmem_detach(session->client);
	session->signal_fd = fd_close(session->signal_fd);
}

/* Report a reason once, until there is another one. */
static void
attach_again_later(struct session *session, int r, const struct ivshmem_error *error)
{
	if (r != session->reattach_failure && !session->cli->quiet)
		session_message(session, "cannot attach again yet: %s",
			error->message[0] ? error->message : strerror(-r));
	session->reattach_failure = r;
	session->reattach_at = clock_now() + session->reattach_interval;
}

/* The server is gone: look for its successor. Until there is one, keep what we have. */
static void
attach_again(struct session *session)
{
	struct attach_config config = attach_config(session);
	struct ivshmem_error error = {.message = ""};
	int r = attaching_start(&session->attaching, &config, &error);

	if (r < 0)
		attach_again_later(session, r, &error);
}

static void
attached_again(struct session *session)
{
	struct ivshmem_error error = {.message = ""};
	struct ivshmem_client *client;
	int r = attaching_finish(session->attaching, &client, &error);

	session->attaching = NULL;
	if (r < 0) {
		attach_again_later(session, r, &error);
		return;
	}
	ivshmem_detach(session->client);
	session->client = client;
	session->lost.code = 0;
	session->reattach_failure = 0;
	session_report_attached(session);
}

/* ---- running ------------------------------------------------------------------------------ */

static void
session_report_lost(struct session *session)
{
	struct event event = {
		.type = EVENT_LOST,
		.error = session->lost.code,
		.text = session->lost.message,
	};

	session_event(session, &event);
	/* The host waits until we let go of an unplugged device. */
	if (session->is_pci)
		session->client = ivshmem_detach(session->client);
	/* A server may take us in and close the connection again and again. What we print about each
	 * connection is limited, so limit the number of connections, too. */
	session->reattach_at = session->attached_at + session->reattach_interval;
}

static void
session_dispatch(struct session *session)
{
	int lost_before = session->lost.code;
	int r = ivshmem_dispatch(session->client, 0);

	if (r < 0 && r != -EINTR && !session->lost.code) {
		session->lost.code = r;
		snprintf(session->lost.message, sizeof(session->lost.message), "%s", strerror(-r));
	}
	session_report_interrupts(session);
	if (session->lost.code && !lost_before)
		session_report_lost(session);
}

unsigned
session_step(struct session *session, int input_fd, uint64_t deadline)
{
	bool reattach =
		session->lost.code && session->reattach && session->client && !session->attaching;
	uint64_t until =
		reattach && session->reattach_at < deadline ? session->reattach_at : deadline;
	/* poll() ignores negative descriptors. */
	struct pollfd fds[] = {
		{.fd = session->signal_fd, .events = POLLIN},
		{.fd = session->client ? ivshmem_fd(session->client) : -1, .events = POLLIN},
		{.fd = input_fd, .events = POLLIN},
		{.fd = session->attaching ? attaching_fd(session->attaching) : -1,
			.events = POLLIN},
	};
	unsigned wake = 0;

	/* Do not sleep again if a signal has already asked us to end. */
	if (session_poll(fds, 4, session->quit ? 0 : until) > 0) {
		if (fds[0].revents)
			signals_read(session);
		if (fds[1].revents)
			session_dispatch(session);
		if (fds[2].revents)
			wake |= SESSION_INPUT;
		if (fds[3].revents)
			attached_again(session);
	}
	if (session->quit)
		wake |= SESSION_QUIT;
	else if (reattach && clock_now() >= session->reattach_at)
		attach_again(session);
	if (!session->client)
		wake |= SESSION_GONE;
	if (deadline != SESSION_FOREVER && clock_now() >= deadline)
		wake |= SESSION_TIMEOUT;
	return wake;
}

enum status
session_check_attached(const struct session *session)
{
	if (session->client)
		return STATUS_OK;
	return fail("the device is gone: it was unplugged");
}

enum status
session_check_peers(const struct session *session)
{
	if (!session->is_memory)
		return STATUS_OK;
	return fail("%s is memory alone, without peers and interrupts: those need a server "
		    "(ivshmem-server), and its socket as the target (--target unix:PATH)",
		session->target);
}

enum status
session_fail_range(const struct session *session, uint64_t offset, uint64_t length)
{
	uint64_t size = ivshmem_size(session->client);
	char text[SIZE_TEXT_MAX];

	format_size(size, text);
	if (offset > size)
		return fail("offset %" PRIu64
			    " is beyond the end of the memory, which has %s (%" PRIu64 " bytes)",
			offset, text, size);
	return fail("%" PRIu64 " bytes at offset %" PRIu64
		    " do not fit: the memory has %s (%" PRIu64 " bytes), %" PRIu64
		    " from there to its end",
		length, offset, text, size, size - offset);
}

bool
session_interrupted(struct session *session)
{
	if (session->signal_fd >= 0 && !session->quit)
		signals_read(session);
	if (session->quit)
		fail("interrupted");
	return session->quit != 0;
}

uint64_t
session_deadline(uint64_t ns)
{
	return ns == SESSION_FOREVER ? SESSION_FOREVER : clock_now() + ns;
}
