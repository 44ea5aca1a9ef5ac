/* SPDX-License-Identifier: BSD-2-Clause */
#include <options.h>

#include <base/parse.h>
#include <common/arguments.h>

#include <ivshmem/abi.h>

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_PID_FILE "/var/run/ivshmem-server.pid"
#define DEFAULT_SOCKET   "/tmp/ivshmem_socket"
#define DEFAULT_SIZE     (UINT64_C(4) << 20)
#define DEFAULT_STALL_MS (UINT64_C(300) * 1000)
#define MAX_STALL_MS     (UINT64_C(365) * 24 * 3600 * 1000)

const char options_usage[] =
	"Usage: ivshmem-server [OPTION]...\n"
	"Give virtual machines a piece of memory to share and let them interrupt each other.\n"
	"Clients (QEMU's ivshmem-doorbell device, the ivshmem program, libivshmem) connect to a UNIX socket.\n"
	"\n"
	"  -h, --help                  show this and exit\n"
	"      --version               show the version and exit\n"
	"  -F, --foreground            stay in the foreground; otherwise run as a daemon, logging to syslog\n"
	"  -v, --verbose               tell of observers, too, and leave nothing out (only with -F)\n"
	"  -p, --pidfile FILE          of the daemon (" DEFAULT_PID_FILE ")\n"
	"\n"
	"Socket:\n"
	"  -S, --socket PATH           where to listen (" DEFAULT_SOCKET ")\n"
	"      --observer-socket PATH  where programs look in that take no id (the socket's path and " IVSHMEM_OBSERVER_SUFFIX
	")\n"
	"      --no-observer-socket    let nobody look in: all who connect take an id\n"
	"      --member ID=PATH        keep ID for one client at a time, who connects to PATH; can be repeated\n"
	"      --socket-mode MODE      octal permissions of all these; who may write may connect (0660)\n"
	"      --socket-owner USER     name or number of their owner\n"
	"      --socket-group GROUP    name or number of their group\n"
	"\n"
	"Shared memory, an anonymous memfd sealed against resizing unless -M or -m is given (the last one counts):\n"
	"  -l, --size SIZE             in bytes, or with suffix K, M, G, T; rounded up to a power of two of at least\n"
	"                              4 KiB (4M)\n"
	"      --hugetlb 2M|1G         take it from the reserved huge pages of that size\n"
	"  -M, --shm NAME              use the POSIX shared memory object NAME; an existing one keeps its contents\n"
	"                              and is never shrunk; removed at exit if it was created\n"
	"      --memory-mode MODE      octal permissions of the object if it is created (0600)\n"
	"  -m, --directory DIR         use an unnamed file in DIR, such as a hugetlbfs mount\n"
	"      --preallocate           allocate it all now: what cannot be had is an error, and nobody's end later\n"
	"\n"
	"Clients:\n"
	"  -n, --vectors N             interrupt vectors of each client, 0 to 2048 (1)\n"
	"      --max-peers N           refuse more clients than N, each --member counting always (65536)\n"
	"      --max-observers N       refuse more observers than N, 1 to 65536 (64, less if descriptors are few)\n"
	"      --stall-timeout SECONDS disconnect a client that does not read for so long; 0: never (300)\n"
	"\n"
	"SIGTERM and SIGINT end it and remove what it created; SIGHUP does nothing.\n"
	"Exit status: 0 if it was asked to end (or, as a daemon, once it serves), 1 if it cannot start.\n"
	"\n"
	"Example, and a QEMU that joins:\n"
	"  ivshmem-server -F -S /run/ivshmem/demo.sock -l 64M -n 4\n"
	"  qemu-system-x86_64 ... -chardev socket,path=/run/ivshmem/demo.sock,id=ivshmem \\\n"
	"                         -device ivshmem-doorbell,chardev=ivshmem,vectors=4\n";

enum {
	OPTION_VERSION = 256,
	OPTION_SOCKET_MODE,
	OPTION_SOCKET_OWNER,
	OPTION_SOCKET_GROUP,
	OPTION_MEMORY_MODE,
	OPTION_HUGETLB,
	OPTION_PREALLOCATE,
	OPTION_MAX_PEERS,
	OPTION_MAX_OBSERVERS,
	OPTION_OBSERVER_SOCKET,
	OPTION_NO_OBSERVER_SOCKET,
	OPTION_MEMBER,
	OPTION_STALL_TIMEOUT,
};

static const struct option long_options[] = {
	{"help", no_argument, NULL, 'h'},
	{"version", no_argument, NULL, OPTION_VERSION},
	{"foreground", no_argument, NULL, 'F'},
	{"verbose", no_argument, NULL, 'v'},
	{"pidfile", required_argument, NULL, 'p'},
	{"socket", required_argument, NULL, 'S'},
	{"socket-mode", required_argument, NULL, OPTION_SOCKET_MODE},
	{"socket-owner", required_argument, NULL, OPTION_SOCKET_OWNER},
	{"socket-group", required_argument, NULL, OPTION_SOCKET_GROUP},
	{"size", required_argument, NULL, 'l'},
	{"hugetlb", required_argument, NULL, OPTION_HUGETLB},
	{"preallocate", no_argument, NULL, OPTION_PREALLOCATE},
	{"shm", required_argument, NULL, 'M'},
	{"memory-mode", required_argument, NULL, OPTION_MEMORY_MODE},
	{"directory", required_argument, NULL, 'm'},
	{"vectors", required_argument, NULL, 'n'},
	{"max-peers", required_argument, NULL, OPTION_MAX_PEERS},
	{"max-observers", required_argument, NULL, OPTION_MAX_OBSERVERS},
	{"observer-socket", required_argument, NULL, OPTION_OBSERVER_SOCKET},
	{"no-observer-socket", no_argument, NULL, OPTION_NO_OBSERVER_SOCKET},
	{"member", required_argument, NULL, OPTION_MEMBER},
	{"stall-timeout", required_argument, NULL, OPTION_STALL_TIMEOUT},
	{NULL, 0, NULL, 0},
};

static int
parse_memory_size(const char *text, uint64_t *ret_size, struct error *reterr)
{
	uint64_t size, rounded;
	int r = parse_size(text, &size);

	if (r == -EINVAL)
		return error_set(reterr, -EINVAL,
			"-l: '%.100s' is not a size: write a number of bytes, or a number with suffix K, M, G, T, P or E",
			text);
	if (r == 0)
		r = region_round_size(size, &rounded);
	if (r < 0)
		return error_set(reterr, -EINVAL,
			"-l: a size of '%.100s' is too %s: it must be 1 byte to 4 EiB", text,
			r == -ERANGE ? "large" : "small");
	*ret_size = size;
	return 0;
}

/* "ID=PATH" */
static int
add_member(struct options *options, const char *text, struct error *reterr)
{
	const char *equals = strchr(text, '=');
	char number[16] = "";
	unsigned id;
	int r;

	if (!equals || !equals[1] || (size_t)(equals - text) >= sizeof(number))
		return error_set(reterr, -EINVAL,
			"--member: '%.100s' is not an id and a path: write such as 0=/run/group-0.sock",
			text);
	memcpy(number, text, (size_t)(equals - text));
	r = argument_number("--member", number, 0, IVSHMEM_MAX_ID, &id, reterr);
	if (r < 0)
		return r;
	for (unsigned i = 0; i < options->n_members; i++)
		if (options->members[i].id == id)
			return error_set(
				reterr, -EINVAL, "--member: id %u is given to two members", id);
	if (options->n_members == MEMBERS_MAX)
		return error_set(reterr, -EINVAL, "--member: at most %d can be given", MEMBERS_MAX);
	options->members[options->n_members++] =
		(struct member_option){.id = (uint16_t)id, .socket = equals + 1};
	return 0;
}

static int
parse_huge_page(const char *text, uint64_t *ret_size, struct error *reterr)
{
	uint64_t size;

	if (parse_size(text, &size) < 0 || (size != UINT64_C(2) << 20 && size != UINT64_C(1) << 30))
		return error_set(reterr, -EINVAL,
			"--hugetlb: '%.100s' is not a size of huge pages: write 2M or 1G", text);
	*ret_size = size;
	return 0;
}

static int
parse_stall(const char *text, uint64_t *ret_ms, struct error *reterr)
{
	int r = parse_duration_ms(text, MAX_STALL_MS, ret_ms);

	if (r == -ERANGE)
		return error_set(reterr, -EINVAL,
			"--stall-timeout: '%.100s' is not between 0.001 seconds and a year; 0 is for never",
			text);
	if (r < 0)
		return error_set(reterr, -EINVAL,
			"--stall-timeout: '%.100s' is not a time: write seconds, like 30 or 0.5, or 0 for never",
			text);
	return 0;
}

static int
use_name(struct region_config *memory, enum region_kind kind, const char *name)
{
	memory->kind = kind;
	memory->name = name;
	return 0;
}

static int
parse_option(struct options *options, int option, const char *value, struct error *reterr)
{
	switch (option) {
	case 'h':
		options->action = ACTION_HELP;
		return 0;
	case OPTION_VERSION:
		options->action = ACTION_VERSION;
		return 0;
	case 'F':
		options->foreground = true;
		return 0;
	case 'v':
		options->verbose = true;
		return 0;
	case 'p':
		options->pid_file = value;
		return 0;
	case 'S':
		options->socket = value;
		options->socket_given = true;
		return 0;
	case 'M':
		return use_name(&options->memory, REGION_SHM, value);
	case 'm':
		return use_name(&options->memory, REGION_DIRECTORY, value);
	case 'l':
		return parse_memory_size(value, &options->memory.size, reterr);
	case 'n':
		return argument_number(
			"-n", value, 0, IVSHMEM_MAX_VECTORS, &options->n_vectors, reterr);
	case OPTION_SOCKET_MODE:
		return argument_mode("--socket-mode", value, &options->socket_mode, reterr);
	case OPTION_SOCKET_OWNER:
		return argument_user("--socket-owner", value, &options->socket_owner, reterr);
	case OPTION_SOCKET_GROUP:
		return argument_group("--socket-group", value, &options->socket_group, reterr);
	case OPTION_MEMORY_MODE:
		return argument_mode("--memory-mode", value, &options->memory.mode, reterr);
	case OPTION_HUGETLB:
		return parse_huge_page(value, &options->memory.huge_page, reterr);
	case OPTION_PREALLOCATE:
		options->memory.preallocate = true;
		return 0;
	case OPTION_MAX_PEERS:
		return argument_number(
			"--max-peers", value, 1, IVSHMEM_MAX_ID + 1, &options->max_peers, reterr);
	case OPTION_MAX_OBSERVERS:
		return argument_number("--max-observers", value, 1, IVSHMEM_MAX_ID + 1,
			&options->max_observers, reterr);
	case OPTION_OBSERVER_SOCKET:
		if (!value[0])
			return error_set(reterr, -EINVAL,
				"--observer-socket: the path is empty; --no-observer-socket makes none");
		options->observer_socket = value;
		return 0;
	case OPTION_NO_OBSERVER_SOCKET:
		options->observer_socket = "";
		return 0;
	case OPTION_MEMBER:
		return add_member(options, value, reterr);
	case OPTION_STALL_TIMEOUT:
		return parse_stall(value, &options->stall_limit_ms, reterr);
	default:
		return -EINVAL;
	}
}

int
options_parse(
	int argc, char **argv, struct options *ret_options, bool *ret_usage, struct error *reterr)
{
	struct options options = {
		.pid_file = DEFAULT_PID_FILE,
		.socket = DEFAULT_SOCKET,
		.socket_mode = 0660,
		.socket_owner = (uid_t)-1,
		.socket_group = (gid_t)-1,
		.memory = {.kind = REGION_MEMFD, .size = DEFAULT_SIZE, .mode = 0600},
		.n_vectors = 1,
		.stall_limit_ms = DEFAULT_STALL_MS,
	};
	int option;

	*ret_usage = false;
	optind = 0; /* glibc: start anew, whoever parsed before */
	opterr = 0;
	while ((option = getopt_long(argc, argv, ":hFvp:S:M:m:l:n:", long_options, NULL)) != -1) {
		int r;

		if (option == '?' || option == ':') {
			*ret_usage = true;
			return argument_refuse(option, argv, long_options, reterr);
		}
		r = parse_option(&options, option, optarg, reterr);
		if (r < 0)
			return r;
		if (options.action != ACTION_SERVE)
			break; /* as everywhere, asking for help ends the matter */
	}
	if (options.action == ACTION_SERVE) {
		if (options.verbose && !options.foreground)
			return error_set(reterr, -EINVAL,
				"-v needs -F: a daemon logs to syslog, and has nobody to be verbose to");
		if (options.memory.huge_page && options.memory.kind != REGION_MEMFD)
			return error_set(
				reterr, -EINVAL, "--hugetlb cannot be combined with -M or -m");
	}
	if (optind < argc)
		options.ignored = argv[optind];
	*ret_options = options;
	return 0;
}
