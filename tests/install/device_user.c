/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * What a user of the installed device library writes; compiled as C and as C++ by check.py. Whether
 * there is KVM does not matter here.
 */
#include <ivshmem/kvm.h>

#include <stdio.h>
#include <string.h>

int
main(int argc, char **argv)
{
	struct ivshmem_device_config device;
	struct ivshmem_kvm_config config;
	struct ivshmem_kvm *kvm = NULL;
	struct ivshmem_device *model = NULL;
	struct ivshmem_error error;
	char *end;

	ivshmem_device_config_init(&device, sizeof(device), 1);
	device.memory_size = 4096;
	if (ivshmem_device_new(&model, &device, &error) < 0) {
		fprintf(stderr, "%s\n", error.message);
		return 1;
	}
	model = ivshmem_device_free(model);

	ivshmem_kvm_config_init(&config, sizeof(config));
	config.server = argc > 1 ? argv[1] : NULL;
	config.device = &device;
	if (ivshmem_kvm_new(&kvm, &config, &error) == 0)
		return 1;
	end = strchr(error.message, ';');
	if (end)
		*end = '\0';
	puts(error.message);
	return ivshmem_kvm_free(kvm) != NULL || model != NULL;
}
