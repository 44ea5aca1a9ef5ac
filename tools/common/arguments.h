/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef COMMON_ARGUMENTS_H
#define COMMON_ARGUMENTS_H

/*
 * Values of options, and what is wrong with options, in the same words from every program. `option`
 * is the option as the user wrote or would write it, with its dashes. All return 0, or -EINVAL and
 * the sentence.
 */

#include <base/error.h>

#include <getopt.h>
#include <sys/types.h>

int argument_number(const char *option, const char *text, unsigned min, unsigned max,
	unsigned *ret_value, struct error *reterr);

/* Octal permissions. */
int argument_mode(const char *option, const char *text, mode_t *ret_mode, struct error *reterr);

/* A name that the system knows, or a number. Another errno if the system cannot look it up. */
int argument_user(const char *option, const char *text, uid_t *ret_uid, struct error *reterr);
int argument_group(const char *option, const char *text, gid_t *ret_gid, struct error *reterr);

/* getopt_long() returned `result`, '?' or ':': say what it did not like. Always -EINVAL. */
int argument_refuse(
	int result, char **argv, const struct option *long_options, struct error *reterr);

#endif
