/* SPDX-License-Identifier: BSD-2-Clause */
#include "progress.h"

#include <base/clock.h>

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#define FIRST NSEC_PER_SEC
#define EVERY (NSEC_PER_SEC / 2)

void
progress_begin(struct progress *progress, const struct cli *cli, const char *what)
{
	uint64_t now = clock_now();

	*progress = (struct progress){
		.what = !cli->quiet && isatty(STDERR_FILENO) ? what : NULL,
		.start = now,
		.next = now + FIRST,
	};
}

/* Whether it is time to show something, which is seen after this. */
static bool
is_due(struct progress *progress, uint64_t now)
{
	if (now < progress->next)
		return false;
	progress->next = now + EVERY;
	progress->shown = true;
	return true;
}

void
progress_show(struct progress *progress, uint64_t bytes)
{
	progress_show_part(progress, bytes, 0, 0);
}

void
progress_show_part(struct progress *progress, uint64_t bytes, uint64_t done, uint64_t total)
{
	double seconds;
	uint64_t now;

	if (!progress->what)
		return;
	now = clock_now();
	if (!is_due(progress, now))
		return;
	seconds = (double)(now - progress->start) / NSEC_PER_SEC;
	fprintf(stderr, "\r\033[Kivshmem: %s %.1f MiB, %.1f MiB/s", progress->what,
		(double)bytes / (1 << 20), (double)bytes / (1 << 20) / seconds);
	if (done > 0 && done <= total)
		fprintf(stderr, ", %.0f %%, %.0f s left", (double)done * 100 / (double)total,
			(double)(total - done) * seconds / (double)done);
	fflush(stderr);
}

void
progress_count(struct progress *progress, uint64_t n)
{
	if (!progress->what || !is_due(progress, clock_now()))
		return;
	fprintf(stderr, "\r\033[Kivshmem: %" PRIu64 " %s", n, progress->what);
	fflush(stderr);
}

void
progress_end(struct progress *progress)
{
	if (progress->shown)
		fputs("\r\033[K", stderr);
	progress->shown = false;
}
