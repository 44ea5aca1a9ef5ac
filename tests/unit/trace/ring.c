/* SPDX-License-Identifier: BSD-2-Clause */
#include <trace/trace.h>

#include <ivshmem/trace.h>

#include <test.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define N_THREADS 6

/* What trace_dump() writes; the caller frees it. */
static char *
dumped(unsigned most)
{
	int fd = CHECK_SYS(memfd_create("dump", MFD_CLOEXEC));
	char *text;
	off_t length;

	CHECK_EQ(trace_dump(fd, most), 0);
	length = CHECK_SYS(lseek(fd, 0, SEEK_END));
	text = calloc(1, (size_t)length + 1);
	CHECK(text);
	CHECK_EQ(pread(fd, text, (size_t)length, 0), length);
	close(fd);
	return text;
}

static unsigned
count_lines(const char *text)
{
	unsigned n = 0;

	for (; *text; text++)
		n += *text == '\n';
	return n;
}

static uint64_t
n_recorded(void)
{
	return __atomic_load_n(&trace_anchor.next, __ATOMIC_RELAXED);
}

TEST(an_event_has_its_time_its_thread_and_its_arguments)
{
	uint64_t before = clock_now(), after, seconds, micros;
	unsigned thread;
	char *text;
	int rest = 0;

	TRACE(client_ring, 3, 65535, 2, -ENOENT);
	after = clock_now();
	text = dumped(0);
	CHECK_EQ(sscanf(text, "%lu.%6lu %u %n", &seconds, &micros, &thread, &rest), 3);
	CHECK_STR(text + rest, "client_ring id=3 peer=65535 vector=2 error=ENOENT\n");
	CHECK_EQ(thread, gettid());
	micros += seconds * 1000000;
	CHECK(micros + 1 >= before / 1000 && micros <= after / 1000 + 1);
	free(text);
}

TEST(arguments_that_are_not_given_are_0)
{
	char *text;

	TRACE(client_attached, -1);
	text = dumped(0);
	CHECK_HAS(text, "client_attached id=-1 vectors=0 size=0x0\n");
	free(text);
}

TEST(the_ring_keeps_the_last_events)
{
	const unsigned n = 3 * TRACE_ENTRIES + 5;
	const char *at;
	char *text;

	for (unsigned i = 0; i < n; i++)
		TRACE(client_peer_left, 0, i);
	at = text = dumped(0);
	CHECK_EQ(count_lines(text), TRACE_ENTRIES);
	for (unsigned i = n - TRACE_ENTRIES; i < n; i++) {
		unsigned peer;

		at = strstr(at, "peer=");
		CHECK(at);
		CHECK_EQ(sscanf(at, "peer=%u", &peer), 1);
		CHECK_EQ(peer, i);
		at++;
	}
	free(text);
}

TEST(only_the_last_ones_are_written)
{
	char *text;

	for (unsigned i = 0; i < 10; i++)
		TRACE(client_peer_left, 0, i);
	text = dumped(3);
	CHECK_EQ(count_lines(text), 3);
	CHECK_HAS(text, "peer=7\n");
	free(text);
	text = dumped(11);
	CHECK_EQ(count_lines(text), 10);
	free(text);
}

TEST(it_can_be_switched_off)
{
	CHECK(ivshmem_trace_enable(false));
	TRACE(client_detached, 1);
	ivshmem_trace_mark("unseen", 0, 0);
	CHECK_EQ(n_recorded(), 0);
	CHECK(!ivshmem_device_trace_enable(true));
	TRACE(client_detached, 1);
	CHECK_EQ(n_recorded(), 1);
}

TEST(applications_have_marks)
{
	char *text;

	ivshmem_trace_mark("frame", 7, 8);
	ivshmem_trace_mark("a text of more than 16 bytes", 1, 2);
	ivshmem_trace_mark("", 0, 0);
	text = dumped(0);
	CHECK_HAS(text, "mark text=\"frame\" a=7 b=8\n");
	CHECK_HAS(text, "mark text=\"a text of more t\" a=1 b=2\n");
	CHECK_HAS(text, "mark text=\"\" a=0 b=0\n");
	free(text);
}

/* ---- what is not whole ----------------------------------------------------------------------- */

static struct trace_entry
entry_now(uint64_t number)
{
	struct trace_entry entry;
	const struct trace_entry *entries = trace_anchor.entries.pointer;

	while (n_recorded() <= number)
		TRACE(client_ring, n_recorded(), n_recorded() + 1, 1, n_recorded() % 7);
	memcpy(&entry, &entries[number % TRACE_ENTRIES], sizeof(entry));
	return entry;
}

/* Each mixture of the words of two events that were in the same place. */
TEST(a_torn_entry_is_recognised)
{
	struct trace_entry old = entry_now(5);
	struct trace_entry new = entry_now(5 + TRACE_ENTRIES);

	CHECK(trace_is_whole(&old, 5) && trace_is_whole(&new, 5 + TRACE_ENTRIES));
	CHECK(!trace_is_whole(&old, 5 + TRACE_ENTRIES) && !trace_is_whole(&new, 5));
	for (unsigned taken = 1; taken < 255; taken++) {
		struct trace_entry mixed;
		uint64_t words[8], from[8], to[8];

		memcpy(from, &old, sizeof(from));
		memcpy(to, &new, sizeof(to));
		for (unsigned i = 0; i < 8; i++)
			words[i] = taken >> i & 1 ? to[i] : from[i];
		memcpy(&mixed, words, sizeof(mixed));
		if (memcmp(words, from, sizeof(words)) == 0 ||
			memcmp(words, to, sizeof(words)) == 0)
			continue;
		CHECK(!trace_is_whole(&mixed, 5) && !trace_is_whole(&mixed, 5 + TRACE_ENTRIES));
	}
}

TEST(memory_that_nobody_wrote_to_is_no_entry)
{
	const struct trace_entry zero = {0};
	struct trace_entry ones;

	memset(&ones, 0xff, sizeof(ones));
	CHECK(!trace_is_whole(&zero, 0));
	CHECK(!trace_is_whole(&ones, UINT64_MAX));
}

TEST(a_dump_leaves_out_what_is_torn)
{
	struct trace_entry *entries;
	char *text;

	for (unsigned i = 0; i < 3; i++)
		TRACE(client_peer_left, 0, i);
	memcpy(&entries, &trace_anchor.entries.pointer, sizeof(entries));
	entries[1].args[1]++;
	text = dumped(0);
	CHECK_EQ(count_lines(text), 2);
	CHECK(!strstr(text, "peer=1\n"));
	CHECK_HAS(text, "peer=2\n");
	free(text);
}

/* ---- threads and processes ------------------------------------------------------------------- */

static atomic_bool ending;

/* Arguments that belong together. */
static void *
write_events(void *data)
{
	unsigned n = test_count(50000);

	(void)data;
	for (unsigned i = 0; i < n; i++)
		TRACE(client_ring, i, i ^ 0x5555, i * 3, -(int)(i % 100) - 200);
	return NULL;
}

static void
check_lines(char *text)
{
	char *next = text;

	while (*next) {
		uint64_t a, b, c;
		int d;
		const char *at = strstr(next, "id=");

		CHECK(at);
		CHECK_EQ(sscanf(at, "id=%lu peer=%lu vector=%lu error=%d\n", &a, &b, &c, &d), 4);
		CHECK_EQ(b, a ^ 0x5555);
		CHECK_EQ(c, a * 3);
		CHECK_EQ(d, -(int)(a % 100) - 200);
		next = strchr(next, '\n') + 1;
	}
}

static void *
read_events(void *data)
{
	(void)data;
	while (!atomic_load_explicit(&ending, memory_order_relaxed)) {
		char *text = dumped(500);

		check_lines(text);
		free(text);
	}
	return NULL;
}

TEST(many_threads_write_and_one_reads)
{
	pthread_t threads[N_THREADS], reader;
	char *text;

	CHECK_EQ(pthread_create(&reader, NULL, read_events, NULL), 0);
	for (unsigned i = 0; i < N_THREADS; i++)
		CHECK_EQ(pthread_create(&threads[i], NULL, write_events, NULL), 0);
	for (unsigned i = 0; i < N_THREADS; i++)
		pthread_join(threads[i], NULL);
	atomic_store_explicit(&ending, true, memory_order_relaxed);
	pthread_join(reader, NULL);
	CHECK_EQ(n_recorded(), (uint64_t)N_THREADS * test_count(50000));
	text = dumped(0);
	check_lines(text);
	/* A thread that was stopped while 4096 others wrote may have spoilt an entry. */
	CHECK(count_lines(text) + N_THREADS >= TRACE_ENTRIES);
	free(text);
}

TEST(a_child_has_what_was_before_and_its_own_thread)
{
	char expected[64];
	char *text;
	pid_t child;
	int status;

	TRACE(client_detached, 1);
	child = CHECK_SYS(fork());
	if (child == 0) {
		TRACE(client_detached, 2);
		text = dumped(0);
		CHECK_EQ(count_lines(text), 2);
		snprintf(expected, sizeof(expected), " %d client_detached id=1\n", (int)getppid());
		CHECK_HAS(text, expected);
		snprintf(expected, sizeof(expected), " %d client_detached id=2\n", (int)getpid());
		CHECK_HAS(text, expected);
		_exit(0);
	}
	CHECK_SYS(waitpid(child, &status, 0));
	CHECK_EQ(status, 0);
	CHECK_EQ(n_recorded(), 1);
}

/* ---- signal handlers ------------------------------------------------------------------------- */

static int null_fd;
static volatile sig_atomic_t n_signals;

static void
on_alarm(int number)
{
	int saved = errno;

	(void)number;
	errno = EDOM;
	TRACE(client_detached, n_signals);
	if (trace_dump(null_fd, 50) == 0 && errno == EDOM)
		n_signals++;
	errno = saved;
}

/* The handler interrupts whatever has locks: malloc(), stdio, and the writing of an event. */
TEST(a_signal_handler_writes_and_dumps)
{
	const struct itimerval often = {{0, 200}, {0, 200}}, never = {{0, 0}, {0, 0}};
	int wanted = (int)test_count(2000);
	FILE *stream;

	null_fd = CHECK_SYS(open("/dev/null", O_WRONLY | O_CLOEXEC));
	stream = fopen("/dev/null", "we");
	CHECK(stream);
	signal(SIGALRM, on_alarm);
	CHECK_SYS(setitimer(ITIMER_REAL, &often, NULL));
	while (n_signals < wanted) {
		void *block = malloc((size_t)(n_signals % 100 + 1) * 1000);

		CHECK(block);
		fprintf(stream, "%p %d\n", block, (int)n_signals);
		TRACE(client_detached, -1);
		free(block);
	}
	CHECK_SYS(setitimer(ITIMER_REAL, &never, NULL));
	fclose(stream);
	close(null_fd);
}

static int crash_fd;

static void
on_fault(int number)
{
	(void)number;
	_exit(ivshmem_trace_dump(crash_fd, 0) == 0 ? 42 : 1);
}

TEST(a_handler_of_a_real_fault_dumps)
{
	char text[256] = "";
	int ends[2], status;
	pid_t child;

	CHECK_SYS(pipe2(ends, O_CLOEXEC));
	child = CHECK_SYS(fork());
	if (child == 0) {
		void *page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		crash_fd = ends[1];
		signal(SIGSEGV, on_fault);
		TRACE(client_lost, 4, -ENODEV);
		*(volatile char *)page = 1;
		_exit(2);
	}
	close(ends[1]);
	CHECK(read(ends[0], text, sizeof(text) - 1) > 0);
	close(ends[0]);
	CHECK_HAS(text, "client_lost id=4 error=ENODEV\n");
	CHECK_SYS(waitpid(child, &status, 0));
	CHECK(WIFEXITED(status));
	CHECK_EQ(WEXITSTATUS(status), 42);
}

TEST(a_pipe_that_nobody_reads_does_not_stop_a_dump)
{
	int ends[2];

	CHECK_SYS(pipe2(ends, O_CLOEXEC));
	for (unsigned i = 0; i < TRACE_ENTRIES; i++)
		TRACE(client_detached, i);
	CHECK_EQ(trace_dump(ends[1], 0), -ETIMEDOUT);
	close(ends[0]);
	signal(SIGPIPE, SIG_IGN);
	CHECK_EQ(trace_dump(ends[1], 0), -EPIPE);
	close(ends[1]);
	CHECK_EQ(trace_dump(ends[1], 0), -EBADF);
}
