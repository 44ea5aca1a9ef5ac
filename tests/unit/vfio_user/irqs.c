/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * The eventfds of the VMM: what fires, when INTx is masked and fires again, and what is closed. And
 * the same from the register to the eventfd, with a device of revision 0 and one of revision 1.
 */

#include <function/irqs.h>
#include <irq_words.h>
#include <vfio_user_room.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

static struct irqs irqs;
static struct loop *loop;

static void
open_irqs(bool has_intx, unsigned vectors)
{
	CHECK_EQ(loop_new(&loop), 0);
	CHECK_EQ(irqs_init(&irqs, loop, has_intx, vectors), 0);
}

static void
close_irqs(void)
{
	irqs_done(&irqs);
	/* Nothing of it is left in the loop. */
	CHECK_EQ(loop_dispatch(loop, 0), 0);
	loop_free(loop);
}

/* Give a copy of `fd`. */
static void
assign(unsigned index, unsigned number, int fd)
{
	int copy = fd < 0 ? -1 : CHECK_SYS(fcntl(fd, F_DUPFD_CLOEXEC, 0));

	irqs_assign(&irqs, index, number, &copy);
	CHECK_EQ(copy, -1);
}

static void
set_resample(int fd)
{
	int copy = fd < 0 ? -1 : CHECK_SYS(fcntl(fd, F_DUPFD_CLOEXEC, 0));

	CHECK_EQ(irqs_set_resample(&irqs, &copy), 0);
	CHECK_EQ(copy, -1);
}

static void
dispatch(void)
{
	while (loop_dispatch(loop, 0) > 0)
		;
}

/* ---- MSI-X ----------------------------------------------------------------------------------------- */

TEST(what_there_is)
{
	open_irqs(true, 7);
	for (unsigned i = 0; i < VFIO_PCI_NUM_IRQS; i++)
		CHECK_EQ(irqs.index[i].count, ((const unsigned[]){1, 0, 7, 1, 0})[i]);
	close_irqs();
	open_irqs(false, 0);
	for (unsigned i = 0; i < VFIO_PCI_NUM_IRQS; i++)
		CHECK_EQ(irqs.index[i].count, ((const unsigned[]){0, 0, 0, 1, 0})[i]);
	/* There is no pin, whatever the level. */
	irqs_set_intx(&irqs, true);
	irqs_set_stopped(&irqs, true);
	irqs_set_stopped(&irqs, false);
	irqs_clear(&irqs);
	close_irqs();
}

TEST(vectors)
{
	int a = test_eventfd(), b = test_eventfd();

	open_irqs(false, 4);
	CHECK_EQ(irqs_fire(&irqs, MSIX, 0), -EAGAIN);
	assign(MSIX, 0, a);
	assign(MSIX, 3, b);
	CHECK_EQ(irqs_fire(&irqs, MSIX, 0), 0);
	CHECK_EQ(irqs_fire(&irqs, MSIX, 0), 0);
	CHECK_EQ(irqs_fire(&irqs, MSIX, 3), 0);
	CHECK_EQ(irqs_fire(&irqs, MSIX, 1), -EAGAIN);
	CHECK_EQ(stage_count(a), 2);
	CHECK_EQ(stage_count(b), 1);
	/* Replaced: the old one hears nothing more. */
	assign(MSIX, 0, b);
	CHECK_EQ(irqs_fire(&irqs, MSIX, 0), 0);
	CHECK_EQ(stage_count(a), 0);
	CHECK_EQ(stage_count(b), 1);
	assign(MSIX, 0, -1);
	CHECK_EQ(irqs_fire(&irqs, MSIX, 0), -EAGAIN);
	CHECK_EQ(irqs_fire(&irqs, MSIX, 3), 0);
	irqs_disable(&irqs, MSIX);
	CHECK_EQ(irqs_fire(&irqs, MSIX, 3), -EAGAIN);
	CHECK_EQ(stage_count(b), 1);
	close_irqs();
}

TEST(nothing_is_kept)
{
	int fd = test_eventfd();
	unsigned before = test_open_fds();

	open_irqs(true, 2048);
	for (unsigned i = 0; i < 100; i++)
		assign(MSIX, i * 20, fd);
	assign(INTX, 0, fd);
	assign(ERR, 0, fd);
	set_resample(fd);
	irqs_clear(&irqs);
	CHECK_EQ(test_open_fds(), before + 3); /* two of the loop, one to ring with */
	for (unsigned i = 0; i < 100; i++)
		assign(MSIX, 7, fd);
	CHECK_EQ(test_open_fds(), before + 4);
	close_irqs();
	CHECK_EQ(test_open_fds(), before);
}

TEST(stopped)
{
	int fd = test_eventfd();

	open_irqs(false, 2);
	assign(MSIX, 0, fd);
	irqs_set_stopped(&irqs, true);
	CHECK_EQ(irqs_fire(&irqs, MSIX, 0), -EAGAIN);
	irqs_set_stopped(&irqs, false);
	CHECK_EQ(stage_count(fd), 0);
	CHECK_EQ(irqs_fire(&irqs, MSIX, 0), 0);
	CHECK_EQ(stage_count(fd), 1);
	close_irqs();
}

/* A VMM that never reads it, and one that made it a blocking one: nobody waits. */
TEST(full_eventfd)
{
	int fd = test_eventfd();

	open_irqs(false, 1);
	CHECK_SYS(fcntl(fd, F_SETFL, 0));
	CHECK_SYS(eventfd_write(fd, UINT64_MAX - 1));
	assign(MSIX, 0, fd);
	CHECK_EQ(irqs_fire(&irqs, MSIX, 0), 0);
	CHECK_EQ(irqs_fire(&irqs, MSIX, 0), 0);
	close_irqs();
}

/* ---- INTx ------------------------------------------------------------------------------------------ */

static int pin, resample_fd;

static void
open_pin(void)
{
	open_irqs(true, 0);
	pin = test_eventfd();
	resample_fd = test_eventfd();
	assign(INTX, 0, pin);
}

#define PIN_TEST(name) TEST_WITH(name, .begin = open_pin, .end = close_irqs)

/*
 * The naive model: two eventfds that may be the pin's, two that may be the resample eventfd, of which
 * `NOT` is none, and what has to be in them.
 */
enum { NOT = 2 };
struct model {
	bool level, masked, stopped;
	unsigned fd, resample;
	unsigned fired[NOT], rung[NOT]; /* not yet read */
};

static void
model_fire(struct model *model)
{
	if (model->level && !model->masked && !model->stopped && model->fd != NOT) {
		model->fired[model->fd]++;
		model->masked = true;
	}
}

/* Rung, however often, now or before it was given: it is the end of one mask. */
static void
model_resample(struct model *model)
{
	if (model->resample != NOT && model->rung[model->resample] > 0) {
		model->rung[model->resample] = 0;
		model->masked = false;
	}
}

/* Something that the device or the VMM may do, to both. */
static void
step(struct model *model, const int fds[NOT + 1], const int resample_fds[NOT + 1])
{
	unsigned which = (unsigned)random() % (NOT + 1);

	switch (random() % 8) {
	case 0:
		irqs_set_intx(&irqs, model->level = which > 0);
		break;
	case 1:
		irqs_mask_intx(&irqs);
		model->masked = true;
		break;
	case 2:
		irqs_unmask_intx(&irqs);
		model->masked = false;
		break;
	case 3:
		irqs_set_stopped(&irqs, model->stopped = which == 0);
		break;
	case 4:
		assign(INTX, 0, fds[model->fd = which]);
		break;
	case 5:
		set_resample(resample_fds[model->resample = which]);
		break;
	case 6:
		if (which == NOT)
			break;
		ring(resample_fds[which]);
		model->rung[which]++;
		break;
	default:
		/* Disabled means unmasked, too. */
		irqs_disable(&irqs, INTX);
		model->masked = false;
		model->fd = model->resample = NOT;
	}
	model_fire(model);
	model_resample(model);
	model_fire(model);
}

TEST(level_masks_and_resampling)
{
	const int fds[NOT + 1] = {test_eventfd(), test_eventfd(), -1};
	const int resample_fds[NOT + 1] = {test_eventfd(), test_eventfd(), -1};
	struct model model = {.fd = NOT, .resample = NOT};

	srandom(1);
	open_irqs(true, 0);
	for (unsigned i = 0; i < 100000; i++) {
		step(&model, fds, resample_fds);
		dispatch();
		for (unsigned k = 0; k < NOT; k++) {
			CHECK_EQ(stage_count(fds[k]), model.fired[k]);
			model.fired[k] = 0;
		}
		/* What nobody listens to is looked at now and then. */
		for (unsigned k = 0; k < NOT && i % 64 == 0; k++) {
			CHECK_EQ(stage_count(resample_fds[k]), model.rung[k]);
			model.rung[k] = 0;
		}
	}
	close_irqs();
}

/* ---- the resample eventfd ---------------------------------------------------------------------------- */

/* The VMM closes its end of one that is watched. */
PIN_TEST(resample_whose_other_end_is_closed)
{
	int watched = CHECK_SYS(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));

	set_resample(watched);
	close(watched);
	dispatch();
}

/* Reading it does not wait, though the VMM made it one that waits. */
PIN_TEST(resample_in_blocking_mode)
{
	CHECK_SYS(fcntl(resample_fd, F_SETFL, 0));
	set_resample(resample_fd);
	irqs_set_intx(&irqs, true);
	CHECK_EQ(stage_count(pin), 1);
	ring(resample_fd);
	dispatch();
	CHECK_EQ(stage_count(pin), 1);
	dispatch();
}

/* What cannot be watched is refused, and stays the caller's. */
PIN_TEST(resample_that_cannot_be_watched)
{
	int file, before;
	char path[200];

	snprintf(path, sizeof(path), "%s/file", test_directory());
	file = CHECK_SYS(open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600));
	before = file;
	CHECK_EQ(irqs_set_resample(&irqs, &file), -EPERM);
	CHECK_EQ(file, before);
	set_resample(-1);
	CHECK_SYS(close(file));
}

/* ---- through the device ------------------------------------------------------------------------------ */

static void
open_pin_device(void)
{
	struct ivshmem_device_config config = room_config(0, 1);

	config.msi = false;
	room_open(&config);
	room_greet(5, STAGE_MEMORY);
}

static void
ring_and_hear(int eventfd)
{
	ring(eventfd);
	stage_dispatch();
}

/*
 * From the ring to the eventfd and back, as QEMU with KVM does it: enable, mask, resample, unmask;
 * then rings, IntrStatus, and the end of the interrupt by the resample eventfd.
 */
TEST(pin_with_resample)
{
	int own, fd = test_eventfd(), resample = test_eventfd();

	open_pin_device();
	own = room_vector(5);
	CHECK_EQ(room_set_eventfds(TRIGGER, INTX, 0, 1, &fd, 1), 0);
	CHECK_EQ(room_set_irqs(NONE | MASK, INTX, 0, 1), 0);
	CHECK_EQ(room_set_eventfds(UNMASK, INTX, 0, 1, &resample, 1), 0);
	CHECK_EQ(room_set_irqs(NONE | UNMASK, INTX, 0, 1), 0);
	room_write(0, IVSHMEM_REG_INTR_MASK, 4, 1);
	CHECK_EQ(stage_count(fd), 0);
	ring_and_hear(own);
	CHECK_EQ(stage_count(fd), 1);
	/* The guest says that it is done before it looks at IntrStatus: it comes again. */
	ring_and_hear(resample);
	CHECK_EQ(stage_count(fd), 1);
	CHECK_EQ(room_read(0, IVSHMEM_REG_INTR_STATUS, 4), 1);
	ring_and_hear(resample);
	CHECK_EQ(stage_count(fd), 0);
	/* Rings while it is low and unmasked. */
	ring_and_hear(own);
	CHECK_EQ(stage_count(fd), 1);
	/* The command register keeps it from the pin. */
	CHECK_EQ(room_read(0, IVSHMEM_REG_INTR_STATUS, 4), 1);
	room_write(7, 4, 2, 0x400);
	ring(own);
	ring_and_hear(resample);
	CHECK_EQ(stage_count(fd), 0);
	room_write(7, 4, 2, 0);
	CHECK_EQ(stage_count(fd), 1);
	/* The VMM is gone: nothing of it is rung any more. */
	room_change_vmm();
	ring_and_hear(own);
	CHECK_EQ(stage_count(fd), 0);
	room_close();
}

/* As QEMU without a resample eventfd, and Cloud Hypervisor: UNMASK after each access. */
TEST(pin_with_messages)
{
	int own, fd = test_eventfd();

	open_pin_device();
	own = room_vector(5);
	CHECK_EQ(room_set_eventfds(TRIGGER, INTX, 0, 1, &fd, 1), 0);
	room_write(0, IVSHMEM_REG_INTR_MASK, 4, UINT32_MAX);
	for (unsigned i = 0; i < 10; i++) {
		ring_and_hear(own);
		CHECK_EQ(stage_count(fd), 1);
		CHECK_EQ(room_set_irqs(NONE | UNMASK, INTX, 0, 1), 0);
		CHECK_EQ(stage_count(fd), 1);
		CHECK_EQ(room_read(0, IVSHMEM_REG_INTR_STATUS, 4), 1);
		CHECK_EQ(room_set_irqs(NONE | UNMASK, INTX, 0, 1), 0);
		CHECK_EQ(room_set_irqs(NONE | UNMASK, INTX, 0, 1), 0);
		CHECK_EQ(stage_count(fd), 0);
	}
	/* A reset of the function keeps the eventfd. */
	CHECK_EQ(room_request(VFIO_USER_DEVICE_RESET, NULL, 0, NULL, 0), 0);
	room_write(0, IVSHMEM_REG_INTR_MASK, 4, 1);
	room_write(0, IVSHMEM_REG_INTR_STATUS, 4, 1);
	CHECK_EQ(stage_count(fd), 1);
	CHECK_EQ(room_set_irqs(NONE | TRIGGER, INTX, 0, 0), 0);
	CHECK_EQ(room_set_irqs(NONE | UNMASK, INTX, 0, 1), 0);
	CHECK_EQ(stage_count(fd), 0);
	room_close();
}

/* A ring before the VMM gave an eventfd is delivered once; the switch between two loses none. */
ROOM_TEST(rings_without_an_eventfd)
{
	int own[2], fd = test_eventfd(), other = test_eventfd();

	own[0] = room_vector(5);
	own[1] = room_vector(5);
	ring(own[1]);
	ring_and_hear(own[1]);
	/* QEMU first says that there are vectors, without one. */
	CHECK_EQ(room_set_eventfds(TRIGGER, MSIX, 0, 1, NULL, 0), 0);
	CHECK_EQ(room_set_eventfds(TRIGGER, MSIX, 0, 2, (const int[]){other, fd}, 2), 0);
	CHECK_EQ(stage_count(fd), 1);
	CHECK_EQ(stage_count(other), 0);
	for (unsigned i = 0; i < 5; i++) {
		ring_and_hear(own[1]);
		CHECK_EQ(stage_count(fd), 1);
		/* Away, and another one. */
		CHECK_EQ(room_set_eventfds(TRIGGER, MSIX, 1, 1, NULL, 0), 0);
		ring_and_hear(own[1]);
		CHECK_EQ(room_set_eventfds(TRIGGER, MSIX, 1, 1, &other, 1), 0);
		CHECK_EQ(stage_count(other), 1);
		CHECK_EQ(room_set_eventfds(TRIGGER, MSIX, 1, 1, &fd, 1), 0);
		CHECK_EQ(stage_count(fd), 0);
	}
	ring_and_hear(own[0]);
	CHECK_EQ(stage_count(other), 1);
	/* What came for one VMM is not for the next. */
	CHECK_EQ(room_set_irqs(NONE | TRIGGER, MSIX, 0, 0), 0);
	ring_and_hear(own[0]);
	ring(own[1]);
	room_change_vmm();
	CHECK_EQ(room_version("{}"), 0);
	CHECK_EQ(room_set_eventfds(TRIGGER, MSIX, 0, 2, (const int[]){other, fd}, 2), 0);
	stage_dispatch();
	CHECK_EQ(stage_count(fd), 0);
	CHECK_EQ(stage_count(other), 0);
}

/* A VMM that gives the eventfd by which the peers ring has it to itself. */
ROOM_TEST(rings_that_the_vmm_takes_itself)
{
	int own = room_vector(5);

	CHECK_EQ(room_set_eventfds(TRIGGER, MSIX, 0, 1, &own, 1), 0);
	ring_and_hear(own);
	CHECK_EQ(stage_count(own), 1);
}

ROOM_TEST(ring_ourselves)
{
	int fd = test_eventfd();

	room_vector(5);
	CHECK_EQ(room_set_eventfds(TRIGGER, MSIX, 0, 1, &fd, 1), 0);
	room_write(0, IVSHMEM_REG_DOORBELL, 4, 5 << 16);
	stage_dispatch();
	CHECK_EQ(stage_count(fd), 1);
}
