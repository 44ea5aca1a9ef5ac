/* SPDX-License-Identifier: BSD-2-Clause */
#include <vm.h>

#include <base/error.h>
#include <base/fd.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#define KICK_SIGNAL SIGUSR1

/* ---- making it -------------------------------------------------------------------------------- */

static int
load_image(struct vm *vm, const char *path, struct ivshmem_error *reterr)
{
	_fd_cleanup_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t room = GUEST_STACK_AT - GUEST_IMAGE_AT;
	ssize_t n;

	if (fd < 0)
		return error_set(reterr, -errno, "cannot open the guest's image %s: %s", path,
			strerror(errno));
	n = read(fd, vm->machine.ram + GUEST_IMAGE_AT, room);
	if (n <= 0 || (size_t)n == room)
		return error_set(reterr, -ENOEXEC,
			"the guest's image %s cannot be read, or is too large", path);
	return 0;
}

static bool
access_memory(struct machine *machine, uint64_t address, void *data, unsigned length, bool is_write)
{
	struct vm *vm = machine->device;

	return pci_memory(&vm->pci, address, data, length, is_write);
}

static int
make_machine(struct vm *vm, struct ivshmem_error *reterr)
{
	struct kvm_regs registers = {.rip = GUEST_IMAGE_AT, .rflags = 2};
	const char *what;
	int r = machine_make(&vm->machine, VM_MEMORY_SIZE, false, &what);

	if (r < 0)
		return error_set(reterr, r, "%s: %s", what, strerror(-r));
	vm->machine.access = access_memory;
	vm->machine.device = vm;
	vm->mailbox = (void *)(vm->machine.ram + GUEST_MAILBOX_AT);
	if (ioctl(vm->machine.cpu_fd, KVM_SET_REGS, &registers) < 0)
		return error_set(reterr, -errno, "cannot set up a processor: %s", strerror(errno));
	return 0;
}

int
vm_new(struct vm **ret_vm, const struct vm_config *config, struct ivshmem_error *reterr)
{
	struct vm *vm = calloc(1, sizeof(*vm));
	pthread_condattr_t clock;
	int r;

	if (!vm)
		return error_set(reterr, -ENOMEM, "no memory");
	vm->cpu = config->cpu;
	pthread_mutex_init(&vm->lock, NULL);
	pthread_mutex_init(&vm->routes_lock, NULL);
	pthread_condattr_init(&clock);
	pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
	pthread_cond_init(&vm->changed, &clock);
	pthread_condattr_destroy(&clock);

	r = make_machine(vm, reterr);
	if (r == 0)
		r = load_image(vm, config->image, reterr);
	if (r < 0) {
		vm_free(vm);
		return r;
	}
	*ret_vm = vm;
	return 0;
}

/* ---- the processor ---------------------------------------------------------------------------- */

/* The guest reads its idle port: keep it there until there is a command. */
static void
wait_for_command(struct vm *vm)
{
	pthread_mutex_lock(&vm->lock);
	vm->idle = true;
	pthread_cond_broadcast(&vm->changed);
	while (!vm->stopping && vm->mailbox->request == vm->mailbox->done)
		pthread_cond_wait(&vm->changed, &vm->lock);
	vm->idle = false;
	pthread_mutex_unlock(&vm->lock);
}

static void
handle_port(struct vm *vm)
{
	struct kvm_run *run = vm->machine.run;
	uint8_t *data = (uint8_t *)run + run->io.data_offset;
	bool is_write = run->io.direction == KVM_EXIT_IO_OUT;

	for (uint32_t i = 0; i < run->io.count; i++, data += run->io.size) {
		if (pci_port(&vm->pci, run->io.port, data, run->io.size, is_write))
			continue;
		if (!is_write)
			memset(data, 0xff, run->io.size);
		if (run->io.port == GUEST_IDLE_PORT)
			wait_for_command(vm);
	}
}

static void
fail(struct vm *vm, const char *what, unsigned detail)
{
	struct kvm_regs registers = {0};

	ioctl(vm->machine.cpu_fd, KVM_GET_REGS, &registers);
	pthread_mutex_lock(&vm->lock);
	error_set(&vm->failure, -EIO, "the processor stopped: %s %u, at 0x%llx", what, detail,
		registers.rip);
	pthread_mutex_unlock(&vm->lock);
}

/* Whether the processor can go on after this exit. */
static bool
handle_exit(struct vm *vm, int reason)
{
	switch (reason) {
	case KVM_EXIT_IO:
		handle_port(vm);
		return true;
	case KVM_EXIT_INTR:
	case -EINTR:
	case -EAGAIN:
		return true;
	case KVM_EXIT_INTERNAL_ERROR:
		fail(vm, "internal error", vm->machine.run->internal.suberror);
		return false;
	default:
		if (reason < 0)
			fail(vm, "KVM_RUN failed with errno", (unsigned)-reason);
		else
			fail(vm, "exit reason", (unsigned)reason);
		return false;
	}
}

static bool
is_stopping(struct vm *vm)
{
	bool stopping;

	pthread_mutex_lock(&vm->lock);
	stopping = vm->stopping;
	pthread_mutex_unlock(&vm->lock);
	return stopping;
}

static void *
run_processor(void *data)
{
	struct vm *vm = data;

	while (!is_stopping(vm) && handle_exit(vm, machine_run(&vm->machine)))
		;
	pthread_mutex_lock(&vm->lock);
	pthread_cond_broadcast(&vm->changed);
	pthread_mutex_unlock(&vm->lock);
	return NULL;
}

static void
kicked(int number)
{
	(void)number;
}

int
vm_start(struct vm *vm, struct ivshmem_error *reterr)
{
	struct sigaction action = {.sa_handler = kicked};
	int r;

	sigaction(KICK_SIGNAL, &action, NULL);
	r = pthread_create(&vm->thread, NULL, run_processor, vm);
	if (r != 0)
		return error_set(reterr, -r, "cannot start a thread: %s", strerror(r));
	vm->has_thread = true;
	if (vm->cpu >= 0) {
		cpu_set_t cpus;

		CPU_ZERO(&cpus);
		CPU_SET((unsigned)vm->cpu, &cpus);
		pthread_setaffinity_np(vm->thread, sizeof(cpus), &cpus);
	}
	return vm_wait(vm, NULL, VM_PATIENCE_MS, reterr);
}

static void
stop_processor(struct vm *vm)
{
	if (!vm->has_thread)
		return;
	pthread_mutex_lock(&vm->lock);
	vm->stopping = true;
	pthread_cond_broadcast(&vm->changed);
	pthread_mutex_unlock(&vm->lock);
	/* KVM_RUN that begins after this returns at once, and one that is running is interrupted. */
	__atomic_store_n(&vm->machine.run->immediate_exit, 1, __ATOMIC_SEQ_CST);
	pthread_kill(vm->thread, KICK_SIGNAL);
	pthread_join(vm->thread, NULL);
}

struct vm *
vm_free(struct vm *vm)
{
	if (!vm)
		return NULL;
	stop_processor(vm);
	for (unsigned i = 0; i < PCI_SLOTS; i++)
		if (vm->pci.functions[i])
			vm->pci.functions[i]->ops->free(vm->pci.functions[i]);
	machine_close(&vm->machine);
	pthread_cond_destroy(&vm->changed);
	pthread_mutex_destroy(&vm->routes_lock);
	pthread_mutex_destroy(&vm->lock);
	free(vm);
	return NULL;
}

/* ---- the guest -------------------------------------------------------------------------------- */

void
vm_command(struct vm *vm, enum guest_command command, const uint32_t arguments[4])
{
	pthread_mutex_lock(&vm->lock);
	vm->mailbox->stop = 0;
	vm->mailbox->command = command;
	for (int i = 0; i < 4; i++)
		vm->mailbox->arguments[i] = arguments[i];
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	vm->mailbox->request++;
	vm->idle = false;
	pthread_cond_broadcast(&vm->changed);
	pthread_mutex_unlock(&vm->lock);
}

static bool
is_done(const struct vm *vm)
{
	return vm->idle && vm->mailbox->request == vm->mailbox->done;
}

static int
why_not_done(struct vm *vm, struct ivshmem_error *reterr)
{
	if (vm->mailbox->trouble)
		return error_set(reterr, -EFAULT, "the guest met interrupt or exception %u at 0x%x",
			vm->mailbox->trouble - 1, vm->mailbox->trouble_at);
	return error_set(reterr, -ETIMEDOUT, "the guest did not finish command %u (%x, %x, %x, %x)",
		vm->mailbox->command, vm->mailbox->arguments[0], vm->mailbox->arguments[1],
		vm->mailbox->arguments[2], vm->mailbox->arguments[3]);
}

int
vm_wait(struct vm *vm, uint32_t results[4], unsigned patience_ms, struct ivshmem_error *reterr)
{
	struct timespec deadline;
	int r = 0;

	clock_gettime(CLOCK_MONOTONIC, &deadline);
	deadline.tv_sec += patience_ms / 1000;
	deadline.tv_nsec += (long)(patience_ms % 1000) * 1000000;
	if (deadline.tv_nsec >= 1000000000) {
		deadline.tv_nsec -= 1000000000;
		deadline.tv_sec++;
	}

	pthread_mutex_lock(&vm->lock);
	while (!is_done(vm) && vm->failure.code == 0 && r == 0)
		r = pthread_cond_timedwait(&vm->changed, &vm->lock, &deadline);
	if (vm->failure.code != 0) {
		r = vm->failure.code;
		if (reterr)
			*reterr = vm->failure;
	} else if (!is_done(vm)) {
		r = why_not_done(vm, reterr);
	} else {
		r = 0;
		for (int i = 0; i < 4 && results; i++)
			results[i] = vm->mailbox->results[i];
	}
	pthread_mutex_unlock(&vm->lock);
	return r;
}

void
vm_stop_command(struct vm *vm)
{
	struct kvm_msi wake = {.address_lo = GUEST_MSI_ADDRESS, .data = GUEST_WAKE_INTERRUPT};

	vm->mailbox->stop = 1;
	ioctl(vm->machine.fd, KVM_SIGNAL_MSI, &wake);
}

unsigned
vm_tsc_khz(struct vm *vm)
{
	int khz = ioctl(vm->machine.cpu_fd, KVM_GET_TSC_KHZ, 0);

	return khz > 0 ? (unsigned)khz : 0;
}
