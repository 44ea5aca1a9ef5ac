/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef CLIENT_PCI_H
#define CLIENT_PCI_H

/*
 * What the two PCI back ends share beyond backend.h: sysfs, the registers, and sentences about
 * devices.
 */

#include <client/words.h>

#include <ivshmem/abi.h>
#include <ivshmem/client.h>

#include <endian.h>
#include <limits.h>
#include <stdint.h>

struct pci_device;

/* Where sysfs is mounted, and the kernel's list of memory types. Only tests change them. */
extern const char *pci_sysfs_root;
extern const char *pci_memtype_list;

/* The path of `name` in the device's sysfs folder. Returns `buffer`. */
char *pci_path(char buffer[PATH_MAX], const struct pci_device *device, const char *name);

/*
 * The last component of what a link in the device's sysfs folder points to: "driver",
 * "iommu_group". -ENOENT if there is no such link.
 */
int pci_read_link(const struct pci_device *device, const char *name, char *buffer, size_t size);

/* The commands, for root's shell, that bind vfio-pci to the device instead of the driver it has. */
#define PCI_COMMANDS_MAX 320
char *pci_bind_commands(const struct pci_device *device, char buffer[PCI_COMMANDS_MAX]);

/* -ENODEV and a sentence if registers or memory are absent, or were given no address. */
int pci_check_bars(const struct pci_device *device, struct ivshmem_error *reterr);

/* From the register IVSHMEM_REG_IV_POSITION to an id. -ENODEV if that is not one. */
int pci_check_id(const struct pci_device *device, uint32_t position, uint16_t *ret_id,
	struct ivshmem_error *reterr);

/*
 * Look [start, start + size) up in the text of the kernel's list of memory types: the type of the
 * first entry that contains all of it, `otherwise` if there is none. The text is not trusted.
 */
enum ivshmem_mapping pci_parse_memtypes(
	const char *list, uint64_t start, uint64_t size, enum ivshmem_mapping otherwise);

/* What a mapping made without any attribute of caching comes out as. */
#if defined(__x86_64__) || defined(__i386__)
#define PCI_MAPPING_PLAIN IVSHMEM_MAPPING_UNCACHED_MINUS
#else
#define PCI_MAPPING_PLAIN IVSHMEM_MAPPING_UNCACHED
#endif

/* What ivshmem_doorbell() says: of the register, and of the words. */
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

/* Any value rings. */
static inline void
pci_word_write(volatile uint32_t *words, const struct words *layout, uint16_t peer, unsigned vector)
{
	uint64_t offset = ivshmem_doorbell_offset(peer, (uint16_t)vector, layout->shift);

	words[offset / sizeof(*words)] = htole32(1);
}

#endif
