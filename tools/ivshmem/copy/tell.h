/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_COPY_TELL_H
#define IVSHMEM_COPY_TELL_H

/* Problems: whoever has the user at its end tells them, and the other one sends them there. */

#include "copy.h"
#include "tree.h"

void tell_problem(const struct copy_options *options, struct copy_totals *totals,
	struct outbox *outbox, const char *sentence);

/* "`what` 'PATH': WHY", or without `what`, "'PATH' WHY". A long path is cut off at its beginning. */
void tell_file_problem(const struct copy_options *options, struct copy_totals *totals,
	struct outbox *outbox, const char *what, const char *path, const char *why);

/* What the other side has sent. */
void tell_of_other_side(
	const struct copy_options *options, struct copy_totals *totals, const char *sentence);

#endif
