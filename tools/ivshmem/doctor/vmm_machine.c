/* SPDX-License-Identifier: BSD-2-Clause */

/* The machine of a QEMU, as far as it matters for our devices: its virtual IOMMU, and its addresses. */

#include "look.h"
#include "vmm.h"

#include <base/parse.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What QEMU gives a processor of 64 bits if nobody says otherwise, and one of 32 bits. */
#define BITS_DEFAULT 40
#define BITS_NARROW  36

/* Linux maps all physical memory below this (x86-64 with four levels of page tables). */
#define BITS_DIRECT_MAP 46

static const char *
machine_get(const struct vmm *vmm, const char *key, const char *other_key)
{
	const struct vmm_option *option = NULL;
	const char *value = NULL;

	/* The last one counts, and there may be more than one -machine. */
	while ((option = vmm_options_next(&vmm->options, "machine", option))) {
		const char *here = vmm_option_get(option, key);

		if (!here)
			here = vmm_option_get(option, other_key);
		value = here ? here : value;
	}
	return value;
}

bool
qemu_uses_kvm(const struct vmm *vmm)
{
	const struct vmm_option *accel = vmm_options_next(&vmm->options, "accel", NULL);
	const char *by_machine = machine_get(vmm, "accel", "accel");

	if (vmm_options_have(&vmm->options, "enable-kvm"))
		return true;
	if (accel && strcmp(vmm_option_type(accel, "accel"), "kvm") == 0)
		return true;
	return by_machine && strncmp(by_machine, "kvm", 3) == 0;
}

/* ---- the virtual IOMMU ----------------------------------------------------------------------- */

static const struct vmm_option *
find_iommu(const struct vmm *vmm)
{
	const struct vmm_option *device = NULL;

	while ((device = vmm_options_next(&vmm->options, "device", device)))
		if (strcmp(qemu_driver(device), "intel-iommu") == 0)
			break;
	return device;
}

/* Under KVM, only QEMU can remap interrupts, and not KVM itself. */
static bool
irqchip_in_kernel(const struct vmm *vmm)
{
	const char *irqchip = machine_get(vmm, "kernel-irqchip", "kernel_irqchip");

	return qemu_uses_kvm(vmm) &&
	       (!irqchip || (strcmp(irqchip, "split") != 0 && strcmp(irqchip, "off") != 0));
}

static bool
has_driver(const struct vmm *vmm, const char *driver)
{
	const struct vmm_option *device = NULL;

	while ((device = qemu_next_device(vmm, device)))
		if (strcmp(qemu_driver(device), driver) == 0)
			return true;
	return false;
}

static void
check_iommu(struct doctor *doctor, const struct vmm *vmm)
{
	const struct vmm_option *iommu = find_iommu(vmm);
	bool in_kernel = irqchip_in_kernel(vmm);
	bool remaps;

	if (!iommu)
		return;
	remaps = vmm_option_is_on(iommu, "intremap", !in_kernel);
	if (remaps && in_kernel) {
		mend(doctor, "-machine q35,kernel-irqchip=split");
		found(doctor, "qemu.irqchip",
			"intel-iommu has intremap=on, and KVM's own interrupt controller is in use");
	} else if (!remaps) {
		mend(doctor, "-machine q35,kernel-irqchip=split -device intel-iommu,intremap=on");
		found(doctor, "qemu.no-remapping", "intel-iommu does not remap interrupts");
	}
	if (has_driver(vmm, "vfio-user-pci") && !vmm_option_is_on(iommu, "caching-mode", false)) {
		mend(doctor, "-device intel-iommu,intremap=on,caching-mode=on");
		found(doctor, "qemu.caching-mode",
			"vfio-user-pci is behind an intel-iommu without caching-mode=on");
	}
	if (remaps && qemu_uses_kvm(vmm) && has_driver(vmm, "ivshmem-doorbell")) {
		mend(doctor,
			"use ivshmem, libivshmem or our driver in the guest, or leave out intel-iommu, which our driver does not need");
		found(doctor, "qemu.iommu-silent",
			"ivshmem-doorbell is behind a virtual IOMMU that remaps interrupts, under KVM");
	}
}

/* ---- addresses ------------------------------------------------------------------------------- */

static unsigned
host_bits(const struct doctor *doctor)
{
	char text[4096];
	const char *line;

	look_text(doctor, "/proc/cpuinfo", text, sizeof(text));
	line = strstr(text, "address sizes");
	line = line ? strchr(line, ':') : NULL;
	return line ? (unsigned)strtoul(line + 1, NULL, 10) : 0;
}

static bool
is_narrow(const char *model)
{
	static const char *const models[] = {"486", "athlon", "coreduo", "kvm32", "n270", "pentium",
		"pentium2", "pentium3", "qemu32"};

	for (size_t i = 0; i < sizeof(models) / sizeof(models[0]); i++)
		if (strcmp(model, models[i]) == 0)
			return true;
	return false;
}

/* How many bits a physical address of the guest has; 0: unknown. */
static unsigned
guest_bits(const struct doctor *doctor, const struct vmm *vmm)
{
	static const struct vmm_option none;
	const struct vmm_option *cpu = vmm_options_next(&vmm->options, "cpu", NULL);
	const char *model, *bits, *limit;
	bool of_host;

	if (!cpu)
		cpu = &none;
	model = vmm_option_type(cpu, "type");
	bits = vmm_option_get(cpu, "phys-bits");
	if (bits && strtoul(bits, NULL, 0) > 0)
		return (unsigned)strtoul(bits, NULL, 0);
	of_host = qemu_uses_kvm(vmm) && (strcmp(model, "host") == 0 || strcmp(model, "max") == 0);
	if (vmm_option_is_on(cpu, "host-phys-bits", of_host)) {
		unsigned here = host_bits(doctor);
		unsigned most;

		limit = vmm_option_get(cpu, "host-phys-bits-limit");
		most = limit ? (unsigned)strtoul(limit, NULL, 0) : 0;
		return most > 0 && most < here ? most : here;
	}
	return is_narrow(model) ? BITS_NARROW : BITS_DEFAULT;
}

static uint64_t
guest_memory(const struct vmm *vmm)
{
	const struct vmm_option *m = vmm_options_next(&vmm->options, "m", NULL);
	uint64_t size;

	if (!m)
		return UINT64_C(128) << 20;
	size = vmm_option_size(m, "size", UINT64_C(1) << 20);
	return size ? size : vmm_option_size(m, "", UINT64_C(1) << 20);
}

/* A BAR lies at a multiple of its size, and above the guest's memory. */
static bool
fits(uint64_t size, uint64_t memory, unsigned bits)
{
	uint64_t top =
		memory > UINT64_C(2) << 30 ? memory + (UINT64_C(4) << 30) : UINT64_C(4) << 30;
	uint64_t start = (top + size - 1) / size * size;

	return bits >= 63 || start + size <= UINT64_C(1) << bits;
}

static void
check_addresses(struct doctor *doctor, const struct vmm *vmm)
{
	unsigned bits = guest_bits(doctor, vmm);
	const struct vmm_option *device = NULL;
	char text[SIZE_TEXT_MAX];

	while (bits > 0 && (device = qemu_next_device(vmm, device))) {
		uint64_t size = qemu_memory_size(doctor, vmm, device);

		/* What has less than 1 GiB also fits below the first 4. */
		if (size < UINT64_C(1) << 30 || size > UINT64_C(1) << 61 ||
			fits(size, guest_memory(vmm), bits))
			continue;
		mend(doctor, "-cpu ...,phys-bits=46, or under KVM -cpu host,host-phys-bits=on");
		found(doctor, "qemu.address-bits",
			"%s of shared memory have no place in a guest whose physical addresses have %u bits",
			format_size(size, text), bits);
	}
	if (bits > BITS_DIRECT_MAP) {
		mend(doctor, "-cpu ...,host-phys-bits=on,host-phys-bits-limit=%d", BITS_DIRECT_MAP);
		found(doctor, "qemu.wide-addresses", "physical addresses of the guest have %u bits",
			bits);
	}
}

void
qemu_check_machine(struct doctor *doctor, const struct vmm *vmm)
{
	check_iommu(doctor, vmm);
	check_addresses(doctor, vmm);
}
