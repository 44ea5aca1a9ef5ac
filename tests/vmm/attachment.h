/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VMM_ATTACHMENT_H
#define VMM_ATTACHMENT_H

/*
 * A device as the VMM sees it, however it is attached: embedded.c has the library in this process,
 * remote.c speaks vfio-user with another one. (bare.c has no device at all, only what the kernel
 * needs to let two guests ring each other.)
 *
 * The processor's thread and the one that owns the VM may call these functions at the same time.
 */

#include <ivshmem/common.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct attachment;
struct vm;

struct attachment_ops {
	/* 1, 2 or 4 bytes of config space, not across a multiple of 4. */
	void (*config_read)(
		struct attachment *attachment, unsigned offset, void *data, unsigned length);
	void (*config_write)(
		struct attachment *attachment, unsigned offset, const void *data, unsigned length);
	/* An access that no memory slot took. False: none of this device's addresses. */
	bool (*memory)(struct attachment *attachment, uint64_t address, void *data, unsigned length,
		bool is_write);

	int (*reset)(struct attachment *attachment);
	/* The state, in memory for free(). The guest does not run meanwhile. */
	int (*save)(struct attachment *attachment, void **ret_state, size_t *ret_size,
		struct ivshmem_error *reterr);
	int (*load)(struct attachment *attachment, const void *state, size_t size,
		struct ivshmem_error *reterr);
	void (*free)(struct attachment *attachment);
};

struct attachment {
	const struct attachment_ops *ops;
	struct vm *vm;
};

#endif
