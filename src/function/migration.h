/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef FUNCTION_MIGRATION_H
#define FUNCTION_MIGRATION_H

/*
 * Migration of the device, state and memory, as VFIO (version 2) defines it. The VMM moves the
 * device from state to state. In some states it reads or writes a stream of bytes.
 *
 * States and arcs. The device starts in RUNNING. It acts, that is, interrupts the guest, in RUNNING
 * and PRE_COPY only.
 *
 *	PRE_COPY <---> RUNNING <---> STOP <---> RESUMING	writing, at the destination
 *	    |                          ^
 *	    |                          |
 *	    |                          v
 *	    +----------------------> STOP_COPY			reading, at the source
 *
 * Between any other two states, the device takes the shortest path of these arcs that does not save
 * on the way, step by step. There is no path from STOP_COPY to PRE_COPY. VFIO's peer-to-peer states
 * do not exist here, because this device reaches no other device.
 *
 * The stream. Numbers are big-endian.
 *
 *	magic		8 bytes, "ivshmig\0"
 *	version		32 bits, 1
 *	state length	32 bits
 *	memory length	64 bits: the size of BAR2
 *	state		of the device, native form (docs/device.md)
 *	memory
 *
 * The whole stream comes in STOP_COPY. The state is that of the moment in which the device enters
 * STOP_COPY; the memory is copied as it is read. PRE_COPY has nothing to give: nobody tells us
 * which pages the guest and its peers write to, so what came early would have to come again. The
 * VMM may read or write the stream in pieces of any size. Peers may go on writing to the memory
 * meanwhile. The memory is only bytes: nothing here depends on what they are.
 *
 * Resuming. The header is checked as soon as it is complete, and the state is loaded as soon as it
 * is complete. So a stream of another device overwrites no byte of the memory. The stream ends when
 * the VMM leaves RESUMING.
 *
 * What goes wrong:
 *
 *	no such state, no way to it	-EINVAL; nothing changes
 *	STOP_COPY or RESUMING cannot	the errno; the device stays in the last state that it reached,
 *	be entered			from which the VM can go on
 *	the stream is refused: wrong	an errno; no later write is taken, either
 *	header, wrong state, longer
 *	than it says
 *	RESUMING is left with a stream	-EBADMSG, and ERROR; the device has the state that it had
 *	refused, or not complete; none	before the stream's was loaded, but the part of the memory
 *	at all is not complete, either	that came has been overwritten
 *
 * Only DEVICE_RESET leads out of ERROR. It is an error on purpose to resume without a stream: the
 * VM would go on with a device that was reset without its guest's knowledge. A VMM that changes its
 * mind resets the device.
 *
 * Only the master can be migrated (docs/device.md). A stream needs memory for two states of the
 * device and no more: 66 KiB with 2048 vectors.
 */

#include <member/member.h>

#include <ivshmem/device.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ivshmem_error;
struct log;

/* As in linux/vfio.h. */
enum migration_state {
	MIGRATION_ERROR = 0,
	MIGRATION_STOP = 1,
	MIGRATION_RUNNING = 2,
	MIGRATION_STOP_COPY = 3,
	MIGRATION_RESUMING = 4,
	MIGRATION_PRE_COPY = 6,
};

/* What is migrated. Borrowed, and valid as long as the migration is. */
struct migration_subject {
	struct ivshmem_device *device;
	void *memory;          /* NULL: not there yet */
	uint64_t memory_size;  /* the size of BAR2; the memory may be larger */
	struct member *member; /* whose memory it is; NULL: nobody can shrink the memory */
	const struct log *log;
};

struct migration {
	struct migration_subject subject;
	enum migration_state state;

	/* The stream, in STOP_COPY and RESUMING. */
	uint8_t *prefix;      /* its header and the state of the device; NULL: there is no stream */
	uint8_t *previous;    /* the state before `loaded` */
	size_t prefix_size;   /* bytes */
	uint64_t length, at;  /* of the whole stream, and what was read or written of it */
	bool loaded, refused; /* RESUMING */
};

void migration_init(struct migration *migration, const struct migration_subject *subject);
void migration_done(struct migration *migration);

/* Whether the device can be migrated: it is the master. If not, use no other function. */
bool migration_supported(const struct migration *migration);

/* Whether the device acts: delivers interrupts. */
bool migration_is_running(const struct migration *migration);

/* DEVICE_RESET: go to RUNNING from any state. The caller resets the device itself. */
void migration_reset(struct migration *migration);

/*
 * Set the memory, which may arrive late in revision 0; NULL: it has not arrived. To be called
 * whenever it could have; the same memory again is harmless. A stream that has begun keeps its
 * memory.
 */
void migration_set_memory(struct migration *migration, void *memory);

/*
 * Go to `state` (a number from the wire), through the states on the way. No interrupt may be
 * delivered meanwhile, unless both states are running ones: those that were not delivered are
 * saved. Returns 0, or one of these, with the state as said above:
 *	-EINVAL		there is no such state, or no way to it
 *	-ENODATA	the memory has not arrived yet
 *	-ENOMEM
 *	-EBADMSG	the stream was refused or is not complete
 */
int migration_set_state(struct migration *migration, uint32_t state, struct ivshmem_error *reterr);

/* Read the next bytes of the stream, at most `size`. *ret_n is how many, 0 at the end. -EINVAL: the
 * wrong state; -EFAULT: a part of the memory has vanished. */
int migration_read(struct migration *migration, void *buffer, size_t size, size_t *ret_n,
	struct ivshmem_error *reterr);

/*
 * Write the next bytes of the stream. Returns 0, or:
 *	-EINVAL		the wrong state, or a stream that does not fit this device
 *	-EFAULT		a part of the memory has vanished
 *	-EPROTONOSUPPORT  the stream, or the state in it, is of a newer version
 */
int migration_write(
	struct migration *migration, const void *data, size_t size, struct ivshmem_error *reterr);

#endif
