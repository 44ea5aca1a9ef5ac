/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_HEXDUMP_H
#define IVSHMEM_HEXDUMP_H

/*
 * Print bytes to stdout for people: the offset, sixteen bytes in hexadecimal, the same as characters.
 * A single "*" stands for lines that repeat the one before. The last line is the offset of the end.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HEXDUMP_WIDTH 16

struct hexdump {
	uint64_t offset; /* of `line` */
	unsigned char line[HEXDUMP_WIDTH], last[HEXDUMP_WIDTH];
	size_t used;   /* bytes in `line` */
	bool has_last; /* `last` is the line before */
	bool starred;
};

void hexdump_begin(struct hexdump *dump, uint64_t offset);
void hexdump_add(struct hexdump *dump, const unsigned char *bytes, size_t length);
void hexdump_end(struct hexdump *dump);

#endif
