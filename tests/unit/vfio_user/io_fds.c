/* SPDX-License-Identifier: BSD-2-Clause */

/* GET_REGION_IO_FDS: an eventfd for every vector of every peer, page by page. */

#include <base/fd.h>
#include <vfio_user_room.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define HEAD  sizeof(struct vfio_user_io_fds)
#define ENTRY sizeof(struct vfio_user_io_fd)

/* What there has to be, in this order. */
static struct expected {
	uint16_t peer;
	uint16_t vector;
} expected[8192];
static unsigned n_expected;

/* Of which region: the register, or, with so many of them for each peer, the words. */
static uint32_t region;
static unsigned words;

static uint64_t
mark_for(uint16_t peer, unsigned vector)
{
	return ((uint64_t)peer << 16 | vector) + 1;
}

/* The server announces vectors of a peer, which can be recognised. */
static void
give_vectors(uint16_t peer, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		stage_say(peer, mark_new(mark_for(peer, i)));
		if (i % 64 == 63)
			stage_dispatch();
	}
	stage_dispatch();
}

static void
expect_vectors(uint16_t peer, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		expected[n_expected++] = (struct expected){peer, (uint16_t)i};
}

static uint32_t
ask(uint32_t argsz, uint32_t flags, uint32_t index, uint32_t first,
	struct vfio_user_io_fds *ret_head)
{
	struct vfio_user_io_fds head = {argsz, flags, index, first};
	uint32_t error =
		room_request(VFIO_USER_DEVICE_GET_REGION_IO_FDS, &head, sizeof(head), NULL, 0);

	if (error == 0)
		memcpy(ret_head, room.reply.body, sizeof(*ret_head));
	return error;
}

/* One page from entry `first` on, for a client that takes so much. Returns how many entries came. */
static unsigned
check_page(uint32_t argsz, unsigned max_fds, unsigned first)
{
	unsigned left = first < n_expected ? n_expected - first : 0, want = left;
	struct vfio_user_io_fds head;

	if (want > (argsz - HEAD) / ENTRY)
		want = (unsigned)((argsz - HEAD) / ENTRY);
	if (want > max_fds)
		want = max_fds;
	CHECK_EQ(ask(argsz, 0, region, first, &head), 0);
	CHECK_EQ(head.argsz, HEAD + left * ENTRY);
	CHECK_EQ(head.flags, 0);
	CHECK_EQ(head.index, region);
	CHECK_EQ(head.count, want);
	CHECK_EQ(room.reply.length, HEAD + want * ENTRY);
	CHECK(room.reply.length <= argsz);
	CHECK_EQ(room.reply.n_fds, want);
	for (unsigned i = 0; i < want; i++) {
		const struct expected *this = &expected[first + i];
		struct vfio_user_io_fd entry,
			right = {
				.offset = IVSHMEM_REG_DOORBELL,
				.size = 4,
				.fd_index = i,
				.type = VFIO_USER_IO_FD_IOEVENTFD,
				.flags = VFIO_USER_IO_FD_DATAMATCH,
				.datamatch = (uint32_t)this->peer << 16 | this->vector,
			};

		if (region == 4) {
			right.offset = (uint64_t)this->peer * words * 4 + this->vector * 4u;
			right.flags = 0;
			right.datamatch = 0;
		}
		memcpy(&entry, room.reply.body + HEAD + i * ENTRY, ENTRY);
		CHECK_MEM(&entry, &right, ENTRY);
		/* Our own were read: the mark was a ring. */
		if (this->peer != 5)
			CHECK_EQ(mark_of(room.reply.fds[i]), mark_for(this->peer, this->vector));
	}
	return want;
}

/* All of them, as such a client asks for them. */
static void
check_all(uint32_t argsz, unsigned max_fds)
{
	unsigned first = 0, n;

	do {
		n = check_page(argsz, max_fds, first);
		first += n;
	} while (n > 0);
	CHECK_EQ(first, n_expected);
	CHECK_EQ(stage.n_warnings, 0);
}

static void
negotiate(unsigned max_fds)
{
	char json[80];

	room_change_vmm();
	snprintf(json, sizeof(json), "{\"capabilities\":{\"max_msg_fds\":%u}}", max_fds);
	CHECK_EQ(room_version(json), 0);
}

ROOM_TEST(nobody)
{
	check_all(HEAD, 1);
	check_all(4096, 1);
}

TEST(some_peers)
{
	room_open_simple(1, 4);
	/* In the order of ids, ourselves among them, and no more than our own number of each. */
	give_vectors(700, 4);
	give_vectors(5, 4);
	give_vectors(0, 1);
	give_vectors(65535, 9);
	expect_vectors(0, 1);
	expect_vectors(5, 4);
	expect_vectors(700, 4);
	expect_vectors(65535, 4);
	negotiate(16);
	check_all(HEAD + 16 * ENTRY, 16);
	check_all(HEAD + 3 * ENTRY, 16);
	check_all(UINT32_MAX, 16);
	/* No room for one more entry is no room. */
	check_page(HEAD, 16, 0);
	check_page(HEAD + ENTRY - 1, 16, 0);
	check_page(HEAD + 2 * ENTRY - 1, 16, 0);
	check_page(4096, 16, 12);
	check_page(4096, 16, 13);
	check_page(4096, 16, 14);
	check_page(4096, 16, UINT32_MAX);
	negotiate(0);
	check_page(4096, 0, 0);
	room_close();
}

TEST_WITH(thousands, .timeout_s = 120)
{
	const unsigned max_fds[] = {1, 7, 16, 253};

	if (fd_raise_limit() < 6000)
		SKIP("at most so few descriptors may be open: %lu", fd_raise_limit());
	room_open_simple(1, 16);
	for (unsigned i = 0; i < 250; i++) {
		uint16_t peer = (uint16_t)(i * 37 + 6);

		give_vectors(peer, 1 + i % 16);
		expect_vectors(peer, 1 + i % 16);
	}
	for (unsigned i = 0; i < 4; i++) {
		negotiate(max_fds[i]);
		check_all(UINT32_MAX, max_fds[i]);
		check_all(HEAD + 5 * ENTRY, max_fds[i]);
	}
	room_close();
}

/* Peers that leave, come, and come with something that is no eventfd. */
TEST(peers_come_and_go)
{
	int no_eventfd;

	room_open_simple(1, 4);
	give_vectors(7, 2);
	give_vectors(8, 2);
	stage_say_and_dispatch(7, -1);
	give_vectors(9, 1);
	no_eventfd = CHECK_SYS(open("/dev/null", O_RDWR | O_CLOEXEC));
	stage_say_and_dispatch(9, no_eventfd);
	stage_say_and_dispatch(9, mark_new(mark_for(9, 2)));
	CHECK_EQ(stage.n_warnings, 1);
	stage.n_warnings = 0;
	expect_vectors(8, 2);
	expect_vectors(9, 1);
	/* It keeps its number. */
	expected[n_expected++] = (struct expected){9, 2};
	negotiate(16);
	check_all(4096, 16);
	room_close();
}

/*
 * With the legacy doorbell, a vector that its 8 bits cannot name has no value of its own. The words
 * have the same eventfds, each at a place of its own, and need no value.
 */
static const struct {
	const char *name;
	unsigned vectors;
	bool legacy_doorbell, doorbell_bar, ioeventfd;
	unsigned registers, words; /* entries of each region, for each peer */
	unsigned words_of_a_peer;
} offers[] = {
	{"plain", 300, false, false, true, 300, 0, 0},
	{"legacy doorbell", 300, true, false, true, 256, 0, 0},
	{"doorbell words", 3, false, true, true, 3, 3, 4},
	{"legacy doorbell and words", 300, true, true, true, 256, 300, 512},
	{"switched off", 4, false, false, false, 0, 0, 0},
	{"words switched off", 3, false, true, false, 0, 0, 0},
};

TEST(what_is_offered)
{
	for (size_t i = 0; i < LENGTH(offers); i++) {
		struct ivshmem_device_config config = room_config(1, offers[i].vectors);

		fprintf(stderr, "%s\n", offers[i].name);
		config.legacy_doorbell = offers[i].legacy_doorbell;
		config.doorbell_bar = offers[i].doorbell_bar;
		config.ioeventfd = offers[i].ioeventfd;
		room_open(&config);
		give_vectors(7, offers[i].vectors);
		give_vectors(65535, 2);
		negotiate(253);
		for (region = 0; region <= 4; region += 4) {
			unsigned n = region == 4 ? offers[i].words : offers[i].registers;

			words = offers[i].words_of_a_peer;
			n_expected = 0;
			expect_vectors(7, n);
			expect_vectors(65535, n < 2 ? n : 2);
			check_all(UINT32_MAX, 253);
			check_all(HEAD + 2 * ENTRY, 253);
		}
		room_close();
	}
}

TEST(other_regions)
{
	struct vfio_user_io_fds head;

	room_open_simple(1, 4);
	give_vectors(7, 2);
	for (uint32_t index = 1; index < 9; index++) {
		CHECK_EQ(ask(4096, 0, index, 0, &head), 0);
		CHECK_EQ(head.argsz, HEAD);
		CHECK_EQ(head.index, index);
		CHECK_EQ(head.count, 0);
		CHECK_EQ(room.reply.length, HEAD);
	}
	CHECK_EQ(ask(4096, 0, 9, 0, &head), EINVAL);
	CHECK_EQ(ask(4096, 0, UINT32_MAX, 0, &head), EINVAL);
	CHECK_EQ(ask(4096, 1, 0, 0, &head), EINVAL);
	CHECK_EQ(ask(HEAD - 1, 0, 0, 0, &head), EINVAL);
	CHECK_EQ(ask(0, 0, 0, 0, &head), EINVAL);
	room_close();
}

/* No descriptors left: an error, and none is lost. */
TEST(no_descriptors_left)
{
	struct vfio_user_io_fds head;
	unsigned open_before;

	room_open_simple(1, 16);
	give_vectors(7, 16);
	expect_vectors(7, 16);
	negotiate(16);
	open_before = test_open_fds();
	test_limit_fds(5);
	CHECK_EQ(ask(UINT32_MAX, 0, 0, 0, &head), EMFILE);
	test_unlimit_fds();
	CHECK_EQ(test_open_fds(), open_before);
	stage.n_warnings = 0;
	check_all(UINT32_MAX, 16);
	room_close();
}
