/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * forward and listen: connections of sockets over streams, many at a time.
 *
 * Each connection is a link (link.h). forward takes connections from a socket, and makes a channel
 * for each; listen takes channels, and makes a connection for each. What cannot be made for lack of
 * room or descriptors waits: the one that was accepted already, and others in their queues. It is
 * tried again when a link ends, and every now and then, because the other side may need a moment
 * until it gives its memory back.
 */
#include "endpoint.h"
#include "json.h"
#include "link.h"
#include "output.h"
#include "participate.h"

#include <base/clock.h>
#include <base/fd.h>

#include <ivshmem/abi.h>

#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define EVENTS   64
#define RING     32768 /* by default; an area of 640 KiB has room for 17 */
#define RETRY_MS 10

struct forward {
	const struct cli *cli;
	const char *name;
	struct endpoint endpoint;
	struct ivshmem_participant *participant;
	struct ivshmem_channel_options options;

	int epoll, signals;
	int socket; /* forward: who comes there is forwarded; -1: nobody comes */
	int held;   /* a connection that waits for room; -1: none */
	/* listen: channels come here. */
	struct ivshmem_channel *listener;
	struct ivshmem_channel *waiting; /* one that waits for a socket or a descriptor */

	bool may_accept;   /* somebody may have come */
	uint64_t retry_at; /* but not before this time */
	bool warned;       /* that there is no room */
	bool told_of_server;
	bool once; /* one link is all */
	bool quit;
	struct list links, busy;
	unsigned n_links;
	uint64_t last_number;
	enum status status;
};

static struct channel_arguments given = {.ring_size = RING};

/* What is no link in epoll's data. */
static char is_participant, is_socket, is_signal;

/* ---- what happens, for people and programs --------------------------------------------------- */

/* `why` is NULL if it ended well. */
static void
report(const struct forward *forward, const char *event, const struct link *link, const char *why)
{
	struct json json = JSON_BEGIN;

	if (why)
		fail("connection %" PRIu64 " of '%s': %s", link->number, link->name, why);
	if (!forward->cli->json) {
		if (forward->cli->verbose && !why)
			fail("debug: connection %" PRIu64 " of '%s' %s", link->number, link->name,
				event);
		return;
	}
	json_object(&json, NULL);
	json_string(&json, "event", event);
	json_number(&json, "connection", link->number);
	json_string(&json, "name", link->name);
	if (strcmp(event, "connected") != 0) {
		json_number(&json, "sent", link->sent);
		json_number(&json, "received", link->received);
	}
	if (why)
		json_string(&json, "error", why);
	json_finish(&json);
}

/* The end of everything: the area is not ours any more, or the device is gone. */
static bool
is_fatal(int error)
{
	return error == -ESTALE || error == -ENODEV;
}

static void
stop(struct forward *forward, int error)
{
	if (!forward->quit)
		forward->status = participate_fail(error);
	forward->quit = true;
}

static const char *
explain(int error, bool ours)
{
	if (ours)
		return strerror(-error);
	switch (error) {
	case -ECONNREFUSED:
		return "the other side did not accept it";
	case -ECONNRESET:
		return "the other side died or gave up";
	case -EPROTO:
		return "what the other side wrote into the memory makes no sense";
	default:
		return strerror(-error);
	}
}

/* ---- links ----------------------------------------------------------------------------------- */

static void
make_busy(struct forward *forward, struct link *link)
{
	if (list_empty(&link->busy))
		list_append(&forward->busy, &link->busy);
}

static void
end_link(struct forward *forward, struct link *link, const char *why)
{
	report(forward, why ? "failed" : "closed", link, why);
	if (why && forward->once)
		forward->status = STATUS_FAILURE;
	/* A program that was started has copies of the descriptors for a moment. So closing them is not
	 * enough for epoll to forget them. */
	epoll_ctl(forward->epoll, EPOLL_CTL_DEL, link->in, NULL);
	link_free(link, why != NULL);
	forward->n_links--;
	forward->retry_at = 0;
	forward->quit = forward->quit || forward->once;
}

static int
watch(struct forward *forward, int fd, uint32_t events, void *what)
{
	struct epoll_event event = {.events = events, .data.ptr = what};

	return epoll_ctl(forward->epoll, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

/* stdin and stdout may be files, which are always ready, and which epoll does not take. */
static int
watch_stdio(struct forward *forward, int fd, uint32_t events, struct link *link)
{
	int r = watch(forward, fd, events, link);

	return r == -EPERM ? 0 : r;
}

static int
watch_link(struct forward *forward, struct link *link)
{
	int r;

	if (link->in == link->out)
		return watch(forward, link->in, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, link);
	r = watch_stdio(forward, link->in, EPOLLIN | EPOLLET, link);
	return r < 0 ? r : watch_stdio(forward, link->out, EPOLLOUT | EPOLLET, link);
}

/* The channel that waits does not wait any more. */
static struct ivshmem_channel *
take_waiting(struct forward *forward)
{
	struct ivshmem_channel *channel = forward->waiting;

	forward->waiting = NULL;
	return channel;
}

/* Takes the channel and the descriptors over. On failure, closes them. Without a channel, the
 * connection will say which one it wants. */
static void
add_link(struct forward *forward, struct ivshmem_channel *channel, int in, int out, bool pending)
{
	struct link *link = calloc(1, sizeof(*link));
	bool stdio = in == STDIN_FILENO;
	int r;

	/* Until it has ended well. */
	if (!stdio)
		endpoint_reset_on_close(in, true);
	if (!link) {
		ivshmem_channel_abort(channel);
		if (!stdio)
			fd_close(in);
		fail("out of memory");
		return;
	}
	*link = (struct link){.number = ++forward->last_number,
		.channel = channel,
		.may_read = true,
		.may_write = true,
		.in = in,
		.out = out,
		/* A socket that is not connected yet is neither. */
		.may_in = !pending,
		.may_out = !pending,
		.pending = pending,
		.blocking = stdio,
		.greets = !channel};
	snprintf(link->name, sizeof(link->name), "%s", forward->name);
	list_init(&link->busy);
	list_append(&forward->links, &link->link);
	forward->n_links++;
	if (channel) {
		ivshmem_channel_set_data(channel, link);
		report(forward, "connected", link, NULL);
	}
	r = watch_link(forward, link);
	if (r < 0)
		end_link(forward, link, strerror(-r));
	else
		make_busy(forward, link);
}

/* Connect one that says which port it wants. Ends the link if there is none. */
static void
greet(struct forward *forward, struct link *link)
{
	struct ivshmem_error error = {.message = "it does not begin with CONNECT and a port"};
	uint32_t port;
	int r = greeting_read(&link->greeting, link->in, &port);

	if (r == -EAGAIN)
		return;
	if (r == 0) {
		snprintf(link->name, sizeof(link->name), "%s%" PRIu32, forward->name, port);
		r = ivshmem_connect(&link->channel, forward->participant, link->name,
			IVSHMEM_STREAM, &forward->options, 0, &error);
	}
	if (r == 0) {
		link->greets = false;
		ivshmem_channel_set_data(link->channel, link);
		report(forward, "connected", link, NULL);
		r = greeting_answer(link->in, link->number);
	}
	if (is_fatal(r))
		stop(forward, r);
	else if (r < 0)
		end_link(forward, link, link->greets ? error.message : strerror(-r));
	else
		make_busy(forward, link);
}

static void
run_links(struct forward *forward)
{
	struct list round;

	/* Those that want to run again come after the others. */
	list_init(&round);
	list_splice(&round, &forward->busy);
	while (!list_empty(&round) && !forward->quit) {
		struct link *link = container_of(round.next, struct link, busy);
		bool ours;
		int r;

		list_remove(&link->busy);
		if (link->greets) {
			greet(forward, link);
			continue;
		}
		r = link_run(link, &ours);
		if (r < 0 && !ours && is_fatal(r))
			stop(forward, r);
		else if (r < 0)
			end_link(forward, link, explain(r, ours));
		else if (r == LINK_ENDED)
			end_link(forward, link, NULL);
		else if (r == LINK_RUNS)
			make_busy(forward, link);
	}
	list_splice(&forward->busy, &round);
}

/* ---- forward --------------------------------------------------------------------------------- */

static bool
is_shortage(int error)
{
	return error == -ENOSPC || error == -EMFILE || error == -ENFILE || error == -ENOMEM ||
	       error == -ENOBUFS;
}

static void
try_later(struct forward *forward)
{
	forward->retry_at = clock_now() + RETRY_MS * NSEC_PER_MSEC;
}

static void
wait_for_room(struct forward *forward, int error)
{
	if (!forward->warned)
		note(forward->cli, "no room for connection %u of '%s', which waits: %s",
			forward->n_links + 1, forward->name,
			error == -ENOSPC
				? "our area of the memory is full (see --size, and 'ivshmem "
				  "format')"
				: strerror(-error));
	forward->warned = true;
	try_later(forward);
}

/* A channel for this connection. Takes the socket over, except on -EAGAIN: there is no room. */
static int
connect_channel(struct forward *forward, int fd)
{
	struct ivshmem_channel *channel;
	struct ivshmem_error error;
	int r = ivshmem_connect(&channel, forward->participant, forward->name, IVSHMEM_STREAM,
		&forward->options, 0, &error);

	if (r == 0) {
		add_link(forward, channel, fd, fd, false);
		return 0;
	}
	if (is_shortage(r)) {
		wait_for_room(forward, r);
		return -EAGAIN;
	}
	if (is_fatal(r))
		stop(forward, r);
	else
		fail("%s", error.message);
	fd_close(fd);
	return r;
}

static bool
may_go_on(const struct forward *forward)
{
	return forward->may_accept && forward->retry_at == 0 && !forward->quit;
}

static void
take_connections(struct forward *forward)
{
	int on = 1;

	while (may_go_on(forward)) {
		int fd = forward->held;

		if (fd < 0)
			fd = accept4(forward->socket, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd < 0 && is_shortage(-errno)) {
			wait_for_room(forward, -errno);
			return;
		}
		if (fd < 0) {
			/* Whatever happened to one that came, there may be others. */
			if (errno == EAGAIN)
				forward->may_accept = false;
			else
				try_later(forward);
			continue;
		}
		if (forward->endpoint.kind == ENDPOINT_VSOCK) {
			add_link(forward, NULL, fd, fd, false);
			continue;
		}
		if (forward->endpoint.kind == ENDPOINT_TCP)
			setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		/* If nobody takes it, that must not look like an empty answer. */
		endpoint_reset_on_close(fd, true);
		forward->held = connect_channel(forward, fd) == -EAGAIN ? fd : -1;
	}
}

/* ---- listen ---------------------------------------------------------------------------------- */

/* A connection for the channel that waits. -EAGAIN: later. */
static int
connect_endpoint(struct forward *forward)
{
	struct ivshmem_error error;
	int in, out;
	bool pending;
	int r = endpoint_connect(&forward->endpoint, &in, &out, &pending, &error);

	if (r == -EAGAIN) {
		try_later(forward);
		return r;
	}
	if (is_shortage(r)) {
		wait_for_room(forward, r);
		return -EAGAIN;
	}
	if (r < 0) {
		fail("%s", error.message);
		ivshmem_channel_abort(take_waiting(forward));
	} else {
		add_link(forward, take_waiting(forward), in, out, pending);
	}
	return 0;
}

static void
take_channels(struct forward *forward)
{
	while (may_go_on(forward)) {
		int r = 0;

		if (!forward->waiting)
			r = ivshmem_accept(&forward->waiting, forward->listener);
		if (r == 0 && connect_endpoint(forward) < 0)
			return;
		if (r == 0 && forward->once) {
			forward->listener = ivshmem_channel_close(forward->listener);
			forward->may_accept = false;
		}
		if (r == -EAGAIN)
			forward->may_accept = false;
		else if (is_shortage(r))
			wait_for_room(forward, r);
		else if (r < 0)
			stop(forward, r);
	}
}

/* ---- the loop -------------------------------------------------------------------------------- */

static void
take_event(struct forward *forward, const struct epoll_event *event)
{
	struct link *link = event->data.ptr;

	if (event->data.ptr == &is_participant)
		return;
	if (event->data.ptr == &is_socket) {
		forward->may_accept = true;
		return;
	}
	if (event->data.ptr == &is_signal) {
		forward->quit = true;
		if (forward->once && forward->status == STATUS_OK)
			forward->status = fail("interrupted");
		return;
	}
	if (event->events & (EPOLLIN | EPOLLHUP | EPOLLRDHUP | EPOLLERR))
		link->may_in = true;
	if (event->events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
		link->may_out = true;
	if (event->events & EPOLLHUP && link->in == link->out)
		link->hung_up = true;
	make_busy(forward, link);
}

/* Those channels that are worth another try. */
static void
take_channels_that_are_ready(struct forward *forward)
{
	struct ivshmem_channel *channel;
	int r = ivshmem_participant_dispatch(forward->participant);

	if (r < 0)
		stop(forward, r);
	while (!forward->quit && (channel = ivshmem_participant_ready(forward->participant))) {
		struct link *link = ivshmem_channel_data(channel);

		if (channel == forward->listener) {
			forward->may_accept = true;
		} else if (link) {
			link->may_read = link->may_write = true;
			make_busy(forward, link);
		}
	}
}

static void
take_who_comes(struct forward *forward)
{
	if (forward->retry_at != 0 && clock_now() >= forward->retry_at)
		forward->retry_at = 0;
	if (forward->socket >= 0)
		take_connections(forward);
	if (forward->listener)
		take_channels(forward);
}

static int
timeout_of(const struct forward *forward)
{
	if (!list_empty(&forward->busy) || may_go_on(forward))
		return 0;
	return forward->retry_at != 0 ? RETRY_MS : -1;
}

/* What is connected stays connected. */
static void
tell_of_lost_server(struct forward *forward)
{
	const char *why = participate_lost_server();

	if (why && !forward->told_of_server)
		fail("warning: the server is lost, and whoever comes to the next one does not find "
		     "us; start again: %s",
			why);
	forward->told_of_server = why != NULL;
}

static void
loop(struct forward *forward)
{
	struct epoll_event events[EVENTS];

	while (!forward->quit) {
		int n;

		take_who_comes(forward);
		run_links(forward);
		take_channels_that_are_ready(forward);
		if (forward->quit)
			break;
		tell_of_lost_server(forward);
		n = epoll_wait(forward->epoll, events, EVENTS, timeout_of(forward));
		for (int i = 0; i < n; i++)
			take_event(forward, &events[i]);
	}
}

/* ---- setting up ------------------------------------------------------------------------------ */

static int
take_signals(struct forward *forward)
{
	sigset_t set;

	signal(SIGPIPE, SIG_IGN);
	/* Programs that we start need no wait(). */
	signal(SIGCHLD, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	forward->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return forward->signals < 0 ? -errno : 0;
}

static int
set_up(struct forward *forward)
{
	int fd = ivshmem_participant_fd(forward->participant);
	int r = take_signals(forward);

	if (fd < 0)
		return fd;
	if (r < 0)
		return r;
	forward->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (forward->epoll < 0)
		return -errno;
	r = watch(forward, fd, EPOLLIN, &is_participant);
	if (r == 0)
		r = watch(forward, forward->signals, EPOLLIN, &is_signal);
	if (r == 0 && forward->socket >= 0)
		r = watch(forward, forward->socket, EPOLLIN | EPOLLET, &is_socket);
	return r;
}

static void
shut_down(struct forward *forward)
{
	list_for_each_safe (link, &forward->links)
		link_free(container_of(link, struct link, link), true);
	/* It has no link yet, and nobody has heard it. */
	ivshmem_channel_abort(forward->waiting);
	if (forward->socket >= 0)
		endpoint_remove(&forward->endpoint);
	fd_close(forward->socket);
	fd_close(forward->held);
	fd_close(forward->epoll);
	fd_close(forward->signals);
	participate_no_more(forward->cli, forward->participant);
}

/* What connections come from. Until set_up(), signals end us. */
static enum status
begin(struct forward *forward, bool listens)
{
	struct ivshmem_error error;
	int r = 0;

	if (!listens && forward->once) {
		enum status status = channel_connect(forward->cli, forward->participant,
			forward->name, IVSHMEM_STREAM, forward->options.ring_size, UINT64_MAX,
			&forward->waiting);

		if (status != STATUS_OK)
			return status;
	} else if (listens) {
		r = ivshmem_listen(&forward->listener, forward->participant, forward->name,
			IVSHMEM_STREAM, &forward->options, &error);
	} else {
		r = endpoint_listen(&forward->endpoint, &forward->socket, &error);
	}
	if (r < 0)
		return fail("%s", error.message);
	r = set_up(forward);
	if (r < 0)
		return fail("cannot wait for connections: %s", strerror(-r));
	forward->may_accept = listens || forward->socket >= 0;
	if (listens)
		note(forward->cli, "listening under '%s'", forward->name);
	else if (forward->socket >= 0)
		note(forward->cli, "forwarding %s to '%s'", forward->endpoint.text, forward->name);
	else
		add_link(forward, take_waiting(forward), STDIN_FILENO, STDOUT_FILENO, false);
	return STATUS_OK;
}

static enum status
run(const struct cli *cli, const char *name, char *const *words, bool listens)
{
	struct forward forward = {.cli = cli,
		.name = name,
		.options = {.struct_size = sizeof(forward.options), .ring_size = given.ring_size},
		.epoll = -1,
		.signals = -1,
		.socket = -1,
		.held = -1,
		.status = STATUS_OK};
	struct ivshmem_error error;
	enum status status;

	if (endpoint_parse(&forward.endpoint, words, &error) < 0) {
		fail("%s", error.message);
		return STATUS_USAGE;
	}
	if (listens && forward.endpoint.kind == ENDPOINT_VSOCK) {
		fail("vsock:PATH is for 'ivshmem forward'; connect to unix:PATH_PORT for a port");
		return STATUS_USAGE;
	}
	if (!listens && forward.endpoint.kind == ENDPOINT_EXEC) {
		fail("exec is for 'ivshmem listen'");
		return STATUS_USAGE;
	}
	forward.once = forward.endpoint.kind == ENDPOINT_STDIO;
	if (forward.once && cli->json) {
		fail("--json and stdio exclude each other: both use stdout");
		return STATUS_USAGE;
	}
	list_init(&forward.links);
	list_init(&forward.busy);
	status = participate(cli, listens ? "ivshmem listen" : "ivshmem forward", given.vector,
		&forward.participant);
	if (status != STATUS_OK)
		return status;
	status = begin(&forward, listens);
	if (status == STATUS_OK) {
		loop(&forward);
		status = forward.status;
	}
	shut_down(&forward);
	return status;
}

static enum status
forward_run(const struct cli *cli, char *const *operands)
{
	char *const words[] = {operands[0], NULL};

	return run(cli, operands[1], words, false);
}

static enum status
listen_run(const struct cli *cli, char *const *operands)
{
	return run(cli, operands[0], operands + 1, true);
}

static const struct argument forward_options[] = {
	{"size", "BYTES",
		"the size of the ring that we send through, for each connection, which becomes a "
		"power of two (default: 32K)",
		.size = &given.ring_size, .min = 1, .max = UINT64_C(1) << 31},
	{"vector", "V", "be woken on our vector V (default: 0)", .letter = 'V',
		.number = &given.vector, .max = IVSHMEM_MAX_VECTORS - 1},
};

#define JSON                                                                                        \
	"{\"event\":\"connected\",\"connection\":N,\"name\":NAME}\n"                                \
	"{\"event\":\"closed\",\"connection\":N,\"name\":NAME,\"sent\":BYTES,\"received\":BYTES}\n" \
	"{\"event\":\"failed\", ..., \"error\":WHY}"

const struct command command_forward = {
	.name = "forward",
	.operands = "FROM NAME",
	.min_operands = 2,
	.max_operands = 2,
	.summary = "forward connections of a socket to NAME, to listen",
	.description =
		"Takes connections, and makes a channel to NAME for each, where ivshmem listen or "
		"any program that listens for streams takes them. What one side writes the other one "
		"reads; the end of one direction leaves the other one open. FROM is:\n"
		"unix:PATH, a UNIX socket that is made there;\n"
		"tcp:ADDRESS:PORT, such as tcp:127.0.0.1:8080 or tcp:[::1]:8080;\n"
		"vsock:PATH, a UNIX socket as Firecracker has for its vsock: each connection says "
		"first CONNECT and a port, and hears OK and a number when somebody listens under "
		"NAME with the port behind it, such as vm1:52;\n"
		"stdio, our stdin and stdout: one connection, which waits until somebody listens, and "
		"whose end ends the command.\n"
		"A connection that finds no room in our area of the memory waits until another one "
		"ends.\n"
		"TCP connections are reset if one side is reset or dies, if a signal ends us, and if "
		"nobody listens under NAME or the other side cannot connect. UNIX sockets have no reset: "
		"they are closed.",
	CLI_OPTIONS(forward_options),
	.json = JSON,
	.statuses = "SIGINT and SIGTERM end the command, with 0, or with 1 for stdio.",
	.examples = "ivshmem forward tcp:127.0.0.1:8080 web\n"
		    "ivshmem forward vsock:/run/vm1.vsock vm1:\n"
		    "ivshmem forward unix:/run/docker-of-guest.sock docker\n"
		    "ssh -o ProxyCommand=\"ivshmem forward stdio ssh\" guest",
	.run = forward_run,
};

const struct command command_listen = {
	.name = "listen",
	.operands = "NAME TO",
	.min_operands = 2,
	.max_operands = 1000,
	.summary = "connect who comes to NAME with a socket or a program",
	.description =
		"Listens under NAME, and makes a connection for each channel that comes, from ivshmem "
		"forward or any program that connects streams. What one side writes the other one "
		"reads; the end of one direction leaves the other one open. TO is:\n"
		"unix:PATH, a UNIX socket where somebody listens;\n"
		"tcp:ADDRESS:PORT, such as tcp:127.0.0.1:22 or tcp:[::1]:22;\n"
		"exec -- PROGRAM [ARGUMENT]..., a new process of this program for each, whose stdin "
		"and stdout are the connection;\n"
		"stdio, our stdin and stdout: the first connection, whose end ends the command.\n"
		"Everybody who can use the memory can connect.",
	CLI_OPTIONS(forward_options),
	.json = JSON,
	.statuses = "SIGINT and SIGTERM end the command, with 0, or with 1 for stdio.",
	.examples = "ivshmem listen web tcp:127.0.0.1:80\n"
		    "ivshmem listen ssh tcp:127.0.0.1:22\n"
		    "ivshmem listen uptime exec -- uptime",
	.run = listen_run,
};
