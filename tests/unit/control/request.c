/* SPDX-License-Identifier: BSD-2-Clause */

/* What a client of a control socket sends, and the answer it gets; the socket is tested in
 * tests/protocol. */

#include <control/control.h>

#include <base/error.h>

#include <ivshmem/common.h>

#include <test.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int
echo(void *data, const struct control_request *request, FILE *out, struct ivshmem_error *reterr)
{
	unsigned *n = data;

	(void)reterr;
	*n = request->n;
	for (unsigned i = 0; i < request->n; i++)
		fprintf(out, "<%s>", request->words[i]);
	return 0;
}

static int
fail(void *data, const struct control_request *request, FILE *out, struct ivshmem_error *reterr)
{
	(void)data;
	(void)request;
	fputs("this is as far as it came", out);
	return error_set(reterr, -ENOENT, "it says \"no\"");
}

static unsigned n_words;
static const struct control_command commands[] = {
	{"echo", "[A] [B]", 0, 2, echo}, {"fail", "", 0, 0, fail}};
static const struct control_config config = {
	.commands = commands, .n_commands = 2, .data = &n_words};

static void
check_answer(const char *line, size_t length, const char *expected)
{
	size_t answer_length;
	char *answer = control_answer(&config, line, length, &answer_length);

	CHECK(answer);
	CHECK_STR(answer, expected);
	CHECK_EQ(answer_length, strlen(expected));
	free(answer);
}

static void
check_line(const char *line, const char *expected)
{
	check_answer(line, strlen(line), expected);
}

TEST(words)
{
	check_line("echo", "<echo>");
	check_line("  echo   one\r", "<echo><one>");
	check_line("echo one two ", "<echo><one><two>");
	CHECK_EQ(n_words, 3);
}

TEST(refusals_leave_nothing_else_in_the_answer)
{
	check_line("fail", "{\"error\":\"it says \\\"no\\\"\",\"code\":\"ENOENT\"}\n");
	check_line("fail now", "{\"error\":\"the request is: fail\",\"code\":\"EINVAL\"}\n");
	check_line(
		"echo 1 2 3", "{\"error\":\"the request is: echo [A] [B]\",\"code\":\"EINVAL\"}\n");
	check_line("shout",
		"{\"error\":\"there is no request 'shout'; there are: echo, fail\",\"code\":\"EOPNOTSUPP\"}\n");
	check_line("", "{\"error\":\"the request is empty\",\"code\":\"EINVAL\"}\n");
	check_line("a b c d e",
		"{\"error\":\"the request has more than 4 words\",\"code\":\"EINVAL\"}\n");
}

TEST(the_longest_line)
{
	char line[CONTROL_LINE_MAX];
	struct control_request request;

	memset(line, 'x', sizeof(line));
	CHECK_EQ(control_request_parse(&request, line, sizeof(line) - 1, NULL), 0);
	CHECK_EQ(strlen(request.words[0]), sizeof(line) - 1);
	CHECK_EQ(control_request_parse(&request, line, sizeof(line), NULL), -EINVAL);
}

TEST(bytes_that_are_no_text)
{
	struct control_request request;

	for (int c = 0; c < 256; c++) {
		char line[] = {'a', (char)c, 'b'};
		int r = control_request_parse(&request, line, sizeof(line), NULL);

		CHECK_EQ(r, c >= ' ' && c <= '~' ? 0 : -EINVAL);
	}
}
