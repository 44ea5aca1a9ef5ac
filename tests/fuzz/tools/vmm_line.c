/* SPDX-License-Identifier: BSD-2-Clause */

/* The command line of a virtual machine monitor, from /proc or as a shell reads it. */

#include <fuzz.h>

#include <vmm_options.h>

#include <errno.h>

static void
ask(const struct vmm_option *option)
{
	DEMAND(option->n <= VMM_PAIRS_MOST);
	DEMAND(vmm_option_type(option, "driver"));
	vmm_option_is_on(option, "share", true);
	vmm_option_size(option, "size", UINT64_C(1) << 20);
	for (size_t i = 0; i < option->n; i++)
		DEMAND(vmm_option_get(option, option->pairs[i].key));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = fuzz_text(data, size);
	struct vmm_words words;
	struct vmm_options options;
	int r = vmm_words_split(&words, text, size);

	DEMAND(r == 0 || r == -E2BIG || r == -EINVAL || r == -ENOENT);
	if (r == 0) {
		DEMAND(words.n >= 1 && words.kind != VMM_NONE);
		DEMAND(vmm_kind_of(words.words[0]) == words.kind);
		DEMAND(vmm_options_parse(&options, &words) == 0);
		for (size_t i = 0; i < options.n; i++)
			ask(&options.options[i]);
		vmm_options_free(&options);
		vmm_words_free(&words);
	}
	free(text);
	return 0;
}
