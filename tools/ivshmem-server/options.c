/* SPDX-License-Identifier: BSD-2-Clause */
#include <options.h>

#include <base/clock.h>
#include <base/error.h>
#include <base/parse.h>
#include <common/accounts.h>
#include <common/arguments.h>
#include <policy_options.h>
#include <region/node.h>

#include <ivshmem/abi.h>
#include <ivshmem/common.h>

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_PID_FILE "/var/run/ivshmem-server.pid"
#define DEFAULT_SOCKET   "/tmp/ivshmem_socket"
#define DEFAULT_RUNTIME  "/run/ivshmem"
#define DEFAULT_SIZE     (UINT64_C(4) << 20)
#define DEFAULT_STALL    (300 * NSEC_PER_SEC)

const char options_usage[] =
	"Usage: ivshmem-server [OPTION]...\n"
	"Give virtual machines a piece of memory to share, and let them interrupt each\n"
	"other. Clients (QEMU's ivshmem-doorbell device, the ivshmem program, libivshmem)\n"
	"connect to a UNIX socket.\n"
	"\n"
	"  -h, --help                  show this and exit\n"
	"      --version               show the version and exit\n"
	"  -F, --foreground            stay in the foreground; otherwise run as a daemon,\n"
	"                              logging to syslog\n"
	"  -v, --verbose               also log observers, and leave no client out (only\n"
	"                              with -F)\n"
	"      --keep-clients          on SIGTERM, leave the clients to the supervisor,\n"
	"                              and start with those that it keeps (see below)\n"
	"      --supervise             be the supervisor of a server with these options\n"
	"                              that keeps its clients (only with -F)\n"
	"      --regions DIR           run a server for each file DIR/NAME.ini, see\n"
	"                              ivshmem-region(5) (only with -F)\n"
	"      --runtime-dir DIR       where these servers have their sockets, unless\n"
	"                              their files say otherwise (" DEFAULT_RUNTIME ")\n"
	"      --check                 with --regions: say what is wrong with the files,\n"
	"                              and exit\n"
	"      --name NAME             the region's name, for the log\n"
	"      --trace-file FILE       where to write what happened last, if the server\n"
	"                              crashes (stderr, which a daemon does not have)\n"
	"      --user NAME             when all is set up, be this user instead of root;\n"
	"                              the sockets and a new object of -M are his\n"
	"      --sandbox off|log|kill  what happens if the server makes a system call\n"
	"                              that it never needs: log reports it, kill ends the\n"
	"                              server; off gives up no rights at all (kill, or\n"
	"                              off in a build without libseccomp)\n"
	"  -p, --pidfile FILE          where the daemon writes its process id\n"
	"                              (" DEFAULT_PID_FILE ")\n"
	"\n"
	"Socket:\n"
	"  -S, --socket PATH           where to listen (" DEFAULT_SOCKET ")\n"
	"      --observer-socket PATH  where observers connect, which take no id (the\n"
	"                              socket's path and " IVSHMEM_OBSERVER_SUFFIX ")\n"
	"      --no-observer-socket    no socket for observers: all who connect take an\n"
	"                              id\n"
	"      --control-socket PATH   where 'ivshmem ctl' connects, for the user of the\n"
	"                              server and root only (the socket's path and\n"
	"                              " IVSHMEM_CONTROL_SUFFIX ")\n"
	"      --no-control-socket     no such socket\n"
	"      --member ID=PATH        reserve ID for the client that connects to PATH,\n"
	"                              one at a time; can be repeated\n"
	"      --socket-mode MODE      octal permissions of all these sockets; a user\n"
	"                              with write permission can connect (0660)\n"
	"      --socket-owner USER     name or number of their owner\n"
	"      --socket-group GROUP    name or number of their group\n"
	"\n"
	"Shared memory, an anonymous memfd sealed against resizing unless -M or -m is\n"
	"given (the last one counts):\n"
	"  -l, --size SIZE             in bytes, or with suffix K, M, G, T; rounded up to\n"
	"                              a power of two of at least 4 KiB (4M)\n"
	"      --hugetlb 2M|1G         take it from the reserved huge pages of that size\n"
	"  -M, --shm NAME              use the POSIX shared memory object NAME; an\n"
	"                              existing one keeps its contents and is never\n"
	"                              shrunk; removed at exit if it was created\n"
	"      --memory-mode MODE      octal permissions of the object if it is created\n"
	"                              (0600)\n"
	"  -m, --directory DIR         use an unnamed file in DIR, such as a hugetlbfs\n"
	"                              mount\n"
	"      --numa-node N           take it from the memory of NUMA node N only\n"
	"      --preallocate           allocate all of it at the start: too little memory\n"
	"                              is then an error, and kills nobody later\n"
	"\n"
	"Clients:\n"
	"  -n, --vectors N             interrupt vectors of each client, 0 to 2048 (1)\n"
	"      --max-peers N           refuse more clients than N; each --member always\n"
	"                              counts (65536)\n"
	"      --max-observers N       refuse more observers than N, 1 to 65536 (64, less\n"
	"                              if descriptors are few)\n"
	"      --stall-timeout SECONDS disconnect a client that does not read for this\n"
	"                              time; 0: never (300)\n"
	"\n"
	"Policy, for each client by its user and groups when it connects; each LIST is of\n"
	"names or numbers with commas between them, and can be repeated:\n"
	"      --allow-user LIST       refuse everybody but these users (all who can open\n"
	"                              the socket), and those of --allow-group\n"
	"      --allow-group LIST      refuse everybody but members of these groups, and\n"
	"                              those of --allow-user\n"
	"      --max-peers-per-user N  refuse more peers of one user than N\n"
	"      --max-observers-per-user N\n"
	"                              refuse more observers of one user than N\n"
	"      --see all|star:ID,...|pairs|groups:user|groups:group\n"
	"                              who is told of whom, and so can ring whom: all of\n"
	"                              all; all of the --member with these ids, which are\n"
	"                              told of all; 0 of 1, 2 of 3, and so on; or those\n"
	"                              of the same user, or main group (all)\n"
	"      --read-only-user LIST   these users get the memory for reading only\n"
	"      --read-only-group LIST  so do members of these groups\n"
	"\n"
	"On SIGTERM and SIGINT, the server ends and removes what it created; SIGHUP does\n"
	"nothing. With --keep-clients, SIGTERM leaves everything as it is, and hands the\n"
	"group over to the supervisor, from which the next server gets it: no client\n"
	"notices. The server is two processes then, and goes on if one of them is killed.\n"
	"systemd keeps the group if the unit has FileDescriptorStoreMax=1 and\n"
	"NotifyAccess=all; without systemd, --supervise does so on SIGHUP, and SIGTERM\n"
	"ends it and its server.\n"
	"With --regions, SIGHUP reads the files again: new ones start a region, those\n"
	"that are gone end one, and a wrong one changes nothing.\n"
	"Exit status: 0 if it was asked to end (or, as a daemon, once it\n"
	"serves), 1 if it cannot start, or if --check finds a wrong file.\n"
	"\n"
	"Example, and a QEMU that joins:\n"
	"  ivshmem-server -F -S /run/ivshmem/demo.sock -l 64M -n 4\n"
	"  qemu-system-x86_64 ... \\\n"
	"      -chardev socket,path=/run/ivshmem/demo.sock,id=ivshmem \\\n"
	"      -device ivshmem-doorbell,chardev=ivshmem,vectors=4\n";

/* "ID=PATH" */
static int
take_member(void *to, const char *what, const char *text, struct ivshmem_error *reterr)
{
	struct options *options = to;
	const char *equals = strchr(text, '=');
	char number[16] = "";
	unsigned id;
	const struct argument argument = {.number = &id, .max = IVSHMEM_MAX_ID};
	int r;

	if (!equals || !equals[1] || (size_t)(equals - text) >= sizeof(number))
		return error_set(reterr, -EINVAL,
			"%s: '%.100s' is not an id and a path: write such as 0=/run/group-0.sock",
			what, text);
	memcpy(number, text, (size_t)(equals - text));
	r = argument_take(&argument, what, number, reterr);
	if (r < 0)
		return r;
	for (unsigned i = 0; i < options->n_members; i++)
		if (options->members[i].id == id)
			return error_set(
				reterr, -EINVAL, "%s: id %u is given to two members", what, id);
	if (options->n_members == MEMBERS_MAX)
		return error_set(reterr, -EINVAL, "%s: at most %d can be given", what, MEMBERS_MAX);
	options->members[options->n_members++] =
		(struct member_option){.id = (uint16_t)id, .socket = equals + 1};
	return 0;
}

static int
take_huge_page(void *to, const char *what, const char *text, struct ivshmem_error *reterr)
{
	uint64_t size, *huge_page = to;

	if (parse_size(text, &size) < 0 || (size != UINT64_C(2) << 20 && size != UINT64_C(1) << 30))
		return error_set(reterr, -EINVAL,
			"%s: '%.100s' is not a size of huge pages: write 2M or 1G", what, text);
	*huge_page = size;
	return 0;
}

static int
take_shm(void *to, const char *what, const char *text, struct ivshmem_error *reterr)
{
	struct region_config *memory = to;

	(void)what;
	(void)reterr;
	memory->kind = REGION_SHM;
	memory->name = text;
	return 0;
}

static int
take_directory(void *to, const char *what, const char *text, struct ivshmem_error *reterr)
{
	struct region_config *memory = to;

	(void)what;
	(void)reterr;
	memory->kind = REGION_DIRECTORY;
	memory->name = text;
	return 0;
}

/* A socket beside that for clients; NULL: none is wanted. */
static int
take_beside(void *to, const char *what, const char *text, struct ivshmem_error *reterr)
{
	const char **path = to;

	if (text && !text[0])
		return error_set(reterr, -EINVAL, "%s: the path is empty; --no-%s makes none", what,
			what + 2);
	*path = text ? text : "";
	return 0;
}

static bool
is_member(const struct options *options, uint16_t id)
{
	for (unsigned i = 0; i < options->n_members; i++)
		if (options->members[i].id == id)
			return true;
	return false;
}

static int
take_numa_node(void *to, const char *what, const char *text, struct ivshmem_error *reterr)
{
	struct region_config *memory = to;
	const struct argument argument = {.number = &memory->numa_node, .max = NODE_MAX};
	int r = argument_take(&argument, what, text, reterr);

	if (r == 0)
		memory->on_node = true;
	return r;
}

static int
check(const struct options *options, struct ivshmem_error *reterr)
{
	if (options->verbose && !options->foreground)
		return error_set(reterr, -EINVAL,
			"-v needs -F: a daemon logs to syslog, and has nobody to be verbose to");
	if (options->supervise && !options->foreground)
		return error_set(reterr, -EINVAL,
			"--supervise needs -F: it stays in the foreground, and so does its server");
	for (unsigned i = 0; i < options->policy.n_centres; i++)
		if (!is_member(options, options->policy.centres[i]))
			return error_set(reterr, -EINVAL,
				"--see star: %u is the id of no --member; write --member %u=PATH as well",
				options->policy.centres[i], options->policy.centres[i]);
	if (options->memory.huge_page && options->memory.kind != REGION_MEMFD)
		return error_set(reterr, -EINVAL, "--hugetlb cannot be combined with -M or -m");
	if (options->check && !options->regions)
		return error_set(reterr, -EINVAL, "--check needs --regions, whose files it checks");
	if (options->regions && !options->check && !options->foreground)
		return error_set(reterr, -EINVAL,
			"--regions needs -F: it stays in the foreground, and so do its servers");
	return 0;
}

static unsigned
list_kinds(const struct argument *table, unsigned n, struct option_kind *ret_kinds)
{
	for (unsigned i = 0; i < n; i++)
		ret_kinds[i] = (struct option_kind){
			table[i].name, table[i].takes != NULL, table[i].repeats};
	return n;
}

/* Are all options that were given the manager's? Everything else is for the files. */
static int
check_manager(int argc, char **argv, const struct argument *table, unsigned n,
	struct ivshmem_error *reterr)
{
	static const char *const names[] = {
		"foreground", "verbose", "regions", "runtime-dir", "check", "trace-file"};
	const unsigned n_names = sizeof(names) / sizeof(names[0]);
	struct argument some[sizeof(names) / sizeof(names[0])];
	struct ivshmem_error error;
	unsigned n_some = 0;
	bool usage;

	for (unsigned i = 0; i < n; i++)
		for (unsigned j = 0; j < n_names; j++)
			if (strcmp(table[i].name, names[j]) == 0)
				some[n_some++] = table[i];
	if (arguments_parse(argc, argv, some, n_some, false, &usage, &error) < 0)
		return error_set(reterr, -EINVAL,
			"%s beside --regions: what a region is, its file says", error.message);
	return 0;
}

/* With `ret_kinds`, it lists the options, and returns their number. */
static int
parse(int argc, char **argv, struct options *ret_options, bool *ret_usage,
	struct option_kind *ret_kinds, struct ivshmem_error *reterr)
{
	struct options options = {
		.runtime_dir = DEFAULT_RUNTIME,
		.pid_file = DEFAULT_PID_FILE,
		.socket_mode = 0660,
		.socket_owner = (uid_t)-1,
		.socket_group = (gid_t)-1,
		.memory = {.kind = REGION_MEMFD, .size = DEFAULT_SIZE, .mode = 0600},
		.n_vectors = 1,
		.stall_limit_ns = DEFAULT_STALL,
	};
	const struct argument table[] = {
		{"help", .letter = 'h', .ends = ACTION_HELP},
		{"version", .ends = ACTION_VERSION},
		{"foreground", .letter = 'F', .flag = &options.foreground},
		{"verbose", .letter = 'v', .flag = &options.verbose},
		{"keep-clients", .flag = &options.keep_clients},
		{"supervise", .flag = &options.supervise},
		{"regions", "DIR", .text = &options.regions, .min = 1},
		{"runtime-dir", "DIR", .text = &options.runtime_dir, .min = 1},
		{"check", .flag = &options.check},
		{"name", "NAME", .text = &options.name, .min = 1},
		{"trace-file", "FILE", .text = &options.trace_file, .min = 1},
		{"user", "NAME", .take = sandbox_take_user, .to = &options.user},
		{"sandbox", "off|log|kill", .take = sandbox_take_mode, .to = &options.sandbox},
		{"pidfile", "FILE", .letter = 'p', .text = &options.pid_file},
		{"socket", "PATH", .letter = 'S', .text = &options.socket},
		{"observer-socket", "PATH", .take = take_beside, .to = &options.observer_socket},
		{"no-observer-socket", .take = take_beside, .to = &options.observer_socket},
		{"control-socket", "PATH", .take = take_beside, .to = &options.control_socket},
		{"no-control-socket", .take = take_beside, .to = &options.control_socket},
		{"member", "ID=PATH", .take = take_member, .to = &options, .repeats = true},
		{"socket-mode", "MODE", .mode = &options.socket_mode},
		{"socket-owner", "USER", .take = account_user, .to = &options.socket_owner},
		{"socket-group", "GROUP", .take = account_group, .to = &options.socket_group},
		{"size", "SIZE", .letter = 'l', .size = &options.memory.size, .min = 1,
			.max = REGION_MAX_SIZE},
		{"hugetlb", "2M|1G", .take = take_huge_page, .to = &options.memory.huge_page},
		{"shm", "NAME", .letter = 'M', .take = take_shm, .to = &options.memory},
		{"memory-mode", "MODE", .mode = &options.memory.mode},
		{"directory", "DIR", .letter = 'm', .take = take_directory, .to = &options.memory},
		{"numa-node", "N", .take = take_numa_node, .to = &options.memory},
		{"preallocate", .flag = &options.memory.preallocate},
		{"vectors", "N", .letter = 'n', .number = &options.n_vectors,
			.max = IVSHMEM_MAX_VECTORS},
		{"max-peers", "N", .number = &options.max_peers, .min = 1,
			.max = IVSHMEM_MAX_ID + 1},
		{"max-observers", "N", .number = &options.max_observers, .min = 1,
			.max = IVSHMEM_MAX_ID + 1},
		{"stall-timeout", "SECONDS", .ns = &options.stall_limit_ns, .max = TIME_YEAR},
		{"allow-user", "LIST", .take = policy_take_users, .to = &options.policy.allowed},
		{"allow-group", "LIST", .take = policy_take_groups, .to = &options.policy.allowed},
		{"max-peers-per-user", "N", .number = &options.policy.max_peers_per_user, .min = 1,
			.max = IVSHMEM_MAX_ID + 1},
		{"max-observers-per-user", "N", .number = &options.policy.max_observers_per_user,
			.min = 1, .max = IVSHMEM_MAX_ID + 1},
		{"see", "WHOM", .take = policy_take_see, .to = &options.policy},
		{"read-only-user", "LIST", .take = policy_take_users,
			.to = &options.policy.read_only},
		{"read-only-group", "LIST", .take = policy_take_groups,
			.to = &options.policy.read_only},
	};
	const unsigned n = sizeof(table) / sizeof(table[0]);
	int r;

	if (ret_kinds)
		return (int)list_kinds(table, n, ret_kinds);
	r = arguments_parse(argc, argv, table, n, false, ret_usage, reterr);
	if (r == 0)
		r = check(&options, reterr);
	if (r == 0 && options.regions)
		r = check_manager(argc, argv, table, n, reterr);
	if (r < 0)
		return r;
	if (options.user.name && options.socket_owner == (uid_t)-1)
		options.socket_owner = options.user.uid;
	if (options.user.name && options.socket_group == (gid_t)-1)
		options.socket_group = options.user.gid;
	options.action = (enum action)r;
	options.socket_given = options.socket;
	if (!options.socket)
		options.socket = DEFAULT_SOCKET;
	if (optind < argc)
		options.ignored = argv[optind];
	*ret_options = options;
	return 0;
}

int
options_parse(int argc, char **argv, struct options *ret_options, bool *ret_usage,
	struct ivshmem_error *reterr)
{
	return parse(argc, argv, ret_options, ret_usage, NULL, reterr);
}

unsigned
options_list(struct option_kind *ret_kinds)
{
	struct options unused;
	char *argv[] = {NULL};
	bool usage;

	return (unsigned)parse(0, argv, &unused, &usage, ret_kinds, NULL);
}
