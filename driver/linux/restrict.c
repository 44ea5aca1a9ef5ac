// SPDX-License-Identifier: GPL-2.0
/* A file that was restricted, to be handed to somebody who is trusted with less. */
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "chardev.h"

#define FLAGS (IVSHMEM_DEV_NO_RING | IVSHMEM_DEV_READ_ONLY | IVSHMEM_DEV_NO_MAP)

static const u64 *words_of(const struct ivshmem_set *set)
{
	return smp_load_acquire(&set->words); /* pairs with narrow() */
}

bool ivshmem_set_has(const struct ivshmem_set *set, u32 number)
{
	const u64 *words = words_of(set);

	return !words || (number / 64 < IVSHMEM_SET_WORDS &&
			  READ_ONCE(words[number / 64]) >> number % 64 & 1);
}

bool ivshmem_may_ring_all(const struct ivshmem_file *file)
{
	return !(READ_ONCE(file->flags) & IVSHMEM_DEV_NO_RING) && !words_of(&file->peers) &&
	       !words_of(&file->ring_vectors);
}

bool ivshmem_is_restricted(const struct ivshmem_file *file)
{
	return READ_ONCE(file->flags) || !ivshmem_may_ring_all(file) || words_of(&file->vectors);
}

/* The caller's bitmap; *words is NULL if there is none, and else to be freed. */
static long take_bitmap(u64 address, u32 n, u64 **words)
{
	*words = NULL;
	if (n == 0)
		return address ? -EINVAL : 0;
	if (n > IVSHMEM_SET_WORDS)
		return -EINVAL;
	*words = kvcalloc(IVSHMEM_SET_WORDS, sizeof(u64), GFP_KERNEL_ACCOUNT);
	if (!*words)
		return -ENOMEM;
	if (copy_from_user(*words, u64_to_user_ptr(address), n * sizeof(u64))) {
		kvfree(*words);
		*words = NULL;
		return -EFAULT;
	}
	return 0;
}

/* Leaves in the set only what is in words, which it takes when the set was whole. */
static void narrow(struct ivshmem_set *set, u64 **words)
{
	unsigned int i;

	if (!*words)
		return;
	if (!set->words) {
		/* Rings look at it without a lock. */
		smp_store_release(&set->words, *words);
		*words = NULL;
		return;
	}
	for (i = 0; i < IVSHMEM_SET_WORDS; i++)
		WRITE_ONCE(set->words[i], set->words[i] & (*words)[i]);
}

static bool has_other_subscriptions(const struct ivshmem_file *file, u64 *words)
{
	const struct ivshmem_set wanted = { words };
	const struct ivshmem_subscription *subscription;

	list_for_each_entry(subscription, &file->subscriptions, entry) {
		if (!ivshmem_set_has(&wanted, subscription->listener.vector))
			return true;
	}
	return false;
}

long ivshmem_restrict(struct ivshmem_file *file, const struct ivshmem_dev_restriction *wish)
{
	u64 *peers = NULL, *ring_vectors = NULL, *vectors = NULL;
	long error;

	if (wish->flags & ~FLAGS || wish->reserved)
		return -EINVAL;
	error = take_bitmap(wish->peers, wish->peers_words, &peers);
	if (error == 0)
		error = take_bitmap(wish->ring_vectors, wish->ring_vectors_words, &ring_vectors);
	if (error == 0)
		error = take_bitmap(wish->vectors, wish->vectors_words, &vectors);
	if (error)
		goto free;

	mutex_lock(&file->lock);
	if (has_other_subscriptions(file, vectors)) {
		error = -EBUSY;
	} else {
		narrow(&file->peers, &peers);
		narrow(&file->ring_vectors, &ring_vectors);
		narrow(&file->vectors, &vectors);
		WRITE_ONCE(file->flags, file->flags | wish->flags);
	}
	mutex_unlock(&file->lock);
free:
	kvfree(peers);
	kvfree(ring_vectors);
	kvfree(vectors);
	return error;
}

void ivshmem_drop_restrictions(struct ivshmem_file *file)
{
	kvfree(file->peers.words);
	kvfree(file->ring_vectors.words);
	kvfree(file->vectors.words);
}
