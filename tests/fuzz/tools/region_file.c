/* SPDX-License-Identifier: BSD-2-Clause */

/* Any bytes as the file of a region. What is accepted is a command line that means the same again. */

#include <fuzz.h>

#include <region_file.h>

#include <ivshmem/common.h>

#include <errno.h>
#include <stdbool.h>
#include <string.h>

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = fuzz_text(data, size);
	struct region_file file = {0};
	struct options options;
	struct ivshmem_error error = {0};
	bool usage = false;
	int r = region_file_parse(text, size, "/f.ini", "name", "/run/x", &file, &error);

	if (r < 0) {
		DEMAND(r == error.code && strncmp(error.message, "/f.ini:", 7) == 0);
		DEMAND(!file.argv);
	} else {
		DEMAND(region_file_is(&file, file.argv));
		DEMAND(options_parse((int)file.argc, file.argv, &options, &usage, &error) == 0);
		DEMAND(options.action == ACTION_SERVE && options.foreground &&
			options.keep_clients);
		DEMAND(!options.supervise && !options.regions && !options.check);
		DEMAND(options.name && strcmp(options.name, "name") == 0);
		DEMAND(options.socket && !options.ignored);
		DEMAND(region_file_follows(&file, file.argv, "/f.ini", &error) == 0);
		region_file_done(&file);
	}
	free(text);
	return 0;
}
