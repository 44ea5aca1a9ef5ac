/* SPDX-License-Identifier: GPL-2.0 */
/*
 * /dev/ivshmemN. chardev.c has the nodes, file.c open files and what they are told, ioctl.c what
 * they ask for.
 */
#ifndef IVSHMEM_CHARDEV_H
#define IVSHMEM_CHARDEV_H

#include <linux/cdev.h>
#include <linux/device.h>
#include <linux/eventfd.h>
#include <linux/fs.h>
#include <linux/ivshmem.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/pid.h>
#include <linux/wait.h>

#include "core.h"

/**
 * struct ivshmem_node - /dev/ivshmemN
 * @core: its device; the node has a reference
 * @inode: the address space of all mappings, through whatever file they were made
 * @ended: mappings are gone and eventfds are signalled, so poll() may say so
 * @nowhere: where stores to mapped doorbell words go when the device is gone
 * @cache: IVSHMEM_DEV_CACHE_..., as the page table has it
 *
 * Locks: files_lock, then lock of a file, then those of the core.
 */
struct ivshmem_node {
	struct ivshmem_device *core;
	struct cdev cdev;
	struct device dev;
	struct inode *inode;
	struct mutex files_lock; /* files, ended */
	struct list_head files;
	bool ended;
	struct page *nowhere;
	u32 cache;
};

/*
 * A set of numbers that were left to a file; NULL words: all. Bits only ever vanish, so readers
 * need no lock.
 */
struct ivshmem_set {
	u64 *words;
};

#define IVSHMEM_SET_WORDS (65536 / 64)

struct ivshmem_on_close;

/*
 * mmap() finds the doorbell words here: behind the memory, and where programs of 32 bits can say
 * it, which have 32 bits for a number of pages.
 */
static inline u64 ivshmem_words_offset(const struct ivshmem_device *core)
{
	return max_t(u64, 1ULL << 42, core->memory_size);
}

/**
 * struct ivshmem_file - an open file
 * @flags: IVSHMEM_DEV_NO_RING and so on; bits are only ever added
 * @heard: subscriptions with interrupts that nobody has read; heard_lock is taken in interrupts
 */
struct ivshmem_file {
	struct ivshmem_node *node;
	struct list_head node_entry;
	struct pid *opener;
	struct mutex lock; /* subscriptions, restrictions, on_close */
	struct list_head subscriptions;
	unsigned int n_subscriptions;
	u32 flags;
	struct ivshmem_set peers;
	struct ivshmem_set ring_vectors;
	struct ivshmem_set vectors;
	struct ivshmem_on_close *on_close;
	spinlock_t heard_lock; /* heard, and the counts of subscriptions */
	struct list_head heard;
	wait_queue_head_t wait;
};

/* A vector that a file listens to; interrupts go to the eventfd, or are counted for read(). */
struct ivshmem_subscription {
	struct ivshmem_listener listener;
	struct ivshmem_file *file;
	struct list_head entry;
	struct eventfd_ctx *eventfd;
	u64 count;
	struct list_head heard_entry;
};

/* file.c */
extern const struct file_operations ivshmem_file_operations;
long ivshmem_subscribe(struct ivshmem_file *file, const struct ivshmem_dev_subscription *wish);
long ivshmem_unsubscribe(struct ivshmem_file *file, const struct ivshmem_dev_subscription *wish);
void ivshmem_end_files(struct ivshmem_node *node);

/* ioctl.c */
long ivshmem_ioctl(struct file *filp, unsigned int command, unsigned long argument);

/* restrict.c */
long ivshmem_restrict(struct ivshmem_file *file, const struct ivshmem_dev_restriction *wish);
bool ivshmem_is_restricted(const struct ivshmem_file *file);
bool ivshmem_may_ring_all(const struct ivshmem_file *file);
bool ivshmem_set_has(const struct ivshmem_set *set, u32 number);
void ivshmem_drop_restrictions(struct ivshmem_file *file);

/* mapping.c */
int ivshmem_mmap(struct file *filp, struct vm_area_struct *vma);
bool ivshmem_words_can_be_mapped(const struct ivshmem_node *node);

/* on_close.c */
long ivshmem_set_on_close(struct ivshmem_file *file, const struct ivshmem_dev_on_close *wish);
void ivshmem_do_on_close(struct ivshmem_file *file);

/* sysfs.c */
extern const struct attribute_group *ivshmem_attribute_groups[];

#endif
