/* SPDX-License-Identifier: BSD-2-Clause */
#include <options.h>

#include <base/error.h>
#include <common/accounts.h>
#include <common/arguments.h>

#include <ivshmem/common.h>

#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_TIMEOUT_MS 5000
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
	"      --trace-file FILE   where to write what happened last, if the device\n"
	"                          crashes (stderr)\n"
	"      --user NAME         when all is set up, be this user instead of root; the\n"
	"                          socket is his\n"
	"      --sandbox off|log|kill\n"
	"                          what happens if the device makes a system call that it\n"
	"                          never needs: log reports it, kill ends the device; off\n"
	"                          gives up no rights at all (kill, or off in a build\n"
	"                          without libseccomp)\n"
	"\n"
	"Socket for the VMM:\n"
	"      --socket PATH       where to listen; needed, unless --fd is given or a\n"
	"                          supervisor passes a socket by LISTEN_FDS\n"
	"      --socket-path PATH  the same, as the vfio-user convention calls it\n"
	"      --fd N              descriptor of a socket that listens, or that is\n"
	"                          connected to the only VMM to serve\n"
	"      --socket-mode MODE  octal permissions of the socket; a user with write\n"
	"                          permission can connect (0660)\n"
	"      --socket-owner USER name or number of its owner\n"
	"      --socket-group GROUP\n"
	"                          name or number of its group\n"
	"      --control-socket PATH\n"
	"                          where 'ivshmem ctl' connects, for the user of the\n"
	"                          device and root only (none)\n"
	"\n"
	"Where the memory comes from; one is needed:\n"
	"      --server PATH       the socket of an ivshmem-server, which also gives the\n"
	"                          device peers and interrupts\n"
	"      --shm NAME          a POSIX shared memory object: no peers, no interrupts\n"
	"      --file PATH         a file, such as one in a hugetlbfs: the same\n"
	"      --preallocate       with --shm or --file: allocate all of the memory at\n"
	"                          the start; too little memory is then an error, and\n"
	"                          does not kill the VM later\n"
	"\n"
	"Properties of the device, as in QEMU:\n"
	"      --revision 0|1      1: today's ivshmem-plain and ivshmem-doorbell; 0: the\n"
	"                          ivshmem device of 2010 (1)\n"
	"      --size SIZE         size of the memory, a power of two. Revision 1: bytes,\n"
	"                          or with suffix K, M, G, T. Revision 0, as in 2010: a\n"
	"                          number of MiB, or a number followed by M or G. Creates\n"
	"                          the memory of --shm or --file if it is missing. Not\n"
	"                          with --server in revision 1 (revision 0: 4M; revision\n"
	"                          1: the size of the memory)\n"
	"      --vectors N         interrupt vectors, 1 to 2048 (1)\n"
	"      --msi on|off        off: INTx instead of MSI-X; revision 0 only (on)\n"
	"      --ioeventfd on|off  offer the VMM eventfds for its doorbell writes; needs\n"
	"                          msi (revision 0: off, revision 1: on)\n"
	"      --role ROLE         revision 0: master or peer; only the master can be\n"
	"                          migrated (master)\n"
	"      --master VALUE      revision 1: on, off, or auto (on for id 0); only the\n"
	"                          master can be migrated (off)\n"
	"      --legacy-doorbell   take 8 bits of a doorbell write as the vector, as QEMU\n"
	"                          does, and not 16\n"
	"      --doorbell-bar on|off\n"
	"                          another BAR, with a separate doorbell for each vector\n"
	"                          of each peer, as quick with thousands of them as with\n"
	"                          one; revision 1, with a server (off)\n"
	"\n"
	"Time:\n"
	"      --spin USEC         poll this long for the next request before sleeping;\n"
	"                          makes registers quicker, but costs processor time; at\n"
	"                          most 1000000 (0)\n"
	"      --timeout SECONDS   how long the server may take to answer at the start,\n"
	"                          at most 3600; revision 0 then goes on without an\n"
	"                          answer (5)\n"
	"      --wait SECONDS      how long to wait for a server that is not there yet,\n"
	"                          at most 3600 (0)\n"
	"\n"
	"Crashes:\n"
	"      --guard             be two processes: if one is killed, the other goes on,\n"
	"                          and neither VMM nor guest nor server notices\n"
	"\n"
	"The device stays in the foreground, and prints a line that begins with \"ready\"\n"
	"once a VMM can connect. SIGTERM and SIGINT end it; SIGHUP does nothing.\n"
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

/* The values given, before they are checked together. */
struct given {
	struct device_options options;
	struct ivshmem_device_properties properties;
	unsigned revision;
	unsigned fd; /* 0: none */
	bool legacy_doorbell;
};

/* The server may be a path, as in our other programs, or unix:PATH, as in QEMU. */
static int
check_server(struct given *given, struct ivshmem_error *reterr)
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
 * In revision 0, the server wins over shared memory, as in 2010. All other memory from two places
 * is a mistake.
 */
static int
check_source(struct given *given, struct ivshmem_error *reterr)
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
			"--preallocate: the memory is the server's: leave it out here, and give it to ivshmem-server");
	/* The device of 2010 has one property for memory without a server. */
	if (given->revision == 0)
		properties->shm = options->shm ? options->shm : options->file;
	else if (options->shm)
		properties->shm = options->shm;
	else
		properties->memdev = options->file;
	return 0;
}

/* Refuse properties that ivshmem-plain or ivshmem-doorbell lacks. The ivshmem of 2010 had them all. */
static int
check_kind(const struct given *given, struct ivshmem_error *reterr)
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
			"--size: in revision 1 the server says the size of the memory: leave it out here, and give it to ivshmem-server");
	if (!given->options.server && missing)
		return error_set(reterr, -EINVAL,
			"--%s: without a server, revision 1 has no interrupts: leave it out, or give --server",
			missing);
	return 0;
}

static int
configure(struct given *given, struct ivshmem_error *reterr)
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
check(struct given *given, bool *ret_usage, struct ivshmem_error *reterr)
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
	struct ivshmem_error *reterr)
{
	struct given given = {
		.options =
			{
				.fd = -1,
				.socket_mode = 0660,
				.socket_owner = (uid_t)-1,
				.socket_group = (gid_t)-1,
				.timeout_ms = DEFAULT_TIMEOUT_MS,
				.config = {.struct_size = sizeof(given.options.config)},
			},
		.properties = {.struct_size = sizeof(given.properties)},
		.revision = 1,
	};
	struct device_options *options = &given.options;
	struct ivshmem_device_properties *properties = &given.properties;
	const struct argument table[] = {
		{"help", .letter = 'h', .ends = DEVICE_ACTION_HELP},
		{"version", .ends = DEVICE_ACTION_VERSION},
		{"verbose", .letter = 'v', .flag = &options->verbose},
		{"trace-file", "FILE", .text = &options->trace_file, .min = 1},
		{"user", "NAME", .take = sandbox_take_user, .to = &options->user},
		{"sandbox", "off|log|kill", .take = sandbox_take_mode, .to = &options->sandbox},
		{"socket", "PATH", .text = &options->socket, .min = 1},
		{"socket-path", "PATH", .text = &options->socket, .min = 1},
		/* A standard stream could only be a mistake. */
		{"fd", "N", .number = &given.fd, .min = 3, .max = INT_MAX},
		{"socket-mode", "MODE", .mode = &options->socket_mode},
		{"socket-owner", "USER", .take = account_user, .to = &options->socket_owner},
		{"socket-group", "GROUP", .take = account_group, .to = &options->socket_group},
		{"control-socket", "PATH", .text = &options->control_socket, .min = 1},
		{"server", "PATH", .text = &options->server, .min = 1},
		{"shm", "NAME", .text = &options->shm, .min = 1},
		{"file", "PATH", .text = &options->file, .min = 1},
		{"preallocate", .flag = &options->preallocate},
		{"revision", "0|1", .number = &given.revision, .max = 1},
		/* The values of properties are checked together. */
		{"size", "SIZE", .text = &properties->size},
		{"vectors", "N", .text = &properties->vectors},
		{"msi", "on|off", .text = &properties->msi},
		{"ioeventfd", "on|off", .text = &properties->ioeventfd},
		{"role", "ROLE", .text = &properties->role},
		{"master", "VALUE", .text = &properties->master},
		{"doorbell-bar", "on|off", .text = &properties->doorbell_bar},
		{"legacy-doorbell", .flag = &given.legacy_doorbell},
		{"spin", "USEC", .number = &options->spin_us, .max = MAX_SPIN_US},
		{"timeout", "SECONDS", .ms = &options->timeout_ms, .min = 1, .max = TIME_HOUR},
		{"wait", "SECONDS", .ms = &options->wait_ms, .max = TIME_HOUR},
		{"guard", .flag = &options->guard},
	};
	int r = arguments_parse(
		argc, argv, table, sizeof(table) / sizeof(table[0]), false, ret_usage, reterr);

	if (r == DEVICE_ACTION_SERVE && optind < argc) {
		*ret_usage = true;
		return error_set(reterr, -EINVAL,
			"'%.100s' is not an option: everything is given by options", argv[optind]);
	}
	if (given.fd)
		options->fd = (int)given.fd;
	if (r == DEVICE_ACTION_SERVE)
		r = check(&given, ret_usage, reterr);
	if (r < 0)
		return r;
	if (options->user.name && options->socket_owner == (uid_t)-1)
		options->socket_owner = options->user.uid;
	if (options->user.name && options->socket_group == (gid_t)-1)
		options->socket_group = options->user.gid;
	options->action = (enum device_action)r;
	*ret_options = *options;
	return 0;
}
