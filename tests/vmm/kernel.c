/* SPDX-License-Identifier: BSD-2-Clause */

/* What KVM does for devices: interrupt routes, irqfds, ioeventfds. */
#include <vm.h>

#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#define N_PINS     24 /* of the IOAPIC, which are also the lines 0 to 23 */
#define N_PIC_PINS 8  /* of each of the two older controllers, lines 0 to 15 */

static int
call(int fd, unsigned long request, void *argument)
{
	return ioctl(fd, request, argument) < 0 ? -errno : 0;
}

/* The table as KVM_CREATE_IRQCHIP makes it, which setting another one replaces. */
static struct kvm_irq_routing_entry *
add_pins(struct kvm_irq_routing_entry *entry)
{
	for (uint32_t gsi = 0; gsi < N_PINS; gsi++) {
		*entry++ = (struct kvm_irq_routing_entry){.gsi = gsi,
			.type = KVM_IRQ_ROUTING_IRQCHIP,
			.u.irqchip = {KVM_IRQCHIP_IOAPIC, gsi}};
		if (gsi >= 2 * N_PIC_PINS)
			continue;
		*entry++ = (struct kvm_irq_routing_entry){.gsi = gsi,
			.type = KVM_IRQ_ROUTING_IRQCHIP,
			.u.irqchip = {
				gsi < N_PIC_PINS ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE,
				gsi % N_PIC_PINS}};
	}
	return entry;
}

static int
set_routes(struct vm *vm)
{
	size_t max = N_PINS + 2 * N_PIC_PINS + VM_MAX_MSI;
	struct kvm_irq_routing *table = calloc(1, sizeof(*table) + max * sizeof(*table->entries));
	struct kvm_irq_routing_entry *end;
	int r;

	if (!table)
		return -ENOMEM;
	end = add_pins(table->entries);
	for (uint32_t i = 0; i < VM_MAX_MSI; i++) {
		const struct vm_route *route = &vm->routes[i];

		if (route->address == 0)
			continue;
		*end++ = (struct kvm_irq_routing_entry){.gsi = route->gsi,
			.type = KVM_IRQ_ROUTING_MSI,
			.u.msi = {.address_lo = (uint32_t)route->address,
				.address_hi = (uint32_t)(route->address >> 32),
				.data = route->data}};
	}
	table->nr = (uint32_t)(end - table->entries);
	r = call(vm->machine.fd, KVM_SET_GSI_ROUTING, table);
	free(table);
	return r;
}

int
vm_set_routes(struct vm *vm, const struct vm_route *routes, size_t n)
{
	struct vm_route old[VM_MAX_MSI];
	int r;

	for (size_t i = 0; i < n; i++)
		if (routes[i].gsi < VM_GSI_MSI || routes[i].gsi >= VM_GSI_MSI + VM_MAX_MSI)
			return -ENOSPC;
	pthread_mutex_lock(&vm->routes_lock);
	memcpy(old, vm->routes, sizeof(old));
	for (size_t i = 0; i < n; i++)
		vm->routes[routes[i].gsi - VM_GSI_MSI] = routes[i];
	r = set_routes(vm);
	if (r < 0)
		memcpy(vm->routes, old, sizeof(old));
	pthread_mutex_unlock(&vm->routes_lock);
	return r;
}

int
vm_irqfd(struct vm *vm, unsigned gsi, int eventfd, int resample, bool on)
{
	struct kvm_irqfd irqfd = {
		.fd = (uint32_t)eventfd,
		.gsi = gsi,
		.flags = (resample >= 0 ? KVM_IRQFD_FLAG_RESAMPLE : 0) |
			 (on ? 0 : KVM_IRQFD_FLAG_DEASSIGN),
		.resamplefd = resample >= 0 ? (uint32_t)resample : 0,
	};

	return call(vm->machine.fd, KVM_IRQFD, &irqfd);
}

int
vm_ioeventfd(struct vm *vm, uint64_t address, const uint32_t *value, int eventfd, bool on)
{
	struct kvm_ioeventfd ioeventfd = {
		.datamatch = value ? *value : 0,
		.addr = address,
		.len = sizeof(*value),
		.fd = eventfd,
		.flags = (value ? KVM_IOEVENTFD_FLAG_DATAMATCH : 0) |
			 (on ? 0 : KVM_IOEVENTFD_FLAG_DEASSIGN),
	};

	return call(vm->machine.fd, KVM_IOEVENTFD, &ioeventfd);
}
