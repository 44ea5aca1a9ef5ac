/* SPDX-License-Identifier: BSD-2-Clause */

/* The commands of the shell: what each takes and does. */

#include "info.h"
#include "json.h"
#include "operands.h"
#include "output.h"
#include "ping.h"
#include "read.h"
#include "ring.h"
#include "shell.h"
#include "wait.h"
#include "write.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define WORDS_MAX 3

/* The operands of a command: its words, and behind them the text, if it takes text. */
struct words {
	char *word[WORDS_MAX];
	unsigned n;
	char *rest;
};

struct shell_command {
	const char *name;
	const char *operands;
	const char *help;
	unsigned min, max; /* words before the text, if any */
	bool text;         /* what follows the words is text, left whole */
	enum status (*run)(struct shell *shell, const struct words *words);
};

/* The command at a position of the table at the end of this file; NULL behind the last one. */
static const struct shell_command *command_at(unsigned index);

static bool
is_blank(char byte)
{
	return byte == ' ' || byte == '\t';
}

static char *
skip_blanks(char *text)
{
	while (is_blank(*text))
		text++;
	return text;
}

/* Cut the next word off. NULL if there is none. */
static char *
next_word(char **cursor)
{
	char *word = skip_blanks(*cursor), *end = word;

	while (*end && !is_blank(*end))
		end++;
	*cursor = end;
	if (end == word)
		return NULL;
	if (*end) {
		*end = '\0';
		*cursor = end + 1;
	}
	return word;
}

static enum status
fail_usage(const char *name, const char *operands)
{
	return fail("usage: %s%s%s", name, operands[0] ? " " : "", operands);
}

/* ---- the commands ------------------------------------------------------------------------- */

void
shell_print_commands(void)
{
	const struct shell_command *command;

	for (unsigned i = 0; (command = command_at(i)); i++) {
		char usage[64];

		snprintf(usage, sizeof(usage), "%s %s", command->name, command->operands);
		printf("  %-31s %s\n", usage, command->help);
	}
	puts("Newlines and semicolons separate commands; # begins a comment up to the end of\n"
	     "the line. Numbers are decimal, or hexadecimal with 0x in front; offsets may end\n"
	     "in K, M, G or T. P:V is vector V of peer P, P alone is vector 0, P:all is all\n"
	     "vectors of P, and all is all vectors of everybody but us.\n"
	     "The shell prints interrupts as they arrive, except those that wait, ping and\n"
	     "echo take while they run. A wait begins with the interrupts that arrived before\n"
	     "it, printed or not, and that no earlier wait, ping or echo took: it misses none\n"
	     "that arrive between two commands. If SECONDS are given, it gives up after them.");
}

static enum status
run_help(struct shell *shell, const struct words *words)
{
	const struct shell_command *command;
	struct json json = JSON_BEGIN;

	(void)words;
	if (!shell->session->cli->json) {
		shell_print_commands();
		output_flush();
		return STATUS_OK;
	}
	json_object(&json, NULL);
	json_array(&json, "help");
	for (unsigned i = 0; (command = command_at(i)); i++) {
		json_object(&json, NULL);
		json_string(&json, "command", command->name);
		json_string(&json, "operands", command->operands);
		json_string(&json, "text", command->help);
		json_end(&json);
	}
	json_finish(&json);
	return STATUS_OK;
}

static enum status
run_info(struct shell *shell, const struct words *words)
{
	(void)words;
	return info_show(shell->session);
}

static enum status
run_peers(struct shell *shell, const struct words *words)
{
	(void)words;
	return peers_show(shell->session);
}

#define INT_OPERANDS "P V | P all | all"

/* The form that QEMU's ivshmem-client has. */
static enum status
run_int(struct shell *shell, const struct words *words)
{
	bool everybody = strcmp(words->word[0], "all") == 0;
	struct bell bell = {.all_peers = everybody, .all_vectors = everybody};

	if (words->n != (everybody ? 1 : 2))
		return fail_usage("int", INT_OPERANDS);
	if (!everybody) {
		if (operand_peer(words->word[0], &bell) < 0)
			return STATUS_FAILURE;
		bell.all_vectors = strcmp(words->word[1], "all") == 0;
	}
	if (!bell.all_vectors && operand_vector(words->word[1], &bell.vector) < 0)
		return STATUS_FAILURE;
	return ring_bells(shell->session, &bell, 1, 1);
}

static enum status
run_ring(struct shell *shell, const struct words *words)
{
	uint64_t count = 1;
	struct bell bell;

	if (operand_bell(words->word[0], &bell) < 0 ||
		operand_take(
			&(struct argument){"COUNT", .count = &count, .min = 1}, words->word[1]) < 0)
		return STATUS_FAILURE;
	return ring_bells(shell->session, &bell, 1, count);
}

static enum status
run_wait(struct shell *shell, const struct words *words)
{
	bool any = words->n == 0 || strcmp(words->word[0], "any") == 0;
	uint64_t count = 1, timeout = SESSION_FOREVER;
	unsigned vector = 0;

	if ((!any && operand_vector(words->word[0], &vector) < 0) ||
		operand_take(&(struct argument){"COUNT", .count = &count, .min = 1},
			words->word[1]) < 0 ||
		operand_take(&(struct argument){"SECONDS", .ns = &timeout, .max = TIME_YEAR},
			words->word[2]) < 0)
		return STATUS_FAILURE;
	return wait_for_rings(shell->session, any ? IVSHMEM_ANY_VECTOR : (int)vector, count,
		session_deadline(timeout));
}

static enum status
run_read(struct shell *shell, const struct words *words)
{
	uint64_t offset = 0, length = 0;

	if (operand_take(&(struct argument){"OFFSET", .size = &offset}, words->word[0]) < 0 ||
		operand_take(&(struct argument){"LENGTH", .size = &length}, words->word[1]) < 0)
		return STATUS_FAILURE;
	return memory_dump(shell->session, offset, length);
}

static enum status
run_text(struct shell *shell, const struct words *words)
{
	uint64_t offset = 0;

	if (operand_take(&(struct argument){"OFFSET", .size = &offset}, words->word[0]) < 0)
		return STATUS_FAILURE;
	return memory_text(shell->session, offset, MEMORY_TO_END);
}

static enum status
run_write(struct shell *shell, const struct words *words)
{
	uint64_t offset = 0;

	if (operand_take(&(struct argument){"OFFSET", .size = &offset}, words->word[0]) < 0)
		return STATUS_FAILURE;
	return memory_write(shell->session, offset, words->rest, strlen(words->rest) + 1);
}

static enum status
run_ping(struct shell *shell, const struct words *words)
{
	uint64_t count = PING_COUNT;
	struct bell bell;

	if (operand_single_bell(words->word[0], &bell) < 0 ||
		operand_take(&(struct argument){"COUNT", .count = &count, .min = 1,
				     .max = PING_COUNT_MAX},
			words->word[1]) < 0)
		return STATUS_FAILURE;
	return ping_peer(shell->session, &bell, count, 0, PING_TIMEOUT_NS);
}

static enum status
run_echo(struct shell *shell, const struct words *words)
{
	uint64_t count = UINT64_MAX;
	struct bell bell;

	if (operand_single_bell(words->word[0], &bell) < 0 ||
		operand_take(
			&(struct argument){"COUNT", .count = &count, .min = 1}, words->word[1]) < 0)
		return STATUS_FAILURE;
	return echo_peer(shell->session, &bell, count, SESSION_FOREVER);
}

static enum status
run_sleep(struct shell *shell, const struct words *words)
{
	uint64_t duration = 0, deadline;

	if (operand_take(&(struct argument){"SECONDS", .ns = &duration, .max = TIME_YEAR},
		    words->word[0]) < 0)
		return STATUS_FAILURE;
	deadline = session_deadline(duration);
	for (;;) {
		unsigned wake = session_step(shell->session, -1, deadline);

		if (wake & SESSION_QUIT)
			return fail("interrupted");
		if (wake & SESSION_TIMEOUT)
			return STATUS_OK;
	}
}

static enum status
run_counts(struct shell *shell, const struct words *words)
{
	const struct session *session = shell->session;
	struct json json = JSON_BEGIN;
	unsigned vectors;

	(void)words;
	if (session_check_attached(session) != STATUS_OK)
		return STATUS_FAILURE;
	vectors = ivshmem_vectors(session->client);
	if (!session->cli->json) {
		for (unsigned i = 0; i < vectors; i++)
			print_line("vector %u received %" PRIu64, i, session->vectors[i].received);
		if (vectors == 0)
			print_line("no vectors");
		return STATUS_OK;
	}
	json_object(&json, NULL);
	json_array(&json, "received");
	for (unsigned i = 0; i < vectors; i++)
		json_number(&json, NULL, session->vectors[i].received);
	json_finish(&json);
	return STATUS_OK;
}

static enum status
run_say(struct shell *shell, const struct words *words)
{
	struct json json = JSON_BEGIN;

	if (!shell->session->cli->json) {
		print_line("%s", words->rest);
		return STATUS_OK;
	}
	json_object(&json, NULL);
	json_string(&json, "say", words->rest);
	json_finish(&json);
	return STATUS_OK;
}

static enum status
run_quit(struct shell *shell, const struct words *words)
{
	(void)words;
	shell->ended = true;
	return STATUS_OK;
}

static const struct shell_command commands[] = {
	{"help", "", "show this", 0, 0, false, run_help},
	{"?", "", "show this", 0, 0, false, run_help},
	{"info", "", "what we are attached to", 0, 0, false, run_info},
	{"peers", "", "our own id, the other peers and their vectors", 0, 0, false, run_peers},
	{"dump", "", "the same", 0, 0, false, run_peers},
	{"int", INT_OPERANDS, "ring vector V of P, all of P's, or everybody", 1, 2, false, run_int},
	{"ring", "P[:V] [COUNT]", "ring vector V of P, COUNT times (1)", 1, 2, false, run_ring},
	{"wait", "[V|any] [COUNT] [SECONDS]", "wait for COUNT (1) interrupts on V (any)", 0, 3,
		false, run_wait},
	{"read", "OFFSET LENGTH", "dump a part of the memory", 2, 2, false, run_read},
	{"text", "OFFSET", "print the text there, up to its NUL", 1, 1, false, run_text},
	{"write", "OFFSET TEXT...", "store the rest of the line and a NUL", 1, 1, true, run_write},
	{"ping", "P[:V] [COUNT]", "measure COUNT (100) round trips", 1, 2, false, run_ping},
	{"echo", "P[:V] [COUNT]", "ring back per ring, COUNT times (for ever)", 1, 2, false,
		run_echo},
	{"sleep", "SECONDS", "wait, printing events", 1, 1, false, run_sleep},
	{"counts", "", "interrupts so far on each of our vectors", 0, 0, false, run_counts},
	{"say", "TEXT...", "print the rest of the line", 0, 0, true, run_say},
	{"quit", "", "end", 0, 0, false, run_quit},
	{"exit", "", "end", 0, 0, false, run_quit},
};

static const struct shell_command *
command_at(unsigned index)
{
	return index < sizeof(commands) / sizeof(commands[0]) ? &commands[index] : NULL;
}

enum status
shell_execute(struct shell *shell, char *line)
{
	const struct shell_command *command;
	struct words words = {.n = 0};
	char *name, *word;

	name = next_word(&line);
	if (!name)
		return STATUS_OK;
	for (unsigned i = 0; (command = command_at(i)); i++) {
		if (strcmp(name, command->name) == 0)
			break;
	}
	if (!command)
		return fail("unknown command '%s': help lists them", name);

	while (words.n < command->max && (word = next_word(&line)))
		words.word[words.n++] = word;
	words.rest = skip_blanks(line);
	if (words.n < command->min || (!command->text && *words.rest))
		return fail_usage(command->name, command->operands);
	return command->run(shell, &words);
}
