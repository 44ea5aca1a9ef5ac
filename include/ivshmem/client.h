/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_CLIENT_H
#define IVSHMEM_CLIENT_H

/*
 * libivshmem: take part in an ivshmem group, from a process on the host or from inside a guest.
 *
 * A group is one piece of shared memory and up to 65536 peers. Every peer has an id and a number of
 * interrupt vectors. A peer rings (interrupts) vector V of peer P; the rings of one vector add up
 * until they are taken, and nothing tells who rang. The memory is the truth and a ring is a hint:
 * after being woken, and again after arming anything, look at the memory.
 *
 * The same calls serve several places:
 *
 *	"unix:PATH"	a host process connected to an ivshmem server (ours, or QEMU's contrib one)
 *	"observe:PATH"	a host process that only looks: PATH is our server's socket for observers,
 *			that of its other socket with IVSHMEM_OBSERVER_SUFFIX (abi.h) behind it
 *			unless it was told otherwise. No id is taken and nobody is told of us, so
 *			that this can be done any number of times: joining uses an id up for as
 *			long as others stay that were told of it
 *	"pci:BDF"	a process inside a guest using the guest's ivshmem PCI device,
 *			"0000:00:05.0" or "00:05.0"
 *	"pci:auto"	the same, if the guest has exactly one such device
 *
 * Two are for memory alone, without peers and interrupts: a host process shares it with guests that
 * have a plain device (QEMU's ivshmem-plain with a memory-backend-file, ivshmem-device with --shm or
 * --file):
 *
 *	"shm:NAME"	a POSIX shared memory object, /dev/shm/NAME
 *	"file:PATH"	a file, such as one of a tmpfs or hugetlbfs
 *	"shm:NAME,ro", "file:PATH,ro"	the same for reading only; ,rw is the default, and to be
 *			written behind a name that ends in one of the two itself
 *
 * The object must be there. It is used as it is, whatever size it has, and never made, resized or
 * removed.
 *
 * What the places cannot do alike:
 *
 *			unix	observe	pci, vfio		pci, sysfs		shm, file
 *	memory		yes	yes	yes			yes			yes
 *	ring		yes	yes	yes			yes			no
 *	own id		yes	no	yes			yes			no
 *	interrupts	yes	no	yes (doorbell device)	no, poll the memory	no
 *	who is there	yes	yes	no			no			no
 *
 * What a place cannot do is -EOPNOTSUPP there.
 *
 * In a guest, vfio needs a virtual IOMMU, or its mode without one, in which only programs with
 * CAP_SYS_RAWIO get a device (docs/vmms.md). It hands a device to one process at a time, and rings
 * may merge on the way: a count of 1 means at least one. Several devices serve several processes.
 *
 * Threads: a client may be used by one thread at a time; different clients are independent. Any thread
 * may call ivshmem_ring(), ivshmem_read() and ivshmem_write() at any time, also while another one is
 * inside ivshmem_dispatch() or ivshmem_wait(), and ask what never changes: ivshmem_backend(),
 * ivshmem_doorbell(), ivshmem_has_id(), ivshmem_id(), ivshmem_memory() and what else is said of the
 * memory, ivshmem_fd(). ivshmem_detach() comes after all of them have returned. Callbacks run in the
 * thread that dispatches. The mapped memory is as shared as memory can be.
 *
 * Errors: functions return 0 or a count, or a negative errno. Output parameters (`ret_...`) are not
 * touched on failure. The library never prints, never exits, never raises SIGPIPE, and installs no
 * signal handler.
 *
 * Callbacks run only inside ivshmem_dispatch() and ivshmem_wait(). A callback may call any function
 * of this header on its client except ivshmem_detach(), ivshmem_dispatch() and ivshmem_wait().
 */

#include <ivshmem/common.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct ivshmem_client;

/* Which vector: any of them (ivshmem_wait()). */
#define IVSHMEM_ANY_VECTOR (-1)

/* How the processor may cache the mapping of the shared memory. */
enum ivshmem_mapping {
	IVSHMEM_MAPPING_UNKNOWN,
	IVSHMEM_MAPPING_WRITE_BACK,      /* like any other memory */
	IVSHMEM_MAPPING_WRITE_COMBINING, /* writes are gathered, reads are slow */
	IVSHMEM_MAPPING_UNCACHED_MINUS,  /* as the guest asked; hosts with Intel processors mostly
					    cache it anyway */
	IVSHMEM_MAPPING_UNCACHED,
	IVSHMEM_MAPPING_COUNT
};

/* "write-back", "write-combining", "uncached-minus", "uncached" or "unknown"; a static string. */
const char *ivshmem_mapping_name(enum ivshmem_mapping mapping);

/* What a client can be told. Every callback may be NULL. `data` is ivshmem_options.data. */
struct ivshmem_ops {
	size_t struct_size; /* sizeof(struct ivshmem_ops); lets the table grow (common.h) */

	/*
	 * A peer is there and can be rung on vectors 0 .. vectors-1. Also called, from the first
	 * dispatch, for those that were there when we attached. Never called for ourselves, nor in
	 * a guest.
	 */
	void (*peer_joined)(
		struct ivshmem_client *client, uint16_t peer, unsigned vectors, void *data);

	/*
	 * More vectors of a peer arrived after peer_joined: the server protocol announces them one
	 * by one and does not say how many will come. `vectors` is the new number.
	 */
	void (*peer_vectors)(
		struct ivshmem_client *client, uint16_t peer, unsigned vectors, void *data);

	/* A peer left; ringing it is -ENOENT from now on. Its id may come again as a new peer. */
	void (*peer_left)(struct ivshmem_client *client, uint16_t peer, void *data);

	/*
	 * One of our vectors was rung `count` times since the last call for it; in a guest, at
	 * least so often.
	 */
	void (*interrupt)(
		struct ivshmem_client *client, unsigned vector, uint64_t count, void *data);

	/*
	 * Called once. unix: the server is gone or broke the protocol; the memory, the known peers
	 * and interrupts to and from them go on working, but nobody joins or leaves any more. pci:
	 * the device is being unplugged (-ENODEV): stop using the memory and detach soon, the host
	 * waits for it. The error's code is -ECONNRESET, -EPROTO, -EMFILE, -ENOMEM or -ENODEV; it
	 * belongs to the client.
	 */
	void (*lost)(struct ivshmem_client *client, const struct ivshmem_error *error, void *data);

	/*
	 * A message without newline, such as a warning that the server broke the protocol. The only
	 * callback that also runs inside other functions.
	 */
	void (*log)(struct ivshmem_client *client, enum ivshmem_log_level level,
		const char *message, void *data);
};

struct ivshmem_options {
	size_t struct_size; /* sizeof(struct ivshmem_options); lets the struct grow (common.h) */
	const struct ivshmem_ops *ops; /* may be NULL; copied */
	void *data;                    /* handed to every callback */

	/* Milliseconds within which connecting and the server's greeting must be done; 0 means
	 * 5000. */
	unsigned timeout_ms;

	/* pci only: "vfio" or "sysfs"; NULL chooses by the driver bound to the device. */
	const char *backend;
};

/*
 * Attach to `target` (see above) and map the shared memory for reading and writing, or for reading
 * only if the target says so.
 *
 *	ret_client	receives the client; release it with ivshmem_detach()
 *	options		may be NULL for all defaults
 *	reterr		may be NULL; filled in on failure only
 *
 * unix: after the greeting, the server announces the peers that exist, then our own vectors, and does
 * not say when it is done. So this goes on listening until our vectors came and it was quiet for a
 * moment, or nothing came for 200 ms. What comes later is told by callbacks.
 *
 * Blocks for options->timeout_ms at most. Returns 0 or:
 *	-EINVAL		the target or an option makes no sense; a file that is no memory; no struct_size
 *	-E2BIG		an option or a callback is set that this library does not know
 *	-ENOENT		no such socket, PCI device or memory object
 *	-ENODATA	the memory object has a size of 0: nobody gave it its size yet
 *	-ECONNREFUSED	the socket is there but no server listens on it
 *	-EACCES, -EPERM, -EROFS  missing permission
 *	-ETIMEDOUT	the server accepted, but did not finish its greeting in time
 *	-ECONNRESET	the server closed the connection during the greeting
 *	-EPROTO		the server broke the protocol
 *	-EPROTONOSUPPORT  the server speaks another version of it, or refused us
 *	-ENODEV		the PCI device cannot be used this way (no vIOMMU, no vfio, no such backend)
 *	-EMFILE		not enough file descriptors: RLIMIT_NOFILE must exceed peers x vectors
 *	-EBUSY		another process has the PCI device
 *	-ENOSPC		the guest has no room for all interrupts of the device: give it more
 *			processors
 */
int ivshmem_attach(struct ivshmem_client **ret_client, const char *target,
	const struct ivshmem_options *options, struct ivshmem_error *reterr);

/*
 * Unmap the memory, close everything and free the client. NULL is allowed. Returns NULL, so that
 * `client = ivshmem_detach(client)` leaves no dangling pointer. The other peers are told by the
 * server.
 */
struct ivshmem_client *ivshmem_detach(struct ivshmem_client *client);

/* "unix", "observe", "vfio", "sysfs", "shm" or "file"; a static string. */
const char *ivshmem_backend(const struct ivshmem_client *client);

/*
 * The way that rings take; a static string.
 *	"eventfds"	unix and observe: straight to the peer
 *	"register"	pci: the register that every device has
 *	"words"		pci: a word for each vector of each peer, which the device has besides
 *			(doorbell-bar in docs/device.md): as quick with thousands of peers as with one
 *	"none"		shm, file: nobody can be rung
 */
const char *ivshmem_doorbell(const struct ivshmem_client *client);

/* Whether we have an id: not if we observe, nor for memory alone. Then peers, rings and everything
 * else concern others only. */
bool ivshmem_has_id(const struct ivshmem_client *client);

/* Our own id, fixed for the life of the client. 0, which may be somebody else's, if we have none. */
uint16_t ivshmem_id(const struct ivshmem_client *client);

/* On how many vectors each peer of the group can be rung, if we observe; else -EOPNOTSUPP: nobody
 * tells. */
int ivshmem_group_vectors(const struct ivshmem_client *client);

/* On how many vectors we can be interrupted now. May still grow on unix; 0 if interrupts are
 * impossible. */
unsigned ivshmem_vectors(const struct ivshmem_client *client);

/*
 * The shared memory: address and size in bytes. Valid until ivshmem_detach(), whatever happens to
 * the server. But whoever may write to a memory object with a name can truncate it, and then what
 * touches the lost pages is killed by SIGBUS, ivshmem_read() and ivshmem_write() included; a server's
 * memory is sealed against it unless it was told otherwise.
 *
 * On a pci target use aligned accesses of 1, 2, 4 or 8 bytes (no vector instructions: the memory may
 * be uncached), or ivshmem_read() and ivshmem_write() which do.
 */
void *ivshmem_memory(const struct ivshmem_client *client);
uint64_t ivshmem_size(const struct ivshmem_client *client);
/* Is it mapped for reading only (",ro")? Then ivshmem_write() is refused, and a store is a SIGSEGV. */
bool ivshmem_read_only(const struct ivshmem_client *client);
enum ivshmem_mapping ivshmem_memory_mapping(const struct ivshmem_client *client);

/*
 * The descriptor of the shared memory, borrowed until ivshmem_detach(): to be mapped again, handed
 * on, or asked for its size by who is told by SIGBUS that a page is not there. -EOPNOTSUPP in a
 * guest.
 */
int ivshmem_memory_fd(const struct ivshmem_client *client);

/*
 * Copy between shared memory at `offset` and private memory. ivshmem_write() ends with a fence that
 * makes the bytes visible to the other peers before anything stored or rung later, on
 * write-combining memory too; ivshmem_read() ends with one after which nothing is loaded that is
 * older than the bytes. Returns 0 or, with nothing copied, -ERANGE if offset + length does not lie
 * within the memory, -EACCES if it is to be written but read-only.
 */
int ivshmem_read(const struct ivshmem_client *client, uint64_t offset, void *buffer, size_t length);
int ivshmem_write(
	struct ivshmem_client *client, uint64_t offset, const void *buffer, size_t length);

/*
 * The other peers known now, in ascending order of their ids: stores at most `max` ids and returns
 * how many there are. -EOPNOTSUPP in a guest, where the device does not say who is connected, and
 * for memory alone.
 */
int ivshmem_peers(const struct ivshmem_client *client, uint16_t *ids, size_t max);

/*
 * On how many vectors `peer` (possibly ourselves) can be rung. -ENOENT if there is no such peer.
 * -EOPNOTSUPP in a guest, and for memory alone, for any peer but ourselves.
 */
int ivshmem_peer_vectors(const struct ivshmem_client *client, uint16_t peer);

/*
 * Interrupt `peer`, possibly ourselves, on `vector`. Everything we stored to the shared memory
 * before is visible to it when it is woken. Never blocks.
 *
 * Any thread, and from callbacks. While another thread dispatches, a peer that comes or leaves at this
 * moment is there or is not: -ENOENT may come before peer_left is called. Threads that ring through
 * the same client wait for each other, for the time of one ring.
 *
 * Returns 0 or:
 *	-ENOENT		no such peer (unix only: in a guest, a ring to nobody is lost)
 *	-EINVAL		the peer has no such vector (unix only), or vector is out of range
 *	-ENODEV		the device is gone
 *	-EOPNOTSUPP	memory alone: there is nobody
 */
int ivshmem_ring(struct ivshmem_client *client, uint16_t peer, unsigned vector);

/*
 * A descriptor that is readable when ivshmem_dispatch() has something to do. It never changes
 * during the client's life and belongs to the client: poll it, do not read or close it.
 */
int ivshmem_fd(const struct ivshmem_client *client);

/*
 * Wait at most `timeout_ms` (0: do not wait, -1: for ever) for something to happen, then handle
 * what is pending and run callbacks. A bounded amount of work; call again while ivshmem_fd() is
 * readable. Returns how many things happened (0 on time-out), or -EINTR, -EBUSY when called from a
 * callback.
 */
int ivshmem_dispatch(struct ivshmem_client *client, int timeout_ms);

/*
 * How many rings came in on `vector` and were not taken yet, as of the last dispatch.
 * ivshmem_take() returns the number and sets it back to 0. Independent of the interrupt callback.
 */
uint64_t ivshmem_pending(const struct ivshmem_client *client, unsigned vector);
uint64_t ivshmem_take(struct ivshmem_client *client, unsigned vector);

/*
 * Dispatch until `vector` (or IVSHMEM_ANY_VECTOR) has rings pending, at most `timeout_ms` (-1: for
 * ever). Takes nothing: call ivshmem_take(). Returns 0 or:
 *	-ETIMEDOUT	nothing came
 *	-EINTR		a signal came
 *	-EOPNOTSUPP	no interrupts here (see the table above)
 *	-EINVAL		the vector can never be rung
 *	-ENODEV		the device is being unplugged
 * A lost server does not end the wait, because peers can still ring.
 */
int ivshmem_wait(struct ivshmem_client *client, int vector, int timeout_ms);

#ifdef __cplusplus
}
#endif

#endif
