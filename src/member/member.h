/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef MEMBER_MEMBER_H
#define MEMBER_MEMBER_H

/*
 * A device's membership of a group: the connection to the server, the shared memory, our own
 * eventfds and those of the peers. The member tells a `struct ivshmem_device`
 * (include/ivshmem/device.h) what the server says. The device's host uses the member to ring peers
 * and to map the memory. Without a server, a member is memory only.
 *
 * Everything happens in callbacks of `loop`, in the thread that dispatches it, except during
 * member_open(), which blocks. Nothing here locks: calls, and the dispatching, must not overlap.
 *
 * The server is not trusted. It can end the membership, but not the process. The member ignores
 * senseless messages and logs a limited number of them. A server that breaks the protocol is lost.
 */

#include <ivshmem/device.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ivshmem_error;
struct log;
struct loop;
struct member;
struct wire_log;

/*
 * What must survive this process, in memory and with descriptors that it shares with the one that goes
 * on when it is killed (docs/restart.md). member_open() with one that has begun opens nothing: it takes
 * up what is there.
 */
struct member_kept {
	struct wire_log *wire_log; /* what the server has said */
	int memory_fd;             /* without a server; -1: none yet */
	/* Vectors of ours that were rung, and the guest may not know it. A vector is noted before
	 * its eventfd is read. Whoever notes what became of it clears them all. */
	bool is_rung;
	uint64_t rung[2048 / 64];
};

struct member_config {
	/* One of these. The server wins. */
	const char *server; /* path of its UNIX socket */
	const char *shm;    /* name of a POSIX shared memory object, as shm_open() takes it */
	const char *file;   /* path of a file to be mapped: memory of the host, hugetlbfs, tmpfs */

	/* shm and file: bytes. A missing object is created with exactly this size and mode 0600,
	 * reads as zero, and stays when the member is closed. An existing object is never resized,
	 * and refused if it is smaller. 0: take the size that it has. */
	uint64_t size;

	/* shm and file: allocate all of it, or fail, as region.h says. */
	bool preallocate;

	/* For the device of 2010: take either dialect of the server protocol, and let id and memory
	 * come after member_open(), without any limit of time. */
	bool late;

	/* With `late`: how long member_open() waits for them all the same, before it goes on
	 * without them and warns. While it waits, a server that can never send them is an error. 0:
	 * do not wait. */
	unsigned late_ms;

	/*
	 * How many vectors the device has. Once the memory is there, member_open() waits for so
	 * many of our own. The server announces them after the memory, one by one, and a process
	 * that cannot keep them (for lack of descriptors, say) must not seem to be a member. No
	 * message says how many there will be: when no more come for a moment, member_open() goes
	 * on with a warning. 0: do not wait.
	 */
	unsigned vectors;

	struct member_kept *kept; /* NULL: nothing is kept. Borrowed for the member's life */

	unsigned timeout_ms; /* for connecting and the greeting; 0: 5000 */

	/* A descriptor (borrowed; 0: none), of signals for instance. When it is readable,
	 * member_open() ends with -ECANCELED. */
	int cancel;

	/* Called once, when the server is gone or broke the protocol, or when the device refused
	 * memory that came late. What there is works on. An id or a memory that is still missing
	 * will never come. `error` is valid during the call, which may close the member. The member
	 * does not log it. May be NULL. */
	void (*lost)(struct member *member, const struct ivshmem_error *error, void *data);
	void *data;

	/* If this is given, member_open() does not wait, not even for a place in the server's
	 * queue. What would make it fail while it waits is then a `lost` server. Called once, when
	 * the id and the memory are there; it may close the member. For members with a server. */
	void (*joined)(struct member *member, void *data);
};

/*
 * Connect to the server, or open the memory. Without `late`, the id and the memory are there
 * afterwards; with it, perhaps. `log` is borrowed for the member's life. Errors are those of
 * ivshmem_attach(), with a sentence.
 */
int member_open(struct member **ret_member, struct loop *loop, const struct member_config *config,
	const struct log *log, struct ivshmem_error *reterr);

/* Close and unmap everything; the server then tells the others. The device is gone by now, or
 * detached. NULL is allowed. Returns NULL. */
struct member *member_close(struct member *member);

/*
 * Tell `device`, which has neither memory nor peers yet, what is known (id if it came late, memory,
 * every vector), and everything that comes from now on. If the device refuses the memory, this
 * fails, and the device is not attached. Eventfds for which it has no room are closed. When one of
 * our own vectors is rung, the member calls ivshmem_device_interrupt(), until member_watch() says
 * otherwise.
 */
int member_attach(
	struct member *member, struct ivshmem_device *device, struct ivshmem_error *reterr);
/* To be called before ivshmem_device_free(). Harmless if no device is attached. */
void member_detach(struct member *member);

/* ---- for the ops of the device ---------------------------------------------------------------- */

/* Add 1 to an eventfd, a peer's or our own. Never blocks. */
void member_ring(struct member *member, uint16_t peer, unsigned vector);

/* Empty our own eventfd. Returns whether it was rung. */
bool member_take_ring(struct member *member, unsigned vector);

/* Empty all our own eventfds, quickly if few were rung. */
void member_drop_rings(struct member *member);

/* How often our own vector was rung, and how often that woke us. What an irqfd took is not in it, and
 * while one watches, *ret_watched is false. `vector` is less than member_own_vectors(). */
unsigned member_own_vectors(const struct member *member);
void member_count_rings(const struct member *member, unsigned vector, uint64_t *ret_rings,
	uint64_t *ret_wakeups, bool *ret_watched);

/* In a process that took over: interrupt for the rings that the guest may not know. */
void member_repeat_rings(struct member *member);

/* Let the loop watch our own eventfd (the default), or stop it, because an irqfd watches. */
void member_watch(struct member *member, unsigned vector, bool watch);

/* ---- what there is ---------------------------------------------------------------------------- */

/* What is kept of it; NULL: nothing. */
struct member_kept *member_kept(const struct member *member);

bool member_has_server(const struct member *member);

/* Our id, or IVSHMEM_DEVICE_NO_ID as long as there is none; 0 without server. */
int32_t member_id(const struct member *member);

/* The memory: descriptor (borrowed), address, size in bytes; -1, NULL, 0 as long as there is none.
 * Once there, they do not change. */
int member_memory_fd(const struct member *member);
void *member_memory(const struct member *member);
uint64_t member_memory_size(const struct member *member);

/* Does the server's policy give us the memory for reading only? Then a store to it is a SIGSEGV. */
bool member_is_reader(const struct member *member);

/*
 * Call `access`, which loads from the memory or stores to it and does nothing else. Others can
 * shrink memory that is not sealed; then the access fails instead of ending the process. Returns 0,
 * or -EFAULT, which is logged once; `access` may then have done a part of its work. Any thread, as
 * long as others do not use the member.
 */
int member_access(struct member *member, void (*access)(void *data), void *data);
/* For a handler of SIGBUS that was installed later than the member. It does not return if the
 * SIGBUS comes from member_access() in this thread. */
void member_fault(void);

/* The eventfd (borrowed) of a vector that the device knows, a peer's or our own. -1 if there is
 * none, also because the server sent something else than an eventfd. */
int member_eventfd(const struct member *member, uint16_t peer, unsigned vector);

/* The ids of the peers that can be rung, ourselves included, in ascending order: at most `max` of
 * them. Returns how many there are. */
size_t member_peers(const struct member *member, uint16_t *ids, size_t max);

#endif
