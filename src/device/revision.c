/* SPDX-License-Identifier: BSD-2-Clause */

/* The two revisions, side by side. */

#include <device/model.h>

#include <errno.h>

static const struct revision revisions[] = {
	{
		/* the 2010 device */
		.number = 0,
		.interrupt_pin = 1,
		.memory_bar_type = 0,
		.allows_intx = true,
		.allows_late = true,
		.allows_larger = true,
		.master_is_id_0 = false,
		.allows_2010_format = true,
		.has_role = true,
		.allows_words = false,
		.max_memory = IVSHMEM_DEVICE_MAX_MEMORY_0,
		.default_memory = UINT64_C(4) << 20,
		.default_id = IVSHMEM_DEVICE_NO_ID,
		.default_master = IVSHMEM_DEVICE_MASTER_ON,
		.default_ioeventfd = false,
	},
	{
		/* QEMU's ivshmem-plain and ivshmem-doorbell */
		.number = 1,
		.interrupt_pin = 0,
		.memory_bar_type = BAR_TYPE_64 | BAR_PREFETCHABLE,
		.allows_intx = false,
		.allows_late = false,
		.allows_larger = false,
		.master_is_id_0 = true,
		.allows_2010_format = false,
		.has_role = false,
		.allows_words = true,
		.max_memory = IVSHMEM_DEVICE_MAX_MEMORY,
		.default_memory = 0,
		.default_id = 0,
		.default_master = IVSHMEM_DEVICE_MASTER_OFF,
		.default_ioeventfd = true,
	},
};

const struct revision *
revision_find(unsigned number)
{
	for (size_t i = 0; i < sizeof(revisions) / sizeof(revisions[0]); i++)
		if (revisions[i].number == number)
			return &revisions[i];
	return NULL;
}

int
revision_check_interrupts(const struct revision *revision,
	const struct ivshmem_device_config *config, struct ivshmem_error *reterr)
{
	if (!config->msi && !revision->allows_intx)
		return report_error(reterr, -EINVAL,
			"revision %u has no INTx, so msi cannot be off; use revision 0",
			revision->number);
	if (config->ioeventfd && !config->msi)
		return report_error(reterr, -EINVAL,
			"ioeventfd/irqfd needs MSI: switch ioeventfd off or msi on");
	return 0;
}
