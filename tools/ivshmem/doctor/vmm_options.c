/* SPDX-License-Identifier: BSD-2-Clause */
#include "vmm_options.h"

#include <base/parse.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- pairs ----------------------------------------------------------------------------------- */

int
vmm_option_add(struct vmm_option *option, const char *key, size_t key_length, const char *value,
	size_t value_length)
{
	struct vmm_pair *larger, pair;

	if (option->n == VMM_PAIRS_MOST)
		return 0;
	larger = reallocarray(option->pairs, option->n + 1, sizeof(*larger));
	if (!larger)
		return -ENOMEM;
	option->pairs = larger;
	pair.key = strndup(key, key_length);
	pair.value = strndup(value, value_length);
	if (!pair.key || !pair.value) {
		free(pair.key);
		free(pair.value);
		return -ENOMEM;
	}
	option->pairs[option->n++] = pair;
	return 0;
}

/* The length of the part that ends at a single comma; two commas are one that is meant. Removes the
 * second one of two in place. */
static size_t
take_part(char *text, char **ret_rest)
{
	const char *from = text;
	char *to = text;

	while (*from && (*from != ',' || from[1] == ',')) {
		if (*from == ',')
			from++;
		*to++ = *from++;
	}
	*ret_rest = text + (from - text) + (*from ? 1 : 0);
	return (size_t)(to - text);
}

static int
add_part(struct vmm_option *option, const char *part, size_t length)
{
	const char *equals = memchr(part, '=', length);

	if (equals)
		return vmm_option_add(option, part, (size_t)(equals - part), equals + 1,
			length - (size_t)(equals - part) - 1);
	if (option->n == 0)
		return vmm_option_add(option, "", 0, part, length);
	/* A switch, as older QEMUs have them: "server", "nowait". */
	if (length > 2 && strncmp(part, "no", 2) == 0)
		return vmm_option_add(option, part + 2, length - 2, "off", 3);
	return vmm_option_add(option, part, length, "on", 2);
}

static int
parse_pairs(struct vmm_option *option, const char *text)
{
	char *copy = strdup(text), *rest = copy;
	int r = 0;

	if (!copy)
		return -ENOMEM;
	while (r == 0 && *rest) {
		char *part = rest;
		size_t length = take_part(part, &rest);

		r = add_part(option, part, length);
	}
	free(copy);
	return r;
}

/* ---- options --------------------------------------------------------------------------------- */

static int
add_option(struct vmm_options *options, const char *name, const char *text)
{
	struct vmm_option *option;

	if (options->n == VMM_OPTIONS_MOST)
		return 0;
	if ((options->n & (options->n - 1)) == 0) {
		struct vmm_option *larger = reallocarray(
			options->options, options->n ? options->n * 2 : 1, sizeof(*larger));
		if (!larger)
			return -ENOMEM;
		options->options = larger;
	}
	option = &options->options[options->n++];
	*option = (struct vmm_option){.name = name, .text = text, .is_json = text[0] == '{'};
	return option->is_json ? vmm_json_pairs(option, text) : parse_pairs(option, text);
}

static bool
is_name(const char *word)
{
	return word[0] == '-' && word[1] != '\0';
}

/* --memory=size=1G, which only Cloud Hypervisor has: cuts the word into name and value. */
static const char *
take_value(const struct vmm_words *words, char *name)
{
	char *equals = words->kind == VMM_CLOUD_HYPERVISOR ? strchr(name, '=') : NULL;

	if (!equals)
		return NULL;
	*equals = '\0';
	return equals + 1;
}

/* QEMU has a short name for one that matters to us. */
static const char *
long_name(const struct vmm_words *words, const char *name)
{
	return words->kind == VMM_QEMU && strcmp(name, "M") == 0 ? "machine" : name;
}

/* A name and, if no other name follows, its value; Cloud Hypervisor's have any number of values, and each
 * is an option here. */
static int
parse_words(struct vmm_options *options, const struct vmm_words *words)
{
	size_t i = 1;

	while (i < words->n) {
		char *word = words->words[i++];
		const char *name, *value;
		int r;

		if (!is_name(word))
			continue;
		word += word[1] == '-' ? 2 : 1;
		value = take_value(words, word);
		name = long_name(words, word);
		if (!value)
			value = i < words->n && !is_name(words->words[i]) ? words->words[i++] : "";
		r = add_option(options, name, value);
		while (r == 0 && words->kind == VMM_CLOUD_HYPERVISOR && i < words->n &&
			!is_name(words->words[i]))
			r = add_option(options, name, words->words[i++]);
		if (r < 0)
			return r;
	}
	return 0;
}

int
vmm_options_parse(struct vmm_options *ret_options, const struct vmm_words *words)
{
	struct vmm_options options = {.n = 0};
	int r = parse_words(&options, words);

	if (r < 0)
		vmm_options_free(&options);
	else
		*ret_options = options;
	return r;
}

void
vmm_options_free(struct vmm_options *options)
{
	for (size_t i = 0; i < options->n; i++) {
		for (size_t j = 0; j < options->options[i].n; j++) {
			free(options->options[i].pairs[j].key);
			free(options->options[i].pairs[j].value);
		}
		free(options->options[i].pairs);
	}
	free(options->options);
	*options = (struct vmm_options){.n = 0};
}

/* ---- questions ------------------------------------------------------------------------------- */

const struct vmm_option *
vmm_options_next(const struct vmm_options *options, const char *name, const struct vmm_option *from)
{
	size_t i = from ? (size_t)(from - options->options) + 1 : 0;

	for (; i < options->n; i++)
		if (strcmp(options->options[i].name, name) == 0)
			return &options->options[i];
	return NULL;
}

bool
vmm_options_have(const struct vmm_options *options, const char *name)
{
	return vmm_options_next(options, name, NULL) != NULL;
}

const char *
vmm_option_get(const struct vmm_option *option, const char *key)
{
	for (size_t i = option->n; i > 0; i--)
		if (strcmp(option->pairs[i - 1].key, key) == 0)
			return option->pairs[i - 1].value;
	return NULL;
}

const char *
vmm_option_type(const struct vmm_option *option, const char *key)
{
	const char *type = vmm_option_get(option, key);

	if (!type)
		type = vmm_option_get(option, "");
	return type ? type : "";
}

bool
vmm_option_is_on(const struct vmm_option *option, const char *key, bool otherwise)
{
	const char *value = vmm_option_get(option, key);

	if (!value)
		return otherwise;
	if (strcmp(value, "on") == 0 || strcmp(value, "yes") == 0 || strcmp(value, "true") == 0)
		return true;
	if (strcmp(value, "off") == 0 || strcmp(value, "no") == 0 || strcmp(value, "false") == 0)
		return false;
	return otherwise;
}

uint64_t
vmm_option_size(const struct vmm_option *option, const char *key, uint64_t unit)
{
	const char *value = vmm_option_get(option, key);
	uint64_t bytes;

	if (!value || parse_size(value, &bytes) < 0)
		return 0;
	/* Only a number without a suffix counts in units. */
	if (value[0] && strspn(value, "0123456789") == strlen(value))
		return bytes > UINT64_MAX / unit ? 0 : bytes * unit;
	return bytes;
}
