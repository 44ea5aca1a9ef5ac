/* SPDX-License-Identifier: BSD-2-Clause */

/* What a user of the installed library writes; compiled as C and as C++ by check.py. */
#include <ivshmem/abi.h>
#include <ivshmem/client.h>

#include <stdio.h>
#include <string.h>

int
main(int argc, char **argv)
{
	struct ivshmem_client *client = NULL;
	struct ivshmem_options options;
	struct ivshmem_error error;
	char text[6] = "";

	memset(&options, 0, sizeof(options));
	options.struct_size = sizeof(options);
	if (ivshmem_attach(&client, argc > 1 ? argv[1] : "unix:", &options, &error) < 0) {
		fprintf(stderr, "%s\n", error.message);
		return 1;
	}
	if (ivshmem_write(client, 64, "hello", 6) < 0 || ivshmem_read(client, 64, text, 6) < 0)
		return 1;
	if (ivshmem_ring(client, ivshmem_id(client), 1) < 0 || ivshmem_wait(client, 1, 10000) < 0)
		return 1;
	printf("%s %u %llu\n", text, ivshmem_vectors(client),
		(unsigned long long)ivshmem_take(client, 1));
	client = ivshmem_detach(client);
	return client != NULL;
}
