/* SPDX-License-Identifier: BSD-2-Clause */

/* BAR0, INTx, BAR2. */

#include <device_host.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MASK     IVSHMEM_REG_INTR_MASK
#define STATUS   IVSHMEM_REG_INTR_STATUS
#define POSITION IVSHMEM_REG_IV_POSITION
#define DOORBELL IVSHMEM_REG_DOORBELL

/* Revision 0 with msi=off, id 0, two vectors of its own. */
static void
open_intx(void)
{
	host_config(0, true, 2);
	host.config.msi = false;
	host.config.id = 0;
	host_open();
	give_memory();
	CAUSES(connect_peer(0, 2), "");
}

/* Checklist 15 and 16. */
TEST(intx_is_status_and_mask)
{
	open_intx();
	CAUSES(reg_put(STATUS, 0x80000001), "");
	CAUSES(reg_put(MASK, 0x80000000), "intx 1");
	CHECK_EQ(config_get(0x06, 2), 0x08);
	CAUSES(reg_put(MASK, 0x80000001), "");
	CAUSES(reg_put(MASK, 0x00000002), "intx 0");
	CHECK_EQ(config_get(0x06, 2), 0);
	CAUSES(reg_put(STATUS, 2), "intx 1");
	CHECK(ivshmem_device_intx(host.device));
	CAUSES(CHECK_EQ(reg_get(STATUS), 2), "intx 0");
	CHECK(!ivshmem_device_intx(host.device));
	reg_put(MASK, 1);
	CAUSES(interrupt(1), "intx 1");
	CAUSES(reg_put(STATUS, 0), "intx 0");
}

/* Checklist 17. */
TEST(ring_with_mask_0)
{
	open_intx();
	CAUSES(interrupt(0), "");
	CAUSES(reg_put(MASK, 1), "intx 1");
	CAUSES(CHECK_EQ(reg_get(STATUS), 1), "intx 0");
}

/* Checklist 18: the model is told that there were rings, not how many. */
TEST(many_rings_leave_1)
{
	open_intx();
	for (unsigned i = 0; i < 256; i++)
		interrupt(i % 2);
	CHECK_EQ(reg_get(STATUS), 1);
	CHECK_EQ(reg_get(STATUS), 0);
	/* and do not wipe out what the guest put there */
	reg_put(STATUS, 0x100);
	interrupt(0);
	CHECK_EQ(reg_get(STATUS), 0x101);
}

/* Checklist 19. */
TEST(msix_keeps_intx_low)
{
	host_open_simple(0, true, 1);
	reg_put(MASK, 1);
	CAUSES(reg_put(STATUS, 1), "intx 1");
	CAUSES(msix_control(0x8000), "intx 0");
	CHECK_EQ(config_get(0x06, 2), 0x10);
	reg_put(STATUS, 0);
	CAUSES(reg_put(STATUS, 1), "");
	CAUSES(msix_control(0), "intx 1");
	CAUSES(host_close(), "intx 0");
}

TEST(command_disables_intx)
{
	open_intx();
	config_put(0x04, 2, 0x400);
	reg_put(MASK, 1);
	CAUSES(reg_put(STATUS, 1), "");
	/* requested all the same */
	CHECK_EQ(config_get(0x06, 2), 0x08);
	CAUSES(config_put(0x04, 2, 0), "intx 1");
	CAUSES(config_put(0x04, 2, 0x400), "intx 0");
}

/* Checklist 20. */
TEST(revision_1_has_no_intx)
{
	host_open_simple(1, true, 1);
	connect_peer(0, 1);
	reg_put(MASK, 0xffffffff);
	reg_put(STATUS, 0xffffffff);
	CAUSES(interrupt(0), "");
	CHECK_EQ(config_get(0x06, 2), 0x10);
	/* a ring is no status */
	CHECK_EQ(reg_get(STATUS), 0xffffffff);
	CHECK_EQ(reg_get(STATUS), 0);
}

/* Checklist 21. */
TEST(position_is_the_id)
{
	static const int32_t ids[] = {0, 1, 32768, 65535};

	for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
		host_config(1, true, 1);
		host.config.id = ids[i];
		host_open();
		CHECK_EQ(reg_get(POSITION), ids[i]);
		CHECK_EQ(ivshmem_device_id(host.device), ids[i]);
		reg_put(POSITION, 77);
		CHECK_EQ(reg_get(POSITION), ids[i]);
		ivshmem_device_reset(host.device);
		CHECK_EQ(reg_get(POSITION), ids[i]);
	}
	for (unsigned revision = 0; revision <= 1; revision++) {
		host_config(revision, false, 1);
		host.config.id = 9; /* means nothing without server */
		host_open();
		give_memory();
		CHECK_EQ(reg_get(POSITION), 0);
		CHECK_EQ(ivshmem_device_set_id(host.device, 3), -EINVAL);
	}
}

/* Checklist 22. */
TEST(revision_0_memory_comes_late)
{
	static uint8_t memory[1 << 20];

	host_config(0, true, 1);
	host_open();
	config_put(0x18, 4, 0xe0000000);
	config_put(0x04, 2, 0x2);
	CHECK_EQ(ivshmem_device_id(host.device), IVSHMEM_DEVICE_NO_ID);
	CHECK_EQ(reg_get(POSITION), 0xffffffff);
	CHECK_EQ(bar_read(2, 0, 8), UINT64_MAX);
	bar_write(2, 0, 8, 1);
	CHECK_EQ(ivshmem_device_set_id(host.device, 5), 0);
	CHECK_EQ(ivshmem_device_set_id(host.device, 6), -EALREADY);
	CAUSES(CHECK_EQ(reg_get(POSITION), 0xffffffff), "");
	CAUSES(CHECK_EQ(ivshmem_device_set_memory(host.device, memory, sizeof(memory), NULL), 0),
		"map e0000000");
	CHECK_EQ(reg_get(POSITION), 5);
	CHECK_EQ(bar_read(2, 0, 8), 0);
}

/* The model test has what lies just beyond, and any place of the BARs that there can be. */
TEST(no_such_access)
{
	host_open_simple(1, true, 1);
	CHECK_EQ(bar_read(0, UINT64_MAX - 3, 4), 0xffffffff);
	CHECK_EQ(bar_read(0xffffffff, 0, 4), 0xffffffff);
	CHECK_EQ(bar_read(0, 0, 3), 0xffffff);
	CHECK_EQ(bar_read(0, 0, 0), UINT64_MAX);
	CHECK_EQ(bar_read(0, 0, 0xffffffff), UINT64_MAX);
	bar_write(2, UINT64_MAX - 7, 8, 1);
	bar_write(9, 0, 8, 1);
	bar_write(0, 0, 0, 1);
}

/* ---- BAR2 ------------------------------------------------------------------------------------ */

/* Checklist 32, 33 and 34. */
TEST(memory_through_bar2)
{
	enum { SIZE = 1 << 16 };
	uint8_t *memory = aligned_alloc(4096, SIZE);
	struct ivshmem_device *second;

	host_config(1, false, 1);
	CHECK(memory);
	memset(memory, 0, SIZE);
	host.config.memory_size = SIZE;
	host_open();
	CHECK_EQ(ivshmem_device_set_memory(host.device, memory, SIZE, NULL), 0);
	CHECK_EQ(ivshmem_device_new(&second, &host.config, NULL), 0);
	CHECK_EQ(ivshmem_device_set_memory(second, memory, SIZE, NULL), 0);
	for (unsigned size = 1; size <= 8; size *= 2) {
		uint64_t pattern = UINT64_C(0x1122334455667788) >> (64 - 8 * size);

		/* with every alignment, up to the last byte */
		for (unsigned shift = 0; shift < size; shift++) {
			for (uint64_t at = shift; at <= SIZE - size; at += 4096) {
				bar_write(2, at, size, pattern + at % 7);
				for (unsigned i = 0; i < size; i++)
					CHECK_EQ(memory[at + i],
						(uint8_t)((pattern + at % 7) >> (8 * i)));
				CHECK_EQ(
					ivshmem_device_read(second, 2, at, size), pattern + at % 7);
			}
		}
		ivshmem_device_write(second, 2, SIZE - size, size, pattern);
		CHECK_EQ(bar_read(2, SIZE - size, size), pattern);
	}
	memory[1234] = 0x5a;
	ivshmem_device_reset(host.device);
	CHECK_EQ(bar_read(2, 1234, 1), 0x5a);
	ivshmem_device_free(second);
	host_close();
	free(memory);
}

/* Checklist 36: what of it is the model's. */
TEST(memory_of_another_size)
{
	struct ivshmem_error error = {0};
	static uint8_t memory[3 << 20];

	host_config(0, false, 1);
	host_open();
	CHECK_EQ(ivshmem_device_set_memory(host.device, memory, (1 << 20) - 1, &error), -EINVAL);
	CHECK(strstr(error.message, "1048575") && strstr(error.message, "1048576"));
	CHECK_EQ(reg_get(POSITION), 0xffffffff);
	/* larger is fine in revision 0, of which the first part is seen */
	CHECK_EQ(ivshmem_device_set_memory(host.device, memory, sizeof(memory), NULL), 0);
	CHECK_EQ(reg_get(POSITION), 0);
	CHECK_EQ(bar_read(2, 1 << 20, 1), 0xff);
	/* a second memory is refused and the first stays */
	CHECK_EQ(ivshmem_device_set_memory(host.device, NULL, 1 << 20, &error), -EALREADY);
	CHECK_EQ(error.code, -EALREADY);
	CHECK_EQ(bar_read(2, 0, 1), 0);

	host_config(1, false, 1);
	host_open();
	CHECK_EQ(ivshmem_device_set_memory(host.device, memory, 2 << 20, &error), -EINVAL);
	CHECK(strstr(error.message, "2097152") && strstr(error.message, "1048576"));
	CHECK_EQ(ivshmem_device_set_memory(host.device, memory, 1 << 19, &error), -EINVAL);
	CHECK_EQ(ivshmem_device_set_memory(host.device, memory, 1 << 20, &error), 0);
}

/* An embedder without any ops still has a device that answers. */
TEST(no_ops_at_all)
{
	host_config(0, true, 2);
	host.config.ops = NULL;
	host.config.ioeventfd = true;
	host.config.id = 0;
	host_open();
	give_memory();
	connect_peer(0, 2);
	config_put(0x10, 4, 0xe0000000);
	config_put(0x18, 4, 0xe0100000);
	config_put(0x04, 2, COMMAND_ON);
	reg_put(MASK, 1);
	reg_put(STATUS, 1);
	CHECK(ivshmem_device_intx(host.device));
	reg_put(DOORBELL, 0);
	msix_control(0x8000);
	entry_open(0);
	interrupt(0);
	CAUSES(CHECK_EQ(bar1_get(0x800), 1), "");
}
