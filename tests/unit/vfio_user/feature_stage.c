/* SPDX-License-Identifier: BSD-2-Clause */
#include <feature_stage.h>

#include <server/server.h>

#include <ivshmem/abi.h>

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

struct stage a, b;

static void
write_log(void *data, enum log_level level, const char *message)
{
	struct stage *stage = data;
	size_t length = strlen(stage->logged);

	if (level > LOG_LEVEL_WARNING)
		return;
	snprintf(stage->logged + length, sizeof(stage->logged) - length, "%s\n", message);
}

void
stage_listen(struct stage *stage)
{
	static unsigned n_stages;

	*stage = (struct stage){
		.address.sun_family = AF_UNIX, .log = {LOG_LEVEL_DEBUG, write_log, stage}};
	CHECK_EQ(loop_new(&stage->loop), 0);
	stage->listener = CHECK_SYS(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
	snprintf(stage->address.sun_path, sizeof(stage->address.sun_path), "%s/socket%u",
		test_directory(), n_stages++);
	CHECK_SYS(bind(
		stage->listener, (const struct sockaddr *)&stage->address, sizeof(stage->address)));
	CHECK_SYS(listen(stage->listener, SOMAXCONN));
}

/* The server, in a process of its own: joining a group blocks. */
void
stage_serve(struct stage *stage)
{
	stage->server = test_fork();
	if (stage->server == 0) {
		struct server_config config = {.listen_fd = stage->listener, .n_vectors = VECTORS};
		struct server *server;

		CHECK_EQ(loop_new(&config.loop), 0);
		config.memory_fd = CHECK_SYS(memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
		CHECK_SYS(ftruncate(config.memory_fd, MEMORY));
		CHECK_SYS(fcntl(config.memory_fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW));
		CHECK_EQ(server_new(&server, &config), 0);
		for (;;)
			CHECK(loop_dispatch(config.loop, -1) >= 0);
	}
}

void
stage_join(struct stage *stage, struct ivshmem_device_config *config, bool late)
{
	struct member_config member = {
		.server = stage->address.sun_path, .late = late, .timeout_ms = TIMEOUT_MS};
	struct ivshmem_error error = {0};

	if (member_open(&stage->member, stage->loop, &member, &stage->log, &error) < 0)
		FAIL("%s", error.message);
	if (function_init(
		    &stage->function, stage->loop, stage->member, config, &stage->log, &error) < 0)
		FAIL("%s", error.message);
	stage->complaints = (struct pace){.log = &stage->log, .level = LOG_LEVEL_WARNING};
	session_init(&stage->session, &stage->function, &stage->complaints);
	stage->session.negotiated = true;
	stage->reply.body = malloc(MESSAGE_MAX_BODY);
	CHECK(stage->reply.body);
}

struct ivshmem_device_config
device_config(unsigned revision, enum ivshmem_device_master master)
{
	struct ivshmem_device_config config;

	ivshmem_device_config_init(&config, sizeof(config), revision);
	config.vectors = VECTORS;
	config.memory_size = MEMORY;
	config.id = 0;
	config.master = master;
	return config;
}

void
loop_until_vectors(struct stage *stage, unsigned n)
{
	while (ivshmem_device_peer_vectors(stage->function.device, 0) < n)
		CHECK(loop_dispatch(stage->loop, TIMEOUT_MS) > 0);
}

void
stage_open(struct stage *stage, unsigned revision, enum ivshmem_device_master master)
{
	struct ivshmem_device_config config = device_config(revision, master);

	stage_listen(stage);
	stage_serve(stage);
	stage_join(stage, &config, false);
	loop_until_vectors(stage, VECTORS);
	for (unsigned i = 0; i < VECTORS; i++)
		stage->eventfds[i] = CHECK_SYS(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
}

void
stage_close(struct stage *stage)
{
	function_done(&stage->function);
	member_close(stage->member);
	loop_free(stage->loop);
	close(stage->listener);
	free(stage->reply.body);
	for (unsigned i = 0; i < VECTORS && stage->server; i++)
		close(stage->eventfds[i]);
	if (stage->server) {
		CHECK_SYS(kill(stage->server, SIGKILL));
		CHECK_SYS(waitpid(stage->server, NULL, 0));
	}
}

/* One request; 0 or the errno of the reply. */
static unsigned
request_with_fds(struct stage *stage, uint16_t command, const void *body, size_t length,
	const int *fds, unsigned n_fds)
{
	/* exactly as long as it says, for the sanitizer */
	uint8_t *copy = malloc(length + (length == 0));
	int copies[VECTORS];
	struct request request = {
		.header = {.id = 0x1234,
			.command = command,
			.size = (uint32_t)(sizeof(struct vfio_user_header) + length)},
		.body = copy,
		.length = length,
		.fds = copies,
		.n_fds = n_fds};

	CHECK(copy);
	if (length > 0)
		memcpy(copy, body, length);
	for (unsigned i = 0; i < n_fds; i++)
		copies[i] = CHECK_SYS(dup(fds[i]));
	CHECK(!handle_request(&stage->session, &request, &stage->header, &stage->reply));
	for (unsigned i = 0; i < n_fds; i++)
		if (copies[i] >= 0)
			close(copies[i]);
	free(copy);
	CHECK_EQ(stage->header.id, 0x1234);
	CHECK_EQ(stage->header.command, command);
	CHECK_EQ(stage->header.size, sizeof(stage->header) + stage->reply.length);
	CHECK_EQ(stage->reply.n_fds, 0);
	if (stage->header.flags & VFIO_USER_ERROR) {
		CHECK(stage->header.error != 0);
		CHECK_EQ(stage->reply.length, 0);
		CHECK(stage->session.error.message[0] != '\0');
	} else {
		CHECK_EQ(stage->header.error, 0);
	}
	return stage->header.error;
}

unsigned
request(struct stage *stage, uint16_t command, const void *body, size_t length)
{
	return request_with_fds(stage, command, body, length, NULL, 0);
}

unsigned
feature(struct stage *stage, uint32_t argsz, uint32_t flags, const void *data, size_t length)
{
	uint8_t body[HEAD + 64] = {0};

	memcpy(body, &argsz, 4);
	memcpy(body + 4, &flags, 4);
	if (length > 0)
		memcpy(body + HEAD, data, length);
	return request(stage, VFIO_USER_DEVICE_FEATURE, body, HEAD + length);
}

unsigned
set_state(struct stage *stage, uint32_t state)
{
	struct vfio_user_device_state data = {state, 0xdead};
	uint32_t expected[4] = {16, SET | STATE, state, 0xdead};
	unsigned error = feature(stage, 16, SET | STATE, &data, sizeof(data));

	if (error == 0) {
		CHECK_EQ(stage->reply.length, sizeof(expected));
		CHECK_MEM(stage->reply.body, expected, sizeof(expected));
	}
	return error;
}

uint32_t
state_of(struct stage *stage)
{
	uint32_t body[4];

	CHECK_EQ(feature(stage, 16, GET | STATE, NULL, 0), 0);
	CHECK_EQ(stage->reply.length, sizeof(body));
	memcpy(body, stage->reply.body, sizeof(body));
	CHECK_EQ(body[0], 16);
	CHECK_EQ(body[1], GET | STATE);
	CHECK_EQ(body[3], 0);
	return body[2];
}

void
go(struct stage *stage, uint32_t state)
{
	if (set_state(stage, state) != 0)
		FAIL("%s", stage->session.error.message);
	CHECK_EQ(state_of(stage), state);
}

int64_t
read_data(struct stage *stage, uint32_t argsz, uint32_t size)
{
	uint32_t body[2] = {argsz, size};
	unsigned error = request(stage, VFIO_USER_MIG_DATA_READ, body, sizeof(body));

	if (error)
		return -(int64_t)error;
	CHECK(stage->reply.length >= sizeof(body));
	memcpy(body, stage->reply.body, sizeof(body));
	CHECK_EQ(body[0], stage->reply.length);
	CHECK_EQ(body[1], stage->reply.length - sizeof(body));
	CHECK(body[1] <= size);
	return body[1];
}

unsigned
write_data(struct stage *stage, uint32_t argsz, uint32_t size, const void *data, size_t length)
{
	uint8_t *body = malloc(HEAD + length);
	unsigned error;

	CHECK(body);
	memcpy(body, &argsz, 4);
	memcpy(body + 4, &size, 4);
	if (length > 0)
		memcpy(body + HEAD, data, length);
	error = request(stage, VFIO_USER_MIG_DATA_WRITE, body, HEAD + length);
	if (!error)
		CHECK_EQ(stage->reply.length, 0);
	free(body);
	return error;
}

void
region_write(struct stage *stage, uint32_t region, uint64_t offset, uint32_t value)
{
	struct vfio_user_region_access access = {offset, region, 4};
	uint8_t body[sizeof(access) + 4];

	memcpy(body, &access, sizeof(access));
	memcpy(body + sizeof(access), &value, 4);
	CHECK_EQ(request(stage, VFIO_USER_REGION_WRITE, body, sizeof(body)), 0);
}

uint32_t
region_read(struct stage *stage, uint32_t region, uint64_t offset)
{
	struct vfio_user_region_access access = {offset, region, 4};
	uint32_t value;

	CHECK_EQ(request(stage, VFIO_USER_REGION_READ, &access, sizeof(access)), 0);
	memcpy(&value, stage->reply.body + sizeof(access), 4);
	return value;
}

void
set_irqs(struct stage *stage, uint32_t index, unsigned n)
{
	struct vfio_user_irq_set set = {sizeof(set),
		VFIO_USER_IRQ_SET_DATA_EVENTFD | VFIO_USER_IRQ_SET_ACTION_TRIGGER, index, 0, n};

	CHECK_EQ(request_with_fds(
			 stage, VFIO_USER_DEVICE_SET_IRQS, &set, sizeof(set), stage->eventfds, n),
		0);
}

bool
fired(struct stage *stage, unsigned vector)
{
	uint64_t count;

	return read(stage->eventfds[vector], &count, sizeof(count)) == sizeof(count);
}

void
ring_self(struct stage *stage, unsigned vector, bool seen)
{
	region_write(stage, 0, IVSHMEM_REG_DOORBELL, vector);
	if (seen)
		CHECK(loop_dispatch(stage->loop, TIMEOUT_MS) > 0);
}
