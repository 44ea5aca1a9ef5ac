/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_SNAPSHOT_SAVING_H
#define IVSHMEM_SNAPSHOT_SAVING_H

/* The content of the memory, into a file that is empty. */

#include "cli.h"
#include "image.h"
#include "session.h"

struct saved {
	uint64_t size;
	uint64_t data; /* bytes that are not in holes */
	bool reflink;  /* the file shares its blocks with the memory's file */
};

/* What was half-restored is not saved. Complains if something goes wrong. */
enum status save_memory(
	struct session *session, const struct image *image, struct saved *ret_saved);

#endif
