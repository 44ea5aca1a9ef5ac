/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The core of ivshmem.ko: the PCI device, its interrupts, doorbell and memory. The character device
 * (chardev.c) is its first user; others in the kernel use the same functions.
 */
#ifndef IVSHMEM_CORE_H
#define IVSHMEM_CORE_H

#include <linux/kref.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/rwsem.h>
#include <linux/spinlock.h>

/* So many may listen to one vector, because all are told within the interrupt. */
#define IVSHMEM_LISTENERS_MOST 64

enum ivshmem_interrupts { IVSHMEM_NO_INTERRUPTS, IVSHMEM_MSIX, IVSHMEM_INTX };

/* Doorbell words in a BAR of their own: an extension, announced by a vendor-specific capability. */
struct ivshmem_words {
	u32 peers; /* 0: there are none */
	unsigned int shift;
	phys_addr_t start;
	u64 size;
	bool alone;	      /* nothing else lies in the pages that they touch */
	void __iomem *mapped; /* all of them; NULL if that failed, then we ring by the register */
};

/**
 * struct ivshmem_listener - somebody who wants to know of interrupts of a vector
 * @heard: called in the interrupt, under a spin lock; also when interrupts may have been lost
 * @vector: set by ivshmem_listen()
 *
 * The rest belongs to the core.
 */
struct ivshmem_listener {
	void (*heard)(struct ivshmem_listener *listener);
	unsigned int vector;
	bool exclusive;
	struct list_head node;
};

struct ivshmem_vector {
	spinlock_t lock; /* listeners; taken in the interrupt */
	struct list_head listeners;
	unsigned int n_listeners;
	bool requested; /* the interrupt; changes under listen_lock */
	bool lost;	/* perhaps interrupts, while nobody listened; under listen_lock */
	char name[32];
};

/**
 * struct ivshmem_device - a PCI device that has our driver
 * @pdev: valid until the device is gone
 * @gate: read by all who touch the device, written by reset and removal. Nobody copies from or to
 * user space while holding it: a page fault takes it under mmap_lock.
 * @gone: the device left; changes under the gate
 * @generation: grows with each reset; changes under the gate
 * @memory_start: physical address
 * @listen_lock: held while the set of listeners changes
 * @chardev: what the character device keeps for it
 *
 * Locks, outermost first: mmap_lock, listen_lock, gate, lock of a vector.
 */
struct ivshmem_device {
	struct pci_dev *pdev;
	struct kref ref;
	struct rw_semaphore gate;
	bool gone;
	u64 generation;
	void __iomem *registers;
	phys_addr_t memory_start;
	u64 memory_size;
	u8 revision;
	struct ivshmem_words words;
	enum ivshmem_interrupts interrupts;
	struct mutex listen_lock; /* who listens */
	unsigned int n_vectors;
	struct ivshmem_vector *vectors;
	char name[32]; /* of the PCI device */
	void *chardev;
	/* A reset of a bus takes the locks of several devices. */
	struct lock_class_key gate_key, listen_key;
};

/**
 * struct ivshmem_user - who wants to be told of devices
 * @add: there is a new one; an error means that this user does without it
 * @zap: mappings of its memory must go, they come back by a page fault; the gate is closed, or the
 * device gone
 * @remove: it is gone: calls fail by now, and listeners hear nothing any more
 */
struct ivshmem_user {
	int (*add)(struct ivshmem_device *device);
	void (*zap)(struct ivshmem_device *device);
	void (*remove)(struct ivshmem_device *device);
};

extern const struct ivshmem_user ivshmem_chardev;
int ivshmem_chardev_init(void);
void ivshmem_chardev_exit(void);

struct ivshmem_device *ivshmem_get(struct ivshmem_device *device);
void ivshmem_put(struct ivshmem_device *device);

/*
 * 0, or -ENODEV if the device is gone, or -EINTR if the caller is to die. After 0 the caller calls
 * ivshmem_leave().
 */
int ivshmem_enter(struct ivshmem_device *device);
int ivshmem_enter_at_end(struct ivshmem_device *device);
void ivshmem_leave(struct ivshmem_device *device);

/* These two are called between ivshmem_enter() and ivshmem_leave(). */
void ivshmem_ring(struct ivshmem_device *device, u16 peer, u16 vector);
s32 ivshmem_own_id(struct ivshmem_device *device);

/*
 * Listens to a vector until ivshmem_unlisten(), which must be called even when the device is gone
 * meanwhile; it returns when heard() neither runs nor will. -EINVAL: no such vector; -EBUSY:
 * somebody else has it, or wants it, alone; -ENOSPC: too many listeners; -ENODEV; -EINTR.
 */
int ivshmem_listen(struct ivshmem_device *device, struct ivshmem_listener *listener,
		   unsigned int vector, bool exclusive);
void ivshmem_unlisten(struct ivshmem_device *device, struct ivshmem_listener *listener);

/* ---- between the files of the core ---- */

#define IVSHMEM_BAR_REGISTERS 0
#define IVSHMEM_BAR_MEMORY 2

#define IVSHMEM_REG_INTR_MASK 0x00
#define IVSHMEM_REG_INTR_STATUS 0x04
#define IVSHMEM_REG_IV_POSITION 0x08
#define IVSHMEM_REG_DOORBELL 0x0c

/* doorbell.c: without words, the register rings. */
void ivshmem_find_words(struct ivshmem_device *device);

/* interrupts.c */
int ivshmem_find_interrupts(struct ivshmem_device *device);
void ivshmem_silence_intx(struct ivshmem_device *device);
void ivshmem_restart_interrupts(struct ivshmem_device *device);
void ivshmem_tell_all(struct ivshmem_device *device);
void ivshmem_free_interrupts(struct ivshmem_device *device);

#endif
