/* SPDX-License-Identifier: BSD-2-Clause */

/* Streams that QEMU's device of 2010 has written, put together here byte by byte. */

#include <device_host.h>

#include <errno.h>
#include <string.h>

/* Where in a stream. */
#define SPACE 4
#define PINS  (SPACE + 256)
#define REST  (PINS + 16)

static void
put(size_t offset, uint32_t value, unsigned size)
{
	for (unsigned i = 0; i < size; i++)
		saved[SPACE + offset + i] = (uint8_t)(value >> (8 * i));
}

/*
 * What all of them have. Nothing else than the guest wrote to what is behind the header, or behind the
 * capability. BAR2 has 1 MiB.
 */
static void
write_stream(unsigned command, unsigned msix_vectors)
{
	memset(saved, 0, sizeof(saved));
	put_be32(0, 2);
	put(0x00, 0x11101af4, 4);
	put(0x04, command, 2);
	put(0x08, 0x05000000, 4);
	put(0x10, 0xfebf1000, 4);
	put(0x18, 0xe0000000, 4);
	put(0x2c, 0x11001af4, 4);
	put(0x3c, 0x010b, 2);
	for (unsigned i = 0x40; i < 0x100; i++)
		put(i, 0xa5, 1);
	if (msix_vectors == 0)
		return;
	put(0x06, 0x0010, 2);
	put(0x14, 0xfebf2000, 4);
	put(0x34, 0x40, 1);
	put(0x40, 0x0011, 2);
	put(0x42, msix_vectors - 1, 2);
	put(0x44, 1, 4);
	put(0x48, 0x801, 4);
}

static void
open_device(bool server, bool msi)
{
	host_config(0, server, 2);
	host.config.msi = msi;
	host.config.id = 0;
	host_open();
	give_memory();
	if (server)
		connect_peer(0, 2);
}

static void
load_bytes(size_t size)
{
	saved_size = size;
	load(OLD);
}

/* The size, and that what is saved again is what was loaded, but for what means nothing. */
static void
save_again(void)
{
	uint8_t loaded[4096];
	size_t size = saved_size;

	memcpy(loaded, saved, size);
	memset(saved, 0xee, sizeof(saved));
	save(OLD);
	CHECK_EQ(saved_size, size);
	CHECK_EQ(saved[size], 0xee);
	CHECK_MEM(saved, loaded, SPACE + 0x40);
	CHECK_MEM(saved + PINS, loaded + PINS, size - PINS);
}

/* ---- which fields ----------------------------------------------------------------------------- */

/* The property msi is on by default, also without server: no registers. */
TEST(plain)
{
	open_device(false, true);
	write_stream(0x3, 0);
	reg_put(0, 3);
	reg_put(4, 1);
	CHECK(in_force.intx);
	load_bytes(276);
	CHECK(in_force.mapped_at && !in_force.intx);
	CHECK_EQ(reg_get(0), 0);
	CHECK_EQ(reg_get(4), 0);
	save_again();
	load_refused(OLD, 284, -EINVAL, "bytes");
}

TEST(without_msi)
{
	for (unsigned server = 0; server <= 1; server++) {
		open_device(server, false);
		write_stream(0x3, 0);
		put_be32(PINS, 1);
		put_be32(REST, 5);
		put_be32(REST + 4, 4);
		load_bytes(284);
		CHECK(in_force.mapped_at && in_force.intx);
		save_again();
		CHECK_EQ(reg_get(0), 4);
		CHECK_EQ(reg_get(4), 5);
		load_refused(OLD, 276, -EINVAL, "bytes");
	}
}

TEST(server_with_msi)
{
	size_t size = REST + 2 * 16 + 1;

	open_device(true, true);
	write_stream(0x7, 2);
	saved[REST + 12] = saved[REST + 28] = 1;
	saved[size - 1] = 2;
	load_bytes(size);
	CHECK_EQ(bar1_get(0x800), 2);
	CHECK_EQ(bar1_get(12), 1);
	save_again();
	load_refused(OLD, 276, -EINVAL, "bytes");
	load_refused(OLD, 284, -EINVAL, "bytes");
}

/* ---- INTA ------------------------------------------------------------------------------------- */

/* The request is saved although the pin is disabled. In the form of 2010 the status register does not show
 * it, and the native form needs no level for it. */
TEST(request_while_the_pin_is_disabled)
{
	for (unsigned old = 0; old <= 1; old++) {
		enum ivshmem_device_format format = old ? OLD : NATIVE;

		open_device(true, false);
		config_put(0x04, 2, 0x402);
		reg_put(0, 1);
		reg_put(4, 1);
		CHECK(!in_force.intx);
		CHECK_EQ(config_get(0x06, 2), 0x0008);
		save(format);
		if (old) {
			CHECK_EQ(be32(PINS), 1);
			CHECK_EQ(saved[SPACE + 0x06], 0);
		}
		/* the device goes on as it was */
		CHECK_EQ(config_get(0x06, 2), 0x0008);

		open_device(true, false);
		load(format);
		CHECK(!in_force.intx);
		CHECK_EQ(config_get(0x06, 2), 0x0008);
		config_put(0x04, 2, 0x002);
		CHECK(in_force.intx);
	}
}

/* Only bit 3 of a request that is there now is 0 in the stream; the level is what the registers say. */
TEST(request_and_status_of_a_stream)
{
	for (unsigned level = 0; level <= 1; level++) {
		open_device(true, false);
		write_stream(0x3, 0);
		put(0x06, 0x0008, 2);
		put_be32(PINS, level);
		load_bytes(284);
		CHECK(!in_force.intx);
		CHECK_EQ(config_get(0x06, 2), 0);
		put_be32(REST, 1);
		put_be32(REST + 4, 1);
		load_bytes(284);
		CHECK(in_force.intx);
		CHECK_EQ(config_get(0x06, 2), 0x0008);
	}
}

TEST(levels_that_are_none)
{
	open_device(true, false);
	for (unsigned pin = 0; pin < 4; pin++) {
		write_stream(0x3, 0);
		put_be32(PINS + 4 * pin, 2);
		load_refused(OLD, 284, -EINVAL, "level 2");
		put_be32(PINS + 4 * pin, 1);
		if (pin > 0)
			load_refused(OLD, 284, -EINVAL, "INT");
		else
			load_bytes(284);
		put_be32(PINS + 4 * pin, UINT32_MAX);
		load_refused(OLD, 284, -EINVAL, "level 4294967295");
	}
}

/* ---- what the guest kept in config space ------------------------------------------------------- */

/* write_stream() has filled it: what is not occupied can neither refuse nor become anything. */
TEST(free_bytes_mean_nothing)
{
	for (unsigned which = 0; which < 4; which++) {
		bool server = which & 1, msi = which & 2;
		unsigned vectors = server && msi ? 2 : 0;
		unsigned free_from = vectors ? 0x4c : 0x40;
		uint8_t before[256], after[256];

		open_device(server, msi);
		write_stream(0x3, vectors);
		ivshmem_device_config_read(host.device, 0, before, sizeof(before));
		load_bytes(ivshmem_device_state_size(host.device, OLD));
		ivshmem_device_config_read(host.device, 0, after, sizeof(after));
		CHECK_MEM(after + free_from, before + free_from, 0x100 - free_from);
		/* what is occupied, or of the header, is looked at */
		saved[SPACE + (vectors ? 0x44 : 0x34)] ^= 0x40;
		load_refused(OLD, saved_size, -EINVAL, "config space");
	}
}

/* Later devices of revision 0 had a BAR2 of 64 bits. */
TEST(another_bar2)
{
	open_device(false, true);
	write_stream(0x3, 0);
	put(0x18, 0xe000000c, 4);
	load_refused(OLD, 276, -EINVAL, "0x18");
	put(0x18, 0xe0080000, 4);
	load_refused(OLD, 276, -EINVAL, "0x1a");
}
