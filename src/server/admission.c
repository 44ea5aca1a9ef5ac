/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Theory of operation
 *
 * Everything that a client will get is there before the server accepts it, so that no client is
 * accepted and then left waiting. The next member is always prepared, with its id and its eventfds.
 * The eventfds of the seats are there from the start. An observer needs nothing.
 *
 * A client that cannot be admitted is refused: instead of the version it gets a negative errno,
 * which no client takes for a version. QEMU waits for ever for a server that closes without a word,
 * but reports a wrong version and ends.
 *
 *	the limit of peers or observers is reached			-EUSERS
 *	no id can be used						-ENOSPC
 *	the seat has its holder						-EBUSY
 *	the kernel has taken nothing from anybody for a while		-ETOOMANYREFS
 *	no descriptors, or no memory					-EMFILE, -ENOMEM, ...
 *
 * If a client cannot even be accepted, the door pauses, and clients wait in its queue.
 */
#include <server/admission.h>

#include <base/clock.h>
#include <base/fd.h>
#include <server/journal.h>
#include <trace/trace.h>
#include <wire/wire.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

/* Clients accepted in one round. The events of the others wait no longer than that. */
#define ACCEPT_BATCH 128

/* When the kernel has taken nothing for so long, the server refuses newcomers instead of letting
 * them wait. */
#define STARVING_LIMIT (10 * NSEC_PER_SEC)

/* The server counts the ids that are used up when so many have been given back since the last
 * time. */
#define COUNT_IDS_EVERY 256

/* It warns at this share of all ids, and may warn again after the share was lower. */
#define IDS_WARN_PERCENT 80

struct door {
	struct admission *admission;
	struct list link;          /* admission::doors */
	enum peer_kind kind;       /* what a client becomes that comes in here */
	struct loop_source source; /* source.fd is borrowed */
	struct loop_timer timer;   /* ends a pause in accepting */
	bool refusing, pausing;    /* the log has it: each trouble is told once, when it begins */
	struct peer *seat;         /* of holders */
	struct client *holder;     /* of the seat, NULL if it is free */
	bool taken;                /* the seat has had a holder, and is on the roster */
};

/* ---- ids ------------------------------------------------------------------------------------- */

/* Warn in time that the ids will run out; once, and again when there were more in between. */
static void
watch_ids(struct admission *admission)
{
	const struct roster *roster = admission->clients->roster;
	const struct peer *oldest = roster_oldest_peer(roster);
	uint32_t spent;

	admission->released = 0;
	spent = ids_spent(admission->ids, roster_oldest(roster));
	if (spent < IDS_COUNT / 100 * IDS_WARN_PERCENT) {
		admission->warned_of_ids = false;
		return;
	}
	if (admission->warned_of_ids || !oldest)
		return;
	admission->warned_of_ids = true;
	pace_printf(admission->warnings,
		"%u of %d ids are used up: one that was announced cannot come again while a "
		"client that was there is connected; peer %u has been there longest, and when it "
		"leaves, ids come free; clients that only look can do so without an id%s",
		spent, IDS_COUNT, oldest->id,
		admission->max_observers > 0
			? ", on the observers' socket"
			: " if there is an observers' socket (--observer-socket)");
}

void
admission_left(struct door *door, uint16_t id, bool announced)
{
	struct admission *admission = door->admission;

	door->holder = NULL;
	if (door->kind != PEER_MEMBER)
		return;
	admission->n_members--;
	ids_release(admission->ids, id, announced);
	if (announced && ++admission->released >= COUNT_IDS_EVERY)
		watch_ids(admission);
}

/* ---- who may come in, and as what ------------------------------------------------------------ */

static int
prepare_member(struct admission *admission)
{
	uint16_t id;
	int r;

	/* Seats stay free for those who are entitled to them. */
	if (admission->max_peers &&
		admission->n_members + admission->n_seats >= admission->max_peers)
		return -EUSERS;
	if (admission->prepared)
		return 0;
	r = ids_take(admission->ids, roster_oldest(admission->clients->roster), &id);
	if (r < 0)
		return r;
	r = peer_new(&admission->prepared, id, admission->n_vectors);
	if (r < 0)
		ids_release(admission->ids, id, false);
	else
		journal_prepared(admission->clients->journal, id);
	return r;
}

/* See to it that all is there for the next client, or say with -errno why it has to be refused. */
static int
prepare(struct door *door)
{
	struct admission *admission = door->admission;

	if (clients_are_stuck(admission->clients, STARVING_LIMIT))
		return -ETOOMANYREFS;
	if (door->kind == PEER_MEMBER)
		return prepare_member(admission);
	if (door->kind == PEER_OBSERVER &&
		admission->clients->roster->n_observers >= admission->max_observers)
		return -EUSERS;
	return 0;
}

/* The peer that the client becomes. If it does not join, the caller frees it, unless it is the
 * prepared one. */
static int
make_peer(struct door *door, struct peer **ret_peer)
{
	struct admission *admission = door->admission;
	int r;

	if (door->kind == PEER_OBSERVER)
		return peer_new_observer(ret_peer);
	if (door->kind == PEER_MEMBER) {
		*ret_peer = admission->prepared;
		return 0;
	}
	/* The others know the seat from now on, and for good. */
	if (!door->taken) {
		r = roster_join(admission->clients->roster, door->seat, ids_stamp(admission->ids));
		if (r < 0)
			return r;
		door->taken = true;
		journal_seat(admission->clients->journal, door->seat);
	}
	return peer_new_holder(ret_peer, door->seat);
}

/* Make a client of the socket, which is taken over if that succeeds. After prepare(). */
static int
admit(struct door *door, int socket)
{
	struct admission *admission = door->admission;
	struct client *client;
	struct peer *peer = NULL;
	int r = client_new(&client, admission->clients, door, socket);

	if (r < 0)
		return r;
	r = make_peer(door, &peer);
	if (r == 0)
		r = client_join(client, peer, ids_stamp(admission->ids));
	if (r < 0) {
		if (peer != admission->prepared)
			peer_free(peer);
		client_free(client);
		return r;
	}
	journal_joined(admission->clients->journal, peer, socket);
	if (door->kind == PEER_MEMBER) {
		admission->prepared = NULL;
		admission->n_members++;
	} else if (door->kind == PEER_HOLDER) {
		door->holder = client;
	}
	return 0;
}

/* ---- doors ----------------------------------------------------------------------------------- */

static const char *
refusal(const struct door *door, int reason)
{
	switch (reason) {
	case -ENOSPC:
		return "no id can be used: all are taken, or were announced to a client that is "
		       "still connected (let those that have been there longest join anew)";
	case -EUSERS:
		return door->kind == PEER_OBSERVER
			       ? "there are as many observers as allowed (--max-observers)"
			       : "there are as many peers as allowed (--max-peers)";
	case -EMFILE:
		return "this process has no file descriptors left (raise its limit, or use fewer vectors)";
	case -ETOOMANYREFS:
		return "too many descriptors that were sent to clients are unread (raise this "
		       "process's limit on file descriptors, or give it CAP_SYS_RESOURCE)";
	case -EBUSY:
		return "this id has its member";
	default:
		return strerror(-reason);
	}
}

/* Takes the socket over. */
static void
door_refuse(struct door *door, int socket, int reason)
{
	const struct wire_message message = {reason, -1};
	struct admission *admission = door->admission;
	struct journal *journal = admission->clients->journal;

	if (!door->refusing && door->kind == PEER_HOLDER)
		pace_printf(admission->warnings,
			"new clients for the place of peer %u are refused: %s", door->seat->id,
			refusal(door, reason));
	else if (!door->refusing)
		pace_printf(admission->warnings, "new %s are refused: %s; %u peers are connected",
			door->kind == PEER_OBSERVER ? "observers" : "clients",
			refusal(door, reason), admission->clients->roster->n_present);
	door->refusing = true;
	TRACE(server_refused, reason, admission->clients->roster->n_present);
	journal_refusing(journal, socket);
	wire_send_noted(socket, &message, 1, journal_headers(journal));
	fd_close(socket);
	journal_closed(journal);
}

static int
open_spare(void)
{
	return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/* Accept a client only to refuse it, when there is no descriptor left: borrow the one that is kept
 * for this. */
static int
door_accept_spare(struct door *door)
{
	struct admission *admission = door->admission;
	int socket, r = 0;

	admission->spare_fd = fd_close(admission->spare_fd);
	socket = accept4(door->source.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (socket >= 0)
		door_refuse(door, socket, -EMFILE);
	else
		r = -errno;
	admission->spare_fd = open_spare();
	return r;
}

static void
door_resume(struct loop_timer *timer)
{
	struct door *door = container_of(timer, struct door, timer);
	struct admission *admission = door->admission;

	if (admission->spare_fd < 0)
		admission->spare_fd = open_spare();
	loop_set_events(&door->source, EPOLLIN);
}

static void
door_pause(struct door *door, int error)
{
	struct admission *admission = door->admission;

	if (!door->pausing)
		pace_printf(admission->warnings, "cannot accept clients for now: %s; they wait",
			strerror(-error));
	door->pausing = true;
	TRACE(server_paused, error);
	loop_set_events(&door->source, 0);
	loop_timer_set(admission->loop, &door->timer, clock_now() + RETRY, door_resume);
}

static bool
has_gone(int socket)
{
	char byte;

	return recv(socket, &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0 ||
	       (errno != EAGAIN && errno != EINTR);
}

/* What becomes of a client that was accepted; `r` is what prepare() said. Takes the socket over. */
static void
door_take(struct door *door, int socket, int r)
{
	/* A client that has already gone leaves no trace: it takes no id, and nobody hears of it. */
	if (has_gone(socket)) {
		fd_close(socket);
		return;
	}
	/* A holder that restarts may be back before the event of its end is. */
	if (door->holder && has_gone(door->holder->source.fd))
		client_left(door->holder);
	if (r == 0)
		r = door->holder ? -EBUSY : admit(door, socket);
	if (r < 0)
		door_refuse(door, socket, r);
	else
		door->refusing = door->pausing = false;
}

void
admission_admit(struct admission *admission, int listen_fd, int socket)
{
	list_for_each (link, &admission->doors) {
		struct door *door = container_of(link, struct door, link);

		if (door->source.fd != listen_fd)
			continue;
		door_take(door, socket, prepare(door));
		return;
	}
	fd_close(socket);
}

static void
door_accept(struct loop_source *source, uint32_t events)
{
	struct door *door = container_of(source, struct door, source);

	(void)events;
	for (unsigned i = 0; i < ACCEPT_BATCH; i++) {
		int r, socket, error;

		journal_make_room(door->admission->clients->journal);
		r = prepare(door);
		socket = accept4(source->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		error = socket < 0 ? -errno : 0;
		if (error == -EMFILE && door->admission->spare_fd >= 0) {
			error = door_accept_spare(door);
			if (error == 0)
				continue;
		}
		if (error == -EAGAIN)
			return;
		if (error == -EINTR || error == -ECONNABORTED)
			continue;
		if (error < 0) {
			door_pause(door, error);
			return;
		}
		door_take(door, socket, r);
	}
}

static int
door_open(struct admission *admission, enum peer_kind kind, struct peer *seat, int listen_fd)
{
	struct door *door = calloc(1, sizeof(*door));
	int r;

	if (!door)
		return -ENOMEM;
	*door = (struct door){.admission = admission, .kind = kind, .seat = seat};
	r = loop_add(admission->loop, &door->source, listen_fd, EPOLLIN, door_accept);
	if (r < 0) {
		free(door);
		return r;
	}
	list_append(&admission->doors, &door->link);
	return 0;
}

/* A seat that nobody has been told of. */
static int
open_new_seat(struct admission *admission, uint16_t id, int listen_fd)
{
	struct peer *seat = NULL;
	int r = peer_new_seat(&seat, id, admission->n_vectors);

	if (r == 0)
		r = door_open(admission, PEER_HOLDER, seat, listen_fd);
	if (r < 0) {
		peer_free(seat);
		return r;
	}
	admission->n_seats++;
	return 0;
}

int
admission_open_seat(struct admission *admission, uint16_t id, int listen_fd)
{
	int r = ids_reserve(admission->ids, id);

	return r < 0 ? r : open_new_seat(admission, id, listen_fd);
}

int
admission_open_members(struct admission *admission, int listen_fd)
{
	int r = prepare_member(admission);

	/* All ids may have seats, or as many as there may be peers: then there is no other
	 * client. */
	if (r < 0 && r != -EUSERS && r != -ENOSPC)
		return r;
	return door_open(admission, PEER_MEMBER, NULL, listen_fd);
}

int
admission_open_observers(struct admission *admission, int listen_fd)
{
	return door_open(admission, PEER_OBSERVER, NULL, listen_fd);
}

/* ---- going on where another server ended ----------------------------------------------------- */

bool
admission_is_seat(const struct admission *admission, uint16_t id)
{
	list_for_each (link, &admission->doors) {
		const struct door *door = container_of(link, struct door, link);

		if (door->seat && door->seat->id == id)
			return true;
	}
	return false;
}

int
admission_prepare(struct admission *admission, uint16_t id)
{
	return peer_new(&admission->prepared, id, admission->n_vectors);
}

/* The seat with this id, if it has had a holder. */
static struct peer *
find_taken_seat(const struct roster *roster, uint16_t id)
{
	list_for_each (link, &roster->log) {
		struct peer *peer = event_at(link)->peer;

		if (peer->kind == PEER_SEAT && peer->id == id)
			return peer;
	}
	return NULL;
}

int
admission_continue_seat(struct admission *admission, uint16_t id, int listen_fd)
{
	struct peer *seat = find_taken_seat(admission->clients->roster, id);
	int r;

	if (!seat)
		return open_new_seat(admission, id, listen_fd);
	r = door_open(admission, PEER_HOLDER, seat, listen_fd);
	if (r < 0)
		return r;
	container_of(admission->doors.prev, struct door, link)->taken = true;
	admission->n_seats++;
	return 0;
}

static struct door *
find_door(const struct admission *admission, const struct peer *peer)
{
	list_for_each (link, &admission->doors) {
		struct door *door = container_of(link, struct door, link);

		if (door->kind == peer->kind && door->seat == peer->seat)
			return door;
	}
	return NULL;
}

int
admission_continue(
	struct admission *admission, struct peer *peer, int socket, bool fresh, bool full)
{
	struct door *door = find_door(admission, peer);
	struct client *client;
	int r;

	if (!door)
		return -ENXIO;
	r = client_new(&client, admission->clients, door, socket);
	if (r < 0)
		return r;
	client_continue(client, peer, fresh, full);
	if (peer->kind == PEER_MEMBER)
		admission->n_members++;
	else if (peer->kind == PEER_HOLDER)
		door->holder = client;
	return 0;
}

/* ---- all of it ------------------------------------------------------------------------------- */

int
admission_init(struct admission *admission)
{
	list_init(&admission->doors);
	admission->spare_fd = open_spare();
	admission->ids = calloc(1, sizeof(*admission->ids));
	if (!admission->ids)
		return -ENOMEM;
	ids_init(admission->ids);
	return 0;
}

void
admission_done(struct admission *admission)
{
	list_for_each_safe (link, &admission->doors) {
		struct door *door = container_of(link, struct door, link);

		loop_del(&door->source);
		loop_timer_cancel(&door->timer);
		peer_free(door->seat);
		free(door);
	}
	peer_free(admission->prepared);
	fd_close(admission->spare_fd);
	free(admission->ids);
}
