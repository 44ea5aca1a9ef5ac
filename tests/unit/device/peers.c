/* SPDX-License-Identifier: BSD-2-Clause */

/* Doorbell, peers, and the triggers that spare the doorbell the way. */

#include <device_host.h>

#include <errno.h>

#define DOORBELL IVSHMEM_REG_DOORBELL

static void
open_doorbell(unsigned vectors, bool legacy, bool triggers)
{
	host_config(1, true, vectors);
	host.config.id = 2;
	host.config.legacy_doorbell = legacy;
	host.config.ioeventfd = triggers;
	host.ops.attach_irqfd = NULL;
	host_open();
}

/* With ioeventfds, which BAR0 has a place for. */
static void
open_triggers(unsigned vectors, bool legacy)
{
	open_doorbell(vectors, legacy, true);
	config_put(0x10, 4, 0xfebf1000);
	config_put(0x04, 2, COMMAND_ON);
}

/* Checklist 25, 27, 28; and 83, the same with ioeventfds. */
TEST(doorbell)
{
	for (unsigned triggers = 0; triggers <= 1; triggers++) {
		open_doorbell(2, false, triggers);
		config_put(0x10, 4, 0xfebf1000);
		config_put(0x04, 2, COMMAND_ON);
		connect_peer(2, 2);
		connect_peer(7, 2);
		connect_peer(65535, 1);
		host_effects();
		CAUSES(reg_put(DOORBELL, 0x00070000), "ring 7.0");
		CAUSES(reg_put(DOORBELL, 0x00070001), "ring 7.1");
		CAUSES(reg_put(DOORBELL, 0x00020001), "ring 2.1");
		CAUSES(reg_put(DOORBELL, 0xffff0000), "ring 65535.0");
		reg_put(DOORBELL, 0xffff0001);
		reg_put(DOORBELL, 0x00070002);
		reg_put(DOORBELL, 0x0007ffff);
		reg_put(DOORBELL, 0x00080000);
		CAUSES(reg_put(DOORBELL, 0x00000000), "");
		remove_peer(7);
		host_effects();
		CAUSES(reg_put(DOORBELL, 0x00070000), "");
	}
}

/* Checklist 30. */
TEST(doorbell_vector_is_16_bits)
{
	open_doorbell(2, false, false);
	connect_peer(7, 2);
	reg_put(DOORBELL, 0x00070100);
	CAUSES(reg_put(DOORBELL, 0x0007ff01), "");
	open_doorbell(300, false, false);
	connect_peer(7, 300);
	CAUSES(reg_put(DOORBELL, 0x00070100), "ring 7.256");
	CAUSES(reg_put(DOORBELL, 0x0007012b), "ring 7.299");
	CAUSES(reg_put(DOORBELL, 0x0007012c), "");
}

/* Checklist 30: as QEMU folds it. */
TEST(doorbell_vector_is_8_bits)
{
	open_doorbell(2, true, false);
	connect_peer(7, 2);
	CAUSES(reg_put(DOORBELL, 0x00070100), "ring 7.0");
	CAUSES(reg_put(DOORBELL, 0x0007ff00), "ring 7.0");
	CAUSES(reg_put(DOORBELL, 0x00070101), "ring 7.1");
	CAUSES(reg_put(DOORBELL, 0x0007ff01), "ring 7.1");
	reg_put(DOORBELL, 0x00070002);
	CAUSES(reg_put(DOORBELL, 0x0007ff02), "");
	host_close();
	/* With triggers the same: none for what would be another vector. */
	open_triggers(258, true);
	connect_peer(7, 258);
	CHECK_EQ(in_force.n_ioeventfds, 256);
	host_effects();
	CAUSES(reg_put(DOORBELL, 0x00070101), "ring 7.1");
	remove_peer(7);
	CHECK_EQ(in_force.n_ioeventfds, 0);
}

/* Checklist 78: from the device's point of view there is no difference. */
TEST(self_ring)
{
	open_doorbell(1, false, false);
	connect_peer(2, 1);
	config_put(0x04, 2, COMMAND_ON);
	entry_open(0);
	msix_control(0x8000);
	CAUSES(reg_put(DOORBELL, 0x00020000), "ring 2.0");
	CAUSES(interrupt(0), "send 0 fee00000:40");
}

/* ---- triggers -------------------------------------------------------------------------------- */

/* Checklist 79. */
TEST(trigger_per_vector)
{
	open_doorbell(2, false, true);
	CAUSES(connect_peer(2, 2), "");
	CAUSES(config_put(0x10, 4, 0xfebf1000), "");
	CAUSES(config_put(0x04, 2, COMMAND_ON), "+io febf100c=20000; +io febf100c=20001");
	CAUSES(connect_peer(7, 2), "+io febf100c=70000; +io febf100c=70001");
	CAUSES(CHECK_EQ(ivshmem_device_add_vector(host.device, 7), -ENOSPC), "");
}

/* Checklist 80. */
TEST(triggers_follow_bar0)
{
	open_doorbell(2, false, true);
	connect_peer(2, 1);
	connect_peer(7, 2);
	config_put(0x04, 2, COMMAND_ON);
	CAUSES(config_put(0x10, 4, 0xfebf1000),
		"+io febf100c=20000; +io febf100c=70000; +io febf100c=70001");
	CAUSES(config_put(0x10, 4, 0xfebf2000),
		"-io febf100c=20000; -io febf100c=70001; -io febf100c=70000; "
		"+io febf200c=20000; +io febf200c=70000; +io febf200c=70001");
	CAUSES(config_put(0x04, 2, 0x4),
		"-io febf200c=20000; -io febf200c=70001; -io febf200c=70000");
	CAUSES(config_put(0x10, 4, 0xfebf3000), "");
	config_put(0x04, 2, COMMAND_ON);
	CHECK_EQ(in_force.n_ioeventfds, 3);
	host_effects();
	/* sizing with decoding on */
	config_put(0x10, 4, 0xffffffff);
	CHECK_EQ(in_force.n_ioeventfds, 0);
	config_put(0x10, 4, 0xfebf3000);
	CHECK_EQ(in_force.n_ioeventfds, 3);
	host_effects();
	ivshmem_device_reset(host.device);
	CHECK_EQ(in_force.n_ioeventfds, 0);
}

/* Checklist 81: the host checks that the peer is still there when its triggers go. */
TEST(departure_removes_triggers)
{
	open_triggers(2, false);
	connect_peer(7, 2);
	connect_peer(8, 1);
	host_effects();
	CAUSES(remove_peer(7), "-io febf100c=70001; -io febf100c=70000");
	CAUSES(CHECK_EQ(ivshmem_device_remove_peer(host.device, 7), -ENOENT), "");
	CAUSES(connect_peer(7, 1), "+io febf100c=70000");
	CAUSES(host_close(), "-io febf100c=70000; -io febf100c=80000");
}

/* Checklist 82. */
TEST(no_room_for_triggers)
{
	open_triggers(2, false);
	host.trigger_room = 3;
	CAUSES(connect_peer(2, 2), "+io febf100c=20000; +io febf100c=20001");
	CAUSES(connect_peer(7, 2), "+io febf100c=70000; +io febf100c=70001; warn");
	CHECK_HAS(host.warning, "ioeventfd");
	/* It rings all the same, and there are neither attempts nor warnings without reason. */
	CAUSES(reg_put(DOORBELL, 0x00070001), "ring 7.1");
	CAUSES(connect_peer(8, 2), "");
	/* Room: who has to wait gets it. */
	host.trigger_room = 4;
	CAUSES(remove_peer(8), "");
	connect_peer(9, 1);
	host.trigger_room = 3;
	CAUSES(remove_peer(7), "-io febf100c=70000; +io febf100c=90000");
	/* BAR0 moves: all over again, without another warning */
	CAUSES(connect_peer(10, 1), "+io febf100c=a0000");
	config_put(0x04, 2, 0);
	CHECK_EQ(in_force.n_ioeventfds, 0);
	host_effects();
	CAUSES(config_put(0x04, 2, COMMAND_ON),
		"+io febf100c=20000; +io febf100c=20001; +io febf100c=90000; "
		"+io febf100c=a0000");
}

/* ---- the end --------------------------------------------------------------------------------- */

/* Checklist 89, 91, 92: host_close() demands that nothing is left. */
TEST(free_at_any_moment)
{
	for (unsigned moment = 0; moment < 6; moment++) {
		host_config(0, true, 2);
		host.config.ioeventfd = true;
		host_open();
		if (moment >= 1) {
			CHECK_EQ(ivshmem_device_set_id(host.device, 2), 0);
			give_memory();
			connect_peer(2, 2);
			connect_peer(7, 2);
		}
		if (moment >= 2) {
			config_put(0x10, 4, 0xfebf1000);
			config_put(0x18, 4, 0xe0000000);
			config_put(0x04, 2, COMMAND_ON);
			CHECK(in_force.mapped_at);
			CHECK_EQ(in_force.n_ioeventfds, 4);
		}
		if (moment >= 3) {
			entry_open(0);
			msix_control(0x8000);
			CHECK(in_force.attached[0]);
		}
		if (moment >= 4)
			interrupt(1);
		if (moment >= 5) {
			msix_control(0);
			reg_put(0, 1);
			reg_put(4, 1);
			CHECK(in_force.intx);
			remove_peer(7);
		}
	}
	CHECK(ivshmem_device_free(NULL) == NULL);
}
