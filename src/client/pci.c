/* SPDX-License-Identifier: BSD-2-Clause */

/* The back end for a guest's PCI device. src/guest does the work. */
#include <client/backend.h>

#include <base/error.h>
#include <guest/guest.h>

#include <errno.h>
#include <string.h>

static void
unplugged(void *data, const char *message)
{
	client_lose(data, -ENODEV, message);
}

static void
close_guest(struct ivshmem_client *client, struct guest *guest)
{
	client_remove_vectors(client);
	guest_close(guest);
}

static int
pci_open(struct ivshmem_client *client, const char *address, struct ivshmem_error *reterr)
{
	const struct guest_owner owner = {
		client->loop, &client->log, client->heard, unplugged, client};
	struct guest *guest = NULL;
	int r = guest_open(&guest, address, client->guest_backend, &owner, reterr);

	if (r < 0)
		return r;
	for (unsigned i = 0; i < guest->n_vectors; i++) {
		r = client_add_vector(client, guest->vectors[i]);
		if (r < 0) {
			close_guest(client, guest);
			return error_set(
				reterr, r, "cannot watch interrupt vector %u: %s", i, strerror(-r));
		}
	}
	client->state = guest;
	client->name = guest->backend->name;
	client->id = guest->id;
	client->memory = guest->memory;
	client->size = guest->size;
	client->mapping = guest->mapping;
	client->doorbell = guest->doorbell;
	return 0;
}

static int
pci_ring(struct ivshmem_client *client, uint16_t peer, unsigned vector)
{
	return guest_ring(client->state, peer, vector);
}

static int
pci_on_close(struct ivshmem_client *client, const struct ivshmem_store *stores, size_t n_stores,
	const struct ivshmem_target *targets, size_t n_targets)
{
	struct guest *guest = client->state;

	if (!guest->backend->on_close)
		return -EOPNOTSUPP;
	return guest->backend->on_close(guest, stores, n_stores, targets, n_targets);
}

static void
pci_close(struct ivshmem_client *client)
{
	close_guest(client, client->state);
	client->state = NULL;
	client->memory = NULL;
	client->size = 0;
}

/* The same by the path of a node of our driver. */
static int
dev_open(struct ivshmem_client *client, const char *path, struct ivshmem_error *reterr)
{
	if (path[0] != '/')
		return error_set(reterr, -EINVAL, "'%s' is no node: write dev:/dev/ivshmem0", path);
	return pci_open(client, path, reterr);
}

const struct backend backend_dev = {
	.scheme = "dev",
	.open = dev_open,
	.ring = pci_ring,
	.on_close = pci_on_close,
	.close = pci_close,
};

const struct backend backend_pci = {
	.scheme = "pci",
	.open = pci_open,
	.ring = pci_ring,
	.on_close = pci_on_close,
	.close = pci_close,
};
