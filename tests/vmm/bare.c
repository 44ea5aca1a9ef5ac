/* SPDX-License-Identifier: BSD-2-Clause */
#include <bare.h>

#include <ivshmem/abi.h>

int
bare_memory(struct vm *vm, void *memory, uint64_t size)
{
	return machine_map(&vm->machine, VM_SLOT_DEVICE, GUEST_BAR2_AT, size, memory);
}

int
bare_doorbell(struct vm *vm, uint32_t value, int eventfd)
{
	return vm_ioeventfd(vm, GUEST_BAR0_AT + IVSHMEM_REG_DOORBELL, &value, eventfd, true);
}

int
bare_interrupt(struct vm *vm, unsigned vector, int eventfd)
{
	struct vm_route route = {.gsi = VM_GSI_MSI + vector,
		.address = GUEST_MSI_ADDRESS,
		.data = GUEST_MSIX_INTERRUPT + vector};
	int r = vm_set_routes(vm, &route, 1);

	return r < 0 ? r : vm_irqfd(vm, route.gsi, eventfd, -1, true);
}
