/* SPDX-License-Identifier: BSD-2-Clause */
#include "help.h"

#include <stdio.h>
#include <string.h>

#define WIDTH         80
#define OPTION_INDENT 28

/* Wrap words into lines. The first line begins at column `column`, the others are indented. */
static void
print_wrapped(const char *text, size_t length, size_t column, size_t indent)
{
	const char *end = text + length;
	bool first = true;

	while (text < end) {
		const char *space = memchr(text, ' ', (size_t)(end - text));
		size_t word = space ? (size_t)(space - text) : (size_t)(end - text);

		if (!first && column + 1 + word > WIDTH) {
			printf("\n%*s", (int)indent, "");
			column = indent;
		} else if (!first) {
			putchar(' ');
			column++;
		}
		fwrite(text, 1, word, stdout);
		column += word;
		text += word + 1;
		first = false;
	}
	putchar('\n');
}

/* Print paragraphs, one per newline. One that begins with a blank is a line as it is. */
static void
print_paragraphs(const char *text, size_t indent)
{
	while (*text) {
		size_t length = strcspn(text, "\n");

		printf("%*s", (int)indent, "");
		if (*text == ' ')
			printf("%.*s\n", (int)length, text);
		else
			print_wrapped(text, length, indent, indent);
		text += length;
		if (*text == '\n')
			text++;
		/* An empty line between paragraphs, but not before a line that is printed as it is. */
		if (*text && *text != ' ')
			putchar('\n');
	}
}

/* Print lines as they are, each with the same indentation. */
static void
print_indented(const char *text)
{
	while (*text) {
		size_t length = strcspn(text, "\n");

		printf("  %.*s\n", (int)length, text);
		text += length;
		if (*text == '\n')
			text++;
	}
}

static void
print_options(const struct argument *options, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		char left[64], letter[] = "    ";

		if (options[i].letter) {
			letter[0] = '-';
			letter[1] = options[i].letter;
			letter[2] = ',';
		}
		snprintf(left, sizeof(left), "  %s--%s%s%s", letter, options[i].name,
			options[i].takes ? " " : "", options[i].takes ? options[i].takes : "");
		if (strlen(left) < OPTION_INDENT)
			printf("%-*s", OPTION_INDENT, left);
		else
			printf("%s\n%*s", left, OPTION_INDENT, "");
		print_wrapped(
			options[i].help, strlen(options[i].help), OPTION_INDENT, OPTION_INDENT);
	}
}

/* The usual ones, and what there is to say beyond them; or others. */
static void
print_statuses(bool usual, const char *statuses)
{
	puts("\nExit codes:");
	if (usual)
		puts("  0 success, 1 failure (a message is on stderr), 2 wrong usage, 3 time-out");
	if (statuses) {
		fputs("  ", stdout);
		print_wrapped(statuses, strlen(statuses), 2, 2);
	}
}

void
help_program(const struct command *const *commands, size_t n_commands,
	const struct argument *options, unsigned n_options)
{
	puts("usage: ivshmem [OPTION]... COMMAND [OPTION]... [OPERAND]...\n"
	     "\n"
	     "Inter-VM shared memory from the command line: see who shares it, read and write\n"
	     "it, ring other peers and be rung by them. The same commands work on a host,\n"
	     "attached to an ivshmem server, and inside a guest, with its ivshmem PCI device.\n"
	     "\n"
	     "Commands:");
	for (size_t i = 0; i < n_commands; i++) {
		char usage[64];

		snprintf(usage, sizeof(usage), "%s %s", commands[i]->name, commands[i]->operands);
		printf("  %-25s %s\n", usage, commands[i]->summary);
	}
	puts("\"ivshmem COMMAND --help\" describes a command with its options.\n"
	     "\n"
	     "Targets:\n"
	     "  unix:PATH                 a server's socket; if PATH begins with /, ./ or ../,\n"
	     "                            unix: can be left out\n"
	     "  observe:PATH              a server's socket for observers, which take no id\n"
	     "  pci:ADDRESS               a PCI device of this machine, such as\n"
	     "                            pci:0000:00:05.0 or pci:00:05.0\n"
	     "  pci:auto                  the only ivshmem device of this machine\n"
	     "  dev:NODE                  a node of our driver, such as dev:/dev/ivshmem0\n"
	     "  shm:NAME, file:PATH       shared memory without a server, as guests with a\n"
	     "                            plain device have it; add ,ro for reading only\n"
	     "Without --target, the target is that of the environment variable IVSHMEM_TARGET;\n"
	     "without this variable, it is unix:/tmp/ivshmem_socket if there is such a socket,\n"
	     "else pci:auto if there is a device.\n"
	     "\n"
	     "Options, also accepted after the command:");
	print_options(options, n_options);
	print_statuses(true, NULL);
	puts("\n"
	     "Examples:\n"
	     "  ivshmem peers\n"
	     "  ivshmem write 0 --nul 'hello' && ivshmem ring 1:1\n"
	     "  ivshmem -t pci:auto wait --vector 1 --timeout 10 && ivshmem read 0 --text");
}

void
help_command(
	const struct command *command, const struct argument *global_options, unsigned n_global)
{
	printf("usage: ivshmem [OPTION]... %s [OPTION]...%s%s\n\n", command->name,
		command->operands[0] ? " " : "", command->operands);
	print_paragraphs(command->description, 0);
	if (command->print_more) {
		puts("");
		command->print_more();
	}
	if (command->n_options > 0) {
		puts("\nOptions:");
		print_options(command->options, command->n_options);
	}
	puts("\nGlobal options, described by \"ivshmem --help\":");
	for (unsigned i = 0; i < n_global; i++) {
		printf("%s--%s%s%s", i % 4 == 0 ? "  " : ", ", global_options[i].name,
			global_options[i].takes ? " " : "",
			global_options[i].takes ? global_options[i].takes : "");
		if (i % 4 == 3 || i + 1 == n_global)
			putchar('\n');
	}
	if (command->json) {
		puts("\nWith --json:");
		print_indented(command->json);
	}
	print_statuses(command->own_failure == 0, command->statuses);
	puts("\nExamples:");
	print_indented(command->examples);
}
