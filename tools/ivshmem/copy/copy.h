/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_COPY_COPY_H
#define IVSHMEM_COPY_COPY_H

/* What a sender and a receiver have in common for those who run them. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct copy_options {
	bool resume; /* go on with what an interrupted copy has left */
	bool owner;  /* keep owners; the receiver must be root */
	bool count;  /* the sender says first how much it will be */
	bool many;   /* more than one operand: they go into a folder */

	/* The memory is uncached, or write-combining: no system call should work there. */
	bool uncached;
	size_t chunk; /* the most bytes of a file in a record; 0: the default. For tests */

	/* Whom problems are told, ours and those of the other side: sentences. NULL: the other side is
	 * told of ours. */
	void (*problem)(void *data, const char *sentence);
	void *data;
};

/* How far a copy is. */
struct copy_totals {
	uint64_t files;  /* regular files that have their names */
	uint64_t bytes;  /* of files, without holes, sent or received */
	uint64_t passed; /* of all bytes: those, holes, and what is left out or was there already */
	uint64_t problems; /* of both sides, as far as we are told */
	bool counted;      /* whether it is known how much there is: */
	uint64_t files_expected, bytes_expected;
	bool complete; /* the receiver has everything that could be copied */
};

enum copy_state {
	COPY_WAITS, /* for the channel */
	COPY_RUNS,  /* it can do more, after others have had their turn */
	COPY_ENDED, /* the other side knows it, too */
};

/* The work of one call, in bytes, and in other steps. */
#define COPY_TURN_BYTES (UINT64_C(1) << 20)
#define COPY_TURN_STEPS 64

/* The depth of folders in folders. */
#define COPY_DEPTH_MAX 200

#endif
