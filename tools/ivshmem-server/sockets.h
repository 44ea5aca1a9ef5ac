/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SERVER_SOCKETS_H
#define SERVER_SOCKETS_H

/*
 * The sockets that clients connect to: the one for members, the one for observers, and one for each
 * seat (--member). A supervisor may have made any of them.
 */

#include <options.h>
#include <server/server.h>
#include <socket/listener.h>

struct sockets {
	struct listener clients;
	struct listener observers;            /* fd -1: there is none */
	struct listener members[MEMBERS_MAX]; /* options.n_members of them */
	struct server_seat seats[MEMBERS_MAX];
};

/* Before any other of these functions. */
void sockets_init(struct sockets *sockets);
/*
 * Take over the sockets that a supervisor has made (LISTEN_FDS), by name: "observers" is for
 * observers, "member-ID" for that member, whether --member names it or not, and any other name for
 * clients. To be called in the process that the sockets are meant for, before fork(). `options`
 * tells of them afterwards. -EINVAL, -E2BIG, -EBADF.
 */
int sockets_adopt(struct sockets *sockets, struct options *options, struct ivshmem_error *reterr);
/* Bind those that no supervisor has made. The kernel still refuses clients. Warns in `log` if there
 * can be no socket for observers. */
int sockets_bind(struct sockets *sockets, const struct options *options, const struct log *log,
	struct ivshmem_error *reterr);
/* Let clients in, once all that they will get is there. */
int sockets_listen(
	const struct sockets *sockets, const struct options *options, struct ivshmem_error *reterr);
/* Close them, and remove the paths of those that we made. */
void sockets_close(struct sockets *sockets);

#endif
