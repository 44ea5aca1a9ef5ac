/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * SET_IRQS: the eventfds for the interrupts, and their masks. The model is the kernel's
 * VFIO_DEVICE_SET_IRQS. The whole request is checked before anything is done.
 */
#include <base/error.h>
#include <base/eventfd.h>
#include <function/function.h>
#include <vfio_user/handlers.h>

#include <errno.h>
#include <string.h>

#define DATA_BITS                                                                                  \
	(VFIO_USER_IRQ_SET_DATA_NONE | VFIO_USER_IRQ_SET_DATA_BOOL | VFIO_USER_IRQ_SET_DATA_EVENTFD)
#define ACTION_BITS                                                                                \
	(VFIO_USER_IRQ_SET_ACTION_MASK | VFIO_USER_IRQ_SET_ACTION_UNMASK |                         \
		VFIO_USER_IRQ_SET_ACTION_TRIGGER)

static bool
is_one_bit(uint32_t value)
{
	return value != 0 && (value & (value - 1)) == 0;
}

/* What is wrong with the request, or NULL. */
static const char *
check(const struct irqs *irqs, const struct vfio_user_irq_set *set, const struct request *request)
{
	uint32_t data = set->flags & DATA_BITS, action = set->flags & ACTION_BITS;
	size_t extra = request->length - sizeof(*set);
	uint32_t available;

	if (set->argsz < sizeof(*set))
		return "argsz is smaller than the structure";
	if (set->flags & ~(DATA_BITS | ACTION_BITS) || !is_one_bit(data) || !is_one_bit(action))
		return "its flags are not exactly one kind of data and one action";
	if (set->index >= VFIO_PCI_NUM_IRQS)
		return "there is no such interrupt index";
	available = irqs->index[set->index].count;
	if (set->start > available || set->count > available - set->start)
		return "it goes beyond the interrupts of this index";
	if (set->count == 0 &&
		!(set->flags == (VFIO_USER_IRQ_SET_DATA_NONE | VFIO_USER_IRQ_SET_ACTION_TRIGGER) &&
			set->start == 0))
		return "its count is 0";
	if (action != VFIO_USER_IRQ_SET_ACTION_TRIGGER && set->index != VFIO_PCI_INTX_IRQ_INDEX)
		return "only INTx can be masked";
	if (data == VFIO_USER_IRQ_SET_DATA_EVENTFD) {
		if (action == VFIO_USER_IRQ_SET_ACTION_MASK)
			return "an eventfd cannot mask";
		if (request->n_fds != 0 && request->n_fds != set->count)
			return "it has not one descriptor for each interrupt";
		for (unsigned i = 0; i < request->n_fds; i++)
			if (!eventfd_is(request->fds[i]))
				return "one of its descriptors is no eventfd";
	} else if (request->n_fds > 0) {
		return "descriptors came without being announced";
	}
	if (extra != (data == VFIO_USER_IRQ_SET_DATA_BOOL ? set->count : 0))
		return "its data has not the length that its count asks for";
	return NULL;
}

static int
set_resample(struct session *session, struct request *request)
{
	int none = -1;
	int r = irqs_set_resample(
		&session->function->irqs, request->n_fds > 0 ? &request->fds[0] : &none);

	if (r < 0)
		return error_set(&session->error, r, "the resample eventfd cannot be watched: %s",
			strerror(-r));
	return 0;
}

static void
set_triggers(
	struct function *function, const struct vfio_user_irq_set *set, struct request *request)
{
	for (uint32_t i = 0; i < set->count; i++) {
		int none = -1;

		function_assign(function, set->index, set->start + i,
			request->n_fds > 0 ? &request->fds[i] : &none);
	}
}

int
handle_set_irqs(struct session *session, struct request *request, struct reply *reply)
{
	struct function *function = session->function;
	struct irqs *irqs = &function->irqs;
	struct vfio_user_irq_set set;
	const char *wrong;

	(void)reply;
	memcpy(&set, request->body, sizeof(set));
	wrong = check(irqs, &set, request);
	if (wrong)
		return error_set(&session->error, -EINVAL,
			"%s (flags 0x%x, index %u, start %u, count %u, %u descriptors)", wrong,
			set.flags, set.index, set.start, set.count, request->n_fds);
	if (set.flags & VFIO_USER_IRQ_SET_DATA_EVENTFD) {
		if (set.flags & VFIO_USER_IRQ_SET_ACTION_UNMASK)
			return set_resample(session, request);
		set_triggers(function, &set, request);
		return 0;
	}
	if (set.count == 0)
		function_disable(function, set.index);
	for (uint32_t i = 0; i < set.count; i++) {
		if (set.flags & VFIO_USER_IRQ_SET_DATA_BOOL && !request->body[sizeof(set) + i])
			continue;
		if (set.flags & VFIO_USER_IRQ_SET_ACTION_TRIGGER)
			irqs_fire(irqs, set.index, set.start + i); /* the VMM tries it out */
		else if (set.flags & VFIO_USER_IRQ_SET_ACTION_MASK)
			irqs_mask_intx(irqs);
		else
			irqs_unmask_intx(irqs);
	}
	return 0;
}
