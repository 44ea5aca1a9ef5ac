/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SERVER_ADMISSION_H
#define SERVER_ADMISSION_H

/*
 * Who gets in, and as what: listening sockets, limits, ids and seats. A socket that clients come to
 * is a door. What comes in is a member, the holder of a seat or an observer, as the door says.
 */

#include <base/list.h>
#include <server/clients.h>
#include <server/ids.h>

#include <stdbool.h>
#include <stdint.h>

struct loop;
struct pace;

struct admission {
	struct loop *loop;
	struct clients *clients;
	struct pace *warnings; /* that clients can cause */
	unsigned n_vectors;
	unsigned max_peers; /* all seats count as taken; 0: as many as there are ids */
	unsigned max_observers;

	struct list doors; /* door::link */
	unsigned n_seats;
	struct ids *ids;
	uint32_t n_members;    /* present, with an id that is not a seat's */
	struct peer *prepared; /* the next of them; NULL: none yet */
	int spare_fd;          /* closed for a moment to refuse a client when there is no other */
	unsigned released;     /* announced ids given back since they were counted */
	bool warned_of_ids;
};

/* From all zero, with what is above the doors set. -ENOMEM; admission_done() in any case. */
int admission_init(struct admission *admission);
/* After the roster is closed, because the seats on it end here. */
void admission_done(struct admission *admission);

/*
 * Open doors: `listen_fd` is a listening socket, borrowed, non-blocking. First all seats, because
 * members must not get their ids: -EINVAL if two seats have the same.
 */
int admission_open_seat(struct admission *admission, uint16_t id, int listen_fd);
int admission_open_members(struct admission *admission, int listen_fd);
int admission_open_observers(struct admission *admission, int listen_fd);

/*
 * For a server that goes on where another one ended, with its ids and its roster. The next member
 * has this id, which is taken. Then come the doors as above, but seats with
 * admission_continue_seat(), and at last the clients of the peers on the roster. Each of them takes
 * over its socket. -ENXIO: there is no door for it.
 */
int admission_prepare(struct admission *admission, uint16_t id);
int admission_continue_seat(struct admission *admission, uint16_t id, int listen_fd);
int admission_continue(
	struct admission *admission, struct peer *peer, int socket, bool fresh, bool full);
/* A client that was accepted at this door, and with which nothing was done. Takes the socket over. */
void admission_admit(struct admission *admission, int listen_fd, int socket);
/* Is the id a seat's? */
bool admission_is_seat(const struct admission *admission, uint16_t id);

/* A client that came in through this door is gone: for clients::left. */
void admission_left(struct door *door, uint16_t id, bool announced);

#endif
