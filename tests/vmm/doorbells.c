/* SPDX-License-Identifier: BSD-2-Clause */
#include <doorbells.h>

#include <base/fd.h>

#include <stdlib.h>

/* One that the kernel refuses is rung by a message. */
static void
set_ioeventfd(struct vm *vm, uint64_t at, const struct doorbell *doorbell, bool on)
{
	uint32_t value = (uint32_t)doorbell->entry.datamatch;
	bool matches = doorbell->entry.flags & VFIO_USER_IO_FD_DATAMATCH;

	vm_ioeventfd(
		vm, at + doorbell->entry.offset, matches ? &value : NULL, doorbell->eventfd, on);
}

void
doorbells_place(struct doorbells *doorbells, uint64_t at)
{
	if (at == doorbells->at)
		return;
	for (size_t i = 0; i < doorbells->n; i++) {
		if (doorbells->at)
			set_ioeventfd(doorbells->vm, doorbells->at, &doorbells->list[i], false);
		if (at)
			set_ioeventfd(doorbells->vm, at, &doorbells->list[i], true);
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

void
doorbells_fetch(struct doorbells *doorbells)
{
	uint32_t n, total;

	doorbells_drop(doorbells);
	do {
		struct vfio_user_io_fd entries[VFIO_CLIENT_MAX_FDS];
		int fds[VFIO_CLIENT_MAX_FDS];

		if (vfio_client_io_fds(doorbells->client, doorbells->bar, (uint32_t)doorbells->n,
			    entries, fds, &n, &total) < 0)
			vm_die("the device does not hand out its doorbells");
		doorbells->list =
			realloc(doorbells->list, (doorbells->n + n + 1) * sizeof(*doorbells->list));
		if (!doorbells->list)
			vm_die("no memory");
		for (uint32_t i = 0; i < n; i++)
			doorbells->list[doorbells->n++] = (struct doorbell){entries[i], fds[i]};
	} while (n > 0 && n < total);
}
