/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_AGENT_RECORDS_H
#define IVSHMEM_AGENT_RECORDS_H

/*
 * The records between an agent and its callers. The agent listens for queues, and each caller
 * connects a queue of its own. Each record is a byte that says its type, and what belongs to that.
 * Numbers of several bytes are little-endian. docs/agent.md describes who sends what when.
 *
 * Both sides are hostile to each other: a record is checked here before anything is done with it.
 * Parse a copy of it, which nobody changes any more.
 */

#include <ivshmem/common.h>

#include <stddef.h>
#include <stdint.h>

#define RECORDS_VERSION 1

/* The longest record there is. */
#define RECORD_MAX 65536

enum record_type {
	/* The caller's first record: a version, and strings that end with NUL: the name of a service,
	 * and then fields such as "argument=ls". */
	RECORD_REQUEST = 1,
	/* The answer: the service has begun. */
	RECORD_ACCEPTED = 2,
	/* The answer, or the end of a service that cannot go on: an exit status for the caller, and a
	 * sentence. */
	RECORD_FAILED = 3,

	/* Streams of bytes with flow control (flow.h). The first byte is the number of the stream. */
	RECORD_DATA = 4,     /* bytes */
	RECORD_END = 5,      /* of this stream */
	RECORD_UNWANTED = 6, /* send no more of this stream */
	RECORD_CREDIT = 7,   /* 4 bytes: so many more bytes may be sent */

	/* Of the service "exec". */
	RECORD_SIGNAL = 16,        /* from the caller; 1 byte: a signal for the command */
	RECORD_TERMINAL_SIZE = 17, /* from the caller; 2 bytes each: rows, columns */
	RECORD_EXITED = 18,        /* from the agent, as the last record; 1 byte: exit status */
	RECORD_KILLED = 19,        /* the same for a signal that the command died of */
};

/* Exit statuses of our own, in RECORD_FAILED; as env(1), timeout(1) and docker have them. */
enum {
	CALL_FAILED = 125,
	CALL_CANNOT_RUN = 126,
	CALL_NOT_FOUND = 127,
};

/* ---- all but requests ------------------------------------------------------------------------ */

struct record {
	uint8_t type; /* an enum record_type, or that of another service */
	uint8_t stream;
	uint32_t number;        /* a credit, signal or exit status; that of RECORD_FAILED */
	uint16_t rows, columns; /* of RECORD_TERMINAL_SIZE */
	const char *bytes;      /* data or a sentence, in what was parsed */
	size_t length;
};

/* 0, or -EPROTO: there is no such record. A RECORD_REQUEST is none, either. Types that are not above
 * (from 32 on) belong to other services, and have their content in `bytes`. */
int record_parse(struct record *ret_record, const void *bytes, size_t length);

/* Write a record without bytes, of at most RECORD_SMALL bytes. Returns its length. */
#define RECORD_SMALL 8
size_t record_format(void *ret_bytes, const struct record *record);

/* What is before the data in a RECORD_DATA. */
#define RECORD_DATA_HEADER 2

/* Write RECORD_FAILED with a sentence. Returns its length, which is at most `size`. */
size_t record_format_failure(void *ret_bytes, size_t size, int status, const char *sentence);

/* ---- requests -------------------------------------------------------------------------------- */

#define REQUEST_FIELDS_MAX 8192

struct request_field {
	const char *name;
	char *value;
};

struct request {
	char *bytes; /* all strings */
	const char *service;
	struct request_field *fields;
	unsigned n_fields;
};

/* 0, or a negative errno with a sentence for the caller. Release it with request_free(). */
int request_parse(struct request *ret_request, const void *bytes, size_t length,
	struct ivshmem_error *reterr);
void request_free(struct request *request);

/* The value of the first field of this name, or NULL. */
const char *request_value(const struct request *request, const char *name);

/* A request that is being written. What fails is told at the end. */
struct request_draft {
	char *bytes;
	size_t length, capacity;
	int error;
};

void request_begin(struct request_draft *draft, const char *service);
void request_add(struct request_draft *draft, const char *name, const char *value);
/* 0, -EMSGSIZE or -ENOMEM. `bytes` are to be freed in any case. */
int request_finish(const struct request_draft *draft);

#endif
