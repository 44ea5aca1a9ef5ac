/* SPDX-License-Identifier: BSD-2-Clause */

/* ivshmem-device: makes a PCI device for VMMs from options, and removes everything at the end. */

#include <base/clock.h>
#include <base/error.h>
#include <base/fd.h>
#include <base/list.h>
#include <base/log.h>
#include <base/parse.h>
#include <common/crash.h>
#include <common/guardian.h>
#include <common/sandbox.h>
#include <common/signals.h>
#include <common/supervisor.h>
#include <common/terminal.h>
#include <confine.h>
#include <loop/loop.h>
#include <member/member.h>
#include <operators.h>
#include <options.h>
#include <socket/listener.h>
#include <trace/trace.h>
#include <vfio_user/journal.h>
#include <vfio_user/vfio_user.h>

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PROGRAM "ivshmem-device"

#define EXIT_USAGE 2

/* The pause between two looks for a server. */
#define WAIT_STEP_MS 100

/* Everything that stop() undoes, however far the start came. */
struct program {
	struct device_options options;
	struct terminal terminal;
	struct log log;
	struct loop *loop;
	struct loop_source signals;
	struct listener listener; /* fd -1: only the VMM on `connected` is served */
	int connected;
	char place[sizeof(((struct listener *)0)->path)]; /* where VMMs connect, for messages */
	struct member *member;
	struct vfio_user *vfio_user;
	struct operators operators;
	struct sandbox sandbox;
	bool failed; /* the loop ended because of an error, which was logged */

	/* --guard */
	struct journal *journal; /* NULL: without */
	pid_t guardian_pid;
	struct loop_source guardian;
	bool is_alone; /* the guardian is gone */
	bool goes_on;  /* from where another process was killed */
	int visitors[DOOR_VISITORS];
	unsigned n_visitors;
};

static int
fail(const struct program *program, const struct ivshmem_error *error)
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
lost(struct member *member, const struct ivshmem_error *error, void *data)
{
	struct program *program = data;

	/* Revision 0 must not wait for ever for what can never come. */
	if (member_id(member) < 0 || !member_memory(member)) {
		fail(program, error);
		program->failed = true;
		vfio_user_quit(program->vfio_user);
		return;
	}
	if (vfio_user_lost(program->vfio_user))
		log_error(&program->log,
			"%s; the group is joined again when a server listens there",
			error->message);
	else
		log_error(&program->log,
			"%s; the VM goes on with the memory and the peers it has, until it ends",
			error->message);
}

/* ---- start ------------------------------------------------------------------------------------ */

static void
quit(struct loop_source *source, uint32_t events)
{
	struct program *program = container_of(source, struct program, signals);

	(void)events;
	if (signals_take(source))
		vfio_user_quit(program->vfio_user);
}

/* The lock is held, as in each callback of the loop. */
static void
guardian_gone(struct loop_source *source, uint32_t events)
{
	struct program *program = container_of(source, struct program, guardian);
	pid_t self = getpid();

	(void)events;
	loop_del(source);
	log_warning(&program->log, "the guardian was killed: another process takes its place");
	guardian_replace();
	if (getpid() == self) {
		source->fd = fd_close(source->fd);
		log_error(&program->log,
			"there can be no other guardian: if this process is killed, the VM loses its device");
		return;
	}
	program->is_alone = true;
	vfio_user_quit(program->vfio_user);
}

static int
start_loop(struct program *program)
{
	int r = loop_new(&program->loop);

	if (r < 0)
		return fail_errno(program, r, "cannot start the event loop");
	r = signals_watch(program->loop, &program->signals, quit);
	if (r < 0)
		return fail_errno(program, r, "cannot wait for signals");
	if (program->journal)
		r = guardian_watch(
			program->loop, &program->guardian, program->guardian_pid, guardian_gone);
	return r < 0 ? fail_errno(program, r, "cannot watch the guardian") : 0;
}

static struct member_config
member_config(struct program *program)
{
	const struct device_options *options = &program->options;

	return (struct member_config){
		.server = options->server,
		.shm = options->shm,
		.file = options->file,
		.size = options->config.memory_size,
		.preallocate = options->preallocate,
		.kept = program->journal ? journal_member(program->journal) : NULL,
		.late = options->config.revision == 0,
		.late_ms = options->timeout_ms,
		.vectors = options->config.vectors,
		.timeout_ms = options->timeout_ms,
		.cancel = program->signals.fd,
		.lost = lost,
		.data = program,
	};
}

static int
start_member(struct program *program)
{
	struct member_config config = member_config(program);
	uint64_t end = clock_now() + program->options.wait_ms * NSEC_PER_MSEC;
	struct pollfd told_to_end = {.fd = program->signals.fd, .events = POLLIN};
	struct ivshmem_error error;
	int r;

	for (;;) {
		r = member_open(&program->member, program->loop, &config, &program->log, &error);
		/* The server is not there yet, or does not listen yet. */
		if (!config.server || (r != -ENOENT && r != -ECONNREFUSED) || clock_now() >= end)
			break;
		if (poll(&told_to_end, 1, WAIT_STEP_MS) == 1)
			r = -ECANCELED;
		if (r == -ECANCELED)
			break;
	}
	/* A signal to end is not a failure. */
	return r < 0 && r != -ECANCELED ? fail(program, &error) : r;
}

/* Fill in what the memory and the server decide about the device. */
static int
complete(const struct program *program, struct ivshmem_device_config *config)
{
	uint64_t size = member_memory_size(program->member);
	char wanted[SIZE_TEXT_MAX], there[SIZE_TEXT_MAX];

	if (config->revision == 0)
		return 0;
	if (config->memory_size != 0 && config->memory_size != size) {
		log_error(&program->log,
			"the memory has %s, but --size says %s: with revision 1 they must be the "
			"same; leave --size away to take what there is",
			format_size(size, there), format_size(config->memory_size, wanted));
		return -EINVAL;
	}
	config->memory_size = size;
	config->id = member_id(program->member);
	return 0;
}

static void
say_ready(const struct program *program)
{
	const struct device_options *options = &program->options;
	uint64_t size = member_memory_size(program->member);
	int32_t id = member_id(program->member);
	char memory[SIZE_TEXT_MAX] = "not there yet", peer[32] = "";
	int r;

	if (size > 0)
		format_size(size, memory);
	if (options->server && id >= 0)
		snprintf(peer, sizeof(peer), ", peer %d", (int)id);
	printf("ready: %s, revision %u%s, memory %s\n", program->place, options->config.revision,
		peer, memory);
	fflush(stdout);
	r = supervisor_notify("READY=1\nSTATUS=Device on %s, revision %u%s, memory %s",
		program->place, options->config.revision, peer, memory);
	if (r < 0)
		log_warning(&program->log, "cannot tell the supervisor that we are ready: %s",
			strerror(-r));
}

/* Ready again, with another id, and perhaps with another memory. */
static void
rejoined(struct member *member, void *data)
{
	struct program *program = data;

	program->member = member;
	say_ready(program);
}

static int
start_device(struct program *program)
{
	const struct device_options *options = &program->options;
	struct ivshmem_device_config device = options->config;
	struct member_config join = member_config(program);
	struct vfio_user_config config = {
		.loop = program->loop,
		.member = program->member,
		.device = &device,
		.log = &program->log,
		.spin_ns = (uint64_t)options->spin_us * 1000,
		.grace_ns = DOOR_GRACE,
		.listener_lasts = program->listener.adopted,
		.join = &join,
		.rejoined = rejoined,
		.data = program,
		.journal = program->journal,
	};
	struct ivshmem_error error;
	int r = complete(program, &device);

	if (r < 0)
		return r;
	if (vfio_user_new(&program->vfio_user, &config, &error) < 0)
		return fail(program, &error);
	if (program->goes_on &&
		vfio_user_continue(program->vfio_user, program->connected >= 0, &error) < 0)
		return fail(program, &error);
	if (operators_let_in(
		    &program->operators, program->vfio_user, options, program->place, &error) < 0)
		return fail(program, &error);
	if (program->connected >= 0 && program->goes_on)
		return 0;
	if (program->connected >= 0) {
		r = vfio_user_serve(program->vfio_user, &program->connected);
		return r < 0 ? fail_errno(program, r, "cannot serve the VMM") : 0;
	}
	if (listener_listen(&program->listener, &error) < 0)
		return fail(program, &error);
	r = vfio_user_listen(program->vfio_user, program->listener.fd);
	if (r < 0)
		return fail_errno(program, r, "cannot watch the socket for VMMs");
	for (unsigned i = 0; i < program->n_visitors; i++)
		vfio_user_admit(program->vfio_user, &program->visitors[i]);
	return 0;
}

/* Take the socket of --fd, which listens, or is connected to a VMM. */
static int
adopt_fd(struct program *program)
{
	int fd = program->options.fd;
	struct sockaddr_storage peer;
	socklen_t length = sizeof(peer);
	struct ivshmem_error error;

	snprintf(program->place, sizeof(program->place), "descriptor %d", fd);
	if (getpeername(fd, (struct sockaddr *)&peer, &length) == 0 && peer.ss_family == AF_UNIX) {
		program->connected = fd;
		return 0;
	}
	if (listener_adopt(&program->listener, fd, &error) == 0)
		return 0;
	log_error(&program->log, "--fd: %s", error.message);
	return error.code;
}

/* Take the socket that a supervisor has passed. Returns 1, or 0 if there is none. */
static int
adopt_passed(struct program *program)
{
	struct supervisor_socket sockets[SUPERVISOR_SOCKETS_MAX];
	const char *path = program->options.socket;
	struct ivshmem_error error;
	int n = supervisor_sockets(sockets, &error);

	if (n > 1)
		n = error_set(&error, -E2BIG, "LISTEN_FDS passes %d sockets: one is needed", n);
	else if (n == 1 && listener_adopt(&program->listener, sockets[0].fd, &error) < 0)
		n = error.code;
	if (n > 0 && path && !listener_is_at(&program->listener, path))
		n = error_set(&error, -EINVAL,
			"LISTEN_FDS passes the socket '%s', but --socket says '%s': leave --socket out",
			program->listener.path, path);
	return n < 0 ? fail(program, &error) : n;
}

static int
start_socket(struct program *program)
{
	const struct device_options *options = &program->options;
	struct listener_config listener = {
		.path = options->socket,
		.mode = options->socket_mode,
		.owner = options->socket_owner,
		.group = options->socket_group,
	};
	struct ivshmem_error error;
	int r = options->fd < 0 ? adopt_passed(program) : adopt_fd(program);

	if (r == 0 && options->fd < 0 && !options->socket) {
		log_error(&program->log, "no socket is passed by LISTEN_FDS; give --socket");
		return -EINVAL;
	}
	if (r == 0 && options->fd < 0 && listener_bind(&program->listener, &listener, &error) < 0)
		return fail(program, &error);
	if (r >= 0 && program->listener.fd >= 0 && program->listener.path[0])
		snprintf(program->place, sizeof(program->place), "%s", program->listener.path);
	return r < 0 ? r : 0;
}

static int
start(struct program *program)
{
	struct ivshmem_error error;
	int r;

	if (confine_begin(&program->sandbox, &program->options, &program->log, &error) < 0)
		return fail(program, &error);
	r = start_loop(program);
	if (r == 0)
		r = start_member(program);
	if (r == 0)
		r = start_device(program);
	if (r == 0 && confine(&program->sandbox, &program->options, &program->listener,
			      &program->log, &error) < 0)
		r = fail(program, &error);
	return r;
}

static void
stop(struct program *program)
{
	supervisor_notify("STOPPING=1");
	operators_send_away(&program->operators);
	vfio_user_free(program->vfio_user);
	listener_close(&program->listener);
	fd_close(program->connected);
	member_close(program->member);
	if (program->guardian.loop) {
		loop_del(&program->guardian);
		fd_close(program->guardian.fd);
	}
	signals_unwatch(&program->signals);
	loop_free(program->loop);
}

/* Serve until the end, after the socket is there. */
static int
serve(struct program *program)
{
	int r = start(program);

	if (r == 0 && program->journal)
		journal_begin(program->journal);
	if (r == 0) {
		if (!program->goes_on)
			say_ready(program);
		r = vfio_user_run(program->vfio_user);
		if (r < 0)
			fail_errno(program, r, "the event loop failed");
	}
	if (program->is_alone)
		return GUARDIAN_GONE;
	stop(program);
	return program->failed || (r < 0 && r != -ECANCELED) ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* ---- two processes ---------------------------------------------------------------------------- */

static void
note_visitor(int fd, void *data)
{
	struct program *program = data;

	if (program->n_visitors < DOOR_VISITORS)
		program->visitors[program->n_visitors++] = fd;
	else
		close(fd);
}

static int
work(void *data, pid_t guardian, int killed_by)
{
	struct program program = *(const struct program *)data;

	program.goes_on = killed_by != 0;
	if (killed_by > 0)
		log_warning(&program.log,
			"the device's process was killed by signal %d (%s): another one goes on",
			killed_by, strsignal(killed_by));
	if (program.goes_on)
		journal_take_over(program.journal, program.listener.fd, note_visitor, &program);
	journal_use(program.journal);
	program.guardian_pid = guardian;
	return serve(&program);
}

static bool
can_go_on(void *data)
{
	const struct program *program = data;

	return journal_has_begun(program->journal);
}

static bool
has_served(void *data)
{
	const struct program *program = data;

	return journal_was_used(program->journal);
}

static void
give_up(void *data, int killed_by)
{
	const struct program *program = data;

	log_error(&program->log,
		"each process that goes on is killed at once, the last one by signal %d (%s): the device ends",
		killed_by, strsignal(killed_by));
}

static int
guard(struct program *program)
{
	const struct worker worker = {
		.run = work,
		.can_go_on = can_go_on,
		.has_served = has_served,
		.give_up = give_up,
		.data = program,
	};

	program->journal = journal_new();
	if (!program->journal) {
		log_error(&program->log, "--guard: out of memory");
		return EXIT_FAILURE;
	}
	journal_inherit(program->journal);
	return guardian_run(&worker);
}

static int
run(struct program *program)
{
	int r;

	fd_raise_limit();
	/* The socket comes first, because only one process can have it. */
	r = start_socket(program);
	if (r < 0) {
		stop(program);
		return EXIT_FAILURE;
	}
	return program->options.guard ? guard(program) : serve(program);
}

int
main(int argc, char **argv)
{
	struct program program = {
		.terminal.program = PROGRAM,
		.log = {LOG_LEVEL_INFO, terminal_write, &program.terminal},
		.listener.fd = -1,
		.connected = -1,
		.operators.listener.fd = -1,
	};
	struct ivshmem_error error;
	bool usage;

	if (fd_open_standard() < 0)
		return EXIT_FAILURE;
	signals_ignore();
	if (device_options_parse(argc, argv, &program.options, &usage, &error) < 0) {
		fail(&program, &error);
		fputs("Try '" PROGRAM " --help'.\n", stderr);
		return EXIT_USAGE;
	}
	if (program.options.action == DEVICE_ACTION_HELP) {
		fputs(device_options_usage, stdout);
		return EXIT_SUCCESS;
	}
	if (program.options.action == DEVICE_ACTION_VERSION) {
		puts(PROGRAM " " IVSHMEM_VERSION);
		return EXIT_SUCCESS;
	}
	if (!program.options.socket && program.options.fd < 0 && !getenv("LISTEN_FDS")) {
		log_error(&program.log, "--socket is missing: where shall a VMM connect?");
		fputs("Try '" PROGRAM " --help'.\n", stderr);
		return EXIT_USAGE;
	}
	if (program.options.verbose)
		program.log.level = LOG_LEVEL_DEBUG;
	if (program.options.warning)
		log_warning(&program.log, "%s", program.options.warning);

	/* From now on, signals wait for the loop. Nothing exists yet that would have to be removed. */
	signals_hold();
	crash_watch(PROGRAM, program.options.trace_file, trace_dump);
	return run(&program);
}
