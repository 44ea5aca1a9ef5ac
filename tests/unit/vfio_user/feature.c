/* SPDX-License-Identifier: BSD-2-Clause */

/* DEVICE_FEATURE and the messages of migration data: every field, right and wrong. */

#include <feature_room.h>

#include <errno.h>
#include <string.h>

/* ---- features --------------------------------------------------------------------------------- */

TEST_WITH(migration_flags, .begin = feature_open_master, .end = room_close)
{
	uint64_t data = 77;
	struct {
		uint32_t argsz, flags;
		uint64_t data;
	} expected = {
		16, GET | FLAGS, VFIO_USER_MIGRATION_STOP_COPY | VFIO_USER_MIGRATION_PRE_COPY};

	/* with and without room for the data in the request, and with more room than needed */
	CHECK_EQ(feature(16, GET | FLAGS, NULL, 0), 0);
	CHECK_EQ(room.reply.length, 16);
	CHECK_MEM(room.reply.body, &expected, 16);
	CHECK_EQ(feature(16, GET | FLAGS, &data, sizeof(data)), 0);
	CHECK_MEM(room.reply.body, &expected, 16);
	CHECK_EQ(feature(UINT32_MAX, GET | FLAGS, NULL, 0), 0);
	CHECK_EQ(room.reply.length, 16);
	CHECK_MEM(room.reply.body, &expected, 16);
}

TEST_WITH(probes_are_echoed, .begin = feature_open_master, .end = room_close)
{
	static const struct {
		uint32_t flags;
		unsigned error;
	} cases[] = {
		{PROBE | FLAGS, 0},
		{PROBE | GET | FLAGS, 0},
		{PROBE | SET | FLAGS, EINVAL},
		{PROBE | GET | SET | FLAGS, EINVAL},
		{PROBE | STATE, 0},
		{PROBE | GET | STATE, 0},
		{PROBE | SET | STATE, 0},
		{PROBE | GET | SET | STATE, 0},
		{PROBE | 0, ENOTTY},
		{PROBE | 3, ENOTTY},
		{PROBE | GET | 8, ENOTTY},
	};
	uint8_t data[24] = "neither here nor there";

	for (size_t i = 0; i < LENGTH(cases); i++) {
		for (uint32_t length = 0; length <= sizeof(data); length++) {
			/* never more than argsz */
			uint32_t argsz[] = {HEAD, HEAD + length, 1000};

			for (size_t k = 0; k < LENGTH(argsz); k++) {
				uint32_t head[2] = {argsz[k], cases[i].flags};

				CHECK_EQ(feature(argsz[k], cases[i].flags, data, length),
					cases[i].error);
				if (cases[i].error)
					continue;
				CHECK_EQ(room.reply.length, k == 0 ? HEAD : HEAD + length);
				CHECK_MEM(room.reply.body, head, HEAD);
				CHECK_MEM(room.reply.body + HEAD, data, room.reply.length - HEAD);
			}
		}
	}
	CHECK_EQ(state_of(), MIGRATION_RUNNING);
}

TEST_WITH(feature_fields, .begin = feature_open_master, .end = room_close)
{
	struct vfio_user_device_state stop = {MIGRATION_STOP, 0};
	uint8_t body[HEAD + sizeof(stop)];

	for (uint32_t argsz = 0; argsz < 16; argsz++) {
		CHECK_EQ(feature(argsz, GET | FLAGS, NULL, 0), EINVAL);
		CHECK_EQ(feature(argsz, GET | STATE, NULL, 0), EINVAL);
		CHECK_EQ(feature(argsz, SET | STATE, &stop, sizeof(stop)), EINVAL);
		CHECK_EQ(feature(argsz, PROBE | STATE, NULL, 0), argsz < 8 ? EINVAL : 0);
	}
	/* data that is missing */
	for (size_t length = 0; length < sizeof(stop); length++)
		CHECK_EQ(feature(16, SET | STATE, &stop, length), EINVAL);
	for (size_t length = 0; length < HEAD; length++) {
		memcpy(body, &(uint32_t[]){16, GET | STATE}, HEAD);
		CHECK_EQ(room_request(VFIO_USER_DEVICE_FEATURE, body, length, NULL, 0), EINVAL);
	}
	/* what to do */
	CHECK_EQ(feature(16, STATE, &stop, sizeof(stop)), EINVAL);
	CHECK_EQ(feature(16, GET | SET | STATE, &stop, sizeof(stop)), EINVAL);
	CHECK_EQ(feature(16, SET | FLAGS, &stop, sizeof(stop)), EINVAL);
	for (unsigned bit = 19; bit < 32; bit++) {
		CHECK_EQ(feature(16, UINT32_C(1) << bit | GET | STATE, NULL, 0), EINVAL);
		CHECK_EQ(feature(16, UINT32_C(1) << bit | PROBE | STATE, NULL, 0), EINVAL);
	}
	/* with what */
	for (uint32_t number = 0; number <= 0xffff; number += number < 100 ? 1 : 997) {
		if (number == FLAGS || number == STATE)
			continue;
		CHECK_EQ(feature(16, GET | number, NULL, 0), ENOTTY);
		CHECK_EQ(feature(16, SET | number, &stop, sizeof(stop)), ENOTTY);
	}
	CHECK_EQ(feature(16, GET | 0xffff, NULL, 0), ENOTTY);
	/* a state that there is not */
	CHECK_EQ(set_state(0), EINVAL);
	CHECK_EQ(set_state(5), EINVAL);
	CHECK_EQ(set_state(7), EINVAL);
	CHECK_EQ(set_state(UINT32_MAX), EINVAL);
	CHECK_EQ(state_of(), MIGRATION_RUNNING);
	/* trailing bytes are what a later version may add */
	memset(body, 0, sizeof(body));
	body[0] = MIGRATION_STOP;
	CHECK_EQ(feature(24, SET | STATE, body, sizeof(body)), 0);
	CHECK_EQ(room.reply.length, 16);
	CHECK_EQ(state_of(), MIGRATION_STOP);
}

/* ---- data ------------------------------------------------------------------------------------- */

TEST_WITH(data_fields, .begin = feature_open_master, .end = room_close)
{
	static uint8_t data[VFIO_USER_MAX_TRANSFER + 1];
	uint32_t body[2] = {108, 100};

	CHECK_EQ(read_data(108, 100), -EINVAL);
	CHECK_EQ(write_data(108, 100, data, 100), EINVAL);
	go(MIGRATION_PRE_COPY);
	CHECK_EQ(read_data(108, 100), 0);
	CHECK_EQ(read_data(8 + VFIO_USER_MAX_TRANSFER + 1, VFIO_USER_MAX_TRANSFER + 1), -EINVAL);
	/* Whatever a client says that it takes. */
	room.session.max_transfer = UINT32_MAX;
	CHECK_EQ(read_data(UINT32_MAX, VFIO_USER_MAX_TRANSFER + 1), -EINVAL);
	room.session.max_transfer = VFIO_USER_MAX_TRANSFER;
	go(MIGRATION_STOP_COPY);
	for (size_t length = 0; length < sizeof(body); length++)
		CHECK_EQ(room_request(VFIO_USER_MIG_DATA_READ, body, length, NULL, 0), EINVAL);
	CHECK_EQ(read_data(107, 100), -EINVAL);
	CHECK_EQ(read_data(0, 100), -EINVAL);
	CHECK_EQ(read_data(7, 0), -EINVAL);
	CHECK_EQ(read_data(99, UINT32_MAX), -EINVAL);
	CHECK_EQ(read_data(UINT32_MAX, UINT32_MAX), -EINVAL);
	CHECK_EQ(read_data(7, UINT32_MAX), -EINVAL);
	CHECK_EQ(read_data(UINT32_MAX, VFIO_USER_MAX_TRANSFER + 1), -EINVAL);
	CHECK_EQ(read_data(8, 0), 0);
	/* nothing was lost by all of that */
	CHECK_EQ(read_data(UINT32_MAX, 8), 8);
	CHECK_MEM(room.reply.body + HEAD, "ivshmig", 8);
	CHECK_EQ(write_data(108, 100, data, 100), EINVAL);

	go(MIGRATION_RESUMING);
	CHECK_EQ(read_data(108, 100), -EINVAL);
	for (size_t length = 0; length < sizeof(body); length++)
		CHECK_EQ(room_request(VFIO_USER_MIG_DATA_WRITE, body, length, NULL, 0), EINVAL);
	CHECK_EQ(write_data(107, 100, data, 100), EINVAL);
	CHECK_EQ(write_data(108, 100, data, 99), EINVAL);
	CHECK_EQ(write_data(108, 100, data, 101), EINVAL);
	CHECK_EQ(write_data(108, UINT32_MAX, data, 100), EINVAL);
	CHECK_EQ(write_data(UINT32_MAX, UINT32_MAX, data, 100), EINVAL);
	CHECK_EQ(write_data(UINT32_MAX, sizeof(data), data, sizeof(data)), EINVAL);
	CHECK_EQ(write_data(8, 0, data, 0), 0);
	/* nor by this */
	CHECK_EQ(write_data(16, 8, "ivshmig", 8), 0);
	/* what the client takes at most holds for both */
	room.session.max_transfer = 4;
	CHECK_EQ(write_data(13, 5, "\0\0\0\1", 5), EINVAL);
	CHECK_EQ(write_data(12, 4, "\0\0\0\1", 4), 0);
	CHECK_EQ(write_data(12, 4, "\0\0\0\1", 4), 0);
	CHECK_EQ(write_data(12, 4, "\0\0\0\0", 4), 0);
	/* and the stream's own mistakes are told by the write that made them */
	CHECK_EQ(write_data(12, 4, "\0\0\0\1", 4), EINVAL);
	CHECK(strstr(room.session.error.message, "bytes of memory") != NULL);
	CHECK_EQ(set_state(MIGRATION_STOP), EBADMSG);
	CHECK_EQ(state_of(), MIGRATION_ERROR);
	CHECK_EQ(room_request(VFIO_USER_DEVICE_RESET, NULL, 0, NULL, 0), 0);
	CHECK_EQ(state_of(), MIGRATION_RUNNING);
}
