/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef RECORD_WRITER_H
#define RECORD_WRITER_H

/*
 * Writes a recording. Its lines are JSON documents; ivshmem(1) describes them. Each line is one write, so that
 * whoever is killed loses the last line at most.
 */

#include "top/collect.h"

#include <stdio.h>

#define RECORDING_VERSION 1

struct writer {
	FILE *file;
	char *buffer;
	double start;    /* seconds since 1970 */
	uint64_t events; /* how many of the events are written */
	bool has_problem;
};

/* Create the file, or use stdout if it is "-". A message is printed on failure. */
enum status writer_open(struct writer *writer, const char *path);
/* Close it. A message is printed if something could not be written. */
enum status writer_close(struct writer *writer, const char *path);

/* The first line. */
void writer_begin(struct writer *writer, const struct sample *sample, double interval);
/* Whatever is new: events, channels, and the latest sample. 0, or -ENOMEM. */
int writer_sample(struct writer *writer, struct collector *collector);
/* Round trips, in nanoseconds. */
void writer_pings(
	struct writer *writer, double date, const char *name, const uint64_t *ns, size_t n);
/* Something that happened to us. */
void writer_says(struct writer *writer, double date, const char *text);

/* 0, or the negative errno of what could not be written. */
int writer_failure(const struct writer *writer);

#endif
