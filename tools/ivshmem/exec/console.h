/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_EXEC_CONSOLE_H
#define IVSHMEM_EXEC_CONSOLE_H

/* The terminal that exec was started from, while the command has one of its own. */

#include <stdbool.h>
#include <stdint.h>

/* The size of the terminal, by stdin or stdout; 24 rows of 80 columns if there is none. */
void console_size(uint16_t *ret_rows, uint16_t *ret_columns);

/* Pass every key on, and print no echo: the command's terminal does that. It becomes as it was when
 * the process ends, unless SIGKILL ends it. */
void console_make_raw(void);
void console_restore(void);

#endif
