/* SPDX-License-Identifier: BSD-2-Clause */
#include <trace/trace.h>

#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

/* After so many ticks, the anchor gets another moment: some milliseconds, or seconds. */
#define MOMENT_EVERY (UINT64_C(1) << 26)

static struct trace_entry entries[TRACE_ENTRIES] __attribute__((aligned(64)));

struct trace_anchor trace_anchor __attribute__((used)) = {
	.magic = TRACE_MAGIC,
	.entry_size = sizeof(entries[0]),
	.n_entries = TRACE_ENTRIES,
	.entries.pointer = entries,
	.on = 1,
};

/* ---- threads --------------------------------------------------------------------------------- */

/* 0: not known yet. The TLS model makes sure that a signal handler does not have to allocate it. */
static _Thread_local uint32_t thread __attribute__((tls_model("initial-exec")));

static void
forget_thread(void)
{
	thread = 0;
}

/* Here, because pthread_atfork() must not be called in a signal handler. */
static void __attribute__((constructor)) watch_forks(void)
{
	pthread_atfork(NULL, NULL, forget_thread);
}

/* ---- writing --------------------------------------------------------------------------------- */

static void
store_moment(struct trace_moment *to, const struct trace_moment *moment)
{
	__atomic_store_n(&to->ticks, moment->ticks, __ATOMIC_RELAXED);
	__atomic_store_n(&to->ns, moment->ns, __ATOMIC_RELEASE);
}

static void __attribute__((noinline)) note_moment(uint64_t number)
{
	struct trace_moment now = trace_moment_now();

	if (number == 0)
		store_moment(&trace_anchor.first, &now);
	store_moment(&trace_anchor.last, &now);
}

void
trace_write(uint32_t event, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
	struct trace_entry entry = {.args = {a, b, c, d}};
	struct trace_entry *to;

	entry.number = __atomic_fetch_add(&trace_anchor.next, 1, __ATOMIC_RELAXED);
	if (thread == 0)
		thread = (uint32_t)syscall(SYS_gettid);
	entry.what = (uint64_t)thread << 32 | event;
	entry.ticks = trace_ticks();
	entry.check = trace_check(&entry);
	if (entry.ticks - __atomic_load_n(&trace_anchor.last.ticks, __ATOMIC_RELAXED) >
		MOMENT_EVERY)
		note_moment(entry.number);

	to = &entries[entry.number % TRACE_ENTRIES];
	__atomic_store_n(&to->number, entry.number, __ATOMIC_RELAXED);
	__atomic_store_n(&to->ticks, entry.ticks, __ATOMIC_RELAXED);
	__atomic_store_n(&to->what, entry.what, __ATOMIC_RELAXED);
	for (unsigned i = 0; i < TRACE_ARGS; i++)
		__atomic_store_n(&to->args[i], entry.args[i], __ATOMIC_RELAXED);
	__atomic_store_n(&to->check, entry.check, __ATOMIC_RELEASE);
}

bool
trace_switch(bool on)
{
	return __atomic_exchange_n(&trace_anchor.on, on, __ATOMIC_RELAXED) != 0;
}
