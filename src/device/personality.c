/* SPDX-License-Identifier: BSD-2-Clause */

/* The two revisions, side by side. */

#include <device/personality.h>

#include <base/error.h>

#include <errno.h>
#include <inttypes.h>

static const struct identity identity = {
	.vendor = IVSHMEM_PCI_VENDOR,
	.device = IVSHMEM_PCI_DEVICE,
	.subsystem_vendor = IVSHMEM_PCI_VENDOR,
	.subsystem = 0x1100,
	.class_code = {0x00, 0x00, 0x05}, /* memory controller, RAM */
};

static int
master_has_id_0(const struct ivshmem_device_config *config, struct ivshmem_error *reterr)
{
	if (config->id != 0)
		return error_set(reterr, -EINVAL,
			"master must connect before any peer: the id is %" PRId32
			" instead of 0; start this one first, or use master=auto",
			config->id);
	return 0;
}

static const struct personality personalities[] = {
	{
		/* the 2010 device */
		.number = 0,
		.identity = &identity,
		.pci_revision = 0,
		.capabilities = {&msix_capability},
		.bars =
			{
				[IVSHMEM_BAR_REGISTERS] = &registers_bar_2010,
				[IVSHMEM_BAR_MSIX] = &msix_bar,
				[IVSHMEM_BAR_MEMORY] = &memory_bar_32,
			},
		.doorbells = {&doorbell_register},
		.pin = &registers_pin,
		.check_memory = memory_at_least,
		.max_memory = IVSHMEM_DEVICE_MAX_MEMORY_0,
		.check_master = NULL,
		.dialect = &dialect_2010,
		.formats =
			{
				[IVSHMEM_DEVICE_FORMAT_NATIVE] = &format_native,
				[IVSHMEM_DEVICE_FORMAT_2010] = &format_2010,
			},
		.default_memory = UINT64_C(4) << 20,
		.default_id = IVSHMEM_DEVICE_NO_ID,
		.default_master = IVSHMEM_DEVICE_MASTER_ON,
		.default_ioeventfd = false,
	},
	{
		/* QEMU's ivshmem-plain and ivshmem-doorbell */
		.number = 1,
		.identity = &identity,
		.pci_revision = 1,
		.capabilities = {&msix_capability, &words_capability},
		.bars =
			{
				[IVSHMEM_BAR_REGISTERS] = &registers_bar,
				[IVSHMEM_BAR_MSIX] = &msix_bar,
				[IVSHMEM_BAR_MEMORY] = &memory_bar_64,
				[IVSHMEM_BAR_DOORBELL] = &words_bar,
			},
		/* A guest that knows the words uses nothing else. */
		.doorbells = {&doorbell_words, &doorbell_register},
		.pin = NULL,
		.check_memory = memory_exactly,
		.max_memory = IVSHMEM_DEVICE_MAX_MEMORY,
		.check_master = master_has_id_0,
		.dialect = &dialect_today,
		.formats = {[IVSHMEM_DEVICE_FORMAT_NATIVE] = &format_native},
		.default_memory = 0,
		.default_id = 0,
		.default_master = IVSHMEM_DEVICE_MASTER_OFF,
		.default_ioeventfd = true,
	},
};

const struct personality *
personality_find(unsigned revision)
{
	for (size_t i = 0; i < sizeof(personalities) / sizeof(personalities[0]); i++)
		if (personalities[i].number == revision)
			return &personalities[i];
	return NULL;
}

int
personality_check_interrupts(const struct personality *personality,
	const struct ivshmem_device_config *config, struct ivshmem_error *reterr)
{
	if (!config->msi && !personality->pin)
		return error_set(reterr, -EINVAL,
			"revision %u has no INTx, so msi cannot be off; use revision 0",
			personality->number);
	if (config->ioeventfd && !config->msi)
		return error_set(reterr, -EINVAL,
			"ioeventfd/irqfd needs MSI: switch ioeventfd off or msi on");
	return 0;
}
