/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef CTL_ASK_H
#define CTL_ASK_H

/* One question to a control socket (docs/protocol.md). */

#include <stdbool.h>
#include <stddef.h>

struct ivshmem_error;

/*
 * Send `line`, without a newline, and take the answer, which is to be freed, within `timeout_ms`. A
 * refusal is an answer, too (ask_refusal()). A negative errno and a sentence if there is none.
 */
int ask(const char *path, const char *line, unsigned timeout_ms, char **ret_answer,
	size_t *ret_length, struct ivshmem_error *reterr);

/* Whether the answer is a refusal; its sentence, which is safe to print. */
bool ask_is_refusal(const char *answer, size_t length, char *ret_sentence, size_t size);

#endif
