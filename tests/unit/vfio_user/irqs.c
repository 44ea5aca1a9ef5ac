/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * The eventfds of the VMM: what fires, when INTx is masked and fires again, and what is closed. And
 * the same from the register to the eventfd, with a device of revision 0 and one of revision 1.
 */

#include <function/irqs.h>
#include <vfio_user_room.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define INTX VFIO_PCI_INTX_IRQ_INDEX
#define MSIX VFIO_PCI_MSIX_IRQ_INDEX
#define ERR  VFIO_PCI_ERR_IRQ_INDEX

#define NONE    VFIO_USER_IRQ_SET_DATA_NONE
#define TRIGGER VFIO_USER_IRQ_SET_ACTION_TRIGGER
#define MASK    VFIO_USER_IRQ_SET_ACTION_MASK
#define UNMASK  VFIO_USER_IRQ_SET_ACTION_UNMASK

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

static int
new_eventfd(void)
{
	return CHECK_SYS(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
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
ring(int fd)
{
	CHECK_SYS(eventfd_write(fd, 1));
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
	int a = new_eventfd(), b = new_eventfd();

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
	close(a);
	close(b);
}

TEST(nothing_is_kept)
{
	unsigned before = test_open_fds();
	int fd = new_eventfd();

	open_irqs(true, 2048);
	for (unsigned i = 0; i < 100; i++)
		assign(MSIX, i * 20, fd);
	assign(INTX, 0, fd);
	assign(ERR, 0, fd);
	set_resample(fd);
	irqs_clear(&irqs);
	CHECK_EQ(test_open_fds(), before + 4); /* fd, two of the loop, one to ring with */
	for (unsigned i = 0; i < 100; i++)
		assign(MSIX, 7, fd);
	CHECK_EQ(test_open_fds(), before + 5);
	close_irqs();
	close(fd);
	CHECK_EQ(test_open_fds(), before);
}

TEST(stopped)
{
	int fd = new_eventfd();

	open_irqs(false, 2);
	assign(MSIX, 0, fd);
	irqs_set_stopped(&irqs, true);
	CHECK_EQ(irqs_fire(&irqs, MSIX, 0), -EAGAIN);
	irqs_set_stopped(&irqs, false);
	CHECK_EQ(stage_count(fd), 0);
	CHECK_EQ(irqs_fire(&irqs, MSIX, 0), 0);
	CHECK_EQ(stage_count(fd), 1);
	close_irqs();
	close(fd);
}

/* A VMM that never reads it, and one that made it a blocking one: nobody waits. */
TEST(full_eventfd)
{
	int fd = CHECK_SYS(eventfd(0, EFD_CLOEXEC));

	open_irqs(false, 1);
	CHECK_SYS(eventfd_write(fd, UINT64_MAX - 1));
	assign(MSIX, 0, fd);
	CHECK_EQ(irqs_fire(&irqs, MSIX, 0), 0);
	CHECK_EQ(irqs_fire(&irqs, MSIX, 0), 0);
	close_irqs();
	close(fd);
}

/* ---- INTx ------------------------------------------------------------------------------------------ */

TEST(level)
{
	int fd = new_eventfd();

	open_irqs(true, 0);
	assign(INTX, 0, fd);
	CHECK_EQ(stage_count(fd), 0);
	/* Fires once, and masks itself. */
	irqs_set_intx(&irqs, true);
	CHECK_EQ(stage_count(fd), 1);
	irqs_set_intx(&irqs, true);
	irqs_set_intx(&irqs, false);
	irqs_set_intx(&irqs, true);
	CHECK_EQ(stage_count(fd), 0);
	/* Unmasked while high: again. */
	irqs_unmask_intx(&irqs);
	CHECK_EQ(stage_count(fd), 1);
	irqs_set_intx(&irqs, false);
	irqs_unmask_intx(&irqs);
	irqs_unmask_intx(&irqs);
	CHECK_EQ(stage_count(fd), 0);
	irqs_set_intx(&irqs, true);
	CHECK_EQ(stage_count(fd), 1);
	close_irqs();
	close(fd);
}

TEST(masked_by_the_vmm)
{
	int fd = new_eventfd();

	open_irqs(true, 0);
	assign(INTX, 0, fd);
	irqs_mask_intx(&irqs);
	irqs_set_intx(&irqs, true);
	CHECK_EQ(stage_count(fd), 0);
	irqs_unmask_intx(&irqs);
	CHECK_EQ(stage_count(fd), 1);
	close_irqs();
	close(fd);
}

/* What was high before there was an eventfd fires when there is one, and did not mask itself. */
TEST(high_before_the_eventfd)
{
	int a = new_eventfd(), b = new_eventfd();

	open_irqs(true, 0);
	irqs_set_intx(&irqs, true);
	assign(INTX, 0, a);
	CHECK_EQ(stage_count(a), 1);
	/* Replaced while masked: fires no more until it is unmasked, then into the new one. */
	assign(INTX, 0, b);
	CHECK_EQ(stage_count(b), 0);
	irqs_unmask_intx(&irqs);
	CHECK_EQ(stage_count(a), 0);
	CHECK_EQ(stage_count(b), 1);
	assign(INTX, 0, -1);
	irqs_unmask_intx(&irqs);
	assign(INTX, 0, a);
	CHECK_EQ(stage_count(a), 1);
	close_irqs();
	close(a);
	close(b);
}

/* Disabled means unmasked, too. */
TEST(disabled)
{
	int fd = new_eventfd(), resample = new_eventfd();

	open_irqs(true, 0);
	assign(INTX, 0, fd);
	set_resample(resample);
	irqs_set_intx(&irqs, true);
	CHECK_EQ(stage_count(fd), 1);
	irqs_disable(&irqs, INTX);
	ring(resample);
	dispatch();
	CHECK_EQ(stage_count(resample), 1);
	CHECK_EQ(stage_count(fd), 0);
	assign(INTX, 0, fd);
	CHECK_EQ(stage_count(fd), 1);
	close_irqs();
	close(fd);
	close(resample);
}

TEST(stopped_while_high)
{
	int fd = new_eventfd();

	open_irqs(true, 0);
	assign(INTX, 0, fd);
	irqs_set_stopped(&irqs, true);
	irqs_set_intx(&irqs, true);
	irqs_unmask_intx(&irqs);
	CHECK_EQ(stage_count(fd), 0);
	irqs_set_stopped(&irqs, false);
	CHECK_EQ(stage_count(fd), 1);
	/* It masked itself, and that holds. */
	irqs_set_stopped(&irqs, true);
	irqs_set_stopped(&irqs, false);
	CHECK_EQ(stage_count(fd), 0);
	/* What went low meanwhile does not fire. */
	irqs_set_stopped(&irqs, true);
	irqs_unmask_intx(&irqs);
	irqs_set_intx(&irqs, false);
	irqs_set_stopped(&irqs, false);
	CHECK_EQ(stage_count(fd), 0);
	close_irqs();
	close(fd);
}

/* ---- the resample eventfd ---------------------------------------------------------------------------- */

TEST(resample)
{
	int fd = new_eventfd(), resample = new_eventfd();

	open_irqs(true, 0);
	assign(INTX, 0, fd);
	set_resample(resample);
	dispatch();
	CHECK_EQ(stage_count(fd), 0);
	irqs_set_intx(&irqs, true);
	CHECK_EQ(stage_count(fd), 1);
	for (unsigned i = 0; i < 3; i++) {
		ring(resample);
		dispatch();
		CHECK_EQ(stage_count(resample), 0);
		CHECK_EQ(stage_count(fd), 1);
	}
	irqs_set_intx(&irqs, false);
	ring(resample);
	dispatch();
	CHECK_EQ(stage_count(fd), 0);
	/* Unmasked now, so the next one fires at once. */
	irqs_set_intx(&irqs, true);
	CHECK_EQ(stage_count(fd), 1);
	close_irqs();
	close(fd);
	close(resample);
}

/* Rung before it was given, several times: it counts, once. */
TEST(resample_rung_before)
{
	int fd = new_eventfd(), resample = new_eventfd();

	open_irqs(true, 0);
	assign(INTX, 0, fd);
	irqs_set_intx(&irqs, true);
	CHECK_EQ(stage_count(fd), 1);
	CHECK_SYS(eventfd_write(resample, 1000));
	set_resample(resample);
	dispatch();
	CHECK_EQ(stage_count(fd), 1);
	CHECK_EQ(stage_count(resample), 0);
	close_irqs();
	close(fd);
	close(resample);
}

TEST(resample_replaced_and_removed)
{
	int fd = new_eventfd(), a = new_eventfd(), b = new_eventfd();

	open_irqs(true, 0);
	assign(INTX, 0, fd);
	irqs_set_intx(&irqs, true);
	CHECK_EQ(stage_count(fd), 1);
	set_resample(a);
	set_resample(b);
	ring(a);
	dispatch();
	CHECK_EQ(stage_count(a), 1);
	CHECK_EQ(stage_count(fd), 0);
	ring(b);
	dispatch();
	CHECK_EQ(stage_count(fd), 1);
	set_resample(-1);
	ring(b);
	dispatch();
	CHECK_EQ(stage_count(b), 1);
	CHECK_EQ(stage_count(fd), 0);
	set_resample(-1);
	/* The VMM closes its end of one that is watched. */
	set_resample(a);
	close(a);
	dispatch();
	close_irqs();
	close(fd);
	close(b);
}

/* Reading it does not wait, though the VMM made it one that waits. */
TEST(resample_in_blocking_mode)
{
	int fd = new_eventfd(), resample = CHECK_SYS(eventfd(0, EFD_CLOEXEC));

	open_irqs(true, 0);
	assign(INTX, 0, fd);
	set_resample(resample);
	irqs_set_intx(&irqs, true);
	CHECK_EQ(stage_count(fd), 1);
	ring(resample);
	dispatch();
	CHECK_EQ(stage_count(fd), 1);
	dispatch();
	close_irqs();
	close(fd);
	close(resample);
}

/* What cannot be watched is refused, and stays the caller's. */
TEST(resample_that_cannot_be_watched)
{
	int file, before;
	char path[200];

	open_irqs(true, 0);
	snprintf(path, sizeof(path), "%s/file", test_directory());
	file = CHECK_SYS(open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600));
	before = file;
	CHECK_EQ(irqs_set_resample(&irqs, &file), -EPERM);
	CHECK_EQ(file, before);
	set_resample(-1);
	close_irqs();
	close(file);
}

/* ---- through the device ------------------------------------------------------------------------------ */

static void
open_pin_device(void)
{
	struct ivshmem_device_config config = room_config(0, 1);

	config.msi = false;
	room_open(&config);
	CHECK_EQ(room_version("{}"), 0);
	stage_say(0, -1);
	stage_say(5, -1);
	stage_say_and_dispatch(-1, stage_memory(STAGE_MEMORY));
}

/*
 * From the ring to the eventfd and back, as QEMU with KVM does it: enable, mask, resample, unmask;
 * then rings, IntrStatus, and the end of the interrupt by the resample eventfd.
 */
TEST(pin_with_resample)
{
	int own, fd = new_eventfd(), resample = new_eventfd();

	open_pin_device();
	own = stage_give_vector(5);
	CHECK_EQ(room_set_eventfds(TRIGGER, INTX, 0, 1, &fd, 1), 0);
	CHECK_EQ(room_set_irqs(NONE | MASK, INTX, 0, 1), 0);
	CHECK_EQ(room_set_eventfds(UNMASK, INTX, 0, 1, &resample, 1), 0);
	CHECK_EQ(room_set_irqs(NONE | UNMASK, INTX, 0, 1), 0);
	room_write(0, IVSHMEM_REG_INTR_MASK, 4, 1);
	CHECK_EQ(stage_count(fd), 0);
	ring(own);
	stage_dispatch();
	CHECK_EQ(stage_count(fd), 1);
	/* The guest says that it is done before it looks at IntrStatus: it comes again. */
	ring(resample);
	stage_dispatch();
	CHECK_EQ(stage_count(fd), 1);
	CHECK_EQ(room_read(0, IVSHMEM_REG_INTR_STATUS, 4), 1);
	ring(resample);
	stage_dispatch();
	CHECK_EQ(stage_count(fd), 0);
	/* Rings while it is low and unmasked. */
	ring(own);
	stage_dispatch();
	CHECK_EQ(stage_count(fd), 1);
	/* The command register keeps it from the pin. */
	CHECK_EQ(room_read(0, IVSHMEM_REG_INTR_STATUS, 4), 1);
	room_write(7, 4, 2, 0x400);
	ring(own);
	ring(resample);
	stage_dispatch();
	CHECK_EQ(stage_count(fd), 0);
	room_write(7, 4, 2, 0);
	CHECK_EQ(stage_count(fd), 1);
	/* The VMM is gone: nothing of it is rung any more. */
	room_change_vmm();
	ring(own);
	stage_dispatch();
	CHECK_EQ(stage_count(fd), 0);
	close(fd);
	close(resample);
	room_close();
}

/* As QEMU without a resample eventfd, and Cloud Hypervisor: UNMASK after each access. */
TEST(pin_with_messages)
{
	int own, fd = new_eventfd();

	open_pin_device();
	own = stage_give_vector(5);
	CHECK_EQ(room_set_eventfds(TRIGGER, INTX, 0, 1, &fd, 1), 0);
	room_write(0, IVSHMEM_REG_INTR_MASK, 4, UINT32_MAX);
	for (unsigned i = 0; i < 10; i++) {
		ring(own);
		stage_dispatch();
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
	close(fd);
	room_close();
}

/* A ring before the VMM gave an eventfd is delivered once; the switch between two loses none. */
TEST(rings_without_an_eventfd)
{
	int own[2], fd = new_eventfd(), other = new_eventfd();

	room_open_simple(1, 2);
	own[0] = stage_give_vector(5);
	own[1] = stage_give_vector(5);
	ring(own[1]);
	ring(own[1]);
	stage_dispatch();
	/* QEMU first says that there are vectors, without one. */
	CHECK_EQ(room_set_eventfds(TRIGGER, MSIX, 0, 1, NULL, 0), 0);
	CHECK_EQ(room_set_eventfds(TRIGGER, MSIX, 0, 2, (const int[]){other, fd}, 2), 0);
	CHECK_EQ(stage_count(fd), 1);
	CHECK_EQ(stage_count(other), 0);
	for (unsigned i = 0; i < 5; i++) {
		ring(own[1]);
		stage_dispatch();
		CHECK_EQ(stage_count(fd), 1);
		/* Away, and another one. */
		CHECK_EQ(room_set_eventfds(TRIGGER, MSIX, 1, 1, NULL, 0), 0);
		ring(own[1]);
		stage_dispatch();
		CHECK_EQ(room_set_eventfds(TRIGGER, MSIX, 1, 1, &other, 1), 0);
		CHECK_EQ(stage_count(other), 1);
		CHECK_EQ(room_set_eventfds(TRIGGER, MSIX, 1, 1, &fd, 1), 0);
		CHECK_EQ(stage_count(fd), 0);
	}
	ring(own[0]);
	stage_dispatch();
	CHECK_EQ(stage_count(other), 1);
	/* What came for one VMM is not for the next. */
	CHECK_EQ(room_set_irqs(NONE | TRIGGER, MSIX, 0, 0), 0);
	ring(own[0]);
	stage_dispatch();
	ring(own[1]);
	room_change_vmm();
	CHECK_EQ(room_version("{}"), 0);
	CHECK_EQ(room_set_eventfds(TRIGGER, MSIX, 0, 2, (const int[]){other, fd}, 2), 0);
	stage_dispatch();
	CHECK_EQ(stage_count(fd), 0);
	CHECK_EQ(stage_count(other), 0);
	close(fd);
	close(other);
	room_close();
}

TEST(ring_ourselves)
{
	int fd = new_eventfd();

	room_open_simple(1, 1);
	stage_give_vector(5);
	CHECK_EQ(room_set_eventfds(TRIGGER, MSIX, 0, 1, &fd, 1), 0);
	room_write(0, IVSHMEM_REG_DOORBELL, 4, 5 << 16);
	stage_dispatch();
	CHECK_EQ(stage_count(fd), 1);
	close(fd);
	room_close();
}
