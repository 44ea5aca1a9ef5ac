/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Any bytes as a saved state. What is refused changes nothing and says why; what is accepted comes
 * out of the device again as it went in, but for the bits that nobody can write.
 *
 * The first byte is the shape of the device and the format.
 */

#include <fuzz.h>

#include <ivshmem/device.h>

#include <errno.h>
#include <string.h>

#define STATE_SIZE 8192

static struct ivshmem_device *
make(unsigned shape)
{
	static const unsigned vectors[] = {1, 3, 9, 130};
	struct ivshmem_device_config config;
	struct ivshmem_device *device;

	ivshmem_device_config_init(&config, sizeof(config), shape & 1);
	config.server = !(shape & 2);
	config.msi = (shape & 1) || !(shape & 4);
	config.ioeventfd = false;
	config.doorbell_bar = (shape & 1) && (shape & 64);
	config.vectors = vectors[shape >> 4 & 3];
	config.memory_size = 4096;
	config.id = 0;
	config.master = IVSHMEM_DEVICE_MASTER_ON;
	DEMAND(ivshmem_device_new(&device, &config, NULL) == 0);
	return device;
}

static size_t
save(struct ivshmem_device *device, enum ivshmem_device_format format, uint8_t *buffer)
{
	size_t size = ivshmem_device_state_size(device, format);

	DEMAND(size <= STATE_SIZE);
	DEMAND(ivshmem_device_save(device, format, buffer, size, NULL) == 0);
	return size;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t before[STATE_SIZE], after[STATE_SIZE], again[STATE_SIZE];
	enum ivshmem_device_format format;
	struct ivshmem_error error = {0};
	struct ivshmem_device *device;
	size_t state_size, rest;
	int r;

	if (size < 1)
		return 0;
	device = make(data[0]);
	format = data[0] & 8 ? IVSHMEM_DEVICE_FORMAT_2010 : IVSHMEM_DEVICE_FORMAT_NATIVE;
	rest = format == IVSHMEM_DEVICE_FORMAT_2010 ? 276 : 296;
	if (ivshmem_device_state_size(device, format) == 0) {
		DEMAND(ivshmem_device_load(device, format, data + 1, size - 1, NULL) == -EINVAL);
		ivshmem_device_free(device);
		return 0;
	}
	state_size = save(device, format, before);
	r = ivshmem_device_load(device, format, data + 1, size - 1, &error);
	save(device, format, after);
	if (r < 0) {
		DEMAND(r == -EINVAL || r == -EPROTONOSUPPORT);
		DEMAND(error.code == r && error.message[0] != '\0');
		DEMAND(memcmp(before, after, state_size) == 0);
	} else {
		DEMAND(size - 1 == state_size);
		DEMAND(ivshmem_device_load(device, format, after, state_size, NULL) == 0);
		save(device, format, again);
		DEMAND(memcmp(after, again, state_size) == 0);
		/* What is behind config space, and the levels of the pins, comes back bit for bit. */
		DEMAND(memcmp(data + 1 + rest, after + rest, state_size - rest) == 0);
	}
	ivshmem_device_free(device);
	return 0;
}
