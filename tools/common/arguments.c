/* SPDX-License-Identifier: BSD-2-Clause */
#include <common/arguments.h>

#include <base/clock.h>
#include <base/error.h>
#include <base/parse.h>

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* What getopt_long() returns for the long form of the table's first option. */
#define FIRST_LONG 256

/* ---- values ---------------------------------------------------------------------------------- */

static bool
is_choice(const char *choices, const char *text)
{
	size_t length = strlen(text);

	for (const char *word = choices;; word++) {
		size_t end = strcspn(word, "|");

		if (end == length && strncmp(word, text, length) == 0)
			return true;
		word += end;
		if (*word == '\0')
			return false;
	}
}

static int
take_text(const struct argument *argument, const char *what, const char *text,
	struct ivshmem_error *reterr)
{
	if (text[0] == '\0' && argument->min > 0)
		return error_set(reterr, -EINVAL, "%s: the name is empty", what);
	if (argument->choices && !is_choice(argument->choices, text))
		return error_set(reterr, -EINVAL, "%s: '%.100s' is not one of %s", what, text,
			argument->choices);
	*argument->text = text;
	return 0;
}

static int
take_number(const struct argument *argument, const char *what, const char *text,
	struct ivshmem_error *reterr)
{
	uint64_t max = argument->max ? argument->max : UINT64_MAX, value;

	if (parse_u64(text, argument->min, max, &value) < 0 && argument->max)
		return error_set(reterr, -EINVAL,
			"%s: '%.100s' is not a number from %" PRIu64 " to %" PRIu64, what, text,
			argument->min, max);
	if (parse_u64(text, argument->min, max, &value) < 0)
		return error_set(reterr, -EINVAL,
			"%s: '%.100s' is not a number of at least %" PRIu64, what, text,
			argument->min);
	if (argument->number)
		*argument->number = (unsigned)value;
	else
		*argument->count = value;
	return 0;
}

static int
take_size(const struct argument *argument, const char *what, const char *text,
	struct ivshmem_error *reterr)
{
	uint64_t max = argument->max ? argument->max : UINT64_MAX, size;
	char bound[SIZE_TEXT_MAX];
	int r = parse_size(text, &size);

	if (r == -EINVAL)
		return error_set(reterr, -EINVAL,
			"%s: '%.100s' is not a size: write a number of bytes, or a number with suffix K, M, G, T, P or E",
			what, text);
	if (r < 0 || size > max)
		return error_set(reterr, -EINVAL, "%s: '%.100s' is too large: at most %s", what,
			text, format_size(max, bound));
	if (size < argument->min)
		return error_set(reterr, -EINVAL, "%s: '%.100s' is too small: at least %s", what,
			text, format_size(argument->min, bound));
	*argument->size = size;
	return 0;
}

static int
take_mode(const struct argument *argument, const char *what, const char *text,
	struct ivshmem_error *reterr)
{
	unsigned mode;

	if (parse_mode(text, &mode) < 0)
		return error_set(reterr, -EINVAL,
			"%s: '%.100s' is not a set of permissions: write octal digits like 0660",
			what, text);
	*argument->mode = mode;
	return 0;
}

static int
take_time(const struct argument *argument, const char *what, const char *text,
	struct ivshmem_error *reterr)
{
	const char *longest = argument->max == TIME_HOUR  ? "an hour"
			      : argument->max == TIME_DAY ? "a day"
							  : "a year";
	uint64_t ms;
	int r = parse_duration_ms(text, argument->max, &ms);

	if (r == -EINVAL)
		return error_set(reterr, -EINVAL,
			"%s: '%.100s' is not a time: write seconds, like 30 or 0.5", what, text);
	if ((r < 0 || ms < argument->min) && argument->min > 0)
		return error_set(reterr, -EINVAL,
			"%s: '%.100s' is not between 0.001 seconds and %s", what, text, longest);
	if (r < 0)
		return error_set(reterr, -EINVAL,
			"%s: '%.100s' is not between 0 seconds and %s, where the least above 0 is 0.001",
			what, text, longest);
	if (argument->ms)
		*argument->ms = (unsigned)ms;
	else
		*argument->ns = ms * NSEC_PER_MSEC;
	return 0;
}

int
argument_take(const struct argument *argument, const char *what, const char *text,
	struct ivshmem_error *reterr)
{
	if (argument->take)
		return argument->take(argument->to, what, text, reterr);
	if (argument->text)
		return take_text(argument, what, text, reterr);
	if (argument->number || argument->count)
		return take_number(argument, what, text, reterr);
	if (argument->size)
		return take_size(argument, what, text, reterr);
	if (argument->mode)
		return take_mode(argument, what, text, reterr);
	if (argument->ms || argument->ns)
		return take_time(argument, what, text, reterr);
	*argument->flag = true;
	return 0;
}

/* ---- options --------------------------------------------------------------------------------- */

/* getopt_long() returned `result`, which is '?' or ':': say what is wrong. */
static int
refuse(int result, const char *given, const struct option *longs, struct ivshmem_error *reterr)
{
	if (optopt >= FIRST_LONG)
		return error_set(reterr, -EINVAL, "option '--%s' %s",
			longs[optopt - FIRST_LONG].name,
			result == ':' ? "needs a value" : "takes no value");
	if (result == ':')
		return error_set(reterr, -EINVAL, "option '-%c' needs a value", optopt);
	if (optopt != 0)
		return error_set(reterr, -EINVAL, "unknown option '-%c'", optopt);
	for (; longs->name; longs++)
		if (strncmp(given + 2, longs->name, strcspn(given + 2, "=")) == 0)
			return error_set(reterr, -EINVAL,
				"option '%.100s' is ambiguous: write it out, such as '--%s'", given,
				longs->name);
	return error_set(reterr, -EINVAL, "unknown option '%.100s'", given);
}

int
arguments_parse(int argc, char **argv, const struct argument *options, unsigned n_options,
	bool until_operand, bool *ret_usage, struct ivshmem_error *reterr)
{
	struct option longs[ARGUMENTS_MAX + 1] = {0};
	char letters[2 + 2 * ARGUMENTS_MAX + 1], *letter = letters;
	int result;

	letter += sprintf(letter, "%s:", until_operand ? "+" : "");
	for (unsigned i = 0; i < n_options; i++) {
		longs[i] = (struct option){options[i].name,
			options[i].takes ? required_argument : no_argument, NULL,
			FIRST_LONG + (int)i};
		if (options[i].letter)
			letter += sprintf(
				letter, "%c%s", options[i].letter, options[i].takes ? ":" : "");
	}

	*ret_usage = false;
	optind = 0; /* tells glibc to start anew */
	opterr = 0;
	while ((result = getopt_long(argc, argv, letters, longs, NULL)) != -1) {
		const struct argument *option = options;
		char what[64];
		int r;

		if (result == '?' || result == ':') {
			*ret_usage = true;
			return refuse(result, argv[optind - 1], longs, reterr);
		}
		if (result >= FIRST_LONG)
			option = &options[result - FIRST_LONG];
		while (result < FIRST_LONG && option->letter != result)
			option++;
		if (option->ends)
			return option->ends;
		snprintf(what, sizeof(what), "--%s", option->name);
		r = argument_take(option, what, optarg, reterr);
		if (r < 0)
			return r;
	}
	return 0;
}
