/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef HARNESS_TEST_H
#define HARNESS_TEST_H

/*
 * The test harness. A test program is one or more files with
 *
 *	TEST(name)
 *	{
 *		CHECK(...);
 *	}
 *
 * linked with harness/test.c, which has main(). Each test runs in its own fork and process group.
 * It fails if a check fails, if it dies, calls exit(), takes longer than its time-out, ends with
 * other descriptors open than it began with, or leaves processes behind. Output is TAP; what a
 * failing test wrote to stdout or stderr becomes TAP comments.
 *
 * What all tests of a program begin and end with is in test_before() and test_after(). A program has
 * them if it defines them.
 *
 *	program [--list] [--verbose] [--no-fork] [PATTERN...]
 *
 * PATTERN is a test's name, or a shell pattern. --no-fork is for a debugger: one test, in this
 * process, without time-out. --verbose shows what passing tests wrote, too.
 * TEST_TIMEOUT_FACTOR in the environment multiplies all time-outs (valgrind, slow machines), and
 * TEST_COUNT_DIVISOR makes tests that repeat something do so less often.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct test {
	const char *name;
	const char *file;
	int line;
	void (*run)(void);
	unsigned timeout_s;    /* 0: TEST_TIMEOUT_S */
	void (*begin)(void);   /* called before `run`; NULL: nothing */
	void (*end)(void);     /* called after it, unless a check failed; NULL: nothing */
	bool manual;           /* runs only if named exactly */
	const char *must_fail; /* NULL, or: it has to fail, and its report has to contain this */
};

#define TEST_TIMEOUT_S 30

/* Pointers, not structs: padding between a section's objects cannot get in the way. */
#define TEST_WITH(test_name, ...)                                                                  \
	static void test_name(void);                                                               \
	static const struct test test_name##_test = {.name = #test_name,                           \
		.file = __FILE__,                                                                  \
		.line = __LINE__,                                                                  \
		.run = (test_name),                                                                \
		__VA_ARGS__};                                                                      \
	static const struct test *const test_name##_entry                                          \
		__attribute__((section("tests"), used)) = &test_name##_test;                       \
	static void test_name(void)

#define TEST(test_name) TEST_WITH(test_name, .timeout_s = 0)

/* They run in the fork of each test; what test_after() finds counts as the test's. */
void test_before(void) __attribute__((weak));
void test_after(void) __attribute__((weak));

/* A test that must fail, for the given reason: `reason` has to occur in its report. */
#define FAIL_TEST(test_name, reason) TEST_WITH(test_name, .must_fail = (reason))

/*
 * Checks end the test at once. They also work in processes that the test forked: the failure
 * counts, and ends that process.
 */
#define CHECK(expression)                                                                          \
	do {                                                                                       \
		if (!(expression))                                                                 \
			test_fail(__FILE__, __LINE__, "CHECK(%s)", #expression);                   \
	} while (0)

/* Integers of any type and signedness, compared as the numbers they are. */
#define CHECK_EQ(a, b) test_check_eq(__FILE__, __LINE__, #a, TEST_NUMBER(a), #b, TEST_NUMBER(b))

/* Both may be NULL, which equals only NULL. */
#define CHECK_STR(a, b) test_check_str(__FILE__, __LINE__, #a, (a), #b, (b))

/* `length` bytes. */
#define CHECK_MEM(a, b, length) test_check_mem(__FILE__, __LINE__, #a, (a), #b, (b), (length))

/* A text that contains these words. */
#define CHECK_HAS(text, words) test_check_has(__FILE__, __LINE__, #text, (text), (words))

/* A libc call that fails, with this errno. */
#define CHECK_ERRNO(call, code)                                                                    \
	do {                                                                                       \
		test_check_eq(                                                                     \
			__FILE__, __LINE__, #call, TEST_NUMBER(call), "-1", TEST_NUMBER(-1));      \
		test_check_eq(__FILE__, __LINE__, "errno", TEST_NUMBER(errno), #code,              \
			TEST_NUMBER(code));                                                        \
	} while (0)

/* A libc call that returns -1 and errno on failure; gives its value. */
#define CHECK_SYS(call)                                                                            \
	({                                                                                         \
		__auto_type test_value_ = (call);                                                  \
		if (test_value_ == -1)                                                             \
			test_fail_errno(__FILE__, __LINE__, #call);                                \
		test_value_;                                                                       \
	})

#define FAIL(...) test_fail(__FILE__, __LINE__, __VA_ARGS__)

/* End the test without verdict; printf-like. */
#define SKIP(...) test_skip(__VA_ARGS__)

/* Close a descriptor (-1: none), which is -1 then. */
void test_close(int *fd);
void test_close_pair(int (*pair)[2]);

/* Closed at the end of the scope, and perhaps used for nothing else: a descriptor, two of them. */
#define _test_close_      __attribute__((cleanup(test_close), unused))
#define _test_close_pair_ __attribute__((cleanup(test_close_pair), unused))

/* This test's own directory; removed with all that is in it, however the test ends. */
const char *test_directory(void);

/* The name of a shared memory object that nobody else has; the object, if there is one, is removed
 * however the test ends. */
const char *test_object(void);

/* An eventfd that reading does not wait for. It is closed when the test ends, and not before. */
int test_eventfd(void);

/* fork(), and the child dies with its parent. */
pid_t test_fork(void);

/* Reap `pid` and demand that it exited with 0. */
void test_join(pid_t pid);

/*
 * For tests that do something thousands of times: how often, on this machine. `times`, or fewer if
 * TEST_COUNT_DIVISOR in the environment says so; never 0.
 */
unsigned test_count(unsigned times);

/* For what is waited for: `ms`, or longer if TEST_TIMEOUT_FACTOR says so. */
unsigned test_patience_ms(unsigned ms);

/* How many descriptors this process has open. */
unsigned test_open_fds(void);

/* From now on, at most so many more descriptors can be opened; and again as before. */
void test_limit_fds(unsigned more);
void test_unlimit_fds(void);

/*
 * Give up being root, as a user that nobody else is: what is counted per user then counts this test
 * only. Skips the test if that is impossible; does nothing if we are not root.
 */
void test_drop_root(void);

/* ---- the inside of the macros --------------------------------------------------------------- */

struct test_number {
	bool negative;
	uintmax_t bits;
};

static inline struct test_number
test_number_signed(intmax_t value)
{
	return (struct test_number){.negative = value < 0, .bits = (uintmax_t)value};
}

static inline struct test_number
test_number_unsigned(uintmax_t value)
{
	return (struct test_number){.negative = false, .bits = value};
}

#define TEST_NUMBER(value)                                                                         \
	_Generic((value), _Bool                                                                    \
		 : test_number_unsigned, unsigned                                                  \
		 : test_number_unsigned, unsigned long                                             \
		 : test_number_unsigned, unsigned long long                                        \
		 : test_number_unsigned, default                                                   \
		 : test_number_signed)(value)

_Noreturn void test_fail(const char *file, int line, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
_Noreturn void test_fail_errno(const char *file, int line, const char *what);
_Noreturn void test_skip(const char *format, ...) __attribute__((format(printf, 1, 2)));
void test_check_eq(const char *file, int line, const char *a_text, struct test_number a,
	const char *b_text, struct test_number b);
void test_check_str(const char *file, int line, const char *a_text, const char *a,
	const char *b_text, const char *b);
void test_check_mem(const char *file, int line, const char *a_text, const void *a,
	const char *b_text, const void *b, size_t length);
void test_check_has(
	const char *file, int line, const char *name, const char *text, const char *words);

#endif
