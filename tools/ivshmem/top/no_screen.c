/* SPDX-License-Identifier: BSD-2-Clause */
#include "top/screen.h"

/* For a build without ncurses. Nothing of it is called but the first two. */

bool
screen_exists(void)
{
	return false;
}

const char *
screen_open(void)
{
	return "this build has no live view, because it was made without ncurses: use --once, or channels --interval";
}

void
screen_close(void)
{
}

void
screen_size(unsigned *ret_width, unsigned *ret_height)
{
	*ret_width = *ret_height = 1;
}

void
screen_draw(const struct view *view)
{
	(void)view;
}

int
screen_key(void)
{
	return SCREEN_NOTHING;
}
