/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VMM_PCI_H
#define VMM_PCI_H

/*
 * The PCI bus: config space by way of the ports 0xcf8 and 0xcfc, and who answers which address.
 */

#include <ivshmem/common.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * A device as the VMM sees it, however it is attached: embedded.c has the library in this process,
 * remote.c speaks vfio-user with another one. (bare.c has no device at all, only what the kernel
 * needs to let two guests ring each other.)
 *
 * The processor's thread and the one that owns the VM may call these functions at the same time.
 */
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

#define PCI_FIRST_SLOT 3
#define PCI_SLOTS      2

struct pci_bus {
	uint32_t address; /* what was written to 0xcf8 */
	struct attachment *functions[PCI_SLOTS];
};

/* Whether the port is one of the bus. */
bool pci_port(struct pci_bus *bus, uint16_t port, void *data, unsigned length, bool is_write);

/* Memory that is no RAM. False: nobody's. */
bool pci_memory(struct pci_bus *bus, uint64_t address, void *data, unsigned length, bool is_write);

#endif
