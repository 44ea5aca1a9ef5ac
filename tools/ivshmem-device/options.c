/* SPDX-License-Identifier: BSD-2-Clause */
#include <options.h>

#include <base/parse.h>
#include <common/arguments.h>

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdint.h>
#include <string.h>

#define DEFAULT_TIMEOUT_MS 5000
#define MAX_TIMEOUT_MS     (UINT64_C(3600) * 1000)
#define DEFAULT_SPIN_US    0
#define MAX_SPIN_US        1000000

const char device_options_usage[] =
	"Usage: ivshmem-device --socket PATH --server PATH [OPTION]...\n"
	"       ivshmem-device --socket PATH {--shm NAME | --file PATH} [OPTION]...\n"
	"Be an ivshmem PCI device for a virtual machine monitor that connects to a UNIX\n"
	"socket and speaks vfio-user: QEMU 10.1 or later, or Cloud Hypervisor. The device\n"
	"outlives its VMM, which may quit, start again and reconnect.\n"
	"\n"
	"  -h, --help              show this and exit\n"
	"      --version           show the version and exit\n"
	"  -v, --verbose           log what the VMM does and which peers join and leave\n"
	"\n"
	"Socket for the VMM:\n"
	"      --socket PATH       where to listen; needed, unless a supervisor passes a\n"
	"                          socket by LISTEN_FDS\n"
	"      --socket-path PATH  the same, as the vfio-user convention calls it\n"
	"      --fd N              descriptor of a socket that listens, or that is\n"
	"                          connected to the only VMM there will be\n"
	"      --socket-mode MODE  octal permissions of the socket; who may write may\n"
	"                          connect (0660)\n"
	"      --socket-owner USER name or number of its owner\n"
	"      --socket-group GROUP\n"
	"                          name or number of its group\n"
	"\n"
	"Where the memory comes from; one is needed:\n"
	"      --server PATH       the socket of an ivshmem-server, which also gives the\n"
	"                          device peers and interrupts\n"
	"      --shm NAME          a POSIX shared memory object: no peers, no interrupts\n"
	"      --file PATH         a file, such as one in a hugetlbfs: the same\n"
	"      --preallocate       of --shm or --file: allocate all of it now; what can\n"
	"                          not be had is an error, and not the VM's end later\n"
	"\n"
	"Properties of the device, as in QEMU:\n"
	"      --revision 0|1      1: today's ivshmem-plain and ivshmem-doorbell; 0: the\n"
	"                          ivshmem device of 2010 (1)\n"
	"      --size SIZE         of the memory, a power of two. Revision 1: bytes, or\n"
	"                          with suffix K, M, G, T. Revision 0, as in 2010: a\n"
	"                          number of MiB, or one with M or G behind it. Makes\n"
	"                          what --shm or --file names if it is missing. Not with\n"
	"                          --server in revision 1 (revision 0: 4M; revision 1:\n"
	"                          what is there)\n"
	"      --vectors N         interrupt vectors, 1 to 2048 (1)\n"
	"      --msi on|off        off: INTx instead of MSI-X; revision 0 only (on)\n"
	"      --ioeventfd on|off  offer the VMM eventfds for its doorbell writes; needs\n"
	"                          msi (revision 0: off, revision 1: on)\n"
	"      --role ROLE         revision 0: master or peer; only the master can be\n"
	"                          migrated (master)\n"
	"      --master VALUE      revision 1: on, off, or auto for whoever has id 0; the\n"
	"                          same as role (off)\n"
	"      --legacy-doorbell   take 8 bits of a doorbell write as the vector, as QEMU\n"
	"                          does, and not 16\n"
	"      --doorbell-bar on|off\n"
	"                          a BAR with a doorbell of its own for each vector of\n"
	"                          each peer, as quick with thousands of them as with\n"
	"                          one; revision 1, with a server (off)\n"
	"\n"
	"Time:\n"
	"      --spin USEC         look for the next request for so long before sleeping:\n"
	"                          quicker registers for processor time; at most 1000000\n"
	"                          (0)\n"
	"      --timeout SECONDS   how long the server may take to answer at the start,\n"
	"                          at most 3600; revision 0 goes on without (5)\n"
	"      --wait SECONDS      wait so long for a server that is not there yet, at\n"
	"                          most 3600 (0)\n"
	"\n"
	"It stays in the foreground, and prints a line that begins with \"ready\" once a\n"
	"VMM can connect. SIGTERM and SIGINT end it; SIGHUP does nothing.\n"
	"Exit status: 0 if it was asked to end, 1 if it failed, 2 on wrong usage.\n"
	"\n"
	"Example, a group of 64 MiB with a guest of QEMU:\n"
	"  ivshmem-server -F -S /run/group.sock -l 64M -n 4 &\n"
	"  ivshmem-device --socket /run/vm1.sock --server /run/group.sock --vectors 4 &\n"
	"  qemu-system-x86_64 ... -device '{ \"driver\": \"vfio-user-pci\",\n"
	"      \"socket\": { \"type\": \"unix\", \"path\": \"/run/vm1.sock\" } }'\n"
	"and one of Cloud Hypervisor, which needs a device of its own:\n"
	"  ivshmem-device --socket /run/vm2.sock --server /run/group.sock --vectors 4 &\n"
	"  cloud-hypervisor ... --memory size=1G,shared=on \\\n"
	"                       --user-device socket=/run/vm2.sock\n";

enum {
	OPTION_VERSION = 256,
	OPTION_SOCKET,
	OPTION_FD,
	OPTION_SOCKET_MODE,
	OPTION_SOCKET_OWNER,
	OPTION_SOCKET_GROUP,
	OPTION_SERVER,
	OPTION_SHM,
	OPTION_FILE,
	OPTION_PREALLOCATE,
	OPTION_REVISION,
	OPTION_SIZE,
	OPTION_VECTORS,
	OPTION_MSI,
	OPTION_IOEVENTFD,
	OPTION_ROLE,
	OPTION_MASTER,
	OPTION_LEGACY_DOORBELL,
	OPTION_DOORBELL_BAR,
	OPTION_SPIN,
	OPTION_TIMEOUT,
	OPTION_WAIT,
};

static const struct option long_options[] = {
	{"help", no_argument, NULL, 'h'},
	{"version", no_argument, NULL, OPTION_VERSION},
	{"verbose", no_argument, NULL, 'v'},
	{"socket", required_argument, NULL, OPTION_SOCKET},
	{"socket-path", required_argument, NULL, OPTION_SOCKET},
	{"fd", required_argument, NULL, OPTION_FD},
	{"socket-mode", required_argument, NULL, OPTION_SOCKET_MODE},
	{"socket-owner", required_argument, NULL, OPTION_SOCKET_OWNER},
	{"socket-group", required_argument, NULL, OPTION_SOCKET_GROUP},
	{"server", required_argument, NULL, OPTION_SERVER},
	{"shm", required_argument, NULL, OPTION_SHM},
	{"file", required_argument, NULL, OPTION_FILE},
	{"preallocate", no_argument, NULL, OPTION_PREALLOCATE},
	{"revision", required_argument, NULL, OPTION_REVISION},
	{"size", required_argument, NULL, OPTION_SIZE},
	{"vectors", required_argument, NULL, OPTION_VECTORS},
	{"msi", required_argument, NULL, OPTION_MSI},
	{"ioeventfd", required_argument, NULL, OPTION_IOEVENTFD},
	{"role", required_argument, NULL, OPTION_ROLE},
	{"master", required_argument, NULL, OPTION_MASTER},
	{"legacy-doorbell", no_argument, NULL, OPTION_LEGACY_DOORBELL},
	{"doorbell-bar", required_argument, NULL, OPTION_DOORBELL_BAR},
	{"spin", required_argument, NULL, OPTION_SPIN},
	{"timeout", required_argument, NULL, OPTION_TIMEOUT},
	{"wait", required_argument, NULL, OPTION_WAIT},
	{NULL, 0, NULL, 0},
};

/* What was given, before it is looked at as a whole. */
struct given {
	struct device_options options;
	struct ivshmem_device_properties properties;
	unsigned revision;
	bool legacy_doorbell;
};

static int
parse_time(
	const char *option, const char *text, bool may_be_0, unsigned *ret_ms, struct error *reterr)
{
	uint64_t ms;
	int r = parse_duration_ms(text, MAX_TIMEOUT_MS, &ms);

	if (r == -ERANGE || (r == 0 && ms == 0 && !may_be_0))
		return error_set(reterr, -EINVAL,
			"%s: '%.100s' is not between %s seconds and an hour", option, text,
			may_be_0 ? "0" : "0.001");
	if (r < 0)
		return error_set(reterr, -EINVAL,
			"%s: '%.100s' is not a time: write seconds, like 30 or 0.5", option, text);
	*ret_ms = (unsigned)ms;
	return 0;
}

/* Not one of the standard streams: it could only be a mistake. */
static int
parse_fd(const char *text, int *ret_fd, struct error *reterr)
{
	unsigned fd;
	int r = argument_number("--fd", text, 3, INT_MAX, &fd, reterr);

	if (r == 0)
		*ret_fd = (int)fd;
	return r;
}

/* Take the name of something that is opened later. */
static int
use_name(const char *option, const char *value, const char **ret_name, struct error *reterr)
{
	if (*value == '\0')
		return error_set(reterr, -EINVAL, "%s: the name is empty", option);
	*ret_name = value;
	return 0;
}

/* Take a property, whose value is checked with all the others. */
static int
use_property(const char *value, const char **ret_property)
{
	*ret_property = value;
	return 0;
}

static int
parse_property(struct given *given, int option, const char *value, struct error *reterr)
{
	struct ivshmem_device_properties *properties = &given->properties;

	switch (option) {
	case OPTION_REVISION:
		return argument_number("--revision", value, 0, 1, &given->revision, reterr);
	case OPTION_SIZE:
		return use_property(value, &properties->size);
	case OPTION_VECTORS:
		return use_property(value, &properties->vectors);
	case OPTION_MSI:
		return use_property(value, &properties->msi);
	case OPTION_IOEVENTFD:
		return use_property(value, &properties->ioeventfd);
	case OPTION_ROLE:
		return use_property(value, &properties->role);
	case OPTION_MASTER:
		return use_property(value, &properties->master);
	case OPTION_DOORBELL_BAR:
		return use_property(value, &properties->doorbell_bar);
	case OPTION_LEGACY_DOORBELL:
		given->legacy_doorbell = true;
		return 0;
	default:
		return -EINVAL;
	}
}

static int
parse_option(struct given *given, int option, const char *value, struct error *reterr)
{
	struct device_options *options = &given->options;

	switch (option) {
	case 'h':
		options->action = DEVICE_ACTION_HELP;
		return 0;
	case OPTION_VERSION:
		options->action = DEVICE_ACTION_VERSION;
		return 0;
	case 'v':
		options->verbose = true;
		return 0;
	case OPTION_SOCKET:
		return use_name("--socket", value, &options->socket, reterr);
	case OPTION_FD:
		return parse_fd(value, &options->fd, reterr);
	case OPTION_SOCKET_MODE:
		return argument_mode("--socket-mode", value, &options->socket_mode, reterr);
	case OPTION_SOCKET_OWNER:
		return argument_user("--socket-owner", value, &options->socket_owner, reterr);
	case OPTION_SOCKET_GROUP:
		return argument_group("--socket-group", value, &options->socket_group, reterr);
	case OPTION_SERVER:
		return use_name("--server", value, &options->server, reterr);
	case OPTION_SHM:
		return use_name("--shm", value, &options->shm, reterr);
	case OPTION_FILE:
		return use_name("--file", value, &options->file, reterr);
	case OPTION_PREALLOCATE:
		options->preallocate = true;
		return 0;
	case OPTION_SPIN:
		return argument_number("--spin", value, 0, MAX_SPIN_US, &options->spin_us, reterr);
	case OPTION_TIMEOUT:
		return parse_time("--timeout", value, false, &options->timeout_ms, reterr);
	case OPTION_WAIT:
		return parse_time("--wait", value, true, &options->wait_ms, reterr);
	default:
		return parse_property(given, option, value, reterr);
	}
}

/* The server may be written as other programs of ours want it, or as QEMU does. */
static int
check_server(struct given *given, struct error *reterr)
{
	struct device_options *options = &given->options;

	if (!options->server)
		return 0;
	given->properties.chardev = options->server;
	if (strncmp(options->server, "unix:", 5) == 0)
		options->server += 5;
	else if (options->server[strspn(options->server, "abcdefghijklmnopqrstuvwxyz")] == ':')
		return error_set(reterr, -EINVAL,
			"--server: '%.100s' is not a UNIX socket: write a path, or unix:PATH",
			options->server);
	if (options->server[0] == '\0')
		return error_set(reterr, -EINVAL, "--server: the name is empty");
	return 0;
}

/*
 * Revision 0 lets the server win over shared memory, as it did in 2010; everything else that comes
 * from two places is a mistake.
 */
static int
check_source(struct given *given, struct error *reterr)
{
	const struct device_options *options = &given->options;
	struct ivshmem_device_properties *properties = &given->properties;
	const char *memory = options->shm ? "--shm" : "--file";

	if (options->shm && options->file)
		return error_set(reterr, -EINVAL,
			"the memory can come from one place only: give --shm or --file");
	if (options->server && (options->file || (options->shm && given->revision != 0)))
		return error_set(reterr, -EINVAL,
			"the memory can come from one place only: give --server or %s", memory);
	if (options->server && options->preallocate)
		return error_set(reterr, -EINVAL,
			"--preallocate: the memory is the server's: leave it out here, and give it "
			"to ivshmem-server");
	/* The device of 2010 knows one kind of memory that is not a server's. */
	if (given->revision == 0)
		properties->shm = options->shm ? options->shm : options->file;
	else if (options->shm)
		properties->shm = options->shm;
	else
		properties->memdev = options->file;
	return 0;
}

/* Which of the properties ivshmem-plain and ivshmem-doorbell do not have; the ivshmem of 2010 had all. */
static int
check_kind(const struct given *given, struct error *reterr)
{
	const struct ivshmem_device_properties *properties = &given->properties;
	const char *missing = properties->vectors        ? "vectors"
			      : properties->ioeventfd    ? "ioeventfd"
			      : properties->msi          ? "msi"
			      : properties->doorbell_bar ? "doorbell-bar"
							 : NULL;

	if (given->revision == 0)
		return 0;
	if (given->options.server && properties->size)
		return error_set(reterr, -EINVAL,
			"--size: in revision 1 the server says the size of the memory: leave it "
			"out here, and give it to ivshmem-server");
	if (!given->options.server && missing)
		return error_set(reterr, -EINVAL,
			"--%s: without a server, revision 1 has no interrupts: leave it out, or "
			"give --server",
			missing);
	return 0;
}

static int
configure(struct given *given, struct error *reterr)
{
	struct device_options *options = &given->options;
	struct ivshmem_error error;

	if (ivshmem_device_configure(&given->properties, given->revision, &options->config,
		    &options->warning, &error) < 0)
		return error_set(reterr, -EINVAL, "%s", error.message);
	options->config.legacy_doorbell = given->legacy_doorbell;
	if (options->server)
		options->shm = NULL;
	return 0;
}

static int
check(struct given *given, bool *ret_usage, struct error *reterr)
{
	const struct device_options *options = &given->options;
	int r;

	if (options->socket && options->fd >= 0)
		return error_set(reterr, -EINVAL,
			"a VMM can connect in one place only: give --socket or --fd");
	if (!options->server && !options->shm && !options->file) {
		*ret_usage = true;
		return error_set(reterr, -EINVAL,
			"there is no memory to share: give --server, --shm or --file");
	}
	r = check_server(given, reterr);
	if (r >= 0)
		r = check_source(given, reterr);
	if (r >= 0)
		r = check_kind(given, reterr);
	if (r >= 0)
		r = configure(given, reterr);
	return r;
}

int
device_options_parse(int argc, char **argv, struct device_options *ret_options, bool *ret_usage,
	struct error *reterr)
{
	struct given given = {
		.options =
			{
				.fd = -1,
				.socket_mode = 0660,
				.socket_owner = (uid_t)-1,
				.socket_group = (gid_t)-1,
				.spin_us = DEFAULT_SPIN_US,
				.timeout_ms = DEFAULT_TIMEOUT_MS,
				.config = {.struct_size = sizeof(given.options.config)},
			},
		.properties = {.struct_size = sizeof(given.properties)},
		.revision = 1,
	};
	int option, r;

	*ret_usage = false;
	optind = 0; /* glibc: start anew, whoever parsed before */
	opterr = 0;
	while ((option = getopt_long(argc, argv, ":hv", long_options, NULL)) != -1) {
		if (option == '?' || option == ':') {
			*ret_usage = true;
			return argument_refuse(option, argv, long_options, reterr);
		}
		r = parse_option(&given, option, optarg, reterr);
		if (r < 0)
			return r;
		if (given.options.action != DEVICE_ACTION_SERVE)
			break; /* as everywhere, asking for help ends the matter */
	}
	if (given.options.action == DEVICE_ACTION_SERVE) {
		if (optind < argc) {
			*ret_usage = true;
			return error_set(reterr, -EINVAL,
				"'%.100s' is not an option: everything is given by options",
				argv[optind]);
		}
		r = check(&given, ret_usage, reterr);
		if (r < 0)
			return r;
	}
	*ret_options = given.options;
	return 0;
}
