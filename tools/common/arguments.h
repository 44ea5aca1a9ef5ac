/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef COMMON_ARGUMENTS_H
#define COMMON_ARGUMENTS_H

/*
 * The command line of a program, described once. Its options are a table: it gives getopt_long() its
 * arrays, and says how to read values. All programs say what is wrong with one in the same words.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct ivshmem_error;

/* The most options that a program may have. */
#define ARGUMENTS_MAX 64

/* The longest times, in milliseconds. */
#define TIME_HOUR (UINT64_C(3600) * 1000)
#define TIME_DAY  (24 * TIME_HOUR)
#define TIME_YEAR (366 * TIME_DAY)

/* Reads a value that is of none of the kinds below. `text` is NULL if the option takes no value. */
typedef int (*argument_fn)(
	void *to, const char *what, const char *text, struct ivshmem_error *reterr);

struct argument {
	const char *name;  /* of an option, without its dashes */
	const char *takes; /* its value, as the help shows it; NULL if it takes none */
	const char *help;  /* what it does, for programs that print their help from the table */
	char letter;       /* its short form, 0 if it has none */

	/* Its kind: set one of these, which also says where the value goes. */
	int ends;          /* it ends the parsing: arguments_parse() returns this, above 0 */
	bool *flag;        /* whether it was given */
	const char **text; /* one of `choices`, if there are any; with `min` 1, it is not empty */
	unsigned *number;  /* `min` to `max` */
	uint64_t *count;   /* the same; a `max` of 0 is no limit */
	uint64_t *size;    /* bytes, `min` to `max`; a `max` of 0 is no limit */
	mode_t *mode;      /* octal permissions */
	unsigned *ms;      /* seconds, 0 or (with `min` 1) 0.001 to `max`, which is a TIME_ */
	uint64_t *ns;      /* the same, in nanoseconds */
	argument_fn take;  /* anything else: this gets `to` */
	void *to;

	uint64_t min, max;
	const char *choices; /* words, with a | between them */
};

/*
 * Read one value. The error calls it `what`, such as "--count". Returns 0, or -EINVAL with nothing
 * stored, or what `take` returns.
 */
int argument_take(const struct argument *argument, const char *what, const char *text,
	struct ivshmem_error *reterr);

/*
 * Take the options from argv: those before the first operand if `until_operand`, else all of them.
 * Afterwards, optind is the first operand. Returns 0, or `ends` of the first option that has it. On
 * failure, returns -EINVAL or what a `take` returned; `*ret_usage` says whether an option itself was not
 * understood, so that the usage would help.
 */
int arguments_parse(int argc, char **argv, const struct argument *options, unsigned n_options,
	bool until_operand, bool *ret_usage, struct ivshmem_error *reterr);

#endif
