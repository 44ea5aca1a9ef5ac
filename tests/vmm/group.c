/* SPDX-License-Identifier: BSD-2-Clause */
#include <group.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* How long anything may take; nothing needs a hundredth of it. */
#define PATIENCE_MS 30000

#define MAX_WORDS 24

/* Of a socket, in /proc/net/unix. */
#define LISTENING 0x10000

/* ---- processes -------------------------------------------------------------------------------- */

/* A program of ours; its standard output can be read from *ret_output, if that is not NULL. */
static pid_t
spawn(const char *words[MAX_WORDS], int *ret_output)
{
	int pipes[2] = {-1, -1};
	pid_t pid;

	if (ret_output)
		CHECK_SYS(pipe2(pipes, O_CLOEXEC));
	pid = test_fork();
	if (pid == 0) {
		if (ret_output)
			dup2(pipes[1], STDOUT_FILENO);
		execv(words[0], (char *const *)(uintptr_t)words);
		FAIL("cannot start %s: %s", words[0], strerror(errno));
	}
	if (ret_output) {
		close(pipes[1]);
		*ret_output = pipes[0];
	}
	return pid;
}

static void
end_process(pid_t *pid)
{
	if (*pid > 0) {
		kill(*pid, SIGTERM);
		test_join(*pid);
	}
	*pid = 0;
}

/* Without connecting: each client costs the server an id. */
static bool
listens(const char *path)
{
	FILE *sockets = fopen("/proc/net/unix", "re");
	char line[512];
	bool found = false;

	CHECK(sockets);
	while (!found && fgets(line, sizeof(line), sockets)) {
		unsigned flags = 0;

		line[strcspn(line, "\n")] = '\0';
		if (sscanf(line, "%*s %*s %*s %x", &flags) == 1 && (flags & LISTENING))
			found = strlen(line) > strlen(path) &&
				strcmp(line + strlen(line) - strlen(path), path) == 0;
	}
	fclose(sockets);
	return found;
}

static void
start_server(struct group *group)
{
	char vectors[16], size[16];
	const char *words[MAX_WORDS] = {VMM_PROGRAMS "ivshmem-server", "-F", "-S", group->server,
		"-l", size, "-n", vectors};

	snprintf(vectors, sizeof(vectors), "%u", group->vectors);
	snprintf(size, sizeof(size), "%u", GROUP_MEMORY);
	group->server_pid = spawn(words, NULL);
	GUEST_UNTIL(listens(group->server));
}

void
group_stop_server(struct group *group)
{
	end_process(&group->server_pid);
}

static void
wait_ready(int output)
{
	struct pollfd pollfd = {.fd = output, .events = POLLIN};
	char text[512];
	ssize_t n;

	CHECK_EQ(poll(&pollfd, 1, PATIENCE_MS), 1);
	n = CHECK_SYS(read(output, text, sizeof(text) - 1));
	text[n] = '\0';
	if (strncmp(text, "ready:", 6) != 0)
		FAIL("ivshmem-device is not ready, but says: %s", text);
	close(output);
}

static pid_t
start_device(
	const struct group *group, const struct member_options *options, const char *socket_path)
{
	char vectors[16];
	const char *words[MAX_WORDS] = {VMM_PROGRAMS "ivshmem-device", "--socket", socket_path,
		"--server", group->server, "--vectors", vectors};
	size_t n = 7;
	int output;
	pid_t pid;

	snprintf(vectors, sizeof(vectors), "%u", group->vectors);
	if (options->revision == 0) {
		words[n++] = "--revision=0";
		words[n++] = "--size=1M";
		words[n++] = options->peer ? "--role=peer" : "--role=master";
		words[n++] = options->no_msi ? "--msi=off" : "--ioeventfd=on";
	} else {
		words[n++] = options->master ? "--master=auto" : "--master=off";
		words[n++] = options->words ? "--doorbell-bar=on" : "--doorbell-bar=off";
	}
	pid = spawn(words, &output);
	wait_ready(output);
	return pid;
}

/* ---- members ---------------------------------------------------------------------------------- */

static void
attach_embedded(struct group *group, struct member *member)
{
	const struct member_options *options = &member->options;
	struct ivshmem_device_config device;
	struct embedded_config config = {
		.server = group->server, .device = &device, .own_routes = options->own_routes};

	ivshmem_device_config_init(&device, sizeof(device), options->revision);
	device.vectors = group->vectors;
	if (options->revision == 0) {
		device.memory_size = GROUP_MEMORY;
		device.msi = !options->no_msi;
		device.ioeventfd = device.msi;
		device.master =
			options->peer ? IVSHMEM_DEVICE_MASTER_OFF : IVSHMEM_DEVICE_MASTER_ON;
	} else {
		device.doorbell_bar = options->words;
		if (options->master)
			device.master = IVSHMEM_DEVICE_MASTER_AUTO;
	}
	embedded_attach(member->vm, 0, &config);
}

static void
attach_remote(struct group *group, struct member *member)
{
	char path[sizeof(group->server) + 32];
	struct remote_config config = {.path = path, .io_fds = member->options.way == WAY_REMOTE};

	snprintf(path, sizeof(path), "%s-%u", group->server, group->named++);
	member->device = start_device(group, &member->options, path);
	remote_attach(member->vm, 0, &config);
}

struct member *
group_join(struct group *group, const struct member_options *options)
{
	struct member *member = NULL;

	for (unsigned i = 0; i < GROUP_MAX && !member; i++)
		if (!group->members[i].vm) {
			member = &group->members[i];
			*member = (struct member){.options = *options, .number = i};
		}
	CHECK(member);
	member->vm = guest_new(member->number);
	group->n++;
	if (options->way == WAY_EMBEDDED)
		attach_embedded(group, member);
	else
		attach_remote(group, member);
	guest_start(member->vm);
	return member;
}

void
group_leave(struct group *group, struct member *member)
{
	member->vm = vm_free(member->vm);
	end_process(&member->device);
	group->n--;
}

/* How many (peer, vector) pairs the device knows, its own included. */
static unsigned
known_to(const struct group *group, const struct member *member)
{
	unsigned known = 0;

	if (member->options.way != WAY_EMBEDDED)
		return remote_count(member->vm, 0);
	/* Ids are given lowest first, and are not given again as long as somebody remembers. */
	for (uint16_t id = 0; id < 64 * (group->named + GROUP_MAX); id++)
		known += ivshmem_kvm_peer_vectors(embedded_device(member->vm, 0), id);
	return known;
}

static uint16_t
id_of(const struct member *member)
{
	if (member->options.way == WAY_EMBEDDED)
		return (uint16_t)ivshmem_kvm_id(embedded_device(member->vm, 0));
	return (uint16_t)remote_id(member->vm, 0);
}

void
group_settle(struct group *group, unsigned others)
{
	unsigned expected = (group->n + others) * group->vectors;

	for (unsigned i = 0; i < GROUP_MAX; i++) {
		struct member *member = &group->members[i];

		if (!member->vm)
			continue;
		GUEST_UNTIL(known_to(group, member) == expected);
		if (member->options.way == WAY_REMOTE)
			CHECK_EQ(remote_refresh(member->vm, 0), expected);
		member->id = id_of(member);
	}
}

void
group_start(struct group *group, unsigned vectors, const char *name)
{
	const char *impossible = machine_impossible();

	if (impossible)
		SKIP("%s", impossible);
	*group = (struct group){.vectors = vectors};
	snprintf(group->server, sizeof(group->server), "%s/%s", test_directory(), name);
	start_server(group);
}

void
group_stop(struct group *group)
{
	for (unsigned i = 0; i < GROUP_MAX; i++)
		if (group->members[i].vm)
			group_leave(group, &group->members[i]);
	group_stop_server(group);
}

struct member *
group_add(struct group *group)
{
	struct member *member = group_join(group, &group->options);

	group_settle(group, 0);
	CHECK_EQ(guest_setup(member->vm, group->vectors), member->id);
	return member;
}

struct ivshmem_client *
group_attach(const struct group *group)
{
	struct ivshmem_client *client;
	struct ivshmem_error error;
	char target[sizeof(group->server) + 8];

	snprintf(target, sizeof(target), "unix:%s", group->server);
	if (ivshmem_attach(&client, target, NULL, &error) < 0)
		FAIL("%s", error.message);
	return client;
}

void
group_await(const struct group *group, struct ivshmem_client *client, uint16_t id)
{
	while (ivshmem_peer_vectors(client, id) != (int)group->vectors)
		CHECK(ivshmem_dispatch(client, PATIENCE_MS) > 0);
}

/* ---- rings ------------------------------------------------------------------------------------ */

uint64_t
detours(const struct member *member)
{
	struct ivshmem_kvm_status status = {.struct_size = sizeof(status)};

	if (member->options.way != WAY_EMBEDDED)
		return remote_requests(member->vm, 0);
	CHECK_EQ(ivshmem_kvm_get_status(embedded_device(member->vm, 0), &status), 0);
	return status.rings + status.messages;
}

void
ring(const struct member *from, const struct member *to, unsigned vector, uint32_t times)
{
	guest_call(from->vm, GUEST_RING, doorbell(to->id, vector), times);
}

void
ring_and_expect(const struct member *from, const struct member *to, unsigned vector, uint32_t count)
{
	ring(from, to, vector, 1);
	guest_expect(to->vm, vector, count);
}

void
round_trips(const struct member *from, const struct member *to, unsigned vector, uint32_t times)
{
	uint32_t interrupt = GUEST_MSIX_INTERRUPT + vector;
	uint32_t back = guest_interrupts(from->vm, vector);
	uint32_t there = guest_interrupts(to->vm, vector), results[4];

	guest_begin(to->vm, GUEST_PONG, doorbell(from->id, vector), interrupt, times, there);
	guest_call_with(from->vm, GUEST_PING,
		(uint32_t[4]){doorbell(to->id, vector), interrupt, times}, results);
	CHECK_EQ(results[2], 0);
	CHECK_EQ(guest_end(to->vm, NULL), 0);
	guest_expect(from->vm, vector, back + times);
	guest_expect(to->vm, vector, there + times);
}

/* ---- tests ------------------------------------------------------------------------------------ */

struct group here;
struct member *const a = &here.members[0], *const b = &here.members[1];

void
group_begin(enum way way, unsigned n, unsigned vectors)
{
	group_start(&here, vectors, "group");
	here.options = (struct member_options){.way = way, .revision = 1};
	while (n-- > 0)
		group_add(&here);
}

void
group_end(void)
{
	group_stop(&here);
}
