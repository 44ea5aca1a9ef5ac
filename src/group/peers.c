/* SPDX-License-Identifier: BSD-2-Clause */
#include <group/peers.h>

#include <base/fd.h>

#include <ivshmem/abi.h>

#include <errno.h>
#include <stdlib.h>

#define PAGE 256

struct remote *
peers_find(const struct peers *peers, uint16_t id)
{
	struct remote **page = peers->pages[id / PAGE];

	return page ? page[id % PAGE] : NULL;
}

int
peers_get(struct peers *peers, uint16_t id, struct remote **ret_remote)
{
	struct remote ***page = &peers->pages[id / PAGE];
	struct remote *remote = peers_find(peers, id);

	if (!remote) {
		if (!*page)
			*page = calloc(PAGE, sizeof(struct remote *));
		remote = *page ? calloc(1, sizeof(*remote)) : NULL;
		if (!remote)
			return -ENOMEM;
		remote->id = id;
		list_init(&remote->link);
		(*page)[id % PAGE] = remote;
		peers->n++;
	}
	*ret_remote = remote;
	return 0;
}

int
remote_add_vector(struct remote *remote, int *fd)
{
	if (remote->n_vectors >= IVSHMEM_MAX_VECTORS)
		return -ENOSPC;
	if (remote->n_vectors == remote->n_allocated) {
		unsigned n = remote->n_allocated ? remote->n_allocated * 2 : 1;
		int *vectors = reallocarray(remote->vectors, n, sizeof(int));

		if (!vectors)
			return -ENOMEM;
		remote->vectors = vectors;
		remote->n_allocated = n;
	}
	remote->vectors[remote->n_vectors++] = fd_take(fd);
	return 0;
}

void
remote_truncate(struct remote *remote, unsigned n)
{
	while (remote->n_vectors > n)
		fd_close(remote->vectors[--remote->n_vectors]);
}

void
peers_remove(struct peers *peers, struct remote *remote)
{
	remote_truncate(remote, 0);
	list_remove(&remote->link);
	peers->pages[remote->id / PAGE][remote->id % PAGE] = NULL;
	peers->n--;
	free(remote->vectors);
	free(remote);
}

void
peers_done(struct peers *peers)
{
	for (size_t i = 0; i < PAGE; i++) {
		for (size_t j = 0; peers->pages[i] && j < PAGE; j++)
			if (peers->pages[i][j])
				peers_remove(peers, peers->pages[i][j]);
		free(peers->pages[i]);
		peers->pages[i] = NULL;
	}
}

size_t
peers_list(const struct peers *peers, const struct remote *except, uint16_t *ids, size_t max)
{
	size_t n = 0;

	for (size_t i = 0; i < PAGE && n < max; i++)
		for (size_t j = 0; peers->pages[i] && j < PAGE && n < max; j++)
			if (peers->pages[i][j] && peers->pages[i][j] != except)
				ids[n++] = peers->pages[i][j]->id;
	return peers->n - (except ? 1 : 0);
}
