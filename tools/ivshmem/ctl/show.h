/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef CTL_SHOW_H
#define CTL_SHOW_H

/*
 * Shows a JSON document to people, whatever is in it: a line for each value of an object, and a table
 * for an array of objects. The end of a key says how its value is written: "_bytes" as a size,
 * "_seconds" as a time, and "since" as a date. What comes from others does nothing to a terminal.
 */

#include <stdbool.h>
#include <stddef.h>

/* False if it is no such document. */
bool show(const char *text, size_t length);

#endif
