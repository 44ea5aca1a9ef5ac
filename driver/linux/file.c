// SPDX-License-Identifier: GPL-2.0
/* Open files: opening and closing, subscriptions to vectors, and what read() and poll() tell. */
#include <linux/module.h>
#include <linux/poll.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "chardev.h"
#include "compat.h"

/* Enough for two of each vector that a device can have. */
#define SUBSCRIPTIONS_MOST 4096
#define EVENTS_AT_ONCE 16

static int open(struct inode *inode, struct file *filp)
{
	struct ivshmem_node *node = container_of(inode->i_cdev, struct ivshmem_node, cdev);
	struct ivshmem_file *file;
	int error = 0;

	file = kzalloc(sizeof(*file), GFP_KERNEL_ACCOUNT);
	if (!file)
		return -ENOMEM;
	file->node = node;
	file->opener = get_pid(task_tgid(current));
	mutex_init(&file->lock);
	INIT_LIST_HEAD(&file->subscriptions);
	spin_lock_init(&file->heard_lock);
	INIT_LIST_HEAD(&file->heard);
	init_waitqueue_head(&file->wait);

	mutex_lock(&node->files_lock);
	if (node->ended)
		error = -ENODEV;
	else
		list_add_tail(&file->node_entry, &node->files);
	mutex_unlock(&node->files_lock);
	if (error) {
		put_pid(file->opener);
		kfree(file);
		return error;
	}
	filp->private_data = file;
	filp->f_mapping = node->inode->i_mapping;
	return stream_open(inode, filp);
}

/* ---- subscriptions ---- */

/* In the interrupt. */
static void heard(struct ivshmem_listener *listener)
{
	struct ivshmem_subscription *subscription =
		container_of(listener, struct ivshmem_subscription, listener);
	struct ivshmem_file *file = subscription->file;
	unsigned long flags;

	if (subscription->eventfd) {
		compat_eventfd_signal(subscription->eventfd);
		return;
	}
	spin_lock_irqsave(&file->heard_lock, flags);
	subscription->count++;
	if (list_empty(&subscription->heard_entry))
		list_add_tail(&subscription->heard_entry, &file->heard);
	spin_unlock_irqrestore(&file->heard_lock, flags);
	wake_up_interruptible_poll(&file->wait, EPOLLIN | EPOLLRDNORM);
}

/*
 * eventfd is -1, or one of the caller's. On success, the caller has a reference to *context if that
 * is not NULL.
 */
static int find_eventfd(int eventfd, struct eventfd_ctx **context)
{
	*context = NULL;
	if (eventfd == -1)
		return 0;
	*context = eventfd_ctx_fdget(eventfd);
	if (!IS_ERR(*context))
		return 0;
	return PTR_ERR(*context);
}

static void put_eventfd(struct eventfd_ctx *context)
{
	if (context)
		eventfd_ctx_put(context);
}

static struct ivshmem_subscription *find(struct ivshmem_file *file, u32 vector,
					 const struct eventfd_ctx *eventfd)
{
	struct ivshmem_subscription *subscription;

	list_for_each_entry(subscription, &file->subscriptions, entry) {
		if (subscription->listener.vector == vector && subscription->eventfd == eventfd)
			return subscription;
	}
	return NULL;
}

static void drop(struct ivshmem_file *file, struct ivshmem_subscription *subscription)
{
	ivshmem_unlisten(file->node->core, &subscription->listener);
	spin_lock_irq(&file->heard_lock);
	list_del(&subscription->heard_entry);
	spin_unlock_irq(&file->heard_lock);
	list_del(&subscription->entry);
	file->n_subscriptions--;
	put_eventfd(subscription->eventfd);
	kfree(subscription);
}

/* Takes the reference to eventfd when it succeeds. The lock of the file is held. */
static int add(struct ivshmem_file *file, u32 vector, bool exclusive, struct eventfd_ctx *eventfd)
{
	struct ivshmem_subscription *subscription;
	int error;

	if (!ivshmem_set_has(&file->vectors, vector))
		return vector < file->node->core->n_vectors ? -EPERM : -EINVAL;
	if (find(file, vector, eventfd))
		return -EEXIST;
	if (file->n_subscriptions == SUBSCRIPTIONS_MOST)
		return -ENOSPC;
	subscription = kzalloc(sizeof(*subscription), GFP_KERNEL_ACCOUNT);
	if (!subscription)
		return -ENOMEM;
	subscription->file = file;
	subscription->eventfd = eventfd;
	subscription->listener.heard = heard;
	INIT_LIST_HEAD(&subscription->heard_entry);
	error = ivshmem_listen(file->node->core, &subscription->listener, vector, exclusive);
	if (error) {
		kfree(subscription);
		return error;
	}
	list_add_tail(&subscription->entry, &file->subscriptions);
	file->n_subscriptions++;
	return 0;
}

long ivshmem_subscribe(struct ivshmem_file *file, const struct ivshmem_dev_subscription *wish)
{
	struct eventfd_ctx *eventfd;
	int error;

	if (wish->flags & ~IVSHMEM_DEV_EXCLUSIVE)
		return -EINVAL;
	error = find_eventfd(wish->eventfd, &eventfd);
	if (error)
		return error;
	error = mutex_lock_killable(&file->lock);
	if (error) {
		put_eventfd(eventfd);
		return error;
	}
	error = add(file, wish->vector, wish->flags & IVSHMEM_DEV_EXCLUSIVE, eventfd);
	mutex_unlock(&file->lock);
	if (error)
		put_eventfd(eventfd);
	return error;
}

static long unsubscribe_all(struct ivshmem_file *file, u32 vector)
{
	struct ivshmem_subscription *subscription, *next;
	long error = -ENOENT;

	mutex_lock(&file->lock);
	list_for_each_entry_safe(subscription, next, &file->subscriptions, entry) {
		if (subscription->listener.vector == vector) {
			drop(file, subscription);
			error = 0;
		}
	}
	mutex_unlock(&file->lock);
	return error;
}

long ivshmem_unsubscribe(struct ivshmem_file *file, const struct ivshmem_dev_subscription *wish)
{
	struct ivshmem_subscription *subscription;
	struct eventfd_ctx *eventfd;
	int error;

	if (wish->flags & ~IVSHMEM_DEV_ALL)
		return -EINVAL;
	if (wish->flags & IVSHMEM_DEV_ALL)
		return unsubscribe_all(file, wish->vector);
	error = find_eventfd(wish->eventfd, &eventfd);
	if (error)
		return error;
	mutex_lock(&file->lock);
	subscription = find(file, wish->vector, eventfd);
	if (subscription)
		drop(file, subscription);
	mutex_unlock(&file->lock);
	put_eventfd(eventfd);
	return subscription ? 0 : -ENOENT;
}

/* ---- the end ---- */

static int release(struct inode *inode, struct file *filp)
{
	struct ivshmem_file *file = filp->private_data;
	struct ivshmem_subscription *subscription, *next;

	mutex_lock(&file->node->files_lock);
	list_del(&file->node_entry);
	mutex_unlock(&file->node->files_lock);
	/* Vectors are free before others hear of the death: they may want them. */
	list_for_each_entry_safe(subscription, next, &file->subscriptions, entry)
		drop(file, subscription);
	ivshmem_do_on_close(file);
	ivshmem_drop_restrictions(file);
	put_pid(file->opener);
	kfree(file);
	return 0;
}

/* The device is gone and its mappings are. poll() says so only after each eventfd was signalled. */
void ivshmem_end_files(struct ivshmem_node *node)
{
	struct ivshmem_subscription *subscription;
	struct ivshmem_file *file;

	mutex_lock(&node->files_lock);
	list_for_each_entry(file, &node->files, node_entry) {
		mutex_lock(&file->lock);
		list_for_each_entry(subscription, &file->subscriptions, entry) {
			if (subscription->eventfd)
				compat_eventfd_signal(subscription->eventfd);
		}
		mutex_unlock(&file->lock);
	}
	/* Whoever sees it sees the eventfds signalled. */
	smp_store_release(&node->ended, true);
	list_for_each_entry(file, &node->files, node_entry)
		wake_up_poll(&file->wait, EPOLLHUP | EPOLLERR);
	mutex_unlock(&node->files_lock);
}

/* ---- read and poll ---- */

static bool ended(const struct ivshmem_file *file)
{
	return smp_load_acquire(&file->node->ended); /* pairs with ivshmem_end_files() */
}

static bool has_heard(struct ivshmem_file *file)
{
	return !list_empty_careful(&file->heard);
}

/* A subscription leaves the list, under this lock, before it is freed. */
static size_t take_events(struct ivshmem_file *file, struct ivshmem_dev_event *events, size_t most)
{
	struct ivshmem_subscription *subscription;
	size_t n = 0;

	spin_lock_irq(&file->heard_lock);
	while (n < most && !list_empty(&file->heard)) {
		subscription =
			list_first_entry(&file->heard, struct ivshmem_subscription, heard_entry);
		list_del_init(&subscription->heard_entry);
		events[n++] = (struct ivshmem_dev_event){
			.vector = subscription->listener.vector,
			.count = subscription->count,
		};
		subscription->count = 0;
	}
	spin_unlock_irq(&file->heard_lock);
	return n;
}

/*
 * What the caller's memory did not take comes again, in front, unless it is unsubscribed meanwhile.
 * The buffer may block for as long as its owner likes, so no lock is held while it is written to.
 */
static void put_back(struct ivshmem_file *file, const struct ivshmem_dev_event *events, size_t n)
{
	struct ivshmem_subscription *subscription;

	mutex_lock(&file->lock);
	while (n-- > 0) {
		subscription = find(file, events[n].vector, NULL);
		if (!subscription)
			continue;
		spin_lock_irq(&file->heard_lock);
		subscription->count += events[n].count;
		list_move(&subscription->heard_entry, &file->heard);
		spin_unlock_irq(&file->heard_lock);
	}
	mutex_unlock(&file->lock);
	/* Others may have gone to sleep meanwhile. */
	wake_up_interruptible_poll(&file->wait, EPOLLIN | EPOLLRDNORM);
}

static ssize_t read(struct file *filp, char __user *buffer, size_t size, loff_t *position)
{
	struct ivshmem_file *file = filp->private_data;
	struct ivshmem_dev_event events[EVENTS_AT_ONCE];
	size_t most = min_t(size_t, size / sizeof(events[0]), EVENTS_AT_ONCE);
	size_t n;
	int error;

	if (most == 0)
		return -EINVAL;
	/* Another reader may be faster. */
	while ((n = take_events(file, events, most)) == 0) {
		if (ended(file))
			return -ENODEV;
		if (filp->f_flags & O_NONBLOCK)
			return -EAGAIN;
		error = wait_event_interruptible(file->wait, has_heard(file) || ended(file));
		if (error)
			return error;
	}
	if (copy_to_user(buffer, events, n * sizeof(events[0]))) {
		put_back(file, events, n);
		return -EFAULT;
	}
	return n * sizeof(events[0]);
}

static __poll_t poll(struct file *filp, struct poll_table_struct *table)
{
	struct ivshmem_file *file = filp->private_data;
	__poll_t events = 0;

	poll_wait(filp, &file->wait, table);
	if (has_heard(file))
		events |= EPOLLIN | EPOLLRDNORM;
	if (ended(file))
		events |= EPOLLHUP | EPOLLERR;
	return events;
}

const struct file_operations ivshmem_file_operations = {
	.owner = THIS_MODULE,
	.open = open,
	.release = release,
	.read = read,
	.poll = poll,
	.unlocked_ioctl = ivshmem_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.mmap = ivshmem_mmap,
};
