/* SPDX-License-Identifier: BSD-2-Clause */
#include <socket/process.h>

#include <test.h>

#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

static const char *
describe(struct process process)
{
	static char text[PROCESS_TEXT_MAX];

	return process_describe(&process, text);
}

static struct process
behind_a_pair(void)
{
	_test_close_pair_ int pair[2];

	CHECK_SYS(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
	return process_behind(pair[0]);
}

TEST(process_user_and_program)
{
	struct process process;
	char expected[PROCESS_TEXT_MAX];

	CHECK_SYS(prctl(PR_SET_NAME, "qemu-system-x86"));
	process = behind_a_pair();
	CHECK_EQ(process.pid, getpid());
	CHECK_EQ(process.uid, getuid());
	snprintf(expected, sizeof(expected), "process %d, user %u, program qemu-system-x86",
		(int)getpid(), (unsigned)getuid());
	CHECK_STR(describe(process), expected);
}

/* What it calls itself is up to it. */
TEST(hostile_names)
{
	static const struct {
		const char *name, *told;
	} names[] = {
		{"a\nb: left", "a?b:?left"},
		{"\033[31m\r\x7f", "??31m??"},
		{"x), user 0", "x???user?0"},
		{"\"quoted\" '\\", "?quoted????"},
		{"\xc3\xa4%s%n", "???s?n"},
		{"\n", "?"},
		{"abcdefghijklmnopqrst", "abcdefghijklmno"},
		{"", ""},
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		CHECK_SYS(prctl(PR_SET_NAME, names[i].name));
		CHECK_STR(behind_a_pair().program, names[i].told);
	}
}

TEST(what_is_not_known)
{
	_test_close_pair_ int pipes[2];
	struct process process;

	CHECK_SYS(pipe(pipes));
	process = process_behind(pipes[0]);
	CHECK_EQ(process.pid, 0);
	CHECK_STR(process.program, "");
	CHECK_STR(describe(process), "process unknown");
	CHECK_STR(describe((struct process){.pid = 5, .uid = 7}), "process 5, user 7");
}

/* The longest there can be. */
TEST(the_text_has_room)
{
	const struct process process = {2147483647, (uid_t)-2, "abcdefghijklmno"};

	CHECK_STR(
		describe(process), "process 2147483647, user 4294967294, program abcdefghijklmno");
}
