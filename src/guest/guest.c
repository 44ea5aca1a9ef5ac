/* SPDX-License-Identifier: BSD-2-Clause */
#include <guest/guest.h>

#include <base/error.h>
#include <base/fd.h>

#include <ivshmem/abi.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

static bool
goes_with(const struct guest_backend *backend, const char *driver)
{
	for (const char *const *known = backend->drivers; *known; known++)
		if (strcmp(*known, driver) == 0)
			return true;
	return false;
}

int
guest_choose_backend(const struct pci_device *device, const char *name,
	const struct guest_backend **ret_backend, struct ivshmem_error *reterr)
{
	static const struct guest_backend *const backends[] = {
		&guest_kernel, &guest_vfio, &guest_sysfs};
	char commands[PCI_COMMANDS_MAX];

	for (size_t i = 0; i < sizeof(backends) / sizeof(backends[0]); i++) {
		if (name ? strcmp(backends[i]->name, name) == 0
			 : goes_with(backends[i], device->driver)) {
			*ret_backend = backends[i];
			return 0;
		}
	}
	if (name) {
		error_set(reterr, -EINVAL,
			"there is no back end '%.64s' for PCI devices: it is kernel, vfio or sysfs",
			name);
		return -EINVAL;
	}
	error_set(reterr, -ENODEV,
		"PCI device %s is bound to driver %s, which is of no use here; bind vfio-pci instead, as root: %s",
		device->address, device->driver, pci_bind_commands(device, commands));
	return -ENODEV;
}

int
guest_add_eventfds(struct guest *guest, unsigned n, struct ivshmem_error *reterr)
{
	int heard = 0;

	guest->vectors = malloc(n * sizeof(*guest->vectors));
	if (!guest->vectors)
		return error_set(reterr, -ENOMEM, "out of memory");
	while (guest->n_vectors < n) {
		bool wanted = guest->owner.heard[guest->n_vectors];
		int fd = wanted ? eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) : -1;

		if (wanted && fd < 0)
			return error_set(reterr, -errno,
				"cannot create an eventfd for each of %u vectors: %s (see `ulimit -n`)",
				n, strerror(errno));
		guest->vectors[guest->n_vectors++] = fd;
		heard += wanted;
	}
	return heard;
}

static struct guest *
guest_free(struct guest *guest)
{
	for (unsigned i = 0; i < guest->n_vectors; i++)
		fd_close(guest->vectors[i]);
	free(guest->vectors);
	free(guest);
	return NULL;
}

/* The device of a node of our driver, whatever the node is called. */
static int
find_by_node(struct guest *guest, const char *path, struct ivshmem_error *reterr)
{
	if (strlen(path) >= sizeof(guest->node))
		return error_set(reterr, -ENAMETOOLONG, "the path %.64s... is too long", path);
	memcpy(guest->node, path, strlen(path));
	return pci_find_node(path, &guest->pci, reterr);
}

int
guest_open(struct guest **ret_guest, const char *address, const char *backend,
	const struct guest_owner *owner, struct ivshmem_error *reterr)
{
	struct guest *guest = calloc(1, sizeof(*guest));
	int r;

	if (!guest)
		return error_set(reterr, -ENOMEM, "out of memory");
	guest->owner = *owner;
	if (address[0] == '/')
		r = find_by_node(guest, address, reterr);
	else
		r = pci_find(address, &guest->pci, reterr);
	if (r == 0)
		r = guest_choose_backend(&guest->pci, backend, &guest->backend, reterr);
	if (r == 0)
		r = guest->backend->open(guest, reterr);
	if (r < 0) {
		guest_free(guest);
		return r;
	}
	guest->mapping = pci_memory_mapping(
		guest->pci.bar_start[IVSHMEM_BAR_MEMORY], guest->size, guest->mapping);
	*ret_guest = guest;
	return 0;
}

struct guest *
guest_close(struct guest *guest)
{
	if (!guest)
		return NULL;
	guest->backend->close(guest);
	return guest_free(guest);
}

int
guest_ring(struct guest *guest, uint16_t peer, unsigned vector)
{
	if (__atomic_load_n(&guest->unplugged, __ATOMIC_RELAXED))
		return -ENODEV;
	return guest->backend->ring(guest, peer, vector);
}
