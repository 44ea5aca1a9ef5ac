/* SPDX-License-Identifier: BSD-2-Clause */

/* The command line of ivshmem-device. What the values of properties may be is device_properties.c's. */

#include <options.h>

#include <test.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#define ARGS_MAX 40

#define SOCKET "--socket /s "
#define SERVED SOCKET "--server /r "

static bool usage;

/* Words separated by single blanks; '' is an empty word. They outlive the call. */
static int
parse(const char *line, struct device_options *ret_options, struct ivshmem_error *reterr)
{
	static char text[2048];
	static char name[] = "ivshmem-device", empty[] = "";
	char *argv[ARGS_MAX + 1] = {name}, *rest = text, *word;
	int argc = 1;

	snprintf(text, sizeof(text), "%s", line);
	while ((word = strsep(&rest, " "))) {
		if (*word == '\0')
			continue;
		CHECK(argc < ARGS_MAX);
		argv[argc++] = strcmp(word, "''") == 0 ? empty : word;
	}
	return device_options_parse(argc, argv, ret_options, &usage, reterr);
}

static struct device_options
accepted(const char *line)
{
	struct device_options options;
	struct ivshmem_error error = {0};
	int r = parse(line, &options, &error);

	if (r != 0)
		FAIL("\"%s\": %d %s", line, r, error.message);
	CHECK(!usage);
	return options;
}

/* Refused, with the words, and nothing is touched but `usage`. */
static void
refused_with(int code, const char *line, const char *reason)
{
	struct device_options options, untouched;
	struct ivshmem_error error = {0};
	int r;

	memset(&untouched, 0x5a, sizeof(untouched));
	options = untouched;
	r = parse(line, &options, &error);
	if (r != code || error.code != r || !strstr(error.message, reason))
		FAIL("\"%s\": %d \"%s\" instead of \"%s\"", line, r, error.message, reason);
	CHECK_MEM(&options, &untouched, sizeof(options));
	CHECK_EQ(parse(line, &options, NULL), code);
}

static void
refused(const char *line, const char *reason)
{
	refused_with(-EINVAL, line, reason);
}

static void
misunderstood(const char *line, const char *reason)
{
	refused(line, reason);
	if (!usage)
		FAIL("\"%s\": the usage would help", line);
}

/* It is clear what is wrong, so that a page of usage would only hide it. */
static void
wrong(const char *line, const char *reason)
{
	refused(line, reason);
	if (usage)
		FAIL("\"%s\": the usage would not help", line);
}

TEST(defaults)
{
	struct device_options options = accepted(SERVED);

	CHECK_EQ(options.action, DEVICE_ACTION_SERVE);
	CHECK(!options.verbose);
	CHECK_STR(options.socket, "/s");
	CHECK_EQ(options.socket_mode, 0660);
	CHECK_EQ(options.socket_owner, (uid_t)-1);
	CHECK_EQ(options.socket_group, (gid_t)-1);
	CHECK_STR(options.server, "/r");
	CHECK_STR(options.shm, NULL);
	CHECK_STR(options.file, NULL);
	CHECK_EQ(options.spin_us, 0);
	CHECK_EQ(options.timeout_ms, 5000);
	CHECK_EQ(options.wait_ms, 0);
	CHECK_STR(options.warning, NULL);
	CHECK_EQ(options.config.struct_size, sizeof(options.config));
	CHECK_EQ(options.config.revision, 1);
	CHECK(options.config.server && options.config.msi && options.config.ioeventfd);
	CHECK_EQ(options.config.vectors, 1);
	CHECK_EQ(options.config.memory_size, 0);
	CHECK_EQ(options.config.master, IVSHMEM_DEVICE_MASTER_OFF);
	CHECK(!options.config.legacy_doorbell && !options.config.doorbell_bar);
}

TEST(defaults_of_revision_0)
{
	struct device_options options = accepted(SERVED "--revision 0");

	CHECK_EQ(options.config.revision, 0);
	CHECK(options.config.server && options.config.msi && !options.config.ioeventfd);
	CHECK_EQ(options.config.memory_size, 4 << 20);
	CHECK_EQ(options.config.id, IVSHMEM_DEVICE_NO_ID);
	CHECK_EQ(options.config.master, IVSHMEM_DEVICE_MASTER_ON);
}

TEST(everything)
{
	struct device_options options = accepted(
		"--socket=/s --socket-mode 0600 --socket-owner 1 --socket-group 2 --server=/r "
		"--revision 0 --size 64M --vectors 2048 --msi on --ioeventfd on --role peer "
		"--legacy-doorbell --spin 1000000 --timeout 0.25 --wait 2 -v");

	CHECK(options.verbose);
	CHECK_EQ(options.socket_mode, 0600);
	CHECK_EQ(options.socket_owner, 1);
	CHECK_EQ(options.socket_group, 2);
	CHECK_EQ(options.config.memory_size, 64 << 20);
	CHECK_EQ(options.config.vectors, 2048);
	CHECK(options.config.msi && options.config.ioeventfd && options.config.legacy_doorbell);
	CHECK_EQ(options.config.master, IVSHMEM_DEVICE_MASTER_OFF);
	CHECK_EQ(options.spin_us, 1000000);
	CHECK_EQ(options.timeout_ms, 250);
	CHECK_EQ(options.wait_ms, 2000);

	options =
		accepted(SERVED "--vectors 4 --ioeventfd off --master auto --verbose --timeout 1h");
	CHECK(options.verbose && !options.config.ioeventfd);
	CHECK_EQ(options.config.vectors, 4);
	CHECK_EQ(options.config.master, IVSHMEM_DEVICE_MASTER_AUTO);
	CHECK_EQ(options.timeout_ms, 3600000);

	CHECK(accepted(SERVED "--doorbell-bar on").config.doorbell_bar);
	CHECK(!accepted(SERVED "--doorbell-bar off").config.doorbell_bar);

	options = accepted(SERVED "--revision 0 --msi off");
	CHECK(!options.config.msi);
}

TEST(names_of_users_and_groups)
{
	struct device_options options = accepted(SERVED "--socket-owner root --socket-group root");

	CHECK_EQ(options.socket_owner, 0);
	CHECK_EQ(options.socket_group, 0);
	wrong(SERVED "--socket-owner no-such-user",
		"--socket-owner: there is no user 'no-such-user'");
	wrong(SERVED "--socket-group no-such-group", "--socket-group: there is no group");
	wrong(SERVED "--socket-owner 4294967295", "there is no user");
	wrong(SERVED "--socket-group -1", "there is no group");
}

/* That is not the same as that there is none. */
TEST(names_that_cannot_be_looked_up)
{
	struct rlimit before, none;

	CHECK_SYS(getrlimit(RLIMIT_NOFILE, &before));
	none = (struct rlimit){.rlim_cur = 0, .rlim_max = before.rlim_max};
	CHECK_SYS(setrlimit(RLIMIT_NOFILE, &none));
	refused_with(-EMFILE, SERVED "--socket-owner no-such-user",
		"--socket-owner: cannot look up the user 'no-such-user': Too many open files");
	refused_with(-EMFILE, SERVED "--socket-group no-such-group",
		"--socket-group: cannot look up the group 'no-such-group': Too many open files");
	CHECK_EQ(accepted(SERVED "--socket-owner 7").socket_owner, 7);
	CHECK_SYS(setrlimit(RLIMIT_NOFILE, &before));
}

TEST(the_last_one_counts)
{
	struct device_options options =
		accepted("--server /a --vectors 9 --socket /b " SERVED "--vectors 3");

	CHECK_STR(options.socket, "/s");
	CHECK_STR(options.server, "/r");
	CHECK_EQ(options.config.vectors, 3);
}

/* ---- where the memory comes from ----------------------------------------------------------------- */

TEST(a_server_is_a_path_with_or_without_its_scheme)
{
	CHECK_STR(accepted(SOCKET "--server unix:/r").server, "/r");
	CHECK_STR(accepted(SOCKET "--server r").server, "r");
	CHECK_STR(accepted(SOCKET "--server ./tcp:4").server, "./tcp:4");
	CHECK_STR(accepted(SOCKET "--server unix:tcp:4").server, "tcp:4");
	wrong(SOCKET "--server tcp:4", "--server: 'tcp:4' is not a UNIX socket");
	wrong(SOCKET "--server :4", "--server: ':4' is not a UNIX socket");
	wrong(SOCKET "--server unix:", "--server: the name is empty");
	wrong(SOCKET "--server ''", "--server: the name is empty");
}

static void
check_memory_only(const char *line, const char *shm, const char *file, uint64_t size)
{
	struct device_options options = accepted(line);

	CHECK_STR(options.shm, shm);
	CHECK_STR(options.file, file);
	CHECK(!options.server && !options.config.server);
	CHECK_EQ(options.config.memory_size, size);
}

TEST(memory_without_a_server)
{
	check_memory_only(SOCKET "--revision 0 --shm m", "m", NULL, 4 << 20);
	check_memory_only(SOCKET "--shm m", "m", NULL, 0);
	check_memory_only(SOCKET "--revision 0 --file /m --size 2G", NULL, "/m", UINT64_C(2) << 30);
	check_memory_only(SOCKET "--file /m --size 2G", NULL, "/m", UINT64_C(2) << 30);
	wrong(SOCKET "--shm ''", "--shm: the name is empty");
	wrong(SOCKET "--file ''", "--file: the name is empty");
}

/* Checklist 39: revision 0 prefers the server. */
TEST(memory_from_two_places)
{
	struct device_options options = accepted(SERVED "--shm m --revision 0");

	CHECK_STR(options.server, "/r");
	CHECK_STR(options.shm, NULL);
	CHECK(options.warning && strstr(options.warning, "shm is ignored"));
	CHECK(options.config.server);

	wrong(SERVED "--shm m", "one place only: give --server or --shm");
	wrong(SERVED "--file m", "one place only: give --server or --file");
	wrong(SERVED "--file m --revision 0", "one place only: give --server or --file");
	wrong(SOCKET "--shm m --file m", "one place only: give --shm or --file");
	wrong(SOCKET "--shm m --file m --revision 0", "one place only: give --shm or --file");
	wrong(SERVED "--shm m --file m --revision 0", "one place only");
}

TEST(what_is_needed)
{
	misunderstood("", "no memory to share");
	/* A supervisor may pass the socket. */
	CHECK(!accepted("--server /r").socket);
	CHECK_EQ(accepted("--server /r").fd, -1);
	CHECK_STR(accepted("--server /r --socket-path /p").socket, "/p");
	CHECK_EQ(accepted("--server /r --fd 7").fd, 7);
	CHECK_EQ(accepted("--server /r --fd=0x10").fd, 16);
	wrong("--server /r --fd 2", "--fd: '2' is not a number from 3");
	wrong("--server /r --fd x", "--fd: 'x' is not a number");
	wrong(SERVED "--fd 7", "one place only: give --socket or --fd");
	misunderstood(SOCKET, "give --server, --shm or --file");
	misunderstood(SOCKET "--revision 0", "give --server, --shm or --file");
	wrong("--socket '' --server /r", "--socket: the name is empty");
}

/* ---- what goes together -------------------------------------------------------------------------- */

TEST(size_is_the_servers_in_revision_1)
{
	wrong(SERVED "--size 4M", "leave it out here, and give it to ivshmem-server");
	CHECK_EQ(accepted(SERVED "--size 8M --revision 0").config.memory_size, 8 << 20);
	CHECK_EQ(accepted(SOCKET "--shm m --size 4G").config.memory_size, UINT64_C(4) << 30);
}

TEST(interrupts_need_a_server_in_revision_1)
{
	wrong(SOCKET "--shm m --vectors 1", "--vectors: without a server, revision 1");
	wrong(SOCKET "--shm m --ioeventfd on", "--ioeventfd: without a server, revision 1");
	wrong(SOCKET "--file m --msi on", "--msi: without a server, revision 1");
	wrong(SOCKET "--file m --doorbell-bar off", "--doorbell-bar: without a server, revision 1");
	accepted(SOCKET "--shm m --vectors 4 --ioeventfd on --msi on --revision 0");
	CHECK_EQ(accepted(SOCKET "--file m --master on").config.master, IVSHMEM_DEVICE_MASTER_ON);
}

/* The model refuses, in words that fit the options; device_properties has the values. */
TEST(values_of_properties)
{
	wrong(SERVED "--vectors 0", "vectors must be a number from 1 to 2048, not '0'");
	wrong(SOCKET "--shm m --size 3M", "size must be a power of two");
	wrong(SOCKET "--revision 0 --shm m --size 4K", "invalid RAM size: '4K'");
	wrong(SOCKET "--shm m --size 99999999999999999999", "is too large");
	wrong(SERVED "--msi off", "use revision 0");
	wrong(SERVED "--ioeventfd 2", "ioeventfd must be on or off");
	wrong(SERVED "--doorbell-bar 1", "doorbell-bar must be on or off");
	wrong(SERVED "--revision 0 --msi off --ioeventfd on", "switch ioeventfd off or msi on");
	wrong(SERVED "--revision 0 --role slave", "role must be peer or master");
	wrong(SERVED "--role peer", "use master=on, off or auto");
	wrong(SERVED "--revision 0 --master on", "use role=master or role=peer");
	wrong(SERVED "--master maybe", "master must be on, off or auto");
}

TEST(values_of_ours)
{
	wrong(SERVED "--revision 2", "--revision: '2' is not a number from 0 to 1");
	wrong(SERVED "--revision ''", "--revision: '' is not a number");
	wrong(SERVED "--spin 1000001", "--spin: '1000001' is not a number from 0 to 1000000");
	wrong(SERVED "--spin -1", "--spin: '-1' is not a number");
	wrong(SERVED "--timeout 0", "--timeout: '0' is not between 0.001 seconds and an hour");
	wrong(SERVED "--timeout 2h", "--timeout: '2h' is not between");
	wrong(SERVED "--wait 3601", "--wait: '3601' is not between 0 seconds and an hour");
	wrong(SERVED "--wait never", "--wait: 'never' is not a time");
	wrong(SERVED "--timeout soon", "--timeout: 'soon' is not a time");
	wrong(SERVED "--socket-mode 9", "--socket-mode: '9' is not a set of permissions");
}

/* ---- the form ---------------------------------------------------------------------------------- */

TEST(what_is_not_understood)
{
	misunderstood(SERVED "--no-such-option", "unknown option '--no-such-option'");
	misunderstood(SERVED "-x", "unknown option '-x'");
	misunderstood(SERVED "-vx", "unknown option '-x'");
	misunderstood(SERVED "--s 1", "option '--s' is ambiguous");
	misunderstood(SERVED "--verbose=1", "option '--verbose' takes no value");
	misunderstood(SERVED "--vectors", "option '--vectors' needs a value");
	misunderstood(SERVED "operand", "'operand' is not an option");
	misunderstood(SERVED "-- --vectors 4", "'--vectors' is not an option");
	misunderstood(SERVED "''", "'' is not an option");
}

TEST(help_and_version_end_the_matter)
{
	CHECK_EQ(accepted("-h").action, DEVICE_ACTION_HELP);
	CHECK_EQ(accepted("--help --vectors").action, DEVICE_ACTION_HELP);
	CHECK_EQ(accepted("--version --no-such-option").action, DEVICE_ACTION_VERSION);
	CHECK_EQ(accepted("--vectors 0 --version operand").action, DEVICE_ACTION_VERSION);
	misunderstood("--no-such-option --help", "unknown option '--no-such-option'");
}

TEST(what_is_too_long_is_cut_off)
{
	char line[1600] = SOCKET "--shm m --size ";
	size_t length = strlen(line);

	memset(line + length, '7', sizeof(line) - length - 1);
	wrong(line, "size '");
	memcpy(line, "--", 2);
	memset(line + 2, 'x', sizeof(line) - 3);
	misunderstood(line, "unknown option '--xxx");
}

/* ---- the usage --------------------------------------------------------------------------------- */

TEST(usage_tells_the_truth)
{
	unsigned n = 0;

	for (const char *line = device_options_usage; *line; line += strcspn(line, "\n") + 1) {
		const char *name = strncmp(line, "  -", 3) == 0 ? strstr(line, "--") : line + 6;
		struct device_options options;
		struct ivshmem_error error = {0};
		char text[64];

		if (strncmp(line, "  -", 3) != 0 && strncmp(line, "      --", 8) != 0)
			continue;
		snprintf(text, sizeof(text), "%.*s", (int)strcspn(name, " \n"), name);
		parse(text, &options, &error);
		if (strstr(error.message, "unknown") || strstr(error.message, "ambiguous"))
			FAIL("%s: %s", text, error.message);
		n++;
	}
	CHECK_EQ(n, 30);
}
