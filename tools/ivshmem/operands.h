/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_OPERANDS_H
#define IVSHMEM_OPERANDS_H

/*
 * Operands of commands, and words of the shell. If something is wrong with one, these functions say so
 * on stderr and return -EINVAL.
 */

#include <common/arguments.h>

/* Read a value. Messages call it by operand->name. A NULL text keeps the default. */
int operand_take(const struct argument *operand, const char *text);

/* Whom to ring: PEER, PEER:VECTOR, PEER:all, all or all:VECTOR. */
struct bell {
	bool all_peers; /* all but ourselves */
	bool all_vectors;
	uint16_t peer;
	unsigned vector;
};

int operand_peer(const char *text, struct bell *ret_bell);
int operand_vector(const char *text, unsigned *ret_vector);
int operand_bell(const char *text, struct bell *ret_bell);

/* The same, but it must be one vector of one peer. */
int operand_single_bell(const char *text, struct bell *ret_bell);

#endif
