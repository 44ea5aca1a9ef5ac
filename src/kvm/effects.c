/* SPDX-License-Identifier: BSD-2-Clause */

/* Does with KVM what the model asks for. If KVM refuses something, the model hears of it, takes
 * another way and warns. */

#include <kvm/binding.h>
#include <kvm/ioctls.h>

#include <trace/trace.h>

#include <ivshmem/abi.h>

#include <errno.h>
#include <linux/kvm.h>
#include <string.h>

/* ---- the memory ------------------------------------------------------------------------------- */

/* A size of 0 removes the slot. */
static int
set_slot(const struct ivshmem_kvm *kvm, uint64_t address, uint64_t size)
{
	struct kvm_userspace_memory_region region = {
		.slot = kvm->memory_slot,
		/* Stores then come to device_write(). */
		.flags = member_is_reader(kvm->member) ? KVM_MEM_READONLY : 0,
		.guest_phys_addr = address,
		.memory_size = size,
		.userspace_addr = (uintptr_t)member_memory(kvm->member),
	};

	return kvm_ioctl(kvm->vm_fd, KVM_SET_USER_MEMORY_REGION, &region);
}

static int
map_memory(struct ivshmem_device *device, uint64_t address, uint64_t size, void *data)
{
	struct ivshmem_kvm *kvm = data;
	int r = set_slot(kvm, address, size);

	(void)device;
	TRACE(kvm_memory, address, size, r < 0 ? r : 0);
	kvm->mapped = r >= 0;
	return r;
}

static void
unmap_memory(struct ivshmem_device *device, uint64_t address, uint64_t size, void *data)
{
	struct ivshmem_kvm *kvm = data;

	(void)device, (void)size;
	TRACE(kvm_memory, address, 0);
	set_slot(kvm, address, 0);
	kvm->mapped = false;
}

/* ---- the doorbell ----------------------------------------------------------------------------- */

static void
ring(struct ivshmem_device *device, uint16_t peer, unsigned vector, void *data)
{
	struct ivshmem_kvm *kvm = data;

	(void)device;
	kvm->rings++;
	member_ring(kvm->member, peer, vector);
}

/* Returns 1, 0 if there is no eventfd to be used, or a negative errno. */
static int
set_ioeventfd(
	struct ivshmem_kvm *kvm, const struct ivshmem_device_ioeventfd *ioeventfd, uint32_t flags)
{
	struct kvm_ioeventfd request = {
		.datamatch = ioeventfd->datamatch,
		.addr = ioeventfd->address,
		.len = ioeventfd->width,
		.fd = member_eventfd(kvm->member, ioeventfd->peer, ioeventfd->vector),
		.flags = (ioeventfd->match ? KVM_IOEVENTFD_FLAG_DATAMATCH : 0) | flags,
	};
	int r;

	/* The server sent something else for this vector, so it cannot be rung. */
	if (request.fd < 0)
		return 0;
	r = kvm_ioctl(kvm->vm_fd, KVM_IOEVENTFD, &request);
	return r < 0 ? r : 1;
}

static int
add_ioeventfd(
	struct ivshmem_device *device, const struct ivshmem_device_ioeventfd *ioeventfd, void *data)
{
	struct ivshmem_kvm *kvm = data;
	int r = set_ioeventfd(kvm, ioeventfd, 0);

	(void)device;
	if (r > 0)
		kvm->ioeventfds++;
	else
		TRACE(kvm_ioeventfd_refused, ioeventfd->peer, ioeventfd->vector, r);
	return r;
}

static void
remove_ioeventfd(
	struct ivshmem_device *device, const struct ivshmem_device_ioeventfd *ioeventfd, void *data)
{
	struct ivshmem_kvm *kvm = data;

	(void)device;
	if (set_ioeventfd(kvm, ioeventfd, KVM_IOEVENTFD_FLAG_DEASSIGN) > 0)
		kvm->ioeventfds--;
}

/* ---- interrupts ------------------------------------------------------------------------------- */

static void
set_intx(struct ivshmem_device *device, bool level, void *data)
{
	struct ivshmem_kvm *kvm = data;

	(void)device;
	intx_set(&kvm->intx, level);
}

static int
send_message(
	struct ivshmem_device *device, const struct ivshmem_device_message *message, void *data)
{
	struct ivshmem_kvm *kvm = data;
	struct kvm_msi msi = {
		.address_lo = (uint32_t)message->address,
		.address_hi = (uint32_t)(message->address >> 32),
		.data = message->data,
	};
	int r = kvm_ioctl(kvm->vm_fd, KVM_SIGNAL_MSI, &msi);

	(void)device;
	TRACE(kvm_message, message->vector, r < 0 ? r : 0);
	if (r > 0) {
		kvm->messages++;
		return 0;
	}
	/* The message names no processor that takes interrupts now. The model keeps the ring. */
	if (r == 0 || r == -EPERM)
		return -EAGAIN;
	if (!kvm->warned_messages)
		log_warning(&kvm->log,
			"the kernel does not send MSI-X messages: %s; the guest is not interrupted "
			"(are there interrupt controllers, KVM_CREATE_IRQCHIP?)",
			strerror(-r));
	kvm->warned_messages = true;
	return r;
}

static int
own_eventfd(const struct ivshmem_kvm *kvm, unsigned vector)
{
	return member_eventfd(kvm->member, (uint16_t)member_id(kvm->member), vector);
}

static int
set_irqfd(const struct ivshmem_kvm *kvm, unsigned vector, uint32_t flags)
{
	struct kvm_irqfd irqfd = {
		.fd = (uint32_t)own_eventfd(kvm, vector),
		.gsi = kvm->first_gsi + vector,
		.flags = flags,
	};

	return kvm_ioctl(kvm->vm_fd, KVM_IRQFD, &irqfd);
}

static int
attach_irqfd(
	struct ivshmem_device *device, const struct ivshmem_device_message *message, void *data)
{
	struct ivshmem_kvm *kvm = data;
	unsigned vector = message->vector;
	int r;

	(void)device;
	/* The server sent something else for this vector, so nobody can ring it. */
	if (own_eventfd(kvm, vector) < 0)
		return 0;
	/* The route comes first: KVM drops rings without one. */
	routes_want(&kvm->routes, vector, message->address, message->data);
	r = routes_commit(&kvm->routes);
	if (r < 0)
		return r;
	member_watch(kvm->member, vector, false);
	r = set_irqfd(kvm, vector, 0);
	TRACE(kvm_irqfd, vector, 1, r < 0 ? r : 0);
	if (r < 0) {
		member_watch(kvm->member, vector, true);
		return r;
	}
	kvm->irqfds++;
	return 0;
}

static void
detach_irqfd(struct ivshmem_device *device, unsigned vector, void *data)
{
	struct ivshmem_kvm *kvm = data;

	(void)device;
	if (own_eventfd(kvm, vector) < 0)
		return;
	set_irqfd(kvm, vector, KVM_IRQFD_FLAG_DEASSIGN);
	TRACE(kvm_irqfd, vector, 0);
	kvm->irqfds--;
	member_watch(kvm->member, vector, true);
}

static bool
take_ring(struct ivshmem_device *device, unsigned vector, void *data)
{
	struct ivshmem_kvm *kvm = data;

	(void)device;
	return member_take_ring(kvm->member, vector);
}

static void
drop_rings(struct ivshmem_device *device, void *data)
{
	struct ivshmem_kvm *kvm = data;

	(void)device;
	member_drop_rings(kvm->member);
}

/* ---- routes ----------------------------------------------------------------------------------- */

#define ENTRY_SIZE           16
#define ENTRY_CONTROL_MASKED 1

static uint32_t
table_dword(struct ivshmem_kvm *kvm, unsigned vector, unsigned offset)
{
	return (uint32_t)ivshmem_device_read(
		kvm->device, IVSHMEM_BAR_MSIX, (uint64_t)vector * ENTRY_SIZE + offset, 4);
}

/* A vector with an irqfd has the route of its table entry already. So its route does not change. */
void
effects_prepare_routes(struct ivshmem_kvm *kvm)
{
	unsigned n = ivshmem_device_msix_vectors(kvm->device);
	int32_t id = ivshmem_device_id(kvm->device);
	unsigned rung = id < 0 ? 0 : ivshmem_device_peer_vectors(kvm->device, (uint16_t)id);

	for (unsigned i = 0; i < n && i < rung; i++) {
		uint64_t address;

		if (table_dword(kvm, i, 12) & ENTRY_CONTROL_MASKED)
			continue;
		address = (uint64_t)table_dword(kvm, i, 4) << 32 |
			  (table_dword(kvm, i, 0) & ~UINT32_C(3));
		routes_want(&kvm->routes, i, address, table_dword(kvm, i, 8));
	}
	/* If this fails, attach_irqfd() finds the route that KVM refuses. */
	routes_commit(&kvm->routes);
}

/* ---- log -------------------------------------------------------------------------------------- */

static void
forward(struct ivshmem_device *device, enum ivshmem_log_level level, const char *message,
	void *data)
{
	const struct ivshmem_kvm *kvm = data;

	(void)device;
	log_printf(&kvm->log, level == IVSHMEM_LOG_WARNING ? LOG_LEVEL_WARNING : LOG_LEVEL_DEBUG,
		"%s", message);
}

const struct ivshmem_device_ops effects = {
	.struct_size = sizeof(effects),
	.map_memory = map_memory,
	.unmap_memory = unmap_memory,
	.set_intx = set_intx,
	.send_message = send_message,
	.ring = ring,
	.add_ioeventfd = add_ioeventfd,
	.remove_ioeventfd = remove_ioeventfd,
	.attach_irqfd = attach_irqfd,
	.detach_irqfd = detach_irqfd,
	.take_ring = take_ring,
	.drop_rings = drop_rings,
	.log = forward,
};
