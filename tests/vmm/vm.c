/* SPDX-License-Identifier: BSD-2-Clause */
#include <vm.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define KICK_SIGNAL SIGUSR1

/* How long a guest may take for a command. */
#define PATIENCE_MS 100000

void
vm_die(const char *format, ...)
{
	va_list arguments;

	fprintf(stderr, "vmm: ");
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fprintf(stderr, "\n");
	_exit(1);
}

/* ---- making it -------------------------------------------------------------------------------- */

static void
load_image(struct vm *vm, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t room = GUEST_STACK_AT - GUEST_IMAGE_AT;
	ssize_t n;

	if (fd < 0)
		vm_die("cannot open the guest's image %s: %s", path, strerror(errno));
	n = read(fd, vm->machine.ram + GUEST_IMAGE_AT, room);
	if (n <= 0 || (size_t)n == room)
		vm_die("the guest's image %s cannot be read, or is too large", path);
	close(fd);
}

static bool
access_memory(struct machine *machine, uint64_t address, void *data, unsigned length, bool is_write)
{
	struct vm *vm = machine->device;

	return pci_memory(&vm->pci, address, data, length, is_write);
}

static void
make_machine(struct vm *vm)
{
	struct kvm_regs registers = {.rip = GUEST_IMAGE_AT, .rflags = 2};
	const char *what;
	int r = machine_make(&vm->machine, VM_MEMORY_SIZE, false, &what);

	if (r < 0)
		vm_die("%s: %s", what, strerror(-r));
	vm->machine.access = access_memory;
	vm->machine.device = vm;
	vm->mailbox = (void *)(vm->machine.ram + GUEST_MAILBOX_AT);
	if (ioctl(vm->machine.cpu_fd, KVM_SET_REGS, &registers) < 0)
		vm_die("cannot set up a processor: %s", strerror(errno));
}

struct vm *
vm_new(const char *image, int cpu)
{
	struct vm *vm = calloc(1, sizeof(*vm));
	pthread_condattr_t clock;

	if (!vm)
		vm_die("no memory");
	vm->cpu = cpu;
	pthread_mutex_init(&vm->lock, NULL);
	pthread_mutex_init(&vm->routes_lock, NULL);
	pthread_condattr_init(&clock);
	pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
	pthread_cond_init(&vm->changed, &clock);
	pthread_condattr_destroy(&clock);
	make_machine(vm);
	load_image(vm, image);
	return vm;
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
handle_exit(struct vm *vm, int reason)
{
	struct kvm_regs registers = {0};

	if (reason == KVM_EXIT_IO) {
		handle_port(vm);
	} else if (reason != KVM_EXIT_INTR && reason != -EINTR && reason != -EAGAIN) {
		ioctl(vm->machine.cpu_fd, KVM_GET_REGS, &registers);
		vm_die("the processor stopped: exit reason or error %d, suberror %u, at 0x%llx",
			reason, vm->machine.run->internal.suberror, registers.rip);
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

	while (!is_stopping(vm))
		handle_exit(vm, machine_run(&vm->machine));
	return NULL;
}

static void
kicked(int number)
{
	(void)number;
}

void
vm_start(struct vm *vm)
{
	struct sigaction action = {.sa_handler = kicked};
	int r;

	sigaction(KICK_SIGNAL, &action, NULL);
	r = pthread_create(&vm->thread, NULL, run_processor, vm);
	if (r != 0)
		vm_die("cannot start a thread: %s", strerror(r));
	vm->has_thread = true;
	if (vm->cpu >= 0) {
		cpu_set_t cpus;

		CPU_ZERO(&cpus);
		CPU_SET((unsigned)vm->cpu, &cpus);
		pthread_setaffinity_np(vm->thread, sizeof(cpus), &cpus);
	}
	vm_wait(vm, NULL);
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
is_idle(const struct vm *vm)
{
	return vm->idle && vm->mailbox->request == vm->mailbox->done;
}

bool
vm_is_done(struct vm *vm, unsigned patience_ms)
{
	struct timespec deadline;
	bool done;
	int r = 0;

	clock_gettime(CLOCK_MONOTONIC, &deadline);
	deadline.tv_sec += patience_ms / 1000;
	deadline.tv_nsec += (long)(patience_ms % 1000) * 1000000;
	if (deadline.tv_nsec >= 1000000000) {
		deadline.tv_nsec -= 1000000000;
		deadline.tv_sec++;
	}
	pthread_mutex_lock(&vm->lock);
	while (!is_idle(vm) && r == 0)
		r = pthread_cond_timedwait(&vm->changed, &vm->lock, &deadline);
	done = is_idle(vm);
	pthread_mutex_unlock(&vm->lock);
	return done;
}

void
vm_wait(struct vm *vm, uint32_t results[4])
{
	const volatile struct guest_mailbox *mailbox = vm->mailbox;

	if (!vm_is_done(vm, PATIENCE_MS) && mailbox->trouble)
		vm_die("the guest met interrupt or exception %u at 0x%x", mailbox->trouble - 1,
			mailbox->trouble_at);
	if (!vm_is_done(vm, 0))
		vm_die("the guest did not finish command %u (%x, %x, %x, %x)", mailbox->command,
			mailbox->arguments[0], mailbox->arguments[1], mailbox->arguments[2],
			mailbox->arguments[3]);
	for (int i = 0; i < 4 && results; i++)
		results[i] = mailbox->results[i];
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
