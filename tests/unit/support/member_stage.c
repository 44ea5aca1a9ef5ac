/* SPDX-License-Identifier: BSD-2-Clause */
#include <loop/loop.h>

#include <member_stage.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct stage stage;

/* ---- the device's host ---------------------------------------------------------------------- */

static bool
is_open(int fd)
{
	return fd >= 0 && fcntl(fd, F_GETFD) >= 0;
}

static int
map_memory(struct ivshmem_device *device, uint64_t address, uint64_t size, void *data)
{
	CHECK(device && address && data == &stage);
	CHECK(member_memory(stage.member));
	CHECK(is_open(member_memory_fd(stage.member)));
	CHECK(member_memory_size(stage.member) >= size);
	stage.n_mapped++;
	return 0;
}

static void
unmap_memory(struct ivshmem_device *device, uint64_t address, uint64_t size, void *data)
{
	CHECK(device && address && size && data == &stage);
	stage.n_mapped--;
}

static int
send_message(
	struct ivshmem_device *device, const struct ivshmem_device_message *message, void *data)
{
	CHECK(device && data == &stage);
	stage.interrupts[message->vector]++;
	return 0;
}

static void
ring(struct ivshmem_device *device, uint16_t peer, unsigned vector, void *data)
{
	CHECK(device && data == &stage);
	member_ring(stage.member, peer, vector);
}

static int
add_ioeventfd(
	struct ivshmem_device *device, const struct ivshmem_device_ioeventfd *ioeventfd, void *data)
{
	CHECK(device && data == &stage);
	CHECK(is_open(member_eventfd(stage.member, ioeventfd->peer, ioeventfd->vector)));
	if (stage.refuse_triggers)
		return -ENOSPC;
	stage.n_triggers++;
	return 0;
}

static void
remove_ioeventfd(
	struct ivshmem_device *device, const struct ivshmem_device_ioeventfd *ioeventfd, void *data)
{
	CHECK(device && data == &stage);
	/* Not closed before it is removed. */
	CHECK(is_open(member_eventfd(stage.member, ioeventfd->peer, ioeventfd->vector)));
	stage.n_triggers--;
}

static bool
take_ring(struct ivshmem_device *device, unsigned vector, void *data)
{
	CHECK(device && data == &stage);
	return member_take_ring(stage.member, vector);
}

static void
drop_rings(struct ivshmem_device *device, void *data)
{
	CHECK(device && data == &stage);
	member_drop_rings(stage.member);
}

static const struct ivshmem_device_ops ops = {
	.struct_size = sizeof(ops),
	.map_memory = map_memory,
	.unmap_memory = unmap_memory,
	.send_message = send_message,
	.ring = ring,
	.add_ioeventfd = add_ioeventfd,
	.remove_ioeventfd = remove_ioeventfd,
	.take_ring = take_ring,
	.drop_rings = drop_rings,
};

void
stage_make_device(unsigned revision, unsigned vectors, uint64_t size)
{
	struct ivshmem_device_config config;
	struct ivshmem_error error;

	ivshmem_device_config_init(&config, sizeof(config), revision);
	config.server = member_has_server(stage.member);
	config.vectors = vectors;
	config.memory_size = size;
	if (revision > 0)
		config.id = member_id(stage.member);
	config.host_msix = true;
	config.ioeventfd = true;
	config.ops = &ops;
	config.data = &stage;
	if (ivshmem_device_new(&stage.device, &config, &error) < 0)
		FAIL("%s", error.message);
}

void
stage_attach(unsigned revision, unsigned vectors)
{
	struct ivshmem_error error;

	stage_make_device(revision, vectors, STAGE_MEMORY);
	if (member_attach(stage.member, stage.device, &error) < 0)
		FAIL("%s", error.message);
}

void
stage_drop_device(void)
{
	if (stage.member)
		member_detach(stage.member);
	stage.device = ivshmem_device_free(stage.device);
	CHECK_EQ(stage.n_triggers, 0);
	CHECK_EQ(stage.n_mapped, 0);
}

void
stage_place_bars(void)
{
	static const struct {
		unsigned offset;
		uint32_t value;
	} writes[] = {{0x10, 0xfe000000}, {0x18, 0xe0000000}, {0x04, 0x0006}};

	for (size_t i = 0; i < sizeof(writes) / sizeof(writes[0]); i++)
		ivshmem_device_config_write(
			stage.device, writes[i].offset, &writes[i].value, sizeof(uint32_t));
}

uint32_t
stage_position(void)
{
	return (uint32_t)ivshmem_device_read(stage.device, 0, IVSHMEM_REG_IV_POSITION, 4);
}

void
stage_doorbell(uint32_t value)
{
	ivshmem_device_write(stage.device, 0, IVSHMEM_REG_DOORBELL, 4, value);
}

/* ---- the server ----------------------------------------------------------------------------- */

int
stage_memory(uint64_t size)
{
	int fd = CHECK_SYS(memfd_create("stage", MFD_CLOEXEC | MFD_ALLOW_SEALING));

	CHECK_SYS(ftruncate(fd, (off_t)size));
	CHECK_SYS(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW));
	return fd;
}

void
stage_say(int64_t number, int fd)
{
	struct wire_message message = {number, fd};

	CHECK_EQ(wire_send(stage.server, &message, 1), 1);
	if (fd >= 0)
		close(fd);
}

void
stage_dispatch(void)
{
	int r;

	do {
		r = loop_dispatch(stage.loop, 0);
		CHECK(r >= 0);
	} while (r > 0);
}

void
stage_say_and_dispatch(int64_t number, int fd)
{
	stage_say(number, fd);
	stage_dispatch();
}

void
stage_end_server(void)
{
	test_close(&stage.server);
	stage_dispatch();
}

int
stage_give_vector(int64_t peer)
{
	int fd = CHECK_SYS(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));

	CHECK(stage.n_given < STAGE_GIVEN_MAX);
	stage.given[stage.n_given++] = fd;
	stage_say_and_dispatch(peer, CHECK_SYS(fcntl(fd, F_DUPFD_CLOEXEC, 0)));
	return fd;
}

void
stage_ring(int fd)
{
	CHECK_SYS(eventfd_write(fd, 1));
	stage_dispatch();
}

uint64_t
stage_count(int fd)
{
	uint64_t count = 0;

	if (eventfd_read(fd, &count) < 0)
		CHECK_EQ(errno, EAGAIN);
	return count;
}

struct greeting {
	const struct wire_message *messages;
	unsigned n;
};

static void *
greet(void *data)
{
	const struct greeting *greeting = data;

	stage.server = CHECK_SYS(accept4(stage.listener, NULL, NULL, SOCK_CLOEXEC));
	for (unsigned i = 0; i < greeting->n; i++)
		stage_say(greeting->messages[i].number, greeting->messages[i].fd);
	if (stage.hang_up)
		test_close(&stage.server);
	return NULL;
}

int
stage_join(const struct member_config *config, const struct wire_message *messages, unsigned n,
	struct ivshmem_error *reterr)
{
	struct greeting greeting = {messages, n};
	pthread_t thread;
	int r;

	CHECK_EQ(pthread_create(&thread, NULL, greet, &greeting), 0);
	r = member_open(&stage.member, stage.loop, config, &stage.log, reterr);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	return r;
}

void
stage_join_simple(void)
{
	const struct member_config config = stage_config(false);
	const struct wire_message messages[] = {{0, -1}, {5, -1}, {-1, stage_memory(STAGE_MEMORY)}};
	struct ivshmem_error error = {0};

	if (stage_join(&config, messages, 3, &error) < 0)
		FAIL("%s", error.message);
}

void
stage_begin(unsigned vectors)
{
	stage_join_simple();
	stage_attach(1, vectors);
}

int
stage_begin_with(unsigned vectors, int64_t peer)
{
	stage_begin(vectors);
	return stage_give_vector(peer);
}

/* ---- all of it ------------------------------------------------------------------------------ */

static void
lost(struct member *member, const struct ivshmem_error *error, void *data)
{
	CHECK(member && data == &stage);
	CHECK(error->code < 0);
	CHECK(strlen(error->message) > 10);
	stage.n_lost++;
	stage.lost = *error;
	if (stage.close_when_lost) {
		stage_drop_device();
		stage.member = member_close(member);
	}
}

static void
write_log(void *data, enum log_level level, const char *message)
{
	CHECK(data == &stage);
	fprintf(stderr, "log %d: %s\n", (int)level, message);
	if (level == LOG_LEVEL_WARNING) {
		stage.n_warnings++;
		snprintf(stage.warning, sizeof(stage.warning), "%s", message);
	} else if (level == LOG_LEVEL_DEBUG) {
		snprintf(stage.info, sizeof(stage.info), "%s", message);
	}
}

struct member_config
stage_config(bool late)
{
	return (struct member_config){
		.server = stage.path,
		.late = late,
		.timeout_ms = 20000,
		.lost = lost,
		.data = &stage,
	};
}

void
stage_open(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	stage = (struct stage){.server = -1};
	stage.log = (struct log){LOG_LEVEL_DEBUG, write_log, &stage};
	CHECK_EQ(loop_new(&stage.loop), 0);
	snprintf(stage.path, sizeof(stage.path), "%s/server", test_directory());
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", stage.path);
	stage.listener = CHECK_SYS(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
	CHECK_SYS(bind(stage.listener, (const struct sockaddr *)&address, sizeof(address)));
	CHECK_SYS(listen(stage.listener, 1));
}

void
stage_close(void)
{
	stage_drop_device();
	stage.member = member_close(stage.member);
	/* Nothing of it is left in the loop. */
	CHECK_EQ(loop_dispatch(stage.loop, 0), 0);
	stage.loop = loop_free(stage.loop);
	close(stage.listener);
	unlink(stage.path);
	test_close(&stage.server);
	while (stage.n_given > 0)
		close(stage.given[--stage.n_given]);
}
