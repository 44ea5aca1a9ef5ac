/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SERVER_CAPACITY_H
#define SERVER_CAPACITY_H

/* How many clients the descriptors that this process may open are enough for. */

#include <options.h>
#include <server/server.h>
#include <sockets.h>

struct log;

/* How many descriptors may be open when clients come: all of them must fit into a handover. */
unsigned long capacity_descriptors(const struct options *options);
/* The most observers: they are few, and get a small part of the descriptors. */
unsigned capacity_observers(
	const struct options *options, const struct sockets *sockets, unsigned long limit);
/* Log how many clients there is room for, in a server that has just started. -EMFILE if there is none
 * for a single one. */
int capacity_tell(const struct options *options, const struct sockets *sockets,
	const struct server_config *config, unsigned long limit, const struct log *log);

#endif
