/* SPDX-License-Identifier: BSD-2-Clause */
#include <base/error.h>
#include <base/log.h>
#include <kvm/intx.h>
#include <kvm/ioctls.h>

#include <base/eventfd.h>
#include <base/fd.h>

#include <errno.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

/* ---- the kernel ------------------------------------------------------------------------------- */

static int
set_irqfd(const struct intx *intx, bool assign)
{
	struct kvm_irqfd irqfd = {
		.fd = (uint32_t)intx->trigger,
		.gsi = intx->gsi,
		.flags = assign ? KVM_IRQFD_FLAG_RESAMPLE : KVM_IRQFD_FLAG_DEASSIGN,
		.resamplefd = (uint32_t)intx->resample.fd,
	};

	return kvm_ioctl(intx->vm_fd, KVM_IRQFD, &irqfd);
}

static void
set_line(struct intx *intx)
{
	struct kvm_irq_level line = {.irq = intx->gsi, .level = intx->level};
	int r = kvm_ioctl(intx->vm_fd, KVM_IRQ_LINE, &line);

	if (r >= 0 || intx->failed)
		return;
	intx->failed = true;
	log_warning(intx->log,
		"the kernel does not set GSI %u, the interrupt pin: %s; the guest gets no INTx "
		"interrupts (are there interrupt controllers, KVM_CREATE_IRQCHIP?)",
		intx->gsi, strerror(-r));
}

static void
assign(struct intx *intx)
{
	int r = set_irqfd(intx, true);

	if (r >= 0)
		return;
	intx->by_line = true;
	log_warning(intx->log,
		"the kernel does not attach a resampling irqfd to GSI %u, the interrupt pin: %s; "
		"it is set by KVM_IRQ_LINE, and must not be shared with another pin",
		intx->gsi, strerror(-r));
	set_line(intx);
}

/* The guest ended an interrupt. */
static void
resampled(struct loop_source *source, uint32_t events)
{
	struct intx *intx = container_of(source, struct intx, resample);
	uint64_t count;

	(void)events;
	if (eventfd_take(source->fd, &count) == 0)
		intx_set(intx, intx->level);
}

/* ---- the device ------------------------------------------------------------------------------- */

void
intx_set(struct intx *intx, bool level)
{
	intx->level = level;
	if (!intx->wired)
		return;
	if (intx->by_line)
		set_line(intx);
	else if (level)
		eventfd_ring(intx->trigger);
}

void
intx_restart(struct intx *intx)
{
	if (!intx->wired || intx->by_line || intx->level)
		return;
	/* The line falls when the last irqfd of a GSI is removed. */
	set_irqfd(intx, false);
	assign(intx);
}

int
intx_init(struct intx *intx, struct loop *loop, int vm_fd, int32_t gsi, const struct log *log,
	struct ivshmem_error *reterr)
{
	int r;

	*intx = INTX_NONE;
	intx->log = log;
	intx->vm_fd = vm_fd;
	if (gsi < 0)
		return 0;
	intx->gsi = (uint32_t)gsi;
	intx->trigger = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	intx->resample.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (intx->trigger < 0 || intx->resample.fd < 0)
		r = -errno;
	else
		r = loop_add(loop, &intx->resample, intx->resample.fd, EPOLLIN, resampled);
	if (r < 0) {
		intx_done(intx);
		return error_set(reterr, r, "cannot make an eventfd for INTx: %s", strerror(-r));
	}
	intx->wired = true;
	assign(intx);
	return 0;
}

void
intx_done(struct intx *intx)
{
	if (intx->wired && !intx->by_line)
		set_irqfd(intx, false);
	else if (intx->level)
		intx_set(intx, false);
	loop_del(&intx->resample);
	intx->resample.fd = fd_close(intx->resample.fd);
	intx->trigger = fd_close(intx->trigger);
	intx->wired = false;
}
