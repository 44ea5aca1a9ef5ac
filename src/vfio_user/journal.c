/* SPDX-License-Identifier: BSD-2-Clause */
#include <vfio_user/journal.h>

#include <base/fd.h>
#include <function/record.h>
#include <socket/process.h>
#include <vfio_user/channel.h>
#include <vfio_user/session.h>
#include <wire/log.h>

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/un.h>

/* A program is started with few descriptors. */
#define INHERITED_MAX 1024

/* Besides those of the descriptors that may be open. */
#define MORE_ROWS (1u << 18)

struct record {
	bool negotiated;
	unsigned max_fds;
	uint32_t max_transfer;
	int socket; /* -1: no VMM */
	struct process who;
	unsigned member; /* which one is in use */
	size_t size;     /* of the function's record */
	uint8_t function[FUNCTION_RECORD_MAX];
};

struct journal {
	bool begun, used;
	struct kept kept;
	struct record records[2];
	struct member_kept members[2];
	int inherited[INHERITED_MAX];
	unsigned n_inherited;
};

/* ---- descriptors that are closed later --------------------------------------------------------- */

/* Of this process, whose threads use it with the lock held. */
static struct {
	struct journal *journal;
	int *fds;
	size_t n, room;
} held;

static bool
hold(int fd)
{
	if (held.n == held.room) {
		size_t room = held.room ? 2 * held.room : 64;
		int *fds = reallocarray(held.fds, room, sizeof(*fds));

		/* It stays open until the process ends, or is killed. */
		if (!fds)
			return true;
		held.fds = fds;
		held.room = room;
	}
	held.fds[held.n++] = fd;
	return true;
}

static void
close_held(struct journal *journal)
{
	for (size_t i = 0; i < held.n; i++) {
		for (unsigned k = 0; k < 2; k++)
			wire_log_forget(journal->members[k].wire_log, held.fds[i]);
		close(held.fds[i]);
	}
	held.n = 0;
}

/* ---- life -------------------------------------------------------------------------------------- */

struct journal *
journal_new(void)
{
	struct rlimit limit = {.rlim_cur = 1024};
	struct journal *journal = mmap(NULL, sizeof(*journal), PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (journal == MAP_FAILED)
		return NULL;
	getrlimit(RLIMIT_NOFILE, &limit);
	if (limit.rlim_cur > 1u << 20)
		limit.rlim_cur = 1u << 20;
	/* The kernel's notes must find their pages there. Without this it is only very likely. */
	mlock(&journal->kept, offsetof(struct kept, inbox));
	for (unsigned i = 0; i < 2; i++) {
		struct member_kept *member = &journal->members[i];

		kept_init(&journal->kept);
		journal->records[i].socket = -1;
		member->memory_fd = -1;
		member->wire_log = wire_log_new(2 * (unsigned)limit.rlim_cur + MORE_ROWS);
		if (!member->wire_log) {
			journal_free(journal);
			return NULL;
		}
	}
	return journal;
}

void
journal_free(struct journal *journal)
{
	if (!journal)
		return;
	for (unsigned i = 0; i < 2; i++)
		wire_log_free(journal->members[i].wire_log);
	munmap(journal, sizeof(*journal));
}

void
journal_use(struct journal *journal)
{
	held.journal = journal;
	held.n = 0;
	fd_keep = hold;
}

void
journal_begin(struct journal *journal)
{
	/* A request may be what kills each process that handles it. */
	if (!kept_is_busy(&journal->kept))
		__atomic_store_n(&journal->used, true, __ATOMIC_RELAXED);
	__atomic_store_n(&journal->begun, true, __ATOMIC_RELEASE);
}

bool
journal_has_begun(const struct journal *journal)
{
	return __atomic_load_n(&journal->begun, __ATOMIC_ACQUIRE);
}

bool
journal_was_used(struct journal *journal)
{
	return __atomic_exchange_n(&journal->used, false, __ATOMIC_ACQ_REL);
}

/* ---- which copy is in force --------------------------------------------------------------------- */

static unsigned
current(const struct journal *journal)
{
	return __atomic_load_n(&journal->kept.current, __ATOMIC_ACQUIRE) & KEPT_SESSION_BIT ? 1 : 0;
}

struct member_kept *
journal_member(struct journal *journal)
{
	return &journal->members[journal->records[current(journal)].member];
}

struct member_kept *
journal_spare(struct journal *journal)
{
	return &journal->members[!journal->records[current(journal)].member];
}

struct kept *
journal_kept(struct journal *journal)
{
	return &journal->kept;
}

/* ---- committing ---------------------------------------------------------------------------------- */

static void
write_record(struct journal *journal, const struct journal_state *state)
{
	struct record *record = &journal->records[!current(journal)];
	struct function *function = state->session->function;

	record->negotiated = state->session->negotiated;
	record->max_fds = state->session->max_fds;
	record->max_transfer = state->session->max_transfer;
	record->socket = state->socket;
	record->who = *state->who;
	record->member = (unsigned)(state->member - journal->members);
	record->size = function_record_size(function);
	function_write(function, record->function);
}

/* What was committed is in force: nothing before it can come back. */
static void
settle(struct journal *journal, const struct journal_state *state)
{
	struct member_kept *member = &journal->members[state->member - journal->members];

	if (member->is_rung) {
		memset(member->rung, 0, sizeof(member->rung));
		member->is_rung = false;
	}
	__atomic_store_n(&journal->used, true, __ATOMIC_RELAXED);
	if (held.n > 0)
		close_held(journal);
}

void
journal_commit_request(struct journal *journal, const struct journal_state *state,
	const struct reply *reply, bool end, bool is_access)
{
	unsigned flip = KEPT_STATE_BIT;

	if (!is_access || function_is_touched(state->session->function)) {
		write_record(journal, state);
		flip |= KEPT_SESSION_BIT;
	}
	kept_write(&journal->kept, state->channel, reply, end);
	kept_flip(&journal->kept, flip);
	settle(journal, state);
}

void
journal_commit_session(struct journal *journal, const struct journal_state *state)
{
	write_record(journal, state);
	kept_write(&journal->kept, state->channel, NULL, false);
	kept_flip(&journal->kept, KEPT_STATE_BIT | KEPT_SESSION_BIT);
	settle(journal, state);
}

void
journal_commit_round(struct journal *journal, const struct journal_state *state)
{
	if (function_is_touched(state->session->function)) {
		write_record(journal, state);
		kept_flip(&journal->kept, KEPT_SESSION_BIT);
	}
	settle(journal, state);
}

/* ---- taking over ---------------------------------------------------------------------------------- */

int
journal_socket(struct journal *journal, struct process *ret_who)
{
	const struct record *record = &journal->records[current(journal)];

	*ret_who = record->who;
	return record->socket;
}

int
journal_read(struct journal *journal, struct session *session, struct ivshmem_error *reterr)
{
	const struct record *record = &journal->records[current(journal)];

	session->negotiated = record->negotiated;
	session->max_fds = record->max_fds;
	session->max_transfer = record->max_transfer;
	return function_read(session->function, record->function, record->size, reterr);
}

/* A set of descriptors: a byte for each number. */
struct known {
	bool *fds;
	size_t n;
};

static void
note(int fd, void *data)
{
	struct known *known = data;

	if (fd >= 0 && (size_t)fd < known->n)
		known->fds[fd] = true;
}

static void
note_all(struct journal *journal, struct known *known)
{
	struct record *record = &journal->records[current(journal)];
	struct member_kept *member = journal_member(journal);

	for (unsigned i = 0; i < journal->n_inherited; i++)
		note(journal->inherited[i], known);
	note(record->socket, known);
	function_list(record->function, note, known);
	if (record->socket >= 0)
		kept_list(&journal->kept, note, known);
	note(member->memory_fd, known);
	wire_log_list(member->wire_log, note, known);
}

/* The numbers of the descriptors that are open: how many, at most `max`. */
static size_t
open_fds(int *fds, size_t max)
{
	DIR *directory = opendir("/proc/self/fd");
	struct dirent *entry;
	size_t n = 0;

	if (!directory) {
		for (int fd = 0; n < max && fd < 1 << 20; fd++)
			if (fcntl(fd, F_GETFD) >= 0)
				fds[n++] = fd;
		return n;
	}
	while (n < max && (entry = readdir(directory))) {
		int fd = (int)strtol(entry->d_name, NULL, 10);

		if (entry->d_name[0] != '.' && fd != dirfd(directory))
			fds[n++] = fd;
	}
	closedir(directory);
	return n;
}

void
journal_inherit(struct journal *journal)
{
	journal->n_inherited = (unsigned)open_fds(journal->inherited, INHERITED_MAX);
}

/* Whether `fd` is a connection that `listener` has accepted. */
static bool
is_visitor(int fd, int listener)
{
	struct sockaddr_un theirs = {0}, ours = {0};
	socklen_t theirs_length = sizeof(theirs), ours_length = sizeof(ours);
	int listens = 1;
	socklen_t length = sizeof(listens);

	return listener >= 0 && getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &length) == 0 &&
	       !listens && getsockname(fd, (struct sockaddr *)&theirs, &theirs_length) == 0 &&
	       getsockname(listener, (struct sockaddr *)&ours, &ours_length) == 0 &&
	       theirs_length == ours_length && ours_length > sizeof(ours.sun_family) &&
	       theirs.sun_family == AF_UNIX && memcmp(&theirs, &ours, ours_length) == 0;
}

void
journal_take_over(
	struct journal *journal, int listener, void (*visit)(int fd, void *data), void *data)
{
	struct known known = {.n = 1u << 20};
	int *fds = calloc(known.n, sizeof(*fds));
	size_t n;

	wire_log_rewind(journal_member(journal)->wire_log);
	known.fds = calloc(known.n, sizeof(*known.fds));
	/* Without memory, they stay open. */
	if (fds && known.fds) {
		note_all(journal, &known);
		n = open_fds(fds, known.n);
		for (size_t i = 0; i < n; i++) {
			if (known.fds[fds[i]])
				continue;
			if (is_visitor(fds[i], listener))
				visit(fds[i], data);
			else
				close(fds[i]);
		}
	}
	free(known.fds);
	free(fds);
}
