// SPDX-License-Identifier: GPL-2.0
/* /sys/class/ivshmem/ivshmemN: what a node has, and who holds it. */
#include <linux/device.h>
#include <linux/sched.h>
#include <linux/sysfs.h>

#include "chardev.h"

static ssize_t peer_id_show(struct device *dev, struct device_attribute *attribute, char *text)
{
	struct ivshmem_device *core = ((struct ivshmem_node *)dev_get_drvdata(dev))->core;
	int error = ivshmem_enter(core);
	s32 id;

	if (error)
		return error;
	id = ivshmem_own_id(core);
	ivshmem_leave(core);
	return sysfs_emit(text, "%d\n", id);
}
static DEVICE_ATTR_RO(peer_id);

static ssize_t vectors_show(struct device *dev, struct device_attribute *attribute, char *text)
{
	struct ivshmem_node *node = dev_get_drvdata(dev);

	return sysfs_emit(text, "%u\n", node->core->n_vectors);
}
static DEVICE_ATTR_RO(vectors);

static ssize_t size_show(struct device *dev, struct device_attribute *attribute, char *text)
{
	struct ivshmem_node *node = dev_get_drvdata(dev);

	return sysfs_emit(text, "%llu\n", node->core->memory_size);
}
static DEVICE_ATTR_RO(size);

static ssize_t revision_show(struct device *dev, struct device_attribute *attribute, char *text)
{
	struct ivshmem_node *node = dev_get_drvdata(dev);

	return sysfs_emit(text, "%u\n", node->core->revision);
}
static DEVICE_ATTR_RO(revision);

static ssize_t generation_show(struct device *dev, struct device_attribute *attribute, char *text)
{
	struct ivshmem_node *node = dev_get_drvdata(dev);

	return sysfs_emit(text, "%llu\n", READ_ONCE(node->core->generation));
}
static DEVICE_ATTR_RO(generation);

static ssize_t interrupts_show(struct device *dev, struct device_attribute *attribute, char *text)
{
	static const char *const names[] = { "none", "msix", "intx" };
	struct ivshmem_node *node = dev_get_drvdata(dev);

	return sysfs_emit(text, "%s\n", names[node->core->interrupts]);
}
static DEVICE_ATTR_RO(interrupts);

static ssize_t doorbell_show(struct device *dev, struct device_attribute *attribute, char *text)
{
	struct ivshmem_node *node = dev_get_drvdata(dev);

	return sysfs_emit(text, "%s\n", node->core->words.peers ? "words" : "register");
}
static DEVICE_ATTR_RO(doorbell);

/* As the page table had it when a page was mapped last. */
static ssize_t cache_show(struct device *dev, struct device_attribute *attribute, char *text)
{
	static const char *const names[] = { "unknown", "write-back", "other" };
	struct ivshmem_node *node = dev_get_drvdata(dev);

	return sysfs_emit(text, "%s\n", names[READ_ONCE(node->cache)]);
}
static DEVICE_ATTR_RO(cache);

/*
 * A line for each open file: who opened it, and its vectors; "!" is behind one that it has alone.
 * /
 */
static ssize_t holders_show(struct device *dev, struct device_attribute *attribute, char *text)
{
	struct ivshmem_node *node = dev_get_drvdata(dev);
	struct ivshmem_subscription *subscription;
	struct ivshmem_file *file;
	int length = 0;

	mutex_lock(&node->files_lock);
	list_for_each_entry(file, &node->files, node_entry) {
		if (length >= PAGE_SIZE - 1)
			break;
		length += sysfs_emit_at(text, length, "%d", pid_vnr(file->opener));
		mutex_lock(&file->lock);
		list_for_each_entry(subscription, &file->subscriptions, entry)
			length +=
				sysfs_emit_at(text, length, " %u%s", subscription->listener.vector,
					      subscription->listener.exclusive ? "!" : "");
		mutex_unlock(&file->lock);
		length += sysfs_emit_at(text, length, "\n");
	}
	mutex_unlock(&node->files_lock);
	return length;
}
static DEVICE_ATTR_ADMIN_RO(holders);

static struct attribute *attributes[] = {
	&dev_attr_peer_id.attr,	   &dev_attr_vectors.attr,
	&dev_attr_size.attr,	   &dev_attr_revision.attr,
	&dev_attr_generation.attr, &dev_attr_interrupts.attr,
	&dev_attr_doorbell.attr,   &dev_attr_cache.attr,
	&dev_attr_holders.attr,	   NULL,
};

static const struct attribute_group group = { .attrs = attributes };
const struct attribute_group *ivshmem_attribute_groups[] = { &group, NULL };
