/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_KVM_H
#define IVSHMEM_KVM_H

/*
 * libivshmem-device: the ivshmem PCI device, attached to a KVM virtual machine of this process.
 *
 * device.h is the device as a state machine, and leaves every effect to its user. This header is
 * for a VMM that uses KVM and wants the effects as well: it gives a VM file descriptor and the path
 * of an ivshmem server, passes on the guest's accesses, and the rest is done here, by the kernel
 * wherever it can:
 *
 *	shared memory	BAR2 is a memory slot: the guest reads and writes it without an exit
 *	doorbell	one ioeventfd for every connected (peer, vector): ringing is a light exit
 *			that no program sees. With doorbell_bar each has a second one, at its word
 *	MSI-X		one irqfd and one route for every vector that the guest can be interrupted
 *			with: a ring goes from the peer into the guest, and no program sees it
 *	INTx		an irqfd with resampling (revision 0)
 *
 * All of these come and go as the guest moves BARs, switches decoding, masks and unmasks, and as
 * peers join and leave. What the kernel refuses (too many, too old, occupied) goes the long way
 * through this process instead, and the log says so, once for each kind.
 *
 * A VMM's part, in the order in which it is needed:
 *
 *	struct ivshmem_device_config device;
 *	struct ivshmem_kvm_config config;
 *
 *	ivshmem_device_config_init(&device, sizeof(device), 1);
 *	device.vectors = 4;
 *	ivshmem_kvm_config_init(&config, sizeof(config));
 *	config.device = &device;
 *	config.vm_fd = vm;			// after KVM_CREATE_IRQCHIP
 *	config.server = "/run/ivshmem.sock";
 *	config.memory_slot = 7;			// one that nothing else uses
 *	r = ivshmem_kvm_new(&kvm, &config, &error);
 *
 *	one thread:	poll(ivshmem_kvm_fd(kvm)), then ivshmem_kvm_dispatch(kvm), for ever
 *	virtual CPUs:	KVM_EXIT_MMIO: ivshmem_kvm_mmio()
 *			accesses to the function's config space: ivshmem_kvm_config_read(), _write()
 *	VM reset:	ivshmem_kvm_reset()
 *	end:		ivshmem_kvm_free()
 *
 * docs/embedding.md walks through a whole VMM that does this.
 *
 * Threads: all functions but ivshmem_kvm_new() and ivshmem_kvm_free() may be called by any thread at
 * any time; a lock inside keeps them apart. The callbacks of the configuration are called by
 * whatever thread is inside a function of this header, and with that lock held: they must not call
 * functions of this header for the same device, nor wait for a thread that does. A lock of the VMM
 * that is held around calls of these functions must not be taken in the callbacks.
 *
 * Errors: 0, or a negative errno. Output parameters (`ret_...`) are not touched on failure, and a
 * `reterr`, which may be NULL, is filled in on failure only. Whatever guest, server and peers do,
 * nothing asserts, aborts or blocks.
 *
 * Sources: [KVM] the kernel's Documentation/virt/kvm/api.rst, [ours] a decision of this project;
 * device.h for everything that the guest can see.
 */

#include <ivshmem/common.h>
#include <ivshmem/device.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct ivshmem_kvm;

/* ---- configuration --------------------------------------------------------------------------- */

/* No interrupt pin is wired. */
#define IVSHMEM_KVM_NO_GSI (-1)

/* Where the interrupts of a GSI go: into an MSI with this address and data, or nowhere. */
struct ivshmem_kvm_route {
	uint32_t gsi;
	bool used;        /* false: the route is not needed any more; address and data are 0 */
	uint64_t address; /* bus address, as in the MSI-X table */
	uint32_t data;
};

struct ivshmem_kvm_config {
	size_t struct_size; /* sizeof(struct ivshmem_kvm_config); lets the struct grow (common.h) */

	/*
	 * The device: revision, vectors, msi, master, ioeventfd, legacy_doorbell, doorbell_bar,
	 * memory_size. Copied. NULL: the defaults of revision 1. Filled in here, whatever they hold:
	 * server, id, ops, data, and in revision 1 a memory_size of 0, which means as large as the
	 * memory is. host_msix must be off.
	 */
	const struct ivshmem_device_config *device;

	/* From KVM_CREATE_VM. Borrowed: must stay open until ivshmem_kvm_free(). The interrupt
	 * controllers must exist already (KVM_CREATE_IRQCHIP). */
	int vm_fd;

	/*
	 * Where the memory and the peers come from: one of these, and the first one that is not
	 * NULL. Without server the device is a plain one.
	 */
	const char *server; /* path of a UNIX socket */
	const char *shm;    /* name of a POSIX shared memory object, as shm_open() takes it */
	const char *file;   /* path of a file to be mapped: on hugetlbfs, tmpfs, ... */
	/* shm and file: created with device->memory_size bytes if there is none; never resized. */

	/* Milliseconds within which the server must have answered; 0 means 5000. */
	unsigned timeout_ms;

	/*
	 * The number of the KVM memory slot for BAR2 (bits 31..16 are its address space, see
	 * KVM_SET_USER_MEMORY_REGION). Nothing else may use it.
	 */
	uint32_t memory_slot;

	/*
	 * MSI-X vector i uses GSI first_gsi + i; nothing else may use any of these. Default: 24, the
	 * first one that is no pin of an x86 VM's I/O APIC.
	 */
	uint32_t first_gsi;

	/*
	 * Revision 0: the GSI of the interrupt pin, or IVSHMEM_KVM_NO_GSI, the default. It may be
	 * shared with other pins. As with every resampling irqfd, the line falls at the guest's end
	 * of interrupt, if by then the device has no request any more, and with
	 * ivshmem_kvm_reset().
	 */
	int32_t intx_gsi;

	/*
	 * KVM has one table of GSI routes for the whole VM, and it is only ever replaced as a whole
	 * (KVM_SET_GSI_ROUTING). So a VMM that has other MSI routes, or two of these devices, keeps
	 * that table itself: this function is to put these `n` routes into it, all or none, and hand
	 * it to KVM. It is called only if something changes, with as many routes as possible, and
	 * at the end with all of them not used. Returns 0 or a negative errno: nothing changed, and
	 * these interrupts take the long way, through KVM_SIGNAL_MSI.
	 *
	 * NULL: the device owns the VM's table, which consists of what KVM_CREATE_IRQCHIP made and
	 * its own routes (x86 with all interrupt controllers in the kernel only; otherwise such
	 * routes are refused).
	 */
	int (*set_routes)(const struct ivshmem_kvm_route *routes, size_t n, void *data);

	/* A message for the VMM's log, one sentence without newline. A guest cannot flood it. NULL:
	 * silence. */
	void (*log)(enum ivshmem_log_level level, const char *message, void *data);

	void *data; /* handed to both */
};

/* Fill in the defaults, and struct_size, which is sizeof(*config). vm_fd and memory_slot have none. */
void ivshmem_kvm_config_init(struct ivshmem_kvm_config *config, size_t struct_size);

/* ---- life ------------------------------------------------------------------------------------ */

/*
 * Connect to the server or open the memory, make a device as it is after power-on, and attach it to
 * the VM. In revision 1 its id and memory are there afterwards; in revision 0 they may come later.
 * Whether they still can is in the log: if the server goes, refuses, or has too small a memory, they
 * never will.
 * Blocks for config->timeout_ms at most. The configuration is copied. Release the device with
 * ivshmem_kvm_free().
 *
 * Returns 0 or:
 *	-EINVAL		a configuration that cannot be: vm_fd is no virtual machine, neither server
 *			nor memory, host_msix, or what ivshmem_device_new() refuses
 *	-E2BIG		something is set that this library does not know
 *	-ENOMEM, -EMFILE  no memory, or descriptors, for what is always needed
 *	otherwise	as ivshmem_attach() in client.h, for the server; as open() and mmap() for
 *			the memory
 */
int ivshmem_kvm_new(struct ivshmem_kvm **ret_kvm, const struct ivshmem_kvm_config *config,
	struct ivshmem_error *reterr);

/*
 * Take the device off the VM (slot, ioeventfds, irqfds, routes), leave the group, release
 * everything. Virtual CPUs may run meanwhile, but no thread may be inside another function of this
 * header for this device. NULL is allowed. Returns NULL.
 */
struct ivshmem_kvm *ivshmem_kvm_free(struct ivshmem_kvm *kvm);

/* ---- events ---------------------------------------------------------------------------------- */

/*
 * A descriptor that polls readable (POLLIN) when there is something to dispatch: peers join and
 * leave, the server went away, a ring came for a vector that no irqfd serves, INTx has to be looked
 * at again. It belongs to the device and stays the same.
 */
int ivshmem_kvm_fd(const struct ivshmem_kvm *kvm);

/*
 * Handle what there is, without waiting; also harmless if there is nothing. Has to be called
 * whenever the descriptor is readable, soon: until then new peers cannot be rung, and masked
 * vectors and INTx wait for their interrupts. Returns 0 or a negative errno, which no peer or guest
 * can cause.
 */
int ivshmem_kvm_dispatch(struct ivshmem_kvm *kvm);

/* ---- accesses of the guest ------------------------------------------------------------------- */

/* Config space; as ivshmem_device_config_read() and ivshmem_device_config_write(). */
void ivshmem_kvm_config_read(struct ivshmem_kvm *kvm, unsigned offset, void *buffer, size_t length);
void ivshmem_kvm_config_write(
	struct ivshmem_kvm *kvm, unsigned offset, const void *buffer, size_t length);

/*
 * An access to guest physical memory that KVM handed to user space: `length` bytes of `data` as they
 * are in struct kvm_run (mmio.phys_addr, .data, .len, .is_write). The device looks whether one of
 * its BARs is there now, with decoding on. Returns false if not: then nothing has happened, and
 * nothing was stored.
 */
bool ivshmem_kvm_mmio(
	struct ivshmem_kvm *kvm, uint64_t address, void *data, unsigned length, bool is_write);

/* For a VMM that places BARs itself: as ivshmem_device_read() and ivshmem_device_write(). */
uint64_t ivshmem_kvm_read(struct ivshmem_kvm *kvm, unsigned bar, uint64_t offset, unsigned size);
void ivshmem_kvm_write(
	struct ivshmem_kvm *kvm, unsigned bar, uint64_t offset, unsigned size, uint64_t value);

/* A reset of the function or of the VM, as ivshmem_device_reset(); the pin of INTx falls. */
void ivshmem_kvm_reset(struct ivshmem_kvm *kvm);

/* ---- save and load --------------------------------------------------------------------------- */

/*
 * As ivshmem_device_state_size(), ivshmem_device_save() and ivshmem_device_load(), for the master
 * only. The contents of the memory (ivshmem_kvm_memory()) are carried by the VMM.
 *
 * Order: stop the virtual CPUs, save the device, then the interrupt controllers, which until then
 * may still be given interrupts by irqfds. At the other end load the interrupt controllers, then
 * the device, which gives them what is pending.
 */
size_t ivshmem_kvm_state_size(struct ivshmem_kvm *kvm, enum ivshmem_device_format format);
int ivshmem_kvm_save(struct ivshmem_kvm *kvm, enum ivshmem_device_format format, void *buffer,
	size_t size, struct ivshmem_error *reterr);
int ivshmem_kvm_load(struct ivshmem_kvm *kvm, enum ivshmem_device_format format, const void *buffer,
	size_t size, struct ivshmem_error *reterr);

/* ---- questions ------------------------------------------------------------------------------- */

/* The shared memory in this process, and its size in bytes: all of it, while BAR2 may be smaller in
 * revision 0. NULL and 0 as long as there is none; once there, it stays. */
void *ivshmem_kvm_memory(struct ivshmem_kvm *kvm);
uint64_t ivshmem_kvm_memory_size(struct ivshmem_kvm *kvm);

/*
 * Memory that is not sealed, such as an object with a name, can be shrunk by whoever may write it.
 * A virtual CPU that then uses what is gone leaves KVM_RUN with EFAULT: that is the kernel's, and
 * the VMM's to handle. Accesses that come through this library read as all ones, and the log says
 * so once. For that, the library handles SIGBUS as long as there is a device with such memory; a
 * handler that was there before gets every SIGBUS that is not ours, and is put back at the end.
 *
 * A VMM that installs one later calls this function in it, first of all: it does not return if the
 * SIGBUS is ours. Async-signal-safe. Accesses of the VMM's own to ivshmem_kvm_memory() are not ours.
 */
void ivshmem_kvm_sigbus(void);

/* As the functions of device.h of the same names. */
uint64_t ivshmem_kvm_bar_size(struct ivshmem_kvm *kvm, unsigned bar);
uint64_t ivshmem_kvm_bar_address(struct ivshmem_kvm *kvm, unsigned bar);
int32_t ivshmem_kvm_id(struct ivshmem_kvm *kvm);
unsigned ivshmem_kvm_peer_vectors(struct ivshmem_kvm *kvm, uint16_t peer);
bool ivshmem_kvm_is_master(struct ivshmem_kvm *kvm);

/* What is done by the kernel, and what had to be done here. */
struct ivshmem_kvm_status {
	size_t struct_size;     /* sizeof(struct ivshmem_kvm_status), set by the caller */
	bool connected;         /* to the server */
	bool memory_mapped;     /* BAR2 is a memory slot now */
	unsigned ioeventfds;    /* in force: doorbells that the kernel takes now */
	unsigned irqfds;        /* MSI-X vectors that the kernel delivers now */
	uint64_t rings;         /* doorbell writes that came here, since the beginning */
	uint64_t messages;      /* MSI-X messages sent from here */
	uint64_t route_changes; /* times that the VM's routes had to be replaced */
};

/* -EINVAL if struct_size is not set, -E2BIG if it is beyond all reason. */
int ivshmem_kvm_get_status(struct ivshmem_kvm *kvm, struct ivshmem_kvm_status *status);

#ifdef __cplusplus
}
#endif

#endif
