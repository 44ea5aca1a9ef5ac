/* SPDX-License-Identifier: BSD-2-Clause */

/* The links of forward and listen: how they come, run and end, and what is said of that. */

#include "forwarding.h"

#include "json.h"
#include "output.h"

#include <base/fd.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- what happens, for people and programs --------------------------------------------------- */

/* `why` is NULL if it ended well. */
static void
report(const struct forward *forward, const char *event, const struct link *link, const char *why)
{
	struct json json = JSON_BEGIN;

	if (why)
		fail("connection %" PRIu64 " of '%s': %s", link->number, link->name, why);
	if (!forward->serving.cli->json) {
		if (forward->serving.cli->verbose && !why)
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

/* ---- coming and going ------------------------------------------------------------------------ */

void
forwarding_make_busy(struct forward *forward, struct link *link)
{
	if (list_empty(&link->busy))
		list_append(&forward->busy, &link->busy);
}

static void
end_link(struct forward *forward, struct link *link, const char *why)
{
	report(forward, why ? "failed" : "closed", link, why);
	if (why && forward->once)
		forward->serving.status = STATUS_FAILURE;
	/* A program that was started has copies of the descriptors for a moment. So closing them is not
	 * enough for epoll to forget them. */
	epoll_ctl(forward->serving.epoll, EPOLL_CTL_DEL, link->in, NULL);
	link_free(link, why != NULL);
	forward->n_links--;
	serving_try_now(&forward->serving);
	forward->serving.quit = forward->serving.quit || forward->once;
}

/* stdin and stdout may be files, which are always ready, and which epoll does not take. */
static int
watch_stdio(struct forward *forward, int fd, uint32_t events, struct link *link)
{
	int r = serving_watch(&forward->serving, fd, events, link);

	return r == -EPERM ? 0 : r;
}

static int
watch_link(struct forward *forward, struct link *link)
{
	int r;

	if (link->in == link->out)
		return serving_watch(&forward->serving, link->in,
			EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, link);
	r = watch_stdio(forward, link->in, EPOLLIN | EPOLLET, link);
	return r < 0 ? r : watch_stdio(forward, link->out, EPOLLOUT | EPOLLET, link);
}

void
forwarding_add_link(
	struct forward *forward, struct ivshmem_channel *channel, int in, int out, bool pending)
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
		forwarding_make_busy(forward, link);
}

/* ---- running --------------------------------------------------------------------------------- */

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
		r = ivshmem_connect(&link->channel, forward->serving.participant, link->name,
			IVSHMEM_STREAM, &forward->options, 0, &error);
	}
	if (r == 0) {
		link->greets = false;
		ivshmem_channel_set_data(link->channel, link);
		report(forward, "connected", link, NULL);
		r = greeting_answer(link->in, link->number);
	}
	if (serving_is_fatal(r))
		serving_stop(&forward->serving, r);
	else if (r < 0)
		end_link(forward, link, link->greets ? error.message : strerror(-r));
	else
		forwarding_make_busy(forward, link);
}

void
forwarding_run_links(struct forward *forward)
{
	struct list round;

	/* Those that want to run again come after the others. */
	list_init(&round);
	list_splice(&round, &forward->busy);
	while (!list_empty(&round) && !forward->serving.quit) {
		struct link *link = container_of(round.next, struct link, busy);
		bool ours;
		int r;

		list_remove(&link->busy);
		if (link->greets) {
			greet(forward, link);
			continue;
		}
		r = link_run(link, &ours);
		if (r < 0 && !ours && serving_is_fatal(r))
			serving_stop(&forward->serving, r);
		else if (r < 0)
			end_link(forward, link, explain(r, ours));
		else if (r == LINK_ENDED)
			end_link(forward, link, NULL);
		else if (r == LINK_RUNS)
			forwarding_make_busy(forward, link);
	}
	list_splice(&forward->busy, &round);
}
