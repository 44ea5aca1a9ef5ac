/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef OPERATORS_H
#define OPERATORS_H

/* The control socket of the program: what it tells of the region that this process serves. */

#include <handover.h>
#include <server/control.h>

#include <limits.h>

struct control;

/* All zero: nobody was let in yet. */
struct operators {
	struct control *control;
	struct server_facts facts;
	char region[NAME_MAX + 1];
	char memory[PATH_MAX];
	char continues[32];
};

/* Does nothing if there is no control socket. `handover` says whether there was a server before us.
 * -ENOMEM, ... */
int operators_let_in(struct operators *operators, struct server *server,
	const struct sockets *sockets, const struct region *region, const struct handover *handover,
	const struct options *options);
/* Before the server is freed. */
void operators_send_away(struct operators *operators);

#endif
