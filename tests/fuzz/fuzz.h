/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef FUZZ_FUZZ_H
#define FUZZ_FUZZ_H

/*
 * A fuzz target: any bytes, and whatever they are, it must come back without a complaint. With
 * `meson setup -Dfuzzing=true` (clang) it is linked with libFuzzer, else with driver.c, which replays files.
 */

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Always 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Like assert(), whatever the build. */
#define DEMAND(expression)                                                                         \
	do {                                                                                       \
		if (!(expression)) {                                                               \
			fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__,           \
				#expression);                                                      \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

/* The bytes as a string of their own, to be freed. */
static inline char *
fuzz_text(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);

	DEMAND(text);
	if (size > 0)
		memcpy(text, data, size);
	text[size] = '\0';
	return text;
}

#endif
