/* SPDX-License-Identifier: BSD-2-Clause */
#include "progress.h"

#include <base/clock.h>

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

void
progress_show(struct progress *progress, uint64_t bytes)
{
	uint64_t now;

	if (!progress->what)
		return;
	now = clock_now();
	if (now < progress->next)
		return;
	progress->next = now + EVERY;
	progress->shown = true;
	fprintf(stderr, "\r\033[Kivshmem: %s %.1f MiB, %.1f MiB/s", progress->what,
		(double)bytes / (1 << 20),
		(double)bytes / (1 << 20) / ((double)(now - progress->start) / NSEC_PER_SEC));
	fflush(stderr);
}

void
progress_end(struct progress *progress)
{
	if (progress->shown)
		fputs("\r\033[K", stderr);
	progress->shown = false;
}
