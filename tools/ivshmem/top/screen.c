/* SPDX-License-Identifier: BSD-2-Clause */
#include "top/screen.h"

#include <curses.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <term.h>
#include <unistd.h>

/* It is one of the many short names that term.h takes. */
#undef lines

static SCREEN *screen;

bool
screen_exists(void)
{
	return true;
}

static attr_t
attributes_of(enum view_style style)
{
	static const attr_t attributes[VIEW_STYLES] = {
		[VIEW_PLAIN] = A_NORMAL,
		[VIEW_TITLE] = A_REVERSE,
		[VIEW_HEADING] = A_BOLD | A_UNDERLINE,
		[VIEW_WARNING] = A_BOLD,
		[VIEW_DIM] = A_DIM,
	};
	bool coloured = has_colors() && (style == VIEW_HEADING || style == VIEW_WARNING);

	return attributes[style] | (coloured ? (attr_t)COLOR_PAIR((int)style) : 0);
}

static void
choose_colours(void)
{
	if (!has_colors())
		return;
	start_color();
	use_default_colors();
	init_pair(VIEW_HEADING, COLOR_CYAN, -1);
	init_pair(VIEW_WARNING, COLOR_RED, -1);
}

const char *
screen_open(void)
{
	const char *name = getenv("TERM");
	static char sentence[256];
	int error;

	if (!name || !*name)
		return "the variable TERM does not say what terminal this is: set it, or use --once";
	if (setupterm(name, STDOUT_FILENO, &error) != OK) {
		snprintf(sentence, sizeof(sentence),
			error < 0
				? "nothing on this machine describes terminals (terminfo), and '%.64s' neither: use --once, or channels --interval"
				: "nothing on this machine describes the terminal '%.64s': set TERM to another one, such as linux or vt100, or use --once",
			name);
		return sentence;
	}
	del_curterm(cur_term);
	screen = newterm(name, stdout, stdin);
	if (!screen)
		return "the terminal cannot be used for a live view: use --once";
	cbreak();
	noecho();
	nonl();
	curs_set(0);
	keypad(stdscr, TRUE);
	nodelay(stdscr, TRUE);
	set_escdelay(25);
	/* A view is drawn at once. */
	typeahead(-1);
	choose_colours();
	return NULL;
}

void
screen_close(void)
{
	if (!screen)
		return;
	endwin();
	delscreen(screen);
	screen = NULL;
}

void
screen_size(unsigned *ret_width, unsigned *ret_height)
{
	int height, width;

	getmaxyx(stdscr, height, width);
	*ret_width = width > 0 ? (unsigned)width : 1;
	*ret_height = height > 0 ? (unsigned)height : 1;
	if (*ret_width > LINE_COLUMNS_MAX)
		*ret_width = LINE_COLUMNS_MAX;
}

void
screen_draw(const struct view *view)
{
	erase();
	for (unsigned i = 0; i < view->n; i++) {
		attrset((int)attributes_of(view->lines[i].style));
		mvaddstr((int)i, 0, view->lines[i].line.text);
	}
	attrset(A_NORMAL);
	refresh();
}

int
screen_key(void)
{
	int key = getch();

	switch (key) {
	case ERR:
		return SCREEN_NOTHING;
	case 'L' & 0x1f:
		/* Others may have written on the terminal. */
		clearok(curscr, TRUE);
		return SCREEN_RESIZED;
	case KEY_RESIZE:
		return SCREEN_RESIZED;
	case KEY_UP:
		return SCREEN_UP;
	case KEY_DOWN:
		return SCREEN_DOWN;
	case KEY_PPAGE:
		return SCREEN_PAGE_UP;
	case KEY_NPAGE:
		return SCREEN_PAGE_DOWN;
	case KEY_HOME:
		return SCREEN_HOME;
	default:
		return key < SCREEN_RESIZED ? key : SCREEN_OTHER;
	}
}
