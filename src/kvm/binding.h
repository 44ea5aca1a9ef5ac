/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef KVM_BINDING_H
#define KVM_BINDING_H

/*
 * The inside of src/kvm.
 *
 * Theory of operation. This folder puts three things together: the device model, which decides what
 * to do; the member, which has the memory and the eventfds; and the VM, which uses them. effects.c
 * does what the model asks for, with the help of routes.c and intx.c. kvm.c creates and frees all
 * of this, and has the public functions. Each of them takes the lock and calls the model.
 *
 * Our own eventfds have one reader at a time: KVM while an irqfd is attached, otherwise the
 * member's loop, or effects.c when the model asks for it. A reader lets go before the next one
 * begins. A ring between the two stays in the eventfd: KVM_IRQFD fires at once if it finds one
 * there, and so does the loop. KVM has injected all that it read by the time it lets go.
 *
 * A descriptor given to KVM stays open as long as KVM has it. The member closes the descriptors of
 * a peer after the model has removed the peer's triggers, and our own at the end.
 *
 * Lock order: first any lock that the VMM holds around a call, then our lock, then the kernel's.
 * Threads that run the guest are in the kernel or in one of our functions. In our functions, they
 * never hold a lock of the kernel.
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
	pthread_mutex_t lock; /* for everything below that ever changes */

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
 * The guest is about to write something that may open many vectors at once. Commit their routes
 * together, and not one after the other when the model asks for each irqfd.
 */
void effects_prepare_routes(struct ivshmem_kvm *kvm);

#endif
