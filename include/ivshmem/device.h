/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_DEVICE_H
#define IVSHMEM_DEVICE_H

/*
 * libivshmem-device: the ivshmem PCI device, for whoever writes a virtual machine monitor.
 *
 * The device is a state machine and nothing else. It has no descriptor, no socket, no clock and no
 * thread, and it allocates memory only when it is created. Accesses of the guest and events from
 * the ivshmem server go in as function calls; what has to happen because of them comes out through
 * one table of functions, `struct ivshmem_device_ops`, which the host (the VMM, or a program that
 * serves the device to one) fills in.
 *
 *	guest					host
 *	config space	ivshmem_device_config_read(), ivshmem_device_config_write()
 *	BARs		ivshmem_device_read(), ivshmem_device_write()
 *	reset		ivshmem_device_reset()
 *
 *	server (docs/protocol.md)
 *	own id		config.id, or ivshmem_device_set_id() in revision 0
 *	memory		ivshmem_device_set_memory()
 *	peer + eventfd	ivshmem_device_add_vector()
 *	peer left	ivshmem_device_remove_peer()
 *	own eventfd	ivshmem_device_interrupt(), unless an irqfd is attached to it
 *
 * So a host with a server connects to it, reads its id and the memory, and calls
 *
 *	ivshmem_device_config_init(), or ivshmem_device_configure() for properties as text
 *	ivshmem_device_new()
 *	ivshmem_device_set_memory()
 *
 * and then passes on what comes from either side until ivshmem_device_free(). What it must get
 * right is the order: descriptors of a peer are kept until ivshmem_device_remove_peer() returns,
 * and an own eventfd is watched by either the host or an irqfd.
 *
 * There is one model for the two revisions that exist:
 *
 *				revision 0 (2010)		revision 1 (QEMU 2.6 to today)
 *	PCI revision id		0				1
 *	interrupt pin		INTA, always			none
 *	INTx			by IntrStatus and IntrMask	never
 *	BAR2			32 bits, not prefetchable	64 bits, prefetchable
 *	memory			may arrive late; IVPosition	there from the first instant
 *				reads -1 until then
 *	may be migrated		role=master (default)		master=on, or auto and id 0
 *	ioeventfd by default	off				on
 *
 * and two kinds of it: with a server ("doorbell": peers, interrupts, MSI-X) and without one
 * ("plain": BAR0 and the memory only; no BAR1 and no capability list, by which guests know it).
 * docs/device.md describes what the guest sees, and every deliberate difference from QEMU.
 *
 * Threads: none of the functions locks anything. Calls for one device must not overlap; different
 * devices are independent. Every op is called by the thread that is inside one of the functions
 * below, and must not call a function of this header for the same device, except the ones marked
 * "any time". No op may block: they run while a virtual processor waits.
 *
 * Errors: 0, or a negative errno. Output parameters (`ret_...`) are not touched on failure, and a
 * `reterr`, which may be NULL, is filled in on failure only. Whatever a guest, a server or a saved
 * state holds, nothing asserts, aborts, loops or allocates.
 *
 * Sources: [spec] QEMU's docs/specs/ivshmem-spec, [2010] the first public device, [QEMU] as QEMU
 * 10.2 behaves, [PCI] the PCI Local Bus Specification 3.0, [ours] a decision of this project.
 */

#include <ivshmem/common.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct ivshmem_device;

/* ---- what the host does for the device ------------------------------------------------------- */

/* An MSI-X message: what entry `vector` of the table holds now. */
struct ivshmem_device_message {
	uint64_t
		address; /* bus address; a multiple of 4. 0 if the host has the table (host_msix) */
	uint32_t data;   /* 0 if the host has the table */
	unsigned vector; /* 0 .. vectors - 1 */
};

/*
 * A trigger: when the guest writes `datamatch`, or anything if `match` is false, `width` bytes wide,
 * to `address`, then vector `vector` of `peer` is to be rung, without asking the device. Made for
 * KVM_IOEVENTFD.
 */
struct ivshmem_device_ioeventfd {
	uint64_t address;   /* bus address: BAR0 + 12, or that of a doorbell word */
	unsigned width;     /* 4 */
	bool match;         /* true for the doorbell register, which all triggers share */
	uint32_t datamatch; /* 0 without match */
	uint16_t peer;
	unsigned vector;
};

/*
 * Any function may be NULL; what that means is said with each. `data` is config.data.
 */
struct ivshmem_device_ops {
	size_t struct_size; /* sizeof(struct ivshmem_device_ops); lets the table grow (common.h) */

	/*
	 * Put the shared memory, all of it, at guest bus address `address`; undo that. Between a
	 * successful map and its unmap no other map comes. NULL, or a negative errno from map:
	 * accesses to BAR2 keep coming as ivshmem_device_read() and ivshmem_device_write().
	 */
	int (*map_memory)(
		struct ivshmem_device *device, uint64_t address, uint64_t size, void *data);
	void (*unmap_memory)(
		struct ivshmem_device *device, uint64_t address, uint64_t size, void *data);

	/* Level of the INTx pin; called on changes only, and it begins low. NULL: no pin wired. */
	void (*set_intx)(struct ivshmem_device *device, bool level, void *data);

	/*
	 * Send this message to the guest now. A negative errno means "not now": the vector stays
	 * pending (a set bit in the PBA) until ivshmem_device_retry(), or until the guest unmasks
	 * it again. With host_msix, return one while there is nothing to signal for the vector,
	 * and no ring is lost. NULL: as if it always failed.
	 */
	int (*send_message)(struct ivshmem_device *device,
		const struct ivshmem_device_message *message, void *data);

	/*
	 * Ring `vector` of `peer`: add 1 to its eventfd. Both were announced by
	 * ivshmem_device_add_vector(). The peer may be ourselves. Must not block: the eventfd may
	 * be full (then it rings anyway), and O_NONBLOCK may have been switched off by a peer.
	 */
	void (*ring)(struct ivshmem_device *device, uint16_t peer, unsigned vector, void *data);

	/*
	 * Add a trigger, remove it again. There is exactly one per connected (peer, vector) while
	 * BAR0 can be reached by the guest, and with doorbell_bar another one while BAR4 can; all
	 * are removed before their BAR moves, and a peer's before it is gone. A negative errno: the
	 * guest's writes go on arriving as ivshmem_device_write(). NULL (either): no triggers are
	 * asked for.
	 */
	int (*add_ioeventfd)(struct ivshmem_device *device,
		const struct ivshmem_device_ioeventfd *ioeventfd, void *data);
	void (*remove_ioeventfd)(struct ivshmem_device *device,
		const struct ivshmem_device_ioeventfd *ioeventfd, void *data);

	/*
	 * Let our own eventfd of message->vector send this message by itself (KVM_IRQFD), no
	 * longer watch it; and the reverse. An attached vector that is already readable must fire
	 * at once, as KVM does. A negative errno from attach: go on watching the eventfd. Never
	 * called for a vector that was not announced for our own id. NULL (either): never.
	 *
	 * As long as a vector is not attached, the host watches its eventfd and reports rings with
	 * ivshmem_device_interrupt().
	 */
	int (*attach_irqfd)(struct ivshmem_device *device,
		const struct ivshmem_device_message *message, void *data);
	void (*detach_irqfd)(struct ivshmem_device *device, unsigned vector, void *data);

	/*
	 * Was our own `vector`, which is not attached, rung since somebody last looked? Empties
	 * the eventfd and tells. Asked for before the guest reads the PBA, before the vector is
	 * attached, before the device is saved, and on reset, where the rings are forgotten. NULL:
	 * the host's loop is quick enough.
	 */
	bool (*take_ring)(struct ivshmem_device *device, unsigned vector, void *data);

	/*
	 * Forget the rings of all our own vectors, none of which is attached: what take_ring() of
	 * each would do on reset, for hosts that can do it quicker. NULL: take_ring() is called.
	 */
	void (*drop_rings)(struct ivshmem_device *device, void *data);

	/* A message for the host's log, one sentence without newline. A guest cannot flood it. */
	void (*log)(struct ivshmem_device *device, enum ivshmem_log_level level,
		const char *message, void *data);
};

/* ---- configuration --------------------------------------------------------------------------- */

/* Who may be migrated, and carries the memory. */
enum ivshmem_device_master {
	IVSHMEM_DEVICE_MASTER_OFF,  /* also role=peer */
	IVSHMEM_DEVICE_MASTER_ON,   /* also role=master; in revision 1 demands id 0 */
	IVSHMEM_DEVICE_MASTER_AUTO, /* whoever has id 0 */
	IVSHMEM_DEVICE_MASTER_COUNT
};

#define IVSHMEM_DEVICE_NO_ID (-1)

/* Smallest memory, and largest of revision 0, whose BAR2 has 32 bits. */
#define IVSHMEM_DEVICE_MIN_MEMORY   UINT64_C(4096)
#define IVSHMEM_DEVICE_MAX_MEMORY_0 (UINT64_C(1) << 31)
#define IVSHMEM_DEVICE_MAX_MEMORY   (UINT64_C(1) << 62)

struct ivshmem_device_config {
	size_t struct_size; /* sizeof(struct ivshmem_device_config); lets the struct grow (common.h) */

	unsigned revision; /* 0 or 1 */

	/* There is a server, and thus peers and interrupts. If not, the device is plain, and id,
	 * vectors and the switches below mean nothing, and msi only what is said there. */
	bool server;

	/* Revision 0 only: interrupts by MSI-X (true) or INTx. Revision 1 always has MSI-X. A plain
	 * device has no interrupts, but its saved state in the 2010 form follows this. [2010] */
	bool msi;

	/* Vectors of this device, 1 to 2048, and the most that are used of any peer. */
	unsigned vectors;

	/* Size of BAR2 in bytes: a power of two, at least 4096; at most 2 GiB in revision 0. In
	 * revision 1 it must be the size of the memory, in revision 0 the memory may be larger. */
	uint64_t memory_size;

	/* Our id, as the server told. Revision 0 may be created without:
	 * IVSHMEM_DEVICE_NO_ID. */
	int32_t id;

	enum ivshmem_device_master master;

	bool ioeventfd; /* ask for triggers, if the ops are there */

	/*
	 * The host emulates the MSI-X table itself, as every vfio-user client does. Config space
	 * and BAR1 answer all the same, but neither the table, nor its masks, nor the enable bit,
	 * nor the bus master bit decide: a ring always becomes send_message(), with the vector
	 * only. No irqfd is attached.
	 */
	bool host_msix;

	/* Look at bits 7..0 of a doorbell write only, as the 2010 device and QEMU do, instead of
	 * the 16 bits of the specification. Vectors from 256 on are then out of reach. */
	bool legacy_doorbell;

	/*
	 * Revision 1 only: a BAR4 with one doorbell word for each vector of each of the 65536
	 * possible peers, in addition to the register, and a capability that announces it. KVM takes
	 * a ring of a word in the same time however many peers there are, but searches the
	 * register's triggers one by one. The BAR has 256 KiB times `vectors`, rounded up to a power
	 * of two. [ours]
	 */
	bool doorbell_bar;

	const struct ivshmem_device_ops *ops; /* copied. NULL: nothing has effects */
	void *data;                           /* handed to every op */
};

/*
 * Fill in the defaults of `revision` (0 or 1; another one is refused later, by
 * ivshmem_device_new()): a server, MSI-X, 1 vector; revision 0: 4 MiB, master, no ioeventfd, no id
 * yet; revision 1: memory_size 0, which must be replaced, not master, ioeventfd, id 0. [2010]
 * [QEMU]
 *
 *	struct_size	sizeof(*config); it is set in the struct, too
 */
void ivshmem_device_config_init(
	struct ivshmem_device_config *config, size_t struct_size, unsigned revision);

/*
 * The properties, as text: those of the 2010 device, and those of today's. NULL means not given.
 *
 *	name		revision 0		revision 1		default
 *	chardev		the server: "unix:PATH" or a path		none
 *	shm		a POSIX shared memory object, when there is no server	none
 *	memdev		-			host memory		none
 *	size		as below		as below, optional	4M; revision 1: none
 *	vectors		1 to 2048		1 to 2048		1
 *	ioeventfd	on, off			on, off			off; revision 1: on
 *	msi		on, off			on			on
 *	role		master, peer		-			master
 *	master		-			on, off, auto		off
 *	doorbell-bar	-			on, off			off
 *
 * A size of revision 0 is a decimal number of MiB, or one with M, m, G or g behind it [2010]. One of
 * revision 1, where QEMU has none, is bytes in decimal or 0x hexadecimal, or a number, possibly with
 * a fraction, with K, M, G, T, P or E behind it [ours]. Both must be powers of two.
 * on and off may also be yes, true, y and no, false, n. [QEMU]
 */
struct ivshmem_device_properties {
	size_t struct_size; /* sizeof(struct ivshmem_device_properties); see common.h */
	const char *chardev, *shm, *memdev, *size, *vectors, *ioeventfd, *msi, *role, *master,
		*doorbell_bar;
};

/*
 * Split a line as it stands behind QEMU's -device: "NAME,property=value,...", where NAME may be
 * missing. `text` is changed, and the properties point into it. Two commas are a comma within a
 * value, "property" alone means "property=on", and "noproperty" "property=off". The last one of
 * several wins. [QEMU]
 *
 *	ret_revision	set to 0 by the name "ivshmem", to 1 by "ivshmem-plain" and
 *			"ivshmem-doorbell", and left alone without a name
 *	ret_properties	its struct_size is set by the caller
 *
 * Returns 0, or -EINVAL and the reason: an unknown name or property, or one without value that
 * needs one, or no struct_size. Whether the values make sense is for ivshmem_device_configure().
 */
int ivshmem_device_properties_parse(char *text, unsigned *ret_revision,
	struct ivshmem_device_properties *ret_properties, struct ivshmem_error *reterr);

/*
 * Make a configuration from properties: ivshmem_device_config_init() and then what was given. The
 * members that are no property (id, host_msix, legacy_doorbell, ops, data) keep their defaults.
 * Where the memory and the server come from is for the caller to see to.
 *
 *	ret_config	its struct_size is set by the caller
 *	ret_warning	may be NULL; set to a static sentence, or to NULL if there is nothing to
 *			warn of: chardev and shm both given to revision 0, which uses chardev [2010]
 *
 * Returns 0, or -EINVAL or -ERANGE and the reason: a value that does not parse, a size that is 0,
 * no power of two or too large, vectors not 1 to 2048, ioeventfd without msi, a role that is
 * neither master nor peer, neither server nor memory, a property of the other revision, a
 * doorbell-bar that is on without server. [2010], with what 2010 let pass refused. -E2BIG: a property
 * that this library does not know.
 */
int ivshmem_device_configure(const struct ivshmem_device_properties *properties, unsigned revision,
	struct ivshmem_device_config *ret_config, const char **ret_warning,
	struct ivshmem_error *reterr);

/* ---- life ------------------------------------------------------------------------------------ */

/*
 * Create a device as it is after power-on: nothing enabled, no BAR placed, no peer, no memory. The
 * configuration and the ops are copied. Calls no op. Release it with ivshmem_device_free().
 *
 * Returns 0 or:
 *	-EINVAL		a configuration that cannot be
 *	-E2BIG		something is set, in it or in the ops, that this library does not know
 *	-ENOMEM
 */
int ivshmem_device_new(struct ivshmem_device **ret_device,
	const struct ivshmem_device_config *config, struct ivshmem_error *reterr);

/*
 * Undo every effect that is in force (triggers, irqfds, the mapping, INTx) through the ops and free
 * the device. NULL is allowed. Returns NULL.
 */
struct ivshmem_device *ivshmem_device_free(struct ivshmem_device *device);

/*
 * A reset of the PCI function: config space as at power-on, IntrStatus and IntrMask 0, INTx low,
 * every vector masked and not pending, rings that were not delivered forgotten; every mapping,
 * trigger and irqfd removed. Our id, the peers and the memory stay. [PCI]; the 2010 device cleared
 * IntrStatus only.
 */
void ivshmem_device_reset(struct ivshmem_device *device);

/* ---- events from the server ------------------------------------------------------------------ */

/*
 * Revision 0 with a server, created without id: this is it. Once: -EALREADY after that. -EINVAL
 * for a plain device.
 */
int ivshmem_device_set_id(struct ivshmem_device *device, uint16_t id);

/*
 * The shared memory is there. In revision 1 call it before the guest runs; revision 0 allows it at
 * any later time, and BAR2 has nothing behind it and IVPosition reads -1 until then [2010].
 *
 *	memory	where it is mapped in this process, for accesses to BAR2 that arrive as
 *		ivshmem_device_read(); stays the caller's, and must stay mapped as long as the
 *		device lives. NULL if none will arrive: they read all ones then.
 *	size	of the whole memory in bytes
 *
 * Returns 0 or:
 *	-EALREADY	there is a memory already, which stays in use
 *	-EINVAL		smaller than BAR2; in revision 1: not of the same size
 */
int ivshmem_device_set_memory(
	struct ivshmem_device *device, void *memory, uint64_t size, struct ivshmem_error *reterr);

/*
 * The server announced one more vector of `peer`, possibly ourselves; they are numbered in the
 * order of arrival. Returns its number, or:
 *	-ENOSPC		one more than this device has vectors: close the descriptor and go on [spec]
 *	-EINVAL		the device is plain
 */
int ivshmem_device_add_vector(struct ivshmem_device *device, uint16_t peer);

/*
 * The server announced that `peer` left. Its triggers are gone when this returns, and only then may
 * its descriptors be closed. Its id may come again as a new peer. Returns 0 or:
 *	-ENOENT		there is no such peer: harmless
 *	-EINVAL		that is us: nothing changes
 */
int ivshmem_device_remove_peer(struct ivshmem_device *device, uint16_t peer);

/*
 * Our own `vector` was rung, once or more often: its eventfd was read. Becomes a message, or a
 * pending bit (masked, MSI-X not enabled, no bus master), or bit 0 of IntrStatus (revision 0, msi
 * off). -EINVAL if the vector was never announced for our id.
 */
int ivshmem_device_interrupt(struct ivshmem_device *device, unsigned vector);

/*
 * The host can send messages of `vector` again after send_message() failed: if the vector is
 * pending and nothing forbids, the message is sent now. Harmless at any other moment.
 */
void ivshmem_device_retry(struct ivshmem_device *device, unsigned vector);

/* ---- accesses of the guest ------------------------------------------------------------------- */

/*
 * `length` bytes of config space from `offset` on. Any length and alignment: the bytes are as on
 * the bus, little-endian. Beyond the 256 bytes of a conventional PCI function, reads give 0xff and
 * writes have no effect. Reading is possible any time.
 */
void ivshmem_device_config_read(
	const struct ivshmem_device *device, unsigned offset, void *buffer, size_t length);
void ivshmem_device_config_write(
	struct ivshmem_device *device, unsigned offset, const void *buffer, size_t length);

/*
 * An access of 1, 2, 4 or 8 bytes at `offset` of BAR 0, 1, 2 or 4; the value is a number whose low
 * byte is at the lowest address. They are answered whether or not the guest has enabled memory
 * decoding: what reaches a device that does not decode is the host's to know.
 *
 *	BAR0	only aligned 32-bit accesses act; others read 0 and change nothing, not even
 *		IntrStatus [2010] [spec]; QEMU today acts on some, docs/device.md says which
 *	BAR1	aligned 32-bit and 64-bit accesses act; others read 0 [QEMU]
 *	BAR2	all; aligned ones are single accesses to the memory
 *	BAR4	an aligned 32-bit write rings; nothing else acts, and reads give 0 [ours]
 *
 * What is not there (another BAR, beyond the end, another size, memory that has not arrived) reads
 * as all ones and ignores writes.
 */
uint64_t ivshmem_device_read(
	struct ivshmem_device *device, unsigned bar, uint64_t offset, unsigned size);
void ivshmem_device_write(struct ivshmem_device *device, unsigned bar, uint64_t offset,
	unsigned size, uint64_t value);

/* ---- save and load --------------------------------------------------------------------------- */

/*
 * The state of the function as bytes. Integers are big-endian, the order is config space, MSI-X
 * table, pending bits, IntrStatus, IntrMask. Not in it: our id and the peers, which the new server
 * connection brings, and the contents of the memory, which the master carries apart from it.
 */
enum ivshmem_device_format {
	/* With a header: what it is, version, length, shape of the device. */
	IVSHMEM_DEVICE_FORMAT_NATIVE,
	/*
	 * The fields that the 2010 device put into a QEMU stream, in their order: for programs that
	 * read and write such streams, whose framing says version 0. Revision 0 only. With msi, which
	 * is the default also of plain devices, it has no IntrStatus and IntrMask, which then load as
	 * 0. Between config space and table it says whether INTA is requested, also when the command
	 * register disables the pin; that is checked, but follows from the registers. Bytes of config
	 * space that are neither header nor capability mean nothing.
	 */
	IVSHMEM_DEVICE_FORMAT_2010,
	IVSHMEM_DEVICE_FORMAT_COUNT
};

/* How many bytes ivshmem_device_save() writes; always the same for one device. 0: no such format
 * for this device. Any time. */
size_t ivshmem_device_state_size(
	const struct ivshmem_device *device, enum ivshmem_device_format format);

/*
 * Write the state into `buffer` of `size` bytes. The device goes on as it was. Returns 0 or:
 *	-EPERM		not the master: role=peer, or master=off [2010] [QEMU]
 *	-ENOSPC		`size` is less than ivshmem_device_state_size()
 *	-EINVAL		no such format for this device
 */
int ivshmem_device_save(struct ivshmem_device *device, enum ivshmem_device_format format,
	void *buffer, size_t size, struct ivshmem_error *reterr);

/*
 * Replace the state by a saved one, then bring the effects in line with it: mapping, triggers,
 * irqfds, INTx, and pending messages that may go. What does not fit this device in every respect
 * (length, version, vectors, size, revision, constants of the config space) changes nothing.
 * Returns 0 or:
 *	-EPERM		not the master
 *	-EPROTONOSUPPORT  a newer version
 *	-EINVAL		anything else, in `reterr`
 */
int ivshmem_device_load(struct ivshmem_device *device, enum ivshmem_device_format format,
	const void *buffer, size_t size, struct ivshmem_error *reterr);

/* ---- questions; any time --------------------------------------------------------------------- */

/* Size of a BAR in bytes; 0 if the device has no such BAR. BAR3 is the upper half of revision 1's
 * BAR2 and has none; the same holds for BAR5 and BAR4. */
uint64_t ivshmem_device_bar_size(const struct ivshmem_device *device, unsigned bar);

/* Where a BAR is on the bus now. 0: nowhere, because memory decoding is off, or the guest has not
 * placed the BAR or is sizing it. */
uint64_t ivshmem_device_bar_address(const struct ivshmem_device *device, unsigned bar);

/* Where the pending bits are in BAR1; the table is at 0. 0: no MSI-X. */
uint32_t ivshmem_device_pba_offset(const struct ivshmem_device *device);

/* Vectors in the MSI-X table; 0: no MSI-X. */
unsigned ivshmem_device_msix_vectors(const struct ivshmem_device *device);

/* Whether the function has an interrupt pin: revision 0. */
bool ivshmem_device_has_intx(const struct ivshmem_device *device);

/* The level of the pin. */
bool ivshmem_device_intx(const struct ivshmem_device *device);

/* Our id, or IVSHMEM_DEVICE_NO_ID as long as there is none. 0 for a plain device. */
int32_t ivshmem_device_id(const struct ivshmem_device *device);

/* On how many vectors `peer` can be rung; 0 if it is not there. */
unsigned ivshmem_device_peer_vectors(const struct ivshmem_device *device, uint16_t peer);

/* The doorbell words of each peer, as 1 << this number (IVSHMEM_CAP_SHIFT in abi.h), if the device
 * has BAR4. */
unsigned ivshmem_device_doorbell_shift(const struct ivshmem_device *device);

/* Whether this device may be saved and loaded, and carries the memory. */
bool ivshmem_device_is_master(const struct ivshmem_device *device);

#ifdef __cplusplus
}
#endif

#endif
