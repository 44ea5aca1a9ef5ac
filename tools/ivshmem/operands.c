/* SPDX-License-Identifier: BSD-2-Clause */
#include "operands.h"

#include "output.h"

#include <ivshmem/abi.h>
#include <ivshmem/common.h>

#include <errno.h>
#include <string.h>

int
operand_take(const struct argument *operand, const char *text)
{
	struct ivshmem_error error;

	if (!text || argument_take(operand, operand->name, text, &error) == 0)
		return 0;
	fail("%s", error.message);
	return -EINVAL;
}

int
operand_peer(const char *text, struct bell *ret_bell)
{
	unsigned peer;
	const struct argument operand = {"peer", .number = &peer, .max = IVSHMEM_MAX_ID};

	if (operand_take(&operand, text) < 0)
		return -EINVAL;
	ret_bell->peer = (uint16_t)peer;
	return 0;
}

int
operand_vector(const char *text, unsigned *ret_vector)
{
	const struct argument operand = {
		"vector", .number = ret_vector, .max = IVSHMEM_MAX_VECTORS - 1};

	return operand_take(&operand, text);
}

int
operand_bell(const char *text, struct bell *ret_bell)
{
	struct bell bell = {.vector = 0};
	const char *colon = strchr(text, ':');
	size_t length = colon ? (size_t)(colon - text) : strlen(text);
	char peer[32];

	if (length >= sizeof(peer)) {
		fail("'%s' names no peer: it should be PEER, PEER:VECTOR, PEER:all or all", text);
		return -EINVAL;
	}
	memcpy(peer, text, length);
	peer[length] = '\0';

	if (strcmp(peer, "all") == 0) {
		bell.all_peers = true;
		bell.all_vectors = !colon;
	} else if (operand_peer(peer, &bell) < 0) {
		return -EINVAL;
	}
	if (colon && strcmp(colon + 1, "all") == 0)
		bell.all_vectors = true;
	else if (colon && operand_vector(colon + 1, &bell.vector) < 0)
		return -EINVAL;
	*ret_bell = bell;
	return 0;
}

int
operand_single_bell(const char *text, struct bell *ret_bell)
{
	struct bell bell;

	if (operand_bell(text, &bell) < 0)
		return -EINVAL;
	if (bell.all_peers || bell.all_vectors) {
		fail("'%s' must be one peer and one vector here: PEER or PEER:VECTOR", text);
		return -EINVAL;
	}
	*ret_bell = bell;
	return 0;
}
