/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SERVER_RECORD_H
#define SERVER_RECORD_H

/*
 * State in bytes, for another process that goes on where this one ended: a server that is to be
 * replaced, without its clients noticing, hands server_write() to its successor. tests/model proves
 * what that relies on: ids and a roster that were read back go on as if nothing had happened.
 *
 * A record is a row of 64-bit little-endian numbers, and the descriptors that go along with it:
 *
 *	name		up to eight letters
 *	version		of the fields; a change of them is a new version
 *	length		of the whole record, in bytes
 *	descriptors	how many go along
 *	...		the fields
 *
 * A reader trusts nothing in a record. It checks each field against those before it, and refuses
 * the record with a sentence that names the first wrong field. Nothing is written in two ways: a
 * record that a reader accepts is, byte for byte, what the writer makes of the state again.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ivshmem_error;

struct record {
	uint8_t *bytes;
	size_t size;
	int *fds; /* the array is owned, the descriptors are borrowed */
	size_t n_fds;
	bool failed; /* no memory */
};

void record_begin(struct record *record, const char *name, uint64_t version);
void record_put(struct record *record, uint64_t value);
void record_put_fds(struct record *record, const int *fds, size_t n);
/* A text, and a whole record with its descriptors. */
void record_put_text(struct record *record, const char *text);
void record_put_record(struct record *record, const struct record *inner);
/* 0, or -ENOMEM if anything before failed; record_done() in any case. */
int record_end(struct record *record);
void record_done(struct record *record);

/* Reads one record. After the first wrong field, the error stays, and all fields read as `min`. */
struct record_reader {
	const struct record *record;
	const char *name;
	const char *part; /* what the fields belong to, for the sentence; NULL: the whole */
	uint64_t number;  /* of the part */
	size_t at;        /* bytes read */
	size_t n_fds;     /* descriptors taken */
	int error;        /* 0, -EINVAL, -EPROTONOSUPPORT, -ENOMEM */
	struct ivshmem_error *reterr;
};

void record_open(struct record_reader *reader, const struct record *record, const char *name,
	uint64_t version, struct ivshmem_error *reterr);
uint64_t record_get(struct record_reader *reader, const char *field, uint64_t min, uint64_t max);
/* The next `n` descriptors: as many as record_fds_left() at most. */
const int *record_get_fds(struct record_reader *reader, size_t n);
size_t record_fds_left(const struct record_reader *reader);
/* At most size - 1 letters, "" after an error. */
void record_get_text(struct record_reader *reader, const char *field, char *ret_text, size_t size);
/* A record within this one: `ret_inner` borrows its bytes and its descriptors, and is empty after an
 * error. It is to be read like any other. */
void record_get_record(struct record_reader *reader, const char *field, struct record *ret_inner);
/* For what a range cannot say: "the seat has two holders". */
void record_refuse(struct record_reader *reader, const char *what);
/* Everything must have been read. 0, or the first error. */
int record_close(struct record_reader *reader);

#endif
