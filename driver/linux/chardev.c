// SPDX-License-Identifier: GPL-2.0
/* The nodes /dev/ivshmemN: their numbers, and how they come and go. */
#include <linux/completion.h>
#include <linux/module.h>
#include <linux/mount.h>
#include <linux/pseudo_fs.h>
#include <linux/slab.h>

#include "chardev.h"
#include "compat.h"

#define NODES_MOST 256
#define PSEUDO_MAGIC 0x69767368

static dev_t first_number;
/* The kernel frees it when nobody uses it any more, which can be after the module has gone. */
static struct class *class;

/*
 * Nodes that exist, attached or only held open, and one for the module itself. It stays until there
 * are none: their release is in it. A completion, because whoever waits for one goes on only after
 * complete() let go of it; a wait queue would be touched when the module may be gone.
 */
static atomic_t n_nodes = ATOMIC_INIT(1);
static DECLARE_COMPLETION(no_nodes);

static void node_is_gone(void)
{
	if (atomic_dec_and_test(&n_nodes))
		complete(&no_nodes);
}

/* ---- numbers: a device that comes back to its slot gets the number that it had ---- */

static DEFINE_MUTEX(numbers_lock);
static struct {
	char slot[32]; /* the PCI address */
	bool taken;
} numbers[NODES_MOST];

static int take_number(const char *slot)
{
	int free = -1, old = -1, number;
	int i;

	mutex_lock(&numbers_lock);
	for (i = 0; i < NODES_MOST; i++) {
		if (numbers[i].taken)
			continue;
		if (strcmp(numbers[i].slot, slot) == 0) {
			free = i;
			break;
		}
		if (numbers[i].slot[0] == '\0' && free < 0)
			free = i;
		else if (old < 0)
			old = i;
	}
	number = free >= 0 ? free : old;
	if (number >= 0) {
		strscpy(numbers[number].slot, slot, sizeof(numbers[number].slot));
		numbers[number].taken = true;
	}
	mutex_unlock(&numbers_lock);
	return number >= 0 ? number : -ENOSPC;
}

static void give_number_back(int number)
{
	mutex_lock(&numbers_lock);
	numbers[number].taken = false;
	mutex_unlock(&numbers_lock);
}

/*
 * ---- a file system without files: one inode for each node, so that one call finds all its
 * mappings ----
 */

static struct vfsmount *pseudo_mount;

static int init_pseudo_context(struct fs_context *context)
{
	return init_pseudo(context, PSEUDO_MAGIC) ? 0 : -ENOMEM;
}

/* No owner: the mount would keep the module for ever. The module unmounts before it goes. */
static struct file_system_type pseudo_type = {
	.name = "ivshmem",
	.init_fs_context = init_pseudo_context,
	.kill_sb = kill_anon_super,
};

/* ---- nodes ---- */

static void release_node(struct device *dev)
{
	struct ivshmem_node *node = container_of(dev, struct ivshmem_node, dev);

	if (node->nowhere)
		__free_page(node->nowhere);
	iput(node->inode);
	ivshmem_put(node->core);
	kfree(node);
	node_is_gone();
}

static int add(struct ivshmem_device *core)
{
	struct ivshmem_node *node;
	int error, number;

	node = kzalloc(sizeof(*node), GFP_KERNEL);
	if (!node)
		return -ENOMEM;
	node->inode = alloc_anon_inode(pseudo_mount->mnt_sb);
	if (IS_ERR(node->inode)) {
		error = PTR_ERR(node->inode);
		goto free_node;
	}
	if (core->words.peers) {
		node->nowhere = alloc_page(GFP_KERNEL | __GFP_ZERO);
		if (!node->nowhere) {
			error = -ENOMEM;
			goto put_inode;
		}
	}
	number = take_number(core->name);
	if (number < 0) {
		error = number;
		goto free_page;
	}

	node->core = ivshmem_get(core);
	mutex_init(&node->files_lock);
	INIT_LIST_HEAD(&node->files);
	atomic_inc(&n_nodes);
	device_initialize(&node->dev);
	node->dev.class = class;
	node->dev.parent = &core->pdev->dev;
	node->dev.devt = first_number + number;
	node->dev.release = release_node;
	node->dev.groups = ivshmem_attribute_groups;
	dev_set_drvdata(&node->dev, node);
	cdev_init(&node->cdev, &ivshmem_file_operations);
	node->cdev.owner = THIS_MODULE;
	error = dev_set_name(&node->dev, "ivshmem%d", number);
	if (error == 0)
		error = cdev_device_add(&node->cdev, &node->dev);
	if (error) {
		give_number_back(number);
		put_device(&node->dev);
		return error;
	}
	core->chardev = node;
	dev_info(&node->dev, "%llu bytes, %u vectors%s\n", core->memory_size, core->n_vectors,
		 core->words.peers ? ", doorbell words" : "");
	return 0;

free_page:
	if (node->nowhere)
		__free_page(node->nowhere);
put_inode:
	iput(node->inode);
free_node:
	kfree(node);
	return error;
}

static void zap(struct ivshmem_device *core)
{
	struct ivshmem_node *node = core->chardev;

	unmap_mapping_range(node->inode->i_mapping, 0, 0, 1);
}

/*
 * Those who have it open keep the node until they close it. Another device may have the number at
 * once.
 */
static void remove(struct ivshmem_device *core)
{
	struct ivshmem_node *node = core->chardev;

	cdev_device_del(&node->cdev, &node->dev);
	ivshmem_end_files(node);
	give_number_back(MINOR(node->dev.devt) - MINOR(first_number));
	put_device(&node->dev);
}

const struct ivshmem_user ivshmem_chardev = {
	.add = add,
	.zap = zap,
	.remove = remove,
};

int ivshmem_chardev_init(void)
{
	int error;

	pseudo_mount = kern_mount(&pseudo_type);
	if (IS_ERR(pseudo_mount))
		return PTR_ERR(pseudo_mount);
	error = alloc_chrdev_region(&first_number, 0, NODES_MOST, "ivshmem");
	if (error)
		goto unmount;
	class = compat_class_create("ivshmem");
	if (IS_ERR(class)) {
		error = PTR_ERR(class);
		goto unregister;
	}
	return 0;

unregister:
	unregister_chrdev_region(first_number, NODES_MOST);
unmount:
	kern_unmount(pseudo_mount);
	return error;
}

void ivshmem_chardev_exit(void)
{
	node_is_gone();
	wait_for_completion(&no_nodes);
	class_destroy(class);
	unregister_chrdev_region(first_number, NODES_MOST);
	kern_unmount(pseudo_mount);
}
