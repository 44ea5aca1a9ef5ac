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
#include <sys/mman.h>

/* Intel's processors want some pages for KVM itself; nothing else is there. */
#define KVM_PAGES_AT 0xfffbc000

#define KICK_SIGNAL SIGUSR1

const char *
vm_impossible(void)
{
	_fd_cleanup_ int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return errno == ENOENT ? "no /dev/kvm" : "/dev/kvm cannot be opened";
	if (ioctl(fd, KVM_GET_API_VERSION, 0) != KVM_API_VERSION)
		return "/dev/kvm is of another kind";
	return NULL;
}

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
	n = read(fd, vm->memory + GUEST_IMAGE_AT, room);
	if (n <= 0 || (size_t)n == room)
		return error_set(reterr, -ENOEXEC,
			"the guest's image %s cannot be read, or is too large", path);
	return 0;
}

static int
make_machine(struct vm *vm, struct ivshmem_error *reterr)
{
	uint64_t identity_map = KVM_PAGES_AT;
	int r;

	vm->kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (vm->kvm_fd < 0)
		return error_set(reterr, -errno, "cannot open /dev/kvm: %s", strerror(errno));
	vm->fd = ioctl(vm->kvm_fd, KVM_CREATE_VM, 0);
	if (vm->fd < 0)
		return error_set(reterr, -errno, "cannot create a VM: %s", strerror(errno));
	if (ioctl(vm->fd, KVM_SET_IDENTITY_MAP_ADDR, &identity_map) < 0 ||
		ioctl(vm->fd, KVM_SET_TSS_ADDR, KVM_PAGES_AT + 0x1000ul) < 0 ||
		ioctl(vm->fd, KVM_CREATE_IRQCHIP, 0) < 0)
		return error_set(reterr, -errno, "cannot set up a VM: %s", strerror(errno));

	vm->memory = mmap(NULL, VM_MEMORY_SIZE, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (vm->memory == MAP_FAILED) {
		vm->memory = NULL;
		return error_set(reterr, -errno, "no memory for a guest: %s", strerror(errno));
	}
	vm->mailbox = (void *)(vm->memory + GUEST_MAILBOX_AT);
	r = vm_map(vm, VM_SLOT_MEMORY, 0, VM_MEMORY_SIZE, vm->memory);
	if (r < 0)
		return error_set(reterr, r, "cannot give the guest memory: %s", strerror(-r));
	return 0;
}

/* Protected mode with flat segments. */
static int
set_registers(struct vm *vm)
{
	struct kvm_segment code = {.limit = 0xffffffff,
		.selector = 8,
		.type = 0xb,
		.present = 1,
		.db = 1,
		.s = 1,
		.g = 1};
	struct kvm_segment data = code;
	struct kvm_regs registers = {.rip = GUEST_IMAGE_AT, .rflags = 2};
	struct kvm_sregs special;

	data.selector = 16;
	data.type = 3;
	if (ioctl(vm->cpu_fd, KVM_GET_SREGS, &special) < 0)
		return -errno;
	special.cs = code;
	special.ds = special.es = special.fs = special.gs = special.ss = data;
	special.cr0 |= 1;
	if (ioctl(vm->cpu_fd, KVM_SET_SREGS, &special) < 0 ||
		ioctl(vm->cpu_fd, KVM_SET_REGS, &registers) < 0)
		return -errno;
	return 0;
}

static int
make_processor(struct vm *vm, struct ivshmem_error *reterr)
{
	int size = ioctl(vm->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0), r;

	vm->cpu_fd = ioctl(vm->fd, KVM_CREATE_VCPU, 0);
	if (size < 0 || vm->cpu_fd < 0)
		return error_set(reterr, -errno, "cannot create a processor: %s", strerror(errno));
	vm->run_size = (size_t)size;
	vm->run = mmap(NULL, vm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vm->cpu_fd, 0);
	if (vm->run == MAP_FAILED) {
		vm->run = NULL;
		return error_set(reterr, -errno, "cannot map a processor: %s", strerror(errno));
	}
	r = set_registers(vm);
	if (r < 0)
		return error_set(reterr, r, "cannot set up a processor: %s", strerror(-r));
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
	vm->kvm_fd = vm->fd = vm->cpu_fd = -1;
	vm->cpu = config->cpu;
	pthread_mutex_init(&vm->lock, NULL);
	pthread_mutex_init(&vm->routes_lock, NULL);
	pthread_condattr_init(&clock);
	pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
	pthread_cond_init(&vm->changed, &clock);
	pthread_condattr_destroy(&clock);

	r = make_machine(vm, reterr);
	if (r == 0)
		r = make_processor(vm, reterr);
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
	struct kvm_run *run = vm->run;
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

	ioctl(vm->cpu_fd, KVM_GET_REGS, &registers);
	pthread_mutex_lock(&vm->lock);
	error_set(&vm->failure, -EIO, "the processor stopped: %s %u, at 0x%llx", what, detail,
		registers.rip);
	pthread_mutex_unlock(&vm->lock);
}

/* Whether the processor can go on. */
static bool
handle_exit(struct vm *vm)
{
	struct kvm_run *run = vm->run;

	switch (run->exit_reason) {
	case KVM_EXIT_IO:
		handle_port(vm);
		return true;
	case KVM_EXIT_MMIO:
		pci_memory(&vm->pci, run->mmio.phys_addr, run->mmio.data, run->mmio.len,
			run->mmio.is_write);
		return true;
	case KVM_EXIT_INTR:
		return true;
	case KVM_EXIT_INTERNAL_ERROR:
		fail(vm, "internal error", run->internal.suberror);
		return false;
	default:
		fail(vm, "exit reason", run->exit_reason);
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

	while (!is_stopping(vm)) {
		if (ioctl(vm->cpu_fd, KVM_RUN, 0) < 0) {
			if (errno == EINTR || errno == EAGAIN)
				continue;
			fail(vm, "KVM_RUN failed with errno", (unsigned)errno);
			break;
		}
		if (!handle_exit(vm))
			break;
	}
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
	__atomic_store_n(&vm->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
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
	if (vm->run)
		munmap(vm->run, vm->run_size);
	fd_close(vm->cpu_fd);
	fd_close(vm->fd);
	fd_close(vm->kvm_fd);
	if (vm->memory)
		munmap(vm->memory, VM_MEMORY_SIZE);
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

int
vm_call(struct vm *vm, enum guest_command command, const uint32_t arguments[4], uint32_t results[4],
	struct ivshmem_error *reterr)
{
	vm_command(vm, command, arguments);
	return vm_wait(vm, results, VM_PATIENCE_MS, reterr);
}

void
vm_stop_command(struct vm *vm)
{
	struct kvm_msi wake = {.address_lo = GUEST_MSI_ADDRESS, .data = GUEST_WAKE_INTERRUPT};

	vm->mailbox->stop = 1;
	ioctl(vm->fd, KVM_SIGNAL_MSI, &wake);
}

unsigned
vm_tsc_khz(struct vm *vm)
{
	int khz = ioctl(vm->cpu_fd, KVM_GET_TSC_KHZ, 0);

	return khz > 0 ? (unsigned)khz : 0;
}
