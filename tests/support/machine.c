/* SPDX-License-Identifier: BSD-2-Clause */
#include <machine.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

/* Intel's processors want some pages for KVM itself; nothing else is there. */
#define KVM_PAGES_AT 0xfffbc000

const char *
machine_impossible(void)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC), version;

	if (fd < 0)
		return errno == ENOENT ? "no /dev/kvm" : "/dev/kvm cannot be opened";
	version = ioctl(fd, KVM_GET_API_VERSION, 0L);
	close(fd);
	return version == KVM_API_VERSION ? NULL : "/dev/kvm is of another kind";
}

static int
make_irqchip(struct machine *machine, bool split)
{
	struct kvm_enable_cap split_irqchip = {.cap = KVM_CAP_SPLIT_IRQCHIP, .args = {24}};
	uint64_t identity_map = KVM_PAGES_AT;

	if (ioctl(machine->fd, KVM_SET_IDENTITY_MAP_ADDR, &identity_map) < 0 ||
		ioctl(machine->fd, KVM_SET_TSS_ADDR, KVM_PAGES_AT + 0x1000ul) < 0)
		return -1;
	if (split)
		return ioctl(machine->fd, KVM_ENABLE_CAP, &split_irqchip);
	return ioctl(machine->fd, KVM_CREATE_IRQCHIP, 0L);
}

static int
make_ram(struct machine *machine, size_t size)
{
	machine->ram = mmap(NULL, size, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (machine->ram == MAP_FAILED) {
		machine->ram = NULL;
		return -1;
	}
	machine->ram_size = size;
	return machine_map(machine, 0, 0, size, machine->ram) < 0 ? -1 : 0;
}

static int
make_processor(struct machine *machine)
{
	struct kvm_segment flat = {.limit = 0xffffffff, .g = 1, .db = 1, .s = 1, .present = 1};
	struct kvm_sregs special;
	int size = ioctl(machine->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0L);

	machine->cpu_fd = ioctl(machine->fd, KVM_CREATE_VCPU, 0L);
	if (size < 0 || machine->cpu_fd < 0)
		return -1;
	machine->run_size = (size_t)size;
	machine->run = mmap(
		NULL, machine->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, machine->cpu_fd, 0);
	if (machine->run == MAP_FAILED) {
		machine->run = NULL;
		return -1;
	}
	if (ioctl(machine->cpu_fd, KVM_GET_SREGS, &special) < 0)
		return -1;
	flat.type = 3;
	flat.selector = 0x10;
	special.ds = special.es = special.fs = special.gs = special.ss = flat;
	flat.type = 11;
	flat.selector = 0x8;
	special.cs = flat;
	special.cr0 |= 1;
	return ioctl(machine->cpu_fd, KVM_SET_SREGS, &special);
}

/* What failed, with errno; NULL: nothing did. */
static const char *
make(struct machine *machine, size_t ram_size, bool split)
{
	machine->kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (machine->kvm_fd < 0)
		return "cannot open /dev/kvm";
	machine->fd = ioctl(machine->kvm_fd, KVM_CREATE_VM, 0L);
	if (machine->fd < 0)
		return "cannot create a VM";
	if (make_irqchip(machine, split) < 0)
		return "cannot create interrupt controllers";
	if (make_ram(machine, ram_size) < 0)
		return "cannot give the guest memory";
	if (make_processor(machine) < 0)
		return "cannot create a processor";
	return NULL;
}

int
machine_make(struct machine *machine, size_t ram_size, bool split, const char **ret_what)
{
	int code;

	*machine = (struct machine){.kvm_fd = -1, .fd = -1, .cpu_fd = -1};
	*ret_what = make(machine, ram_size, split);
	if (!*ret_what)
		return 0;
	code = errno;
	machine_close(machine);
	return -code;
}

void
machine_close(struct machine *machine)
{
	if (machine->run)
		munmap(machine->run, machine->run_size);
	if (machine->cpu_fd >= 0)
		close(machine->cpu_fd);
	if (machine->fd >= 0)
		close(machine->fd);
	if (machine->kvm_fd >= 0)
		close(machine->kvm_fd);
	if (machine->ram)
		munmap(machine->ram, machine->ram_size);
	*machine = (struct machine){.kvm_fd = -1, .fd = -1, .cpu_fd = -1};
}

int
machine_map(struct machine *machine, unsigned slot, uint64_t address, uint64_t size, void *memory)
{
	struct kvm_userspace_memory_region region = {
		.slot = slot,
		.guest_phys_addr = address,
		.memory_size = size,
		.userspace_addr = (uintptr_t)memory,
	};

	return ioctl(machine->fd, KVM_SET_USER_MEMORY_REGION, &region) < 0 ? -errno : 0;
}

int
machine_run(struct machine *machine)
{
	struct kvm_run *run = machine->run;

	for (;;) {
		if (ioctl(machine->cpu_fd, KVM_RUN, 0L) < 0)
			return -errno;
		if (run->exit_reason != KVM_EXIT_MMIO)
			return (int)run->exit_reason;
		machine->exits++;
		if (machine->access && machine->access(machine, run->mmio.phys_addr, run->mmio.data,
					       run->mmio.len, run->mmio.is_write))
			continue;
		if (!run->mmio.is_write)
			memset(run->mmio.data, 0xff, sizeof(run->mmio.data));
	}
}
