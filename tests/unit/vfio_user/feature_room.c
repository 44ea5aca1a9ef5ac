/* SPDX-License-Identifier: BSD-2-Clause */
#include <feature_room.h>

#include <string.h>

static int eventfds[VECTORS];

void
feature_open(unsigned revision, enum ivshmem_device_master master, bool msi)
{
	struct ivshmem_device_config config = room_config(revision, VECTORS);

	config.memory_size = MEMORY;
	config.msi = msi;
	config.master = master;
	if (revision > 0)
		config.id = 0;
	room_open(&config);
	if (revision == 0)
		room_greet(0, MEMORY);
	for (unsigned i = 0; i < VECTORS; i++) {
		room_vector(0);
		eventfds[i] = test_eventfd();
	}
}

void
feature_open_master(void)
{
	feature_open(1, IVSHMEM_DEVICE_MASTER_ON, true);
}

unsigned
feature(uint32_t argsz, uint32_t flags, const void *data, size_t length)
{
	uint8_t body[HEAD + 64] = {0};

	memcpy(body, &argsz, 4);
	memcpy(body + 4, &flags, 4);
	if (length > 0)
		memcpy(body + HEAD, data, length);
	return room_request(VFIO_USER_DEVICE_FEATURE, body, HEAD + length, NULL, 0);
}

unsigned
set_state(uint32_t state)
{
	struct vfio_user_device_state data = {state, 0xdead};
	uint32_t expected[4] = {16, SET | STATE, state, 0xdead};
	unsigned error = feature(16, SET | STATE, &data, sizeof(data));

	if (error == 0) {
		CHECK_EQ(room.reply.length, sizeof(expected));
		CHECK_MEM(room.reply.body, expected, sizeof(expected));
	}
	return error;
}

uint32_t
state_of(void)
{
	uint32_t body[4];

	CHECK_EQ(feature(16, GET | STATE, NULL, 0), 0);
	CHECK_EQ(room.reply.length, sizeof(body));
	memcpy(body, room.reply.body, sizeof(body));
	CHECK_EQ(body[0], 16);
	CHECK_EQ(body[1], GET | STATE);
	CHECK_EQ(body[3], 0);
	return body[2];
}

void
go(uint32_t state)
{
	if (set_state(state) != 0)
		FAIL("%s", room.session.error.message);
	CHECK_EQ(state_of(), state);
}

int64_t
read_data(uint32_t argsz, uint32_t size)
{
	uint32_t body[2] = {argsz, size};
	unsigned error = room_request(VFIO_USER_MIG_DATA_READ, body, sizeof(body), NULL, 0);

	if (error)
		return -(int64_t)error;
	CHECK(room.reply.length >= sizeof(body));
	memcpy(body, room.reply.body, sizeof(body));
	CHECK_EQ(body[0], room.reply.length);
	CHECK_EQ(body[1], room.reply.length - sizeof(body));
	CHECK(body[1] <= size);
	return body[1];
}

unsigned
write_data(uint32_t argsz, uint32_t size, const void *data, size_t length)
{
	static uint8_t body[HEAD + VFIO_USER_MAX_TRANSFER + 1];
	unsigned error;

	memcpy(body, &argsz, 4);
	memcpy(body + 4, &size, 4);
	if (length > 0)
		memcpy(body + HEAD, data, length);
	error = room_request(VFIO_USER_MIG_DATA_WRITE, body, HEAD + length, NULL, 0);
	if (!error)
		CHECK_EQ(room.reply.length, 0);
	return error;
}

void
set_irqs(uint32_t index, unsigned n)
{
	CHECK_EQ(room_set_eventfds(TRIGGER, index, 0, n, eventfds, n), 0);
}

bool
fired(unsigned vector)
{
	return stage_count(eventfds[vector]) > 0;
}

void
ring_self(unsigned vector, bool seen)
{
	room_write(0, IVSHMEM_REG_DOORBELL, 4, vector);
	if (seen)
		stage_dispatch();
}
