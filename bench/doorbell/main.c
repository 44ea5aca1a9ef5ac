/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * ivshmem-bench-doorbell: what the doorbell of a guest costs, and a copy through BAR2. Everything that
 * is compared is set up at the same time, and then measured in turns, `--rounds` times. Servers,
 * devices in other processes, and QEMUs must be there already. Prints JSON: what each round found,
 * in nanoseconds for one ring, one round trip, one copy, by the guest's clock.
 */

#include "crowd.h"
#include "sides.h"

#include <base/clock.h>
#include <base/fd.h>
#include <base/parse.h>

#include <ivshmem/abi.h>

#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

#define MAX_PAIRS  5
#define MAX_SCALES 16

/* How long a measurement shall take, and how many rings it may have. */
#define RINGS_NS  3e6
#define TRIPS_NS  15e6
#define COPIES_NS 1e6
/* A size of which one copy takes longer than this is left out: the kernel emulates the guest. */
#define COPY_LIMIT_NS 20e6
#define MIN_TIMES     20
#define MAX_TIMES     20000

/* Guest memory that nobody uses: where copies of its own memory come from, and go. */
#define OWN_FROM 0x1000000u
#define OWN_TO   0x2000000u

#define REGISTER (GUEST_BAR0_AT + IVSHMEM_REG_DOORBELL)

#define MAX_COPY 1048576u
static const uint32_t copy_sizes[] = {4096, 65536, MAX_COPY};
#define N_COPY_SIZES (sizeof(copy_sizes) / sizeof(copy_sizes[0]))

static const struct {
	const char *name;
	uint32_t to, from;
} copies[] = {
	{"own", OWN_TO, OWN_FROM},
	{"into", GUEST_BAR2_AT, OWN_FROM},
	{"out_of", OWN_TO, GUEST_BAR2_AT},
};
#define N_COPIES (sizeof(copies) / sizeof(copies[0]))

/* Who copies: the guest, or this process, in the same memory. */
enum { COPY_GUEST, COPY_HOST, N_COPIERS };
static const char *const copiers[] = {"guest", "host"};

struct bench {
	struct cpus cpus;
	unsigned rounds;

	struct pair pairs[MAX_PAIRS];
	unsigned n_pairs;
	struct scale scales[MAX_SCALES];
	unsigned n_scales;

	struct guest *copier;
	uint8_t *shared; /* what is BAR2 for it */
	bool left_out[N_COPIERS][N_COPY_SIZES];
	double khz;
};

struct result {
	double ring, trip;
};

/* ---- measurements, all in nanoseconds --------------------------------------------------------- */

static double
nanoseconds(const struct bench *bench, uint64_t cycles, uint32_t times)
{
	return (double)cycles / bench->khz * 1e6 / times;
}

/* As many as fit into a time, by what one took. */
static uint32_t
times_for(double time, double one)
{
	double times = time / one;

	return times < MIN_TIMES ? MIN_TIMES : times > MAX_TIMES ? MAX_TIMES : (uint32_t)times;
}

static double
rings(const struct bench *bench, struct guest *guest, uint32_t value, uint32_t times)
{
	return nanoseconds(bench, guest_call(guest, GUEST_RING, value, times), times);
}

/* Some to get warm, from which we learn how many there can be. */
static double
ring(const struct bench *bench, struct guest *guest, uint32_t value)
{
	double one = rings(bench, guest, value, MIN_TIMES);

	return rings(bench, guest, value, times_for(RINGS_NS, one));
}

static double
trips(const struct bench *bench, struct pair *pair, uint32_t times)
{
	volatile struct guest_mailbox *a = pair->a.mailbox, *b = pair->b.mailbox;
	uint64_t cycles;

	guest_begin(&pair->b, GUEST_PONG, ivshmem_doorbell_value(pair->a.id, 0),
		GUEST_MSIX_INTERRUPT, times, b->interrupts[GUEST_MSIX_INTERRUPT]);
	cycles = guest_call(&pair->a, GUEST_PING, ivshmem_doorbell_value(pair->b.id, 0),
		GUEST_MSIX_INTERRUPT, times);
	guest_end(&pair->b);
	if (a->results[2] != 0 || b->results[0] != 0)
		vm_die("%s: interrupts that nobody asked for", pair->name);
	return nanoseconds(bench, cycles, times);
}

static struct result
measure_pair(const struct bench *bench, struct pair *pair)
{
	struct result result;
	double one;

	guest_wake(&pair->a);
	result.ring = ring(bench, &pair->a, ivshmem_doorbell_value(IDLE_ID, 0));
	guest_wake(&pair->b);
	one = trips(bench, pair, MIN_TIMES);
	result.trip = trips(bench, pair, times_for(TRIPS_NS, one));
	guest_rest(&pair->a);
	guest_rest(&pair->b);
	return result;
}

/* trip is that of the word here. */
static struct result
measure_scale(const struct bench *bench, struct scale *scale, bool word_first)
{
	struct result result = {0};

	for (int i = 0; i < 2; i++) {
		bool word = (i == 0) == word_first;

		guest_call(&scale->guest, GUEST_AIM, word ? scale->word : REGISTER);
		*(word ? &result.trip : &result.ring) = ring(bench, &scale->guest, scale->value);
	}
	return result;
}

/* Where the guest has this address. */
static uint8_t *
host_address(const struct bench *bench, uint32_t address)
{
	return address >= GUEST_BAR2_AT ? bench->shared + (address - GUEST_BAR2_AT)
					: bench->copier->vm->machine.ram + address;
}

static double
host_copies(const struct bench *bench, unsigned which, uint32_t size, uint32_t times)
{
	uint64_t since = clock_now();

	for (uint32_t i = 0; i < times; i++) {
		memcpy(host_address(bench, copies[which].to),
			host_address(bench, copies[which].from), size);
		__asm__ volatile("" : : : "memory");
	}
	return (double)(clock_now() - since) / times;
}

static double
guest_copies(const struct bench *bench, unsigned which, uint32_t size, uint32_t times)
{
	return nanoseconds(bench,
		guest_call(bench->copier, GUEST_COPY, copies[which].to, copies[which].from, size,
			times),
		times);
}

static double
copy(const struct bench *bench, int copier, unsigned which, uint32_t size)
{
	double (*const copy_times)(const struct bench *, unsigned, uint32_t, uint32_t) =
		copier == COPY_GUEST ? guest_copies : host_copies;
	double one = copy_times(bench, which, size, 1);

	return copy_times(bench, which, size, one > COPIES_NS ? 1 : times_for(COPIES_NS, one));
}

/* No page is touched for the first time while we measure. */
static void
prepare_copies(struct bench *bench)
{
	for (unsigned i = 0; i < N_COPIES; i++) {
		memset(host_address(bench, copies[i].from), 1, MAX_COPY);
		memset(host_address(bench, copies[i].to), 1, MAX_COPY);
	}
	for (int copier = 0; copier < N_COPIERS; copier++) {
		double one = 0;

		for (unsigned i = 0; i < N_COPY_SIZES; i++) {
			/* Do not even try one that takes for ever. */
			if (i == 0 || one * copy_sizes[i] / copy_sizes[i - 1] < COPY_LIMIT_NS)
				one = copy(bench, copier, 0, copy_sizes[i]);
			else
				bench->left_out[copier][i] = true;
		}
	}
}

/* ---- rounds ----------------------------------------------------------------------------------- */

/* In turns from both ends, so that a drift of the machine favours nobody. */
static unsigned
turn(unsigned round, unsigned i, unsigned n)
{
	unsigned at = (i + round / 2) % n;

	return round % 2 == 0 ? at : n - 1 - at;
}

static void
print_pairs(struct bench *bench, unsigned round)
{
	struct result results[MAX_PAIRS];

	for (unsigned i = 0; i < bench->n_pairs; i++) {
		unsigned which = turn(round, i, bench->n_pairs);

		results[which] = measure_pair(bench, &bench->pairs[which]);
	}
	for (unsigned i = 0; i < bench->n_pairs; i++)
		printf("%s\"%s\": {\"ring\": %.1f, \"trip\": %.1f}", i > 0 ? ", " : "",
			bench->pairs[i].name, results[i].ring, results[i].trip);
}

static void
print_scales(struct bench *bench, unsigned round)
{
	struct result results[MAX_SCALES];

	for (unsigned i = 0; i < bench->n_scales; i++) {
		unsigned which = turn(round, i, bench->n_scales);

		results[which] = measure_scale(bench, &bench->scales[which], round % 2 == 0);
	}
	for (unsigned i = 0; i < bench->n_scales; i++)
		printf("%s{\"way\": \"%s\", \"doorbells\": %u, \"register\": %.1f, \"word\": %.1f}",
			i > 0 ? ", " : "", bench->scales[i].way, bench->scales[i].doorbells,
			results[i].ring, results[i].trip);
}

static void
print_copies(const struct bench *bench, unsigned round)
{
	const char *comma = "";

	for (unsigned i = 0; i < N_COPIERS * N_COPY_SIZES; i++) {
		unsigned copier = i / N_COPY_SIZES, size = i % N_COPY_SIZES;
		double times[N_COPIES];

		if (bench->left_out[copier][size])
			continue;
		for (unsigned k = 0; k < N_COPIES; k++) {
			unsigned which = turn(round, k, N_COPIES);

			times[which] = copy(bench, (int)copier, which, copy_sizes[size]);
		}
		printf("%s{\"by\": \"%s\", \"bytes\": %" PRIu32, comma, copiers[copier],
			copy_sizes[size]);
		for (unsigned k = 0; k < N_COPIES; k++)
			printf(", \"%s\": %.1f", copies[k].name, times[k]);
		printf("}");
		comma = ", ";
	}
}

static void
run(struct bench *bench)
{
	printf("[");
	for (unsigned round = 0; round < bench->rounds; round++) {
		printf("%s{\"pairs\": {", round > 0 ? ",\n" : "");
		print_pairs(bench, round);
		printf("}, \"scales\": [");
		print_scales(bench, round);
		printf("], \"copies\": [");
		if (bench->copier)
			print_copies(bench, round);
		printf("]}");
	}
	printf("]\n");
}

/* ---- command line ----------------------------------------------------------------------------- */

#define MAX_FIELDS 4

/* Comma-separated fields. */
static void
split(char *text, unsigned n, char *fields[MAX_FIELDS])
{
	for (unsigned i = 0; i < n; i++) {
		fields[i] = strsep(&text, ",");
		if (!fields[i])
			vm_die("%u fields are needed", n);
	}
}

static unsigned
number(const char *text)
{
	unsigned value;

	if (parse_uint(text, 0, 1 << 30, &value) < 0)
		vm_die("'%s' is no number", text);
	return value;
}

static struct pair *
add_pair(struct bench *bench)
{
	if (bench->n_pairs == MAX_PAIRS)
		vm_die("too many pairs");
	return &bench->pairs[bench->n_pairs++];
}

static void
set_cpus(struct bench *bench, char *text)
{
	char *fields[MAX_FIELDS];

	split(text, 2, fields);
	bench->cpus = (struct cpus){(int)number(fields[0]), (int)number(fields[1])};
}

static void
add_bare(struct bench *bench)
{
	struct pair *pair = add_pair(bench);

	pair_bare(pair, bench->cpus);
	bench->khz = vm_tsc_khz(pair->a.vm);
	if (bench->khz == 0)
		vm_die("the guest's clock is not to be relied on");
}

static void
add_embedded(struct bench *bench, const char *server)
{
	struct pair *pair = add_pair(bench);

	pair_embedded(pair, bench->cpus, server);
	bench->copier = &pair->a;
	bench->shared = pair_memory(pair);
	prepare_copies(bench);
}

static void
add_remote(struct bench *bench, char *text, bool ioeventfds)
{
	char *fields[MAX_FIELDS];

	split(text, 2, fields);
	pair_remote(add_pair(bench), bench->cpus, fields[0], fields[1], ioeventfds);
}

static void
add_qemu(struct bench *bench, char *text)
{
	char *fields[MAX_FIELDS];

	split(text, 4, fields);
	pair_qemu(add_pair(bench), (pid_t)number(fields[0]), fields[1], (pid_t)number(fields[2]),
		fields[3]);
}

static void
add_scale(struct bench *bench, char *text, bool remote)
{
	char *fields[MAX_FIELDS];

	if (bench->n_scales == MAX_SCALES)
		vm_die("too many of --doorbells");
	split(text, remote ? 3 : 2, fields);
	scale_make(&bench->scales[bench->n_scales++], bench->cpus.a, number(fields[0]), fields[1],
		remote ? fields[2] : NULL);
}

static const char help[] =
	"Usage: doorbell --rounds N [--cpus A,B] WHAT...\n"
	"  --bare                            guests with ioeventfds and irqfds set by hand "
	"(needed)\n"
	"  --embedded SERVER                 with our library; also copies memory\n"
	"  --remote SOCKET,SOCKET            with an ivshmem-device each\n"
	"  --trapped SOCKET,SOCKET           the same, without ioeventfds\n"
	"  --qemu PID,MEMORY,PID,MEMORY      with QEMU's device, in two QEMUs\n"
	"  --doorbells N,SERVER              one guest, and so many doorbells; our library\n"
	"  --remote-doorbells N,SERVER,SOCKET  the same with an ivshmem-device\n";

int
main(int argc, char **argv)
{
	static const struct option options[] = {
		{"rounds", required_argument, NULL, 'n'},
		{"cpus", required_argument, NULL, 'c'},
		{"bare", no_argument, NULL, 'b'},
		{"embedded", required_argument, NULL, 'e'},
		{"remote", required_argument, NULL, 'r'},
		{"trapped", required_argument, NULL, 't'},
		{"qemu", required_argument, NULL, 'q'},
		{"doorbells", required_argument, NULL, 'd'},
		{"remote-doorbells", required_argument, NULL, 'D'},
		{NULL, 0, NULL, 0},
	};
	struct bench bench = {.cpus = {-1, -1}};
	const char *impossible = machine_impossible();
	int option;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	fd_raise_limit();
	if (impossible)
		vm_die("%s", impossible);
	while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		if (option == 'n')
			bench.rounds = number(optarg);
		else if (option == 'c')
			set_cpus(&bench, optarg);
		else if (option == 'b')
			add_bare(&bench);
		else if (option == 'e')
			add_embedded(&bench, optarg);
		else if (option == 'r' || option == 't')
			add_remote(&bench, optarg, option == 'r');
		else if (option == 'q')
			add_qemu(&bench, optarg);
		else if (option == 'd' || option == 'D')
			add_scale(&bench, optarg, option == 'D');
		else if (option == '?') {
			fputs(help, stderr);
			return 2;
		}
	}
	if (bench.rounds == 0 || bench.khz == 0) {
		fputs(help, stderr);
		return 2;
	}
	run(&bench);
	for (unsigned i = 0; i < bench.n_scales; i++)
		scale_free(&bench.scales[i]);
	for (unsigned i = 0; i < bench.n_pairs; i++)
		pair_free(&bench.pairs[i]);
	crowd_leave();
	return 0;
}
