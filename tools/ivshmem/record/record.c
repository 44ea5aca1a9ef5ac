/* SPDX-License-Identifier: BSD-2-Clause */
#include "bench.h"
#include "output.h"
#include "progress.h"
#include "record/pinger.h"
#include "record/writer.h"

#include <base/clock.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct {
	uint64_t interval, duration, pings;
	const char *ping;
} given = {.interval = NSEC_PER_SEC, .duration = UINT64_MAX, .pings = 10};

static const struct argument record_options[] = {
	{"interval", "SECONDS", "look every SECONDS, from 0.01 to 3600 (default: 1)", .letter = 'i',
		.ns = &given.interval, .min = 1, .max = TIME_HOUR},
	{"duration", "SECONDS", "end after SECONDS (default: SIGINT or SIGTERM ends it)",
		.letter = 'd', .ns = &given.duration, .min = 1, .max = TIME_YEAR},
	{"ping", "NAME",
		"between samples, also make round trips to \"ivshmem bench --serve NAME\", which takes an area and an id",
		.letter = 'P', .text = &given.ping, .min = 1},
	{"pings", "N", "how many round trips between two samples, up to 1000 (default: 10)",
		.count = &given.pings, .min = 1, .max = PINGS_MAX},
};

struct recording {
	const struct cli *cli;
	const char *path;
	struct collector *collector;
	struct pinger *pinger; /* or NULL */
	struct writer writer;
	struct progress progress;
	uint64_t samples;
	uint64_t end; /* clock_now() */
};

static double
date_of(const struct recording *recording)
{
	const struct sample *sample = &recording->collector->sample;

	return sample->date + (double)(clock_now() - sample->time) / NSEC_PER_SEC;
}

/* An answer that takes half of the time until the next sample is too late. */
static void
ping(struct recording *recording)
{
	uint64_t ns[PINGS_MAX];
	const char *ended;
	size_t n;

	if (!recording->pinger)
		return;
	n = pinger_run(recording->pinger, ns, (size_t)given.pings, clock_now() + given.interval / 2,
		&ended);
	if (n > 0)
		writer_pings(&recording->writer, date_of(recording), given.ping, ns, n);
	if (ended)
		writer_says(&recording->writer, date_of(recording), ended);
}

static enum status
take_sample(struct recording *recording)
{
	struct collector *collector = recording->collector;
	int r = collector_look(collector);

	if (r == 0 && recording->samples == 0)
		writer_begin(&recording->writer, &collector->sample,
			(double)given.interval / NSEC_PER_SEC);
	if (r == 0)
		r = writer_sample(&recording->writer, collector);
	if (r < 0)
		return fail("out of memory");
	if (writer_failure(&recording->writer) < 0)
		return STATUS_FAILURE; /* writer_close() says why */
	progress_count(&recording->progress, ++recording->samples);
	return STATUS_OK;
}

/* Until `deadline`, or a signal, or the end of the device. */
static unsigned
rest(struct recording *recording, uint64_t deadline)
{
	unsigned wake;

	do
		wake = session_step(recording->collector->session, -1, deadline);
	while (!(wake & (SESSION_TIMEOUT | SESSION_QUIT | SESSION_GONE)));
	return wake;
}

static enum status
record_samples(struct recording *recording)
{
	uint64_t next = clock_now();

	for (;;) {
		enum status status = take_sample(recording);
		unsigned wake;

		if (status != STATUS_OK)
			return status;
		if (next >= recording->end)
			return STATUS_OK;
		ping(recording);
		/* Samples that were missed are not made up for: rates of short times say little. */
		for (next += given.interval; next < clock_now() + given.interval / 2;)
			next += given.interval;
		if (next > recording->end)
			next = recording->end;
		wake = rest(recording, next);
		if (wake & SESSION_QUIT)
			return take_sample(recording);
		if (wake & SESSION_GONE) {
			take_sample(recording);
			return session_check_attached(recording->collector->session);
		}
	}
}

static enum status
record_to_file(struct recording *recording)
{
	enum status status = writer_open(&recording->writer, recording->path);
	enum status closed;

	if (status != STATUS_OK)
		return status;
	progress_begin(&recording->progress, recording->cli, "samples");
	recording->end = session_deadline(given.duration);
	if (given.duration != UINT64_MAX)
		recording->end = clock_now() + given.duration;
	status = record_samples(recording);
	progress_end(&recording->progress);
	closed = writer_close(&recording->writer, recording->path);
	if (status == STATUS_OK && closed == STATUS_OK && strcmp(recording->path, "-") != 0)
		note(recording->cli, "%llu samples in %s", (unsigned long long)recording->samples,
			recording->path);
	return status != STATUS_OK ? status : closed;
}

static enum status
record_run(const struct cli *cli, char *const *operands)
{
	struct recording recording = {.cli = cli, .path = operands[0]};
	enum status status = STATUS_OK;

	if (given.interval < NSEC_PER_SEC / 100) {
		fail("--interval is from 0.01 to 3600 seconds");
		return STATUS_USAGE;
	}
	if (given.ping && strlen(given.ping) > BENCH_NAME_MOST) {
		fail("'%s' cannot be a NAME of bench --serve: it needs 1 to %d bytes", given.ping,
			BENCH_NAME_MOST);
		return STATUS_USAGE;
	}
	/* First, so that signals can end it. */
	if (given.ping)
		status = pinger_open(cli, given.ping, &recording.pinger);
	if (status == STATUS_OK)
		recording.collector = collector_open(cli, true, &status);
	if (recording.collector)
		status = record_to_file(&recording);
	collector_free(recording.collector);
	pinger_close(recording.pinger);
	return status;
}

const struct command command_record = {
	.name = "record",
	.operands = "FILE",
	.min_operands = 1,
	.max_operands = 1,
	.summary = "write what top shows to a file, sample after sample",
	.description =
		"Looks at the group as top does, and writes samples to FILE, or to stdout if it is -, "
		"until SIGINT or SIGTERM, or for the time of --duration. What FILE contained is lost. "
		"Each line is complete as soon as it is written, so that whoever kills the command "
		"loses one line at most. If there is no room for more, the command fails, and what it "
		"has written stays. The command plot makes a picture of the file.\n"
		"With --ping, it also takes part in channels, and measures round trips to a process "
		"that serves with ivshmem bench --serve NAME.\n"
		"The file has one JSON document on each line. The first one is\n"
		"  {\"ivshmem_recording\":1,\"date\":D,\"interval\":S,\"target\":T,\"size\":BYTES}\n"
		"The others have \"t\", the seconds since \"date\", and are one of\n"
		"  {\"t\":T,\"channel\":N,\"name\":NAME,\"kind\":KIND,\"from\":NAME,\"to\":NAME,\n"
		"   \"area\":A,\"ring\":BYTES}\n"
		"  {\"t\":T,\"peers\":N,\"participants\":N,\n"
		"   \"sample\":[[N,RATE,RECORDS,UNREAD,FILL,WAITS],...]}\n"
		"  {\"t\":T,\"event\":WORD,\"text\":TEXT}\n"
		"  {\"t\":T,\"ping\":NAME,\"us\":[MICROSECONDS,...]}\n"
		"A channel, which is one direction of it, is described before the first sample that "
		"has its number N: a listener, and a direction that carries nothing, have none. RATE "
		"is bytes per second, RECORDS is records or values per second, UNREAD is bytes, FILL "
		"is from 0 to 1, and WAITS is seconds; null is not known. The words of events are "
		"joined and left, of peers; came, left, died and gone, of those who take part; "
		"attached, lost and said.",
	CLI_OPTIONS(record_options),
	.json = "nothing else: FILE is JSON anyway",
	.statuses = "0 also after SIGINT and SIGTERM; 1 also if the PCI device was unplugged.",
	.examples = "ivshmem record night.ivr --interval 10\n"
		    "ivshmem record - --duration 5 --interval 0.1\n"
		    "ivshmem record run.ivr --ping speed && ivshmem plot run.ivr -o run.svg",
	.run = record_run,
};
