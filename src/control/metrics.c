/* SPDX-License-Identifier: BSD-2-Clause */
#include <control/metrics.h>

#include <base/utf8.h>

#include <inttypes.h>
#include <string.h>

static void
put_name(const struct metrics *metrics)
{
	fprintf(metrics->out, "ivshmem_%s%s%s", metrics->family, metrics->unit ? "_" : "",
		metrics->unit ? metrics->unit : "");
}

static void
begin(struct metrics *metrics, const char *type, const char *help)
{
	fputs("# TYPE ", metrics->out);
	put_name(metrics);
	fprintf(metrics->out, " %s\n", type);
	if (metrics->unit) {
		fputs("# UNIT ", metrics->out);
		put_name(metrics);
		fprintf(metrics->out, " %s\n", metrics->unit);
	}
	fputs("# HELP ", metrics->out);
	put_name(metrics);
	fprintf(metrics->out, " %s\n", help);
}

void
metrics_gauge(struct metrics *metrics, const char *name, const char *unit, const char *help)
{
	metrics->family = name;
	metrics->unit = unit;
	metrics->counts = false;
	begin(metrics, "gauge", help);
}

void
metrics_counter(struct metrics *metrics, const char *name, const char *unit, const char *help)
{
	metrics->family = name;
	metrics->unit = unit;
	metrics->counts = true;
	begin(metrics, "counter", help);
}

/* What is no UTF-8, and control characters, become '?'. */
static void
put_label(const struct metrics *metrics, const char *label, const char *value)
{
	const unsigned char *bytes = (const unsigned char *)value;

	fprintf(metrics->out, "%s=\"", label);
	while (*bytes) {
		size_t n = utf8_length(bytes, strlen((const char *)bytes));

		if (n == 0 || *bytes < 0x20 || *bytes == 0x7f)
			putc('?', metrics->out);
		else if (*bytes == '"' || *bytes == '\\')
			fprintf(metrics->out, "\\%c", *bytes);
		else
			fwrite(bytes, 1, n, metrics->out);
		bytes += n > 0 ? n : 1;
	}
	putc('"', metrics->out);
}

static void
put_sample(const struct metrics *metrics, const char *label, const char *value)
{
	put_name(metrics);
	fputs(metrics->counts ? "_total{" : "{", metrics->out);
	put_label(metrics, metrics->label, metrics->value);
	if (label) {
		putc(',', metrics->out);
		put_label(metrics, label, value);
	}
	fputs("} ", metrics->out);
}

void
metrics_put(struct metrics *metrics, const char *label, const char *value, uint64_t number)
{
	put_sample(metrics, label, value);
	fprintf(metrics->out, "%" PRIu64 "\n", number);
}

void
metrics_put_decimal(struct metrics *metrics, const char *label, const char *value, double number)
{
	put_sample(metrics, label, value);
	fprintf(metrics->out, "%.3f\n", number);
}

void
metrics_end(struct metrics *metrics)
{
	fputs("# EOF\n", metrics->out);
}
