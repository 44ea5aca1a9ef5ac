/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_CLIENT_H
#define IVSHMEM_CLIENT_H

/*
 * libivshmem: take part in an ivshmem group, from a process on the host or from inside a guest.
 *
 * A group is one piece of shared memory and up to 65536 peers. Every peer has an id and a number of
 * interrupt vectors. A peer rings (interrupts) vector V of peer P. The rings of one vector add up
 * until they are taken, and nothing tells who rang. The memory is the truth and a ring is a hint:
 * look at the memory after you are woken, and again after you arm anything.
 *
 * The same calls work in several places. The target says which:
 *
 *	"unix:PATH"	a process on the host, connected to an ivshmem server (ours, or the one in
 *			QEMU's contrib folder)
 *	"observe:PATH"	a process on the host that only observes. PATH is our server's socket for
 *			observers: the path of its other socket followed by
 *			IVSHMEM_OBSERVER_SUFFIX (abi.h), unless the server was given another path.
 *			An observer takes no id, and the server tells nobody of it, so a program can
 *			attach like this any number of times. Joining, in contrast, uses up an id
 *			for as long as peers that were told of it stay
 *	"pci:BDF"	a process inside a guest that uses the guest's ivshmem PCI device,
 *			"0000:00:05.0" or "00:05.0"
 *	"pci:auto"	the same, if the guest has exactly one such device
 *	"dev:NODE"	the same, by the node that our driver for Linux guests made for it, such as
 *			"/dev/ivshmem0"
 *
 * Two more targets are memory alone, without peers and interrupts. With them, a process on the host
 * shares memory with guests that have a plain device (QEMU's ivshmem-plain with a
 * memory-backend-file, or ivshmem-device with --shm or --file):
 *
 *	"shm:NAME"	a POSIX shared memory object, /dev/shm/NAME
 *	"file:PATH"	a file, such as one in a tmpfs or hugetlbfs
 *	"shm:NAME,ro", "file:PATH,ro"	the same, for reading only. The default is ,rw; write it
 *			after a name that itself ends in ,ro or ,rw
 *
 * The object or file must exist. The library uses it with the size that it has, and never creates,
 * resizes or removes it.
 *
 * Not every target can do everything:
 *
 *			unix	observe	pci, kernel or vfio	pci, sysfs		shm, file
 *	memory		yes	yes	yes			yes			yes
 *	ring		yes	yes	yes			yes			no
 *	own id		yes	no	yes			yes			no
 *	interrupts	yes	no	yes (doorbell device)	no, poll the memory	no
 *	who is there	yes	yes	no			no			no
 *
 * A call that the target does not support returns -EOPNOTSUPP.
 *
 * In a guest, our driver (docs/linux.md) serves several processes at once, which need no rights but to
 * open its node, and the memory is cached like any other. Without it, vfio needs a virtual IOMMU, or its mode without an IOMMU, in which only programs with
 * CAP_SYS_RAWIO get a device (docs/vmms.md). vfio gives a device to one process at a time, and
 * rings may merge on the way: a count of 1 means at least one ring. For several processes, give the
 * guest several devices.
 *
 * Threads: only one thread may use a client at a time; different clients are independent. But any
 * thread may call ivshmem_ring(), ivshmem_read() and ivshmem_write() at any time, also while another
 * thread is inside ivshmem_dispatch() or ivshmem_wait(). The same is true of the questions whose
 * answers never change: ivshmem_backend(), ivshmem_doorbell(), ivshmem_has_id(), ivshmem_id(),
 * ivshmem_memory() and the others about the memory, ivshmem_fd(). Call ivshmem_detach() after all of
 * them have returned. Callbacks run in the thread that dispatches. Any thread may access the mapped
 * memory.
 *
 * Errors: functions return 0 or a count, or a negative errno. Output parameters (`ret_...`) are not
 * touched on failure. The library never prints, never exits, never raises SIGPIPE, and installs no
 * signal handler.
 *
 * Callbacks run only inside ivshmem_dispatch() and ivshmem_wait(); only `log` also runs inside other
 * functions. A callback may call any function of this header on its client except ivshmem_detach(),
 * ivshmem_dispatch() and ivshmem_wait(); `log` may call none, because the client may not be complete
 * yet, or not any more. No function may be called in a signal handler.
 */

#include <ivshmem/common.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct ivshmem_client;

/* For ivshmem_wait(): any vector. */
#define IVSHMEM_ANY_VECTOR (-1)

/* How the processor may cache the mapping of the shared memory. */
enum ivshmem_mapping {
	IVSHMEM_MAPPING_UNKNOWN,
	IVSHMEM_MAPPING_WRITE_BACK,      /* like any other memory */
	IVSHMEM_MAPPING_WRITE_COMBINING, /* writes are gathered, reads are slow */
	IVSHMEM_MAPPING_UNCACHED_MINUS,  /* what the guest asked for; hosts with Intel processors
					    mostly cache it anyway */
	IVSHMEM_MAPPING_UNCACHED,
	IVSHMEM_MAPPING_COUNT
};

/* "write-back", "write-combining", "uncached-minus", "uncached" or "unknown"; a static string. */
const char *ivshmem_mapping_name(enum ivshmem_mapping mapping);

/* The callbacks. Every one may be NULL. `data` is ivshmem_options.data. */
struct ivshmem_ops {
	size_t struct_size; /* sizeof(struct ivshmem_ops); lets the table grow (common.h) */

	/*
	 * A peer is there and can be rung on vectors 0 .. vectors-1. The first dispatch also calls
	 * this for the peers that were there when we attached. Never called for ourselves, nor in a
	 * guest.
	 */
	void (*peer_joined)(
		struct ivshmem_client *client, uint16_t peer, unsigned vectors, void *data);

	/*
	 * More vectors of a peer arrived after peer_joined: the server announces vectors one by one
	 * and does not say how many will come. `vectors` is the new number.
	 */
	void (*peer_vectors)(
		struct ivshmem_client *client, uint16_t peer, unsigned vectors, void *data);

	/* A peer left; ringing it gives -ENOENT from now on. Its id may come again as a new
	 * peer. */
	void (*peer_left)(struct ivshmem_client *client, uint16_t peer, void *data);

	/*
	 * One of our vectors was rung `count` times since the last call for this vector; in a
	 * guest, at least `count` times.
	 */
	void (*interrupt)(
		struct ivshmem_client *client, unsigned vector, uint64_t count, void *data);

	/*
	 * Called at most once. unix and observe: the server is gone or broke the protocol. The
	 * memory, the known peers and interrupts to and from them go on working, but we are no
	 * longer told who joins or leaves. pci: the device is being unplugged (-ENODEV). Stop using
	 * the memory and detach soon: the host waits for this. The code of the error is
	 * -ECONNRESET, -EPROTO, -EMFILE, -ENOMEM or -ENODEV. The error belongs to the client.
	 */
	void (*lost)(struct ivshmem_client *client, const struct ivshmem_error *error, void *data);

	/*
	 * A message without newline, such as a warning that the server broke the protocol. This is
	 * the only callback that also runs inside other functions.
	 */
	void (*log)(struct ivshmem_client *client, enum ivshmem_log_level level,
		const char *message, void *data);
};

struct ivshmem_options {
	size_t struct_size; /* sizeof(struct ivshmem_options); lets the struct grow (common.h) */
	const struct ivshmem_ops *ops; /* may be NULL; copied */
	void *data;                    /* passed to every callback */

	/* Milliseconds within which connecting and the server's greeting must be complete. 0 means
	 * 5000. */
	unsigned timeout_ms;

	/* pci only: "kernel", "vfio" or "sysfs". NULL: the library chooses by the driver that the device is
	 * bound to. */
	const char *backend;

	/*
	 * The vectors that we want to hear: numbers below IVSHMEM_MAX_VECTORS (abi.h), `n_vectors` of
	 * them. NULL: all. None: any other pointer, with n_vectors 0. The rest still count in
	 * ivshmem_vectors(), and peers can ring them, but they neither wake us nor add up. It matters
	 * in a guest with our driver: rings of a vector wait there until some process hears it, each
	 * process that hears it is woken, and each vector that is heard takes an interrupt of the
	 * guest's processors. Copied.
	 */
	const unsigned *vectors;
	size_t n_vectors;
};

/*
 * Attach to `target` (see above) and map the shared memory, for reading and writing, or for reading
 * only if the target says so.
 *
 *	ret_client	receives the client; release it with ivshmem_detach()
 *	options		may be NULL for all defaults
 *	reterr		may be NULL; filled in on failure only
 *
 * unix: after the greeting, the server announces the existing peers, then our own vectors, and does
 * not say when it is done. ivshmem_attach() therefore goes on listening until our vectors have
 * arrived and nothing more comes for a moment, or until nothing has come for 200 ms. Callbacks tell
 * of what comes later.
 *
 * Blocks for at most options->timeout_ms. Returns 0 or:
 *	-EINVAL		the target or an option makes no sense, the file cannot be shared memory, or
 *			struct_size is not set
 *	-E2BIG		an option or a callback is set that this library does not know
 *	-ENOENT		no such socket, PCI device or memory object
 *	-ENODATA	the memory object has a size of 0: nobody has given it a size yet
 *	-ECONNREFUSED	the socket is there but no server listens on it
 *	-EACCES, -EPERM, -EROFS  missing permission
 *	-ETIMEDOUT	the server did not accept us, or did not finish its greeting, in time
 *	-ECONNRESET	the server closed the connection during the greeting
 *	-EPROTO		the server broke the protocol
 *	-EPROTONOSUPPORT  the server speaks another version of the protocol, or refused us
 *	-ENODEV		the PCI device cannot be used this way (no vIOMMU, no vfio, no such backend)
 *	-EMFILE		not enough file descriptors: RLIMIT_NOFILE must exceed peers x vectors
 *	-EBUSY		another process, or a driver of the guest's kernel, has the PCI device, or a
 *			vector that we want to hear
 *	-ENOSPC		the guest has no room for all interrupts that we want to hear: give it more
 *			processors, or name fewer vectors
 */
int ivshmem_attach(struct ivshmem_client **ret_client, const char *target,
	const struct ivshmem_options *options, struct ivshmem_error *reterr);

/*
 * Unmap the memory, close everything and free the client. NULL is allowed. Returns NULL, so that
 * `client = ivshmem_detach(client)` leaves no dangling pointer. The server tells the other peers
 * that we left.
 */
struct ivshmem_client *ivshmem_detach(struct ivshmem_client *client);

/* "unix", "observe", "kernel", "vfio", "sysfs", "shm" or "file"; a static string. */
const char *ivshmem_backend(const struct ivshmem_client *client);

/*
 * How ivshmem_ring() rings; a static string.
 *	"eventfds"	unix and observe: directly, through the eventfds of the peers
 *	"register"	pci: through the doorbell register, which every device has
 *	"words"		pci: through a word for each vector of each peer, which the device has in
 *			addition (doorbell-bar in docs/device.md): as quick with thousands of peers
 *			as with one
 *	"none"		shm, file: there is nobody to ring
 */
const char *ivshmem_doorbell(const struct ivshmem_client *client);

/* Whether we have an id. An observer has none, nor has memory alone; then peers, rings and
 * everything else concern others only. */
bool ivshmem_has_id(const struct ivshmem_client *client);

/* Our own id, fixed for the life of the client. If we have no id: 0, which may be the id of another
 * peer. */
uint16_t ivshmem_id(const struct ivshmem_client *client);

/* For an observer: on how many vectors each peer of the group can be rung. For others:
 * -EOPNOTSUPP, because the server does not tell them. */
int ivshmem_group_vectors(const struct ivshmem_client *client);

/* On how many vectors we can be interrupted now; 0 if interrupts are impossible. The number may
 * still grow on unix. */
unsigned ivshmem_vectors(const struct ivshmem_client *client);

/*
 * The shared memory: its address, and its size in bytes. Both stay valid until ivshmem_detach(),
 * whatever happens to the server. But anybody who may write to a memory object with a name can
 * truncate it. A process that then touches a lost page is killed by SIGBUS, even inside
 * ivshmem_read() and ivshmem_write(). A server's memory is sealed against this unless the server
 * was told otherwise.
 *
 * On a pci target, use aligned accesses of 1, 2, 4 or 8 bytes (no vector instructions: the memory
 * may be uncached), or use ivshmem_read() and ivshmem_write(), which do so.
 */
void *ivshmem_memory(const struct ivshmem_client *client);
uint64_t ivshmem_size(const struct ivshmem_client *client);
/* Whether the memory is mapped for reading only (",ro"). Then ivshmem_write() gives -EACCES, and a
 * store causes SIGSEGV. */
bool ivshmem_read_only(const struct ivshmem_client *client);
enum ivshmem_mapping ivshmem_memory_mapping(const struct ivshmem_client *client);

/*
 * The descriptor of the shared memory, which stays the client's and is valid until
 * ivshmem_detach(). Use it to map the memory again, to pass it on, or, in a handler of SIGBUS, to
 * ask for the size that the memory has now. -EOPNOTSUPP in a guest.
 */
int ivshmem_memory_fd(const struct ivshmem_client *client);

/*
 * Copy `length` bytes between the shared memory at `offset` (in bytes) and private memory.
 * ivshmem_write() ends with a fence: the other peers see these bytes before anything that is stored
 * or rung later, even on write-combining memory. ivshmem_read() ends with a fence, too: what is
 * loaded later is not older than these bytes. Returns 0 or, with nothing copied:
 *	-ERANGE		offset + length does not lie within the memory
 *	-EACCES		ivshmem_write() to memory that is mapped for reading only
 */
int ivshmem_read(const struct ivshmem_client *client, uint64_t offset, void *buffer, size_t length);
int ivshmem_write(
	struct ivshmem_client *client, uint64_t offset, const void *buffer, size_t length);

/*
 * The other peers that are known now, in ascending order of their ids. Stores at most `max` ids in
 * `ids`, and returns how many peers there are, which may be more. -EOPNOTSUPP in a guest, where the
 * device does not tell who is connected, and for memory alone.
 */
int ivshmem_peers(const struct ivshmem_client *client, uint16_t *ids, size_t max);

/*
 * On how many vectors `peer`, which may be ourselves, can be rung. -ENOENT if there is no such
 * peer. -EOPNOTSUPP in a guest for any peer but ourselves, and always for memory alone.
 */
int ivshmem_peer_vectors(const struct ivshmem_client *client, uint16_t peer);

/*
 * How many rings wait on `vector` of `peer`, which may be ourselves, because nobody has read them from
 * its eventfd yet. Looking takes none. Rings that were taken are not counted anywhere. Returns this
 * number (at most INT64_MAX), or:
 *	-ENOENT		no such peer
 *	-EINVAL		the peer has no such vector
 *	-EOPNOTSUPP	the kernel does not tell (there is no /proc), or the target is neither unix
 *			nor observe
 */
int64_t ivshmem_peer_pending(const struct ivshmem_client *client, uint16_t peer, unsigned vector);

/*
 * Ring `vector` of `peer`, which may be ourselves. Everything that we stored to the shared memory
 * before is visible to the peer when it is woken. Never blocks.
 *
 * Any thread, and callbacks. While another thread dispatches, a peer that comes or leaves at this
 * moment may or may not be there: -ENOENT may come before peer_left is called. Threads that ring
 * through the same client wait for each other, for the time of one ring.
 *
 * Returns 0 or:
 *	-ENOENT		no such peer (unix and observe only: in a guest, such a ring is lost)
 *	-EINVAL		the peer has no such vector (unix and observe only), or `vector` is out of
 *			range
 *	-ENODEV		the device is gone
 *	-EOPNOTSUPP	memory alone: there is nobody to ring
 */
int ivshmem_ring(struct ivshmem_client *client, uint16_t peer, unsigned vector);

/* How many stores, and how many rings, ivshmem_on_close() takes. */
#define IVSHMEM_ON_CLOSE_MOST 64

/*
 * What is to happen when we are gone, however our process ends: these words are stored, then these
 * targets are rung, in order. It happens at ivshmem_detach(), too, and when the last child that we
 * forked has ended. A second call replaces the first one; with nothing to store and nobody to ring, it
 * takes it back. The arrays are copied. Returns 0 or:
 *	-EOPNOTSUPP	this target cannot do this: it needs our driver in a guest (back end "kernel")
 *	-E2BIG		more than IVSHMEM_ON_CLOSE_MOST
 *	-EINVAL		a word does not lie in the memory, or not at a multiple of 8
 *	-ENODEV		the device is gone
 */
int ivshmem_on_close(struct ivshmem_client *client, const struct ivshmem_store *stores,
	size_t n_stores, const struct ivshmem_target *targets, size_t n_targets);

/*
 * A descriptor that is readable when ivshmem_dispatch() has something to do. It stays the same for
 * the life of the client and belongs to the client: poll it, but do not read or close it.
 */
int ivshmem_fd(const struct ivshmem_client *client);

/*
 * Wait for something to happen, for at most `timeout_ms` milliseconds (0: do not wait, -1: for
 * ever). Then handle what is pending and run callbacks. One call does a bounded amount of work;
 * call again while ivshmem_fd() is readable. Returns how many things happened (0 on time-out), or:
 *	-EINTR		a signal came
 *	-EBUSY		called from a callback
 */
int ivshmem_dispatch(struct ivshmem_client *client, int timeout_ms);

/*
 * How many rings have come in on `vector` and have not been taken, as of the last dispatch.
 * ivshmem_take() returns this number and sets it to 0. Both are independent of the interrupt
 * callback.
 */
uint64_t ivshmem_pending(const struct ivshmem_client *client, unsigned vector);
uint64_t ivshmem_take(struct ivshmem_client *client, unsigned vector);

/*
 * Dispatch until `vector` (or IVSHMEM_ANY_VECTOR) has rings pending, for at most `timeout_ms`
 * milliseconds (-1: for ever). Does not take the rings: call ivshmem_take(). Returns 0 or:
 *	-ETIMEDOUT	no ring came
 *	-EINTR		a signal came
 *	-EOPNOTSUPP	this target has no interrupts (see the table above)
 *	-EINVAL		the vector can never be rung, or is not one that we hear (options->vectors)
 *	-ENODEV		the device is being unplugged
 * The loss of the server does not end the wait, because peers can still ring.
 */
int ivshmem_wait(struct ivshmem_client *client, int vector, int timeout_ms);

#ifdef __cplusplus
}
#endif

#endif
