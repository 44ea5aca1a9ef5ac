/* SPDX-License-Identifier: BSD-2-Clause */

/* The two revisions, side by side. */

#include <device/personality.h>

#include <base/error.h>

#include <errno.h>

static const struct personality personalities[] = {
	{
		/* the 2010 device */
		.number = 0,
		.bars =
			{
				[IVSHMEM_BAR_REGISTERS] = &registers_bar_2010,
				[IVSHMEM_BAR_MSIX] = &msix_bar,
				[IVSHMEM_BAR_MEMORY] = &memory_bar_32,
			},
		.doorbells = {&doorbell_register},
		.pin = &registers_pin,
		.allows_late = true,
		.allows_larger = true,
		.master_is_id_0 = false,
		.allows_2010_format = true,
		.has_role = true,
		.max_memory = IVSHMEM_DEVICE_MAX_MEMORY_0,
		.default_memory = UINT64_C(4) << 20,
		.default_id = IVSHMEM_DEVICE_NO_ID,
		.default_master = IVSHMEM_DEVICE_MASTER_ON,
		.default_ioeventfd = false,
	},
	{
		/* QEMU's ivshmem-plain and ivshmem-doorbell */
		.number = 1,
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
		.allows_late = false,
		.allows_larger = false,
		.master_is_id_0 = true,
		.allows_2010_format = false,
		.has_role = false,
		.max_memory = IVSHMEM_DEVICE_MAX_MEMORY,
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
