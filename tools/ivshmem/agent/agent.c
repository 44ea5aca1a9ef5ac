/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * agent: does what callers ask for, each over a queue of its own (jobs.h). One loop waits for all of
 * them: with vfio, only one process of a guest can use the device, so no other one could help.
 *
 * A caller for whom there is no room waits in the listener's queue. It is tried again when a job
 * ends, and every now and then, because the other side may need a moment until it gives its memory
 * back.
 */
#include "children.h"
#include "jobs.h"
#include "output.h"
#include "participate.h"

#include <base/clock.h>
#include <base/fd.h>

#include <ivshmem/abi.h>

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>

#define EVENTS   64
#define RING     32768 /* by default; an area of 640 KiB has room for 17 */
#define RETRY_MS 100
#define NAME     "agent"

struct agent {
	const struct cli *cli;
	const char *name;
	struct policy policy;
	struct login login;
	struct ivshmem_participant *participant;
	struct ivshmem_channel *listener;
	struct jobs jobs;

	int epoll, signals;
	bool may_accept;   /* somebody may have come */
	uint64_t retry_at; /* but not before this time */
	bool warned;       /* that there is no room */
	bool told_of_server;
	bool quit;
	enum status status;
};

static struct {
	const char *allow, *user;
	uint64_t ring_size;
	unsigned vector;
} given = {.ring_size = RING};

/* What is no watch of a job in epoll's data. */
static struct watch participant_watch, signal_watch;

static void
stop(struct agent *agent, int error)
{
	if (!agent->quit)
		agent->status = participate_fail(error);
	agent->quit = true;
}

/* ---- callers ---------------------------------------------------------------------------------- */

static bool
may_go_on(const struct agent *agent)
{
	return agent->may_accept && agent->retry_at == 0 && !agent->quit;
}

static void
wait_for_room(struct agent *agent, int error)
{
	if (!agent->warned)
		note(agent->cli, "no room for caller %u, who waits: %s", agent->jobs.n + 1,
			error == -ENOSPC
				? "our area of the memory is full (see --size, and 'ivshmem "
				  "format')"
				: strerror(-error));
	agent->warned = true;
	agent->retry_at = clock_now() + RETRY_MS * NSEC_PER_MSEC;
}

static void
take_callers(struct agent *agent)
{
	if (agent->retry_at != 0 && clock_now() >= agent->retry_at)
		agent->retry_at = 0;
	while (may_go_on(agent)) {
		struct ivshmem_channel *channel;
		int r = ivshmem_accept(&channel, agent->listener);

		if (r == 0)
			r = jobs_add(&agent->jobs, channel);
		if (r == -EAGAIN)
			agent->may_accept = false;
		else if (r == -ENOSPC || r == -ENOMEM)
			wait_for_room(agent, r);
		else if (r < 0)
			stop(agent, r);
	}
}

static void
take_channels(struct agent *agent)
{
	struct ivshmem_channel *channel;
	int r = ivshmem_participant_dispatch(agent->participant);

	if (r < 0)
		stop(agent, r);
	while (!agent->quit && (channel = ivshmem_participant_ready(agent->participant))) {
		if (channel == agent->listener)
			agent->may_accept = true;
		else
			jobs_take_channel(channel);
	}
}

/* ---- the loop --------------------------------------------------------------------------------- */

static void
take_signal(struct agent *agent)
{
	struct signalfd_siginfo info;

	while (read(agent->signals, &info, sizeof(info)) == sizeof(info))
		if (info.ssi_signo == SIGCHLD)
			jobs_wake_all(&agent->jobs);
		else
			agent->quit = true;
}

static void
take_event(struct agent *agent, const struct epoll_event *event)
{
	if (event->data.ptr == &participant_watch)
		return;
	if (event->data.ptr == &signal_watch)
		take_signal(agent);
	else
		jobs_take_event(event->data.ptr, event->events);
}

/* Who is connected stays connected. */
static void
tell_of_lost_server(struct agent *agent)
{
	const char *why = participate_lost_server();

	if (why && !agent->told_of_server)
		fail("warning: the server is lost, and whoever comes to the next one does not find "
		     "us; start again: %s",
			why);
	agent->told_of_server = why != NULL;
}

static uint64_t
earlier(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* How long to sleep, in milliseconds; -1 for ever. */
static int
time_to_sleep(struct agent *agent)
{
	uint64_t next = earlier(jobs_give_up(&agent->jobs), children_tend());

	if (!list_empty(&agent->jobs.busy) || may_go_on(agent))
		return 0;
	if (agent->retry_at != 0)
		next = earlier(next, agent->retry_at);
	return next == UINT64_MAX ? -1 : channel_timeout(next, 60000);
}

static void
loop(struct agent *agent)
{
	struct epoll_event events[EVENTS];

	while (!agent->quit) {
		unsigned n_jobs;
		int n, r;

		take_callers(agent);
		n_jobs = agent->jobs.n;
		r = jobs_run(&agent->jobs);
		if (r < 0)
			stop(agent, r);
		if (agent->jobs.n < n_jobs)
			agent->retry_at = 0;
		take_channels(agent);
		if (agent->quit)
			break;
		tell_of_lost_server(agent);
		n = epoll_wait(agent->epoll, events, EVENTS, time_to_sleep(agent));
		for (int i = 0; i < n; i++)
			take_event(agent, &events[i]);
	}
}

/* ---- setting up ------------------------------------------------------------------------------- */

static int
take_signals(struct agent *agent)
{
	sigset_t set;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	agent->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return agent->signals < 0 ? -errno : 0;
}

static int
watch(struct agent *agent, int fd, struct watch *watch)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = watch};

	return epoll_ctl(agent->epoll, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

static int
set_up(struct agent *agent)
{
	int fd = ivshmem_participant_fd(agent->participant);
	int r = take_signals(agent);

	if (fd < 0)
		return fd;
	if (r < 0)
		return r;
	agent->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (agent->epoll < 0)
		return -errno;
	jobs_init(&agent->jobs, agent->cli, &agent->policy, &agent->login, agent->epoll);
	agent->jobs.uncached = participate_uncached(agent->participant);
	r = watch(agent, fd, &participant_watch);
	return r < 0 ? r : watch(agent, agent->signals, &signal_watch);
}

/* Attaching may have needed more rights than callers are to have. */
static enum status
become_user(const struct agent *agent)
{
	int r = given.user && agent->login.uid != geteuid() ? login_become(&agent->login) : 0;

	return r < 0 ? fail("--user: cannot become %s: %s", agent->login.name, strerror(-r))
		     : STATUS_OK;
}

static enum status
begin(struct agent *agent)
{
	const struct ivshmem_channel_options options = {
		.struct_size = sizeof(options), .ring_size = given.ring_size};
	struct ivshmem_error error;
	int r = set_up(agent);

	if (r < 0)
		return fail("cannot wait for callers: %s", strerror(-r));
	r = ivshmem_listen(
		&agent->listener, agent->participant, agent->name, IVSHMEM_QUEUE, &options, &error);
	if (r < 0)
		return fail("%s", error.message);
	agent->may_accept = true;
	return STATUS_OK;
}

/* What is allowed, and who said so. */
static void
tell_policy(const struct agent *agent)
{
	const struct policy *policy = &agent->policy;
	char unknown[300], clean[1200];

	if (policy_unknown(policy, unknown, sizeof(unknown))[0])
		fail("warning: %s allows what is no service: %s", policy->source,
			foreign_text(unknown, strlen(unknown), clean, sizeof(clean)));
	if (!policy->source)
		fail("warning: nothing is allowed, so every caller is refused: use --allow, or let the "
		     "host decide; see 'ivshmem agent --help'");
	note(agent->cli, "listening under '%s'; allowed: %s%s%s%s", agent->name,
		policy->list[0]
			? foreign_text(policy->list, strlen(policy->list), clean, sizeof(clean))
			: "nothing",
		policy->source ? " (" : "", policy->source ? policy->source : "",
		policy->source ? ")" : "");
}

static void
shut_down(struct agent *agent)
{
	if (agent->jobs.all.next)
		jobs_free(&agent->jobs);
	children_end();
	fd_close(agent->epoll);
	fd_close(agent->signals);
	participate_no_more(agent->cli, agent->participant);
}

static enum status
agent_run(const struct cli *cli, char *const *operands)
{
	struct agent agent = {.cli = cli,
		.name = operands[0] ? operands[0] : NAME,
		.epoll = -1,
		.signals = -1,
		.status = STATUS_OK};
	struct ivshmem_error error;
	enum status status;

	if (policy_read(&agent.policy, given.allow, &error) < 0) {
		fail("%s", error.message);
		return STATUS_USAGE;
	}
	if (!given.user)
		login_of_ourselves(&agent.login);
	else if (login_find(&agent.login, given.user, &error) < 0)
		return fail("--user: %s", error.message);
	status = participate(cli, "ivshmem agent", given.vector, &agent.participant);
	if (status != STATUS_OK)
		return status;
	status = become_user(&agent);
	if (status == STATUS_OK)
		status = begin(&agent);
	if (status == STATUS_OK) {
		tell_policy(&agent);
		loop(&agent);
		status = agent.status;
	}
	shut_down(&agent);
	return status;
}

static const struct argument agent_options[] = {
	{"allow", "SERVICES",
		"what callers may ask for: exec, copy-in (write files), copy-out (read them), or "
		"several with commas between them; without this, the host decides, and if it says nothing, nothing is allowed",
		.text = &given.allow},
	{"user", "NAME",
		"become this user of /etc/passwd after attaching, so that callers have no other rights",
		.letter = 'u', .text = &given.user},
	{"size", "BYTES",
		"the size of the ring that we send through, for each caller, which becomes a "
		"power of two; larger ones are faster (default: 32K)",
		.size = &given.ring_size, .min = 256, .max = UINT64_C(1) << 31},
	{"vector", "V", "be woken on our vector V (default: 0)", .letter = 'V',
		.number = &given.vector, .max = IVSHMEM_MAX_VECTORS - 1},
};

const struct command command_agent = {
	.name = "agent",
	.operands = "[NAME]",
	.min_operands = 0,
	.max_operands = 1,
	.summary = "serve ivshmem exec and copy here",
	.description =
		"Listens under NAME (default: agent), and does what callers ask for; one process "
		"serves all of them at a time. In a guest, run it as a service; ivshmem-agent is the "
		"same program.\n"
		"Nothing is allowed by itself. --allow says what is; without it, the host decides when "
		"it starts the VM: with QEMU's -fw_cfg name=opt/org.ivshmem/agent,string=exec (the "
		"guest needs the module qemu_fw_cfg, and QEMU wants each comma of a list doubled), or with ivshmem.agent=exec on the kernel command "
		"line of the guest.\n"
		"There are no keys and no passwords: everybody who can use the memory can connect, and "
		"with exec has all that the agent's user has. Share the memory of an agent with nobody "
		"else; see docs/security.md.\n"
		"A caller for whom our area of the memory has no room waits until another one ends.",
	CLI_OPTIONS(agent_options),
	.json = "{\"event\":\"begun\",\"job\":N,\"who\":NAME,\"service\":SERVICE,\"what\":TEXT}\n"
		"{\"event\":\"ended\", ..., \"status\":STATUS}, or \"error\":WHY\n"
		"{\"event\":\"refused\", ..., \"error\":WHY,\"status\":STATUS}, or \"failed\"",
	.statuses = "SIGINT, SIGTERM and SIGHUP end the command, with 0.",
	.examples = "ivshmem --target pci:auto agent --allow exec\n"
		    "ivshmem --target pci:auto agent --user nobody vm1",
	.run = agent_run,
};
