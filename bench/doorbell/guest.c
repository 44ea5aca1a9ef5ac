/* SPDX-License-Identifier: BSD-2-Clause */
#include "guest.h"

#include <ivshmem/common.h>

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

/* How long a command of a guest in a QEMU may take, and how often we look. */
#define PATIENCE_MS 60000
#define PAUSE_US    1000

/* ---- ours ------------------------------------------------------------------------------------- */

void
guest_create(struct guest *guest, int cpu)
{
	struct vm *vm = vm_new(VMM_GUEST_IMAGE, cpu);

	*guest = (struct guest){.vm = vm, .mailbox = vm->mailbox};
}

void
guest_boot(struct guest *guest)
{
	vm_start(guest->vm);
}

void
guest_destroy(struct guest *guest)
{
	guest->vm = vm_free(guest->vm);
	if (guest->memory)
		munmap(guest->memory, VM_MEMORY_SIZE);
	guest->memory = NULL;
}

/* ---- QEMU's ----------------------------------------------------------------------------------- */

void
guest_adopt(struct guest *guest, pid_t qemu, const char *memory)
{
	int fd = open(memory, O_RDWR | O_CLOEXEC);
	uint8_t *at;

	if (fd < 0)
		vm_die("%s cannot be opened", memory);
	at = mmap(NULL, VM_MEMORY_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (at == MAP_FAILED)
		vm_die("%s cannot be mapped", memory);
	close(fd);
	*guest = (struct guest){
		.mailbox = (void *)(at + GUEST_MAILBOX_AT), .qemu = qemu, .memory = at};
}

void
guest_wake(struct guest *guest)
{
	if (guest->qemu && kill(guest->qemu, SIGCONT) < 0)
		vm_die("a QEMU is gone");
}

void
guest_rest(struct guest *guest)
{
	if (guest->qemu && kill(guest->qemu, SIGSTOP) < 0)
		vm_die("a QEMU is gone");
}

static void
begin_remotely(struct guest *guest, enum guest_command command, const uint32_t arguments[4])
{
	guest->mailbox->stop = 0;
	guest->mailbox->command = command;
	for (int i = 0; i < 4; i++)
		guest->mailbox->arguments[i] = arguments[i];
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	guest->mailbox->request++;
}

static void
wait_remotely(const struct guest *guest)
{
	for (unsigned looks = 0; guest->mailbox->done != guest->mailbox->request; looks++) {
		if (looks == PATIENCE_MS * 1000 / PAUSE_US || kill(guest->qemu, 0) < 0)
			vm_die("the guest in QEMU did not finish command %u",
				guest->mailbox->command);
		usleep(PAUSE_US);
	}
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

/* ---- either ----------------------------------------------------------------------------------- */

void
guest_begin_with(struct guest *guest, enum guest_command command, const uint32_t arguments[4])
{
	if (guest->vm)
		vm_command(guest->vm, command, arguments);
	else
		begin_remotely(guest, command, arguments);
}

uint64_t
guest_end(struct guest *guest)
{
	if (guest->vm)
		vm_wait(guest->vm, NULL);
	else
		wait_remotely(guest);
	return (uint64_t)guest->mailbox->results[1] << 32 | guest->mailbox->results[0];
}

void
guest_setup(struct guest *guest)
{
	guest_wake(guest);
	guest_call(guest, GUEST_SETUP, 1);
	if (guest->mailbox->results[0] != 1 || guest->mailbox->results[2] != 1)
		vm_die("a guest finds no device, or one without vectors");
	guest->id = (uint16_t)guest->mailbox->results[3];
	guest_rest(guest);
}
