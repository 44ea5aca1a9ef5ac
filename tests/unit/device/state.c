/* SPDX-License-Identifier: BSD-2-Clause */

/* Save and load. */

#include <device_host.h>

#include <errno.h>
#include <string.h>

/* ---- who may --------------------------------------------------------------------------------- */

/* Checklist 84 and 85. */
TEST(only_the_master)
{
	static const struct {
		unsigned revision;
		enum ivshmem_device_master master;
		int32_t id;
		bool may;
	} rows[] = {
		{0, IVSHMEM_DEVICE_MASTER_ON, 0, true},
		{0, IVSHMEM_DEVICE_MASTER_ON, 5, true},
		{0, IVSHMEM_DEVICE_MASTER_ON, IVSHMEM_DEVICE_NO_ID, true},
		{0, IVSHMEM_DEVICE_MASTER_OFF, 0, false},
		{1, IVSHMEM_DEVICE_MASTER_ON, 0, true},
		{1, IVSHMEM_DEVICE_MASTER_OFF, 0, false},
		{1, IVSHMEM_DEVICE_MASTER_AUTO, 0, true},
		{1, IVSHMEM_DEVICE_MASTER_AUTO, 1, false},
	};
	struct ivshmem_error error = {0};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		int expected = rows[i].may ? 0 : -EPERM;

		host_config(rows[i].revision, true, 1);
		host.config.master = rows[i].master;
		host.config.id = rows[i].id;
		host_open();
		CHECK_EQ(ivshmem_device_is_master(host.device), rows[i].may);
		saved_size = ivshmem_device_state_size(host.device, NATIVE);
		CHECK_EQ(ivshmem_device_save(host.device, NATIVE, saved, saved_size, &error),
			expected);
		CHECK_EQ(ivshmem_device_load(host.device, NATIVE, saved, saved_size, &error),
			expected);
		if (!rows[i].may)
			CHECK_HAS(error.message, "peer mode");
	}
	host_config(1, true, 1);
	host.config.master = IVSHMEM_DEVICE_MASTER_ON;
	host.config.id = 1;
	host_refused("master must connect before any peer");
	/* without server the id is 0 */
	host.config.server = false;
	host_open();
	CHECK(ivshmem_device_is_master(host.device));
}

/* ---- the bytes ------------------------------------------------------------------------------- */

/* Put something into everything that is saved. */
static void
fill(unsigned vectors)
{
	give_memory();
	connect_peer(0, vectors);
	config_put(0x10, 4, 0xfebf1000);
	config_put(0x18, 4, 0xe0000000);
	config_put(0x3c, 1, 11);
	config_put(0x04, 2, COMMAND_ON);
	for (unsigned i = 0; i < ivshmem_device_msix_vectors(host.device); i++) {
		entry_open(i);
		entry_mask(i, i % 2 == 0);
	}
	reg_put(0, 0x01020305);
	reg_put(4, 0xf0f0f0f0);
	interrupt(0);
}

/* Checklist 86. */
TEST(native_bytes)
{
	size_t at = HEADER;

	master_config(0, true, 3);
	host.ops.attach_irqfd = NULL;
	host_open();
	fill(3);
	msix_control(0x8000);
	save(NATIVE);
	CHECK_MEM(saved, "ivshmem", 8);
	CHECK_EQ(be32(8), 0);
	CHECK_EQ(be32(12), saved_size);
	CHECK_EQ(be32(16), 0);
	CHECK_EQ(be32(20), 3);
	CHECK_EQ(be32(24), 3);
	CHECK_EQ(be32(28), 0);
	CHECK_EQ(be32(32), 0);
	CHECK_EQ(be32(36), 1 << 20);
	for (unsigned i = 0; i < 256; i++)
		CHECK_EQ(saved[at + i], config_get(i, 1));
	at += 256;
	for (unsigned i = 0; i < 12; i++)
		CHECK_EQ(__builtin_bswap32(be32(at + 4 * i)), bar1_get(4 * i));
	at += 48;
	CHECK_EQ(saved[at], 1);
	at += 1;
	CHECK_EQ(be32(at), 0xf0f0f0f0);
	CHECK_EQ(be32(at + 4), 0x01020305);
	CHECK_EQ(at + 8, saved_size);
}

/* Checklist 86: device_state_2010 has the bytes. */
TEST(no_form_of_2010)
{
	host_open_simple(1, true, 1);
	CHECK_EQ(ivshmem_device_state_size(host.device, OLD), 0);
	CHECK_EQ(ivshmem_device_state_size(host.device, IVSHMEM_DEVICE_FORMAT_COUNT), 0);
	CHECK_EQ(ivshmem_device_save(host.device, OLD, saved, SAVED_SPACE, NULL), -EINVAL);
	CHECK_EQ(ivshmem_device_load(host.device, OLD, saved, SAVED_SPACE, NULL), -EINVAL);
}

/* ---- there and back -------------------------------------------------------------------------- */

/* Checklist 87: elsewhere, with another id, and peers that come before or after the load. The model test goes
 * on with such devices. */
TEST(restored_device_is_the_same)
{
	static const struct {
		unsigned revision;
		bool msi;
		enum ivshmem_device_format format;
		int32_t id;
	} rows[] = {{0, true, NATIVE, 5}, {0, true, OLD, 5}, {0, false, NATIVE, 5},
		{0, false, OLD, 5}, {1, true, NATIVE, 0}};

	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint8_t space[256];
		static uint8_t first[SAVED_SPACE];

		master_config(rows[i].revision, rows[i].msi, 9);
		host.ops.attach_irqfd = NULL;
		host_open();
		fill(9);
		if (rows[i].revision == 1)
			config_put(0x1c, 4, 0x40);
		save(rows[i].format);
		memcpy(first, saved, saved_size);
		ivshmem_device_config_read(host.device, 0, space, sizeof(space));

		host.config.id = rows[i].id;
		host_open();
		connect_peer(7, 1);
		give_memory();
		memcpy(saved, first, saved_size);
		/* whatever was in the registers before */
		reg_put(0, 1);
		reg_put(4, 1);
		load(rows[i].format);
		CHECK(in_force.mapped_at);
		CHECK_EQ(in_force.intx, !rows[i].msi);
		for (unsigned offset = 0; offset < 256; offset++)
			CHECK_EQ(config_get(offset, 1), space[offset]);
		CHECK_EQ(reg_get(8), rows[i].id);
		CHECK_EQ(ivshmem_device_peer_vectors(host.device, 7), 1);
		CHECK_EQ(ivshmem_device_peer_vectors(host.device, 0), 0);
		save(rows[i].format);
		CHECK_MEM(saved, first, saved_size);
		if (rows[i].format == OLD && rows[i].msi) {
			CHECK_EQ(reg_get(0), 0);
			CHECK_EQ(reg_get(4), 0);
		}
	}
}

/* What may be delivered when the state is loaded goes out at once, and irqfds are attached. */
TEST(load_brings_effects_in_line)
{
	master_config(1, true, 2);
	host.config.ioeventfd = true;
	host_open();
	fill(2);
	msix_control(0x8000);
	entry_open(0);
	host.refuse_messages = true;
	interrupt(0);
	save(NATIVE);
	host_open();
	give_memory();
	connect_peer(0, 2);
	CAUSES(load(NATIVE), "map e0000000; +io febf100c=0; +io febf100c=1; "
			     "+irq 0 fee00000:40; send 0 fee00000:40; +irq 1 fee01000:41");
	/* the same state again: nothing pending any more, and nothing else to do */
	save(NATIVE);
	CAUSES(load(NATIVE), "");

	/* Vectors that are connected after the load. */
	host_open();
	CAUSES(load(NATIVE), "");
	CAUSES(CHECK_EQ(ivshmem_device_add_vector(host.device, 0), 0),
		"+io febf100c=0; +irq 0 fee00000:40");
}

/* Rings that nobody has looked at are part of the state. */
TEST(save_takes_waiting_rings)
{
	open_master(1, true, 9);
	connect_peer(0, 9);
	host.waiting[0] = host.waiting[8] = true;
	save(NATIVE);
	CHECK_EQ(saved[HEADER + 256 + 9 * 16], 1);
	CHECK_EQ(saved[HEADER + 256 + 9 * 16 + 1], 1);
	open_master(0, false, 2);
	connect_peer(0, 2);
	host.waiting[1] = true;
	save(NATIVE);
	CHECK_EQ(be32(HEADER + 256), 1);
}

/* ---- what is refused, without effect: checklist 86, 88 --------------------------------------- */

TEST(every_truncation)
{
	for (unsigned which = 0; which < 3; which++) {
		enum ivshmem_device_format format = which ? OLD : NATIVE;

		open_master(0, which < 2, 9);
		fill(9);
		save(format);
		for (size_t size = 0; size < saved_size; size++)
			load_refused(format, size, -EINVAL, "saved");
		saved[saved_size] = 0;
		load_refused(format, saved_size + 1, -EINVAL, "bytes");
	}
}

TEST(wrong_header)
{
	static const struct {
		enum ivshmem_device_format format;
		size_t offset;
		uint32_t value;
		int code;
		const char *reason;
	} cases[] = {
		{NATIVE, 0, 0, -EINVAL, "no saved state"},
		{NATIVE, 4, 0, -EINVAL, "no saved state"},
		{NATIVE, 8, 1, -EPROTONOSUPPORT, "version 1"},
		{NATIVE, 8, 0xffffffff, -EPROTONOSUPPORT, "version 4294967295"},
		{NATIVE, 12, 0, -EINVAL, "bytes"},
		{NATIVE, 12, 0xffffffff, -EINVAL, "bytes"},
		{NATIVE, 16, 1, -EINVAL, "revision 1"},
		{NATIVE, 20, 1, -EINVAL, "another kind"},
		{NATIVE, 20, 2, -EINVAL, "another kind"},
		{NATIVE, 20, 0, -EINVAL, "another kind"},
		{NATIVE, 20, 7, -EINVAL, "another kind"},
		{NATIVE, 24, 2, -EINVAL, "2 vectors"},
		{NATIVE, 24, 4, -EINVAL, "4 vectors"},
		{NATIVE, 24, 0x80000003, -EINVAL, "vectors"},
		{NATIVE, 28, 1, -EINVAL, "another kind"},
		{NATIVE, 32, 1, -EINVAL, "bytes of memory"},
		{NATIVE, 36, 2 << 20, -EINVAL, "2097152 bytes of memory"},
		{OLD, 0, 3, -EPROTONOSUPPORT, "version 3"},
		{OLD, 0, 1, -EINVAL, "version 1"},
	};

	open_master(0, true, 3);
	fill(3);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		save(cases[i].format);
		put_be32(cases[i].offset, cases[i].value);
		load_refused(cases[i].format, saved_size, cases[i].code, cases[i].reason);
	}
}

TEST(wrong_vector_count)
{
	static const unsigned vectors[] = {1, 3, 4};

	for (unsigned i = 0; i < 6; i++) {
		enum ivshmem_device_format format = i % 2 ? OLD : NATIVE;

		open_master(0, true, vectors[i / 2]);
		save(format);
		host.config.vectors = 2;
		host_open();
		load_refused(format, saved_size, -EINVAL, i % 2 ? "bytes" : "vectors");
	}
}

/* Bits that a guest writes, or that follow from others, are not compared. */
TEST(wrong_config_space)
{
	open_master(0, true, 3);
	for (unsigned which = 0; which < 2; which++) {
		enum ivshmem_device_format format = which ? OLD : NATIVE;

		for (unsigned i = 0; i < 256; i++) {
			uint8_t *byte = &saved[(which ? 4 : HEADER) + i];
			bool high = i == 0x06 || i == 0x1a || (i >= 0x15 && i <= 0x17);

			if (i == 0x04 || i == 0x05 || i == 0x0c || i == 0x0d || i == 0x3c)
				continue;
			if (which == 1 && (i >= 0x4c || i == 0x07))
				continue;
			save(format);
			*byte = (uint8_t)(*byte ^ (high ? 0x10 : 0x01));
			if ((i >= 0x11 && i <= 0x13) || (i >= 0x15 && i <= 0x17) || i == 0x1a ||
				i == 0x1b)
				load(format);
			else
				load_refused(format, saved_size, -EINVAL, "config space");
		}
		ivshmem_device_reset(host.device);
	}
	/* A byte that is only partly the guest's. */
	save(NATIVE);
	saved[HEADER + 0x04] |= 0x08;
	load_refused(NATIVE, saved_size, -EINVAL, "0x4 ");
}

TEST(pending_beyond_the_last_vector)
{
	open_master(0, true, 9);
	save(NATIVE);
	saved[HEADER + 256 + 9 * 16 + 1] = 0x02;
	load_refused(NATIVE, saved_size, -EINVAL, "do not exist");
	saved[HEADER + 256 + 9 * 16 + 1] = 0x01;
	load(NATIVE);
}

TEST(small_buffer)
{
	open_master(1, true, 9);
	saved_size = ivshmem_device_state_size(host.device, NATIVE);
	memset(saved, 0x77, saved_size);
	CHECK_EQ(ivshmem_device_save(host.device, NATIVE, saved, saved_size - 1, NULL), -ENOSPC);
	for (size_t i = 0; i < saved_size; i++)
		CHECK_EQ(saved[i], 0x77);
}

/* Every shape, full of vectors, and plain. */
TEST(all_shapes)
{
	static const unsigned vectors[] = {1, 7, 8, 9, 63, 64, 65, 2048};

	for (unsigned revision = 0; revision <= 1; revision++) {
		for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
			open_master(revision, true, vectors[i]);
			fill(vectors[i]);
			save(NATIVE);
			load(NATIVE);
		}

		master_config(revision, true, 1);
		host.config.server = false;
		host_open();
		reg_put(0, 1);
		save(NATIVE);
		CHECK_EQ(saved_size, HEADER + 256 + 8);
		ivshmem_device_reset(host.device);
		load(NATIVE);
		CHECK_EQ(reg_get(0), 1);
	}
}
