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

/* What is left of the bytes. */
struct fuzz_input {
	const uint8_t *data;
	size_t size;
};

/* The next bytes as a number, the highest one first; those that there are. */
static inline uint64_t
fuzz_take(struct fuzz_input *input, unsigned bytes)
{
	uint64_t value = 0;

	for (; bytes > 0 && input->size > 0; bytes--, input->size--)
		value = value << 8 | *input->data++;
	return value;
}

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

/*
 * The lines of the bytes as the arguments of a program called `name`, at most `most` of them: argc and
 * argv, which has room for `most` + 2. The text that they lie in is to be freed.
 */
static inline char *
fuzz_arguments(const uint8_t *data, size_t size, char *name, int most, int *argc, char **argv)
{
	char *text = fuzz_text(data, size), *rest = text;

	*argc = 0;
	argv[(*argc)++] = name;
	while (rest && *argc <= most)
		argv[(*argc)++] = strsep(&rest, "\n");
	argv[*argc] = NULL;
	return text;
}

#endif
