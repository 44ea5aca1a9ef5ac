/* SPDX-License-Identifier: BSD-2-Clause */

/* OpenMetrics text, byte by byte; tests/protocol reads whole answers with a strict parser. */

#include <control/metrics.h>

#include <test.h>

#include <stdlib.h>

static char *text;
static size_t length;
static struct metrics metrics;

static void
begin(const char *region)
{
	metrics = (struct metrics){
		.out = open_memstream(&text, &length), .label = "region", .value = region};
	CHECK(metrics.out);
}

static void
check(const char *expected)
{
	CHECK_EQ(fclose(metrics.out), 0);
	CHECK_STR(text, expected);
	free(text);
}

TEST(families_and_samples)
{
	begin("demo");
	metrics_gauge(&metrics, "memory", "bytes", "Size.");
	metrics_put(&metrics, NULL, NULL, 4096);
	metrics_counter(&metrics, "joins", NULL, "Peers that joined.");
	metrics_put(&metrics, "kind", "member", UINT64_MAX);
	metrics_put_decimal(&metrics, "kind", "seat", 1.5);
	metrics_end(&metrics);
	check("# TYPE ivshmem_memory_bytes gauge\n"
	      "# UNIT ivshmem_memory_bytes bytes\n"
	      "# HELP ivshmem_memory_bytes Size.\n"
	      "ivshmem_memory_bytes{region=\"demo\"} 4096\n"
	      "# TYPE ivshmem_joins counter\n"
	      "# HELP ivshmem_joins Peers that joined.\n"
	      "ivshmem_joins_total{region=\"demo\",kind=\"member\"} 18446744073709551615\n"
	      "ivshmem_joins_total{region=\"demo\",kind=\"seat\"} 1.500\n"
	      "# EOF\n");
}

TEST(labels_with_any_text)
{
	begin("a\"b\\c\nd\x1b\x7f\xff\xc3\xa4");
	metrics_gauge(&metrics, "peers", NULL, "Peers.");
	metrics_put(&metrics, NULL, NULL, 1);
	check("# TYPE ivshmem_peers gauge\n"
	      "# HELP ivshmem_peers Peers.\n"
	      "ivshmem_peers{region=\"a\\\"b\\\\c?d???\xc3\xa4\"} 1\n");
}
