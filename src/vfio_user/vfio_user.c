/* SPDX-License-Identifier: BSD-2-Clause */
#include <vfio_user/vfio_user.h>

#include <base/clock.h>
#include <base/error.h>
#include <base/eventfd.h>
#include <base/fd.h>
#include <base/list.h>
#include <base/pace.h>
#include <trace/trace.h>
#include <vfio_user/handlers.h>
#include <vfio_user/journal.h>
#include <vfio_user/refusal.h>
#include <vfio_user/vfio_user_parts.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

/* Only the JSON library makes deep calls in the access thread, and it limits itself. */
#define STACK_SIZE ((size_t)1 << 20)

/* ---- the access thread ------------------------------------------------------------------------ */

static void
lock(struct vfio_user *vfio_user)
{
	turn_take(&vfio_user->turn);
}

static void
unlock(struct vfio_user *vfio_user)
{
	turn_give_back(&vfio_user->turn);
}

static void
log_end(struct vfio_user *vfio_user, int code, const struct request *request)
{
	char who[PROCESS_TEXT_MAX];

	process_describe(&vfio_user->vmm, who);
	TRACE(vmm_disconnected, vfio_user->vmm.pid, code);
	lock(vfio_user);
	if (code == 0 || code == -ECONNRESET || code == -EPIPE)
		pace_printf(&vfio_user->visits, "the VMM disconnected (%s)", who);
	else
		refusal_log_end(&vfio_user->complaints, code, &request->header);
	unlock(vfio_user);
}

/* What the journal is to have from now on. */
static struct journal_state
journal_state(const struct vfio_user *vfio_user)
{
	return (struct journal_state){
		.session = &vfio_user->session,
		.channel = &vfio_user->channel,
		.socket = vfio_user->socket,
		.who = &vfio_user->vmm,
		.member = member_kept(vfio_user->function->member),
	};
}

static void
commit_session(struct vfio_user *vfio_user)
{
	struct journal_state state;

	if (!vfio_user->journal)
		return;
	state = journal_state(vfio_user);
	journal_commit_session(vfio_user->journal, &state);
}

static void
commit_request(struct vfio_user *vfio_user, const struct request *request,
	const struct vfio_user_header *header, bool end)
{
	struct journal_state state;
	struct reply *reply = &vfio_user->reply;

	if (!vfio_user->journal)
		return;
	if (request->header.flags & VFIO_USER_NO_REPLY) {
		reply_drop(reply);
		reply = NULL;
	} else {
		memcpy(reply->message, header, sizeof(*header));
	}
	channel_close_fds(&vfio_user->channel);
	state = journal_state(vfio_user);
	journal_commit_request(
		vfio_user->journal, &state, reply, end, request_is_access(request->header.command));
	vfio_user->channel.is_ahead = false;
	/* They are the journal's, which kept_send() closes. */
	vfio_user->reply.n_fds = 0;
}

/* A message of impossible size cannot be read, but its sender gets a reply all the same. */
static void
refuse_size(struct vfio_user *vfio_user, const struct request *request)
{
	struct vfio_user_header header;

	if (request->header.flags & VFIO_USER_NO_REPLY)
		return;
	refusal_reply(&request->header, EINVAL, &header);
	lock(vfio_user);
	commit_request(vfio_user, request, &header, true);
	unlock(vfio_user);
	channel_send(&vfio_user->channel, &header, &vfio_user->reply);
}

/* Send what is left of the last reply of the process before. Returns whether there is more to do. */
static bool
send_rest(struct vfio_user *vfio_user)
{
	struct kept *kept = journal_kept(vfio_user->journal);

	if (!kept_state(kept)->sent && kept_send(&vfio_user->channel) < 0)
		return false;
	return !kept_state(kept)->end;
}

static void
serve(struct vfio_user *vfio_user)
{
	struct request request;
	struct vfio_user_header header;
	bool end = false;
	int r;

	if (vfio_user->journal && !send_rest(vfio_user))
		return;
	while (!end) {
		r = channel_receive(&vfio_user->channel, &request);
		vfio_user->reply.length = 0;
		if (r <= 0) {
			log_end(vfio_user, r, &request);
			if (r == -EMSGSIZE)
				refuse_size(vfio_user, &request);
			return;
		}
		lock(vfio_user);
		if (vfio_user->ending) {
			unlock(vfio_user);
			return;
		}
		end = handle_request(&vfio_user->session, &request, &header, &vfio_user->reply);
		commit_request(vfio_user, &request, &header, end);
		unlock(vfio_user);
		if (request.header.flags & VFIO_USER_NO_REPLY) {
			reply_drop(&vfio_user->reply);
			continue;
		}
		r = channel_send(&vfio_user->channel, &header, &vfio_user->reply);
		if (r < 0) {
			log_end(vfio_user, r, &request);
			return;
		}
	}
}

static void *
access_thread(void *data)
{
	struct vfio_user *vfio_user = data;

	serve(vfio_user);
	channel_shut(vfio_user->socket);
	/* It does this last, and without the lock: the loop thread now waits for its end. */
	eventfd_ring(vfio_user->done.fd);
	return NULL;
}

/* ---- VMMs come and go, in the loop thread ------------------------------------------------------- */

static void
release(struct vfio_user *vfio_user)
{
	channel_done(&vfio_user->channel);
	reply_done(&vfio_user->reply);
	function_restart(vfio_user->function);
	channel_shut(vfio_user->socket);
	vfio_user->socket = fd_close(vfio_user->socket);
	commit_session(vfio_user);
	rejoin_allow(&vfio_user->successor.rejoin, true);
}

/* Start the access thread. It gets none of the signals that the loop waits for. */
static int
start_thread(struct vfio_user *vfio_user)
{
	static const int faults[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};
	pthread_attr_t attr;
	sigset_t all, before;
	int r = pthread_attr_init(&attr);

	if (r != 0)
		return -r;
	sigfillset(&all);
	/* If they are blocked, the kernel ends the process without calling their handlers. */
	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
		sigdelset(&all, faults[i]);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pthread_attr_setstacksize(&attr, STACK_SIZE);
	r = pthread_create(&vfio_user->thread, &attr, access_thread, vfio_user);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	return -r;
}

/* Room for the requests and replies of the VMM on `vfio_user->socket`. */
static int
open_channel(struct vfio_user *vfio_user)
{
	struct kept *kept = vfio_user->journal ? journal_kept(vfio_user->journal) : NULL;
	int r = channel_init(&vfio_user->channel, vfio_user->socket, vfio_user->spin_ns, kept);

	return r < 0 ? r : reply_init(&vfio_user->reply, kept ? kept->outbox : NULL);
}

static int
begin(struct vfio_user *vfio_user, int *socket, const struct process *who)
{
	char text[PROCESS_TEXT_MAX];
	int r;

	rejoin_allow(&vfio_user->successor.rejoin, false);
	function_restart(vfio_user->function);
	session_init(&vfio_user->session, vfio_user->function, &vfio_user->complaints);
	vfio_user->vmm = *who;
	vfio_user->vmm_since = clock_now();
	TRACE(vmm_connected, who->pid, who->uid);
	vfio_user->socket = fd_take(socket);
	r = open_channel(vfio_user);
	if (r == 0)
		commit_session(vfio_user);
	/* Logged before the thread can log its end. */
	if (r == 0) {
		pace_printf(&vfio_user->visits, "a VMM connected (%s)",
			process_describe(&vfio_user->vmm, text));
		r = start_thread(vfio_user);
	}
	if (r < 0)
		release(vfio_user);
	return r;
}

/* Whether its end of the connection is closed already. */
static bool
is_gone(int socket)
{
	struct pollfd state = {.fd = socket, .events = POLLRDHUP};

	return poll(&state, 1, 0) == 1 && (state.revents & (POLLRDHUP | POLLHUP | POLLERR));
}

static enum door_state
place(void *data)
{
	struct vfio_user *vfio_user = data;

	/* If a server is back by now, the VMM is to have its group. */
	if (vfio_user->socket < 0)
		return rejoin_try(&vfio_user->successor.rejoin) ? DOOR_SOON : DOOR_OPEN;
	return is_gone(vfio_user->socket) ? DOOR_SOON : DOOR_CLOSED;
}

static void
enter(int *socket, const struct process *who, void *data)
{
	struct vfio_user *vfio_user = data;
	int r = begin(vfio_user, socket, who);

	if (r < 0)
		pace_printf(&vfio_user->complaints, "process %d cannot be served: %s",
			(int)who->pid, strerror(-r));
	if (r < 0 || vfio_user->successor.rejoin.state == REJOIN_JOINED)
		return;
	pace_printf(&vfio_user->complaints,
		"the server is gone: the VM gets the memory and the peers that it left behind, and hears of no others");
}

static void
done(struct loop_source *source, uint32_t events)
{
	struct vfio_user *vfio_user = container_of(source, struct vfio_user, done);
	uint64_t count;

	(void)events;
	if (eventfd_take(source->fd, &count) < 0)
		return;
	pthread_join(vfio_user->thread, NULL);
	release(vfio_user);
	if (vfio_user->only_one)
		vfio_user_quit(vfio_user);
	door_look(&vfio_user->door);
}

/* ---- life --------------------------------------------------------------------------------------- */

static int
watch_done(struct vfio_user *vfio_user)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	int r = fd < 0 ? -errno : loop_add(vfio_user->loop, &vfio_user->done, fd, EPOLLIN, done);

	if (r < 0) {
		fd_close(fd);
		vfio_user->done.fd = -1;
	}
	return r;
}

/* Make a function for a member, which decides what the options leave open. */
static int
make_function(struct function **ret_function, const struct vfio_user *vfio_user,
	struct member *member, struct ivshmem_error *reterr)
{
	struct function *function = malloc(sizeof(*function));
	struct ivshmem_device_config device = vfio_user->device;
	int r;

	/* Plain returns: the analyser does not know that error_set() returns its code. */
	if (!function) {
		error_set(reterr, -ENOMEM, "out of memory");
		return -ENOMEM;
	}
	if (device.revision > 0) {
		device.memory_size = member_memory_size(member);
		device.id = member_id(member);
	}
	r = function_init(function, vfio_user->loop, member, &device, vfio_user->log, reterr);
	if (r < 0) {
		free(function);
		return r;
	}
	*ret_function = function;
	return 0;
}

static void
free_function(struct function *function)
{
	if (function)
		function_done(function);
	free(function);
}

/* No VMM is there, so nobody sees the device change. */
static int
replace(struct member *next, void *data, struct ivshmem_error *reterr)
{
	struct vfio_user *vfio_user = data;
	struct function *function = NULL, *previous = vfio_user->function;
	struct member *member = previous->member;
	int r = make_function(&function, vfio_user, next, reterr);

	if (r < 0)
		return r;
	function->tally = previous->tally;
	tally_forget_peers(&function->tally);
	vfio_user->function = vfio_user->session.function = function;
	free_function(previous);
	member_close(member);
	commit_session(vfio_user);
	if (vfio_user->rejoined)
		vfio_user->rejoined(next, vfio_user->data);
	return 0;
}

static void
settled(void *data)
{
	struct vfio_user *vfio_user = data;

	door_look(&vfio_user->door);
}

static void
init_parts(struct vfio_user *vfio_user, const struct vfio_user_config *config)
{
	vfio_user->door = (struct door){
		.loop = config->loop,
		.complaints = &vfio_user->complaints,
		.grace_ns = config->grace_ns,
		.listener_lasts = config->listener_lasts,
		.state = place,
		.enter = enter,
		.data = vfio_user,
	};
	door_init(&vfio_user->door);
	vfio_user->successor = (struct successor){
		.replace = replace,
		.settled = settled,
		.data = vfio_user,
	};
	if (config->join)
		vfio_user->successor.config = *config->join;
	if (config->journal)
		vfio_user->successor.spare = journal_spare(config->journal);
	successor_init(&vfio_user->successor, config->loop, config->log);
}

int
vfio_user_new(struct vfio_user **ret_vfio_user, const struct vfio_user_config *config,
	struct ivshmem_error *reterr)
{
	struct vfio_user *vfio_user = calloc(1, sizeof(*vfio_user));
	int r;

	if (!vfio_user)
		return error_set(reterr, -ENOMEM, "out of memory");
	turn_init(&vfio_user->turn);
	vfio_user->loop = config->loop;
	vfio_user->log = config->log;
	vfio_user->visits = (struct pace){.log = config->log, .level = LOG_LEVEL_INFO};
	vfio_user->complaints = (struct pace){.log = config->log, .level = LOG_LEVEL_WARNING};
	vfio_user->device = *config->device;
	vfio_user->rejoined = config->rejoined;
	vfio_user->data = config->data;
	vfio_user->spin_ns = config->spin_ns;
	vfio_user->since = clock_now();
	vfio_user->journal = config->journal;
	vfio_user->socket = -1;
	vfio_user->done.fd = -1;
	init_parts(vfio_user, config);
	r = make_function(&vfio_user->function, vfio_user, config->member, reterr);
	if (r == 0) {
		r = watch_done(vfio_user);
		if (r < 0)
			error_set(reterr, r, "cannot make an eventfd: %s", strerror(-r));
	}
	if (r < 0) {
		vfio_user_free(vfio_user);
		return r;
	}
	session_init(&vfio_user->session, vfio_user->function, &vfio_user->complaints);
	if (config->journal && !journal_has_begun(config->journal))
		commit_session(vfio_user);
	*ret_vfio_user = vfio_user;
	return 0;
}

int
vfio_user_listen(struct vfio_user *vfio_user, int socket)
{
	return door_listen(&vfio_user->door, socket);
}

int
vfio_user_serve(struct vfio_user *vfio_user, int *socket)
{
	int flags = fcntl(*socket, F_GETFL);
	struct process who;

	/* The access thread sleeps in reads of it. */
	if (flags < 0 || fcntl(*socket, F_SETFL, flags & ~O_NONBLOCK) < 0 ||
		fcntl(*socket, F_SETFD, FD_CLOEXEC) < 0)
		return -errno;
	who = process_behind(*socket);
	vfio_user->only_one = true;
	return begin(vfio_user, socket, &who);
}

int
vfio_user_continue(struct vfio_user *vfio_user, bool only_one, struct ivshmem_error *reterr)
{
	int socket = journal_socket(vfio_user->journal, &vfio_user->vmm);
	int r = journal_read(vfio_user->journal, &vfio_user->session, reterr);

	if (r < 0)
		return r;
	vfio_user->only_one = only_one;
	vfio_user->socket = socket;
	member_repeat_rings(vfio_user->function->member);
	/* The last one was killed when the VMM had gone. */
	if (socket < 0 && only_one)
		vfio_user->quit = true;
	if (socket < 0)
		return 0;
	rejoin_allow(&vfio_user->successor.rejoin, false);
	r = open_channel(vfio_user);
	if (r == 0) {
		kept_read(journal_kept(vfio_user->journal), &vfio_user->channel);
		r = start_thread(vfio_user);
	}
	return r < 0 ? error_set(reterr, r, "cannot go on with the VMM: %s", strerror(-r)) : 0;
}

void
vfio_user_admit(struct vfio_user *vfio_user, int *socket)
{
	door_add(&vfio_user->door, socket);
}

struct vfio_user *
vfio_user_free(struct vfio_user *vfio_user)
{
	if (!vfio_user)
		return NULL;
	door_done(&vfio_user->door);
	if (vfio_user->socket >= 0) {
		/* A flood of requests may wait in the socket. */
		lock(vfio_user);
		vfio_user->ending = true;
		unlock(vfio_user);
		/* Wakes the access thread, wherever it waits. */
		shutdown(vfio_user->socket, SHUT_RDWR);
		pthread_join(vfio_user->thread, NULL);
		release(vfio_user);
	}
	successor_done(&vfio_user->successor);
	loop_del(&vfio_user->done);
	fd_close(vfio_user->done.fd);
	free_function(vfio_user->function);
	turn_done(&vfio_user->turn);
	pace_end(&vfio_user->visits);
	pace_end(&vfio_user->complaints);
	free(vfio_user);
	return NULL;
}

bool
vfio_user_lost(struct vfio_user *vfio_user)
{
	rejoin_lost(&vfio_user->successor.rejoin);
	return vfio_user->successor.rejoin.allowed;
}

static void
commit_round(struct vfio_user *vfio_user)
{
	struct journal_state state;

	if (!vfio_user->journal)
		return;
	state = journal_state(vfio_user);
	journal_commit_round(vfio_user->journal, &state);
}

int
vfio_user_run(struct vfio_user *vfio_user)
{
	struct pollfd ready = {.fd = loop_fd(vfio_user->loop), .events = POLLIN};
	int r = 0;

	while (!vfio_user->quit && r >= 0) {
		if (poll(&ready, 1, -1) < 0 && errno != EINTR)
			return -errno;
		lock(vfio_user);
		r = loop_dispatch(vfio_user->loop, 0);
		commit_round(vfio_user);
		unlock(vfio_user);
		if (r == -EINTR)
			r = 0;
	}
	return r < 0 ? r : 0;
}

void
vfio_user_quit(struct vfio_user *vfio_user)
{
	vfio_user->quit = true;
}
