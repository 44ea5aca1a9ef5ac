/* SPDX-License-Identifier: BSD-2-Clause */

/* MSI-X as the guest and the host see it: table, pending bits, delivery, irqfds. */

#include <device_host.h>

#include <errno.h>
#include <string.h>

#define PBA 0x800

/* Doorbell device of either revision with all its vectors connected and bus mastering on. */
static void
open_msix(unsigned revision, unsigned vectors)
{
	host_open_simple(revision, true, vectors);
	connect_peer(0, vectors);
	config_put(0x04, 2, COMMAND_ON);
}

/* The same with all entries open, and MSI-X enabled. */
static void
open_enabled(unsigned revision, unsigned vectors)
{
	open_msix(revision, vectors);
	for (unsigned i = 0; i < vectors; i++)
		entry_open(i);
	msix_control(0x8000);
}

/* Checklist 68. */
TEST(delivers_the_entry)
{
	for (unsigned revision = 0; revision <= 1; revision++) {
		open_enabled(revision, 3);
		CAUSES(interrupt(1), "send 1 fee01000:41");
		CAUSES(interrupt(0), "send 0 fee00000:40");
		CAUSES(interrupt(2), "send 2 fee02000:42");
		CHECK_EQ(bar1_get(PBA), 0);
		bar1_put(16 + 4, 0x7f);
		CAUSES(interrupt(1), "send 1 7ffee01000:41");
		/* The two low bits of an address are always 0. */
		bar1_put(16, 0xfee00003);
		CAUSES(interrupt(1), "send 1 7ffee00000:41");
	}
}

/* Checklist 69. */
TEST(masked_vector_is_pending)
{
	open_enabled(1, 2);
	entry_mask(1, true);
	interrupt(1);
	CAUSES(interrupt(1), "");
	CHECK_EQ(bar1_get(PBA), 2);
	CAUSES(interrupt(0), "send 0 fee00000:40");
	CAUSES(entry_mask(1, false), "send 1 fee01000:41");
	CHECK_EQ(bar1_get(PBA), 0);
	entry_mask(1, true);
	CAUSES(entry_mask(1, false), "");
}

/* Checklist 70. */
TEST(function_mask)
{
	open_enabled(1, 2);
	entry_mask(1, true);
	msix_control(0xc000);
	interrupt(0);
	CAUSES(interrupt(1), "");
	CHECK_EQ(bar1_get(PBA), 3);
	CAUSES(msix_control(0x8000), "send 0 fee00000:40");
	CHECK_EQ(bar1_get(PBA), 2);
	/* the upper byte alone */
	config_put(0x43, 1, 0xc0);
	CAUSES(entry_mask(1, false), "");
	CAUSES(config_put(0x43, 1, 0x80), "send 1 fee01000:41");
}

/* Checklist 71. */
TEST(pending_bits)
{
	open_msix(1, 130);
	CHECK_EQ(ivshmem_device_pba_offset(host.device), 130 * 16);
	msix_control(0x8000);
	for (unsigned i = 0; i < 130; i += 3)
		interrupt(i);
	for (unsigned round = 0; round < 3; round++) {
		uint64_t low = bar_read(1, 130 * 16, 8);

		for (unsigned i = 0; i < 64; i++)
			CHECK_EQ(low >> i & 1, i % 3 == 0);
		CHECK_EQ(bar1_get(130 * 16), (uint32_t)low);
		CHECK_EQ(bar1_get(130 * 16 + 4), (uint32_t)(low >> 32));
		/* 128 and 129; the rest of the last 64 bits is 0 */
		CHECK_EQ(bar_read(1, 130 * 16 + 16, 8), 2);
		CHECK_EQ(bar_read(1, 130 * 16 + 24, 8), 0);
		/* survives writing, and disable and enable */
		bar_write(1, 130 * 16, 8, 0);
		bar_write(1, 130 * 16 + 8, 8, UINT64_MAX);
		msix_control(0);
		if (round == 1)
			msix_control(0x8000);
	}
	CHECK_STR(host_effects(), "");
}

/* Checklist 72. */
TEST(no_more_messages_than_rings)
{
	unsigned n = 0;

	open_enabled(1, 1);
	for (unsigned i = 0; i < 10; i++) {
		entry_mask(0, i % 3 == 0);
		interrupt(0);
	}
	entry_mask(0, false);
	for (const char *at = host_effects(); (at = strstr(at, "send")); at++)
		n++;
	CHECK(n >= 1 && n <= 10);
	/* 0 3 6 9 were masked, and each got its own way out */
	CHECK_EQ(n, 10);
}

/* Checklist 73: kept, and delivered once. */
TEST(ring_before_enable)
{
	open_msix(1, 1);
	interrupt(0);
	interrupt(0);
	CHECK_EQ(bar1_get(PBA), 1);
	CAUSES(entry_open(0), "");
	CAUSES(msix_control(0x8000), "send 0 fee00000:40");
	CHECK_EQ(bar1_get(PBA), 0);
	msix_control(0);
	CAUSES(msix_control(0x8000), "");
}

/* Checklist 74. */
TEST(unmask_unconnected_vector)
{
	host_config(1, true, 4);
	host.config.id = 7;
	host_open();
	connect_peer(7, 2);
	connect_peer(3, 4);
	config_put(0x04, 2, COMMAND_ON);
	msix_control(0x8000);
	CAUSES(entry_open(3), "");
	CHECK_EQ(ivshmem_device_interrupt(host.device, 2), -EINVAL);
	CHECK_EQ(ivshmem_device_interrupt(host.device, 3), -EINVAL);
	CHECK_EQ(ivshmem_device_interrupt(host.device, 4), -EINVAL);
	CAUSES(CHECK_EQ(ivshmem_device_interrupt(host.device, 0xffffffff), -EINVAL), "");
	entry_mask(3, true);
	CAUSES(entry_open(1), "+irq 1 fee01000:41");
	/* and connected at last */
	entry_mask(3, false);
	CAUSES(CHECK_EQ(ivshmem_device_add_vector(host.device, 7), 2), "");
	CAUSES(CHECK_EQ(ivshmem_device_add_vector(host.device, 7), 3), "+irq 3 fee03000:43");
}

/* Checklist 75: as 32 bits, and as 64. */
TEST(table_access_sizes)
{
	open_msix(1, 2);
	bar1_put(16, 0x11111110);
	bar1_put(20, 0x22222222);
	CHECK_EQ(bar_read(1, 16, 8), UINT64_C(0x2222222211111110));
	bar_write(1, 16, 8, UINT64_C(0xaabbccddeeff0010));
	bar_write(1, 24, 8, UINT64_C(0x0000000012345678));
	CHECK_EQ(bar1_get(16), 0xeeff0010);
	CHECK_EQ(bar1_get(20), 0xaabbccdd);
	CHECK_EQ(bar1_get(24), 0x12345678);
	CHECK_EQ(bar1_get(28), 0);
	msix_control(0x8000);
	CAUSES(interrupt(1), "send 1 aabbccddeeff0010:12345678");
}

/* Checklist 76. */
TEST(entry_changed_while_masked)
{
	open_enabled(1, 1);
	entry_mask(0, true);
	interrupt(0);
	bar1_put(0, 0xfee99000);
	CAUSES(bar1_put(8, 0x99), "");
	CAUSES(entry_mask(0, false), "send 0 fee99000:99");
}

/* A host that cannot send now is asked again when it says so, or when the guest unmasks. */
TEST(message_refused)
{
	open_enabled(1, 2);
	host.refuse_messages = true;
	CAUSES(interrupt(0), "send 0 fee00000:40");
	CHECK_EQ(bar1_get(PBA), 1);
	CAUSES(ivshmem_device_retry(host.device, 0), "send 0 fee00000:40");
	host.refuse_messages = false;
	ivshmem_device_retry(host.device, 1);
	ivshmem_device_retry(host.device, 2);
	CAUSES(ivshmem_device_retry(host.device, 0xffffffff), "");
	CAUSES(ivshmem_device_retry(host.device, 0), "send 0 fee00000:40");
	CAUSES(ivshmem_device_retry(host.device, 0), "");
}

/* ---- the host has the table ------------------------------------------------------------------ */

TEST(host_has_the_table)
{
	host_config(1, true, 2);
	host.config.host_msix = true;
	host_open();
	connect_peer(0, 2);
	/* neither enabled nor bus master, and everything masked: none of it counts */
	CAUSES(interrupt(1), "send 1 0:0");
	entry_open(1);
	CAUSES(interrupt(1), "send 1 0:0");
	CHECK_EQ(bar1_get(16), 0xfee01000);
	CHECK_EQ(bar1_get(28), 0);
	CHECK_EQ(bar1_get(PBA), 0);
	/* nothing to signal yet: kept, and delivered once */
	host.refuse_messages = true;
	interrupt(0);
	interrupt(0);
	host_effects();
	CHECK_EQ(bar1_get(PBA), 1);
	host.refuse_messages = false;
	CAUSES(ivshmem_device_retry(host.device, 0), "send 0 0:0");
	CAUSES(ivshmem_device_retry(host.device, 0), "");
	CHECK_EQ(bar1_get(PBA), 0);
	/* config space answers, and INTx knows */
	msix_control(0x8000);
	CHECK_EQ(config_get(0x42, 2), 0x8001);
	host.refuse_messages = true;
	interrupt(0);
	ivshmem_device_reset(host.device);
	host_effects();
	CHECK_EQ(config_get(0x42, 2), 0x0001);
	host.refuse_messages = false;
	CAUSES(ivshmem_device_retry(host.device, 0), "");
}

/* ---- irqfds ---------------------------------------------------------------------------------- */

static void
open_irqfd(unsigned vectors)
{
	host_config(1, true, vectors);
	host.config.id = 2;
	host_open();
	connect_peer(2, vectors);
	config_put(0x04, 2, COMMAND_ON);
}

TEST(irqfd_follows_the_masks)
{
	open_irqfd(2);
	entry_open(0);
	CAUSES(entry_open(1), "");
	CAUSES(msix_control(0x8000), "+irq 0 fee00000:40; +irq 1 fee01000:41");
	CAUSES(msix_control(0x8000), "");
	CAUSES(entry_mask(0, true), "-irq 0");
	CAUSES(entry_mask(0, true), "");
	CAUSES(msix_control(0xc000), "-irq 1");
	CAUSES(entry_mask(0, false), "");
	CAUSES(msix_control(0x8000), "+irq 0 fee00000:40; +irq 1 fee01000:41");
	CAUSES(config_put(0x04, 2, 0x2), "-irq 0; -irq 1");
	CAUSES(config_put(0x04, 2, 0x6), "+irq 0 fee00000:40; +irq 1 fee01000:41");
	CAUSES(msix_control(0), "-irq 0; -irq 1");
}

/* Rings are neither lost nor doubled on the way from masked to attached. */
TEST(irqfd_keeps_rings)
{
	open_irqfd(2);
	entry_open(0);
	entry_open(1);
	/* one that the host reported, one that it has not seen, and two of the same */
	interrupt(0);
	host.waiting[0] = true;
	host.waiting[1] = true;
	CAUSES(msix_control(0x8000), "+irq 0 fee00000:40; send 0 fee00000:40; "
				     "+irq 1 fee01000:41; send 1 fee01000:41");
	CHECK(!host.waiting[0] && !host.waiting[1]);
	CHECK_EQ(bar1_get(PBA), 0);
	/* The host read the eventfd just before it was attached, and reports late. */
	CAUSES(interrupt(1), "send 1 fee01000:41");
}

/* A guest that polls the pending bits sees rings the host has not come to. */
TEST(pba_asks_the_host)
{
	open_irqfd(40);
	host.waiting[0] = host.waiting[33] = true;
	CHECK_EQ(bar1_get(PBA), 1);
	CHECK(!host.waiting[0] && host.waiting[33]);
	CHECK_EQ(bar_read(1, PBA, 8), UINT64_C(0x200000001));
	CHECK(!host.waiting[33]);
	CHECK_STR(host_effects(), "");
	/* If it can be delivered, that is what happens. */
	host.refuse_irqfd = true;
	entry_open(5);
	CAUSES(msix_control(0x8000), "+irq 5 fee05000:45; warn");
	host.waiting[5] = true;
	CAUSES(CHECK_EQ(bar1_get(PBA), 1), "send 5 fee05000:45");
}

/* An attached message is always what the table says. */
TEST(entry_changed_while_attached)
{
	open_irqfd(1);
	entry_open(0);
	msix_control(0x8000);
	host_effects();
	CAUSES(bar1_put(8, 0x41), "-irq 0; +irq 0 fee00000:41");
	CAUSES(bar1_put(8, 0x41), "");
	CAUSES(bar1_put(4, 0x1), "-irq 0; +irq 0 1fee00000:41");
}

/* Checklist 77. */
TEST(reset_with_irqfds)
{
	open_irqfd(3);
	for (unsigned i = 0; i < 3; i++)
		entry_open(i);
	entry_mask(2, true);
	msix_control(0x8000);
	host_effects();
	interrupt(2);
	CAUSES(ivshmem_device_reset(host.device), "-irq 0; -irq 1");
	/* What waited in the eventfds is forgotten, what comes now is not. */
	CHECK_EQ(bar1_get(PBA), 0);
	CAUSES(interrupt(1), "");
	CHECK_EQ(bar1_get(PBA), 2);
	config_put(0x04, 2, COMMAND_ON);
	entry_open(1);
	CAUSES(msix_control(0x8000), "+irq 1 fee01000:41; send 1 fee01000:41");
	CAUSES(host_close(), "-irq 1");
}

TEST(reset_empties_eventfds)
{
	open_irqfd(2);
	host.waiting[0] = host.waiting[1] = true;
	ivshmem_device_reset(host.device);
	CHECK(!host.waiting[0] && !host.waiting[1]);
	CHECK_EQ(bar1_get(PBA), 0);
}

TEST(irqfd_refused)
{
	open_irqfd(2);
	host.refuse_irqfd = true;
	entry_open(0);
	entry_open(1);
	CAUSES(msix_control(0x8000), "+irq 0 fee00000:40; warn; +irq 1 fee01000:41");
	CHECK_HAS(host.warning, "irqfd");
	/* the long way */
	CAUSES(interrupt(0), "send 0 fee00000:40");
	/* asked again when the guest unmasks */
	entry_mask(0, true);
	host.refuse_irqfd = false;
	CAUSES(entry_mask(0, false), "+irq 0 fee00000:40");
}

/* Revision 0: vectors of our id may come before we know that it is ours. */
TEST(irqfd_when_the_id_comes_last)
{
	host_config(0, true, 2);
	host_open();
	config_put(0x04, 2, COMMAND_ON);
	connect_peer(4, 2);
	entry_open(0);
	CAUSES(msix_control(0x8000), "");
	CHECK_EQ(ivshmem_device_interrupt(host.device, 0), -EINVAL);
	CAUSES(CHECK_EQ(ivshmem_device_set_id(host.device, 4), 0), "+irq 0 fee00000:40");
}
