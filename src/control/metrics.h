/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef CONTROL_METRICS_H
#define CONTROL_METRICS_H

/*
 * Writes metrics as OpenMetrics text. The types are only those that the older text format of
 * Prometheus has, too (gauge and counter), so node_exporter's textfile collector reads it.
 *
 *	struct metrics metrics = {.out = out, .label = "region", .value = "demo"};
 *	metrics_counter(&metrics, "messages", NULL, "Messages that were sent.");
 *	metrics_put(&metrics, NULL, NULL, 12);
 *	metrics_end(&metrics);
 *
 * writes
 *
 *	# TYPE ivshmem_messages counter
 *	# HELP ivshmem_messages Messages that were sent.
 *	ivshmem_messages_total{region="demo"} 12
 *	# EOF
 */

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct metrics {
	FILE *out;
	const char *label, *value; /* that every sample has */
	const char *family, *unit; /* that samples belong to */
	bool counts;
};

/* Begin a family. Its name gets "ivshmem_" in front, and the unit at the end (NULL: it has none). */
void metrics_gauge(struct metrics *metrics, const char *name, const char *unit, const char *help);
void metrics_counter(struct metrics *metrics, const char *name, const char *unit, const char *help);

/* A sample of it, with one more label, or none (NULL). The value of a label may be any text. */
void metrics_put(struct metrics *metrics, const char *label, const char *value, uint64_t number);
void metrics_put_decimal(
	struct metrics *metrics, const char *label, const char *value, double number);

void metrics_end(struct metrics *metrics);

#endif
