/* SPDX-License-Identifier: BSD-2-Clause */

/* The commands forward and listen. */
#include "forwarding.h"

#include "output.h"
#include "participate.h"

#include <base/fd.h>

#include <ivshmem/abi.h>

#include <signal.h>
#include <string.h>
#include <unistd.h>

#define RING     32768 /* by default; an area of 640 KiB has room for 17 */
#define RETRY_MS 10

static struct channel_arguments given = {.ring_size = RING};

/* What is no link in epoll's data. */
static char is_socket;

/* ---- the loop -------------------------------------------------------------------------------- */

static void
quit(struct forward *forward)
{
	forward->serving.quit = true;
	if (forward->once && forward->serving.status == STATUS_OK)
		forward->serving.status = fail("interrupted");
}

static void
take_event(struct forward *forward, const struct epoll_event *event)
{
	struct link *link = event->data.ptr;
	int number;

	if (serving_take_event(&forward->serving, event, &number)) {
		if (number != 0)
			quit(forward);
		return;
	}
	if (event->data.ptr == &is_socket) {
		forward->serving.may_accept = true;
		return;
	}
	if (event->events & (EPOLLIN | EPOLLHUP | EPOLLRDHUP | EPOLLERR))
		link->may_in = true;
	if (event->events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
		link->may_out = true;
	if (event->events & EPOLLHUP && link->in == link->out)
		link->hung_up = true;
	forwarding_make_busy(forward, link);
}

/* Those channels that are worth another try. */
static void
take_channels_that_are_ready(struct forward *forward)
{
	struct ivshmem_channel *channel;
	int r = ivshmem_participant_dispatch(forward->serving.participant);

	if (r < 0)
		serving_stop(&forward->serving, r);
	while (!forward->serving.quit &&
		(channel = ivshmem_participant_ready(forward->serving.participant))) {
		struct link *link = ivshmem_channel_data(channel);

		if (channel == forward->listener) {
			forward->serving.may_accept = true;
		} else if (link) {
			link->may_read = link->may_write = true;
			forwarding_make_busy(forward, link);
		}
	}
}

static void
loop(struct forward *forward)
{
	struct epoll_event events[SERVING_EVENTS];

	while (!forward->serving.quit) {
		int n;

		forwarding_take_who_comes(forward);
		forwarding_run_links(forward);
		take_channels_that_are_ready(forward);
		if (forward->serving.quit)
			break;
		serving_tell_of_lost_server(&forward->serving);
		n = epoll_wait(forward->serving.epoll, events, SERVING_EVENTS,
			serving_timeout(
				&forward->serving, !list_empty(&forward->busy), UINT64_MAX));
		for (int i = 0; i < n; i++)
			take_event(forward, &events[i]);
	}
}

/* ---- setting up ------------------------------------------------------------------------------ */

static int
set_up(struct forward *forward)
{
	static const int signals[] = {SIGINT, SIGTERM, 0};
	int r = serving_begin(&forward->serving, signals);

	/* Programs that we start need no wait(). */
	signal(SIGCHLD, SIG_IGN);
	if (r == 0 && forward->socket >= 0)
		r = serving_watch(
			&forward->serving, forward->socket, EPOLLIN | EPOLLET, &is_socket);
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
	serving_end(&forward->serving);
}

/* What connections come from. Until set_up(), signals end us. */
static enum status
begin(struct forward *forward, bool listens)
{
	struct ivshmem_error error;
	int r = 0;

	if (!listens && forward->once) {
		enum status status = channel_connect(forward->serving.cli,
			forward->serving.participant, forward->name, IVSHMEM_STREAM,
			forward->options.ring_size, UINT64_MAX, &forward->waiting);

		if (status != STATUS_OK)
			return status;
	} else if (listens) {
		r = ivshmem_listen(&forward->listener, forward->serving.participant, forward->name,
			IVSHMEM_STREAM, &forward->options, &error);
	} else {
		r = endpoint_listen(&forward->endpoint, &forward->socket, &error);
	}
	if (r < 0)
		return fail("%s", error.message);
	r = set_up(forward);
	if (r < 0)
		return fail("cannot wait for connections: %s", strerror(-r));
	forward->serving.may_accept = listens || forward->socket >= 0;
	if (listens)
		note(forward->serving.cli, "listening under '%s'", forward->name);
	else if (forward->socket >= 0)
		note(forward->serving.cli, "forwarding %s to '%s'", forward->endpoint.text,
			forward->name);
	else
		forwarding_add_link(forward, forwarding_take_waiting(forward), STDIN_FILENO,
			STDOUT_FILENO, false);
	return STATUS_OK;
}

static enum status
run(const struct cli *cli, const char *name, char *const *words, bool listens)
{
	struct forward forward = {.name = name,
		.options = {.struct_size = sizeof(forward.options), .ring_size = given.ring_size},
		.socket = -1,
		.held = -1};
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
	serving_init(&forward.serving, cli, RETRY_MS);
	list_init(&forward.links);
	list_init(&forward.busy);
	status = participate(cli, listens ? "ivshmem listen" : "ivshmem forward", given.vector,
		&forward.serving.participant);
	if (status != STATUS_OK)
		return status;
	status = begin(&forward, listens);
	if (status == STATUS_OK) {
		loop(&forward);
		status = forward.serving.status;
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
