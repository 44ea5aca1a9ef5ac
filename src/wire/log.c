/* SPDX-License-Identifier: BSD-2-Clause */
#include <wire/log.h>

#include <base/fd.h>

#include <ivshmem/abi.h>

#include <endian.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>

/* Instead of a descriptor: it has been closed. */
#define CLOSED -2

/* The greeting: no row of it is ever dropped. */
#define GREETING 3

struct row {
	uint8_t bytes[IVSHMEM_WIRE_MESSAGE_SIZE];
	int fd; /* -1: none */
	uint32_t length;
};

struct head {
	struct mmsghdr message;
	struct iovec iov;
	uint8_t bytes[IVSHMEM_WIRE_MESSAGE_SIZE];
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(WIRE_RECEIVE_FDS * sizeof(int))];
};

/* The word: how many rows there are, in which table, and which head is next. */
#define TABLE_BIT   1u
#define HEAD_BIT    2u
#define COUNT_SHIFT 2

struct wire_log {
	uint64_t word;
	bool begun;
	int socket;
	unsigned capacity; /* of each table */
	uint64_t at;       /* the next row that this process reads */
	struct head heads[2];
	struct row rows[]; /* two tables */
};

static size_t
size_of(unsigned rows)
{
	return sizeof(struct wire_log) + 2 * (size_t)rows * sizeof(struct row);
}

static uint64_t
get_word(const struct wire_log *log)
{
	return __atomic_load_n(&log->word, __ATOMIC_ACQUIRE);
}

static void
set_word(struct wire_log *log, uint64_t count, unsigned table, unsigned head)
{
	__atomic_store_n(&log->word,
		count << COUNT_SHIFT | (table ? TABLE_BIT : 0) | (head ? HEAD_BIT : 0),
		__ATOMIC_RELEASE);
}

static unsigned
table_of(uint64_t word)
{
	return word & TABLE_BIT ? 1 : 0;
}

static unsigned
head_of(uint64_t word)
{
	return word & HEAD_BIT ? 1 : 0;
}

static struct row *
rows_of(struct wire_log *log, unsigned table)
{
	return log->rows + (size_t)table * log->capacity;
}

/* ---- life ------------------------------------------------------------------------------------ */

struct wire_log *
wire_log_new(unsigned rows)
{
	/* Memory is taken when a row is written. */
	struct wire_log *log = mmap(NULL, size_of(rows), PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (log == MAP_FAILED)
		return NULL;
	/* The kernel's notes must find their page there. Without this it is only very likely. */
	mlock(log, sizeof(*log));
	log->capacity = rows;
	wire_log_reset(log);
	return log;
}

void
wire_log_free(struct wire_log *log)
{
	if (log)
		munmap(log, size_of(log->capacity));
}

void
wire_log_reset(struct wire_log *log)
{
	log->begun = false;
	log->socket = -1;
	log->at = 0;
	log->heads[0].message.msg_len = log->heads[1].message.msg_len = 0;
	set_word(log, 0, 0, 0);
}

void
wire_log_begin(struct wire_log *log, int socket)
{
	wire_log_reset(log);
	log->socket = socket;
	log->begun = true;
}

void
wire_log_end(struct wire_log *log)
{
	__atomic_store_n(&log->socket, -1, __ATOMIC_RELEASE);
}

bool
wire_log_has_begun(const struct wire_log *log)
{
	return log->begun;
}

int
wire_log_socket(const struct wire_log *log)
{
	return log->socket;
}

void
wire_log_rewind(struct wire_log *log)
{
	log->at = 0;
}

bool
wire_log_is_behind(const struct wire_log *log)
{
	uint64_t word = get_word(log);

	return log->at < word >> COUNT_SHIFT ||
	       (log->socket >= 0 && log->heads[head_of(word)].message.msg_len > 0);
}

/* ---- room ------------------------------------------------------------------------------------ */

static int64_t
number_of(const struct row *row)
{
	uint64_t number;

	memcpy(&number, row->bytes, sizeof(number));
	return (int64_t)le64toh(number);
}

/* A message that came in pieces: then nothing is dropped. */
static bool
has_pieces(struct wire_log *log, uint64_t word)
{
	const struct row *rows = rows_of(log, table_of(word));

	for (uint64_t i = 0; i < word >> COUNT_SHIFT; i++)
		if (rows[i].length != IVSHMEM_WIRE_MESSAGE_SIZE)
			return true;
	return false;
}

/*
 * Copy what is still true into the other table. From the end on: the leave of a peer drops all of its
 * rows before it, and itself. (A second leave, of a peer that was not there, may go, too.)
 */
static int
make_room(struct wire_log *log)
{
	uint64_t word = get_word(log), count = word >> COUNT_SHIFT, kept = 0;
	const struct row *from = rows_of(log, table_of(word));
	struct row *to = rows_of(log, !table_of(word));
	static bool left[IVSHMEM_MAX_ID + 1];

	if (count < log->capacity)
		return 0;
	if (has_pieces(log, word))
		return -ENOSPC;
	memset(left, 0, sizeof(left));
	for (uint64_t i = count; i-- > 0;) {
		int64_t number = number_of(&from[i]);
		bool is_peer = i >= GREETING && number >= 0 && number <= IVSHMEM_MAX_ID;

		if (is_peer && from[i].fd == -1)
			left[number] = true;
		else if (!is_peer || !left[number])
			to[log->capacity - ++kept] = from[i];
	}
	memmove(to, to + (log->capacity - kept), (size_t)kept * sizeof(*to));
	/* Not for a few rows only: each time costs as much as all rows. */
	if (kept > log->capacity - log->capacity / 8)
		return -ENOSPC;
	log->at = kept;
	set_word(log, kept, !table_of(word), head_of(word));
	return 0;
}

/* ---- receiving ------------------------------------------------------------------------------- */

/* Make a row of what came. */
static void
append(struct wire_log *log, const struct head *head, int fd)
{
	uint64_t word = get_word(log), count = word >> COUNT_SHIFT;
	struct row *row = &rows_of(log, table_of(word))[count];

	row->length = head->message.msg_len;
	memcpy(row->bytes, head->bytes, sizeof(row->bytes));
	row->fd = fd;
	log->heads[!head_of(word)].message.msg_len = 0;
	set_word(log, count + 1, table_of(word), !head_of(word));
}

static int
receive(struct head *head, int socket, size_t most)
{
	int n;

	do {
		head->iov = (struct iovec){head->bytes, most};
		head->message = (struct mmsghdr){
			.msg_hdr =
				{
					.msg_iov = &head->iov,
					.msg_iovlen = 1,
					.msg_control = head->control,
					.msg_controllen = sizeof(head->control),
				},
		};
		n = recvmmsg(socket, &head->message, 1, MSG_DONTWAIT | MSG_CMSG_CLOEXEC, NULL);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

static int
read_row(struct wire_log *log, size_t most)
{
	struct head *head = &log->heads[head_of(get_word(log))];
	int fds[WIRE_RECEIVE_FDS];
	size_t n_fds;
	int r = make_room(log);

	if (r < 0)
		return r;
	if (log->socket < 0)
		return -ECONNRESET;
	/* A process that was killed may have received it. */
	if (head->message.msg_len == 0)
		r = receive(head, log->socket, most);
	if (r < 0)
		return r;
	n_fds = wire_received_fds(&head->message.msg_hdr, fds);
	if (head->message.msg_hdr.msg_flags & MSG_CTRUNC) {
		for (size_t i = 0; i < n_fds; i++)
			fd_close(fds[i]);
		return n_fds < WIRE_RECEIVE_FDS ? -EMFILE : -EPROTO;
	}
	if (head->message.msg_len == 0)
		return -ECONNRESET;
	append(log, head, n_fds > 0 ? fds[0] : -1);
	for (size_t i = 1; i < n_fds; i++)
		fd_close(fds[i]);
	return 0;
}

/* Take in the next rows. Returns 1 and a message, or 0 when there are no more rows. */
static int
read_on(struct wire_log *log, struct wire_receiver *receiver, struct wire_message *ret_message)
{
	uint64_t word = get_word(log);
	const struct row *rows = rows_of(log, table_of(word));

	while (log->at < word >> COUNT_SHIFT) {
		const struct row *row = &rows[log->at++];
		int fd = row->fd == CLOSED ? eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) : row->fd;

		if (wire_receiver_feed(
			    receiver, row->bytes, row->length, &fd, fd >= 0, ret_message))
			return 1;
	}
	return 0;
}

int
wire_log_receive(
	struct wire_log *log, struct wire_receiver *receiver, struct wire_message *ret_message)
{
	int r;

	while ((r = read_on(log, receiver, ret_message)) == 0) {
		r = read_row(log, wire_receiver_wants(receiver));
		if (r < 0)
			return r;
	}
	return r;
}

/* ---- descriptors ----------------------------------------------------------------------------- */

void
wire_log_forget(struct wire_log *log, int fd)
{
	uint64_t word = get_word(log);
	struct row *rows = rows_of(log, table_of(word));

	for (uint64_t i = word >> COUNT_SHIFT; i-- > 0;)
		if (rows[i].fd == fd)
			__atomic_store_n(&rows[i].fd, CLOSED, __ATOMIC_RELEASE);
}

void
wire_log_list(const struct wire_log *log, void (*note)(int fd, void *data), void *data)
{
	uint64_t word = get_word(log);
	const struct row *rows = log->rows + (size_t)table_of(word) * log->capacity;
	struct msghdr header = log->heads[head_of(word)].message.msg_hdr;
	int fds[WIRE_RECEIVE_FDS];

	for (uint64_t i = 0; i < word >> COUNT_SHIFT; i++)
		if (rows[i].fd >= 0)
			note(rows[i].fd, data);
	if (log->socket < 0)
		return;
	note(log->socket, data);
	if (log->heads[head_of(word)].message.msg_len == 0)
		return;
	for (size_t i = 0, n = wire_received_fds(&header, fds); i < n; i++)
		note(fds[i], data);
}
