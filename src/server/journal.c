/* SPDX-License-Identifier: BSD-2-Clause */
#include <server/journal.h>

#include <server/peer.h>
#include <server/record.h>

#include <base/fd.h>

#include <ivshmem/abi.h>

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* For all that happens between two calls of journal_make_room(): a seat and its holder, or a
 * member. */
#define MARGIN (4 * ((uint32_t)IVSHMEM_MAX_VECTORS + 8))

/* A checkpoint that failed is tried again after so many words. */
#define RETRY_WORDS 4096

#define BOOKS  2
#define NO_ONE UINT32_MAX

struct book {
	int file; /* the record, and then the numbers of its descriptors */
	uint64_t size, n_fds;
	uint32_t n; /* words in the row */
	uint32_t row[JOURNAL_ROW];
};

struct journal {
	/* What the kernel writes: it must never have to wait for the page. */
	struct mmsghdr headers[WIRE_SEND_MAX];
	uint32_t counts; /* the book; or NO_ONE */
	uint32_t told;   /* where the last TELLING has how many were sent */
	bool giving;     /* it is over if anything was sent */
	uint32_t retry;  /* no checkpoint before the row is so long */
	struct journal_notes notes;
	int (*write)(void *data, struct record *ret_record); /* of the process that serves */
	void *data;
	struct book books[BOOKS];
};

int
journal_new(struct journal **ret_journal)
{
	struct journal *journal = mmap(NULL, sizeof(*journal), PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (journal == MAP_FAILED)
		return -errno;
	journal->counts = NO_ONE;
	journal->notes.bag = -1;
	for (unsigned i = 0; i < BOOKS; i++)
		journal->books[i].file = -1;
	for (unsigned i = 0; i < BOOKS; i++) {
		journal->books[i].file = memfd_create("ivshmem-journal", MFD_CLOEXEC);
		if (journal->books[i].file < 0) {
			int r = -errno;

			journal_free(journal);
			return r;
		}
	}
	*ret_journal = journal;
	return 0;
}

void
journal_free(struct journal *journal)
{
	if (!journal)
		return;
	for (unsigned i = 0; i < BOOKS; i++)
		fd_close(journal->books[i].file);
	munmap(journal, sizeof(*journal));
}

/* ---- checkpoints ------------------------------------------------------------------------------- */

static int
write_all(int file, const void *bytes, size_t size, uint64_t at)
{
	for (size_t done = 0; done < size;) {
		ssize_t n = pwrite(
			file, (const uint8_t *)bytes + done, size - done, (off_t)(at + done));

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0)
			done += (size_t)n;
	}
	return 0;
}

static int
read_all(int file, void *bytes, size_t size, uint64_t at)
{
	for (size_t done = 0; done < size;) {
		ssize_t n = pread(file, (uint8_t *)bytes + done, size - done, (off_t)(at + done));

		if (n == 0)
			return -EIO;
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0)
			done += (size_t)n;
	}
	return 0;
}

/* Into the book that does not count. */
static int
checkpoint(struct journal *journal)
{
	uint32_t number = journal->counts == 0 ? 1 : 0;
	struct book *book = &journal->books[number];
	struct record record = {0};
	int r = journal->write(journal->data, &record);

	if (r == 0 && ftruncate(book->file, 0) < 0)
		r = -errno;
	if (r == 0)
		r = write_all(book->file, record.bytes, record.size, 0);
	if (r == 0)
		r = write_all(book->file, record.fds, record.n_fds * sizeof(int), record.size);
	book->size = record.size;
	book->n_fds = record.n_fds;
	book->n = 0;
	record_done(&record);
	if (r < 0)
		return r;
	journal->retry = JOURNAL_ROW / 2;
	journal->giving = false;
	__atomic_store_n(&journal->counts, number, __ATOMIC_RELEASE);
	return 0;
}

int
journal_begin(
	struct journal *journal, int (*write)(void *data, struct record *ret_record), void *data)
{
	/* If the limit forbids it, the page is there in all likelihood. */
	mlock(journal, offsetof(struct journal, books));
	journal->write = write;
	journal->data = data;
	return checkpoint(journal);
}

void
journal_end(struct journal *journal)
{
	if (journal)
		__atomic_store_n(&journal->counts, NO_ONE, __ATOMIC_RELEASE);
}

bool
journal_counts(const struct journal *journal)
{
	return journal && __atomic_load_n(&journal->counts, __ATOMIC_ACQUIRE) != NO_ONE &&
	       !(journal->giving && journal->headers[0].msg_len > 0);
}

void
journal_make_room(struct journal *journal)
{
	uint32_t n;

	if (!journal_counts(journal))
		return;
	n = journal->books[journal->counts].n;
	if (n < journal->retry || checkpoint(journal) == 0)
		return;
	/* The server lives on, but not longer than its process. */
	if (n > JOURNAL_ROW - MARGIN)
		journal_end(journal);
	journal->retry = n + RETRY_WORDS;
}

/* ---- entries ----------------------------------------------------------------------------------- */

static void
put(struct journal *journal, const uint32_t *words, size_t n, const struct peer *of)
{
	size_t n_fds = of ? of->n_vectors : 0;
	struct book *book;

	if (!journal_counts(journal))
		return;
	book = &journal->books[journal->counts];
	if (JOURNAL_ROW - book->n < n + n_fds) {
		journal_end(journal);
		return;
	}
	memcpy(book->row + book->n, words, n * sizeof(*words));
	for (size_t i = 0; i < n_fds; i++)
		book->row[book->n + n + i] = (uint32_t)of->vectors[i];
	__atomic_store_n(&book->n, book->n + (uint32_t)(n + n_fds), __ATOMIC_RELEASE);
}

void
journal_prepared(struct journal *journal, uint16_t id)
{
	const uint32_t entry[] = {PREPARED, id};

	put(journal, entry, 2, NULL);
}

void
journal_seat(struct journal *journal, const struct peer *seat)
{
	const uint32_t entry[] = {
		SEAT, seat->id, seat->view.kind, seat->view.circle, seat->n_vectors};

	put(journal, entry, 5, seat);
}

void
journal_joined(struct journal *journal, const struct peer *peer, int socket)
{
	bool member = peer->kind == PEER_MEMBER;
	const uint32_t entry[] = {JOINED, peer->kind, (uint32_t)socket, peer->id, peer->read_only,
		peer->view.kind, peer->view.circle, member ? peer->n_vectors : 0};

	put(journal, entry, 8, member ? peer : NULL);
}

/* Before the entry, which says that these lengths count. */
static void
clear_lengths(struct journal *journal)
{
	for (unsigned i = 0; i < WIRE_SEND_MAX; i++)
		journal->headers[i].msg_len = 0;
}

void
journal_telling(struct journal *journal, int socket, unsigned n)
{
	const uint32_t entry[] = {TELLING, (uint32_t)socket, n, JOURNAL_UNKNOWN};

	if (!journal_counts(journal))
		return;
	clear_lengths(journal);
	journal->told = journal->books[journal->counts].n + 3;
	put(journal, entry, 4, NULL);
}

void
journal_told(struct journal *journal, int sent)
{
	if (journal_counts(journal))
		__atomic_store_n(&journal->books[journal->counts].row[journal->told],
			sent < 0 ? 0 : (uint32_t)sent, __ATOMIC_RELEASE);
}

void
journal_leaving(struct journal *journal, int socket)
{
	const uint32_t entry[] = {LEAVING, (uint32_t)socket};

	put(journal, entry, 2, NULL);
}

void
journal_refusing(struct journal *journal, int socket)
{
	const uint32_t entry[] = {REFUSING, (uint32_t)socket};

	if (journal_counts(journal))
		clear_lengths(journal);
	put(journal, entry, 2, NULL);
}

void
journal_closed(struct journal *journal)
{
	const uint32_t entry = CLOSED;

	put(journal, &entry, 1, NULL);
}

struct mmsghdr *
journal_giving(struct journal *journal)
{
	if (!journal_counts(journal))
		return NULL;
	clear_lengths(journal);
	__atomic_store_n(&journal->giving, true, __ATOMIC_RELEASE);
	return journal->headers;
}

struct mmsghdr *
journal_headers(struct journal *journal)
{
	return journal_counts(journal) ? journal->headers : NULL;
}

/* ---- reading ----------------------------------------------------------------------------------- */

int
journal_read(const struct journal *journal, struct record *ret_record)
{
	const struct book *book;
	struct record record = {0};
	int r;

	if (!journal_counts(journal))
		return -ENODATA;
	book = &journal->books[journal->counts];
	record.bytes = malloc((size_t)book->size + 1);
	record.fds = calloc((size_t)book->n_fds + 1, sizeof(int));
	if (!record.bytes || !record.fds) {
		record_done(&record);
		return -ENOMEM;
	}
	record.size = (size_t)book->size;
	record.n_fds = (size_t)book->n_fds;
	r = read_all(book->file, record.bytes, record.size, 0);
	if (r == 0)
		r = read_all(book->file, record.fds, record.n_fds * sizeof(int), record.size);
	if (r < 0)
		record_done(&record);
	else
		*ret_record = record;
	return r;
}

const uint32_t *
journal_row(const struct journal *journal, uint32_t *ret_n)
{
	const struct book *book = &journal->books[journal->counts];

	*ret_n = __atomic_load_n(&book->n, __ATOMIC_ACQUIRE);
	return book->row;
}

uint32_t
journal_n_sent(const struct journal *journal)
{
	uint32_t bytes = 0;

	for (unsigned i = 0; i < WIRE_SEND_MAX; i++)
		bytes += journal->headers[i].msg_len;
	return bytes / IVSHMEM_WIRE_MESSAGE_SIZE;
}

bool
journal_owns(const struct journal *journal, int fd)
{
	return fd == journal->books[0].file || fd == journal->books[1].file;
}

struct journal_notes *
journal_notes(struct journal *journal)
{
	return &journal->notes;
}
