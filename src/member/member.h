/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef MEMBER_MEMBER_H
#define MEMBER_MEMBER_H

/*
 * A device's membership of a group: the connection to the server, the shared memory, our own
 * eventfds and those of the peers. It feeds a `struct ivshmem_device` (include/ivshmem/device.h)
 * with what the server says, and is what the ops of the device's host ring and map with. Without a
 * server, it is memory only.
 *
 * Everything happens in callbacks of `loop`, in the thread that dispatches it, except during
 * member_open(), which blocks. Nothing is locked: calls, and the dispatching, must not overlap.
 *
 * The server is not trusted. It can end the membership, but not the process: what is senseless is
 * ignored and logged, a limited number of times, and what breaks the protocol is a lost server.
 */

#include <ivshmem/device.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ivshmem_error;
struct log;
struct loop;
struct member;

struct member_config {
	/* One of these; the server is preferred. */
	const char *server; /* path of its UNIX socket */
	const char *shm;    /* name of a POSIX shared memory object, as shm_open() takes it */
	const char *file;   /* path of a file to be mapped: memory of the host, hugetlbfs, tmpfs */

	/* shm and file: bytes. A missing object is created with exactly this size and mode 0600,
	 * reads as zero, and stays when the member is closed; an existing one is never resized, and
	 * refused if it is smaller. 0: whatever size it has. */
	uint64_t size;

	/* shm and file: allocate all of it, or fail, as region.h says. */
	bool preallocate;

	/* The device of 2010: take either dialect of the server protocol, and let id and memory come
	 * after member_open(), without any limit of time. */
	bool late;

	/* With `late`: how long member_open() waits for them all the same, before it goes on without
	 * them and warns. What makes it impossible that they ever come is an error meanwhile. 0: not
	 * at all. */
	unsigned late_ms;

	/*
	 * How many vectors the device has. Once the memory is there, member_open() waits for so many of our
	 * own, because a server announces them after the memory, one by one, and who cannot keep
	 * them (for want of descriptors, say) must not seem to be a member. No message says how
	 * many there will be: when no more come for a moment, it goes on with a warning. 0: do not
	 * wait.
	 */
	unsigned vectors;

	unsigned timeout_ms; /* for connecting and the greeting; 0: 5000 */

	/* A descriptor (borrowed; 0: none) that ends member_open() with -ECANCELED when it is
	 * readable: signals, for instance. */
	int cancel;

	/* Called once, when the server is gone or broke the protocol, or when the memory that came
	 * late was refused by the device: what there is works on. If that is no id or no memory, there
	 * will never be any. `error` is valid during the call,
	 * which may close the member. Not logged here. May be NULL. */
	void (*lost)(struct member *member, const struct ivshmem_error *error, void *data);
	void *data;

	/* If this is given, member_open() does not wait, not even for a place in the server's queue,
	 * and what would have made it fail later is a `lost` server. Called once, when the id and the
	 * memory are there; the member may be closed by it. For members with a server. */
	void (*joined)(struct member *member, void *data);
};

/*
 * Connect or open. Without `late`, the id and the memory are there afterwards; with it, perhaps. `log` is borrowed
 * for the member's life. Errors as from ivshmem_attach(), in words.
 */
int member_open(struct member **ret_member, struct loop *loop, const struct member_config *config,
	const struct log *log, struct ivshmem_error *reterr);

/* Close and unmap everything: the server tells the others. The device is gone by now, or detached.
 * NULL is allowed. Returns NULL. */
struct member *member_close(struct member *member);

/*
 * Tell `device`, which has neither memory nor peers yet, what is known (id if it came late, memory,
 * every vector), and whatever comes from now on. What the device refuses as a whole, the memory, is
 * an error, and then it is not attached; eventfds that it has no room for are closed. Own vectors
 * that were rung are reported by ivshmem_device_interrupt() until member_watch() says otherwise.
 */
int member_attach(
	struct member *member, struct ivshmem_device *device, struct ivshmem_error *reterr);
/* Must precede ivshmem_device_free(). Harmless if none is attached. */
void member_detach(struct member *member);

/* ---- for the ops of the device ---------------------------------------------------------------- */

/* Add 1 to an eventfd, a peer's or our own. Never blocks. */
void member_ring(struct member *member, uint16_t peer, unsigned vector);

/* Empty our own eventfd; whether it was rung. */
bool member_take_ring(struct member *member, unsigned vector);

/* Empty all our own eventfds, quickly if few were rung. */
void member_drop_rings(struct member *member);

/* Let the loop watch our own eventfd (the default), or not, because an irqfd does. */
void member_watch(struct member *member, unsigned vector, bool watch);

/* ---- what there is ---------------------------------------------------------------------------- */

bool member_has_server(const struct member *member);

/* Our id, or IVSHMEM_DEVICE_NO_ID as long as there is none; 0 without server. */
int32_t member_id(const struct member *member);

/* The memory: descriptor (borrowed), address, size in bytes; -1, NULL, 0 as long as there is none.
 * Once there, they do not change. */
int member_memory_fd(const struct member *member);
void *member_memory(const struct member *member);
uint64_t member_memory_size(const struct member *member);

/*
 * Call `access`, which loads from the memory or stores to it and does nothing else: memory that is
 * not sealed can be shrunk by others, and then the access fails instead of ending the process.
 * Returns 0, or -EFAULT, which is logged once. `access` may have done a part of its work then. Any
 * thread, as long as others do not use the member.
 */
int member_access(struct member *member, void (*access)(void *data), void *data);
/* From a handler of SIGBUS that was installed later than the member: does not return if the SIGBUS
 * is that of member_access() in this thread. */
void member_fault(void);

/* The eventfd of a vector that the device was told of, a peer's or our own (borrowed); -1 if there
 * is none, be it that the server sent something else than an eventfd. */
int member_eventfd(const struct member *member, uint16_t peer, unsigned vector);

/* The peers that can be rung, ourselves included, in ascending order of ids: at most `max` ids;
 * returns how many there are. */
size_t member_peers(const struct member *member, uint16_t *ids, size_t max);

#endif
