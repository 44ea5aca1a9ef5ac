/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef DOCTOR_VMM_OPTIONS_H
#define DOCTOR_VMM_OPTIONS_H

/*
 * The options of a VMM's command line, as pairs of a key and a value.
 *
 *	-device ivshmem-plain,memdev=m		"" = ivshmem-plain, memdev = m
 *	-device '{"driver":"x","socket":{"path":"/p"}}'	driver = x, socket.path = /p
 *	-chardev socket,server,path=a,,b	"" = socket, server = on, path = a,b
 *	--memory size=1G,shared=on		size = 1G, shared = on
 *
 * The words are hostile: limits keep the number of options and pairs and the depth of JSON small, and
 * what goes beyond them, or is no JSON, is left out. QEMU's -M is -machine.
 */

#include "vmm_words.h"

#include <stdint.h>

/* For each device, all options are looked through. */
#define VMM_OPTIONS_MOST 4096
#define VMM_PAIRS_MOST   256

struct vmm_pair {
	char *key; /* "" for the first one without a key */
	char *value;
};

struct vmm_option {
	const char *name; /* without dashes */
	const char *text; /* as it was given */
	bool is_json;
	struct vmm_pair *pairs;
	size_t n;
};

struct vmm_options {
	struct vmm_option *options;
	size_t n;
};

/* The words must outlive the options, and --name=value is cut in place. 0 or -ENOMEM. */
int vmm_options_parse(struct vmm_options *ret_options, const struct vmm_words *words);
void vmm_options_free(struct vmm_options *options);

/* The next option `name` after `from` (NULL: from the beginning), or NULL. */
const struct vmm_option *vmm_options_next(
	const struct vmm_options *options, const char *name, const struct vmm_option *from);
bool vmm_options_have(const struct vmm_options *options, const char *name);

/* The last value of a key, or NULL. */
const char *vmm_option_get(const struct vmm_option *option, const char *key);

/* The value without a key, or that of `key`, which it stands for; "" if there is neither. */
const char *vmm_option_type(const struct vmm_option *option, const char *key);

/* on, off, yes, no, true, false; `otherwise` if it is not there or something else. */
bool vmm_option_is_on(const struct vmm_option *option, const char *key, bool otherwise);

/* A size as QEMU writes it. `unit` is what a plain number counts. 0 if it is not there or no size. */
uint64_t vmm_option_size(const struct vmm_option *option, const char *key, uint64_t unit);

/* Pairs from JSON, with the keys of inner objects joined by dots. For vmm_options_parse(). */
int vmm_json_pairs(struct vmm_option *option, const char *text);
int vmm_option_add(struct vmm_option *option, const char *key, size_t key_length, const char *value,
	size_t value_length);

#endif
