/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Any text as properties. What configures must make a device; the first byte chooses the revision
 * for lines that name none.
 */

#include <fuzz.h>

#include <ivshmem/device.h>

#include <errno.h>
#include <string.h>

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ivshmem_device_properties properties = {.struct_size = sizeof(properties)};
	struct ivshmem_device_config config = {.struct_size = sizeof(config)};
	struct ivshmem_error error = {0};
	struct ivshmem_device *device;
	const char *warning = "?";
	unsigned revision;
	char *text;
	int r;

	if (size < 1)
		return 0;
	revision = data[0] & 1;
	text = malloc(size);
	DEMAND(text);
	memcpy(text, data + 1, size - 1);
	text[size - 1] = '\0';
	r = ivshmem_device_properties_parse(text, &revision, &properties, &error);
	if (r == 0) {
		DEMAND(revision <= 1);
		r = ivshmem_device_configure(&properties, revision, &config, &warning, &error);
	}
	if (r < 0) {
		DEMAND(r == -EINVAL || r == -ERANGE);
		DEMAND(error.code == r && error.message[0] != '\0');
	} else {
		DEMAND(!warning || warning[0] == 'b');
		/* revision 1 takes the size of the memory, which comes later */
		if (config.memory_size == 0)
			config.memory_size = 4096;
		DEMAND(ivshmem_device_new(&device, &config, &error) == 0);
		ivshmem_device_free(device);
	}
	free(text);
	return 0;
}
