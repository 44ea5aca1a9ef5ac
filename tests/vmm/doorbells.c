/* SPDX-License-Identifier: BSD-2-Clause */
#include <doorbells.h>

#include <base/fd.h>

#include <errno.h>
#include <stdlib.h>

static void
add_ioeventfd(struct vm *vm, uint64_t at, const struct doorbell *doorbell)
{
	uint64_t address = at + doorbell->entry.offset;

	/* One that the kernel refuses is rung by a message. */
	if (doorbell->entry.flags & VFIO_USER_IO_FD_DATAMATCH)
		vm_ioeventfd(vm, address, (uint32_t)doorbell->entry.datamatch, doorbell->eventfd);
	else
		vm_ioeventfd_any(vm, address, doorbell->eventfd);
}

static void
remove_ioeventfd(struct vm *vm, uint64_t at, const struct doorbell *doorbell)
{
	uint64_t address = at + doorbell->entry.offset;

	if (doorbell->entry.flags & VFIO_USER_IO_FD_DATAMATCH)
		vm_ioeventfd_remove(
			vm, address, (uint32_t)doorbell->entry.datamatch, doorbell->eventfd);
	else
		vm_ioeventfd_any_remove(vm, address, doorbell->eventfd);
}

void
doorbells_place(struct doorbells *doorbells, uint64_t at)
{
	if (at == doorbells->at)
		return;
	for (size_t i = 0; i < doorbells->n; i++) {
		if (doorbells->at)
			remove_ioeventfd(doorbells->vm, doorbells->at, &doorbells->list[i]);
		if (at)
			add_ioeventfd(doorbells->vm, at, &doorbells->list[i]);
	}
	doorbells->at = at;
}

void
doorbells_drop(struct doorbells *doorbells)
{
	doorbells_place(doorbells, 0);
	for (size_t i = 0; i < doorbells->n; i++)
		fd_close(doorbells->list[i].eventfd);
	free(doorbells->list);
	doorbells->list = NULL;
	doorbells->n = 0;
}

int
doorbells_fetch(struct doorbells *doorbells)
{
	uint32_t n, total;

	doorbells_drop(doorbells);
	do {
		struct vfio_user_io_fd entries[VFIO_CLIENT_MAX_FDS];
		int fds[VFIO_CLIENT_MAX_FDS];
		struct doorbell *grown;
		int r = vfio_client_io_fds(doorbells->client, doorbells->bar,
			(uint32_t)doorbells->n, entries, fds, &n, &total);

		if (r < 0)
			return r;
		grown = realloc(doorbells->list, (doorbells->n + n + 1) * sizeof(*grown));
		for (uint32_t i = 0; i < n && !grown; i++)
			fd_close(fds[i]);
		if (!grown)
			return -ENOMEM;
		doorbells->list = grown;
		for (uint32_t i = 0; i < n; i++)
			grown[doorbells->n++] = (struct doorbell){entries[i], fds[i]};
	} while (n > 0 && n < total);
	return 0;
}
