/* SPDX-License-Identifier: BSD-2-Clause */

/* The server's command line: one argument per line. */

#include <fuzz.h>

#include <options.h>

#include <ivshmem/abi.h>
#include <ivshmem/common.h>

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#define ARGS_MAX 64

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text, *argv[ARGS_MAX + 2];
	static char name[] = "ivshmem-server";
	struct options options, untouched;
	struct ivshmem_error error = {0};
	bool usage = false;
	int argc, r;

	memset(&untouched, 0x5a, sizeof(untouched));
	options = untouched;
	text = fuzz_arguments(data, size, name, ARGS_MAX, &argc, argv);
	r = options_parse(argc, argv, &options, &usage, &error);
	if (r < 0) {
		DEMAND(r == -EINVAL && error.code == r && error.message[0] != '\0');
		DEMAND(memcmp(&options, &untouched, sizeof(options)) == 0);
	} else {
		DEMAND(r == 0 && !usage);
		DEMAND(options.n_vectors <= IVSHMEM_MAX_VECTORS);
		DEMAND(options.max_peers <= IVSHMEM_MAX_ID + 1);
		DEMAND(options.memory.size > 0 && options.memory.size <= REGION_MAX_SIZE);
		DEMAND(options.socket && options.pid_file);
		DEMAND(options.socket_mode <= 0777 && options.memory.mode <= 0777);
		DEMAND(options.memory.kind == REGION_MEMFD || options.memory.name);
		DEMAND(options.action != ACTION_SERVE || !options.verbose || options.foreground);
	}
	free(text);
	return 0;
}
