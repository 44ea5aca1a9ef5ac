/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SERVER_SOCKETS_H
#define SERVER_SOCKETS_H

/*
 * The sockets that clients connect to: the one for members, the one for observers, and one for each
 * seat (--member). A supervisor may have made any of them. Beside them there is one for operators.
 */

#include <options.h>
#include <server/server.h>
#include <socket/listener.h>

struct sockets {
	struct listener clients;
	struct listener observers;            /* fd -1: there is none */
	struct listener members[MEMBERS_MAX]; /* options.n_members of them */
	struct listener control;              /* fd -1: there is none */
	struct server_seat seats[MEMBERS_MAX];
	int kept; /* what an earlier server has left with the supervisor (handover.h); -1: nothing */
};

#define HANDOVER_NAME   "ivshmem-group" /* of a group, in the store of a supervisor */
#define SOCKET_PATH_MAX sizeof(((struct listener *)0)->path)

/* Before any other of these functions. */
void sockets_init(struct sockets *sockets);
/*
 * Take over the sockets that a supervisor has made (LISTEN_FDS), by name: "observers" is for
 * observers, "control" for operators, "member-ID" for that member, whether --member names it or not, and any other name for
 * clients. HANDOVER_NAME is no socket for clients, but a group to go on with (handover.h). To be
 * called in the process that the sockets are meant for, before fork(). `options`
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
/* Where observers connect, unless a supervisor has made that socket; "" if nowhere. -ENAMETOOLONG. */
int sockets_observers_path(const struct options *options, char ret_path[SOCKET_PATH_MAX]);
/*
 * Bind the socket for operators, and let them in. Each server makes its own, whether it goes on with a
 * group or not, because nobody stays connected there. Warns in `log` if the default path cannot be
 * used.
 */
int sockets_open_control(struct sockets *sockets, const struct options *options,
	const struct log *log, struct ivshmem_error *reterr);
/* Their paths stay when they are closed, for another server that has the same sockets. */
void sockets_keep(struct sockets *sockets);
/* Close them, and remove the paths of those that we made. */
void sockets_close(struct sockets *sockets);

#endif
