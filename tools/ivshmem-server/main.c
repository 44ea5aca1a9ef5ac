/* SPDX-License-Identifier: BSD-2-Clause */

/* ivshmem-server: reads the options, starts a server, and removes everything again at the end. */

#include <base/fd.h>
#include <base/list.h>
#include <base/log.h>
#include <base/parse.h>
#include <capacity.h>
#include <common/crash.h>
#include <common/guardian.h>
#include <common/sandbox.h>
#include <common/signals.h>
#include <common/supervisor.h>
#include <common/terminal.h>
#include <confine.h>
#include <daemon.h>
#include <handover.h>
#include <loop/loop.h>
#include <operators.h>
#include <options.h>
#include <recover.h>
#include <region/read_only.h>
#include <region/region.h>
#include <regions.h>
#include <server/journal.h>
#include <server/server.h>
#include <socket/bag.h>
#include <sockets.h>
#include <supervise.h>
#include <trace/trace.h>

#include <ivshmem/common.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>

#define PROGRAM "ivshmem-server"

/* Everything that has to be undone at the end, whatever state the start has reached. */
struct program {
	struct options options;
	struct log log;
	int report_fd; /* a daemon's, until it is ready */
	struct pid_file pid_file;
	struct region region;
	int read_only_fd; /* the memory, for clients that only read it; -1: there are none */
	struct sockets sockets;
	struct handover handover; /* of the server before us; empty if there was none */
	struct newcomers newcomers;
	struct journal *journal; /* NULL: nobody goes on if we are killed */
	pid_t guardian;          /* 0: there is none */
	int killed_by;           /* see common/guardian.h */
	bool guardian_gone;
	struct loop_source guardian_source;
	struct loop *loop;
	int signal; /* that ended the loop; 0: none */
	struct loop_source signals;
	struct server *server;
	struct operators operators;
	struct terminal terminal;
	char title[128]; /* of the terminal */
	struct sandbox sandbox;
};

static void
log_syslog(void *data, enum log_level level, const char *message)
{
	static const int priorities[] = {LOG_ERR, LOG_WARNING, LOG_INFO, LOG_DEBUG};

	(void)data;
	syslog(priorities[level], "%s", message);
}

/* A daemon that cannot start reports this to its parent. */
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
quit(struct loop_source *source, uint32_t events)
{
	struct program *program = container_of(source, struct program, signals);

	(void)events;
	program->signal = signals_take(source);
	if (program->signal)
		loop_quit(source->loop);
}

/* Warn of what is dangerous about the memory, even if the user asked for it. */
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
			"the shared memory has %s, but its file system has room for %s only: whoever uses "
			"more is killed by SIGBUS; make room, or find out at the start (--preallocate)",
			format_size(region->size, size), format_size(region->room, room));
}

/* The directory of a socket may have been removed while there was no server. */
static void
warn_of_path(const struct program *program, const struct listener *listener)
{
	if (listener->fd >= 0 && !listener->adopted && !listener_has_path(listener))
		log_warning(&program->log,
			"the path '%s' does not lead to the socket any more, so nobody can join there: keep its "
			"directory when the server restarts (in a unit of systemd: RuntimeDirectoryPreserve=restart)",
			listener->path);
}

static void
guardian_ended(struct loop_source *source, uint32_t events)
{
	struct program *program = container_of(source, struct program, guardian_source);

	(void)events;
	loop_del(source);
	program->guardian_gone = journal_counts(program->journal);
	if (program->guardian_gone)
		loop_quit(program->loop);
}

/* What an earlier server has left: all of it is checked, and nothing is changed yet. */
static int
open_handover(struct program *program)
{
	struct ivshmem_error error;
	char size[SIZE_TEXT_MAX];

	if (handover_open(&program->handover, program->sockets.kept, &program->sockets,
		    &program->region, &program->options, &error) < 0)
		return fail(program, &error);
	program->sockets.kept = -1;
	warn_of_path(program, &program->sockets.clients);
	warn_of_path(program, &program->sockets.observers);
	for (unsigned i = 0; i < program->options.n_members; i++)
		warn_of_path(program, &program->sockets.members[i]);
	log_info(&program->log, "going on with the group of the server before (version %s)",
		program->handover.version);
	log_info(&program->log, "shared memory of %s%s: kept",
		format_size(program->region.size, size), program->region.sealed ? ", sealed" : "");
	return 0;
}

/* What a worker before this one has left, which was killed. */
static int
open_journal(struct program *program)
{
	struct ivshmem_error error;

	log_warning(&program->log,
		"%s; another one goes on with the group, and its clients stay connected",
		program->killed_by == GUARDIAN_GONE ? "the process that guards the server is gone"
						    : "the process that serves was killed");
	if (recover(&program->handover, &program->newcomers, program->journal, &program->sockets,
		    &program->region, &program->options, program->pid_file.fd, &error) < 0)
		return fail(program, &error);
	return 0;
}

static int
start_memory(struct program *program)
{
	const struct region_config *config = &program->options.memory;
	const struct region *region = &program->region;
	char wanted[SIZE_TEXT_MAX], got[SIZE_TEXT_MAX];
	const char *allocated = config->preallocate ? ", allocated" : "";
	bool existing, exact;
	struct ivshmem_error error;

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

static int
start_server(struct program *program, unsigned long limit)
{
	const struct options *options = &program->options;
	struct server_config config = {
		.loop = program->loop,
		.log = &program->log,
		.listen_fd = program->sockets.clients.fd,
		.memory_fd = program->region.fd,
		.read_only_fd = program->read_only_fd,
		.policy = &options->policy,
		.n_vectors = options->n_vectors,
		.max_peers = options->max_peers,
		.observer_listen_fd = program->sockets.observers.fd,
		.max_observers = capacity_observers(options, &program->sockets, limit),
		.seats = program->sockets.seats,
		.n_seats = options->n_members,
		.stall_limit_ns = options->stall_limit_ns,
	};
	struct ivshmem_error error;
	int r;

	if (program->handover.record.bytes) {
		r = server_continue(&program->server, &config, &program->handover.server, &error);
		handover_forget(&program->handover);
		return r < 0 ? fail(program, &error) : 0;
	}
	r = server_new(&program->server, &config);
	if (r < 0 && r != -EMFILE)
		return fail_errno(program, r, "cannot start serving");
	if (r == 0)
		r = capacity_tell(options, &program->sockets, &config, limit, &program->log);
	if (r == -EMFILE)
		log_error(&program->log,
			"the limit of %lu file descriptors is too low for a client with %u vector%s; raise it (ulimit -n)",
			limit, options->n_vectors, options->n_vectors == 1 ? "" : "s");
	return r;
}

/* The memory for clients that only read it. */
static int
start_read_only(struct program *program)
{
	const struct policy_accounts *readers = &program->options.policy.read_only;
	struct ivshmem_error error;
	int fd;

	if (!policy_has_readers(&program->options.policy))
		return 0;
	fd = region_open_read_only(
		program->region.fd, program->options.memory.kind != REGION_SHM, &error);
	if (fd < 0)
		return fail(program, &error);
	program->read_only_fd = fd;
	for (unsigned i = 0; i < readers->n_users; i++)
		if (readers->users[i] == 0 || readers->users[i] == geteuid())
			log_warning(&program->log,
				"user %u gets the memory for reading only, but can open it for writing: it is %s",
				(unsigned)readers->users[i],
				readers->users[i] == 0 ? "root" : "the user of this server");
	return 0;
}

/* The sockets and the memory: ours, or those of the server before. */
static int
start_group(struct program *program)
{
	struct ivshmem_error error;
	int r;

	if (program->killed_by)
		return open_journal(program);
	if (program->sockets.kept >= 0 && bag_is_taken(program->sockets.kept)) {
		log_warning(&program->log,
			"the group that the supervisor keeps had its server, which is gone: clients of it have "
			"no server any more, and this is a new group");
		supervisor_remove(HANDOVER_NAME);
		program->sockets.kept = fd_close(program->sockets.kept);
	}
	if (program->sockets.kept >= 0)
		return open_handover(program);
	/* The sockets first, which only one server can have: one that fails here has changed
	 * nothing. */
	r = sockets_bind(&program->sockets, &program->options, &program->log, &error);
	return r < 0 ? fail(program, &error) : start_memory(program);
}

static int
start(struct program *program)
{
	const struct options *options = &program->options;
	unsigned long limit = capacity_descriptors(options);
	struct ivshmem_error error;
	int r;

	if (confine_begin(&program->sandbox, options, &program->log, &error) < 0)
		return fail(program, &error);
	r = start_group(program);
	if (r < 0)
		return r;
	r = start_read_only(program);
	if (r < 0)
		return r;
	r = loop_new(&program->loop);
	if (r == 0)
		r = signals_watch(program->loop, &program->signals, quit);
	/* If nobody can tell, the guardian must not be killed, but all else is as it should be. */
	if (r == 0 && program->guardian)
		program->guardian_gone = guardian_watch(program->loop, &program->guardian_source,
						 program->guardian, guardian_ended) == -ESRCH;
	if (r < 0)
		return fail_errno(program, r, "cannot start the event loop");
	if (sockets_listen(&program->sockets, options, &error) < 0)
		return fail(program, &error);
	if (sockets_open_control(&program->sockets, options, &program->log, &error) < 0)
		return fail(program, &error);
	r = start_server(program, limit);
	if (r < 0)
		return r;
	r = operators_let_in(&program->operators, program->server, &program->sockets,
		&program->region, &program->handover, options);
	if (r < 0)
		return fail_errno(program, r, "cannot serve operators");
	if (confine(&program->sandbox, options, &program->sockets, &program->region, &program->log,
		    &error) < 0)
		return fail(program, &error);
	for (unsigned i = 0; i < options->n_members; i++)
		log_info(&program->log, "peer %u has a place of its own on %s",
			options->members[i].id, program->sockets.members[i].path);
	if (program->sockets.observers.fd >= 0)
		log_info(&program->log, "observers look in on %s", program->sockets.observers.path);
	if (program->sockets.control.fd >= 0)
		log_info(&program->log, "operators connect to %s", program->sockets.control.path);
	log_info(&program->log, "listening on %s", options->socket);
	return 0;
}

/* Nothing can fail any more: from here on the group is ours, and may change. */
static void
take_group(struct program *program)
{
	if (program->handover.bag < 0)
		return;
	handover_take(&program->handover, &program->log);
	if (program->journal)
		journal_notes(program->journal)->bag = -1;
	log_info(&program->log, "peers that stayed connected: %u", server_n_peers(program->server));
}

/* A supervisor waits for this message. */
static void
notify_ready(const struct program *program)
{
	int r = supervisor_notify("READY=1\nMAINPID=%d\nSTATUS=Listening on %s",
		(int)(program->guardian ? program->guardian : getpid()), program->options.socket);

	if (r < 0)
		log_warning(&program->log, "cannot tell the supervisor that we are ready: %s",
			strerror(-r));
}

/* A failure leaves the group with the supervisor, for another attempt. */
static void
leave_group(struct program *program)
{
	if (program->handover.bag < 0 && program->sockets.kept < 0)
		return;
	log_error(&program->log,
		"the supervisor still keeps the group; its clients lose nothing yet");
	sockets_keep(&program->sockets);
	program->region.created = false;
}

/* The loop has ended: nothing changes any more. */
static int
end(struct program *program)
{
	struct ivshmem_error error;
	int r;

	if (program->signal == SIGTERM && program->options.keep_clients) {
		r = handover_give(program->server, &program->sockets, &program->region,
			&program->options, program->journal, &program->log, &error);
		return r < 0 ? fail(program, &error) : 0;
	}
	log_info(&program->log, "ending, %u peers connected", server_n_peers(program->server));
	return 0;
}

static void
stop(struct program *program)
{
	journal_end(program->journal);
	supervisor_notify("STOPPING=1");
	/* Close the sockets first, so that no new client comes while the others are being
	 * disconnected. */
	sockets_close(&program->sockets);
	operators_send_away(&program->operators);
	server_free(program->server);
	signals_unwatch(&program->signals);
	loop_del(&program->guardian_source);
	fd_close(program->guardian_source.fd);
	loop_free(program->loop);
	handover_forget(&program->handover);
	fd_close(program->read_only_fd);
	region_close(&program->region);
	pid_file_close(&program->pid_file);
}

static int
write_group(void *data, struct record *ret_record)
{
	struct program *program = data;

	return handover_write(program->server, &program->sockets, &program->region,
		&program->options, ret_record);
}

/* From here on, another worker can go on with the group. */
static void
begin_journal(struct program *program)
{
	const struct newcomers *newcomers = &program->newcomers;
	int r;

	if (!program->journal)
		return;
	if (!program->killed_by)
		journal_notes(program->journal)->bag = program->handover.bag;
	r = journal_begin(program->journal, write_group, program);
	if (r < 0)
		log_warning(&program->log,
			"cannot begin a journal: %s; if this process is killed, the clients lose the group",
			strerror(-r));
	if (r < 0)
		journal_end(program->journal);
	server_keep_journal(program->server, program->journal);
	for (unsigned i = 0; i < newcomers->n; i++)
		server_admit(program->server, newcomers->of[i].listen_fd, newcomers->of[i].socket);
	journal_notes(program->journal)->served = true;
}

static void
log_to_syslog(struct program *program)
{
	openlog(PROGRAM, LOG_PID, LOG_DAEMON);
	program->log.write = log_syslog;
}

/* The guardian is gone, and we take its place. */
static int
become_guardian(struct program *program)
{
	/* Its descriptor is one that the next worker does not know. */
	closelog();
	supervisor_notify("MAINPID=%d", (int)getpid());
	pid_file_update(&program->pid_file);
	return GUARDIAN_GONE;
}

static int
run(struct program *program)
{
	int r = start(program);

	if (r == 0) {
		if (program->report_fd >= 0) {
			log_to_syslog(program);
			daemon_ready(fd_take(&program->report_fd));
			log_info(&program->log, "serving on %s", program->options.socket);
		}
		begin_journal(program);
		take_group(program);
		notify_ready(program);
		/* Not earlier: to take over as many as the server before had, a few more are
		 * needed. */
		fd_lower_limit(capacity_descriptors(&program->options));
		if (!program->guardian_gone || !journal_counts(program->journal))
			r = loop_run(program->loop);
		if (r == 0 && program->guardian_gone && !program->signal)
			return become_guardian(program);
		r = r < 0 ? fail_errno(program, r, "the event loop failed") : end(program);
	} else {
		leave_group(program);
	}
	stop(program);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* ---- two processes ----------------------------------------------------------------------------- */

/* With all as it was before the first worker. */
static int
work(void *data, pid_t guardian, int killed_by)
{
	struct program program = *(const struct program *)data;

	program.guardian = guardian;
	program.killed_by = killed_by;
	if (killed_by) {
		program.report_fd = -1;
		program.sockets.kept = -1;
		if (!program.options.foreground)
			log_to_syslog(&program);
	}
	return run(&program);
}

static void
give_up(void *data, int killed_by)
{
	struct program *program = data;

	if (!program->options.foreground)
		log_to_syslog(program);
	log_error(&program->log,
		"the process that serves was killed by signal %d, again, before it could serve; giving "
		"up, and the clients lose the group",
		killed_by);
}

static bool
can_go_on(void *data)
{
	const struct program *program = data;

	return journal_counts(program->journal);
}

static bool
has_served(void *data)
{
	const struct program *program = data;
	struct journal_notes *notes = journal_notes(program->journal);
	bool served = notes->served;

	notes->served = false;
	return served;
}

static int
run_guarded(struct program *program)
{
	const struct worker worker = {
		.run = work,
		.can_go_on = can_go_on,
		.has_served = has_served,
		.give_up = give_up,
		.data = program,
	};
	int r = journal_new(&program->journal);

	if (r < 0) {
		fail_errno(program, r, "cannot make a journal");
		return EXIT_FAILURE;
	}
	return guardian_run(&worker);
}

static int
start_supervising(const struct program *program, char **argv)
{
	if (getenv("LISTEN_FDS")) {
		log_error(&program->log,
			"--supervise takes no sockets of another supervisor (LISTEN_FDS); let that one keep the "
			"clients (--keep-clients)");
		return EXIT_FAILURE;
	}
	return supervise(argv, &program->log);
}

static int
start_regions(const struct program *program)
{
	if (getenv("LISTEN_FDS")) {
		log_error(&program->log,
			"--regions takes no sockets of a supervisor (LISTEN_FDS); its servers make their own");
		return EXIT_FAILURE;
	}
	return regions_run(&program->options, &program->log);
}

/* Of several servers that write to the same log, each line says whose it is. */
static void
set_name(struct program *program)
{
	if (program->options.name && snprintf(program->title, sizeof(program->title),
					     PROGRAM ": %s", program->options.name) > 0)
		program->terminal.program = program->title;
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
		.guardian_source.fd = -1,
		.region.fd = -1,
		.read_only_fd = -1,
		.handover.bag = -1,
	};
	struct ivshmem_error error;
	bool usage;

	if (fd_open_standard() < 0)
		return EXIT_FAILURE;
	signals_ignore();
	sockets_init(&program.sockets);

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
	set_name(&program);
	if (program.options.verbose)
		program.log.level = LOG_LEVEL_DEBUG;
	if (program.options.supervise && !supervise_is_server())
		return start_supervising(&program, argv);
	if (program.options.check)
		return regions_check(&program.options, &program.log);
	if (program.options.regions)
		return start_regions(&program);
	program.options.keep_clients |= program.options.supervise;
	if (program.options.keep_clients && !supervisor_present()) {
		log_error(&program.log,
			"--keep-clients needs a supervisor that keeps them: systemd, with "
			"FileDescriptorStoreMax=1 in the unit, or --supervise");
		return EXIT_FAILURE;
	}
	/* In the process that the sockets are meant for. */
	if (sockets_adopt(&program.sockets, &program.options, &error) < 0) {
		fail(&program, &error);
		return EXIT_FAILURE;
	}
	if (!program.options.foreground) {
		int fd = daemon_start();

		if (fd < 0) {
			fail_errno(&program, fd, "cannot go into the background");
			return EXIT_FAILURE;
		}
		program.report_fd = fd;
	}

	/*
	 * Block signals before anything exists that would have to be removed: from then on, a
	 * signal waits for the loop. But not before the options are read, because that may ask a
	 * name service that does not answer; and not in the process that waits for the daemon.
	 */
	signals_hold();
	crash_watch(PROGRAM, program.options.trace_file, trace_dump);
	/* Only one server can have the pid file. */
	if (!program.options.foreground &&
		pid_file_open(&program.pid_file, program.options.pid_file, &error) < 0) {
		fail(&program, &error);
		return EXIT_FAILURE;
	}
	return program.options.keep_clients ? run_guarded(&program) : run(&program);
}
