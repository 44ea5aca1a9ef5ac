/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_COPY_TREE_H
#define IVSHMEM_COPY_TREE_H

/*
 * The records of a copy, and how they go through a queue.
 *
 * The sender says what the tree is, in the order in which it walks: a folder, what is in it, and then
 * that we go up again. A file is its entry, its data and holes, and its end with the checksum. The
 * receiver says what it has of a file already, which files it does not want, and at last that all
 * have their names. Both say what went wrong, for people.
 *
 * A record begins with its type, in a head of 16 bytes. All numbers are little endian. The other side
 * may be hostile: tree_read() copies all but the bytes of a file, checks the copy, and refuses what
 * does not have exactly the length that its type needs.
 */

#include <ivshmem/channel.h>

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum tree_record_type {
	/* From the sender. */
	TREE_TOTAL = 'T',    /* value: the bytes that will come; numbers: how many files */
	TREE_FOLDER = 'F',   /* an entry; an empty name is the folder that we copy to */
	TREE_UP = 'U',       /* the folder is complete */
	TREE_LINK = 'L',     /* an entry, and where the symbolic link leads to */
	TREE_FILE = 'f',     /* an entry */
	TREE_DATA = 'd',     /* value: where; bytes */
	TREE_HOLE = 'h',     /* value: where; numbers: how long */
	TREE_RESUME = 'r',   /* value: go on there; numbers: the sum so far (struct sum_mark) */
	TREE_FILE_END = 'e', /* value: its size; numbers: its sum */
	TREE_GIVE_UP = 'g',  /* the file could not be read; forget it */
	TREE_END = 'E',      /* of all */
	/* From the receiver. */
	TREE_MARK = 'm',      /* value: so much of the file is there; numbers: its sum so far */
	TREE_MARKS_END = 'M', /* that is all, or nothing is there */
	TREE_SKIP = 's',      /* no more of this file */
	TREE_DONE = 'D',      /* value: the bytes of files that came; numbers: how many files */
	TREE_TAKEN = 't',     /* value: so many bytes were taken, of all files */
	/* From both. */
	TREE_PROBLEM = 'p', /* text */
};

struct tree_entry {
	uint32_t mode; /* permissions, 07777 */
	uint32_t uid, gid;
	uint32_t nanoseconds;
	int64_t seconds; /* when it was changed */
	uint64_t size;   /* of a file, when it was opened */
};

struct tree_record {
	enum tree_record_type type;
	uint32_t file; /* its number: of the records about a file, from both sides */
	uint64_t value;
	uint64_t numbers[2];
	struct tree_entry entry;
	char name[NAME_MAX + 1];
	char text[PATH_MAX]; /* a link's target, or a problem */
	const void *bytes;   /* of a file, in the shared memory: they may change under us */
	size_t length;
};

#define TREE_HEAD 16
/* The longest record but those with bytes. */
#define TREE_SMALL_MAX (TREE_HEAD + 32 + NAME_MAX + PATH_MAX)

/* Read one from shared memory. 0, or -EPROTO. */
int tree_read(struct tree_record *ret_record, const void *shared, size_t length);

/* Write any but TREE_DATA into `buffer`. Returns its length. */
size_t tree_write(const struct tree_record *record, uint8_t buffer[TREE_SMALL_MAX]);

/* The head of TREE_DATA, whose bytes follow it. */
void tree_write_data(void *shared, uint32_t file, uint64_t offset);

/* ---- records that wait for room -------------------------------------------------------------- */

/* Room for what one step of a sender or a receiver has to say, besides data. Before the next step, it
 * must be empty. */
#define OUTBOX_RECORDS 3

struct outbox {
	struct ivshmem_channel *channel;
	uint8_t bytes[OUTBOX_RECORDS][TREE_SMALL_MAX];
	size_t lengths[OUTBOX_RECORDS];
	unsigned first, n;
};

void outbox_add(struct outbox *outbox, const struct tree_record *record);

/* Send what waits. 0, -EAGAIN, or how the channel ended. */
int outbox_send(struct outbox *outbox);

#endif
