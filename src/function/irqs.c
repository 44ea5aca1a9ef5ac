/* SPDX-License-Identifier: BSD-2-Clause */
#include <function/irqs.h>

#include <base/eventfd.h>
#include <base/fd.h>
#include <base/list.h>
#include <trace/trace.h>

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>

int
irqs_init(struct irqs *irqs, struct loop *loop, bool has_intx, unsigned msix_vectors)
{
	const unsigned counts[VFIO_PCI_NUM_IRQS] = {
		[VFIO_PCI_INTX_IRQ_INDEX] = has_intx ? 1 : 0,
		[VFIO_PCI_MSIX_IRQ_INDEX] = msix_vectors,
		[VFIO_PCI_ERR_IRQ_INDEX] = 1,
	};

	*irqs = (struct irqs){.loop = loop, .resample.fd = -1};
	ringer_init(&irqs->ringer);
	ringer_prepare(&irqs->ringer);
	for (unsigned i = 0; i < VFIO_PCI_NUM_IRQS; i++) {
		struct irq_index *index = &irqs->index[i];

		if (counts[i] == 0)
			continue;
		index->fds = malloc(counts[i] * sizeof(*index->fds));
		if (!index->fds) {
			irqs_done(irqs);
			return -ENOMEM;
		}
		index->count = counts[i];
		for (unsigned k = 0; k < index->count; k++)
			index->fds[k] = -1;
	}
	return 0;
}

void
irqs_clear(struct irqs *irqs)
{
	for (unsigned i = 0; i < VFIO_PCI_NUM_IRQS; i++)
		irqs_disable(irqs, i);
}

void
irqs_done(struct irqs *irqs)
{
	irqs_clear(irqs);
	for (unsigned i = 0; i < VFIO_PCI_NUM_IRQS; i++) {
		free(irqs->index[i].fds);
		irqs->index[i] = (struct irq_index){0};
	}
	ringer_done(&irqs->ringer);
}

/* ---- from the device -------------------------------------------------------------------------- */

int
irqs_fire(struct irqs *irqs, unsigned index, unsigned number)
{
	int fd = irqs->index[index].fds[number];

	if (irqs->stopped || fd < 0)
		return -EAGAIN;
	ringer_ring(&irqs->ringer, fd);
	TRACE(vmm_interrupt, index, number);
	return 0;
}

static void
fire_intx(struct irqs *irqs)
{
	if (irqs->intx_level && !irqs->intx_masked &&
		irqs_fire(irqs, VFIO_PCI_INTX_IRQ_INDEX, 0) == 0)
		irqs->intx_masked = irqs->intx_fired = irqs->touched = true;
}

void
irqs_set_intx(struct irqs *irqs, bool level)
{
	irqs->intx_level = level;
	if (irqs->index[VFIO_PCI_INTX_IRQ_INDEX].count > 0)
		fire_intx(irqs);
}

void
irqs_set_stopped(struct irqs *irqs, bool stopped)
{
	irqs->stopped = stopped;
	irqs_set_intx(irqs, irqs->intx_level);
}

/* ---- from the VMM ----------------------------------------------------------------------------- */

void
irqs_assign(struct irqs *irqs, unsigned index, unsigned number, int *fd)
{
	int *place = &irqs->index[index].fds[number];

	fd_close(*place);
	*place = fd_take(fd);
	if (index == VFIO_PCI_INTX_IRQ_INDEX)
		fire_intx(irqs);
}

static void
drop_resample(struct irqs *irqs)
{
	loop_del(&irqs->resample);
	irqs->resample.fd = fd_close(irqs->resample.fd);
}

void
irqs_disable(struct irqs *irqs, unsigned index)
{
	int *fds = irqs->index[index].fds;

	for (unsigned i = 0; fds && i < irqs->index[index].count; i++)
		fds[i] = fd_close(fds[i]);
	if (index == VFIO_PCI_INTX_IRQ_INDEX) {
		irqs->intx_masked = false;
		drop_resample(irqs);
	}
}

void
irqs_mask_intx(struct irqs *irqs)
{
	irqs->intx_fired = false;
	irqs->intx_masked = true;
}

void
irqs_unmask_intx(struct irqs *irqs)
{
	irqs->intx_masked = false;
	fire_intx(irqs);
}

static void
resampled(struct loop_source *source, uint32_t events)
{
	struct irqs *irqs = container_of(source, struct irqs, resample);
	uint64_t count;
	int r = eventfd_take(source->fd, &count);

	(void)events;
	irqs->touched = true;
	if (r == 0)
		irqs_unmask_intx(irqs);
	else if (r != -EAGAIN)
		drop_resample(irqs); /* or the loop would report it for ever */
}

int
irqs_set_resample(struct irqs *irqs, int *fd)
{
	int r;

	drop_resample(irqs);
	if (*fd < 0)
		return 0;
	r = loop_add(irqs->loop, &irqs->resample, *fd, EPOLLIN, resampled);
	if (r == 0)
		fd_take(fd);
	else
		irqs->resample.fd = -1;
	return r;
}
