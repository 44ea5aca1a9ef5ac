/* SPDX-License-Identifier: BSD-2-Clause */

/* Cloud Hypervisor's command line, as its source has it: it was not run (docs/vmms.md). */

#include "vmm.h"

#include <base/parse.h>

bool
cloud_hypervisor_concerns_us(const struct vmm *vmm)
{
	return vmm_options_have(&vmm->options, "user-device") ||
	       vmm_options_have(&vmm->options, "ivshmem");
}

void
cloud_hypervisor_targets(const struct vmm *vmm,
	void (*fn)(void *data, const char *scheme, const char *path), void *data)
{
	const struct vmm_option *option = NULL;
	char path[PATH_MAX];

	while ((option = vmm_options_next(&vmm->options, "user-device", option)))
		if (vmm_option_get(option, "socket"))
			fn(data, "device", vmm_path(vmm, vmm_option_get(option, "socket"), path));
	while ((option = vmm_options_next(&vmm->options, "ivshmem", option)))
		if (vmm_option_get(option, "path"))
			fn(data, "file", vmm_path(vmm, vmm_option_get(option, "path"), path));
}

static bool
is_shared(const struct vmm_option *memory)
{
	return vmm_option_is_on(memory, "shared", false) ||
	       vmm_option_is_on(memory, "hugepages", false);
}

/* Either all memory, or each of the zones that it consists of. */
static bool
memory_is_shared(const struct vmm *vmm)
{
	const struct vmm_option *memory = vmm_options_next(&vmm->options, "memory", NULL);
	const struct vmm_option *zone = vmm_options_next(&vmm->options, "memory-zone", NULL);

	if (memory && is_shared(memory))
		return true;
	if (!zone)
		return false;
	while (zone && is_shared(zone))
		zone = vmm_options_next(&vmm->options, "memory-zone", zone);
	return !zone;
}

static void
check_user_devices(struct doctor *doctor, const struct vmm *vmm)
{
	const struct vmm_option *device = NULL;

	while ((device = vmm_options_next(&vmm->options, "user-device", device))) {
		const char *socket = vmm_option_get(device, "socket");

		found(doctor, "cloud-hypervisor.looked-at", "a user device on %s",
			socket ? socket : "no socket");
		if (!memory_is_shared(vmm)) {
			mend(doctor, "--memory size=SIZE,shared=on");
			found(doctor, "cloud-hypervisor.not-shared",
				"it has a --user-device, and the guest's memory is without shared=on");
		}
		if (vmm_option_is_on(device, "iommu", false)) {
			mend(doctor, "leave out iommu=on");
			found(doctor, "cloud-hypervisor.iommu", "the --user-device has iommu=on");
		}
	}
}

static void
check_own_devices(struct doctor *doctor, const struct vmm *vmm)
{
	const struct vmm_option *device = NULL;
	char text[SIZE_TEXT_MAX];

	while ((device = vmm_options_next(&vmm->options, "ivshmem", device))) {
		uint64_t size = vmm_option_size(device, "size", 1);

		mend(doctor,
			"for interrupts: ivshmem-device --socket PATH --server SOCKET, and --user-device socket=PATH");
		found(doctor, "cloud-hypervisor.plain", "--ivshmem is a device without interrupts");
		if ((size & (size - 1)) != 0) {
			mend(doctor, "choose a power of two, such as size=64M");
			found(doctor, "cloud-hypervisor.size",
				"--ivshmem has %s, which is no power of two",
				format_size(size, text));
		}
	}
}

void
cloud_hypervisor_check(struct doctor *doctor, const struct vmm *vmm)
{
	check_user_devices(doctor, vmm);
	check_own_devices(doctor, vmm);
}
