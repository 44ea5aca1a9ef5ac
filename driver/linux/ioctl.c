// SPDX-License-Identifier: GPL-2.0
/*
 * What programs ask a node for. Each argument is a struct that begins with its size (see the UAPI
 * header).
 */
#include <linux/fs.h>
#include <linux/sched/signal.h>
#include <linux/uaccess.h>

#include "chardev.h"

#define TARGETS_AT_ONCE 32

/* The size that a struct of the caller says it has. */
static long size_of(const void __user *theirs, u32 *size)
{
	if (get_user(*size, (const u32 __user *)theirs))
		return -EFAULT;
	if (*size < sizeof(u32))
		return -EINVAL;
	return *size > PAGE_SIZE ? -E2BIG : 0;
}

/* The caller's struct may be shorter or longer than ours. */
static long take(void *ours, size_t size, const void __user *theirs)
{
	u32 their_size;
	long error = size_of(theirs, &their_size);

	return error ? error : copy_struct_from_user(ours, size, theirs, their_size);
}

static long give(void __user *theirs, u32 their_size, const void *ours, size_t size)
{
	size_t both = min_t(size_t, their_size, size);

	if (copy_to_user(theirs, ours, both) || clear_user(theirs + both, their_size - both))
		return -EFAULT;
	return 0;
}

static long info(struct ivshmem_file *file, void __user *argument)
{
	struct ivshmem_device *core = file->node->core;
	struct ivshmem_dev_info info = {
		.size = sizeof(info),
		.memory_size = core->memory_size,
		.vectors = core->n_vectors,
		.revision = core->revision,
		.cache = READ_ONCE(file->node->cache),
	};
	u32 their_size;
	long error = size_of(argument, &their_size);

	if (error)
		return error;
	if (core->interrupts == IVSHMEM_MSIX)
		info.features |= IVSHMEM_DEV_FEATURE_MSIX;
	if (core->interrupts == IVSHMEM_INTX)
		info.features |= IVSHMEM_DEV_FEATURE_INTX;
	if (core->words.peers) {
		info.features |= IVSHMEM_DEV_FEATURE_WORDS;
		info.doorbell_offset = ivshmem_words_offset(core);
		info.doorbell_size = core->words.size;
		info.doorbell_peers = core->words.peers;
		info.doorbell_shift = core->words.shift;
		if (ivshmem_words_can_be_mapped(file->node) && ivshmem_may_ring_all(file))
			info.features |= IVSHMEM_DEV_FEATURE_MAP_WORDS;
	}
	error = ivshmem_enter(core);
	if (error)
		return error;
	info.peer = ivshmem_own_id(core);
	info.generation = core->generation;
	ivshmem_leave(core);
	return give(argument, their_size, &info, sizeof(info));
}

static long check_target(const struct ivshmem_file *file, const struct ivshmem_dev_target *target)
{
	if (target->peer > U16_MAX || target->vector > U16_MAX)
		return -EINVAL;
	if (READ_ONCE(file->flags) & IVSHMEM_DEV_NO_RING ||
	    !ivshmem_set_has(&file->peers, target->peer) ||
	    !ivshmem_set_has(&file->ring_vectors, target->vector))
		return -EPERM;
	return 0;
}

/* How many it rang; if that is not all, *error says why. */
static u32 ring_some(struct ivshmem_file *file, const struct ivshmem_dev_target *targets, u32 n,
		     long *error)
{
	u32 done;

	*error = ivshmem_enter(file->node->core);
	if (*error)
		return 0;
	for (done = 0; done < n; done++) {
		*error = check_target(file, &targets[done]);
		if (*error)
			break;
		ivshmem_ring(file->node->core, targets[done].peer, targets[done].vector);
	}
	ivshmem_leave(file->node->core);
	return done;
}

static long ring(struct file *filp, const struct ivshmem_dev_ring *wish)
{
	const struct ivshmem_dev_target __user *from = u64_to_user_ptr(wish->targets);
	struct ivshmem_dev_target targets[TARGETS_AT_ONCE];
	struct ivshmem_file *file = filp->private_data;
	long error = 0;
	u32 done = 0, n, rung;

	if (wish->flags || wish->reserved || wish->n > IVSHMEM_DEV_RING_MOST)
		return -EINVAL;
	if (!(filp->f_mode & FMODE_WRITE))
		return -EACCES;
	while (done < wish->n && !fatal_signal_pending(current)) {
		n = min_t(u32, wish->n - done, TARGETS_AT_ONCE);
		if (copy_from_user(targets, from + done, n * sizeof(targets[0]))) {
			error = -EFAULT;
			break;
		}
		rung = ring_some(file, targets, n, &error);
		done += rung;
		if (rung < n)
			break;
		cond_resched();
	}
	return done ? done : error;
}

static long on_close(struct file *filp, const struct ivshmem_dev_on_close *wish)
{
	if (!(filp->f_mode & FMODE_WRITE))
		return -EACCES;
	return ivshmem_set_on_close(filp->private_data, wish);
}

long ivshmem_ioctl(struct file *filp, unsigned int command, unsigned long argument)
{
	union {
		struct ivshmem_dev_ring ring;
		struct ivshmem_dev_subscription subscription;
		struct ivshmem_dev_restriction restriction;
		struct ivshmem_dev_on_close on_close;
	} wish;
	struct ivshmem_file *file = filp->private_data;
	void __user *from = (void __user *)argument;
	long error;

	/* Most calls would find out by themselves; with this, all do. */
	if (READ_ONCE(file->node->core->gone))
		return -ENODEV;
	switch (command) {
	case IVSHMEM_DEV_INFO:
		return info(file, from);
	case IVSHMEM_DEV_RING:
		error = take(&wish.ring, sizeof(wish.ring), from);
		return error ? error : ring(filp, &wish.ring);
	case IVSHMEM_DEV_SUBSCRIBE:
		error = take(&wish.subscription, sizeof(wish.subscription), from);
		return error ? error : ivshmem_subscribe(file, &wish.subscription);
	case IVSHMEM_DEV_UNSUBSCRIBE:
		error = take(&wish.subscription, sizeof(wish.subscription), from);
		return error ? error : ivshmem_unsubscribe(file, &wish.subscription);
	case IVSHMEM_DEV_RESTRICT:
		error = take(&wish.restriction, sizeof(wish.restriction), from);
		return error ? error : ivshmem_restrict(file, &wish.restriction);
	case IVSHMEM_DEV_ON_CLOSE:
		error = take(&wish.on_close, sizeof(wish.on_close), from);
		return error ? error : on_close(filp, &wish.on_close);
	default:
		return -ENOTTY;
	}
}
