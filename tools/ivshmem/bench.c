/* SPDX-License-Identifier: BSD-2-Clause */
#include "bench.h"

#include "output.h"
#include "times.h"

#include <base/clock.h>
#include <base/fd.h>

#include <ivshmem/abi.h>

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static struct {
	bool serve;
	uint64_t duration, timeout;
	unsigned vector;
} given = {.duration = NSEC_PER_SEC, .timeout = UINT64_MAX};

static const struct argument bench_options[] = {
	{"serve", NULL, "be the other end, until a signal comes", .flag = &given.serve},
	{"seconds", "SECONDS",
		"how long each measurement takes, which may be a fraction (default: 1); those of "
		"round trips end after a million, too",
		.letter = 's', .ns = &given.duration, .min = 1, .max = TIME_HOUR},
	{"vector", "V", "be woken on our vector V (default: 0)", .letter = 'V',
		.number = &given.vector, .max = IVSHMEM_MAX_VECTORS - 1},
	{"timeout", "SECONDS",
		"give up if nobody serves under NAME, or the other end does nothing, for SECONDS "
		"(default: wait for ever)",
		.letter = 'w', .ns = &given.timeout, .max = TIME_YEAR},
};

/* ---- one end ------------------------------------------------------------------------------ */

static enum status
take_part(struct bench *bench)
{
	return participate(bench->cli, "ivshmem bench", given.vector, &bench->participant);
}

static enum status
serve(struct bench *bench)
{
	enum status status = take_part(bench);

	if (status != STATUS_OK)
		return status;
	note(bench->cli, "serving '%s'", bench->name);
	status = bench_serve(bench, -1);
	participate_no_more(bench->cli, bench->participant);
	return status;
}

static enum status
measure(struct bench *bench)
{
	enum status status = take_part(bench);

	if (status == STATUS_OK)
		status = bench_measure(bench);
	participate_no_more(bench->cli, bench->participant);
	return status;
}

/* ---- both ends ---------------------------------------------------------------------------- */

/* Wait for a byte. */
static bool
is_told(int fd)
{
	char byte;
	ssize_t n;

	do
		n = read(fd, &byte, 1);
	while (n < 0 && errno == EINTR);
	return n == 1;
}

/* The process that serves. It begins when the other one takes part, so that only one of them complains if
 * that is not possible. */
static enum status
be_other_end(struct bench *bench, int fd, pid_t parent)
{
	enum status status;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent || !is_told(fd))
		return STATUS_FAILURE;
	status = take_part(bench);
	if (status == STATUS_OK)
		status = bench_serve(bench, fd);
	participate_no_more(bench->cli, bench->participant);
	return status;
}

static enum status
measure_both(struct bench *bench, int fd)
{
	enum status status = take_part(bench);

	if (status != STATUS_OK)
		return status;
	/* If the other one fails, it says why. */
	if (send(fd, "g", 1, MSG_NOSIGNAL) != 1 || !is_told(fd))
		status = STATUS_FAILURE;
	else
		status = bench_measure(bench);
	participate_no_more(bench->cli, bench->participant);
	return status;
}

static enum status
run_both(struct bench *bench)
{
	pid_t parent = getpid();
	enum status status;
	int fds[2];
	pid_t child;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
		return fail("cannot make a pair of sockets: %s", strerror(errno));
	child = fork();
	if (child < 0) {
		status = fail("cannot make another process: %s", strerror(errno));
	} else if (child == 0) {
		fds[0] = fd_close(fds[0]);
		status = be_other_end(bench, fds[1], parent);
	} else {
		fds[1] = fd_close(fds[1]);
		status = measure_both(bench, fds[0]);
		kill(child, SIGTERM);
		fds[0] = fd_close(fds[0]);
		waitpid(child, NULL, 0);
	}
	fd_close(fds[0]);
	fd_close(fds[1]);
	return status;
}

static enum status
bench_run(const struct cli *cli, char *const *operands)
{
	struct bench bench = {
		.cli = cli,
		.name = operands[0],
		.duration = given.duration,
		.timeout = given.timeout,
	};
	char both[BENCH_NAME_MOST];

	if (given.serve && !bench.name) {
		fail("--serve needs a NAME: the other end connects to it");
		return STATUS_USAGE;
	}
	if (!bench.name) {
		snprintf(both, sizeof(both), "process %d", (int)getpid());
		bench.name = both;
		return run_both(&bench);
	}
	if (strlen(bench.name) > BENCH_NAME_MOST || bench.name[0] == '\0') {
		fail("'%s' cannot be the NAME: it needs 1 to %d bytes", bench.name,
			BENCH_NAME_MOST);
		return STATUS_USAGE;
	}
	return given.serve ? serve(&bench) : measure(&bench);
}

const struct command command_bench = {
	.name = "bench",
	.operands = "[NAME]",
	.max_operands = 1,
	.summary = "measure channels, here or between two machines",
	.description =
		"Measures channels through the memory, as a program meets them that uses "
		"libivshmem, and prints a line for each result: how many records of a queue, and "
		"how many bytes of a queue or a stream, go one way in a second, until the other end "
		"has received everything; and how long a record of a queue, or a call, takes there "
		"and back: the shortest, the median, the 99th percentile and the longest time in "
		"microseconds. One way, records go 32 at a time. Who waits looks for up to 200 us "
		"and then sleeps; in the last measurement both ends sleep at once.\n"
		"Without NAME, both ends are processes of this machine. Otherwise, start ivshmem "
		"bench --serve NAME at one end, such as in a guest, and ivshmem bench NAME at the "
		"other one. One end serves any number of others, one after the other.\n"
		"Each of the two takes an area of the memory, as others do who use channels; see "
		"ivshmem channels and ivshmem format. SIGINT and SIGTERM end --serve with exit "
		"code 0, and the other end without a result.",
	CLI_OPTIONS(bench_options),
	.json = "{\"kind\":\"queue\",\"length\":L,\"what\":\"one way\",\"seconds\":S,\"bytes\":N,\n"
		" \"bytes_per_second\":R,\"records\":N,\"records_per_second\":R}\n"
		"{\"kind\":\"stream\",\"length\":L,\"what\":\"one way\",\"seconds\":S,\"bytes\":N,\n"
		" \"bytes_per_second\":R}\n"
		"{\"kind\":\"queue\"|\"call\",\"length\":L,\n"
		" \"what\":\"there and back\"|\"there and back, asleep\",\"round_trips\":N,\n"
		" " TIMES_JSON_HELP "}",
	.statuses =
		"1 also if the other end ended or died; 3 if nobody served in time, or the other "
		"end did nothing.",
	.examples = "ivshmem bench\n"
		    "ivshmem --target pci:auto bench --serve speed\n"
		    "ivshmem bench speed --seconds 5 --json",
	.run = bench_run,
};
