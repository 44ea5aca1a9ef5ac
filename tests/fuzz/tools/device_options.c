/* SPDX-License-Identifier: BSD-2-Clause */

/* The device's command line: one argument per line. What is accepted must make a device. */

#include <fuzz.h>

#include <options.h>

#include <ivshmem/abi.h>

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#define ARGS_MAX 64

/* As the program does once it knows the memory and the id. */
static void
make_device(const struct device_options *options)
{
	struct ivshmem_device_config config = options->config;
	struct ivshmem_device *device;
	struct ivshmem_error error;

	/* An id that every master may have. */
	DEMAND(config.id <= 0);
	if (config.memory_size == 0)
		config.memory_size = IVSHMEM_DEVICE_MIN_MEMORY;
	DEMAND(ivshmem_device_new(&device, &config, &error) == 0);
	ivshmem_device_free(device);
}

static void
check(const struct device_options *options)
{
	unsigned sources =
		(options->server ? 1u : 0u) + (options->shm ? 1u : 0u) + (options->file ? 1u : 0u);

	DEMAND(sources == 1);
	DEMAND(!options->socket || (options->socket[0] != '\0' && options->fd == -1));
	DEMAND(options->fd == -1 || options->fd > 2);
	DEMAND(!options->server || options->server[0] != '\0');
	DEMAND(options->config.server == (options->server != NULL));
	DEMAND(options->config.vectors >= 1 && options->config.vectors <= IVSHMEM_MAX_VECTORS);
	DEMAND(options->socket_mode <= 0777);
	DEMAND(options->spin_us <= 1000000);
	DEMAND(options->timeout_ms >= 1 && options->timeout_ms <= 3600000);
	DEMAND(options->config.revision == 0 || !options->server ||
		options->config.memory_size == 0);
	make_device(options);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text, *argv[ARGS_MAX + 2];
	static char name[] = "ivshmem-device";
	struct device_options options, untouched;
	struct ivshmem_error error = {0};
	bool usage = false;
	int argc, r;

	memset(&untouched, 0x5a, sizeof(untouched));
	options = untouched;
	text = fuzz_arguments(data, size, name, ARGS_MAX, &argc, argv);
	r = device_options_parse(argc, argv, &options, &usage, &error);
	if (r < 0) {
		DEMAND(r == -EINVAL && error.code == r && error.message[0] != '\0');
		DEMAND(memcmp(&options, &untouched, sizeof(options)) == 0);
	} else {
		DEMAND(r == 0 && !usage);
		if (options.action == DEVICE_ACTION_SERVE)
			check(&options);
	}
	free(text);
	return 0;
}
