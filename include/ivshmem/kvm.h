/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_KVM_H
#define IVSHMEM_KVM_H

/*
 * libivshmem-device: the ivshmem PCI device, attached to a KVM virtual machine of this process.
 *
 * device.h is the device as a state machine, and leaves every effect to its user. This header is
 * for a VMM that uses KVM and wants the effects as well. The VMM gives the library a VM file
 * descriptor and the path of an ivshmem server, and passes on the guest's accesses. The library
 * does the rest, and lets the kernel do whatever it can:
 *
 *	shared memory	BAR2 is a memory slot: the guest reads and writes it without an exit
 *	doorbell	one ioeventfd for every connected (peer, vector): a ring is a light exit
 *			that no program sees. With doorbell_bar there is a second one, at the word
 *	MSI-X		one irqfd and one route for every vector that can interrupt the guest: a
 *			ring goes from the peer into the guest, and no program sees it
 *	INTx		an irqfd with resampling (revision 0)
 *
 * All of these come and go as the guest moves BARs, switches decoding, masks and unmasks, and as
 * peers join and leave. What the kernel refuses (too many, too old, occupied) takes the slow path
 * through this process instead, and the log says so, once for each kind.
 *
 * What the VMM does, in this order:
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
 * Threads: any thread may call any function at any time, except ivshmem_kvm_new() and
 * ivshmem_kvm_free(); the library has a lock of its own. It calls the callbacks of the
 * configuration in whatever thread is inside a function of this header, and with its lock held. So
 * a callback must not call functions of this header for the same device, nor wait for a thread that
 * does. If the VMM holds a lock while it calls these functions, the callbacks must not take that
 * lock.
 *
 * Errors: functions return 0, or a negative errno. Output parameters (`ret_...`) are not touched on
 * failure, and a `reterr`, which may be NULL, is filled in on failure only. Whatever the guest, the
 * server and the peers do, nothing asserts, aborts or blocks.
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

/* Where the interrupts of a GSI go: to an MSI with this address and data, or nowhere. */
struct ivshmem_kvm_route {
	uint32_t gsi;
	bool used;        /* false: the route is no longer needed; address and data are 0 */
	uint64_t address; /* bus address, as in the MSI-X table */
	uint32_t data;
};

struct ivshmem_kvm_config {
	size_t struct_size; /* sizeof(struct ivshmem_kvm_config); lets the struct grow (common.h) */

	/*
	 * The device: revision, vectors, msi, master, ioeventfd, legacy_doorbell, doorbell_bar,
	 * memory_size. Copied. NULL: the defaults of revision 1. The library sets server, id, ops
	 * and data itself, whatever they contain. In revision 1, a memory_size of 0 means the size
	 * that the memory has. host_msix must be off.
	 */
	const struct ivshmem_device_config *device;

	/* From KVM_CREATE_VM. It stays the VMM's, and must stay open until ivshmem_kvm_free(). The
	 * interrupt controllers must exist already (KVM_CREATE_IRQCHIP). */
	int vm_fd;

	/*
	 * Where the memory and the peers come from: the first of these that is not NULL. Without a
	 * server, the device is plain.
	 */
	const char *server; /* path of a UNIX socket */
	const char *shm;    /* name of a POSIX shared memory object, as shm_open() takes it */
	const char *file;   /* path of a file to be mapped: on hugetlbfs, tmpfs, ... */
	/* shm and file: a missing one is created with device->memory_size bytes; an existing one is
	 * never resized. */

	/* Milliseconds within which the server must answer; 0 means 5000. */
	unsigned timeout_ms;

	/*
	 * The number of the KVM memory slot for BAR2 (bits 31..16 are its address space, see
	 * KVM_SET_USER_MEMORY_REGION). Nothing else may use it.
	 */
	uint32_t memory_slot;

	/*
	 * MSI-X vector i uses GSI first_gsi + i; nothing else may use any of these GSIs. Default:
	 * 24, the first GSI that is no pin of the I/O APIC of an x86 VM.
	 */
	uint32_t first_gsi;

	/*
	 * Revision 0: the GSI of the interrupt pin, or IVSHMEM_KVM_NO_GSI, the default. Other pins
	 * may share it. As with every resampling irqfd, the line falls at the guest's end of
	 * interrupt, if the device has no request by then, and with ivshmem_kvm_reset().
	 */
	int32_t intx_gsi;

	/*
	 * KVM has one table of GSI routes for the whole VM, which can only be replaced as a whole
	 * (KVM_SET_GSI_ROUTING). So a VMM that has other MSI routes, or two of these devices, keeps
	 * the table itself. This function must put these `n` routes into the table, all or none,
	 * and give the table to KVM. The library calls it only if something changes, with as many
	 * routes at once as possible, and at the end with all of them unused. `routes` is valid
	 * during the call. Return 0, or a negative errno if nothing changed; then these interrupts
	 * take the slow path, through KVM_SIGNAL_MSI.
	 *
	 * NULL: the device owns the VM's table, which consists of what KVM_CREATE_IRQCHIP made and
	 * of its own routes. This works only on x86 with all interrupt controllers in the kernel;
	 * otherwise such routes are refused.
	 */
	int (*set_routes)(const struct ivshmem_kvm_route *routes, size_t n, void *data);

	/* A message for the VMM's log, one sentence without newline. A guest cannot flood it. NULL:
	 * silence. */
	void (*log)(enum ivshmem_log_level level, const char *message, void *data);

	void *data; /* passed to both */
};

/* Fill in the defaults, and struct_size, which is sizeof(*config). vm_fd and memory_slot have none. */
void ivshmem_kvm_config_init(struct ivshmem_kvm_config *config, size_t struct_size);

/* ---- life ------------------------------------------------------------------------------------ */

/*
 * Connect to the server or open the memory, create a device in its state after power-on, and attach
 * it to the VM. In revision 1, the id and the memory are there when this returns. In revision 0,
 * they may come later. If the server goes, refuses us, or has too small a memory, they will never
 * come; the log says so.
 *
 * Blocks for at most config->timeout_ms. Copies the configuration. Release the device with
 * ivshmem_kvm_free(). Returns 0 or:
 *	-EINVAL		the configuration is not possible: vm_fd is no virtual machine, neither
 *			server nor memory, host_msix, or what ivshmem_device_new() refuses
 *	-E2BIG		something is set that this library does not know
 *	-ENOMEM, -EMFILE  not enough memory, or descriptors, for what is always needed
 *	otherwise	for the server, as ivshmem_attach() in client.h; for the memory, as open()
 *			and mmap()
 */
int ivshmem_kvm_new(struct ivshmem_kvm **ret_kvm, const struct ivshmem_kvm_config *config,
	struct ivshmem_error *reterr);

/*
 * Detach the device from the VM (slot, ioeventfds, irqfds, routes), leave the group, and release
 * everything. Virtual CPUs may run meanwhile, but no thread may be inside another function of this
 * header for this device. NULL is allowed. Returns NULL.
 */
struct ivshmem_kvm *ivshmem_kvm_free(struct ivshmem_kvm *kvm);

/* ---- events ---------------------------------------------------------------------------------- */

/*
 * A descriptor that polls readable (POLLIN) when there is something to dispatch: peers joined or
 * left, the server went away, a ring came for a vector that no irqfd serves, or INTx has to be
 * checked again. It stays the same for the life of the device and belongs to the device: do not
 * read or close it.
 */
int ivshmem_kvm_fd(const struct ivshmem_kvm *kvm);

/*
 * Handle what is there, without waiting; harmless if there is nothing. Call it soon after the
 * descriptor becomes readable: until then, new peers cannot be rung, and masked vectors and INTx
 * wait for their interrupts. Returns 0, or a negative errno, which no peer or guest can cause.
 */
int ivshmem_kvm_dispatch(struct ivshmem_kvm *kvm);

/* ---- accesses of the guest ------------------------------------------------------------------- */

/* Config space; as ivshmem_device_config_read() and ivshmem_device_config_write(). */
void ivshmem_kvm_config_read(struct ivshmem_kvm *kvm, unsigned offset, void *buffer, size_t length);
void ivshmem_kvm_config_write(
	struct ivshmem_kvm *kvm, unsigned offset, const void *buffer, size_t length);

/*
 * An access to guest physical memory that KVM passed to user space: `length` bytes of `data`, as in
 * struct kvm_run (mmio.phys_addr, .data, .len, .is_write). The device checks whether one of its
 * BARs is at `address` now, with decoding on. If not, it returns false; then nothing has happened,
 * and nothing was stored in `data`.
 */
bool ivshmem_kvm_mmio(
	struct ivshmem_kvm *kvm, uint64_t address, void *data, unsigned length, bool is_write);

/* For a VMM that places BARs itself: as ivshmem_device_read() and ivshmem_device_write(). */
uint64_t ivshmem_kvm_read(struct ivshmem_kvm *kvm, unsigned bar, uint64_t offset, unsigned size);
void ivshmem_kvm_write(
	struct ivshmem_kvm *kvm, unsigned bar, uint64_t offset, unsigned size, uint64_t value);

/* Reset the function, as ivshmem_device_reset() does, when the guest resets it or the VM is reset.
 * The INTx pin falls. */
void ivshmem_kvm_reset(struct ivshmem_kvm *kvm);

/* ---- save and load --------------------------------------------------------------------------- */

/*
 * As ivshmem_device_state_size(), ivshmem_device_save() and ivshmem_device_load(), for the master
 * only. The VMM transfers the contents of the memory (ivshmem_kvm_memory()).
 *
 * Order: stop the virtual CPUs, save the device, then save the interrupt controllers, to which
 * irqfds may still send interrupts until then. At the other end, load the interrupt controllers,
 * then the device, which sends them what is pending.
 */
size_t ivshmem_kvm_state_size(struct ivshmem_kvm *kvm, enum ivshmem_device_format format);
int ivshmem_kvm_save(struct ivshmem_kvm *kvm, enum ivshmem_device_format format, void *buffer,
	size_t size, struct ivshmem_error *reterr);
int ivshmem_kvm_load(struct ivshmem_kvm *kvm, enum ivshmem_device_format format, const void *buffer,
	size_t size, struct ivshmem_error *reterr);

/* ---- questions ------------------------------------------------------------------------------- */

/* The address of the shared memory in this process, and its size in bytes. The size is that of the
 * whole memory; in revision 0, BAR2 may be smaller. NULL and 0 as long as there is no memory. Once
 * there, the memory stays until ivshmem_kvm_free(). A server's policy may give it for reading only:
 * then a store is a SIGSEGV, and what the guest stores is dropped. */
void *ivshmem_kvm_memory(struct ivshmem_kvm *kvm);
uint64_t ivshmem_kvm_memory_size(struct ivshmem_kvm *kvm);

/*
 * Anybody who may write to memory that is not sealed, such as an object with a name, can shrink it.
 * If a virtual CPU then uses what is gone, KVM_RUN fails with EFAULT; the kernel does this, and the
 * VMM must handle it. Accesses that come through this library read as all ones, and the log says so
 * once. For this, the library handles SIGBUS as long as there is a device with such memory. A
 * handler that was there before gets every SIGBUS that is not the library's, and is restored at the
 * end.
 *
 * A VMM that installs a handler later must call this function first in it. The function does not
 * return if the SIGBUS is the library's. It is async-signal-safe. A SIGBUS from the VMM's own
 * accesses to ivshmem_kvm_memory() is not the library's.
 */
void ivshmem_kvm_sigbus(void);

/* As the functions of device.h of the same names. */
uint64_t ivshmem_kvm_bar_size(struct ivshmem_kvm *kvm, unsigned bar);
uint64_t ivshmem_kvm_bar_address(struct ivshmem_kvm *kvm, unsigned bar);
int32_t ivshmem_kvm_id(struct ivshmem_kvm *kvm);
unsigned ivshmem_kvm_peer_vectors(struct ivshmem_kvm *kvm, uint16_t peer);
bool ivshmem_kvm_is_master(struct ivshmem_kvm *kvm);

/* What the kernel does, and what the library had to do itself. */
struct ivshmem_kvm_status {
	size_t struct_size;     /* sizeof(struct ivshmem_kvm_status), set by the caller */
	bool connected;         /* to the server */
	bool memory_mapped;     /* BAR2 is a memory slot now */
	unsigned ioeventfds;    /* in force: doorbells that the kernel handles now */
	unsigned irqfds;        /* MSI-X vectors that the kernel delivers now */
	uint64_t rings;         /* doorbell writes that came to the library, since the start */
	uint64_t messages;      /* MSI-X messages that the library sent, since the start */
	uint64_t route_changes; /* how often the VM's routes had to be replaced */
};

/* Fill in `status`. Returns 0, -EINVAL if struct_size is not set, or -E2BIG if it is absurdly large. */
int ivshmem_kvm_get_status(struct ivshmem_kvm *kvm, struct ivshmem_kvm_status *status);

#ifdef __cplusplus
}
#endif

#endif
