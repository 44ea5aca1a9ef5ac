/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef GUEST_PCI_H
#define GUEST_PCI_H

/*
 * A PCI device as its guest's sysfs shows it: how to find it, what it lacks, how the kernel maps its
 * memory, and how to access its registers.
 */

#include <ivshmem/client.h>

#include <endian.h>
#include <limits.h>
#include <stdint.h>

struct ivshmem_error;

#define PCI_ADDRESS_MAX 16 /* "0000:00:05.0" and its NUL */

struct pci_device {
	char address[PCI_ADDRESS_MAX];
	char driver[64];                    /* name of the driver bound to it, "" if none */
	uint64_t bar_start[6], bar_size[6]; /* BAR0 .. BAR5; size 0 if absent */
};

/* The paths of sysfs and of the kernel's list of memory types. Only tests change them. */
extern const char *pci_sysfs_root;
extern const char *pci_memtype_list;

/*
 * Find the ivshmem device that `address` means: "auto" (the only one), "0000:00:05.0" or "00:05.0".
 * The error names the devices that there are if "auto" is ambiguous, and says what to do if there is
 * none.
 */
int pci_find(const char *address, struct pci_device *ret_device, struct ivshmem_error *reterr);

/* Find the device of the node at `path`, of our driver. -ENODEV if it is something else. */
int pci_find_node(const char *path, struct pci_device *ret_device, struct ivshmem_error *reterr);

/* The path of `name` in the device's sysfs folder. Returns `buffer`. */
char *pci_path(char buffer[PATH_MAX], const struct pci_device *device, const char *name);

/*
 * Read a link in the device's sysfs folder, "driver" or "iommu_group", and store the last component
 * of its target. -ENOENT if there is no such link.
 */
int pci_read_link(const struct pci_device *device, const char *name, char *buffer, size_t size);

/* The commands for root's shell that bind the device to vfio-pci instead of its present driver. */
#define PCI_COMMANDS_MAX 320
char *pci_bind_commands(const struct pci_device *device, char buffer[PCI_COMMANDS_MAX]);

/* -ENODEV and a sentence if the registers or the memory are absent or have no address. */
int pci_check_bars(const struct pci_device *device, struct ivshmem_error *reterr);

/* Turn the register IVSHMEM_REG_IV_POSITION into an id. -ENODEV if it holds none. */
int pci_check_id(const struct pci_device *device, uint32_t position, uint16_t *ret_id,
	struct ivshmem_error *reterr);

/*
 * How the kernel maps the physical addresses [start, start + size), according to its list of memory
 * types. If the list cannot be read or says nothing about them: `otherwise`, which is what the way of
 * mapping is known to give.
 */
enum ivshmem_mapping pci_memory_mapping(
	uint64_t start, uint64_t size, enum ivshmem_mapping otherwise);

/*
 * The same, from the text of such a list, which we do not trust: the type of the first entry that
 * contains the whole range.
 */
enum ivshmem_mapping pci_parse_memtypes(
	const char *list, uint64_t start, uint64_t size, enum ivshmem_mapping otherwise);

/* How memory is mapped if nobody asks for a caching attribute. */
#if defined(__x86_64__) || defined(__i386__)
#define PCI_MAPPING_PLAIN IVSHMEM_MAPPING_UNCACHED_MINUS
#else
#define PCI_MAPPING_PLAIN IVSHMEM_MAPPING_UNCACHED
#endif

/* What ivshmem_doorbell() says of the register and of the words. */
#define PCI_DOORBELL_REGISTER "register"
#define PCI_DOORBELL_WORDS    "words"

/* Registers are little-endian, and are accessed as aligned 32-bit words only. */
static inline uint32_t
pci_register_read(const volatile uint32_t *registers, unsigned offset)
{
	return le32toh(registers[offset / sizeof(*registers)]);
}

static inline void
pci_register_write(volatile uint32_t *registers, unsigned offset, uint32_t value)
{
	registers[offset / sizeof(*registers)] = htole32(value);
}

#endif
