/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * A machine in which libivshmem-device is embedded, without a processor: accesses come as qtest
 * commands on a UNIX socket, as those of QEMU do, so that the same test drives both. Slot 5 of the
 * PCI bus has the device; there is a little memory for its messages, and nothing else.
 */

#include <base/log.h>
#include <loop/loop.h>
#include <member/member.h>
#include <socket/connect.h>

#include <ivshmem/device.h>

#include <endian.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
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

/* Where in the device's config space an access to the data port goes; -1: nowhere. */
static int
find_config(uint64_t port)
{
	uint32_t wanted = UINT32_C(1) << 31 | SLOT << 11;

	if ((machine.config_address & 0xffffff00) != wanted || port < CONFIG_DATA ||
		port >= CONFIG_DATA + 4)
		return -1;
	return (int)((machine.config_address & 0xfc) | (port & 3));
}

static uint64_t
read_port(uint64_t port, unsigned size)
{
	uint64_t bytes = 0;
	int offset = find_config(port);

	if (offset < 0)
		return UINT32_MAX;
	ivshmem_device_config_read(machine.device, (unsigned)offset, &bytes, size);
	return le64toh(bytes);
}

static void
write_port(uint64_t port, unsigned size, uint64_t value)
{
	uint64_t bytes = htole64(value);
	int offset = find_config(port);

	if (port == CONFIG_ADDRESS && size == 4)
		machine.config_address = (uint32_t)value;
	else if (offset >= 0)
		ivshmem_device_config_write(machine.device, (unsigned)offset, &bytes, size);
}

/* ---- commands --------------------------------------------------------------------------------- */

/* A verb and the size that its last letter means, such as "readl". */
static bool
is_verb(const char *verb, const char *wanted, unsigned *ret_size)
{
	static const char sizes[] = "bwlq";
	size_t length = strlen(wanted);
	const char *size = strchr(sizes, verb[length]);

	if (strncmp(verb, wanted, length) != 0 || !size || !*size)
		return false;
	*ret_size = 1u << (size - sizes);
	return true;
}

static void
command(const char *line)
{
	char verb[16] = "";
	uint64_t address = 0, value = 0;
	unsigned size;
	int n = sscanf(line, "%15s %" SCNx64 " %" SCNx64, verb, &address, &value);

	if (n == 1 && strcmp(verb, "reset") == 0)
		ivshmem_device_reset(machine.device);
	else if (n == 2 && is_verb(verb, "read", &size))
		value = read_memory(address, size);
	else if (n == 2 && is_verb(verb, "in", &size))
		value = read_port(address, size);
	else if (n == 3 && is_verb(verb, "write", &size))
		write_memory(address, size, value);
	else if (n == 3 && is_verb(verb, "out", &size))
		write_port(address, size, value);
	else
		fail("a command that is none");
	/* Nobody looks at the value that comes back from a write. */
	dprintf(machine.commands.fd, "OK 0x%" PRIx64 "\n", value);
}

/* Who sends a command waits for the answer before the next one. */
static void
commands_readable(struct loop_source *source, uint32_t events)
{
	char line[128];
	ssize_t n = read(source->fd, line, sizeof(line) - 1);

	(void)events;
	if (n <= 0) {
		loop_quit(machine.loop);
		return;
	}
	line[n] = '\0';
	if (line[n - 1] != '\n')
		fail("no whole line");
	command(line);
}

/* ---- start ------------------------------------------------------------------------------------ */

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
	struct ivshmem_error error;
	int fd;

	if (argc != 4) {
		fputs("usage: qtest-machine QTEST-SOCKET {SERVER-SOCKET|MEMORY-FILE} VECTORS\n"
		      "without vectors, the device is plain, and its memory a file\n",
			stderr);
		return 2;
	}
	start(argv[2], (unsigned)strtoul(argv[3], NULL, 10));
	fd = socket_connect(argv[1], UINT64_MAX, -1, &error);
	if (fd < 0)
		fail(error.message);
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
