/* SPDX-License-Identifier: BSD-2-Clause */
#include "session.h"

#include "attach.h"
#include "bus_error.h"
#include "output.h"

#include <base/clock.h>
#include <base/fd.h>

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/un.h>
#include <unistd.h>

/* Between two looks for a server. */
#define WAIT_STEP_MS 100

/* For so long after attaching, at the most, others are waited for: some may come and go for ever. */
#define NEWS_LIMIT (10 * NSEC_PER_SEC)

/*
 * A server announces our vectors one by one, and no message says which is the last. When none came
 * for so long, we have all of them. Much more than a busy machine makes a server pause.
 */
#define VECTOR_SILENCE (2 * NSEC_PER_SEC)

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

/* ---- what the library tells us ------------------------------------------------------------ */

static void
session_event(struct session *session, const struct event *event)
{
	if (session->event)
		session->event(session, event);
	else if (event->type == EVENT_MESSAGE)
		fail("%s", event->text);
}

static void session_message(struct session *session, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static void
session_message(struct session *session, const char *format, ...)
{
	char message[1024];
	struct event event = {.type = EVENT_MESSAGE, .text = message};
	va_list args;

	va_start(args, format);
	vsnprintf(message, sizeof(message), format, args);
	va_end(args);
	session_event(session, &event);
}

/* The server has announced a peer, or a vector of one. */
static void
session_heard(struct session *session)
{
	session->news++;
	session->heard_at = clock_now();
}

/* Interrupts that came before something else are reported before it. */
static void session_report_interrupts(struct session *session);

static void
on_joined(struct ivshmem_client *client, uint16_t peer, unsigned vectors, void *data)
{
	struct event event = {.type = EVENT_JOINED, .peer = peer, .vectors = vectors};

	(void)client;
	session_heard(data);
	session_report_interrupts(data);
	session_event(data, &event);
}

static void
on_vectors(struct ivshmem_client *client, uint16_t peer, unsigned vectors, void *data)
{
	struct event event = {.type = EVENT_VECTORS, .peer = peer, .vectors = vectors};

	(void)client;
	session_heard(data);
	session_report_interrupts(data);
	session_event(data, &event);
}

static void
on_left(struct ivshmem_client *client, uint16_t peer, void *data)
{
	struct event event = {.type = EVENT_LEFT, .peer = peer};

	(void)client;
	session_report_interrupts(data);
	session_event(data, &event);
}

/* How much there is to count is up to the peers. */
static void
count_add(uint64_t *count, uint64_t more)
{
	if (__builtin_add_overflow(*count, more, count))
		*count = UINT64_MAX;
}

static void
on_interrupt(struct ivshmem_client *client, unsigned vector, uint64_t count, void *data)
{
	struct session *session = data;

	(void)client;
	if (vector >= IVSHMEM_MAX_VECTORS)
		return;
	count_add(&session->vectors[vector].received, count);
	count_add(&session->vectors[vector].unconsumed, count);
	count_add(&session->vectors[vector].unreported, count);
}

static void
on_lost(struct ivshmem_client *client, const struct ivshmem_error *error, void *data)
{
	struct session *session = data;

	(void)client;
	session->lost = *error;
}

static void
on_log(struct ivshmem_client *client, enum ivshmem_log_level level, const char *message, void *data)
{
	struct session *session = data;

	(void)client;
	if (attaching_keeps(level, message))
		return;
	if (level == IVSHMEM_LOG_WARNING)
		pace_printf(&session->warnings, "%s", message);
	else if (session->cli->verbose)
		session_message(session, "debug: %s", message);
}

/* What is left of the warnings at the pace of a reader. */
static void
write_warning(void *data, enum log_level level, const char *message)
{
	(void)level;
	session_message(data, "warning: %s", message);
}

static const struct ivshmem_ops session_ops = {
	.struct_size = sizeof(session_ops),
	.peer_joined = on_joined,
	.peer_vectors = on_vectors,
	.peer_left = on_left,
	.interrupt = on_interrupt,
	.lost = on_lost,
	.log = on_log,
};

void
session_event_note(struct session *session, const struct event *event)
{
	if (event->type == EVENT_MESSAGE)
		fail("%s", event->text);
	else if (event->type == EVENT_LOST && session->is_pci)
		note(session->cli, "device lost: %s", event->text);
	else if (event->type == EVENT_LOST)
		note(session->cli, "server lost: %s; peers that are connected can still ring",
			event->text);
}

/* ---- attaching ---------------------------------------------------------------------------- */

static struct attach_config
attach_config(struct session *session)
{
	return (struct attach_config){
		.cli = session->cli,
		.target = session->target,
		.looks = session->looks,
		.ops = &session_ops,
		.data = session,
	};
}

/* Who has asked for signals gets them while it waits, too. */
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

/* As often as it takes until the server is there, but not longer than the user wants to wait. */
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
		/* -ENODATA: whoever makes a memory object has not given it its size yet. */
		if ((r != -ENOENT && r != -ECONNREFUSED && r != -ENODATA) || session->is_pci ||
			clock_now() >= end)
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
	session->log = (struct log){
		.level = LOG_LEVEL_WARNING,
		.write = write_warning,
		.data = session,
	};
	/* The library limits those of one server; this, those of one server after the other. */
	session->warnings = (struct pace){.log = &session->log, .level = LOG_LEVEL_WARNING};
	return session;
}

struct session *
session_free(struct session *session)
{
	if (!session)
		return NULL;
	session_close(session);
	/* A try that is left behind still knows it. */
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
	session->is_pci = strncmp(session->target, "pci:", 4) == 0;
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
	pace_end(&session->warnings);
	session->signal_fd = fd_close(session->signal_fd);
}

/* Each reason is told once, until another one comes. */
static void
attach_again_later(struct session *session, int r, const struct ivshmem_error *error)
{
	if (r != session->reattach_failure && !session->cli->quiet)
		session_message(session, "cannot attach again yet: %s",
			error->message[0] ? error->message : strerror(-r));
	session->reattach_failure = r;
	session->reattach_at = clock_now() + session->reattach_interval;
}

/* The server is gone: look for its successor. Until there is one, we keep what we have. */
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

/* Make interrupts that came into events, unless muted. */
static void
session_report_interrupts(struct session *session)
{
	if (session->muted == IVSHMEM_ANY_VECTOR || !session->client)
		return;
	for (unsigned i = 0; i < ivshmem_vectors(session->client); i++) {
		struct session_vector *vector = &session->vectors[i];
		struct event event = {.type = EVENT_INTERRUPT, .vector = i};

		if (vector->unreported == 0 || (int)i == session->muted)
			continue;
		event.count = vector->unreported;
		vector->unreported = 0;
		session_event(session, &event);
	}
}

static void
session_report_lost(struct session *session)
{
	struct event event = {
		.type = EVENT_LOST,
		.error = session->lost.code,
		.text = session->lost.message,
	};

	session_event(session, &event);
	/* The host waits for us to let go of an unplugged device. */
	if (session->is_pci)
		session->client = ivshmem_detach(session->client);
	session->reattach_at = clock_now();
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
	/* Negative descriptors are ignored by poll. */
	struct pollfd fds[] = {
		{.fd = session->signal_fd, .events = POLLIN},
		{.fd = session->client ? ivshmem_fd(session->client) : -1, .events = POLLIN},
		{.fd = input_fd, .events = POLLIN},
		{.fd = session->attaching ? attaching_fd(session->attaching) : -1,
			.events = POLLIN},
	};
	unsigned wake = 0;

	/* Who has not ended yet does not sleep again. */
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

void
session_mute(struct session *session, int vector)
{
	session->muted = vector;
}

void
session_unmute(struct session *session)
{
	session->muted = SESSION_MUTE_NONE;
	session_report_interrupts(session);
}

uint64_t
session_take(struct session *session, unsigned vector, uint64_t max)
{
	struct session_vector *state = &session->vectors[vector];
	uint64_t taken = state->unconsumed < max ? state->unconsumed : max;

	state->unconsumed -= taken;
	if (state->unreported > state->unconsumed)
		state->unreported = state->unconsumed;
	return taken;
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

/* Complain that we have too few vectors, and name the remedy. */
static enum status
fail_for_vectors(const struct session *session, int vector)
{
	unsigned vectors = ivshmem_vectors(session->client);
	char text[VECTORS_TEXT_MAX];

	if (!ivshmem_has_id(session->client))
		return fail(
			"an observer has no id, so nobody can interrupt it: name the server's other socket, --target unix:PATH");
	if (vectors == 0 && !session->is_pci)
		return fail(
			"the server gives its peers no vectors, so nobody can interrupt us: start "
			"it with one or more, ivshmem-server -n 1");
	if (vectors == 0 && strcmp(ivshmem_backend(session->client), "sysfs") == 0)
		return fail(
			"interrupts cannot be received through sysfs: bind the device to vfio-pci "
			"(--backend vfio tells what it lacks for that), or poll the memory");
	if (vectors == 0)
		return fail("the device has no interrupts: give the virtual machine an "
			    "ivshmem-doorbell device instead of ivshmem-plain");
	return fail("we have no vector %d: we have %s, counted from 0", vector,
		vectors_text(vectors, text));
}

/*
 * Whether the server may still give us vectors until we have `wanted`. A device has what it has, and
 * an observer gets none.
 */
static bool
vectors_may_come(const struct session *session, unsigned wanted)
{
	return !session->is_pci && ivshmem_has_id(session->client) && !session->lost.code &&
	       wanted <= IVSHMEM_MAX_VECTORS;
}

enum status
session_await_vector(struct session *session, int vector, uint64_t deadline)
{
	unsigned wanted = vector == IVSHMEM_ANY_VECTOR ? 1 : (unsigned)vector + 1;
	unsigned before = 0, wake = 0;
	char text[VECTORS_TEXT_MAX];
	uint64_t until = 0;

	for (bool first = true;; first = false) {
		unsigned vectors;
		bool more;

		if (session_check_attached(session) != STATUS_OK ||
			session_check_peers(session) != STATUS_OK)
			return STATUS_FAILURE;
		vectors = ivshmem_vectors(session->client);
		more = first || vectors != before;
		if (vectors >= wanted)
			return STATUS_OK;
		if (wake & SESSION_QUIT && session->signal_status == STATUS_OK)
			return STATUS_OK;
		if (wake & SESSION_QUIT)
			return fail("interrupted: we have no vector %u yet", wanted - 1);
		if (!vectors_may_come(session, wanted) || (wake & SESSION_TIMEOUT && !more))
			return fail_for_vectors(session, vector);
		if (first)
			note(session->cli, "waiting for vector %u: we have %s so far", wanted - 1,
				vectors_text(vectors, text));
		if (more) {
			/* Only our own vectors count: others may come and go for ever. */
			until = session_deadline(VECTOR_SILENCE);
			until = until < deadline ? until : deadline;
			before = vectors;
		}
		wake = session_step(session, -1, until);
	}
}

bool
session_await_news(struct session *session)
{
	uint64_t silent = session->heard_at + VECTOR_SILENCE;
	uint64_t limit = session->attached_at + NEWS_LIMIT;
	unsigned before = session->news;

	/* An observer was told when it knew all. */
	if (session->is_pci || session->is_memory || !ivshmem_has_id(session->client))
		return false;
	while (!session->lost.code && session->news == before) {
		if (session_step(session, -1, silent < limit ? silent : limit) &
			(SESSION_QUIT | SESSION_TIMEOUT))
			break;
	}
	return session->news != before;
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
