/* SPDX-License-Identifier: BSD-2-Clause */

/* A line from a client of a control socket: the answer is one line that a terminal can show, or what
 * the command wrote. */

#include <fuzz.h>

#include <control/control.h>

#include <stdbool.h>

static bool ran;

static int
answer(void *data, const struct control_request *request, FILE *out, struct ivshmem_error *reterr)
{
	(void)data;
	(void)reterr;
	DEMAND(request->n >= 1 && request->n <= CONTROL_WORDS_MAX);
	for (unsigned i = 0; i < request->n; i++) {
		DEMAND(request->words[i][0] && !strchr(request->words[i], ' '));
		fputs(request->words[i], out);
	}
	ran = true;
	putc('\n', out);
	return 0;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct control_command commands[] = {
		{"status", "", 0, 0, answer},
		{"drain", "[on|off]", 0, 1, answer},
		{"a", "B", 1, 3, answer},
	};
	const struct control_config config = {.commands = commands, .n_commands = 3};
	char *line = fuzz_text(data, size), *text;
	size_t length;

	ran = false;
	text = control_answer(&config, line, size, &length);
	DEMAND(text && length > 0 && text[length - 1] == '\n');
	for (size_t i = 0; i < length - 1; i++)
		DEMAND(text[i] >= ' ' && text[i] <= '~');
	DEMAND(ran || strncmp(text, "{\"error\":\"", 10) == 0);
	free(text);
	free(line);
	return 0;
}
