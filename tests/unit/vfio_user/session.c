/* SPDX-License-Identifier: BSD-2-Clause */

/* The rules of a session, VERSION, and what the function says of itself. */

#include <base/pace.h>
#include <vfio_user_room.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- rules ----------------------------------------------------------------------------------------- */

static const struct {
	uint16_t command;
	size_t length; /* of the smallest body */
} commands[] = {
	{VFIO_USER_DMA_MAP, 32},
	{VFIO_USER_DMA_UNMAP, 24},
	{VFIO_USER_DEVICE_GET_INFO, 16},
	{VFIO_USER_DEVICE_GET_REGION_INFO, 32},
	{VFIO_USER_DEVICE_GET_REGION_IO_FDS, 16},
	{VFIO_USER_DEVICE_GET_IRQ_INFO, 16},
	{VFIO_USER_DEVICE_SET_IRQS, 20},
	{VFIO_USER_REGION_READ, 16},
	{VFIO_USER_REGION_WRITE, 16},
	{VFIO_USER_DEVICE_RESET, 0},
	{VFIO_USER_REGION_WRITE_MULTI, 8},
	{VFIO_USER_DEVICE_FEATURE, 8},
	{VFIO_USER_MIG_DATA_READ, 8},
	{VFIO_USER_MIG_DATA_WRITE, 8},
};

/* Nothing but VERSION may come first: an error, and the end. */
ROOM_TEST(version_comes_first)
{
	uint8_t body[64] = {0};

	room_change_vmm();
	for (uint32_t command = 0; command <= 40; command++) {
		if (command == VFIO_USER_VERSION)
			continue;
		CHECK_EQ(room_request((uint16_t)command, body, 64, NULL, 0), EINVAL);
		CHECK(room.ended);
	}
	CHECK_EQ(room_version("{}"), 0);
	CHECK_EQ(room_version("{}"), EINVAL);
	CHECK(!room.ended);
	/* Another VMM has to say it again. */
	room_change_vmm();
	CHECK_EQ(room_request(VFIO_USER_DEVICE_RESET, NULL, 0, NULL, 0), EINVAL);
	CHECK(room.ended);
	/* And has to say it right. */
	room_change_vmm();
	CHECK_EQ(room_request(VFIO_USER_VERSION, body, 3, NULL, 0), EINVAL);
	CHECK(room.ended);
}

ROOM_TEST(unknown_commands)
{
	uint8_t body[64] = {0};

	for (uint32_t command = 0; command <= UINT16_MAX; command++) {
		bool known = command == VFIO_USER_VERSION;

		for (size_t i = 0; i < LENGTH(commands); i++)
			known |= commands[i].command == command;
		if (known)
			continue;
		CHECK_EQ(room_request((uint16_t)command, body, command % 64, NULL, 0), ENOSYS);
		CHECK(!room.ended);
	}
}

ROOM_TEST(short_bodies)
{
	uint8_t body[64] = {0};

	for (size_t i = 0; i < LENGTH(commands); i++)
		for (size_t length = 0; length < commands[i].length; length++) {
			CHECK_EQ(room_request(commands[i].command, body, length, NULL, 0), EINVAL);
			CHECK(!room.ended);
			CHECK_HAS(room.session.error.message, "bytes");
		}
}

/* What is no command ends the session; flags of no meaning are let pass. */
ROOM_TEST(flags_of_requests)
{
	struct request request = {
		.header = {.id = 3, .command = VFIO_USER_DEVICE_RESET, .size = 16}};
	struct vfio_user_header header;

	for (uint32_t type = 0; type < 16; type++) {
		request.header.flags = type;
		CHECK_EQ(handle_request(&room.session, &request, &header, &room.reply), type != 0);
		CHECK_EQ(header.flags, type ? 0x21 : 0x01);
		CHECK_EQ(header.error, type ? EINVAL : 0);
	}
	request.header.flags = 0xffffffd0;
	CHECK(!handle_request(&room.session, &request, &header, &room.reply));
	CHECK_EQ(header.flags, 0x01);
}

ROOM_TEST(too_many_descriptors_are_refused)
{
	struct vfio_user_dma_map map = {.argsz = sizeof(map), .flags = 3, .size = 4096};
	int fds[32];

	for (unsigned i = 0; i < 32; i++)
		fds[i] = test_eventfd();
	CHECK_EQ(room_request(VFIO_USER_DMA_MAP, &map, sizeof(map), fds, 16), 0);
	CHECK_EQ(room_request(VFIO_USER_DMA_MAP, &map, sizeof(map), fds, 17), EINVAL);
	CHECK_EQ(room_request(VFIO_USER_DMA_MAP, &map, sizeof(map), fds, 32), EINVAL);
	CHECK(!room.ended);
}

/* However much is refused, and however many VMMs there are, the log gets few lines of it. */
ROOM_TEST(complaints_are_few)
{
	for (unsigned i = 0; i < 1000; i++) {
		CHECK_EQ(room_request(14, NULL, 0, NULL, 0), ENOSYS);
		if (i == 0)
			CHECK_HAS(stage.warning, "the VMM's command (14) is refused: there");
		if (i % 100 == 0) {
			room_change_vmm();
			CHECK_EQ(room_version("{}"), 0);
		}
	}
	CHECK_EQ(stage.n_warnings, PACE_LINES);
	CHECK_HAS(stage.warning, "no more of this is told");
	/* Time goes by. */
	room.complaints.since -= PACE_WHILE + 1;
	CHECK_EQ(room_request(VFIO_USER_REGION_READ, NULL, 0, NULL, 0), EINVAL);
	CHECK_EQ(stage.n_warnings, PACE_LINES + 2);
	CHECK_HAS(stage.warning, "the VMM's REGION_READ (9) is refused: its body");
}

/* ---- VERSION --------------------------------------------------------------------------------------- */

#define CAPABILITIES(text) "{\"capabilities\":{" text "}}"

static const struct {
	const char *json;
	bool refused;
	unsigned max_fds;      /* if not refused */
	uint32_t max_transfer; /* 0: the default */
} versions[] = {
	{"", false, 1, 0},
	{"{}", false, 1, 0},
	{" { } ", false, 1, 0},
	{CAPABILITIES(""), false, 1, 0},
	/* as QEMU and Cloud Hypervisor say it */
	{"{\"capabilities\": {\"pgsizes\": 4096, \"max_msg_fds\": 16, \"max_dma_maps\": 65535, "
	 "\"max_data_xfer_size\": 1048576, \"migration\": {\"max_bitmap_size\": 268435456, "
	 "\"pgsize\": 4096}, \"write_multiple\": true}}",
		false, 16, 1048576},
	{"{\"capabilities\":{\"max_msg_fds\":1,\"max_data_xfer_size\":1048576,\"migration\":"
	 "{\"pgsize\":4096}}}",
		false, 1, 1048576},
	{CAPABILITIES("\"max_msg_fds\":0"), false, 0, 0},
	{CAPABILITIES("\"max_msg_fds\":253"), false, 253, 0},
	{CAPABILITIES("\"max_msg_fds\":254"), false, 253, 0},
	{CAPABILITIES("\"max_msg_fds\":4294967297"), false, 253, 0},
	{CAPABILITIES("\"max_msg_fds\":9223372036854775807"), false, 253, 0},
	{CAPABILITIES("\"max_data_xfer_size\":1"), false, 1, 1},
	{CAPABILITIES("\"max_data_xfer_size\":1048577"), false, 1, 1048576},
	{CAPABILITIES("\"max_data_xfer_size\":4294967296"), false, 1, 1048576},
	{CAPABILITIES("\"twin_socket\":{\"supported\":true}"), false, 1, 0},
	{CAPABILITIES("\"x\":[1,2,{\"y\":null}],\"\":\"\\u20ac\""), false, 1, 0},
	{"{\"other\":1}", false, 1, 0},

	{CAPABILITIES("\"max_msg_fds\":-1"), true, 0, 0},
	{CAPABILITIES("\"max_msg_fds\":1.5"), true, 0, 0},
	{CAPABILITIES("\"max_msg_fds\":\"16\""), true, 0, 0},
	{CAPABILITIES("\"max_msg_fds\":null"), true, 0, 0},
	{CAPABILITIES("\"max_msg_fds\":{}"), true, 0, 0},
	{CAPABILITIES("\"max_msg_fds\":9223372036854775808"), true, 0, 0},
	{CAPABILITIES("\"max_msg_fds\":1,\"max_msg_fds\":2"), true, 0, 0},
	{CAPABILITIES("\"max_msg_fds\":16,\"max_data_xfer_size\":true"), true, 0, 0},
	{"{\"capabilities\":[]}", true, 0, 0},
	{"{\"capabilities\":null}", true, 0, 0},
	{"{\"capabilities\":16}", true, 0, 0},
	{"[]", true, 0, 0},
	{"null", true, 0, 0},
	{"16", true, 0, 0},
	{"{", true, 0, 0},
	{"}", true, 0, 0},
	{"{}{}", true, 0, 0},
	{"{} x", true, 0, 0},
	{" ", true, 0, 0},
	{"{\"capabilities\":{\"max_msg_fds\":16}", true, 0, 0},
	{"{'capabilities':{}}", true, 0, 0},
	{"{\"\xff\":1}", true, 0, 0},
	{"\x1b[31mred\n", true, 0, 0},
};

/* What every VMM can do with the reply. */
static void
check_version_reply(uint16_t minor)
{
	static const char text[] =
		"{\"capabilities\":{\"max_msg_fds\":16,\"max_data_xfer_size\":1048576}}";

	CHECK_EQ(room.reply.length, 4 + sizeof(text));
	CHECK_MEM(room.reply.body, (&(struct vfio_user_version){0, minor}), 4);
	CHECK_STR((const char *)room.reply.body + 4, text);
	CHECK_EQ(room.reply.n_fds, 0);
	/* QEMU has no room for more than its own request had. */
	CHECK(room.header.size <= 214);
}

ROOM_TEST(version_texts)
{
	for (size_t i = 0; i < LENGTH(versions); i++) {
		uint32_t max_transfer =
			versions[i].max_transfer ? versions[i].max_transfer : 1048576;

		fprintf(stderr, "%s\n", versions[i].json);
		room_change_vmm();
		CHECK_EQ(room_version(versions[i].json), versions[i].refused ? EINVAL : 0);
		CHECK_EQ(room.ended, versions[i].refused);
		CHECK_EQ(room.session.negotiated, !versions[i].refused);
		if (versions[i].refused) {
			CHECK_EQ(room.session.max_fds, 1);
			CHECK_EQ(room.session.max_transfer, 1048576);
			CHECK_HAS(room.session.error.message, "JSON");
		} else {
			CHECK_EQ(room.session.max_fds, versions[i].max_fds);
			CHECK_EQ(room.session.max_transfer, max_transfer);
			check_version_reply(1);
		}
	}
}

/* What a VMM sends is not written into a terminal as it is. */
ROOM_TEST(no_control_characters_in_the_log)
{
	room_change_vmm();
	CHECK_EQ(room_version("{\x1b]0;x\x07\n\x7f"), EINVAL);
	CHECK_EQ(stage.n_warnings, 1);
	for (const char *c = stage.warning; *c; c++)
		CHECK((unsigned char)*c >= ' ' && *c != 0x7f);
}

ROOM_TEST(version_numbers)
{
	const struct {
		uint16_t major, minor;
		bool refused;
		uint16_t reply;
	} cases[] = {
		{0, 0, false, 0},
		{0, 1, false, 1},
		{0, 2, false, 1},
		{0, UINT16_MAX, false, 1},
		{1, 0, true, 0},
		{1, 1, true, 0},
		{UINT16_MAX, 0, true, 0},
	};

	for (size_t i = 0; i < LENGTH(cases); i++) {
		uint8_t body[4 + 3];

		memcpy(body, &cases[i].major, 2);
		memcpy(body + 2, &cases[i].minor, 2);
		memcpy(body + 4, "{}", 3);
		room_change_vmm();
		CHECK_EQ(room_request(VFIO_USER_VERSION, body, sizeof(body), NULL, 0),
			cases[i].refused ? EINVAL : 0);
		CHECK_EQ(room.ended, cases[i].refused);
		if (!cases[i].refused)
			check_version_reply(cases[i].reply);
		/* A client may have no text. */
		room_change_vmm();
		CHECK_EQ(room_request(VFIO_USER_VERSION, body, 4, NULL, 0),
			cases[i].refused ? EINVAL : 0);
	}
}

/* Text without its end, with two, too long, too deep. */
ROOM_TEST(version_texts_that_are_no_strings)
{
	const size_t large = 100000;
	uint8_t *body = calloc(1, large);

	CHECK(body);
	room_change_vmm();
	memcpy(body + 4, "{}", 2);
	CHECK_EQ(room_request(VFIO_USER_VERSION, body, 6, NULL, 0), EINVAL);
	CHECK(room.ended);
	CHECK_EQ(room_request(VFIO_USER_VERSION, body, 8, NULL, 0), EINVAL);
	memset(body + 4, ' ', large - 4);
	memcpy(body + 4, "{}", 2);
	body[large - 1] = 0;
	CHECK_EQ(room_request(VFIO_USER_VERSION, body, large, NULL, 0), EINVAL);
	body[4 + 65535] = 0;
	CHECK_EQ(room_request(VFIO_USER_VERSION, body, 4 + 65536, NULL, 0), 0);
	room_change_vmm();
	memset(body + 4, '[', 65535);
	CHECK_EQ(room_request(VFIO_USER_VERSION, body, 4 + 65536, NULL, 0), EINVAL);
	CHECK(room.ended);
	for (unsigned i = 0; i < 13000; i++)
		memcpy(body + 4 + 5 * i, "{\"\":{", 5);
	body[4 + 65000] = 0;
	CHECK_EQ(room_request(VFIO_USER_VERSION, body, 4 + 65001, NULL, 0), EINVAL);
	free(body);
}

/* ---- what there is ----------------------------------------------------------------------------------- */

/* A question whose answer has the same structure, and is put into it. */
static uint32_t
ask(uint16_t command, void *body, size_t size)
{
	uint32_t error = room_request(command, body, size, NULL, 0);

	if (error == 0) {
		CHECK_EQ(room.reply.length, size);
		memcpy(body, room.reply.body, size);
	}
	return error;
}

static uint32_t
device_info(uint32_t argsz, struct vfio_user_device_info *info)
{
	*info = (struct vfio_user_device_info){.argsz = argsz, .flags = 99};
	return ask(VFIO_USER_DEVICE_GET_INFO, info, sizeof(*info));
}

ROOM_TEST(what_the_device_is)
{
	const uint32_t good[] = {16, 17, 32, UINT32_MAX};
	struct vfio_user_device_info info;

	for (size_t i = 0; i < LENGTH(good); i++) {
		CHECK_EQ(device_info(good[i], &info), 0);
		CHECK_EQ(info.argsz, 16);
		CHECK_EQ(info.flags, VFIO_USER_DEVICE_PCI | VFIO_USER_DEVICE_RESETS);
		CHECK_EQ(info.num_regions, 9);
		CHECK_EQ(info.num_irqs, 5);
	}
	CHECK_EQ(device_info(0, &info), EINVAL);
	CHECK_EQ(device_info(15, &info), EINVAL);
}

static uint32_t
region_info(uint32_t argsz, uint32_t index, struct vfio_user_region_info *info)
{
	uint32_t error;

	*info = (struct vfio_user_region_info){.argsz = argsz,
		.flags = 99,
		.index = index,
		.cap_offset = 99,
		.size = 99,
		.offset = 99};
	error = ask(VFIO_USER_DEVICE_GET_REGION_INFO, info, sizeof(*info));
	if (error == 0) {
		CHECK_EQ(info->argsz, 32);
		CHECK_EQ(info->index, index);
		CHECK_EQ(info->cap_offset, 0);
		CHECK_EQ(info->offset, 0);
		CHECK_EQ(room.reply.n_fds, info->flags & VFIO_USER_REGION_MMAP ? 1 : 0);
	}
	return error;
}

static void
check_regions(const uint64_t sizes[9], bool mapped)
{
	struct vfio_user_region_info info;

	for (uint32_t i = 0; i < 9; i++) {
		CHECK_EQ(region_info(i % 2 ? 32 : 4096, i, &info), 0);
		CHECK_EQ(info.size, sizes[i]);
		CHECK_EQ(info.flags, (sizes[i] ? 3 : 0) | (i == 2 && mapped ? 4 : 0));
		CHECK_EQ(region_info(31, i, &info), EINVAL);
	}
	CHECK_EQ(region_info(32, 9, &info), EINVAL);
	CHECK_EQ(region_info(32, UINT32_MAX, &info), EINVAL);
}

ROOM_TEST(regions)
{
	struct vfio_user_region_info info;
	struct stat ours, theirs;

	check_regions((const uint64_t[9]){256, 4096, STAGE_MEMORY, 0, 0, 0, 0, 256, 0}, true);
	/* The descriptor is a copy of the memory's, to be mapped for reading and writing. */
	CHECK_EQ(region_info(32, 2, &info), 0);
	CHECK_SYS(fstat(member_memory_fd(stage.member), &ours));
	CHECK_SYS(fstat(room.reply.fds[0], &theirs));
	CHECK(room.reply.fds[0] != member_memory_fd(stage.member));
	CHECK_EQ(ours.st_ino, theirs.st_ino);
	CHECK_EQ(ours.st_dev, theirs.st_dev);
	CHECK_EQ(fcntl(room.reply.fds[0], F_GETFL) & O_ACCMODE, O_RDWR);
	/* Who takes no descriptors gets none. */
	room_change_vmm();
	CHECK_EQ(room_version(CAPABILITIES("\"max_msg_fds\":0")), 0);
	check_regions((const uint64_t[9]){256, 4096, STAGE_MEMORY, 0, 0, 0, 0, 256, 0}, false);
}

/* Revision 0: BAR2 is there before the memory, and can be mapped when it has arrived. */
TEST(regions_of_late_memory)
{
	struct ivshmem_device_config config = room_config(0, 1);
	struct vfio_user_region_info info;

	config.msi = false;
	room_open(&config);
	CHECK_EQ(region_info(32, 2, &info), 0);
	CHECK_EQ(stage.n_warnings, 0);
	check_regions((const uint64_t[9]){256, 0, STAGE_MEMORY, 0, 0, 0, 0, 256, 0}, false);
	CHECK_EQ(room_read(0, IVSHMEM_REG_IV_POSITION, 4), UINT32_MAX);
	CHECK_EQ(room_read(2, 0, 8), UINT64_MAX);
	room_greet(9, STAGE_MEMORY);
	check_regions((const uint64_t[9]){256, 0, STAGE_MEMORY, 0, 0, 0, 0, 256, 0}, true);
	CHECK_EQ(room_read(0, IVSHMEM_REG_IV_POSITION, 4), 9);
	CHECK_EQ(room_read(2, 0, 8), 0);
	room_close();
}

/* Without a descriptor for it the memory is reached by messages, and the log says so, seldom. */
ROOM_TEST(no_descriptor_left_for_the_memory)
{
	struct vfio_user_region_info info;

	test_limit_fds(0);
	for (unsigned i = 0; i < 100; i++) {
		CHECK_EQ(region_info(32, 2, &info), 0);
		CHECK_EQ(info.flags, 3);
	}
	test_unlimit_fds();
	CHECK_EQ(stage.n_warnings, PACE_LINES);
	CHECK_HAS(stage.warning, "no file descriptor is left");
	CHECK_EQ(region_info(32, 2, &info), 0);
	CHECK_EQ(info.flags, 7);
}

static uint32_t
irq_info(uint32_t argsz, uint32_t index, struct vfio_user_irq_info *info)
{
	uint32_t error;

	*info = (struct vfio_user_irq_info){argsz, 99, index, 99};
	error = ask(VFIO_USER_DEVICE_GET_IRQ_INFO, info, sizeof(*info));
	if (error == 0) {
		CHECK_EQ(info->argsz, 16);
		CHECK_EQ(info->index, index);
	}
	return error;
}

static void
check_irqs(const uint32_t counts[5])
{
	static const uint32_t flags[5] = {7, 1, 1, 1, 1};
	struct vfio_user_irq_info info;

	for (uint32_t i = 0; i < 5; i++) {
		CHECK_EQ(irq_info(16 + i, i, &info), 0);
		CHECK_EQ(info.count, counts[i]);
		CHECK_EQ(info.flags, counts[i] ? flags[i] : 0);
		CHECK_EQ(irq_info(15, i, &info), EINVAL);
	}
	CHECK_EQ(irq_info(16, 5, &info), EINVAL);
	CHECK_EQ(irq_info(16, UINT32_MAX, &info), EINVAL);
}

static const struct {
	unsigned revision, vectors;
	bool msi;
	uint64_t msix_size; /* of BAR1 */
	uint32_t counts[5];
} kinds[] = {
	{1, 2, true, 4096, {0, 0, 2, 1, 0}},
	{1, 2048, true, 65536, {0, 0, 2048, 1, 0}},
	{0, 1, false, 0, {1, 0, 0, 1, 0}},
	{0, 7, true, 4096, {1, 0, 7, 1, 0}},
};

TEST(interrupts_of_each_kind)
{
	for (size_t i = 0; i < LENGTH(kinds); i++) {
		struct ivshmem_device_config config =
			room_config(kinds[i].revision, kinds[i].vectors);

		config.msi = kinds[i].msi;
		room_open(&config);
		check_irqs(kinds[i].counts);
		check_regions(
			(const uint64_t[9]){
				[0] = 256, [1] = kinds[i].msix_size, [2] = STAGE_MEMORY, [7] = 256},
			kinds[i].revision == 1);
		room_close();
	}
}

/* ---- DMA ------------------------------------------------------------------------------------------- */

ROOM_TEST(dma_is_taken_and_forgotten)
{
	struct vfio_user_dma_map map = {32, 3, 0, 0x100000000, 1 << 20};
	struct vfio_user_dma_unmap unmap = {24, 0, 0x100000000, 1 << 20};
	int memory;

	memory = CHECK_SYS(memfd_create("guest", MFD_CLOEXEC));
	for (unsigned i = 0; i < 100; i++) {
		map.flags = i;
		unmap.flags = i;
		unmap.argsz = i;
		CHECK_EQ(room_request(VFIO_USER_DMA_MAP, &map, sizeof(map), &memory, i % 2), 0);
		CHECK_EQ(room.reply.length, 0);
		CHECK_EQ(room_request(VFIO_USER_DMA_UNMAP, &unmap, sizeof(unmap), NULL, 0), 0);
		CHECK_EQ(room.header.size, 40);
		CHECK_MEM(room.reply.body, &unmap, sizeof(unmap));
	}
	CHECK_EQ(stage.n_warnings, 0);
	close(memory);
}
