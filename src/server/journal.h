/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SERVER_JOURNAL_H
#define SERVER_JOURNAL_H

/*
 * What a server has done, in memory that outlives it: if it is killed, another process reads the
 * journal (replay.h) and goes on from there.
 *
 * Theory of operation
 *
 * There are two books. One of them counts. It has a checkpoint, which is the record of the whole
 * group (record.h), and a row of entries: what has changed since. An entry counts when the length
 * of the row says so, and the length is stored last. When the row is half full, the server writes a
 * checkpoint into the other book, and then this one counts: one store. So whenever the server is
 * killed, the book that counts is complete.
 *
 *	PREPARED	the next member has this id
 *	SEAT		a seat has its first holder: it is on the roster from now on
 *	JOINED		a client is on the roster
 *	TELLING		messages are being sent to a client, and how many of them were sent
 *	LEAVING		a client is off the roster; its descriptors are closed next
 *	REFUSING	a client that was accepted is told that it cannot join, and is closed next
 *	CLOSED		what LEAVING and REFUSING announced is done
 *
 * The server writes an entry before anybody outside can see what it says. Those who read the journal
 * have the same table of file descriptors (common/guardian.h), so descriptors are numbers
 * here. A number may mean something else later: only the whole row, read to its end, says what is
 * what.
 *
 * How much of a batch a killed server has sent, nobody could know by an entry before or after it.
 * The kernel knows: sendmmsg() stores the length of each message that it has sent before it sends
 * the next one, and a process that is killed finishes that first (tests/platform). So it stores
 * them into the journal.
 */

#include <wire/wire.h>

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

struct journal;
struct peer;
struct record;

enum journal_type { PREPARED = 1, SEAT, JOINED, TELLING, LEAVING, REFUSING, CLOSED };

/* Words of an entry, by what follows its type. */
#define JOURNAL_UNKNOWN UINT32_MAX /* how many were sent: see journal_n_sent() */
#define JOURNAL_ROW     (UINT32_C(1) << 19)

/* For processes that this one makes afterwards. -ENOMEM, -EMFILE, ... */
int journal_new(struct journal **ret_journal);
/* For the last process that has it. */
void journal_free(struct journal *journal);

/*
 * From now on the journal counts. `write` writes the record of the group, now and whenever the row
 * is full. A failure leaves the journal as it was.
 */
int journal_begin(
	struct journal *journal, int (*write)(void *data, struct record *ret_record), void *data);
/* From now on nobody can go on with it. */
void journal_end(struct journal *journal);
/*
 * The group is given to somebody else by the next sendmmsg(), to be called with this header. Nobody
 * can go on with it if that was sent. NULL: nobody can anyway.
 */
struct mmsghdr *journal_giving(struct journal *journal);
/* Can somebody go on with it? */
bool journal_counts(const struct journal *journal);

/* ---- what the server writes; nothing happens if `journal` is NULL or does not count ------------ */

/* Have room for what one client does. Only when all that has happened is in the journal. */
void journal_make_room(struct journal *journal);
void journal_prepared(struct journal *journal, uint16_t id);
void journal_seat(struct journal *journal, const struct peer *seat);
void journal_joined(struct journal *journal, const struct peer *peer, int socket);
void journal_telling(struct journal *journal, int socket, unsigned n);
void journal_told(struct journal *journal, int sent);
void journal_leaving(struct journal *journal, int socket);
void journal_refusing(struct journal *journal, int socket);
void journal_closed(struct journal *journal);
/* For wire_send_noted(), after journal_telling() or journal_refusing(); NULL: for nobody. */
struct mmsghdr *journal_headers(struct journal *journal);

/* ---- what others read -------------------------------------------------------------------------- */

/* The checkpoint. record_done() is the caller's. */
int journal_read(const struct journal *journal, struct record *ret_record);
/* The row, and its length in words. */
const uint32_t *journal_row(const struct journal *journal, uint32_t *ret_n);
/* How many messages the last sendmmsg() has sent. */
uint32_t journal_n_sent(const struct journal *journal);
bool journal_owns(const struct journal *journal, int fd);

/* ---- notes that outlive a process, of whoever has the journal --------------------------------- */

struct journal_notes {
	int bag;     /* what the supervisor kept, until it is taken; -1: nothing */
	bool served; /* the process that serves has come so far */
};

struct journal_notes *journal_notes(struct journal *journal);

#endif
