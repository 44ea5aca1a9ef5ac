/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef COMMON_ARGUMENTS_H
#define COMMON_ARGUMENTS_H

/*
 * The command line of a program, described once: its options are a table, from which getopt_long() gets
 * its arrays, values are read, and what is wrong with one is told, in the same words by every program.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct ivshmem_error;

/* So many options a program may have. */
#define ARGUMENTS_MAX 32

/* The longest times, in milliseconds. */
#define TIME_HOUR (UINT64_C(3600) * 1000)
#define TIME_DAY  (24 * TIME_HOUR)
#define TIME_YEAR (366 * TIME_DAY)

/* Reads a value for which there is none of the kinds below. `text` is NULL if it takes none. */
typedef int (*argument_fn)(
	void *to, const char *what, const char *text, struct ivshmem_error *reterr);

struct argument {
	const char *name;  /* of an option, without its dashes */
	const char *takes; /* its value, as a help shows it; NULL if it takes none */
	const char *help;  /* what it does, for programs that print their help from the table */
	char letter;       /* its short form, 0 if there is none */

	/* Its kind: one of these, which says where the value goes. */
	int ends;          /* nothing behind it counts: what arguments_parse() returns, above 0 */
	bool *flag;        /* it was given */
	const char **text; /* one of `choices`, if there are any; with `min` 1, it is not empty */
	unsigned *number;  /* `min` to `max` */
	uint64_t *count;   /* the same; a `max` of 0 is none */
	uint64_t *size;    /* bytes, `min` to `max`; a `max` of 0 is none */
	mode_t *mode;      /* octal permissions */
	unsigned *ms;      /* seconds, 0 or (with `min` 1) 0.001 to `max`, which is a TIME_ */
	uint64_t *ns;      /* the same, in nanoseconds */
	argument_fn take;  /* anything else: called with `to` */
	void *to;

	uint64_t min, max;
	const char *choices; /* words with a | between them */
};

/*
 * Read one value; `what` is how its sentence calls it, such as "--count". 0, or -EINVAL and the
 * sentence; then nothing is stored. What `take` returns.
 */
int argument_take(const struct argument *argument, const char *what, const char *text,
	struct ivshmem_error *reterr);

/*
 * Take the options from argv, `until_operand` or, as usual, wherever they stand; optind is then the
 * first operand. Returns 0, or `ends` of the first that has it. On failure it is -EINVAL or what a `take`
 * returned, with the sentence, and `*ret_usage` tells whether an option as such was not understood, so
 * that the usage would help.
 */
int arguments_parse(int argc, char **argv, const struct argument *options, unsigned n_options,
	bool until_operand, bool *ret_usage, struct ivshmem_error *reterr);

#endif
