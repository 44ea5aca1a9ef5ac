/* SPDX-License-Identifier: BSD-2-Clause */
#include <embedded.h>

#include <base/error.h>
#include <base/list.h>

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct embedded {
	struct attachment attachment;
	struct ivshmem_kvm *kvm;

	/* The thread that looks after the device when the guest does not. */
	pthread_t thread;
	int stop; /* eventfd */
};

static struct embedded *
embedded_of(struct attachment *attachment)
{
	return container_of(attachment, struct embedded, attachment);
}

/* ---- what the library asks of the VMM --------------------------------------------------------- */

static int
set_routes(const struct ivshmem_kvm_route *routes, size_t n, void *data)
{
	const struct embedded *embedded = data;
	struct vm_route changes[VM_MAX_MSI];

	if (n > VM_MAX_MSI)
		return -ENOSPC;
	for (size_t i = 0; i < n; i++)
		changes[i] = (struct vm_route){.gsi = routes[i].gsi,
			.address = routes[i].used ? routes[i].address : 0,
			.data = routes[i].data};
	return vm_set_routes(embedded->attachment.vm, changes, n);
}

static void
write_log(enum ivshmem_log_level level, const char *message, void *data)
{
	(void)data;
	if (level <= IVSHMEM_LOG_WARNING)
		fprintf(stderr, "vmm: %s\n", message);
}

/* ---- events ----------------------------------------------------------------------------------- */

static void *
run_events(void *data)
{
	struct embedded *embedded = data;
	struct pollfd fds[] = {
		{.fd = embedded->stop, .events = POLLIN},
		{.fd = ivshmem_kvm_fd(embedded->kvm), .events = POLLIN},
	};

	for (;;) {
		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			break;
		if (fds[0].revents)
			break;
		if (fds[1].revents && ivshmem_kvm_dispatch(embedded->kvm) < 0)
			break;
	}
	return NULL;
}

/* ---- the guest's accesses --------------------------------------------------------------------- */

static void
config_read(struct attachment *attachment, unsigned offset, void *data, unsigned length)
{
	ivshmem_kvm_config_read(embedded_of(attachment)->kvm, offset, data, length);
}

static void
config_write(struct attachment *attachment, unsigned offset, const void *data, unsigned length)
{
	ivshmem_kvm_config_write(embedded_of(attachment)->kvm, offset, data, length);
}

static bool
memory(struct attachment *attachment, uint64_t address, void *data, unsigned length, bool is_write)
{
	return ivshmem_kvm_mmio(embedded_of(attachment)->kvm, address, data, length, is_write);
}

/* ---- reset, save, load ------------------------------------------------------------------------ */

static int
reset(struct attachment *attachment)
{
	ivshmem_kvm_reset(embedded_of(attachment)->kvm);
	return 0;
}

static int
save(struct attachment *attachment, void **ret_state, size_t *ret_size,
	struct ivshmem_error *reterr)
{
	struct embedded *embedded = embedded_of(attachment);
	size_t size = ivshmem_kvm_state_size(embedded->kvm, IVSHMEM_DEVICE_FORMAT_NATIVE);
	struct ivshmem_error error;
	void *state = malloc(size);
	int r;

	if (!state)
		return error_set(reterr, -ENOMEM, "no memory");
	r = ivshmem_kvm_save(embedded->kvm, IVSHMEM_DEVICE_FORMAT_NATIVE, state, size, &error);
	if (r < 0) {
		free(state);
		return error_set(reterr, r, "%s", error.message);
	}
	*ret_state = state;
	*ret_size = size;
	return 0;
}

static int
load(struct attachment *attachment, const void *state, size_t size, struct ivshmem_error *reterr)
{
	struct ivshmem_error error;
	int r = ivshmem_kvm_load(
		embedded_of(attachment)->kvm, IVSHMEM_DEVICE_FORMAT_NATIVE, state, size, &error);

	return r < 0 ? error_set(reterr, r, "%s", error.message) : 0;
}

/* ---- life ------------------------------------------------------------------------------------- */

static void
embedded_free(struct attachment *attachment)
{
	struct embedded *embedded = embedded_of(attachment);

	eventfd_write(embedded->stop, 1);
	pthread_join(embedded->thread, NULL);
	close(embedded->stop);
	ivshmem_kvm_free(embedded->kvm);
	free(embedded);
}

static const struct attachment_ops ops = {
	.config_read = config_read,
	.config_write = config_write,
	.memory = memory,
	.reset = reset,
	.save = save,
	.load = load,
	.free = embedded_free,
};

void
embedded_attach(struct vm *vm, unsigned slot, const struct embedded_config *config)
{
	struct embedded *embedded = calloc(1, sizeof(*embedded));
	struct ivshmem_kvm_config kvm;
	struct ivshmem_error error;
	int r;

	if (!embedded)
		vm_die("no memory");
	embedded->attachment = (struct attachment){.ops = &ops, .vm = vm};

	ivshmem_kvm_config_init(&kvm, sizeof(kvm));
	kvm.device = config->device;
	kvm.vm_fd = vm->machine.fd;
	kvm.server = config->server;
	kvm.memory_slot = VM_SLOT_DEVICE + slot;
	kvm.first_gsi = VM_GSI_MSI + slot * GUEST_MSIX_VECTORS;
	kvm.intx_gsi = VM_GSI_INTX;
	kvm.set_routes = config->own_routes ? NULL : set_routes;
	kvm.log = write_log;
	kvm.data = embedded;

	if (ivshmem_kvm_new(&embedded->kvm, &kvm, &error) < 0)
		vm_die("%s", error.message);
	embedded->stop = eventfd(0, EFD_CLOEXEC);
	if (embedded->stop < 0)
		vm_die("no eventfd: %s", strerror(errno));
	r = pthread_create(&embedded->thread, NULL, run_events, embedded);
	if (r != 0)
		vm_die("no thread: %s", strerror(r));
	vm->pci.functions[slot] = &embedded->attachment;
}

struct ivshmem_kvm *
embedded_device(struct vm *vm, unsigned slot)
{
	return embedded_of(vm->pci.functions[slot])->kvm;
}
