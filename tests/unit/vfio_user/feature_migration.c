/* SPDX-License-Identifier: BSD-2-Clause */

/* Migration as a VMM does it: from group to group, and what becomes of interrupts meanwhile. */

#include <feature_stage.h>

#include <fdpass.h>

#include <ivshmem/abi.h>

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

/* From one group to another, with messages of different sizes. */
TEST(from_group_to_group)
{
	static const uint32_t sizes[] = {VFIO_USER_MAX_TRANSFER, 1000, 4};

	for (size_t i = 0; i < LENGTH(sizes); i++) {
		uint32_t size = sizes[i];
		uint64_t total = 0;
		int64_t n;

		stage_open(&a, 1, IVSHMEM_DEVICE_MASTER_ON);
		stage_open(&b, 1, IVSHMEM_DEVICE_MASTER_AUTO);
		for (unsigned k = 0; k < MEMORY; k++)
			((uint8_t *)member_memory(a.member))[k] = (uint8_t)(k * 3 + k / 256);
		region_write(&a, 7, 0x3c, 0x0b);
		region_write(&a, 0, 0, 0x12345678);
		a.session.max_transfer = size;
		b.session.max_transfer = size;
		go(&a, MIGRATION_STOP_COPY);
		go(&b, MIGRATION_RESUMING);
		do {
			n = read_data(&a, HEAD + size, size);
			CHECK(n >= 0);
			CHECK_EQ(write_data(&b, (uint32_t)(HEAD + n), (uint32_t)n,
					 a.reply.body + HEAD, (size_t)n),
				0);
			total += (uint64_t)n;
		} while (n == size);
		CHECK_EQ(total, MEMORY + 24 +
					ivshmem_device_state_size(
						a.function.device, IVSHMEM_DEVICE_FORMAT_NATIVE));
		CHECK_EQ(read_data(&a, HEAD + size, size), 0);
		go(&b, MIGRATION_RUNNING);
		CHECK_MEM(member_memory(b.member), member_memory(a.member), MEMORY);
		CHECK_EQ(region_read(&b, 7, 0x3c) & 0xff, 0x0b);
		CHECK_EQ(region_read(&b, 0, 0), 0x12345678);
		CHECK_STR(a.logged, "");
		CHECK_STR(b.logged, "");
		stage_close(&b);
		stage_close(&a);
	}
}

/* ---- interrupts ------------------------------------------------------------------------------- */

/* Kept back while the device is stopped; what came then is delivered once. */
TEST(stopped_means_no_interrupts)
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

	stage_open(&a, 1, IVSHMEM_DEVICE_MASTER_ON);
	set_irqs(&a, VFIO_PCI_MSIX_IRQ_INDEX, VECTORS);
	ring_self(&a, 3, true);
	CHECK(fired(&a, 3));
	for (size_t i = 0; i < LENGTH(states); i++) {
		go(&a, states[i].state);
		ring_self(&a, 1, true);
		ring_self(&a, 1, true);
		CHECK_EQ(fired(&a, 1), states[i].runs);
		/* A refused request does not change that. */
		CHECK_EQ(set_state(&a, 5), EINVAL);
		CHECK(!fired(&a, 1));
		if (states[i].state == MIGRATION_RESUMING) {
			CHECK_EQ(set_state(&a, MIGRATION_RUNNING), EBADMSG);
			CHECK(!fired(&a, 1));
			CHECK_EQ(set_state(&a, MIGRATION_RUNNING), EINVAL);
			CHECK(!fired(&a, 1));
			/* Reset forgets it. */
			CHECK_EQ(request(&a, VFIO_USER_DEVICE_RESET, NULL, 0), 0);
			CHECK(!fired(&a, 1));
		} else {
			go(&a, MIGRATION_RUNNING);
			CHECK_EQ(fired(&a, 1), !states[i].runs);
		}
		CHECK(!fired(&a, 1));
		ring_self(&a, 1, true);
		CHECK(fired(&a, 1));
	}
	stage_close(&a);
}

/* Rings that nobody has looked at travel with the state, and do not reach the VM that is left. */
TEST(waiting_rings_travel)
{
	int64_t n;

	stage_open(&a, 1, IVSHMEM_DEVICE_MASTER_ON);
	stage_open(&b, 1, IVSHMEM_DEVICE_MASTER_ON);
	set_irqs(&a, VFIO_PCI_MSIX_IRQ_INDEX, VECTORS);
	set_irqs(&b, VFIO_PCI_MSIX_IRQ_INDEX, VECTORS);
	ring_self(&a, 2, false);
	go(&a, MIGRATION_STOP_COPY);
	CHECK(!fired(&a, 2));
	go(&b, MIGRATION_RESUMING);
	n = read_data(&a, UINT32_MAX, VFIO_USER_MAX_TRANSFER);
	CHECK_EQ(write_data(&b, (uint32_t)(HEAD + n), (uint32_t)n, a.reply.body + HEAD, (size_t)n),
		0);
	CHECK(!fired(&b, 2));
	go(&b, MIGRATION_STOP);
	CHECK(!fired(&b, 2));
	go(&b, MIGRATION_RUNNING);
	for (unsigned i = 0; i < VECTORS; i++) {
		CHECK_EQ(fired(&b, i), i == 2);
		CHECK(!fired(&a, i));
	}
	stage_close(&b);
	stage_close(&a);
}

TEST(intx_travels)
{
	struct ivshmem_device_config config = device_config(0, IVSHMEM_DEVICE_MASTER_ON);
	int64_t n;

	config.msi = false;
	for (unsigned i = 0; i < 2; i++) {
		struct stage *stage = i ? &b : &a;

		stage_listen(stage);
		stage_serve(stage);
		stage_join(stage, &config, false);
		loop_until_vectors(stage, VECTORS);
		for (unsigned k = 0; k < VECTORS; k++)
			stage->eventfds[k] = CHECK_SYS(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
		set_irqs(stage, VFIO_PCI_INTX_IRQ_INDEX, 1);
	}
	region_write(&a, 0, IVSHMEM_REG_INTR_MASK, 1);
	go(&a, MIGRATION_STOP);
	ring_self(&a, 0, true);
	CHECK(!fired(&a, 0));
	go(&a, MIGRATION_STOP_COPY);
	go(&b, MIGRATION_RESUMING);
	n = read_data(&a, UINT32_MAX, VFIO_USER_MAX_TRANSFER);
	CHECK_EQ(write_data(&b, (uint32_t)(HEAD + n), (uint32_t)n, a.reply.body + HEAD, (size_t)n),
		0);
	CHECK(!fired(&b, 0));
	go(&b, MIGRATION_RUNNING);
	CHECK(fired(&b, 0));
	CHECK_EQ(region_read(&b, 0, IVSHMEM_REG_INTR_STATUS), 1);
	/* The source may go on instead, and has lost nothing. */
	CHECK(!fired(&a, 0));
	go(&a, MIGRATION_RUNNING);
	CHECK(fired(&a, 0));
	CHECK_EQ(region_read(&a, 0, IVSHMEM_REG_INTR_STATUS), 1);
	stage_close(&b);
	stage_close(&a);
}

/* ---- who and when ----------------------------------------------------------------------------- */

/* Checklist 84 and 85: a peer is not migrated, and its user is told why. */
TEST(a_peer_has_no_migration)
{
	for (unsigned revision = 0; revision <= 1; revision++) {
		struct vfio_user_device_state stop = {MIGRATION_STOP, 0};

		stage_open(&a, revision, IVSHMEM_DEVICE_MASTER_OFF);
		CHECK_EQ(feature(&a, 16, GET | FLAGS, NULL, 0), ENOTTY);
		CHECK(strstr(a.logged, "only the master is migrated") != NULL);
		CHECK(strstr(a.logged, "role=peer, master=off") != NULL);
		CHECK_EQ(feature(&a, 8, PROBE | FLAGS, NULL, 0), ENOTTY);
		CHECK_EQ(feature(&a, 8, PROBE | SET | STATE, NULL, 0), ENOTTY);
		CHECK_EQ(feature(&a, 16, GET | STATE, NULL, 0), ENOTTY);
		CHECK_EQ(feature(&a, 16, SET | STATE, &stop, sizeof(stop)), ENOTTY);
		CHECK_EQ(feature(&a, 7, GET | FLAGS, NULL, 0), EINVAL);
		CHECK_EQ(read_data(&a, 16, 8), -EINVAL);
		CHECK_EQ(write_data(&a, 16, 8, "ivshmig", 8), EINVAL);
		/* and still interrupts */
		if (revision == 1) {
			set_irqs(&a, VFIO_PCI_MSIX_IRQ_INDEX, VECTORS);
			ring_self(&a, 3, true);
			CHECK(fired(&a, 3));
		}
		stage_close(&a);
	}
}

static void
tell(int client, int64_t number, int fd)
{
	CHECK_EQ(fdpass_send(client, &number, sizeof(number), &fd, fd >= 0), sizeof(number));
}

/* Revision 0 with a server that takes its time. */
TEST(memory_comes_late)
{
	struct ivshmem_device_config config = device_config(0, IVSHMEM_DEVICE_MASTER_ON);
	int client, memory;

	config.id = IVSHMEM_DEVICE_NO_ID;
	stage_listen(&a);
	stage_join(&a, &config, true);
	client = CHECK_SYS(accept4(a.listener, NULL, NULL, SOCK_CLOEXEC));
	CHECK_EQ(set_state(&a, MIGRATION_STOP_COPY), ENODATA);
	CHECK(strstr(a.logged, "no memory yet") != NULL);
	CHECK_EQ(state_of(&a), MIGRATION_STOP);
	CHECK_EQ(set_state(&a, MIGRATION_RESUMING), ENODATA);
	CHECK_EQ(state_of(&a), MIGRATION_STOP);
	go(&a, MIGRATION_RUNNING);

	memory = CHECK_SYS(memfd_create("test", MFD_CLOEXEC));
	CHECK_SYS(ftruncate(memory, MEMORY));
	tell(client, 0, -1);
	tell(client, 0, -1);
	tell(client, IVSHMEM_WIRE_MEMORY, memory);
	while (!member_memory(a.member))
		CHECK(loop_dispatch(a.loop, TIMEOUT_MS) > 0);
	go(&a, MIGRATION_STOP_COPY);
	CHECK(read_data(&a, UINT32_MAX, VFIO_USER_MAX_TRANSFER) > MEMORY);
	stage_close(&a);
	close(client);
	close(memory);
}
