/* SPDX-License-Identifier: BSD-2-Clause */
#include "hexdump.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void
hexdump_begin(struct hexdump *dump, uint64_t offset)
{
	memset(dump, 0, sizeof(*dump));
	dump->offset = offset;
}

static void
line_print(const struct hexdump *dump)
{
	printf("%08" PRIx64 " ", dump->offset);
	for (size_t i = 0; i < HEXDUMP_WIDTH; i++) {
		if (i % 8 == 0)
			putchar(' ');
		if (i < dump->used)
			printf("%02x ", dump->line[i]);
		else
			fputs("   ", stdout);
	}
	fputs(" |", stdout);
	for (size_t i = 0; i < dump->used; i++) {
		unsigned char byte = dump->line[i];

		putchar(byte >= 0x20 && byte < 0x7f ? byte : '.');
	}
	fputs("|\n", stdout);
}

/* The line is complete, or the last one. */
static void
line_finish(struct hexdump *dump)
{
	bool full = dump->used == HEXDUMP_WIDTH;

	if (full && dump->has_last && memcmp(dump->line, dump->last, HEXDUMP_WIDTH) == 0) {
		if (!dump->starred)
			puts("*");
		dump->starred = true;
	} else {
		line_print(dump);
		dump->starred = false;
		dump->has_last = full;
		memcpy(dump->last, dump->line, HEXDUMP_WIDTH);
	}
	dump->offset += dump->used;
	dump->used = 0;
}

void
hexdump_add(struct hexdump *dump, const unsigned char *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++) {
		dump->line[dump->used++] = bytes[i];
		if (dump->used == HEXDUMP_WIDTH)
			line_finish(dump);
	}
}

void
hexdump_end(struct hexdump *dump)
{
	if (dump->used > 0)
		line_finish(dump);
	printf("%08" PRIx64 "\n", dump->offset);
}
