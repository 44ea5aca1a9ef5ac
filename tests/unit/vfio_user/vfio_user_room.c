/* SPDX-License-Identifier: BSD-2-Clause */
#include <vfio_user_room.h>

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct room room;

struct ivshmem_device_config
room_config(unsigned revision, unsigned vectors)
{
	struct ivshmem_device_config config;

	ivshmem_device_config_init(&config, sizeof(config), revision);
	config.vectors = vectors;
	config.memory_size = STAGE_MEMORY;
	config.ioeventfd = revision > 0;
	if (revision > 0)
		config.id = 5;
	return config;
}

void
room_open(const struct ivshmem_device_config *config)
{
	bool late = config->revision == 0;
	const struct member_config member = stage_config(late);
	const struct wire_message greeting[] = {
		{0, -1}, {config->id, -1}, {-1, late ? -1 : stage_memory(config->memory_size)}};
	struct ivshmem_error error = {0};

	stage_open();
	CHECK_EQ(stage_join(&member, greeting, late ? 0 : 3, &error), 0);
	room = (struct room){.complaints = {.log = &stage.log, .level = LOG_LEVEL_WARNING}};
	CHECK_EQ(reply_init(&room.reply, NULL), 0);
	if (function_init(&room.function, stage.loop, stage.member, config, &stage.log, &error) < 0)
		FAIL("%s", error.message);
	session_init(&room.session, &room.function, &room.complaints);
	CHECK_EQ(room_version("{}"), 0);
}

void
room_open_simple(unsigned revision, unsigned vectors)
{
	struct ivshmem_device_config config = room_config(revision, vectors);

	room_open(&config);
}

void
room_open_usual(void)
{
	room_open_simple(1, 2);
}

void
room_greet(int64_t id, uint64_t memory)
{
	stage_say(0, -1);
	stage_say(id, -1);
	stage_say_and_dispatch(-1, stage_memory(memory));
}

int
room_vector(int64_t peer)
{
	int fd = test_eventfd();

	stage_say_and_dispatch(peer, CHECK_SYS(fcntl(fd, F_DUPFD_CLOEXEC, 0)));
	return fd;
}

void
room_close(void)
{
	reply_done(&room.reply);
	function_done(&room.function);
	stage_close();
}

void
room_change_vmm(void)
{
	function_restart(&room.function);
	session_init(&room.session, &room.function, &room.complaints);
}

uint32_t
room_request(uint16_t command, const void *body, size_t length, const int *fds, unsigned n_fds)
{
	static uint16_t id;
	/* Of this very length, for the sanitizer to see what is read beyond it. */
	uint8_t *exact = malloc(length + (length == 0));
	int copies[VFIO_USER_MAX_REPLY_FDS];
	struct request request = {
		.header = {.id = ++id, .command = command},
		.body = exact,
		.length = length,
		.fds = copies,
		.n_fds = n_fds,
	};

	CHECK(exact);
	if (length > 0)
		memcpy(exact, body, length);
	request.header.size = (uint32_t)(sizeof(request.header) + length);
	for (unsigned i = 0; i < n_fds; i++)
		copies[i] = CHECK_SYS(fcntl(fds[i], F_DUPFD_CLOEXEC, 0));
	memset(&room.header, 0xee, sizeof(room.header));
	reply_drop(&room.reply);
	room.ended = handle_request(&room.session, &request, &room.header, &room.reply);
	for (unsigned i = 0; i < n_fds; i++)
		if (copies[i] >= 0)
			close(copies[i]);
	free(exact);

	CHECK_EQ(room.header.id, id);
	CHECK_EQ(room.header.command, command);
	CHECK_EQ(room.header.size, sizeof(room.header) + room.reply.length);
	if (room.header.flags == (VFIO_USER_TYPE_REPLY | VFIO_USER_ERROR)) {
		CHECK_EQ(room.reply.length, 0);
		CHECK_EQ(room.reply.n_fds, 0);
		CHECK(room.header.error > 0 && room.header.error < 200);
		CHECK(room.session.error.message[0] != '\0');
	} else {
		CHECK_EQ(room.header.flags, VFIO_USER_TYPE_REPLY);
		CHECK_EQ(room.header.error, 0);
		CHECK(!room.ended);
	}
	return room.header.error;
}

uint32_t
room_version(const char *json)
{
	uint8_t body[4096] = {0};
	size_t length = strlen(json) + 1;

	CHECK(length <= sizeof(body) - 4);
	body[2] = 1; /* version 0.1 */
	memcpy(body + 4, json, length);
	return room_request(VFIO_USER_VERSION, body, 4 + length, NULL, 0);
}

const uint8_t *
room_read_bytes(uint32_t region, uint64_t offset, uint32_t count)
{
	struct vfio_user_region_access access = {offset, region, count};

	CHECK_EQ(room_request(VFIO_USER_REGION_READ, &access, sizeof(access), NULL, 0), 0);
	CHECK_EQ(room.reply.length, sizeof(access) + count);
	CHECK_MEM(room.reply.body, &access, sizeof(access));
	return room.reply.body + sizeof(access);
}

uint64_t
room_read(uint32_t region, uint64_t offset, uint32_t count)
{
	uint64_t value = 0;

	CHECK(count <= sizeof(value));
	memcpy(&value, room_read_bytes(region, offset, count), count);
	return value;
}

void
room_write_bytes(uint32_t region, uint64_t offset, uint32_t count, const void *data)
{
	static uint8_t body[MESSAGE_MAX_BODY];
	struct vfio_user_region_access access = {offset, region, count};

	memcpy(body, &access, sizeof(access));
	memcpy(body + sizeof(access), data, count);
	CHECK_EQ(room_request(VFIO_USER_REGION_WRITE, body, sizeof(access) + count, NULL, 0), 0);
	CHECK_EQ(room.reply.length, sizeof(access));
	CHECK_MEM(room.reply.body, &access, sizeof(access));
}

void
room_write(uint32_t region, uint64_t offset, uint32_t count, uint64_t value)
{
	CHECK(count <= sizeof(value));
	room_write_bytes(region, offset, count, &value);
}

uint32_t
room_set_irqs(uint32_t flags, uint32_t index, uint32_t start, uint32_t count)
{
	struct vfio_user_irq_set set = {sizeof(set), flags, index, start, count};
	uint32_t error = room_request(VFIO_USER_DEVICE_SET_IRQS, &set, sizeof(set), NULL, 0);

	CHECK_EQ(room.reply.length, 0);
	return error;
}

uint32_t
room_set_eventfds(uint32_t action, uint32_t index, uint32_t start, uint32_t count, const int *fds,
	unsigned n_fds)
{
	struct vfio_user_irq_set set = {
		sizeof(set), VFIO_USER_IRQ_SET_DATA_EVENTFD | action, index, start, count};
	uint32_t error = room_request(VFIO_USER_DEVICE_SET_IRQS, &set, sizeof(set), fds, n_fds);

	CHECK_EQ(room.reply.length, 0);
	return error;
}
