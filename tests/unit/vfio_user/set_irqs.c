/* SPDX-License-Identifier: BSD-2-Clause */

/* SET_IRQS: everything that is checked before anything is done. */

#include <irq_words.h>
#include <vfio_user_room.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define VECTORS 20
#define MAX     UINT32_MAX

/* With a device that has everything: a pin and VECTORS vectors. */
static const struct {
	uint32_t flags, index, start, count;
	unsigned n_bytes, n_fds;
	bool good;
} cases[] = {
	/* each kind of data with each action */
	{NONE | TRIGGER, MSIX, 0, 1, 0, 0, true},
	{NONE | TRIGGER, MSIX, 0, VECTORS, 0, 0, true},
	{NONE | TRIGGER, MSIX, VECTORS - 1, 1, 0, 0, true},
	{BOOL | TRIGGER, MSIX, 0, 3, 3, 0, true},
	{BOOL | TRIGGER, MSIX, 17, 3, 3, 0, true},
	{EVENTFD | TRIGGER, MSIX, 0, 3, 0, 3, true},
	{EVENTFD | TRIGGER, MSIX, 0, 16, 0, 16, true},
	{EVENTFD | TRIGGER, MSIX, 17, 3, 0, 3, true},
	{EVENTFD | TRIGGER, MSIX, 0, 3, 0, 0, true},
	{EVENTFD | TRIGGER, MSIX, 0, VECTORS, 0, 0, true},
	{NONE | TRIGGER, INTX, 0, 1, 0, 0, true},
	{BOOL | TRIGGER, INTX, 0, 1, 1, 0, true},
	{EVENTFD | TRIGGER, INTX, 0, 1, 0, 1, true},
	{EVENTFD | TRIGGER, INTX, 0, 1, 0, 0, true},
	{NONE | MASK, INTX, 0, 1, 0, 0, true},
	{BOOL | MASK, INTX, 0, 1, 1, 0, true},
	{NONE | UNMASK, INTX, 0, 1, 0, 0, true},
	{BOOL | UNMASK, INTX, 0, 1, 1, 0, true},
	{EVENTFD | UNMASK, INTX, 0, 1, 0, 1, true},
	{EVENTFD | UNMASK, INTX, 0, 1, 0, 0, true},
	{EVENTFD | TRIGGER, ERR, 0, 1, 0, 1, true},
	{EVENTFD | TRIGGER, ERR, 0, 1, 0, 0, true},
	{NONE | TRIGGER, ERR, 0, 1, 0, 0, true},
	/* disable, also what is not there */
	{NONE | TRIGGER, INTX, 0, 0, 0, 0, true},
	{NONE | TRIGGER, MSI, 0, 0, 0, 0, true},
	{NONE | TRIGGER, MSIX, 0, 0, 0, 0, true},
	{NONE | TRIGGER, ERR, 0, 0, 0, 0, true},
	{NONE | TRIGGER, REQ, 0, 0, 0, 0, true},

	/* flags: none, several, unknown ones */
	{0, MSIX, 0, 1, 0, 0, false},
	{NONE, MSIX, 0, 1, 0, 0, false},
	{TRIGGER, MSIX, 0, 1, 0, 0, false},
	{EVENTFD, MSIX, 0, 1, 0, 1, false},
	{NONE | BOOL | TRIGGER, MSIX, 0, 1, 1, 0, false},
	{NONE | EVENTFD | TRIGGER, MSIX, 0, 1, 0, 1, false},
	{BOOL | EVENTFD | TRIGGER, MSIX, 0, 1, 1, 1, false},
	{NONE | TRIGGER | MASK, INTX, 0, 1, 0, 0, false},
	{NONE | MASK | UNMASK, INTX, 0, 1, 0, 0, false},
	{NONE | TRIGGER | 0x40, MSIX, 0, 1, 0, 0, false},
	{NONE | TRIGGER | 0x80000000, MSIX, 0, 1, 0, 0, false},
	{MAX, MSIX, 0, 1, 0, 0, false},
	/* index */
	{NONE | TRIGGER, 5, 0, 0, 0, 0, false},
	{NONE | TRIGGER, 5, 0, 1, 0, 0, false},
	{NONE | TRIGGER, MAX, 0, 1, 0, 0, false},
	/* range */
	{NONE | TRIGGER, MSIX, 0, VECTORS + 1, 0, 0, false},
	{NONE | TRIGGER, MSIX, VECTORS, 1, 0, 0, false},
	{NONE | TRIGGER, MSIX, VECTORS, 0, 0, 0, false},
	{NONE | TRIGGER, MSIX, 1, VECTORS, 0, 0, false},
	{NONE | TRIGGER, MSIX, MAX, 1, 0, 0, false},
	{NONE | TRIGGER, MSIX, 1, MAX, 0, 0, false},
	{NONE | TRIGGER, MSIX, MAX, MAX, 0, 0, false},
	{NONE | TRIGGER, MSIX, 0, MAX, 0, 0, false},
	{NONE | TRIGGER, INTX, 0, 2, 0, 0, false},
	{NONE | TRIGGER, INTX, 1, 1, 0, 0, false},
	{NONE | TRIGGER, MSI, 0, 1, 0, 0, false},
	{NONE | TRIGGER, REQ, 0, 1, 0, 0, false},
	{EVENTFD | TRIGGER, ERR, 1, 1, 0, 1, false},
	{EVENTFD | TRIGGER, MSI, 0, 1, 0, 1, false},
	{EVENTFD | TRIGGER, MSI, 0, 1, 0, 0, false},
	/* a count of 0 that does not disable */
	{NONE | TRIGGER, MSIX, 1, 0, 0, 0, false},
	{BOOL | TRIGGER, MSIX, 0, 0, 0, 0, false},
	{EVENTFD | TRIGGER, MSIX, 0, 0, 0, 0, false},
	{NONE | MASK, INTX, 0, 0, 0, 0, false},
	{NONE | UNMASK, INTX, 0, 0, 0, 0, false},
	{EVENTFD | UNMASK, INTX, 0, 0, 0, 0, false},
	/* masks that do not exist */
	{NONE | MASK, MSIX, 0, 1, 0, 0, false},
	{NONE | UNMASK, MSIX, 0, 1, 0, 0, false},
	{EVENTFD | UNMASK, MSIX, 0, 1, 0, 1, false},
	{NONE | MASK, ERR, 0, 1, 0, 0, false},
	{EVENTFD | MASK, INTX, 0, 1, 0, 1, false},
	{EVENTFD | MASK, INTX, 0, 1, 0, 0, false},
	/* descriptors: too few, too many, for what takes none */
	{EVENTFD | TRIGGER, MSIX, 0, 3, 0, 2, false},
	{EVENTFD | TRIGGER, MSIX, 0, 3, 0, 4, false},
	{EVENTFD | TRIGGER, MSIX, 0, 17, 0, 16, false},
	{EVENTFD | TRIGGER, MSIX, 0, 17, 0, 17, false},
	{EVENTFD | UNMASK, INTX, 0, 1, 0, 2, false},
	{EVENTFD | TRIGGER, MSIX, 0, 0, 0, 1, false},
	{NONE | TRIGGER, MSIX, 0, 1, 0, 1, false},
	{NONE | TRIGGER, MSIX, 0, 0, 0, 1, false},
	{BOOL | TRIGGER, MSIX, 0, 1, 1, 1, false},
	/* bytes */
	{BOOL | TRIGGER, MSIX, 0, 3, 2, 0, false},
	{BOOL | TRIGGER, MSIX, 0, 3, 4, 0, false},
	{BOOL | TRIGGER, MSIX, 0, 3, 0, 0, false},
	{BOOL | TRIGGER, MSIX, 0, 1, 4, 0, false},
	{NONE | TRIGGER, MSIX, 0, 1, 1, 0, false},
	{NONE | TRIGGER, MSIX, 0, 0, 1, 0, false},
	{EVENTFD | TRIGGER, MSIX, 0, 1, 4, 1, false},
};

static int eventfds[32];

static uint32_t
request(uint32_t argsz, size_t i)
{
	struct vfio_user_irq_set set = {
		argsz, cases[i].flags, cases[i].index, cases[i].start, cases[i].count};
	uint8_t body[sizeof(set) + 8];
	uint32_t error;

	memcpy(body, &set, sizeof(set));
	memset(body + sizeof(set), 1, 8);
	error = room_request(VFIO_USER_DEVICE_SET_IRQS, body, sizeof(set) + cases[i].n_bytes,
		eventfds, cases[i].n_fds);
	CHECK_EQ(room.reply.length, 0);
	CHECK(!room.ended);
	return error;
}

/* What is refused leaves every eventfd where it was. */
static void
check_untouched(int intx, int msix)
{
	CHECK_EQ(irqs_fire(&room.function.irqs, INTX, 0), 0);
	CHECK_EQ(stage_count(intx), 1);
	for (unsigned i = 0; i < VECTORS; i++)
		CHECK_EQ(irqs_fire(&room.function.irqs, MSIX, i), 0);
	CHECK_EQ(stage_count(msix), VECTORS);
	CHECK_EQ(irqs_fire(&room.function.irqs, ERR, 0), -EAGAIN);
	CHECK_EQ(room.function.irqs.resample.fd, -1);
	CHECK(!room.function.irqs.intx_masked);
}

TEST(validation)
{
	int intx, msix, many[16];
	unsigned before;

	room_open_simple(0, VECTORS);
	for (unsigned i = 0; i < LENGTH(eventfds); i++)
		eventfds[i] = test_eventfd();
	intx = test_eventfd();
	msix = test_eventfd();
	for (unsigned i = 0; i < 16; i++)
		many[i] = msix;
	for (size_t i = 0; i < LENGTH(cases); i++) {
		fprintf(stderr, "flags %x, index %u, start %u, count %u, %u bytes, %u fds\n",
			cases[i].flags, cases[i].index, cases[i].start, cases[i].count,
			cases[i].n_bytes, cases[i].n_fds);
		irqs_clear(&room.function.irqs);
		CHECK_EQ(room_set_eventfds(TRIGGER, INTX, 0, 1, &intx, 1), 0);
		CHECK_EQ(room_set_eventfds(TRIGGER, MSIX, 0, 16, many, 16), 0);
		CHECK_EQ(room_set_eventfds(TRIGGER, MSIX, 16, 4, many, 4), 0);
		before = test_open_fds();
		/* argsz is that of the structure, or more, as in a request with BOOL. */
		CHECK_EQ(request(19, i), EINVAL);
		CHECK_EQ(request(0, i), EINVAL);
		check_untouched(intx, msix);
		if (!cases[i].good) {
			CHECK_EQ(request(20, i), EINVAL);
			CHECK_EQ(request(4096, i), EINVAL);
			check_untouched(intx, msix);
			CHECK_EQ(test_open_fds(), before);
		} else {
			CHECK_EQ(request(20 + cases[i].n_bytes, i), 0);
			CHECK_EQ(request(4096, i), 0);
		}
		stage_count(intx);
		stage_count(msix);
	}
	room_close();
}

/* A descriptor that is no eventfd could block whoever writes it. */
TEST(something_else_than_an_eventfd)
{
	int fds[3], pipe_fds[2];

	room_open_simple(0, VECTORS);
	CHECK_SYS(pipe2(pipe_fds, O_CLOEXEC));
	fds[0] = test_eventfd();
	fds[1] = pipe_fds[1];
	fds[2] = CHECK_SYS(open("/dev/null", O_RDWR | O_CLOEXEC));
	CHECK_EQ(room_set_eventfds(TRIGGER, MSIX, 0, 3, fds, 3), EINVAL);
	CHECK_EQ(irqs_fire(&room.function.irqs, MSIX, 0), -EAGAIN);
	CHECK_EQ(room_set_eventfds(TRIGGER, INTX, 0, 1, &fds[1], 1), EINVAL);
	CHECK_EQ(room_set_eventfds(UNMASK, INTX, 0, 1, &pipe_fds[0], 1), EINVAL);
	CHECK_EQ(room_set_eventfds(TRIGGER, ERR, 0, 1, &fds[2], 1), EINVAL);
	close(fds[2]);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	room_close();
}

/* The VMM may try its eventfds out. */
TEST(fire_on_request)
{
	const uint8_t which[] = {1, 0, 255};
	struct vfio_user_irq_set set = {sizeof(set) + 3, BOOL | TRIGGER, MSIX, 4, 3};
	uint8_t body[sizeof(set) + 3];
	int fds[VECTORS];

	room_open_simple(1, VECTORS);
	for (unsigned i = 0; i < VECTORS; i++)
		fds[i] = test_eventfd();
	CHECK_EQ(room_set_eventfds(TRIGGER, MSIX, 0, 16, fds, 16), 0);
	CHECK_EQ(room_set_irqs(NONE | TRIGGER, MSIX, 3, 2), 0);
	for (unsigned i = 0; i < VECTORS; i++)
		CHECK_EQ(stage_count(fds[i]), i == 3 || i == 4);
	memcpy(body, &set, sizeof(set));
	memcpy(body + sizeof(set), which, 3);
	CHECK_EQ(room_request(VFIO_USER_DEVICE_SET_IRQS, body, sizeof(body), NULL, 0), 0);
	for (unsigned i = 0; i < VECTORS; i++)
		CHECK_EQ(stage_count(fds[i]), i == 4 || i == 6);
	/* Those without eventfd are passed over. */
	CHECK_EQ(room_set_irqs(NONE | TRIGGER, MSIX, 15, 5), 0);
	CHECK_EQ(stage_count(fds[15]), 1);
	room_close();
}

/* The masks with BOOL: only where the byte is not 0. */
TEST(masks_with_bytes)
{
	struct vfio_user_irq_set set = {sizeof(set) + 1, BOOL | MASK, INTX, 0, 1};
	uint8_t body[sizeof(set) + 1];

	room_open_simple(0, 1);
	for (unsigned i = 0; i < 8; i++) {
		bool before = room.function.irqs.intx_masked, mask = i % 2, act = i / 2 % 2;

		set.flags = BOOL | (mask ? MASK : UNMASK);
		memcpy(body, &set, sizeof(set));
		body[sizeof(set)] = act ? (uint8_t)(0x80 >> i) : 0;
		CHECK_EQ(room_request(VFIO_USER_DEVICE_SET_IRQS, body, sizeof(body), NULL, 0), 0);
		CHECK_EQ(room.function.irqs.intx_masked, act ? mask : before);
	}
	room_close();
}

/* Each replaces the one before, and the end of an index closes them. */
TEST(no_descriptors_are_lost)
{
	unsigned before;
	int fd = test_eventfd();

	room_open_simple(0, VECTORS);
	before = test_open_fds();
	for (unsigned i = 0; i < 50; i++) {
		CHECK_EQ(room_set_eventfds(UNMASK, INTX, 0, 1, &fd, 1), 0);
		CHECK_EQ(room_set_eventfds(TRIGGER, INTX, 0, 1, &fd, 1), 0);
		CHECK_EQ(room_set_eventfds(TRIGGER, MSIX, i % VECTORS, 1, &fd, 1), 0);
	}
	CHECK_EQ(test_open_fds(), before + 2 + VECTORS);
	CHECK_EQ(room_set_eventfds(UNMASK, INTX, 0, 1, NULL, 0), 0);
	CHECK_EQ(room_set_irqs(NONE | TRIGGER, INTX, 0, 0), 0);
	CHECK_EQ(room_set_irqs(NONE | TRIGGER, MSIX, 0, 0), 0);
	CHECK_EQ(test_open_fds(), before);
	room_close();
}
