/* SPDX-License-Identifier: BSD-2-Clause */

/* ivshmem-server: options in, a server out, and everything removed again at the end. */

#include <clock.h>
#include <daemon.h>
#include <error.h>
#include <fd.h>
#include <listener.h>
#include <log.h>
#include <loop.h>
#include <options.h>
#include <parse.h>
#include <region.h>
#include <server.h>
#include <signals.h>
#include <supervisor.h>
#include <terminal.h>

#include <ivshmem/abi.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>

#define PROGRAM "ivshmem-server"

/* Observers unless --max-observers is given: so many, and not more than this part of the descriptors. */
#define OBSERVERS_MAX  64
#define OBSERVERS_PART 16

/* Everything that is undone at the end, in whatever state the start was left. */
struct program {
	struct options options;
	struct log log;
	int report_fd; /* a daemon's, until it is ready */
	struct pid_file pid_file;
	struct region region;
	struct listener listener;
	struct listener observers; /* fd -1: nobody looks in */
	struct listener
		members[MEMBERS_MAX]; /* options.n_members; those that are bound have a path */
	struct server_seat seats[MEMBERS_MAX];
	struct loop *loop;
	struct loop_source signals;
	struct server *server;
	struct terminal terminal;
};

static void
log_syslog(void *data, enum log_level level, const char *message)
{
	static const int priorities[] = {LOG_ERR, LOG_WARNING, LOG_INFO, LOG_DEBUG};

	(void)data;
	syslog(priorities[level], "%s", message);
}

/* A daemon that cannot start says so to whoever started it. */
static int
fail(const struct program *program, const struct error *error)
{
	log_error(&program->log, "%s", error->message);
	return error->code;
}

static int
fail_errno(const struct program *program, int code, const char *what)
{
	log_error(&program->log, "%s: %s", what, strerror(-code));
	return code;
}

static void
quit(struct loop_source *source, uint32_t events)
{
	(void)events;
	if (signals_take(source))
		loop_quit(source->loop);
}

/* What is dangerous about the memory, though it is what was asked for. */
static void
warn_of_memory(const struct program *program, bool existing)
{
	const struct region *region = &program->region;
	char size[SIZE_TEXT_MAX], room[SIZE_TEXT_MAX];

	if (existing && ((region->owner != geteuid() && region->owner != 0) || region->mode & 022))
		log_warning(&program->log,
			"the existing object '%s' belongs to user %u and has mode %04o: who may "
			"write it can resize it, and so kill every VM that maps it",
			region->name, (unsigned)region->owner, (unsigned)region->mode);
	if (region->room < region->size)
		log_warning(&program->log,
			"the shared memory has %s, but its file system has room for %s only: "
			"whoever uses more is killed by SIGBUS; make room, or find out at the "
			"start (--preallocate)",
			format_size(region->size, size), format_size(region->room, room));
}

static int
start_memory(struct program *program)
{
	const struct region_config *config = &program->options.memory;
	const struct region *region = &program->region;
	char wanted[SIZE_TEXT_MAX], got[SIZE_TEXT_MAX];
	const char *allocated = config->preallocate ? ", allocated" : "";
	bool existing, exact;
	struct error error;

	if (region_open(&program->region, config, &error) < 0)
		return fail(program, &error);
	existing = config->kind == REGION_SHM && !region->created;
	exact = region->size == config->size;
	format_size(config->size, wanted);
	format_size(region->size, got);
	if (existing)
		log_info(&program->log, "shared memory of %s%s: the existing object '%s'%s%s", got,
			allocated, region->name, exact ? "" : ", instead of ", exact ? "" : wanted);
	else
		log_info(&program->log, "shared memory of %s%s%s%s%s", got,
			region->sealed ? ", sealed" : "", allocated,
			exact ? "" : ", rounded up from ", exact ? "" : wanted);
	warn_of_memory(program, existing);
	return 0;
}

/* How many descriptors are open: they are handed out from below. All, if there is none left. */
static unsigned
descriptors_used(const struct program *program, unsigned long limit)
{
	int fd = fcntl(program->listener.fd, F_DUPFD_CLOEXEC, 0);

	fd_close(fd);
	if (fd >= 0)
		return (unsigned)fd;
	return limit < UINT_MAX ? (unsigned)limit : UINT_MAX;
}

static int
fail_limit(const struct program *program, unsigned long limit)
{
	log_error(&program->log,
		"the limit of %lu file descriptors is too low for a client with %u vector%s; "
		"raise it (ulimit -n)",
		limit, program->options.n_vectors, program->options.n_vectors == 1 ? "" : "s");
	return -EMFILE;
}

/* Those who look in are few, and get a small part of the descriptors. */
static unsigned
max_observers(const struct program *program, unsigned long limit)
{
	unsigned long part = limit / OBSERVERS_PART;

	if (program->observers.fd < 0)
		return 0;
	if (program->options.max_observers)
		return program->options.max_observers;
	if (part == 0)
		return 1;
	return part < OBSERVERS_MAX ? (unsigned)part : OBSERVERS_MAX;
}

static int
start_server(struct program *program, unsigned long limit)
{
	const struct options *options = &program->options;
	struct server_config config = {
		.loop = program->loop,
		.log = &program->log,
		.listen_fd = program->listener.fd,
		.memory_fd = program->region.fd,
		.n_vectors = options->n_vectors,
		.max_peers = options->max_peers,
		.observer_listen_fd = program->observers.fd,
		.max_observers = max_observers(program, limit),
		.seats = program->seats,
		.n_seats = options->n_members,
		.stall_limit_ns = options->stall_limit_ms * NSEC_PER_MSEC,
	};
	unsigned used, capacity;
	int r = server_new(&program->server, &config);

	if (r == -EMFILE)
		return fail_limit(program, limit);
	if (r < 0)
		return fail_errno(program, r, "cannot start serving");
	/* The server has made the first client's vectors already. */
	used = descriptors_used(program, limit);
	used -= used < options->n_vectors ? used : options->n_vectors;
	/* Nobody who looks in, and nobody who comes first, takes the room of those who have a seat. */
	capacity = server_capacity(
		limit, used + config.max_observers + config.n_seats, options->n_vectors);
	if (capacity == 0)
		return fail_limit(program, limit);
	capacity += config.n_seats;
	if (capacity > IVSHMEM_MAX_ID + 1)
		capacity = IVSHMEM_MAX_ID + 1;
	if (options->max_peers && options->max_peers < capacity)
		capacity = options->max_peers;
	else if (options->max_peers > capacity)
		log_warning(&program->log,
			"the limit of %lu file descriptors allows fewer peers than --max-peers %u",
			limit, options->max_peers);
	log_info(&program->log, "room for %u peers of %u vector%s each (%lu file descriptors)",
		capacity, options->n_vectors, options->n_vectors == 1 ? "" : "s", limit);
	return 0;
}

/* Bind a socket besides the first; its rights are the same, because it leads to the same memory. */
static int
bind_more(struct program *program, struct listener *listener, const char *path)
{
	const struct options *options = &program->options;
	struct listener_config config = {
		.path = path,
		.mode = options->socket_mode,
		.owner = options->socket_owner,
		.group = options->socket_group,
	};
	struct error error;

	return listener_bind(listener, &config, &error) < 0 ? fail(program, &error) : 0;
}

static int
start_observer_socket(struct program *program)
{
	const struct options *options = &program->options;
	char beside[sizeof(program->observers.path)];
	int length;

	if (program->observers.fd >= 0)
		return 0;
	if (options->observer_socket)
		return options->observer_socket[0]
			       ? bind_more(program, &program->observers, options->observer_socket)
			       : 0;
	/* A socket that is not in the file system has nothing beside it. */
	if (options->socket[0] == '@' || options->socket[0] == '\0')
		return 0;
	length = snprintf(beside, sizeof(beside), "%s" IVSHMEM_OBSERVER_SUFFIX, options->socket);
	if (length >= (int)sizeof(beside)) {
		log_warning(&program->log,
			"there is no socket for observers, because its path '%s%s' would be too "
			"long; give another one (--observer-socket), or every 'ivshmem info' takes "
			"an id",
			options->socket, IVSHMEM_OBSERVER_SUFFIX);
		return 0;
	}
	return bind_more(program, &program->observers, beside);
}

static int
start_member_sockets(struct program *program)
{
	for (unsigned i = 0; i < program->options.n_members; i++) {
		const struct member_option *member = &program->options.members[i];
		int r = bind_more(program, &program->members[i], member->socket);

		if (r < 0)
			return r;
		program->seats[i] = (struct server_seat){member->id, program->members[i].fd};
	}
	return 0;
}

/* Nobody gets in before there is something to give. */
static int
listen_all(struct program *program)
{
	struct error error;
	int r = 0;

	/* Observers first: a tool that finds nobody there, but here, would join instead. */
	if (program->observers.fd >= 0)
		r = listener_listen(&program->observers, &error);
	if (r == 0)
		r = listener_listen(&program->listener, &error);
	for (unsigned i = 0; r == 0 && i < program->options.n_members; i++)
		r = listener_listen(&program->members[i], &error);
	return r < 0 ? fail(program, &error) : 0;
}

/*
 * Take over the sockets that a supervisor has made: the one with the name "observers" is for them,
 * the other one for clients.
 */
static int
adopt_sockets(struct program *program)
{
	struct supervisor_socket sockets[SUPERVISOR_SOCKETS_MAX];
	struct options *options = &program->options;
	struct error error;
	int n = supervisor_sockets(sockets, &error);

	for (int i = 0; i < n; i++) {
		bool observers = strcmp(sockets[i].name, "observers") == 0;
		struct listener *listener = observers ? &program->observers : &program->listener;

		if (listener->fd >= 0)
			n = error_set(&error, -E2BIG,
				"more sockets are passed by LISTEN_FDS than one for clients and "
				"one with the name 'observers' for observers");
		else if (listener_adopt(listener, sockets[i].fd, &error) < 0)
			n = error.code;
	}
	if (n > 0 && program->listener.fd < 0)
		n = error_set(&error, -EINVAL, "LISTEN_FDS passes no socket for clients");
	if (n > 0 && options->socket_given && !listener_is_at(&program->listener, options->socket))
		n = error_set(&error, -EINVAL,
			"LISTEN_FDS passes the socket '%s', but -S says '%s': leave -S out",
			program->listener.path, options->socket);
	if (n < 0)
		return fail(program, &error);
	if (n > 0)
		options->socket = program->listener.path;
	return 0;
}

static int
start_socket(struct program *program)
{
	const struct options *options = &program->options;
	struct listener_config config = {
		.path = options->socket,
		.mode = options->socket_mode,
		.owner = options->socket_owner,
		.group = options->socket_group,
	};
	struct error error;

	if (program->listener.fd < 0 && listener_bind(&program->listener, &config, &error) < 0)
		return fail(program, &error);
	return 0;
}

static int
start(struct program *program)
{
	const struct options *options = &program->options;
	unsigned long limit = fd_raise_limit();
	struct error error;
	int r;

	/* First what belongs to one server only: who is not that server changes nothing. */
	if (!options->foreground &&
		pid_file_open(&program->pid_file, options->pid_file, &error) < 0)
		return fail(program, &error);
	r = start_socket(program);
	if (r == 0)
		r = start_observer_socket(program);
	if (r == 0)
		r = start_member_sockets(program);
	if (r == 0)
		r = start_memory(program);
	if (r < 0)
		return r;
	r = loop_new(&program->loop);
	if (r == 0)
		r = signals_watch(program->loop, &program->signals, quit);
	if (r < 0)
		return fail_errno(program, r, "cannot start the event loop");
	r = listen_all(program);
	if (r == 0)
		r = start_server(program, limit);
	if (r < 0)
		return r;
	for (unsigned i = 0; i < options->n_members; i++)
		log_info(&program->log, "peer %u has a place of its own on %s",
			options->members[i].id, program->members[i].path);
	if (program->observers.fd >= 0)
		log_info(&program->log, "observers look in on %s", program->observers.path);
	log_info(&program->log, "listening on %s", options->socket);
	return 0;
}

/* What a supervisor waits for. */
static void
notify_ready(const struct program *program)
{
	int r = supervisor_notify("READY=1\nMAINPID=%d\nSTATUS=Listening on %s", (int)getpid(),
		program->options.socket);

	if (r < 0)
		log_warning(&program->log, "cannot tell the supervisor that we are ready: %s",
			strerror(-r));
}

static void
stop(struct program *program)
{
	supervisor_notify("STOPPING=1");
	/* The path first: nobody new comes while the others are being disconnected. */
	listener_close(&program->listener);
	listener_close(&program->observers);
	for (unsigned i = 0; i < program->options.n_members; i++)
		if (program->members[i].path[0])
			listener_close(&program->members[i]);
	server_free(program->server);
	signals_unwatch(&program->signals);
	loop_free(program->loop);
	region_close(&program->region);
	pid_file_close(&program->pid_file);
}

static int
run(struct program *program)
{
	int r = start(program);

	if (r == 0) {
		if (program->report_fd >= 0) {
			openlog(PROGRAM, LOG_PID, LOG_DAEMON);
			program->log.write = log_syslog;
			daemon_ready(fd_take(&program->report_fd));
			log_info(&program->log, "serving on %s", program->options.socket);
		}
		notify_ready(program);
		r = loop_run(program->loop);
		if (r < 0)
			fail_errno(program, r, "the event loop failed");
		else
			log_info(&program->log, "ending, %u peers connected",
				server_n_peers(program->server));
	}
	stop(program);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

int
main(int argc, char **argv)
{
	struct program program = {
		.log = {.level = LOG_LEVEL_INFO,
			.write = terminal_write,
			.data = &program.terminal},
		.terminal.program = PROGRAM,
		.report_fd = -1,
		.pid_file.fd = -1,
		.region.fd = -1,
		.listener.fd = -1,
		.observers.fd = -1,
	};
	struct error error;
	bool usage;

	if (fd_open_standard() < 0)
		return EXIT_FAILURE;
	signals_ignore();

	if (options_parse(argc, argv, &program.options, &usage, &error) < 0) {
		fail(&program, &error);
		if (usage)
			fputs(options_usage, stdout);
		else
			fputs("Try '" PROGRAM " --help'.\n", stderr);
		return EXIT_FAILURE;
	}
	if (program.options.action == ACTION_HELP) {
		fputs(options_usage, stdout);
		return EXIT_SUCCESS;
	}
	if (program.options.action == ACTION_VERSION) {
		puts(PROGRAM " " IVSHMEM_VERSION);
		return EXIT_SUCCESS;
	}
	if (program.options.ignored)
		log_warning(&program.log, "argument '%s' and what follows is ignored",
			program.options.ignored);
	if (program.options.verbose)
		program.log.level = LOG_LEVEL_DEBUG;
	/* In the process that they are meant for. */
	if (adopt_sockets(&program) < 0)
		return EXIT_FAILURE;
	if (!program.options.foreground) {
		int fd = daemon_start();

		if (fd < 0) {
			fail_errno(&program, fd, "cannot go into the background");
			return EXIT_FAILURE;
		}
		program.report_fd = fd;
	}

	/*
	 * Before anything exists that would have to be removed: a signal at any instant waits for the
	 * loop. But not before the options are understood, for which a service of names may be asked
	 * that does not answer, and not in the process that waits for the daemon.
	 */
	signals_hold();
	return run(&program);
}
