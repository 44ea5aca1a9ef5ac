/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_DEVICE_H
#define IVSHMEM_DEVICE_H

/*
 * libivshmem-device: the ivshmem PCI device, for authors of virtual machine monitors (VMMs).
 *
 * The device is a state machine and nothing else. It has no descriptor, no socket, no clock and no
 * thread, and it allocates memory only when it is created. Accesses of the guest and events from
 * the ivshmem server go in as function calls. What has to happen because of them comes out through
 * one table of functions, `struct ivshmem_device_ops`. The host fills in this table; the host is
 * the VMM, or a program that serves the device to a VMM.
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
 * So a host with a server connects to the server, receives its id and the memory, and calls
 *
 *	ivshmem_device_config_init(), or ivshmem_device_configure() for properties as text
 *	ivshmem_device_new()
 *	ivshmem_device_set_memory()
 *
 * Then it passes on what comes from either side, until ivshmem_device_free(). It must follow two
 * rules: keep the descriptors of a peer until ivshmem_device_remove_peer() has returned, and let
 * either the host or an irqfd watch an own eventfd, never both.
 *
 * One model implements the two revisions that exist:
 *
 *				revision 0 (2010)		revision 1 (QEMU 2.6 to today)
 *	PCI revision id		0				1
 *	interrupt pin		INTA, always			none
 *	INTx			by IntrStatus and IntrMask	never
 *	BAR2			32 bits, not prefetchable	64 bits, prefetchable
 *	memory			may arrive late; IVPosition	is there from the start
 *				reads -1 until then
 *	may be migrated		role=master (default)		master=on, or auto and id 0
 *	ioeventfd by default	off				on
 *
 * There are two kinds of device: with a server ("doorbell": peers, interrupts, MSI-X), and without
 * one ("plain": BAR0 and the memory only). A plain device has no BAR1 and no capability list;
 * guests recognize it by this. docs/device.md describes what the guest sees, and every deliberate
 * difference from QEMU.
 *
 * Threads: none of the functions locks anything. Calls for one device must not overlap; different
 * devices are independent. The device calls an op in the thread that is inside one of the functions
 * below. An op must not call a function of this header for the same device, except those marked
 * "any time". No op may block: a virtual processor waits while it runs.
 *
 * Errors: functions return 0, or a negative errno. Output parameters (`ret_...`) are not touched on
 * failure, and a `reterr`, which may be NULL, is filled in on failure only. Whatever a guest, a
 * server or a saved state contains, nothing asserts, aborts, loops or allocates.
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

/* An MSI-X message: what entry `vector` of the MSI-X table contains now. */
struct ivshmem_device_message {
	uint64_t
		address; /* bus address; a multiple of 4. 0 if the host has the table (host_msix) */
	uint32_t data;   /* 0 if the host has the table */
	unsigned vector; /* 0 .. vectors - 1 */
};

/*
 * A trigger: when the guest writes `width` bytes to `address`, and they are `datamatch` or `match`
 * is false, the host rings `vector` of `peer` without asking the device. Made for KVM_IOEVENTFD.
 */
struct ivshmem_device_ioeventfd {
	uint64_t address;   /* bus address: BAR0 + 12, or that of a doorbell word */
	unsigned width;     /* in bytes: 4 */
	bool match;         /* true for the doorbell register, which all triggers share */
	uint32_t datamatch; /* 0 if match is false */
	uint16_t peer;
	unsigned vector;
};

/*
 * Any function may be NULL; the comment of each says what this means. `data` is config.data.
 */
struct ivshmem_device_ops {
	size_t struct_size; /* sizeof(struct ivshmem_device_ops); lets the table grow (common.h) */

	/*
	 * Map `size` bytes of shared memory, which is the whole BAR2, at guest bus address
	 * `address`; unmap them. Between a successful map and its unmap, there is no other map. If
	 * map returns a negative errno, or either op is NULL, the host goes on to pass accesses to
	 * BAR2 to ivshmem_device_read() and ivshmem_device_write().
	 */
	int (*map_memory)(
		struct ivshmem_device *device, uint64_t address, uint64_t size, void *data);
	void (*unmap_memory)(
		struct ivshmem_device *device, uint64_t address, uint64_t size, void *data);

	/* Set the level of the INTx pin. Called on changes only; the pin begins low. NULL: the pin
	 * is not wired. */
	void (*set_intx)(struct ivshmem_device *device, bool level, void *data);

	/*
	 * Send this message to the guest now. A negative errno means "not now": the vector stays
	 * pending (a set bit in the PBA) until ivshmem_device_retry(), or until the guest unmasks
	 * it again. With host_msix, return a negative errno while the host has nothing to signal
	 * for the vector; then no ring is lost. NULL: as if it always failed.
	 */
	int (*send_message)(struct ivshmem_device *device,
		const struct ivshmem_device_message *message, void *data);

	/*
	 * Ring `vector` of `peer`: add 1 to its eventfd. The host has announced both with
	 * ivshmem_device_add_vector(). The peer may be ourselves. Must not block: the eventfd may
	 * be full (then it rings anyway), and a peer may have switched off its O_NONBLOCK. NULL:
	 * rings are lost.
	 */
	void (*ring)(struct ivshmem_device *device, uint16_t peer, unsigned vector, void *data);

	/*
	 * Add a trigger; remove it again. There is exactly one for each connected (peer, vector)
	 * while the guest can reach BAR0, and, with doorbell_bar, another one while it can reach
	 * BAR4; with legacy_doorbell, vectors from 256 on have none at BAR0. The device removes all
	 * triggers of a BAR before the BAR moves, and those of a peer before
	 * ivshmem_device_remove_peer() returns. After a negative errno, the host goes on to pass
	 * the guest's writes to ivshmem_device_write(). Either is NULL: the device asks for no
	 * triggers.
	 */
	int (*add_ioeventfd)(struct ivshmem_device *device,
		const struct ivshmem_device_ioeventfd *ioeventfd, void *data);
	void (*remove_ioeventfd)(struct ivshmem_device *device,
		const struct ivshmem_device_ioeventfd *ioeventfd, void *data);

	/*
	 * Attach: from now on, our own eventfd of message->vector sends this message by itself
	 * (KVM_IRQFD), and the host no longer watches the eventfd. Detach: the reverse. If the
	 * eventfd is already readable when it is attached, it must fire at once, as with KVM. If
	 * attach returns a negative errno, the host goes on to watch the eventfd. Never called for
	 * a vector that was not announced for our own id. Either is NULL: never called.
	 *
	 * As long as a vector is not attached, the host watches its eventfd and reports rings with
	 * ivshmem_device_interrupt().
	 */
	int (*attach_irqfd)(struct ivshmem_device *device,
		const struct ivshmem_device_message *message, void *data);
	void (*detach_irqfd)(struct ivshmem_device *device, unsigned vector, void *data);

	/*
	 * Empty the eventfd of our own `vector`, which is not attached, and return whether it was
	 * rung. The device calls this before the guest reads the PBA, before it attaches the
	 * vector, before it is saved, and on reset, where it forgets the rings. NULL: the host's
	 * loop is quick enough.
	 */
	bool (*take_ring)(struct ivshmem_device *device, unsigned vector, void *data);

	/*
	 * Forget the rings of all our own vectors, none of which is attached. On reset, this does
	 * what take_ring() would do for each vector, for hosts that can do it more quickly. NULL:
	 * the device calls take_ring().
	 */
	void (*drop_rings)(struct ivshmem_device *device, void *data);

	/* A message for the host's log, one sentence without newline. A guest cannot flood it.
	 * NULL: no log. */
	void (*log)(struct ivshmem_device *device, enum ivshmem_log_level level,
		const char *message, void *data);
};

/* ---- configuration --------------------------------------------------------------------------- */

/* Whether the device may be migrated, and transfers the memory. */
enum ivshmem_device_master {
	IVSHMEM_DEVICE_MASTER_OFF,  /* also role=peer */
	IVSHMEM_DEVICE_MASTER_ON,   /* also role=master; revision 1 demands id 0 */
	IVSHMEM_DEVICE_MASTER_AUTO, /* on if the id is 0 */
	IVSHMEM_DEVICE_MASTER_COUNT
};

#define IVSHMEM_DEVICE_NO_ID (-1)

/* In bytes: the smallest memory; the largest of revision 0, whose BAR2 has 32 bits; the largest. */
#define IVSHMEM_DEVICE_MIN_MEMORY   UINT64_C(4096)
#define IVSHMEM_DEVICE_MAX_MEMORY_0 (UINT64_C(1) << 31)
#define IVSHMEM_DEVICE_MAX_MEMORY   (UINT64_C(1) << 62)

struct ivshmem_device_config {
	size_t struct_size; /* sizeof(struct ivshmem_device_config); lets the struct grow (common.h) */

	unsigned revision; /* 0 or 1 */

	/* Whether there is a server, and thus peers and interrupts. If not, the device is plain:
	 * id, vectors and the switches below mean nothing, and msi means only what its comment
	 * says. */
	bool server;

	/* Revision 0 only: interrupts by MSI-X (true) or by INTx (false). Revision 1 always has
	 * MSI-X. A plain device has no interrupts, but this decides the 2010 form of its saved
	 * state. [2010] */
	bool msi;

	/* Vectors of this device, 1 to 2048; also how many vectors of any peer it uses at most. */
	unsigned vectors;

	/* Size of BAR2 in bytes: a power of two, at least 4096; at most 2 GiB in revision 0. In
	 * revision 1, it must be the size of the memory; in revision 0, the memory may be
	 * larger. */
	uint64_t memory_size;

	/* Our id, as received from the server. Revision 0 may be created without an id:
	 * IVSHMEM_DEVICE_NO_ID. */
	int32_t id;

	enum ivshmem_device_master master;

	bool ioeventfd; /* ask for triggers, if the ops for them are there */

	/*
	 * The host emulates the MSI-X table itself, as every vfio-user client does. Config space
	 * and BAR1 still answer accesses, but the table, its masks, the enable bit and the bus
	 * master bit have no effect: every ring becomes send_message(), with the vector only. The
	 * device attaches no irqfd.
	 */
	bool host_msix;

	/* Take only bits 7..0 of a doorbell write as the vector, as the 2010 device and QEMU do,
	 * instead of the 16 bits of the specification. Vectors from 256 on are then out of
	 * reach. */
	bool legacy_doorbell;

	/*
	 * Revision 1 only: in addition to the register, the device has a BAR4 with one doorbell
	 * word for each vector of each of the 65536 possible peers, and a capability that announces
	 * it. KVM handles a ring of a word in the same time however many peers there are, but it
	 * searches the triggers of the register one by one. The size of the BAR is 256 KiB times
	 * `vectors`, rounded up to a power of two. [ours]
	 */
	bool doorbell_bar;

	const struct ivshmem_device_ops *ops; /* copied. NULL: nothing has effects */
	void *data;                           /* passed to every op */
};

/*
 * Fill in the defaults of `revision`, 0 or 1; ivshmem_device_new() refuses any other. Both: a
 * server, MSI-X, 1 vector. Revision 0: 4 MiB, master, no ioeventfd, no id yet [2010]. Revision 1:
 * memory_size 0, which must be replaced, not master, ioeventfd, id 0 [QEMU].
 *
 *	struct_size	sizeof(*config); it is set in the struct, too
 */
void ivshmem_device_config_init(
	struct ivshmem_device_config *config, size_t struct_size, unsigned revision);

/*
 * The properties as text: those of the 2010 device, and those of today's. NULL means not given. The
 * strings stay the caller's.
 *
 *	name		revision 0		revision 1		default
 *	chardev		the server: "unix:PATH" or a path		none
 *	shm		a POSIX shared memory object, if there is no server	none
 *	memdev		-			host memory		none
 *	size		as below		as below, optional	4M; revision 1: none
 *	vectors		1 to 2048		1 to 2048		1
 *	ioeventfd	on, off			on, off			off; revision 1: on
 *	msi		on, off			on			on
 *	role		master, peer		-			master
 *	master		-			on, off, auto		off
 *	doorbell-bar	-			on, off			off
 *
 * A size of revision 0 is a decimal number of MiB, or a number followed by M, m, G or g [2010]. A
 * size of revision 1, where QEMU has no such property, is a number of bytes, decimal or hexadecimal
 * with 0x in front, or a number, possibly with a fraction, followed by K, M, G, T, P or E [ours].
 * Both must be powers of two. Instead of on and off, yes, true, y and no, false, n are possible.
 * [QEMU]
 */
struct ivshmem_device_properties {
	size_t struct_size; /* sizeof(struct ivshmem_device_properties); see common.h */
	const char *chardev, *shm, *memdev, *size, *vectors, *ioeventfd, *msi, *role, *master,
		*doorbell_bar;
};

/*
 * Split a line as it is written after QEMU's -device: "NAME,property=value,...", where NAME may be
 * missing. This changes `text`, and the properties point into it, so keep it as long as you use
 * them. Two commas are one comma within a value; "property" alone means "property=on", and
 * "noproperty" means "property=off". If a property is given several times, the last one counts.
 * [QEMU]
 *
 *	ret_revision	set to 0 by the name "ivshmem", set to 1 by "ivshmem-plain" and
 *			"ivshmem-doorbell", not touched if there is no name
 *	ret_properties	the caller sets its struct_size
 *
 * Returns 0, or -EINVAL and the reason: an unknown name or property, a property that needs a value
 * and has none, or no struct_size (-E2BIG if that is absurdly large). ivshmem_device_configure() checks whether the values make sense.
 */
int ivshmem_device_properties_parse(char *text, unsigned *ret_revision,
	struct ivshmem_device_properties *ret_properties, struct ivshmem_error *reterr);

/*
 * Make a configuration from properties: the defaults of ivshmem_device_config_init(), and then what
 * was given. The members that are not properties (id, host_msix, legacy_doorbell, ops, data) keep
 * their defaults. The caller opens the memory and connects to the server.
 *
 *	ret_config	the caller sets its struct_size
 *	ret_warning	may be NULL; set to a static sentence if both chardev and shm were given to
 *			revision 0, which then uses chardev [2010]; else set to NULL
 *
 * Returns 0, or -EINVAL or -ERANGE and the reason: a value that does not parse; a size that is 0,
 * not a power of two, or too large; vectors not 1 to 2048; ioeventfd without msi; a role that is
 * neither master nor peer; neither server nor memory; a property of the other revision;
 * doorbell-bar on without a server. The rules are those of [2010], but what the 2010 device let
 * pass is refused. -E2BIG: a property that this library does not know.
 */
int ivshmem_device_configure(const struct ivshmem_device_properties *properties, unsigned revision,
	struct ivshmem_device_config *ret_config, const char **ret_warning,
	struct ivshmem_error *reterr);

/* ---- life ------------------------------------------------------------------------------------ */

/*
 * Create a device in its state after power-on: nothing enabled, no BAR placed, no peer, no memory.
 * Copies the configuration and the ops. Calls no op. Release the device with ivshmem_device_free().
 * Returns 0 or:
 *	-EINVAL		the configuration is not possible
 *	-E2BIG		something is set, in it or in the ops, that this library does not know
 *	-ENOMEM
 */
int ivshmem_device_new(struct ivshmem_device **ret_device,
	const struct ivshmem_device_config *config, struct ivshmem_error *reterr);

/*
 * Undo every effect that is in force (triggers, irqfds, the mapping, INTx) through the ops, and
 * free the device. NULL is allowed. Returns NULL.
 */
struct ivshmem_device *ivshmem_device_free(struct ivshmem_device *device);

/*
 * Reset the PCI function. Config space is as at power-on, IntrStatus and IntrMask are 0, INTx is
 * low, every vector is masked and not pending, and rings that were not delivered are forgotten.
 * Every mapping, trigger and irqfd is removed. Our id, the peers and the memory stay. [PCI]; the
 * 2010 device cleared IntrStatus only.
 */
void ivshmem_device_reset(struct ivshmem_device *device);

/* ---- events from the server ------------------------------------------------------------------ */

/*
 * Set the id of a device of revision 0 that has a server and was created without an id. Returns 0
 * or:
 *	-EALREADY	the device has an id already
 *	-EINVAL		the device is plain
 */
int ivshmem_device_set_id(struct ivshmem_device *device, uint16_t id);

/*
 * The shared memory is there. In revision 1, call this before the guest runs. In revision 0, it may
 * come at any later time; until then, BAR2 has nothing behind it and IVPosition reads -1 [2010].
 *
 *	memory	the address at which it is mapped in this process, for accesses to BAR2 that the
 *		host passes to ivshmem_device_read() and ivshmem_device_write(). The mapping stays
 *		the caller's, and must exist as long as the device. NULL if the host passes on no
 *		such accesses; they would read as all ones.
 *	size	of the whole memory, in bytes
 *
 * Returns 0 or:
 *	-EALREADY	the device has a memory already, which stays in use
 *	-EINVAL		the memory is smaller than BAR2; in revision 1: not of the size of BAR2
 */
int ivshmem_device_set_memory(
	struct ivshmem_device *device, void *memory, uint64_t size, struct ivshmem_error *reterr);

/*
 * The server announced one more vector of `peer`, which may be ourselves. Vectors are numbered in
 * the order of arrival. Returns the number of this vector, or:
 *	-ENOSPC		it would be more than this device has vectors: close the descriptor and go
 *			on [spec]
 *	-EINVAL		the device is plain
 */
int ivshmem_device_add_vector(struct ivshmem_device *device, uint16_t peer);

/*
 * The server announced that `peer` left. The triggers of the peer are gone when this returns; close
 * its descriptors only then. Its id may come again as a new peer. Returns 0 or:
 *	-ENOENT		there is no such peer; harmless
 *	-EINVAL		the peer is ourselves, or the device is plain; nothing changes
 */
int ivshmem_device_remove_peer(struct ivshmem_device *device, uint16_t peer);

/*
 * Our own `vector` was rung, once or more often: the host has read its eventfd. This becomes a
 * message, or a pending bit (masked, MSI-X not enabled, no bus master), or bit 0 of IntrStatus
 * (revision 0, msi off). Returns 0, or -EINVAL if the vector was never announced for our id.
 */
int ivshmem_device_interrupt(struct ivshmem_device *device, unsigned vector);

/*
 * The host can send messages of `vector` again, after send_message() failed. If the vector is
 * pending and open, the device sends the message now. Harmless at any other moment.
 */
void ivshmem_device_retry(struct ivshmem_device *device, unsigned vector);

/* ---- accesses of the guest ------------------------------------------------------------------- */

/*
 * Read or write `length` bytes of config space from `offset` on. Any length and alignment is
 * allowed; the bytes are as on the bus, little-endian. Beyond the 256 bytes of a conventional PCI
 * function, reads give 0xff and writes have no effect. Reading: any time.
 */
void ivshmem_device_config_read(
	const struct ivshmem_device *device, unsigned offset, void *buffer, size_t length);
void ivshmem_device_config_write(
	struct ivshmem_device *device, unsigned offset, const void *buffer, size_t length);

/*
 * An access of `size` 1, 2, 4 or 8 bytes at `offset` (in bytes) of BAR 0, 1, 2 or 4. The value is a
 * number whose low byte is at the lowest address. The device answers whether or not the guest has
 * enabled memory decoding: the host must know what reaches a device that does not decode.
 *
 *	BAR0	only aligned 32-bit accesses act; others read 0 and change nothing, not even
 *		IntrStatus [2010] [spec]. Today's QEMU acts on some; docs/device.md says on which
 *	BAR1	aligned 32-bit and 64-bit accesses act; others read 0 and change nothing [QEMU]
 *	BAR2	all accesses act; aligned ones are single accesses to the memory
 *	BAR4	an aligned 32-bit write rings; nothing else acts, and reads give 0 [ours]
 *
 * What does not exist (another BAR, beyond the end, another size, memory that has not arrived)
 * reads as all ones and ignores writes.
 */
uint64_t ivshmem_device_read(
	struct ivshmem_device *device, unsigned bar, uint64_t offset, unsigned size);
void ivshmem_device_write(struct ivshmem_device *device, unsigned bar, uint64_t offset,
	unsigned size, uint64_t value);

/* ---- save and load --------------------------------------------------------------------------- */

/*
 * The state of the function as bytes. Integers are big-endian. The order is config space, MSI-X
 * table, pending bits, IntrStatus, IntrMask. The state does not contain our id and the peers, which
 * come from the new server connection, nor the contents of the memory, which the master transfers
 * separately.
 */
enum ivshmem_device_format {
	/* With a header: what this is, version, length, shape of the device. */
	IVSHMEM_DEVICE_FORMAT_NATIVE,
	/*
	 * The fields that the 2010 device put into a QEMU stream, in the same order, for programs
	 * that read and write such streams, whose framing says version 0. Revision 0 only. With
	 * msi, which is the default even of plain devices, this form has no IntrStatus and
	 * IntrMask; they then load as 0. Between config space and table, the form says whether INTA
	 * is requested, even when the command register disables the pin. Loading checks this word,
	 * but the request follows from the registers. Bytes of config space that belong neither to
	 * the header nor to the capability mean nothing.
	 */
	IVSHMEM_DEVICE_FORMAT_2010,
	IVSHMEM_DEVICE_FORMAT_COUNT
};

/* How many bytes ivshmem_device_save() writes; always the same for one device. 0: this device does
 * not have this format. Any time. */
size_t ivshmem_device_state_size(
	const struct ivshmem_device *device, enum ivshmem_device_format format);

/*
 * Write the state into `buffer` of `size` bytes. The device goes on as before. Returns 0 or:
 *	-EPERM		the device is not the master: role=peer, or master=off [2010] [QEMU]
 *	-ENOSPC		`size` is less than ivshmem_device_state_size()
 *	-EINVAL		this device does not have this format
 */
int ivshmem_device_save(struct ivshmem_device *device, enum ivshmem_device_format format,
	void *buffer, size_t size, struct ivshmem_error *reterr);

/*
 * Replace the state by a saved one of `size` bytes, then bring the effects in line with it:
 * mapping, triggers, irqfds, INTx, and pending messages that can be sent now. A state that does not
 * fit this device in every respect (length, version, vectors, size, revision, constants of the
 * config space) changes nothing. Returns 0 or:
 *	-EPERM		the device is not the master
 *	-EPROTONOSUPPORT  the state has a newer version
 *	-EINVAL		anything else; `reterr` has the reason
 */
int ivshmem_device_load(struct ivshmem_device *device, enum ivshmem_device_format format,
	const void *buffer, size_t size, struct ivshmem_error *reterr);

/* ---- questions; any time --------------------------------------------------------------------- */

/* Size of a BAR in bytes; 0 if the device has no such BAR. BAR3 is the upper half of revision 1's
 * BAR2 and has none; the same holds for BAR5 and BAR4. */
uint64_t ivshmem_device_bar_size(const struct ivshmem_device *device, unsigned bar);

/* The bus address of a BAR now. 0: it has none, because memory decoding is off, or the guest has
 * not placed the BAR or is sizing it. */
uint64_t ivshmem_device_bar_address(const struct ivshmem_device *device, unsigned bar);

/* The offset of the pending bits in BAR1, in bytes; the table is at 0. 0: no MSI-X. */
uint32_t ivshmem_device_pba_offset(const struct ivshmem_device *device);

/* Vectors in the MSI-X table; 0: no MSI-X. */
unsigned ivshmem_device_msix_vectors(const struct ivshmem_device *device);

/* Whether the function has an interrupt pin: revision 0. */
bool ivshmem_device_has_intx(const struct ivshmem_device *device);

/* The level of the pin. */
bool ivshmem_device_intx(const struct ivshmem_device *device);

/* Our id, or IVSHMEM_DEVICE_NO_ID as long as we have none. 0 for a plain device. */
int32_t ivshmem_device_id(const struct ivshmem_device *device);

/* On how many vectors `peer` can be rung; 0 if it is not there. */
unsigned ivshmem_device_peer_vectors(const struct ivshmem_device *device, uint16_t peer);

/* If the device has BAR4, each peer has 1 << this number of doorbell words (IVSHMEM_CAP_SHIFT in
 * abi.h). */
unsigned ivshmem_device_doorbell_shift(const struct ivshmem_device *device);

/* Whether this device may be saved and loaded, and transfers the memory. */
bool ivshmem_device_is_master(const struct ivshmem_device *device);

#ifdef __cplusplus
}
#endif

#endif
