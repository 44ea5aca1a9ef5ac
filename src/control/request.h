/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef CONTROL_REQUEST_H
#define CONTROL_REQUEST_H

/* What a client of a control socket sends: words with blanks between them, and a newline at the end
 * (docs/protocol.md). */

#include <stddef.h>

struct ivshmem_error;

#define CONTROL_LINE_MAX  256 /* bytes, with the newline */
#define CONTROL_WORDS_MAX 4

struct control_request {
	char text[CONTROL_LINE_MAX]; /* that the words lie in */
	unsigned n;                  /* 1 to CONTROL_WORDS_MAX */
	const char *words[CONTROL_WORDS_MAX];
};

/*
 * Take a line apart; `length` does not count its newline. A '\r' before that is left out. The words
 * have printable ASCII characters only. -EINVAL with a sentence that is safe to print.
 */
int control_request_parse(struct control_request *ret_request, const char *line, size_t length,
	struct ivshmem_error *reterr);

#endif
