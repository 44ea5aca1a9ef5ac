/* SPDX-License-Identifier: BSD-2-Clause */
#include "console.h"
#include "bus_error.h"

#include <stdlib.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

static struct termios before;
static volatile bool is_raw;

void
console_size(uint16_t *ret_rows, uint16_t *ret_columns)
{
	struct winsize size;

	*ret_rows = 24;
	*ret_columns = 80;
	if (ioctl(STDIN_FILENO, TIOCGWINSZ, &size) < 0 &&
		ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0)
		return;
	*ret_rows = size.ws_row;
	*ret_columns = size.ws_col;
}

void
console_restore(void)
{
	if (is_raw)
		tcsetattr(STDIN_FILENO, TCSADRAIN, &before);
	is_raw = false;
}

void
console_make_raw(void)
{
	struct termios raw;

	if (is_raw || tcgetattr(STDIN_FILENO, &before) < 0)
		return;
	atexit(console_restore);
	bus_error_before_end = console_restore;
	raw = before;
	cfmakeraw(&raw);
	is_raw = true;
	tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
}
