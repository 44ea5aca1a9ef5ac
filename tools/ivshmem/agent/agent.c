/* SPDX-License-Identifier: BSD-2-Clause */

/* agent: does what callers ask for, each over a queue of its own (jobs.h), in one loop (serving.h). */
#include "children.h"
#include "jobs.h"
#include "output.h"
#include "participate.h"
#include "serving.h"

#include <ivshmem/abi.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define RING     32768 /* by default; an area of 640 KiB has room for 17 */
#define RETRY_MS 100
#define NAME     "agent"

struct agent {
	struct serving serving;
	const char *name;
	struct policy policy;
	struct login login;
	struct ivshmem_channel *listener;
	struct jobs jobs;
};

static struct {
	const char *allow, *user;
	uint64_t ring_size;
	unsigned vector;
} given = {.ring_size = RING};

/* ---- callers ---------------------------------------------------------------------------------- */

static void
wait_for_room(struct agent *agent, int error)
{
	char who[64];

	snprintf(who, sizeof(who), "caller %u, who waits", agent->jobs.n + 1);
	serving_wait_for_room(&agent->serving, who, error);
}

static void
take_callers(struct agent *agent)
{
	serving_look_at_clock(&agent->serving);
	while (serving_may_go_on(&agent->serving)) {
		struct ivshmem_channel *channel;
		int r = ivshmem_accept(&channel, agent->listener);

		if (r == 0)
			r = jobs_add(&agent->jobs, channel);
		if (r == -EAGAIN)
			agent->serving.may_accept = false;
		else if (serving_is_shortage(r))
			wait_for_room(agent, r);
		else if (r < 0)
			serving_stop(&agent->serving, r);
	}
}

static void
take_channels(struct agent *agent)
{
	struct ivshmem_channel *channel;
	int r = ivshmem_participant_dispatch(agent->serving.participant);

	if (r < 0)
		serving_stop(&agent->serving, r);
	while (!agent->serving.quit &&
		(channel = ivshmem_participant_ready(agent->serving.participant))) {
		if (channel == agent->listener)
			agent->serving.may_accept = true;
		else
			jobs_take_channel(channel);
	}
}

/* ---- the loop --------------------------------------------------------------------------------- */

static void
take_event(struct agent *agent, const struct epoll_event *event)
{
	int number;

	if (!serving_take_event(&agent->serving, event, &number))
		jobs_take_event(event->data.ptr, event->events);
	else if (number == SIGCHLD)
		jobs_wake_all(&agent->jobs);
	else if (number != 0)
		agent->serving.quit = true;
}

static int
time_to_sleep(struct agent *agent)
{
	uint64_t give_up = jobs_give_up(&agent->jobs), tend = children_tend();

	return serving_timeout(
		&agent->serving, !list_empty(&agent->jobs.busy), give_up < tend ? give_up : tend);
}

static void
loop(struct agent *agent)
{
	struct epoll_event events[SERVING_EVENTS];

	while (!agent->serving.quit) {
		unsigned n_jobs;
		int n, r;

		take_callers(agent);
		n_jobs = agent->jobs.n;
		r = jobs_run(&agent->jobs);
		if (r < 0)
			serving_stop(&agent->serving, r);
		if (agent->jobs.n < n_jobs)
			serving_try_now(&agent->serving);
		take_channels(agent);
		if (agent->serving.quit)
			break;
		serving_tell_of_lost_server(&agent->serving);
		n = epoll_wait(agent->serving.epoll, events, SERVING_EVENTS, time_to_sleep(agent));
		for (int i = 0; i < n; i++)
			take_event(agent, &events[i]);
	}
}

/* ---- setting up ------------------------------------------------------------------------------- */

static int
set_up(struct agent *agent)
{
	static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGCHLD, 0};
	int r = serving_begin(&agent->serving, signals);

	if (r < 0)
		return r;
	jobs_init(&agent->jobs, agent->serving.cli, &agent->policy, &agent->login,
		agent->serving.epoll);
	agent->jobs.uncached = participate_uncached(agent->serving.participant);
	return 0;
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
	r = ivshmem_listen(&agent->listener, agent->serving.participant, agent->name, IVSHMEM_QUEUE,
		&options, &error);
	if (r < 0)
		return fail("%s", error.message);
	agent->serving.may_accept = true;
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
	note(agent->serving.cli, "listening under '%s'; allowed: %s%s%s%s", agent->name,
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
	serving_end(&agent->serving);
}

static enum status
agent_run(const struct cli *cli, char *const *operands)
{
	struct agent agent = {.name = operands[0] ? operands[0] : NAME};
	struct ivshmem_error error;
	enum status status;

	serving_init(&agent.serving, cli, RETRY_MS);
	if (policy_read(&agent.policy, given.allow, &error) < 0) {
		fail("%s", error.message);
		return STATUS_USAGE;
	}
	if (!given.user)
		login_of_ourselves(&agent.login);
	else if (login_find(&agent.login, given.user, &error) < 0)
		return fail("--user: %s", error.message);
	status = participate(cli, "ivshmem agent", given.vector, &agent.serving.participant);
	if (status != STATUS_OK)
		return status;
	status = become_user(&agent);
	if (status == STATUS_OK)
		status = begin(&agent);
	if (status == STATUS_OK) {
		tell_policy(&agent);
		loop(&agent);
		status = agent.serving.status;
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
