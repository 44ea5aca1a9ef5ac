/* SPDX-License-Identifier: BSD-2-Clause */

/* Migration as a VMM does it: from group to group, and what becomes of interrupts meanwhile. */

#include <feature_room.h>

#include <errno.h>
#include <string.h>

/* From one room to the next. */
static uint8_t stream[2 * VFIO_USER_MAX_TRANSFER];
static size_t stream_size;

static void
save(uint32_t size)
{
	int64_t n;

	go(MIGRATION_STOP_COPY);
	stream_size = 0;
	do {
		n = read_data(HEAD + size, size);
		CHECK(n >= 0 && stream_size + (size_t)n <= sizeof(stream));
		memcpy(stream + stream_size, room.reply.body + HEAD, (size_t)n);
		stream_size += (size_t)n;
	} while (n == size);
	CHECK_EQ(read_data(HEAD + size, size), 0);
}

static void
load(uint32_t size)
{
	go(MIGRATION_RESUMING);
	for (size_t at = 0; at < stream_size; at += size) {
		size_t left = stream_size - at, n = left < size ? left : size;

		CHECK_EQ(write_data((uint32_t)(HEAD + n), (uint32_t)n, stream + at, n), 0);
	}
}

/* From one group to another, with messages of different sizes. */
TEST(from_group_to_group)
{
	static const uint32_t sizes[] = {VFIO_USER_MAX_TRANSFER, 1000, 4};
	static uint8_t memory[MEMORY];

	for (unsigned k = 0; k < MEMORY; k++)
		memory[k] = (uint8_t)(k * 3 + k / 256);
	for (size_t i = 0; i < LENGTH(sizes); i++) {
		feature_open_master();
		memcpy(member_memory(stage.member), memory, MEMORY);
		room_write(7, 0x3c, 1, 0x0b);
		room_write(0, IVSHMEM_REG_INTR_MASK, 4, 0x12345678);
		room.session.max_transfer = sizes[i];
		save(sizes[i]);
		CHECK_EQ(stream_size, MEMORY + 24 +
					      ivshmem_device_state_size(room.function.device,
						      IVSHMEM_DEVICE_FORMAT_NATIVE));
		CHECK_EQ(stage.n_warnings, 0);
		room_close();

		feature_open(1, IVSHMEM_DEVICE_MASTER_AUTO, true);
		room.session.max_transfer = sizes[i];
		load(sizes[i]);
		go(MIGRATION_RUNNING);
		CHECK_MEM(member_memory(stage.member), memory, MEMORY);
		CHECK_EQ(room_read(7, 0x3c, 1), 0x0b);
		CHECK_EQ(room_read(0, IVSHMEM_REG_INTR_MASK, 4), 0x12345678);
		CHECK_EQ(stage.n_warnings, 0);
		room_close();
	}
}

/* ---- interrupts ------------------------------------------------------------------------------- */

/* Kept back while the device is stopped; what came then is delivered once. */
TEST_WITH(stopped_means_no_interrupts, .begin = feature_open_master, .end = room_close)
{
	static const struct {
		uint32_t state;
		bool runs;
	} states[] = {
		{MIGRATION_RUNNING, true},
		{MIGRATION_STOP, false},
		{MIGRATION_STOP_COPY, false},
		{MIGRATION_RESUMING, false},
		{MIGRATION_PRE_COPY, true},
	};

	set_irqs(MSIX, VECTORS);
	ring_self(3, true);
	CHECK(fired(3));
	for (size_t i = 0; i < LENGTH(states); i++) {
		go(states[i].state);
		ring_self(1, true);
		ring_self(1, true);
		CHECK_EQ(fired(1), states[i].runs);
		/* A refused request does not change that. */
		CHECK_EQ(set_state(5), EINVAL);
		CHECK(!fired(1));
		if (states[i].state == MIGRATION_RESUMING) {
			CHECK_EQ(set_state(MIGRATION_RUNNING), EBADMSG);
			CHECK(!fired(1));
			CHECK_EQ(set_state(MIGRATION_RUNNING), EINVAL);
			CHECK(!fired(1));
			/* Reset forgets it. */
			CHECK_EQ(room_request(VFIO_USER_DEVICE_RESET, NULL, 0, NULL, 0), 0);
			CHECK(!fired(1));
		} else {
			go(MIGRATION_RUNNING);
			CHECK_EQ(fired(1), !states[i].runs);
		}
		CHECK(!fired(1));
		ring_self(1, true);
		CHECK(fired(1));
	}
}

/* Rings that nobody has looked at travel with the state, and do not reach the VM that is left. */
TEST(waiting_rings_travel)
{
	for (unsigned there = 0; there < 2; there++) {
		feature_open_master();
		set_irqs(MSIX, VECTORS);
		if (there) {
			load(VFIO_USER_MAX_TRANSFER);
			CHECK(!fired(2));
			go(MIGRATION_STOP);
			CHECK(!fired(2));
			go(MIGRATION_RUNNING);
		} else {
			ring_self(2, false);
			save(VFIO_USER_MAX_TRANSFER);
			stage_dispatch();
		}
		for (unsigned i = 0; i < VECTORS; i++)
			CHECK_EQ(fired(i), there && i == 2);
		room_close();
	}
}

TEST(intx_travels)
{
	for (unsigned there = 0; there < 2; there++) {
		feature_open(0, IVSHMEM_DEVICE_MASTER_ON, false);
		set_irqs(INTX, 1);
		if (there) {
			load(VFIO_USER_MAX_TRANSFER);
		} else {
			room_write(0, IVSHMEM_REG_INTR_MASK, 4, 1);
			go(MIGRATION_STOP);
			ring_self(0, true);
			CHECK(!fired(0));
			save(VFIO_USER_MAX_TRANSFER);
		}
		CHECK(!fired(0));
		/* The source may go on instead, and has lost nothing. */
		go(MIGRATION_RUNNING);
		CHECK(fired(0));
		CHECK_EQ(room_read(0, IVSHMEM_REG_INTR_STATUS, 4), 1);
		room_close();
	}
}

/* ---- who and when ----------------------------------------------------------------------------- */

/* Checklist 84 and 85: a peer is not migrated, and its user is told why. */
TEST(a_peer_has_no_migration)
{
	for (unsigned revision = 0; revision <= 1; revision++) {
		struct vfio_user_device_state stop = {MIGRATION_STOP, 0};

		feature_open(revision, IVSHMEM_DEVICE_MASTER_OFF, true);
		CHECK_EQ(feature(16, GET | FLAGS, NULL, 0), ENOTTY);
		CHECK_HAS(stage.warning, "only the master is migrated");
		CHECK_HAS(stage.warning, "role=peer, master=off");
		CHECK_EQ(feature(8, PROBE | FLAGS, NULL, 0), ENOTTY);
		CHECK_EQ(feature(8, PROBE | SET | STATE, NULL, 0), ENOTTY);
		CHECK_EQ(feature(16, GET | STATE, NULL, 0), ENOTTY);
		CHECK_EQ(feature(16, SET | STATE, &stop, sizeof(stop)), ENOTTY);
		CHECK_EQ(feature(7, GET | FLAGS, NULL, 0), EINVAL);
		CHECK_EQ(read_data(16, 8), -EINVAL);
		CHECK_EQ(write_data(16, 8, "ivshmig", 8), EINVAL);
		/* and still interrupts */
		if (revision == 1) {
			set_irqs(MSIX, VECTORS);
			ring_self(3, true);
			CHECK(fired(3));
		}
		room_close();
	}
}

/* Revision 0 with a server that takes its time. */
TEST(memory_comes_late)
{
	struct ivshmem_device_config config = room_config(0, VECTORS);

	config.memory_size = MEMORY;
	config.master = IVSHMEM_DEVICE_MASTER_ON;
	room_open(&config);
	CHECK_EQ(set_state(MIGRATION_STOP_COPY), ENODATA);
	CHECK_HAS(stage.warning, "no memory yet");
	CHECK_EQ(state_of(), MIGRATION_STOP);
	CHECK_EQ(set_state(MIGRATION_RESUMING), ENODATA);
	CHECK_EQ(state_of(), MIGRATION_STOP);
	go(MIGRATION_RUNNING);
	room_greet(0, MEMORY);
	save(VFIO_USER_MAX_TRANSFER);
	CHECK(stream_size > MEMORY);
	room_close();
}
