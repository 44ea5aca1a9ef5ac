// SPDX-License-Identifier: GPL-2.0
/* /sys/class/ivshmem/ivshmemN: what a node has, and who holds it. */
#include <linux/ctype.h>
#include <linux/device.h>
#include <linux/sched.h>
#include <linux/sysfs.h>

#include "chardev.h"

static struct ivshmem_node *node_of(struct device *dev)
{
	return dev_get_drvdata(dev);
}

static ssize_t peer_id_show(struct device *dev, struct device_attribute *attribute, char *text)
{
	struct ivshmem_device *core = node_of(dev)->core;
	int error = ivshmem_enter(core);
	s32 id;

	if (error)
		return error;
	id = ivshmem_own_id(core);
	ivshmem_leave(core);
	return sysfs_emit(text, "%d\n", id);
}
static DEVICE_ATTR_RO(peer_id);

/* What needs no access to the device. */
#define SHOW(name, format, value)                                                          \
	static ssize_t name##_show(struct device *dev, struct device_attribute *attribute, \
				   char *text)                                             \
	{                                                                                  \
		return sysfs_emit(text, format "\n", value);                               \
	}                                                                                  \
	static DEVICE_ATTR_RO(name)

static const char *const interrupts_names[] = { "none", "msix", "intx" };
/* As the page table had it when a page was mapped last. */
static const char *const cache_names[] = { "unknown", "write-back", "other" };

SHOW(vectors, "%u", node_of(dev)->core->n_vectors);
SHOW(size, "%llu", node_of(dev)->core->memory_size);
SHOW(revision, "%u", node_of(dev)->core->revision);
SHOW(generation, "%llu", READ_ONCE(node_of(dev)->core->generation));
SHOW(interrupts, "%s", interrupts_names[node_of(dev)->core->interrupts]);
SHOW(doorbell, "%s", node_of(dev)->core->words.peers ? "words" : "register");
SHOW(cache, "%s", cache_names[READ_ONCE(node_of(dev)->cache)]);

/* An attribute has one page. "..." stands for all that follows the last whole word. */
static int end_with_dots(char *text)
{
	int length = PAGE_SIZE - sizeof("...\n");

	while (length > 0 && !isspace(text[length - 1]))
		length--;
	return length + sysfs_emit_at(text, length, "...\n");
}

/* A line for each open file: who opened it, its vectors, and "!" behind one that it has alone. */
static ssize_t holders_show(struct device *dev, struct device_attribute *attribute, char *text)
{
	struct ivshmem_node *node = node_of(dev);
	struct ivshmem_subscription *subscription;
	struct ivshmem_file *file;
	int length = 0;

	mutex_lock(&node->files_lock);
	list_for_each_entry(file, &node->files, node_entry) {
		length += sysfs_emit_at(text, length, "%d", pid_vnr(file->opener));
		mutex_lock(&file->lock);
		list_for_each_entry(subscription, &file->subscriptions, entry)
			length +=
				sysfs_emit_at(text, length, " %u%s", subscription->listener.vector,
					      subscription->listener.exclusive ? "!" : "");
		mutex_unlock(&file->lock);
		length += sysfs_emit_at(text, length, "\n");
		if (length == PAGE_SIZE - 1)
			break;
	}
	mutex_unlock(&node->files_lock);
	return length == PAGE_SIZE - 1 ? end_with_dots(text) : length;
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
