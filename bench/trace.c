/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * What the flight recorder costs. Two processes do the same again and again, in blocks of some
 * milliseconds, with the recorder on and off in turns: off, on, on, off. Prints JSON: of each turn the
 * ns of one operation in each of its four blocks.
 *
 *	mark	ivshmem_trace_mark(): nothing but an event
 *	queue	records of 64 bytes, one way, 32 at a time
 *	round	8 bytes there and back through a queue, waiting as ivshmem_channel_wait() does
 *	poll	the same, both sides sleep in poll()
 *	ring	a ring there and back, ivshmem_ring() and ivshmem_wait()
 *	access	a read of a register of ivshmem-device
 *	doorbell	a write to the doorbell of ivshmem-device
 */

#include "measure.h"

#include <trace/layout.h>
#include <vfio_client.h>

#include <ivshmem/abi.h>
#include <ivshmem/channel.h>
#include <ivshmem/client.h>
#include <ivshmem/trace.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define BATCH 32

/* What both processes see. */
struct shared {
	int on;
	int ready;
	uint16_t ids[2];
};

static struct shared *shared;
static const char *target;
static struct ivshmem_client *client;
static struct ivshmem_participant *participant;
static struct ivshmem_channel *channel;
static struct vfio_client device;
static unsigned peer;
static int memory = -1; /* of ivshmem-device */
static off_t anchor;

static void
fail(const char *what, int error)
{
	errno = -error;
	die(what);
}

/* ---- on and off ------------------------------------------------------------------------------ */

static void
follow_switch(void)
{
	static int now = 1;
	int wanted = __atomic_load_n(&shared->on, __ATOMIC_RELAXED);

	if (wanted != now)
		ivshmem_trace_enable(wanted != 0);
	now = wanted;
}

static void
set_switch(bool on)
{
	const uint64_t word = on;

	__atomic_store_n(&shared->on, on, __ATOMIC_RELAXED);
	follow_switch();
	if (memory >= 0 &&
		pwrite(memory, &word, sizeof(word),
			anchor + (off_t)offsetof(struct trace_anchor, on)) != sizeof(word))
		die("cannot switch the recorder of ivshmem-device");
}

/* ---- channels -------------------------------------------------------------------------------- */

static void
open_channel(bool accepts)
{
	struct ivshmem_channel *listener;
	struct ivshmem_error error;
	int r = ivshmem_participant_open(&participant, target, NULL, &error);

	if (r == 0 && accepts) {
		r = ivshmem_listen(&listener, participant, "trace", IVSHMEM_QUEUE, NULL, &error);
		__atomic_store_n(&shared->ready, 1, __ATOMIC_RELEASE);
		while (r >= 0 && (r = ivshmem_accept(&channel, listener)) == -EAGAIN)
			r = ivshmem_channel_wait(listener, IVSHMEM_READABLE, -1);
	} else if (r == 0) {
		r = ivshmem_connect(
			&channel, participant, "trace", IVSHMEM_QUEUE, NULL, 10000, &error);
	}
	if (r < 0)
		fail("cannot make a channel", r);
}

static void
wait_in_poll(int events)
{
	struct pollfd ready = {.fd = ivshmem_channel_fd(channel), .events = POLLIN};

	(void)events;
	if (ready.fd < 0 || poll(&ready, 1, 10000) < 0)
		die("poll");
}

/* As whoever wants the most of a queue: it is looked at again at once. */
static void
wait_by_looking(int events)
{
	(void)events;
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#endif
}

static void
wait_for(int events)
{
	int r = ivshmem_channel_wait(channel, events, 10000);

	if (r < 0)
		fail("cannot wait", r);
}

static void
send_record(const void *bytes, size_t length, void (*wait)(int events))
{
	int r;

	while ((r = ivshmem_queue_send(channel, bytes, length)) == -EAGAIN)
		wait(IVSHMEM_WRITABLE);
	if (r < 0)
		fail("cannot send", r);
}

static void
receive_record(void *bytes, size_t length, void (*wait)(int events))
{
	ssize_t r;

	while ((r = ivshmem_queue_receive(channel, bytes, length)) == -EAGAIN)
		wait(IVSHMEM_READABLE);
	if (r == -EPIPE || r == -ECONNRESET)
		_exit(0);
	if (r < 0)
		fail("cannot receive", (int)r);
}

static void
echo(void (*wait)(int events))
{
	uint64_t word;

	open_channel(true);
	for (;;) {
		receive_record(&word, sizeof(word), wait);
		follow_switch();
		send_record(&word, sizeof(word), wait);
	}
}

static void
go_round(unsigned n, void (*wait)(int events))
{
	for (uint64_t i = 0; i < n; i++) {
		uint64_t word = i;

		send_record(&word, sizeof(word), wait);
		receive_record(&word, sizeof(word), wait);
	}
}

/* ---- what is measured ------------------------------------------------------------------------ */

static void
connect_channel(void)
{
	open_channel(false);
}

static void
block_marks(unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		ivshmem_trace_mark("mark", i, n);
}

static void
take_records(void)
{
	struct ivshmem_record records[BATCH];

	open_channel(true);
	for (;;) {
		int64_t n = ivshmem_queue_peek_many(channel, records, BATCH);

		if (n == -EAGAIN)
			wait_by_looking(IVSHMEM_READABLE);
		else if (n < 0)
			_exit(0);
		else
			ivshmem_queue_release(channel);
		follow_switch();
	}
}

static void
block_queue(unsigned n)
{
	char records[BATCH][64] = {{0}};
	struct ivshmem_record parts[BATCH];
	int r;

	for (unsigned i = 0; i < BATCH; i++)
		parts[i] = (struct ivshmem_record){records[i], sizeof(records[i])};
	for (unsigned done = 0; done < n; done += (unsigned)r)
		while ((r = (int)ivshmem_queue_send_many(channel, parts, BATCH)) == -EAGAIN)
			wait_by_looking(IVSHMEM_WRITABLE);
}

static void
echo_waiting(void)
{
	echo(wait_for);
}

static void
block_round(unsigned n)
{
	go_round(n, wait_for);
}

static void
echo_polling(void)
{
	echo(wait_in_poll);
}

static void
block_poll(unsigned n)
{
	go_round(n, wait_in_poll);
}

static void
attach(unsigned side)
{
	struct ivshmem_error error;
	int r = ivshmem_attach(&client, target, NULL, &error);

	if (r < 0)
		fail(error.message, r);
	shared->ids[side] = ivshmem_id(client);
}

static void
ring_other(unsigned side)
{
	int r;

	/* A peer that has just come may not be announced yet. */
	while ((r = ivshmem_ring(client, shared->ids[side], 0)) == -ENOENT)
		ivshmem_dispatch(client, 10);
	if (r < 0)
		fail("cannot ring", r);
}

static void
be_rung(void)
{
	int r = ivshmem_wait(client, 0, 10000);

	if (r < 0)
		fail("cannot wait", r);
	ivshmem_take(client, 0);
}

static void
ring_back(void)
{
	attach(1);
	__atomic_store_n(&shared->ready, 1, __ATOMIC_RELEASE);
	for (;;) {
		be_rung();
		follow_switch();
		ring_other(0);
	}
}

static void
attach_first(void)
{
	attach(0);
}

static void
block_ring(unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		ring_other(1);
		be_rung();
	}
}

static void
connect_device(void)
{
	char text[512];
	int r = vfio_client_connect(&device, target);

	if (r == 0)
		r = vfio_client_version(&device, "{}", text, sizeof(text));
	if (r < 0)
		fail("cannot connect to the device", r);
}

static void
block_access(unsigned n)
{
	uint32_t value;

	for (unsigned i = 0; i < n; i++)
		if (vfio_client_read(&device, 0, IVSHMEM_REG_IV_POSITION, &value, sizeof(value)) <
			0)
			die("cannot read a register");
}

static void
block_doorbell(unsigned n)
{
	const uint32_t value = peer << 16;

	for (unsigned i = 0; i < n; i++)
		if (vfio_client_write(&device, 0, IVSHMEM_REG_DOORBELL, &value, sizeof(value)) < 0)
			die("cannot ring");
}

static const struct work {
	const char *name;
	void (*other)(
		void); /* what the other process does until it is killed; NULL: there is none */
	void (*begin)(void);
	void (*block)(unsigned n);
} works[] = {
	{"mark", NULL, NULL, block_marks},
	{"queue", take_records, connect_channel, block_queue},
	{"round", echo_waiting, connect_channel, block_round},
	{"poll", echo_polling, connect_channel, block_poll},
	{"ring", ring_back, attach_first, block_ring},
	{"access", NULL, connect_device, block_access},
	{"doorbell", NULL, connect_device, block_doorbell},
};

/* What else runs on this machine must not come between. If we may not ask for that, it does. */
static void
go_first(pid_t pid)
{
	const struct sched_param first = {.sched_priority = 1};

	sched_setscheduler(pid, SCHED_FIFO, &first);
}

static pid_t
start_other(void (*other)(void), int cpu)
{
	pid_t child = fork();

	if (child < 0)
		die("fork");
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		cpu_pin(cpu);
		other();
	}
	while (!__atomic_load_n(&shared->ready, __ATOMIC_ACQUIRE))
		usleep(1000);
	return child;
}

static double
time_block(const struct work *work, unsigned n, bool on)
{
	uint64_t start;

	set_switch(on);
	/* The other side learns of the switch. */
	work->block(BATCH);
	start = clock_ns(CLOCK_MONOTONIC);
	work->block(n);
	return (double)(clock_ns(CLOCK_MONOTONIC) - start) / n;
}

/* trace WORK TARGET N TURNS CPU OTHER_CPU [PEER PID ANCHOR] */
int
main(int argc, char **argv)
{
	const struct work *work = works;
	unsigned n, turns;
	pid_t child = 0;

	if (argc < 7)
		return 2;
	while (strcmp(work->name, argv[1]) != 0)
		if (++work == works + sizeof(works) / sizeof(works[0]))
			return 2;
	target = argv[2];
	n = (unsigned)atoi(argv[3]);
	turns = (unsigned)atoi(argv[4]);
	if (argc > 9) {
		char path[32];

		peer = (unsigned)atoi(argv[7]);
		snprintf(path, sizeof(path), "/proc/%.10s/mem", argv[8]);
		/* The thread that serves us will be its child. */
		go_first(atoi(argv[8]));
		memory = open(path, O_RDWR | O_CLOEXEC);
		anchor = (off_t)strtoull(argv[9], NULL, 0);
	}
	shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		die("mmap");
	shared->on = 1;
	go_first(0);
	if (work->other)
		child = start_other(work->other, atoi(argv[6]));
	cpu_pin(atoi(argv[5]));
	if (work->begin)
		work->begin();
	work->block(n);
	for (unsigned i = 0; i < turns; i++) {
		double off = time_block(work, n, false);
		double on = time_block(work, n, true);
		double again = time_block(work, n, true);
		double last = time_block(work, n, false);

		/* Each kind once early and once late; and two of one kind, to be compared. */
		printf("%s[%.3f,%.3f,%.3f,%.3f]", i ? "," : "[", off, on, again, last);
	}
	puts("]");
	if (child)
		kill(child, SIGKILL);
	return 0;
}
