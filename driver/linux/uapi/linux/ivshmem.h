/* SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR BSD-2-Clause */
/*
 * /dev/ivshmemN: the character device of ivshmem.ko for one ivshmem PCI device (1af4:1110).
 *
 * mmap() at offset 0 maps the shared memory, write-back. MAP_SHARED only.
 * mmap() at INFO.doorbell_offset maps the doorbell words, if the device has any and INFO.features
 * says that they can be mapped. MAP_SHARED only.
 * read() gives struct ivshmem_dev_event for the vectors that were subscribed to without an eventfd;
 * poll() says when there are some. It gives as many as fit into the buffer, and at least one must.
 * If it fails (EFAULT, EINTR), no event is lost.
 *
 * Each struct begins with its size, which the caller sets to sizeof. A kernel that knows a shorter
 * struct accepts a longer one if the rest is zero, and answers E2BIG otherwise; of what it gives,
 * it sets the rest to zero. A kernel that knows a longer struct takes what is missing as zero.
 * Unknown flags are EINVAL.
 *
 * When the device is gone (unplugged, or the driver was unbound), all calls fail with ENODEV,
 * touching the memory is SIGBUS, stores to mapped doorbell words go nowhere, poll() gives EPOLLHUP,
 * and each eventfd is signalled once more.
 * When it was reset, the mappings stay good, INFO.generation has grown, and each subscriber is told
 * as by an interrupt, because some may have been lost.
 */
#ifndef _UAPI_LINUX_IVSHMEM_H
#define _UAPI_LINUX_IVSHMEM_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define IVSHMEM_DEV_IOC_TYPE 0xE9

/* How the memory is cached, as read back from the page table (see IVSHMEM_DEV_INFO). */
#define IVSHMEM_DEV_CACHE_UNKNOWN 0 /* nothing is mapped yet */
#define IVSHMEM_DEV_CACHE_WRITE_BACK 1
#define IVSHMEM_DEV_CACHE_OTHER 2

#define IVSHMEM_DEV_FEATURE_MSIX (1 << 0)      /* interrupts come by MSI-X */
#define IVSHMEM_DEV_FEATURE_INTX (1 << 1)      /* interrupts come by INTx, and all are vector 0 */
#define IVSHMEM_DEV_FEATURE_WORDS (1 << 2)     /* there are doorbell words */
#define IVSHMEM_DEV_FEATURE_MAP_WORDS (1 << 3) /* and this file may map them */

/**
 * struct ivshmem_dev_info - what IVSHMEM_DEV_INFO gives
 * @size: of the struct, set by the caller
 * @features: IVSHMEM_DEV_FEATURE_...
 * @memory_size: of the shared memory, in bytes
 * @doorbell_offset: where mmap() finds the doorbell words
 * @doorbell_size: how many bytes they take, or 0
 * @doorbell_peers: there are words for the peers below this
 * @doorbell_shift: each peer has 1 << shift words of 32 bits
 * @peer: own id, or -1 while the device has none
 * @vectors: how many interrupt vectors this device has, or 0
 * @revision: of the PCI device
 * @cache: IVSHMEM_DEV_CACHE_...
 * @generation: grows with each reset
 */
struct ivshmem_dev_info {
	__u32 size;
	__u32 features;
	__u64 memory_size;
	__u64 doorbell_offset;
	__u64 doorbell_size;
	__u32 doorbell_peers;
	__u32 doorbell_shift;
	__s32 peer;
	__u32 vectors;
	__u32 revision;
	__u32 cache;
	__u64 generation;
};

#define IVSHMEM_DEV_RING_MOST 65536 /* targets of one call */

struct ivshmem_dev_target {
	__u32 peer;
	__u32 vector;
};

/**
 * struct ivshmem_dev_ring - what IVSHMEM_DEV_RING takes
 * @size: of the struct
 * @flags: 0
 * @targets: address of an array of struct ivshmem_dev_target
 * @n: how many there are
 * @reserved: 0
 *
 * Rings them in this order, and returns how many it rang. It stops at the first that it cannot
 * ring; if that is the very first, it returns the error: EINVAL (a number does not fit 16 bits),
 * EPERM (a number is not allowed to this file), EACCES (the file is not open for writing).
 */
struct ivshmem_dev_ring {
	__u32 size;
	__u32 flags;
	__u64 targets;
	__u32 n;
	__u32 reserved;
};

#define IVSHMEM_DEV_EXCLUSIVE (1 << 0) /* subscribe: nobody else may have this vector */
#define IVSHMEM_DEV_ALL (1 << 1)       /* unsubscribe: all of this vector that this file has */

/**
 * struct ivshmem_dev_subscription - what IVSHMEM_DEV_SUBSCRIBE and IVSHMEM_DEV_UNSUBSCRIBE take
 * @size: of the struct
 * @flags: IVSHMEM_DEV_EXCLUSIVE, IVSHMEM_DEV_ALL
 * @vector: of this device
 * @eventfd: to signal, or -1 for read() and poll() of the file itself
 *
 * While nobody has a vector it is masked: rings of it wait, and come, as one interrupt or several,
 * as soon as somebody subscribes. Errors: EINVAL (no such vector), EEXIST, ENOENT, EBUSY
 * (EXCLUSIVE), ENOSPC (too many subscribers, or the machine has no interrupt vector left), EPERM
 * (not allowed to this file).
 */
struct ivshmem_dev_subscription {
	__u32 size;
	__u32 flags;
	__u32 vector;
	__s32 eventfd;
};

#define IVSHMEM_DEV_NO_RING (1 << 0)   /* no rings and no mapping of doorbell words */
#define IVSHMEM_DEV_READ_ONLY (1 << 1) /* no new writable mapping of the memory */
#define IVSHMEM_DEV_NO_MAP (1 << 2)    /* no new mapping of the memory */

/**
 * struct ivshmem_dev_restriction - what IVSHMEM_DEV_RESTRICT takes
 * @size: of the struct
 * @flags: IVSHMEM_DEV_NO_RING, IVSHMEM_DEV_READ_ONLY, IVSHMEM_DEV_NO_MAP
 * @peers: address of a bitmap of __u64: the peers that may be rung; bits beyond it are 0
 * @ring_vectors: the same of the vectors that may be rung
 * @vectors: the same of the own vectors that may be subscribed to
 * @peers_words: how many __u64 the bitmap has; 0: no restriction
 * @ring_vectors_words: the same
 * @vectors_words: the same
 * @reserved: 0
 *
 * Restrictions add up and cannot be taken back. They hold for all who have this open file, so a
 * program restricts a file and hands it to another program. Mappings that exist stay as they are.
 * With bitmaps for rings, doorbell words cannot be mapped. EBUSY: the file has subscriptions that
 * would not be allowed. Whoever may open the node can open it again, without restrictions, also by
 * /proc/self/fd/N: so the program that gets the file must not have permission for the node.
 */
struct ivshmem_dev_restriction {
	__u32 size;
	__u32 flags;
	__u64 peers;
	__u64 ring_vectors;
	__u64 vectors;
	__u32 peers_words;
	__u32 ring_vectors_words;
	__u32 vectors_words;
	__u32 reserved;
};

/**
 * struct ivshmem_dev_store - a word to store in the memory
 * @offset: in the memory, a multiple of @width
 * @value: stored little-endian
 * @width: 4 or 8 bytes
 * @reserved: 0
 */
struct ivshmem_dev_store {
	__u64 offset;
	__u64 value;
	__u32 width;
	__u32 reserved;
};

#define IVSHMEM_DEV_ON_CLOSE_MOST 64 /* stores, and as many rings */

/**
 * struct ivshmem_dev_on_close - what IVSHMEM_DEV_ON_CLOSE takes
 * @size: of the struct
 * @flags: 0
 * @stores: address of an array of struct ivshmem_dev_store
 * @targets: address of an array of struct ivshmem_dev_target
 * @n_stores: how many, at most IVSHMEM_DEV_ON_CLOSE_MOST
 * @n_targets: how many, at most IVSHMEM_DEV_ON_CLOSE_MOST
 *
 * When the last descriptor and the last mapping of this open file are gone, which is also when all
 * processes that have one have died, the kernel stores the words and then rings, both in order. A
 * child that inherited the mapping counts. A list replaces the one before. EPERM: the file is
 * restricted. EACCES: it is not open for writing.
 */
struct ivshmem_dev_on_close {
	__u32 size;
	__u32 flags;
	__u64 stores;
	__u64 targets;
	__u32 n_stores;
	__u32 n_targets;
};

/**
 * struct ivshmem_dev_event - what read() gives
 * @vector: that had interrupts
 * @reserved: 0
 * @count: how many, since the last read()
 */
struct ivshmem_dev_event {
	__u32 vector;
	__u32 reserved;
	__u64 count;
};

#define IVSHMEM_DEV_INFO _IO(IVSHMEM_DEV_IOC_TYPE, 0)
#define IVSHMEM_DEV_RING _IO(IVSHMEM_DEV_IOC_TYPE, 1)
#define IVSHMEM_DEV_SUBSCRIBE _IO(IVSHMEM_DEV_IOC_TYPE, 2)
#define IVSHMEM_DEV_UNSUBSCRIBE _IO(IVSHMEM_DEV_IOC_TYPE, 3)
#define IVSHMEM_DEV_RESTRICT _IO(IVSHMEM_DEV_IOC_TYPE, 4)
#define IVSHMEM_DEV_ON_CLOSE _IO(IVSHMEM_DEV_IOC_TYPE, 5)

#endif /* _UAPI_LINUX_IVSHMEM_H */
