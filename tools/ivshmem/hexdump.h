/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_HEXDUMP_H
#define IVSHMEM_HEXDUMP_H

/*
 * Bytes to stdout for people: offset, sixteen bytes in hexadecimal, the same as characters. Lines
 * that repeat the one before are shown as a single "*", and the last line is the offset of the end.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HEXDUMP_WIDTH 16

struct hexdump {
	uint64_t offset; /* of `line` */
	unsigned char line[HEXDUMP_WIDTH], last[HEXDUMP_WIDTH];
	size_t used;   /* bytes in `line` */
	bool has_last; /* `last` was shown, or stands for what was */
	bool starred;
};

void hexdump_begin(struct hexdump *dump, uint64_t offset);
void hexdump_add(struct hexdump *dump, const unsigned char *bytes, size_t length);
void hexdump_end(struct hexdump *dump);

#endif
