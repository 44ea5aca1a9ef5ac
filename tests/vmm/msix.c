/* SPDX-License-Identifier: BSD-2-Clause */
#include <msix.h>

#include <base/fd.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>

#define ENTRY_SIZE     (MSIX_DWORDS * 4)
#define CONTROL_MASKED 0x1

int
msix_init(struct msix *msix, struct vm *vm, uint32_t first_gsi, unsigned n)
{
	*msix = (struct msix){.vm = vm, .first_gsi = first_gsi};
	if (n > GUEST_MSIX_VECTORS)
		n = GUEST_MSIX_VECTORS;
	for (unsigned i = 0; i < n; i++) {
		struct msix_vector *vector = &msix->vectors[i];

		vector->direct = -1;
		vector->entry[MSIX_CONTROL] = CONTROL_MASKED;
		vector->eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (vector->eventfd < 0)
			return -errno;
		msix->n++;
	}
	return 0;
}

/* ---- opening and closing ---------------------------------------------------------------------- */

static bool
take(int eventfd)
{
	eventfd_t count;

	return eventfd >= 0 && eventfd_read(eventfd, &count) == 0;
}

static int
source_of(const struct msix_vector *vector)
{
	return vector->direct >= 0 ? vector->direct : vector->eventfd;
}

static void
open_vector(struct msix *msix, unsigned i)
{
	struct msix_vector *vector = &msix->vectors[i];
	int source = source_of(vector);
	bool pending;

	if (vector->direct >= 0)
		msix->assign(msix->data, i, vector->direct);
	else
		msix->flush(msix->data);
	/* The kernel fires for a count that it finds, and yet leaves it. What is there afterwards can
	 * only be that: whatever comes later, the kernel takes. */
	pending = take(vector->eventfd);
	vm_irqfd(msix->vm, msix->first_gsi + i, source, -1, true);
	take(source);
	if (pending)
		eventfd_write(source, 1);
}

static void
close_vector(struct msix *msix, unsigned i)
{
	struct msix_vector *vector = &msix->vectors[i];

	vm_irqfd(msix->vm, msix->first_gsi + i, source_of(vector), -1, false);
	if (vector->direct >= 0)
		msix->assign(msix->data, i, vector->eventfd);
}

static void
sync_vector(struct msix *msix, unsigned i)
{
	struct msix_vector *vector = &msix->vectors[i];
	bool open = msix->gate && !(vector->entry[MSIX_CONTROL] & CONTROL_MASKED);

	if (open) {
		struct vm_route route = {.gsi = msix->first_gsi + i,
			.address = (uint64_t)vector->entry[MSIX_ADDRESS_HIGH] << 32 |
				   vector->entry[MSIX_ADDRESS],
			.data = vector->entry[MSIX_DATA]};

		vm_set_routes(msix->vm, &route, 1);
	}
	if (open == vector->open)
		return;
	vector->open = open;
	if (open)
		open_vector(msix, i);
	else
		close_vector(msix, i);
}

void
msix_set_gate(struct msix *msix, bool gate)
{
	if (gate == msix->gate)
		return;
	msix->gate = gate;
	for (unsigned i = 0; i < msix->n; i++)
		sync_vector(msix, i);
}

void
msix_set_direct(struct msix *msix, unsigned vector, int eventfd)
{
	struct msix_vector *v = &msix->vectors[vector];
	bool was_open = v->open;

	if (v->direct >= 0)
		return;
	if (was_open)
		close_vector(msix, vector);
	v->direct = fcntl(eventfd, F_DUPFD_CLOEXEC, 0);
	if (was_open)
		open_vector(msix, vector);
}

void
msix_reset(struct msix *msix)
{
	msix_set_gate(msix, false);
	for (unsigned i = 0; i < msix->n; i++) {
		struct msix_vector *vector = &msix->vectors[i];

		memset(vector->entry, 0, sizeof(vector->entry));
		vector->entry[MSIX_CONTROL] = CONTROL_MASKED;
		take(vector->eventfd);
	}
}

void
msix_done(struct msix *msix)
{
	msix_set_gate(msix, false);
	for (unsigned i = 0; i < msix->n; i++) {
		fd_close(msix->vectors[i].eventfd);
		fd_close(msix->vectors[i].direct);
	}
	msix->n = 0;
}

/* ---- accesses --------------------------------------------------------------------------------- */

uint32_t
msix_read(const struct msix *msix, uint64_t offset)
{
	if (offset / ENTRY_SIZE >= msix->n)
		return 0;
	return msix->vectors[offset / ENTRY_SIZE].entry[offset % ENTRY_SIZE / 4];
}

void
msix_write(struct msix *msix, uint64_t offset, uint32_t value)
{
	if (offset / ENTRY_SIZE >= msix->n)
		return;
	msix->vectors[offset / ENTRY_SIZE].entry[offset % ENTRY_SIZE / 4] = value;
	sync_vector(msix, (unsigned)(offset / ENTRY_SIZE));
}

static bool
is_pending(const struct msix_vector *vector)
{
	struct pollfd pollfd = {.fd = vector->eventfd, .events = POLLIN};

	return !vector->open && poll(&pollfd, 1, 0) == 1;
}

uint32_t
msix_pending(struct msix *msix, unsigned first)
{
	uint32_t bits = 0;

	msix->flush(msix->data);
	for (unsigned i = first; i < msix->n && i < first + 32; i++)
		if (is_pending(&msix->vectors[i]))
			bits |= UINT32_C(1) << (i - first);
	return bits;
}

/* ---- save and load ---------------------------------------------------------------------------- */

void
msix_save(struct msix *msix, struct msix_state state[GUEST_MSIX_VECTORS])
{
	memset(state, 0, GUEST_MSIX_VECTORS * sizeof(*state));
	for (unsigned i = 0; i < msix->n; i++) {
		memcpy(state[i].entry, msix->vectors[i].entry, sizeof(state[i].entry));
		state[i].pending = is_pending(&msix->vectors[i]);
	}
}

void
msix_load(struct msix *msix, const struct msix_state state[GUEST_MSIX_VECTORS])
{
	msix_reset(msix);
	for (unsigned i = 0; i < msix->n; i++) {
		memcpy(msix->vectors[i].entry, state[i].entry, sizeof(state[i].entry));
		if (state[i].pending)
			eventfd_write(msix->vectors[i].eventfd, 1);
	}
}
