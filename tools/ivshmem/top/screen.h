/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TOP_SCREEN_H
#define TOP_SCREEN_H

/* The only part of `ivshmem top` that knows terminals. A build without ncurses has none of it. */

#include "top/view.h"

/* Whether this build has a screen. */
bool screen_exists(void);

/* Take the terminal over. NULL, or why not, in a static sentence. */
const char *screen_open(void);
/* Give it back as it was. */
void screen_close(void);

/* The size now. */
void screen_size(unsigned *ret_width, unsigned *ret_height);

void screen_draw(const struct view *view);

/* What was typed. */
enum screen_key {
	SCREEN_NOTHING = -1,
	SCREEN_RESIZED = 256, /* less is a character */
	SCREEN_UP,
	SCREEN_DOWN,
	SCREEN_PAGE_UP,
	SCREEN_PAGE_DOWN,
	SCREEN_HOME,
	SCREEN_OTHER,
	SCREEN_GONE, /* the terminal */
};
/* Does not wait. */
int screen_key(void);

#endif
