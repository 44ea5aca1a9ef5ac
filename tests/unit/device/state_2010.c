/* SPDX-License-Identifier: BSD-2-Clause */

/* Streams that QEMU's device of 2010 has written, put together here byte by byte. */

#include <device_host.h>

#include <errno.h>
#include <string.h>

#define OLD    IVSHMEM_DEVICE_FORMAT_2010
#define NATIVE IVSHMEM_DEVICE_FORMAT_NATIVE

/* Where in a stream. */
#define SPACE    4
#define PINS     (SPACE + 256)
#define REST     (PINS + 16)
#define MAX_SIZE 4096

static uint8_t stream[MAX_SIZE];

static void
put(size_t offset, uint32_t value, unsigned size)
{
	for (unsigned i = 0; i < size; i++)
		stream[SPACE + offset + i] = (uint8_t)(value >> (8 * i));
}

static void
put_be32(size_t offset, uint32_t value)
{
	for (unsigned i = 0; i < 4; i++)
		stream[offset + i] = (uint8_t)(value >> (24 - 8 * i));
}

static uint32_t
be32(size_t offset)
{
	return (uint32_t)stream[offset] << 24 | (uint32_t)stream[offset + 1] << 16 |
	       (uint32_t)stream[offset + 2] << 8 | stream[offset + 3];
}

/*
 * What all of them have. Nothing else than the guest wrote to what is behind the header, or behind the
 * capability. BAR2 has 1 MiB.
 */
static void
write_stream(unsigned command, unsigned msix_vectors)
{
	memset(stream, 0, sizeof(stream));
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
	struct ivshmem_device_config config = host_config(0, server, 2);

	config.msi = msi;
	config.id = 0;
	host_open(&config);
	CHECK_EQ(ivshmem_device_set_memory(host.device, NULL, 1 << 20, NULL), 0);
	if (server)
		connect_peer(0, 2);
}

static void
load(size_t size)
{
	struct ivshmem_error error = {0};
	int r = ivshmem_device_load(host.device, OLD, stream, size, &error);

	if (r < 0)
		FAIL("load: %d %s", r, error.message);
}

static void
load_refused(size_t size, const char *reason)
{
	struct ivshmem_error error = {0};

	host_effects();
	CHECK_EQ(ivshmem_device_load(host.device, OLD, stream, size, &error), -EINVAL);
	if (!strstr(error.message, reason))
		FAIL("\"%s\" does not contain \"%s\"", error.message, reason);
	CHECK_STR(host_effects(), "");
}

/* The size, and that what is saved again is what was loaded, but for what means nothing. */
static void
save(size_t size)
{
	uint8_t loaded[MAX_SIZE];

	memcpy(loaded, stream, size);
	memset(stream, 0xee, sizeof(stream));
	CHECK_EQ(ivshmem_device_state_size(host.device, OLD), size);
	CHECK_EQ(ivshmem_device_save(host.device, OLD, stream, sizeof(stream), NULL), 0);
	CHECK_EQ(stream[size], 0xee);
	CHECK_MEM(stream, loaded, SPACE + 0x40);
	CHECK_MEM(stream + PINS, loaded + PINS, size - PINS);
}

/* ---- which fields ----------------------------------------------------------------------------- */

/* The property msi is on by default, also without server: no registers. */
TEST(plain)
{
	open_device(false, true);
	write_stream(0x3, 0);
	reg_put(0, 3);
	reg_put(4, 1);
	CHECK(host.intx);
	load(276);
	CHECK(host.mapped && !host.intx);
	CHECK_EQ(reg_get(0), 0);
	CHECK_EQ(reg_get(4), 0);
	save(276);
	load_refused(284, "bytes");
	host_close();
}

TEST(plain_without_msi)
{
	open_device(false, false);
	write_stream(0x3, 0);
	put_be32(PINS, 1);
	put_be32(REST, 5);
	put_be32(REST + 4, 4);
	load(284);
	CHECK(host.mapped && host.intx);
	save(284);
	CHECK_EQ(reg_get(0), 4);
	CHECK_EQ(reg_get(4), 5);
	load_refused(276, "bytes");
	host_close();
}

TEST(server_without_msi)
{
	open_device(true, false);
	write_stream(0x3, 0);
	put_be32(PINS, 1);
	put_be32(REST, 5);
	put_be32(REST + 4, 4);
	load(284);
	CHECK(host.mapped && host.intx);
	save(284);
	load_refused(276, "bytes");
	host_close();
}

TEST(server_with_msi)
{
	size_t size = REST + 2 * 16 + 1;

	open_device(true, true);
	write_stream(0x7, 2);
	stream[REST + 12] = stream[REST + 28] = 1;
	stream[size - 1] = 2;
	load(size);
	CHECK_EQ(bar1_get(0x800), 2);
	CHECK_EQ(bar1_get(12), 1);
	save(size);
	load_refused(276, "bytes");
	load_refused(284, "bytes");
	host_close();
}

/* ---- INTA ------------------------------------------------------------------------------------- */

/* The request is saved although the pin is disabled, and the status register does not show it. */
TEST(request_while_the_pin_is_disabled)
{
	open_device(true, false);
	config_put(0x04, 2, 0x402);
	reg_put(0, 1);
	reg_put(4, 1);
	CHECK(!host.intx);
	CHECK_EQ(config_get(0x06, 2), 0x0008);
	CHECK_EQ(ivshmem_device_save(host.device, OLD, stream, sizeof(stream), NULL), 0);
	CHECK_EQ(be32(PINS), 1);
	CHECK_EQ(stream[SPACE + 0x06], 0);
	/* the device goes on as it was */
	CHECK_EQ(config_get(0x06, 2), 0x0008);
	host_close();

	open_device(true, false);
	load(284);
	CHECK(!host.intx);
	CHECK_EQ(config_get(0x06, 2), 0x0008);
	config_put(0x04, 2, 0x002);
	CHECK(host.intx);
	host_close();
}

/* The same in the native form, which needs no level for it. */
TEST(native_request_while_the_pin_is_disabled)
{
	size_t size;

	open_device(true, false);
	config_put(0x04, 2, 0x402);
	reg_put(0, 1);
	reg_put(4, 1);
	size = ivshmem_device_state_size(host.device, NATIVE);
	CHECK_EQ(ivshmem_device_save(host.device, NATIVE, stream, size, NULL), 0);
	host_close();

	open_device(true, false);
	CHECK_EQ(ivshmem_device_load(host.device, NATIVE, stream, size, NULL), 0);
	CHECK(!host.intx);
	CHECK_EQ(config_get(0x06, 2), 0x0008);
	config_put(0x04, 2, 0x002);
	CHECK(host.intx);
	host_close();
}

/* Only bit 3 of a request that is there now is 0 in the stream; the level is what the registers say. */
TEST(request_and_status_of_a_stream)
{
	for (unsigned level = 0; level <= 1; level++) {
		open_device(true, false);
		write_stream(0x3, 0);
		put(0x06, 0x0008, 2);
		put_be32(PINS, level);
		load(284);
		CHECK(!host.intx);
		CHECK_EQ(config_get(0x06, 2), 0);
		put_be32(REST, 1);
		put_be32(REST + 4, 1);
		load(284);
		CHECK(host.intx);
		CHECK_EQ(config_get(0x06, 2), 0x0008);
		host_close();
	}
}

TEST(levels_that_are_none)
{
	open_device(true, false);
	for (unsigned pin = 0; pin < 4; pin++) {
		write_stream(0x3, 0);
		put_be32(PINS + 4 * pin, 2);
		load_refused(284, "level 2");
		put_be32(PINS + 4 * pin, 1);
		if (pin > 0)
			load_refused(284, "INT");
		else
			load(284);
		put_be32(PINS + 4 * pin, UINT32_MAX);
		load_refused(284, "level 4294967295");
	}
	host_close();
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
		load(ivshmem_device_state_size(host.device, OLD));
		ivshmem_device_config_read(host.device, 0, after, sizeof(after));
		CHECK_MEM(after + free_from, before + free_from, 0x100 - free_from);
		/* what is occupied, or of the header, is looked at */
		stream[SPACE + (vectors ? 0x44 : 0x34)] ^= 0x40;
		load_refused(ivshmem_device_state_size(host.device, OLD), "config space");
		host_close();
	}
}

/* Later devices of revision 0 had a BAR2 of 64 bits. */
TEST(another_bar2)
{
	open_device(false, true);
	write_stream(0x3, 0);
	put(0x18, 0xe000000c, 4);
	load_refused(276, "0x18");
	put(0x18, 0xe0080000, 4);
	load_refused(276, "0x1a");
	host_close();
}
