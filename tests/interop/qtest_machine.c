/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * A machine in which libivshmem-device is embedded, without a processor: accesses come as qtest
 * commands on a UNIX socket, as those of QEMU do, so that the same test drives both. Slot 5 of the
 * PCI bus has the device; there is a little memory for its messages, and nothing else.
 */

#include <base/log.h>
#include <loop/loop.h>
#include <member/member.h>

#include <ivshmem/device.h>

#include <endian.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define SLOT           5
#define CONFIG_ADDRESS 0xcf8
#define CONFIG_DATA    0xcfc

/* The only memory, for messages. */
#define RAM      UINT64_C(0x200000)
#define RAM_SIZE 65536

#define N_BARS 3

static struct machine {
	struct log log;
	struct loop *loop;
	struct loop_source commands;
	char line[128];
	size_t length;

	struct member *member;
	struct ivshmem_device *device;
	uint64_t memory_at; /* where BAR2 is mapped; 0: nowhere */
	uint32_t config_address;
	uint8_t ram[RAM_SIZE + 8];
} machine;

static _Noreturn void
fail(const char *what)
{
	fprintf(stderr, "qtest-machine: %s\n", what);
	exit(EXIT_FAILURE);
}

/* ---- what the device asks for ----------------------------------------------------------------- */

static int
map_memory(struct ivshmem_device *device, uint64_t address, uint64_t size, void *data)
{
	(void)device, (void)size, (void)data;
	machine.memory_at = address;
	return 0;
}

static void
unmap_memory(struct ivshmem_device *device, uint64_t address, uint64_t size, void *data)
{
	(void)device, (void)address, (void)size, (void)data;
	machine.memory_at = 0;
}

static int
send_message(
	struct ivshmem_device *device, const struct ivshmem_device_message *message, void *data)
{
	uint32_t value = htole32(message->data);

	(void)device, (void)data;
	if (message->address >= RAM && message->address < RAM + RAM_SIZE)
		memcpy(machine.ram + (message->address - RAM), &value, sizeof(value));
	return 0;
}

static void
ring(struct ivshmem_device *device, uint16_t peer, unsigned vector, void *data)
{
	(void)device, (void)data;
	member_ring(machine.member, peer, vector);
}

static bool
take_ring(struct ivshmem_device *device, unsigned vector, void *data)
{
	(void)device, (void)data;
	return member_take_ring(machine.member, vector);
}

static const struct ivshmem_device_ops ops = {
	.struct_size = sizeof(ops),
	.map_memory = map_memory,
	.unmap_memory = unmap_memory,
	.send_message = send_message,
	.ring = ring,
	.take_ring = take_ring,
};

/* ---- accesses --------------------------------------------------------------------------------- */

static bool
is_within(uint64_t address, uint64_t start, uint64_t size)
{
	return start != 0 && address >= start && address - start < size;
}

/* Memory that is mapped; NULL: none at this address. */
static uint8_t *
find_memory(uint64_t address)
{
	uint64_t size = ivshmem_device_bar_size(machine.device, 2);

	if (is_within(address, RAM, RAM_SIZE))
		return machine.ram + (address - RAM);
	if (is_within(address, machine.memory_at, size))
		return (uint8_t *)member_memory(machine.member) + (address - machine.memory_at);
	return NULL;
}

/* A BAR that the device answers for; N_BARS: none. */
static unsigned
find_bar(uint64_t address, uint64_t *ret_offset)
{
	for (unsigned bar = 0; bar < N_BARS; bar++) {
		uint64_t start = ivshmem_device_bar_address(machine.device, bar);

		if (is_within(address, start, ivshmem_device_bar_size(machine.device, bar))) {
			*ret_offset = address - start;
			return bar;
		}
	}
	return N_BARS;
}

static uint64_t
read_memory(uint64_t address, unsigned size)
{
	const uint8_t *memory = find_memory(address);
	uint64_t value = 0, offset;
	unsigned bar;

	if (memory) {
		memcpy(&value, memory, size);
		return le64toh(value);
	}
	bar = find_bar(address, &offset);
	return bar < N_BARS ? ivshmem_device_read(machine.device, bar, offset, size) : 0;
}

static void
write_memory(uint64_t address, unsigned size, uint64_t value)
{
	uint8_t *memory = find_memory(address);
	uint64_t bytes = htole64(value), offset;
	unsigned bar;

	if (memory) {
		memcpy(memory, &bytes, size);
		return;
	}
	bar = find_bar(address, &offset);
	if (bar < N_BARS)
		ivshmem_device_write(machine.device, bar, offset, size, value);
}

/* Where in the device's config space an access to the data port goes. */
static bool
find_config(uint64_t port, unsigned *ret_offset)
{
	uint32_t wanted = UINT32_C(1) << 31 | SLOT << 11;

	*ret_offset = (machine.config_address & 0xfc) | (unsigned)(port & 3);
	return (machine.config_address & 0xffffff00) == wanted && port >= CONFIG_DATA &&
	       port < CONFIG_DATA + 4;
}

static uint64_t
read_port(uint64_t port, unsigned size)
{
	uint64_t bytes = 0;
	unsigned offset;

	if (!find_config(port, &offset))
		return UINT32_MAX;
	ivshmem_device_config_read(machine.device, offset, &bytes, size);
	return le64toh(bytes);
}

static void
write_port(uint64_t port, unsigned size, uint64_t value)
{
	uint64_t bytes = htole64(value);
	unsigned offset;

	if (port == CONFIG_ADDRESS && size == 4)
		machine.config_address = (uint32_t)value;
	else if (find_config(port, &offset))
		ivshmem_device_config_write(machine.device, offset, &bytes, size);
}

/* ---- commands --------------------------------------------------------------------------------- */

static unsigned
size_of(char suffix)
{
	switch (suffix) {
	case 'b':
		return 1;
	case 'w':
		return 2;
	case 'l':
		return 4;
	case 'q':
		return 8;
	default:
		fail("an access of unknown size");
	}
}

static void
command(const char *line)
{
	char verb[16];
	uint64_t address = 0, value = 0;
	int n = sscanf(line, "%15s %" SCNx64 " %" SCNx64, verb, &address, &value);
	size_t last = n > 0 ? strlen(verb) - 1 : 0;
	char kind = last > 0 ? verb[last] : '\0';

	if (n == 1 && strcmp(verb, "reset") == 0) {
		ivshmem_device_reset(machine.device);
	} else if (n == 2 && strncmp(verb, "read", last) == 0) {
		dprintf(machine.commands.fd, "OK 0x%" PRIx64 "\n",
			read_memory(address, size_of(kind)));
		return;
	} else if (n == 2 && strncmp(verb, "in", last) == 0) {
		dprintf(machine.commands.fd, "OK 0x%" PRIx64 "\n",
			read_port(address, size_of(kind)));
		return;
	} else if (n == 3 && strncmp(verb, "write", last) == 0) {
		write_memory(address, size_of(kind), value);
	} else if (n == 3 && strncmp(verb, "out", last) == 0) {
		write_port(address, size_of(kind), value);
	} else {
		fail("a command that is none");
	}
	dprintf(machine.commands.fd, "OK\n");
}

static void
commands_readable(struct loop_source *source, uint32_t events)
{
	char *start = machine.line, *end;
	ssize_t n = read(source->fd, machine.line + machine.length,
		sizeof(machine.line) - machine.length - 1);

	(void)events;
	if (n <= 0) {
		loop_quit(machine.loop);
		return;
	}
	machine.length += (size_t)n;
	machine.line[machine.length] = '\0';
	while ((end = strchr(start, '\n'))) {
		*end = '\0';
		command(start);
		start = end + 1;
	}
	machine.length = strlen(start);
	if (machine.length == sizeof(machine.line) - 1)
		fail("a line that is too long");
	memmove(machine.line, start, machine.length);
}

/* ---- start ------------------------------------------------------------------------------------ */

static int
connect_to(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || strlen(path) >= sizeof(address.sun_path))
		fail("no socket");
	strcpy(address.sun_path, path);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		fail("cannot connect to the test");
	return fd;
}

static void
warn(void *data, enum log_level level, const char *message)
{
	(void)data, (void)level;
	fprintf(stderr, "qtest-machine: %s\n", message);
}

/* vectors 0: `source` is the memory as a file; else the socket of a server. */
static void
start(const char *source, unsigned vectors)
{
	struct member_config where = {0};
	struct ivshmem_device_config config;
	struct ivshmem_error device_error = {0};
	struct ivshmem_error error = {0};

	if (vectors > 0)
		where.server = source;
	else
		where.file = source;
	machine.log = (struct log){.level = LOG_LEVEL_WARNING, .write = warn};
	if (loop_new(&machine.loop) < 0)
		fail("no event loop");
	if (member_open(&machine.member, machine.loop, &where, &machine.log, &error) < 0)
		fail(error.message);

	ivshmem_device_config_init(&config, sizeof(config), 1);
	config.server = vectors > 0;
	config.vectors = vectors;
	config.memory_size = member_memory_size(machine.member);
	config.id = member_id(machine.member);
	config.ops = &ops;
	if (ivshmem_device_new(&machine.device, &config, &device_error) < 0)
		fail(device_error.message);
	if (member_attach(machine.member, machine.device, &error) < 0)
		fail(error.message);
}

int
main(int argc, char **argv)
{
	int fd;

	if (argc != 4) {
		fputs("usage: qtest-machine QTEST-SOCKET {SERVER-SOCKET|MEMORY-FILE} VECTORS\n"
		      "without vectors, the device is plain, and its memory a file\n",
			stderr);
		return 2;
	}
	start(argv[2], (unsigned)strtoul(argv[3], NULL, 10));
	fd = connect_to(argv[1]);
	if (loop_add(machine.loop, &machine.commands, fd, EPOLLIN, commands_readable) < 0)
		fail("cannot watch the test");
	loop_run(machine.loop);

	loop_del(&machine.commands);
	close(fd);
	member_detach(machine.member);
	ivshmem_device_free(machine.device);
	member_close(machine.member);
	loop_free(machine.loop);
	return EXIT_SUCCESS;
}
