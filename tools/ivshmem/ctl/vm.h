/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef CTL_VM_H
#define CTL_VM_H

/* The names of virtual machines, which a server does not know: from the command lines of its clients,
 * as far as we may read them. */

#include <stddef.h>

/*
 * Add "vm" to each peer in the answer to the request peers: the name, or null. Returns the new text,
 * which is to be freed; NULL if the answer is none of that kind, or there is no memory.
 */
char *vm_add_names(const char *answer, size_t length, size_t *ret_length);

#endif
