// SPDX-License-Identifier: GPL-2.0
/*
 * What the kernel does for a file when it is closed, which is also when its processes have died: it
 * stores words in the memory and rings. Each word is mapped for a moment only: a mapping that waits
 * for the end would outlive the device, and many of them would cost what nobody accounts for.
 */
#include <linux/io.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "chardev.h"

struct ivshmem_on_close {
	u32 n_stores;
	u32 n_targets;
	struct ivshmem_dev_store stores[IVSHMEM_DEV_ON_CLOSE_MOST];
	struct ivshmem_dev_target targets[IVSHMEM_DEV_ON_CLOSE_MOST];
};

static long check(const struct ivshmem_on_close *list, const struct ivshmem_device *core)
{
	u32 i;

	for (i = 0; i < list->n_stores; i++) {
		const struct ivshmem_dev_store *store = &list->stores[i];

		if ((store->width != 4 && store->width != 8) || store->reserved ||
		    store->offset % store->width || store->offset >= core->memory_size ||
		    (store->width == 4 && store->value > U32_MAX))
			return -EINVAL;
	}
	for (i = 0; i < list->n_targets; i++) {
		if (list->targets[i].peer > U16_MAX || list->targets[i].vector > U16_MAX)
			return -EINVAL;
	}
	return 0;
}

static long take(struct ivshmem_on_close *list, const struct ivshmem_dev_on_close *wish,
		 const struct ivshmem_device *core)
{
	list->n_stores = wish->n_stores;
	list->n_targets = wish->n_targets;
	if (copy_from_user(list->stores, u64_to_user_ptr(wish->stores),
			   wish->n_stores * sizeof(list->stores[0])) ||
	    copy_from_user(list->targets, u64_to_user_ptr(wish->targets),
			   wish->n_targets * sizeof(list->targets[0])))
		return -EFAULT;
	return check(list, core);
}

long ivshmem_set_on_close(struct ivshmem_file *file, const struct ivshmem_dev_on_close *wish)
{
	struct ivshmem_on_close *list = NULL;
	long error;

	if (wish->flags || wish->n_stores > IVSHMEM_DEV_ON_CLOSE_MOST ||
	    wish->n_targets > IVSHMEM_DEV_ON_CLOSE_MOST)
		return -EINVAL;
	if (wish->n_stores || wish->n_targets) {
		list = kzalloc(sizeof(*list), GFP_KERNEL_ACCOUNT);
		if (!list)
			return -ENOMEM;
		error = take(list, wish, file->node->core);
		if (error) {
			kfree(list);
			return error;
		}
	}
	mutex_lock(&file->lock);
	if (ivshmem_is_restricted(file)) {
		error = -EPERM;
	} else {
		error = 0;
		swap(file->on_close, list);
	}
	mutex_unlock(&file->lock);
	kfree(list);
	return error;
}

/* The device is there. */
static void store_word(const struct ivshmem_device *core, const struct ivshmem_dev_store *store)
{
	void *word = memremap(core->memory_start + store->offset, store->width,
			      MEMREMAP_WB | MEMREMAP_DEC);

	if (!word) {
		pr_warn_ratelimited("ivshmem %s: a last word is lost for want of memory\n",
				    core->name);
		return;
	}
	if (store->width == 8)
		WRITE_ONCE(*(__le64 *)word, cpu_to_le64(store->value));
	else
		WRITE_ONCE(*(__le32 *)word, cpu_to_le32(store->value));
	wmb(); /* in the order of the list, and before the rings */
	memunmap(word);
}

void ivshmem_do_on_close(struct ivshmem_file *file)
{
	struct ivshmem_on_close *list = file->on_close;
	struct ivshmem_device *core = file->node->core;
	u32 i;

	if (list && ivshmem_enter_at_end(core) == 0) {
		for (i = 0; i < list->n_stores; i++)
			store_word(core, &list->stores[i]);
		for (i = 0; i < list->n_targets; i++)
			ivshmem_ring(core, list->targets[i].peer, list->targets[i].vector);
		ivshmem_leave(core);
	}
	kfree(list);
	file->on_close = NULL;
}
