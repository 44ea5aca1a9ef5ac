/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef KVM_BINDING_H
#define KVM_BINDING_H

/*
 * The inside of src/kvm.
 *
 * Theory of operation. Three things are put together here: the device model, which says what ought
 * to be done; the member, which has the memory and the eventfds; and the VM, which is asked to use
 * them. effects.c does what the model asks for, with the help of routes.c and intx.c. kvm.c has the
 * life of all that and the public functions, each of which takes the lock and calls the model.
 *
 * Our own eventfds are read by one at a time: KVM while an irqfd is attached, else the member's
 * loop, else, when asked by the model, effects.c. The one before lets go first, and a ring between
 * the two stays in the eventfd: KVM_IRQFD fires at once if it finds one there, and so does the loop.
 * What KVM read it has injected by the time it lets go.
 *
 * A descriptor given to KVM stays open as long as KVM has it: the member closes those of a peer after
 * the model has taken its triggers away, and its own at the end.
 *
 * Lock order: whatever lock of the VMM is held around a call, our lock, the kernel's. Threads that
 * run the guest are in the kernel or in one of our functions, never with a lock of the kernel in
 * one of ours.
 */

#include <kvm/intx.h>
#include <kvm/public.h>
#include <kvm/routes.h>

#include <base/log.h>
#include <member/member.h>

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct loop;

struct ivshmem_kvm {
	pthread_mutex_t lock; /* for everything below, but what never changes */

	int vm_fd;
	uint32_t memory_slot, first_gsi;
	void (*log_fn)(enum ivshmem_log_level level, const char *message, void *data);
	void *data;
	struct log log;

	struct loop *loop;
	struct member *member;
	struct ivshmem_device *device;
	struct routes routes;
	struct intx intx;

	bool connected, mapped;
	unsigned ioeventfds, irqfds;
	uint64_t rings, messages;
	bool warned_messages;
};

/* ---- effects.c -------------------------------------------------------------------------------- */

extern const struct ivshmem_device_ops effects;

/*
 * The guest is about to write something that may let it be interrupted with many vectors at once:
 * want their routes together, rather than one after the other when the model asks for each.
 */
void effects_prepare_routes(struct ivshmem_kvm *kvm);

#endif
