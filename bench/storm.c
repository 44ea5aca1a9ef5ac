/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * ivshmem-bench-storm: drives a server with a swarm of clients and prints what happened as one JSON
 * object. The exit status is 0 whatever the server did, also if it died; 1 means that the driver
 * itself failed.
 */

#include "measure.h"
#include "proc.h"
#include "swarm.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define SETTLE_MS 500

struct options {
	struct swarm_settings swarm;
	unsigned clients;
	unsigned stall_percent;
	unsigned stall_ms; /* stalled clients sleep at least this long */
	unsigned joins;
	unsigned leaves;
	unsigned count;
	unsigned step;
	int cpu;
};

static const char usage[] =
	"usage: ivshmem-bench-storm SCENARIO --socket PATH --pid SERVER [options]\n"
	"scenarios:\n"
	"  join    --clients N connect at once; --stall PERCENT of them stop reading for a while\n"
	"  single  one more client joins --clients N steady ones and leaves again, --joins times\n"
	"  leave   --leave L of --clients N leave at once\n"
	"  churn   connect and close at once, --count times\n"
	"  memory  the server's memory at every --step clients up to --clients N\n"
	"options:\n"
	"  --vectors V     what the server was started with (default 1)\n"
	"  --stall-ms MS   how long stalled clients do not read, at least (default 300)\n"
	"  --discard-fds   let the kernel drop descriptors instead of receiving and closing them\n"
	"  --spin          poll without sleeping\n"
	"  --idle-ms MS    give up when nothing came for so long (default 2000)\n"
	"  --limit-ms MS   give up in any case (default 120000)\n"
	"  --cpu CPU       run on this CPU only\n";

static struct swarm *
swarm_start(const struct options *options, unsigned clients, unsigned extra_slots)
{
	struct swarm_settings settings = options->swarm;
	struct swarm *swarm;

	settings.capacity = clients;
	settings.slots = clients + extra_slots;
	if (swarm_create(&settings, &swarm) < 0) {
		fprintf(stderr, "ivshmem-bench-storm: out of memory or descriptors\n");
		exit(1);
	}
	return swarm;
}

/* ---- what the server used ---- */

/* -1: the server is gone. */
static int64_t
cpu_read(const struct options *options)
{
	uint64_t ns;

	proc_settle(options->swarm.server, SETTLE_MS);
	if (!proc_alive(options->swarm.server) || proc_cpu_ns(options->swarm.server, &ns) < 0)
		return -1;
	return (int64_t)ns;
}

static void
print_cpu(const char *name, int64_t before, int64_t after)
{
	if (before < 0 || after < before)
		printf("\"%s\": null, ", name);
	else
		printf("\"%s\": %" PRId64 ", ", name, after - before);
}

static void
print_server(const struct options *options)
{
	struct proc_memory memory = {0};
	unsigned fds = 0;

	proc_memory(options->swarm.server, &memory);
	proc_fd_count(options->swarm.server, &fds);
	printf("\"server_alive\": %s, \"rss_kib\": %" PRIu64 ", \"vm_rss_kib\": %" PRIu64
	       ", \"vm_hwm_kib\": %" PRIu64 ", \"fds\": %u",
		proc_alive(options->swarm.server) ? "true" : "false", memory.rss_kib,
		memory.vm_rss_kib, memory.vm_hwm_kib, fds);
}

/*
 * The books of the swarm; what is missing is final when this is printed. The server is at rest by then, so
 * whatever is left to read is something that nobody was owed.
 */
static void
print_books(struct swarm *swarm)
{
	unsigned incomplete = 0;

	for (unsigned rounds = 0; rounds < 1000 && swarm_drain(swarm, 0) > 0; rounds++)
		;
	for (unsigned i = 0; i < swarm->settings.capacity; i++)
		incomplete += swarm->clients[i].missing > 0;
	printf("\"expected\": %" PRIu64 ", \"delivered\": %" PRIu64 ", \"lost\": %" PRIu64
	       ", \"incomplete\": %u, \"disconnected\": %u, \"errors\": %" PRIu64 ", ",
		swarm->expected, swarm->delivered, swarm->expected - swarm->delivered, incomplete,
		swarm->disconnected, swarm->errors);
}

/* ---- join ---- */

/* Nanoseconds from `start` until the last client was complete; until the last message if some never
 * were. */
static uint64_t
wall_read(const struct swarm *swarm, uint64_t start)
{
	uint64_t last = start;

	for (unsigned i = 0; i < swarm->settings.capacity; i++) {
		const struct swarm_client *client = &swarm->clients[i];
		uint64_t end = client->complete_ns;

		if (client->missing > 0 && !client->stalled)
			end = swarm->last_message_ns;
		if (end > last)
			last = end;
	}
	return last - start;
}

static void
resume_stalled(struct swarm *swarm)
{
	for (unsigned i = 0; i < swarm->settings.capacity; i++)
		if (swarm->clients[i].stalled && swarm->clients[i].fd >= 0)
			swarm_resume(swarm, &swarm->clients[i]);
}

static int
scenario_join(const struct options *options)
{
	struct swarm *swarm = swarm_start(options, options->clients, 0);
	uint64_t own_cpu, start, wall, others_wall = 0, resume = 0;
	unsigned stalled = 0, others_incomplete = 0;
	int64_t cpu;

	for (unsigned i = 0; i < options->clients; i++) {
		struct swarm_client *client = &swarm->clients[i];

		swarm_expect(swarm, client,
			SWARM_HELLO_MESSAGES + (uint64_t)options->clients * options->swarm.vectors);
		if (i * options->stall_percent % 100 + options->stall_percent < 100)
			continue;
		swarm_stall(swarm, client);
		stalled++;
	}

	cpu = cpu_read(options);
	own_cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
	start = clock_ns(CLOCK_MONOTONIC);
	swarm->last_connect_ns = start;
	if (swarm_connect_all(swarm, options->clients))
		swarm_complete(swarm);
	if (stalled > 0) {
		uint64_t until = start + options->stall_ms * UINT64_C(1000000);

		others_wall = wall_read(swarm, start);
		others_incomplete = swarm->incomplete;
		while (clock_ns(CLOCK_MONOTONIC) < until && swarm_drain(swarm, 10) >= 0)
			;
		resume = clock_ns(CLOCK_MONOTONIC);
		resume_stalled(swarm);
		swarm_complete(swarm);
	}
	wall = wall_read(swarm, start);
	own_cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - own_cpu;

	printf("{\"scenario\": \"join\", \"clients\": %u, \"vectors\": %u, \"stalled\": %u, ",
		options->clients, options->swarm.vectors, stalled);
	print_cpu("cpu_ns", cpu, cpu_read(options));
	printf("\"wall_ns\": %" PRIu64 ", \"connect_ns\": %" PRIu64 ", \"driver_cpu_ns\": %" PRIu64
	       ", ",
		wall, swarm->last_connect_ns - start, own_cpu);
	if (stalled > 0)
		printf("\"others_wall_ns\": %" PRIu64 ", \"others_incomplete\": %u, "
		       "\"resumed_wall_ns\": %" PRIu64 ", ",
			others_wall, others_incomplete,
			wall > resume - start ? wall - (resume - start) : 0);
	print_books(swarm);
	print_server(options);
	printf("}\n");
	swarm_free(swarm);
	return 0;
}

/* ---- steady state, then something happens ---- */

/*
 * Connect clients `from` to `to` one after the other, each when everybody knows the one before.
 * Returns how many clients missed something on the way, which is forgiven.
 */
static unsigned
steady_reach(struct swarm *swarm, unsigned from, unsigned to)
{
	unsigned vectors = swarm->settings.vectors, incomplete = 0;

	for (unsigned i = from; i < to; i++) {
		uint64_t deadline = clock_ns(CLOCK_MONOTONIC) + UINT64_C(2000000000);
		int r;

		while ((r = swarm_connect(swarm, &swarm->clients[i])) == -EAGAIN &&
			clock_ns(CLOCK_MONOTONIC) < deadline)
			swarm_drain(swarm, 1);
		if (r < 0)
			return incomplete + 1;
		for (unsigned k = 0; k < i; k++)
			swarm_expect(swarm, &swarm->clients[k], vectors);
		swarm_expect(swarm, &swarm->clients[i],
			SWARM_HELLO_MESSAGES + (uint64_t)(i + 1) * vectors);
		if (!swarm_complete_or_settled(swarm)) {
			incomplete += swarm_forgive(swarm);
			if (swarm->disconnected > 0)
				return incomplete;
		}
	}
	return incomplete;
}

static void
print_times(const char *name, const uint64_t *times, unsigned count)
{
	printf("\"%s\": [", name);
	for (unsigned i = 0; i < count; i++)
		printf("%s%" PRIu64, i ? ", " : "", times[i]);
	printf("], ");
}

static int
scenario_single(const struct options *options)
{
	struct swarm *swarm = swarm_start(options, options->clients + 1, options->joins);
	struct swarm_client *newcomer = &swarm->clients[options->clients];
	unsigned vectors = options->swarm.vectors, complete = 0, done = 0, unsteady;
	uint64_t *own_ns = calloc(options->joins + 1u, sizeof(*own_ns));
	uint64_t *all_ns = calloc(options->joins + 1u, sizeof(*all_ns));
	int64_t cpu_sum = 0;

	if (!own_ns || !all_ns)
		return 1;
	unsteady = steady_reach(swarm, 0, options->clients);
	while (done < options->joins && swarm->disconnected == 0 &&
		swarm->connected == options->clients) {
		int64_t cpu = cpu_read(options);
		uint64_t start = clock_ns(CLOCK_MONOTONIC);

		for (unsigned k = 0; k < options->clients; k++)
			swarm_expect(swarm, &swarm->clients[k], vectors);
		swarm_expect(swarm, newcomer,
			SWARM_HELLO_MESSAGES + (uint64_t)(options->clients + 1) * vectors);
		if (swarm_connect(swarm, newcomer) < 0)
			break;
		done++;
		if (swarm_complete_or_settled(swarm)) {
			own_ns[complete] = newcomer->complete_ns - start;
			all_ns[complete++] = wall_read(swarm, start);
		} else {
			swarm_forgive(swarm);
		}
		cpu_sum += cpu_read(options) - cpu;

		for (unsigned k = 0; k < options->clients; k++)
			swarm_expect(swarm, &swarm->clients[k], 1);
		swarm_disconnect(swarm, newcomer);
		if (!swarm_complete_or_settled(swarm))
			swarm_forgive(swarm);
	}
	printf("{\"scenario\": \"single\", \"clients\": %u, \"vectors\": %u, \"joins\": %u, "
	       "\"incomplete_joins\": %u, \"unsteady\": %u, \"cpu_ns\": %" PRId64 ", ",
		options->clients, vectors, done, done - complete, unsteady, cpu_sum);
	print_times("own_ns", own_ns, complete);
	print_times("all_ns", all_ns, complete);
	print_books(swarm);
	print_server(options);
	printf("}\n");
	free(own_ns);
	free(all_ns);
	swarm_free(swarm);
	return 0;
}

static int
scenario_leave(const struct options *options)
{
	struct swarm *swarm = swarm_start(options, options->clients, 0);
	unsigned leaves = options->leaves, unsteady;
	uint64_t start, closed, before;
	int64_t cpu;

	unsteady = steady_reach(swarm, 0, options->clients);
	/* Those who leave are spread evenly over those who stay. */
	for (unsigned i = 0; i < options->clients; i++) {
		struct swarm_client *client = &swarm->clients[i];

		client->complete_ns = 0;
		client->stalled =
			(uint64_t)i * leaves % options->clients + leaves >= options->clients;
		client->bulk = true;
		if (!client->stalled)
			swarm_expect(swarm, client, leaves);
	}
	before = swarm->delivered;
	cpu = cpu_read(options);
	start = clock_ns(CLOCK_MONOTONIC);
	for (unsigned i = 0; i < options->clients; i++)
		if (swarm->clients[i].stalled)
			swarm_disconnect(swarm, &swarm->clients[i]);
	closed = clock_ns(CLOCK_MONOTONIC);
	swarm_complete(swarm);
	printf("{\"scenario\": \"leave\", \"clients\": %u, \"vectors\": %u, \"leaves\": %u, "
	       "\"unsteady\": %u, \"wall_ns\": %" PRIu64 ", \"close_ns\": %" PRIu64 ", ",
		options->clients, options->swarm.vectors, leaves, unsteady, wall_read(swarm, start),
		closed - start);
	print_cpu("cpu_ns", cpu, cpu_read(options));
	printf("\"notices\": %" PRIu64 ", \"notices_delivered\": %" PRIu64 ", ",
		(uint64_t)(options->clients - leaves) * leaves, swarm->delivered - before);
	print_books(swarm);
	print_server(options);
	printf("}\n");
	swarm_free(swarm);
	return 0;
}

/* ---- connect and close ---- */

/*
 * One client after the other connects and closes at once. The clock stops when a last client, which
 * the server can only reach behind all of them, has its whole hello. What the last one is told
 * about those before it is the server's choice and not checked.
 */
static int
scenario_churn(const struct options *options)
{
	struct swarm *swarm = swarm_start(options, 2, 0);
	struct swarm_client *brief = &swarm->clients[0], *last = &swarm->clients[1];
	int64_t cpu = cpu_read(options);
	uint64_t start = clock_ns(CLOCK_MONOTONIC), wall;
	unsigned done = 0;
	bool served = false;
	int r = 0;

	while (done < options->count) {
		r = swarm_connect(swarm, brief);
		if (r == -EAGAIN && clock_ns(CLOCK_MONOTONIC) - start <
					    options->swarm.limit_ms * UINT64_C(1000000)) {
			sched_yield();
			continue;
		}
		if (r < 0)
			break;
		swarm_disconnect(swarm, brief);
		done++;
	}
	swarm_expect(swarm, last, SWARM_HELLO_MESSAGES + options->swarm.vectors);
	while (done == options->count && (r = swarm_connect(swarm, last)) == -EAGAIN &&
		proc_alive(options->swarm.server))
		sched_yield();
	if (r == 0)
		served = swarm_complete(swarm);
	wall = clock_ns(CLOCK_MONOTONIC) - start;
	printf("{\"scenario\": \"churn\", \"vectors\": %u, \"count\": %u, \"accepted\": %u, "
	       "\"served\": %s, \"wall_ns\": %" PRIu64 ", ",
		options->swarm.vectors, options->count, done, served ? "true" : "false", wall);
	print_cpu("cpu_ns", cpu, cpu_read(options));
	print_server(options);
	printf("}\n");
	swarm_free(swarm);
	return 0;
}

/* ---- memory ---- */

static int
scenario_memory(const struct options *options)
{
	struct swarm *swarm = swarm_start(options, options->clients, 0);
	unsigned connected = 0, unsteady = 0;

	printf("{\"scenario\": \"memory\", \"clients\": %u, \"vectors\": %u, \"points\": [",
		options->clients, options->swarm.vectors);
	while (connected < options->clients && swarm->connected == connected) {
		struct proc_memory memory = {0};
		unsigned target = connected + options->step;

		if (target > options->clients)
			target = options->clients;
		unsteady += steady_reach(swarm, connected, target);
		proc_settle(options->swarm.server, SETTLE_MS);
		if (proc_memory(options->swarm.server, &memory) < 0)
			break;
		printf("%s{\"clients\": %u, \"rss_kib\": %" PRIu64 ", \"vm_rss_kib\": %" PRIu64 "}",
			connected > 0 ? ", " : "", swarm->connected, memory.rss_kib,
			memory.vm_rss_kib);
		connected = target;
	}
	printf("], \"unsteady\": %u, ", unsteady);
	print_books(swarm);
	print_server(options);
	printf("}\n");
	swarm_free(swarm);
	return 0;
}

/* ---- start ---- */

static const struct {
	const char *name;
	int (*run)(const struct options *options);
} scenarios[] = {
	{"join", scenario_join},
	{"single", scenario_single},
	{"leave", scenario_leave},
	{"churn", scenario_churn},
	{"memory", scenario_memory},
};

static void
process_prepare(int cpu)
{
	struct rlimit limit;

	signal(SIGPIPE, SIG_IGN);
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
	cpu_pin(cpu);
}

int
main(int argc, char **argv)
{
	enum {
		SOCKET = 1,
		PID,
		CLIENTS,
		VECTORS,
		STALL,
		STALL_MS,
		JOINS,
		LEAVE,
		COUNT,
		STEP,
		DISCARD_FDS,
		SPIN,
		IDLE_MS,
		LIMIT_MS,
		CPU,
		HELP,
	};
	static const struct option names[] = {
		{"socket", required_argument, NULL, SOCKET},
		{"pid", required_argument, NULL, PID},
		{"clients", required_argument, NULL, CLIENTS},
		{"vectors", required_argument, NULL, VECTORS},
		{"stall", required_argument, NULL, STALL},
		{"stall-ms", required_argument, NULL, STALL_MS},
		{"joins", required_argument, NULL, JOINS},
		{"leave", required_argument, NULL, LEAVE},
		{"count", required_argument, NULL, COUNT},
		{"step", required_argument, NULL, STEP},
		{"discard-fds", no_argument, NULL, DISCARD_FDS},
		{"spin", no_argument, NULL, SPIN},
		{"idle-ms", required_argument, NULL, IDLE_MS},
		{"limit-ms", required_argument, NULL, LIMIT_MS},
		{"cpu", required_argument, NULL, CPU},
		{"help", no_argument, NULL, HELP},
		{NULL, 0, NULL, 0},
	};
	struct options options = {
		.swarm = {.vectors = 1, .idle_ms = 2000, .limit_ms = 120000},
		.clients = 1,
		.stall_ms = 300,
		.joins = 30,
		.leaves = 1,
		.count = 1000,
		.step = 100,
		.cpu = -1,
	};
	int option;

	while ((option = getopt_long(argc, argv, "", names, NULL)) >= 0) {
		unsigned number = optarg ? (unsigned)strtoul(optarg, NULL, 10) : 0;

		switch (option) {
		case SOCKET:
			options.swarm.socket_path = optarg;
			break;
		case PID:
			options.swarm.server = (pid_t)number;
			break;
		case CLIENTS:
			options.clients = number;
			break;
		case VECTORS:
			options.swarm.vectors = number;
			break;
		case STALL:
			options.stall_percent = number;
			break;
		case STALL_MS:
			options.stall_ms = number;
			break;
		case JOINS:
			options.joins = number;
			break;
		case LEAVE:
			options.leaves = number;
			break;
		case COUNT:
			options.count = number;
			break;
		case STEP:
			options.step = number;
			break;
		case DISCARD_FDS:
			options.swarm.discard_fds = true;
			break;
		case SPIN:
			options.swarm.spin = true;
			break;
		case IDLE_MS:
			options.swarm.idle_ms = number;
			break;
		case LIMIT_MS:
			options.swarm.limit_ms = number;
			break;
		case CPU:
			options.cpu = (int)number;
			break;
		case HELP:
			fputs(usage, stdout);
			return 0;
		default:
			fputs(usage, stderr);
			return 2;
		}
	}
	if (optind != argc - 1 || !options.swarm.socket_path || options.swarm.server <= 0 ||
		options.clients < 1 || options.swarm.vectors < 1 || options.step < 1 ||
		options.stall_percent > 100 || options.leaves > options.clients) {
		fputs(usage, stderr);
		return 2;
	}
	process_prepare(options.cpu);
	for (size_t i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++)
		if (strcmp(scenarios[i].name, argv[optind]) == 0)
			return scenarios[i].run(&options);
	fputs(usage, stderr);
	return 2;
}
