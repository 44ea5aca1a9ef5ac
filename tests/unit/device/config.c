/* SPDX-License-Identifier: BSD-2-Clause */

/* Config space, BARs, and what can be configured. */

#include <device_host.h>

#include <string.h>

static void
open_kind(unsigned revision, bool server, unsigned vectors, uint64_t size)
{
	host_config(revision, server, vectors);
	host.config.id = 0;
	host.config.memory_size = size;
	host_open();
}

static uint32_t
size_dword(unsigned offset)
{
	config_put(offset, 4, 0xffffffff);
	return config_get(offset, 4);
}

/* Checklist 2. */
TEST(revision_and_pin)
{
	host_open_simple(0, true, 1);
	CHECK_EQ(config_get(0x08, 1), 0);
	CHECK_EQ(config_get(0x3d, 1), 1);
	CHECK(ivshmem_device_has_intx(host.device));
	host_close();
	/* Always, in the memory-only mode too. */
	host_open_simple(0, false, 1);
	CHECK_EQ(config_get(0x3d, 1), 1);
	host_open_simple(1, true, 1);
	CHECK_EQ(config_get(0x08, 1), 1);
	CHECK_EQ(config_get(0x3d, 1), 0);
	CHECK(!ivshmem_device_has_intx(host.device));
}

/* Checklist 4. */
TEST(bar2_sizing)
{
	for (unsigned shift = 12; shift <= 62; shift++) {
		uint64_t size = UINT64_C(1) << shift, mask;

		open_kind(1, true, 1, size);
		CHECK_EQ(config_get(0x18, 4), 0xc);
		CHECK_EQ(config_get(0x1c, 4), 0);
		mask = size_dword(0x18);
		mask |= (uint64_t)size_dword(0x1c) << 32;
		CHECK_EQ(mask & 0xf, 0xc);
		CHECK_EQ(~(mask & ~UINT64_C(0xf)) + 1, size);
		CHECK_EQ(ivshmem_device_bar_size(host.device, 2), size);
		CHECK_EQ(ivshmem_device_bar_size(host.device, 3), 0);
	}
	for (unsigned shift = 12; shift <= 31; shift++) {
		uint64_t size = UINT64_C(1) << shift;

		open_kind(0, true, 1, size);
		CHECK_EQ(config_get(0x18, 4), 0);
		CHECK_EQ(size_dword(0x18), (uint32_t) ~(size - 1));
		CHECK_EQ(size_dword(0x1c), 0);
	}
}

/* Checklist 5: no server, or revision 0 with msi=off. */
TEST(no_interrupts_no_capability)
{
	for (unsigned which = 0; which < 3; which++) {
		host_config(which % 2, which == 2, 4);
		host.config.msi = which != 2;
		host_open();
		CHECK_EQ(config_get(0x06, 2), 0);
		CHECK_EQ(config_get(0x34, 1), 0);
		CHECK_EQ(size_dword(0x14), 0);
		CHECK_EQ(ivshmem_device_bar_size(host.device, 1), 0);
		CHECK_EQ(ivshmem_device_msix_vectors(host.device), 0);
		CHECK_EQ(ivshmem_device_pba_offset(host.device), 0);
		CHECK_EQ(bar_read(1, 0, 4), 0xffffffff);
		bar_write(1, 0, 4, 1);
	}
}

/* Checklist 7. */
TEST(bar1_layout)
{
	static const struct {
		unsigned vectors;
		uint32_t size, pba;
	} layouts[] = {{1, 4096, 0x800}, {2, 4096, 0x800}, {127, 4096, 0x800}, {128, 4096, 0x800},
		{129, 4096, 0x810}, {253, 4096, 0xfd0}, {254, 4096, 0xfe0}, {255, 8192, 0xff0},
		{256, 8192, 0x1000}, {512, 16384, 0x2000}, {1024, 32768, 0x4000},
		{2048, 65536, 0x8000}};

	for (size_t i = 0; i < sizeof(layouts) / sizeof(layouts[0]); i++) {
		host_open_simple(1, true, layouts[i].vectors);
		CHECK_EQ(ivshmem_device_bar_size(host.device, 1), layouts[i].size);
		CHECK_EQ(~size_dword(0x14) + 1, layouts[i].size);
		CHECK_EQ(ivshmem_device_pba_offset(host.device), layouts[i].pba);
		CHECK_EQ(config_get(0x48, 4), layouts[i].pba | 1);
		CHECK_EQ(config_get(0x42, 2), layouts[i].vectors - 1);
	}
}

/* Checklist 8 and 9. */
TEST(vectors_out_of_range)
{
	static const unsigned bad[] = {0, 2049, 65536, 0xffffffff};

	for (unsigned revision = 0; revision <= 1; revision++)
		for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
			host_config(revision, true, bad[i]);
			host_refused("vectors must be 1 to 2048");
			if (revision == 0) {
				host.config.msi = false;
				host_refused("vectors must be 1 to 2048");
			}
		}
	/* A plain device has none and does not care. */
	host_open_simple(1, false, 0);
	host_open_simple(1, true, 2048);
}

/* Checklist 10. */
TEST(memory_size_out_of_range)
{
	static const uint64_t bad[] = {0, 1, 100, 2048, 4095, 4097, UINT64_C(3) << 20, UINT64_MAX,
		UINT64_C(1) << 63, (UINT64_C(1) << 62) + 1};

	for (unsigned revision = 0; revision <= 1; revision++) {
		host_config(revision, false, 1);
		for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
			host.config.memory_size = bad[i];
			host_refused("memory size must be");
		}
		host.config.memory_size = 4096;
		host_open();
	}
	/* BAR2 of revision 0 cannot say 4 GiB. */

	host_config(0, false, 1);
	host.config.memory_size = UINT64_C(1) << 32;
	host_refused("2147483648");
	host.config.memory_size = UINT64_C(1) << 31;
	host_open();
}

/* What `change` makes of a good configuration of this revision. */
#define REFUSED(revision, change, reason)                                                          \
	do {                                                                                       \
		host_config(revision, true, 1);                                                    \
		change;                                                                            \
		host_refused(reason);                                                              \
	} while (0)

TEST(other_configurations_that_cannot_be)
{
	REFUSED(1, host.config.struct_size--, "struct_size");
	REFUSED(1, host.config.revision = 2, "revision must be 0 or 1, not 2");
	REFUSED(1, host.config.msi = false, "no INTx");
	REFUSED(1, host.config.id = IVSHMEM_DEVICE_NO_ID, "before the server told its id");
	REFUSED(1, host.config.id = 65536, "id must be 0 to 65535");
	REFUSED(0, host.config.id = -2, "id must be 0 to 65535");
	REFUSED(1, host.config.master = IVSHMEM_DEVICE_MASTER_COUNT,
		"master must be on, off or auto");
	/* Checklist 40. */
	host_config(0, true, 1);
	host.config.ioeventfd = true;
	host.config.msi = false;
	host_refused("ioeventfd/irqfd needs MSI");
}

/* Checklist 11 and 12. */
TEST(reset_is_power_on)
{
	uint8_t before[256], after[256];

	for (unsigned revision = 0; revision <= 1; revision++) {
		host_open_simple(revision, true, 3);
		ivshmem_device_config_read(host.device, 0, before, sizeof(before));
		CHECK_EQ(config_get(0x04, 2), 0);
		connect_peer(0, 3);
		for (unsigned i = 0; i < 256; i += 4)
			config_put(i, 4, 0xffffffff);
		/* INTx off, so that MSI-X does not decide over the status. */
		msix_control(0xc000);
		for (unsigned i = 0; i < 3; i++)
			entry_open(i);
		interrupt(1);
		reg_put(0, 0xffffffff);
		reg_put(4, 0xffffffff);
		ivshmem_device_reset(host.device);
		ivshmem_device_config_read(host.device, 0, after, sizeof(after));
		CHECK_MEM(after, before, sizeof(after));
		CHECK_EQ(config_get(0x42, 2), 2);
		for (unsigned i = 0; i < 3; i++) {
			CHECK_EQ(bar1_get(16 * i), 0);
			CHECK_EQ(bar1_get(16 * i + 4), 0);
			CHECK_EQ(bar1_get(16 * i + 8), 0);
			CHECK_EQ(bar1_get(16 * i + 12), 1);
		}
		CHECK_EQ(bar1_get(0x800), 0);
		CHECK_EQ(reg_get(0), 0);
		CHECK_EQ(reg_get(4), 0);
	}
}

/* Nothing of the BARs that there are not, either: Cloud Hypervisor sizes everything. */
TEST(writable_bits)
{
	static const uint32_t writable[64] = {[0x04 / 4] = 0x0547,
		[0x0c / 4] = 0xffff,
		[0x10 / 4] = 0xffffff00,
		[0x14 / 4] = 0xfffff000,
		[0x18 / 4] = 0xfff00000,
		[0x1c / 4] = 0xffffffff,
		[0x3c / 4] = 0xff,
		[0x40 / 4] = 0xc0000000};

	host_open_simple(1, true, 1);
	for (unsigned i = 0; i < 64; i++) {
		uint32_t before = config_get(4 * i, 4);

		config_put(4 * i, 4, 0xffffffff);
		CHECK_EQ(config_get(4 * i, 4), before | writable[i]);
		config_put(4 * i, 4, 0);
		CHECK_EQ(config_get(4 * i, 4), before);
	}
}

/* BARs that there are not; beyond the end of the space, and none of it. */
TEST(no_such_place)
{
	uint8_t all[300];

	host_open_simple(1, true, 1);
	for (unsigned bar = 3; bar < 8; bar++)
		CHECK_EQ(ivshmem_device_bar_size(host.device, bar), 0);
	CHECK_EQ(config_get(0xfe, 4), 0xffff0000);
	CHECK_EQ(config_get(0xffffffff, 4), 0xffffffff);
	config_put(0xffffffff, 4, 0xffffffff);
	ivshmem_device_config_write(host.device, 0, all, 0);
	/* Everything, as a restoring VMM may do. */
	memset(all, 0xff, sizeof(all));
	ivshmem_device_config_write(host.device, 0, all, sizeof(all));
	CHECK_EQ(config_get(0, 4), 0x11101af4);
	CHECK_EQ(config_get(0x04, 4), 0x00100547);
}

/* ---- where the memory is --------------------------------------------------------------------- */

TEST(bar2_follows_placement_and_decoding)
{
	host_open_simple(0, false, 1);
	CAUSES(config_put(0x18, 4, 0xe0000000), "");
	CAUSES(config_put(0x04, 2, 0x2), "map e0000000");
	/* the same again */
	config_put(0x04, 2, 0x2);
	CAUSES(config_put(0x18, 4, 0xe0000000), "");
	CAUSES(config_put(0x18, 4, 0xe0100000), "unmap e0000000; map e0100000");
	/* I/O alone decodes no memory */
	CAUSES(config_put(0x04, 2, 0x1), "unmap e0100000");
	CAUSES(config_put(0x04, 2, 0x2), "map e0100000");
	/* sizing with decoding on, as old guests do */
	CAUSES(config_put(0x18, 4, 0xffffffff), "unmap e0100000");
	CAUSES(config_put(0x18, 4, 0xe0100000), "map e0100000");
	CAUSES(ivshmem_device_reset(host.device), "unmap e0100000");
	CAUSES(host_close(), "");
}

TEST(bar2_above_4_gib)
{
	uint8_t both[8] = {0x0c, 0, 0x10, 0, 0x7f, 0, 0, 0};

	host_open_simple(1, false, 1);
	CAUSES(config_put(0x04, 2, 0x2), "");
	CAUSES(config_put(0x1c, 4, 0x40), "map 4000000000");
	/* one half after the other */
	CAUSES(config_put(0x18, 4, 0x80000000), "unmap 4000000000; map 4080000000");
	CAUSES(config_put(0x1c, 4, 0xffffffff), "unmap 4080000000; map ffffffff80000000");
	CAUSES(config_put(0x18, 4, 0xffffffff), "unmap ffffffff80000000");
	/* both halves at once */
	CAUSES(ivshmem_device_config_write(host.device, 0x18, both, 8), "map 7f00100000");
	CAUSES(host_close(), "unmap 7f00100000");
}

TEST(refused_mapping_warns_once)
{
	host_config(1, false, 1);
	host.config.id = 0;
	host_open();
	give_memory();
	host.refuse_map = true;
	config_put(0x04, 2, 0x2);
	CAUSES(config_put(0x18, 4, 0x10000000), "map 10000000; warn");
	/* not asked again before something changes */
	CAUSES(config_put(0x3c, 1, 3), "");
	CAUSES(config_put(0x18, 4, 0x20000000), "map 20000000");
	host.refuse_map = false;
	CAUSES(config_put(0x18, 4, 0x30000000), "map 30000000");
	CAUSES(config_put(0x04, 2, 0), "unmap 30000000");
}
