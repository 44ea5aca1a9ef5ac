/* SPDX-License-Identifier: BSD-2-Clause */
#include "vmm_words.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum vmm_kind
vmm_kind_of(const char *program)
{
	const char *slash = strrchr(program, '/');
	const char *name = slash ? slash + 1 : program;

	/* A command in one word, as for sh -c, is no program. */
	if (name[strcspn(name, " \t\n")] != '\0')
		return VMM_NONE;
	if (strncmp(name, "qemu-system-", 12) == 0 || strcmp(name, "qemu-kvm") == 0 ||
		strcmp(name, "kvm") == 0)
		return VMM_QEMU;
	if (strncmp(name, "cloud-hypervisor", 16) == 0)
		return VMM_CLOUD_HYPERVISOR;
	return VMM_NONE;
}

static int
add_word(struct vmm_words *words, char *word)
{
	char **larger = words->words;

	/* There is room for the next power of two. */
	if ((words->n & (words->n - 1)) == 0)
		larger = reallocarray(larger, words->n ? words->n * 2 : 1, sizeof(*larger));
	if (!larger)
		return -ENOMEM;
	words->words = larger;
	words->words[words->n++] = word;
	return 0;
}

/* Forget what comes before the program of the VMM, such as sudo. Returns whether there is one. */
static bool
begin_with_program(struct vmm_words *words)
{
	for (size_t i = 0; i < words->n; i++) {
		words->kind = vmm_kind_of(words->words[i]);
		if (words->kind != VMM_NONE) {
			words->n -= i;
			memmove(words->words, words->words + i, words->n * sizeof(*words->words));
			return true;
		}
	}
	words->n = 0;
	return false;
}

/* ---- as /proc has it ------------------------------------------------------------------------- */

static int
split_at_nuls(struct vmm_words *words, size_t length)
{
	for (size_t i = 0; i < length; i += strlen(words->bytes + i) + 1) {
		int r = add_word(words, words->bytes + i);

		if (r < 0)
			return r;
	}
	return begin_with_program(words) ? 0 : -ENOENT;
}

/* ---- as a shell reads it --------------------------------------------------------------------- */

struct reader {
	const char *p, *end;
	char *to; /* where the word is written; never beyond what was read */
};

static bool
ends_command(char c)
{
	return c == '\n' || c == ';' || c == '&' || c == '|';
}

static bool
ends_word(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '<' || c == '>' || ends_command(c);
}

/* Up to the closing quote. -EINVAL: there is none. */
static int
read_quoted(struct reader *reader, char quote)
{
	while (reader->p < reader->end && *reader->p != quote) {
		if (quote == '"' && *reader->p == '\\' && reader->p + 1 < reader->end &&
			strchr("\"\\$`", reader->p[1]))
			reader->p++;
		*reader->to++ = *reader->p++;
	}
	if (reader->p == reader->end)
		return -EINVAL;
	reader->p++;
	return 0;
}

static int
read_word(struct reader *reader)
{
	while (reader->p < reader->end && !ends_word(*reader->p)) {
		char c = *reader->p++;

		if (c == '\'' || c == '"') {
			int r = read_quoted(reader, c);
			if (r < 0)
				return r;
		} else if (c != '\\') {
			*reader->to++ = c;
		} else if (reader->p < reader->end) {
			/* A line that goes on. */
			if (*reader->p != '\n')
				*reader->to++ = *reader->p;
			reader->p++;
		}
	}
	return 0;
}

static void
skip_comment(struct reader *reader)
{
	while (reader->p < reader->end && *reader->p != '\n')
		reader->p++;
}

static int
split_as_shell(struct vmm_words *words, const char *bytes, size_t length)
{
	struct reader reader = {.p = bytes, .end = bytes + length, .to = words->bytes};

	while (reader.p < reader.end) {
		char *word = reader.to;
		int r;

		if (ends_command(*reader.p) && begin_with_program(words))
			return 0;
		if (ends_word(*reader.p)) {
			reader.p++;
			continue;
		}
		if (*reader.p == '#') {
			skip_comment(&reader);
			continue;
		}
		r = read_word(&reader);
		if (r < 0)
			return r;
		/* Of a line that only goes on, nothing is left. */
		if (reader.to == word && reader.p[-1] == '\n')
			continue;
		*reader.to++ = '\0';
		r = add_word(words, word);
		if (r < 0)
			return r;
	}
	return begin_with_program(words) ? 0 : -ENOENT;
}

/* ---------------------------------------------------------------------------------------------- */

int
vmm_words_split(struct vmm_words *ret_words, const char *bytes, size_t length)
{
	struct vmm_words words = {.kind = VMM_NONE};
	int r;

	if (length > VMM_LINE_MAX)
		return -E2BIG;
	/* Each word gets a NUL, and there is a character between two of them. */
	words.bytes = malloc(length + 1);
	if (!words.bytes)
		return -ENOMEM;
	if (memchr(bytes, '\0', length)) {
		memcpy(words.bytes, bytes, length);
		words.bytes[length] = '\0';
		r = split_at_nuls(&words, length);
	} else {
		r = split_as_shell(&words, bytes, length);
	}
	if (r < 0)
		vmm_words_free(&words);
	else
		*ret_words = words;
	return r;
}

void
vmm_words_free(struct vmm_words *words)
{
	free(words->words);
	free(words->bytes);
	*words = (struct vmm_words){.kind = VMM_NONE};
}
