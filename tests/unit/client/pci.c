/* SPDX-License-Identifier: BSD-2-Clause */

/* The targets pci:..., against folders that look like sysfs. */

#include "sysfs_tree.h"

#include <guest/pci.h>

#include <ivshmem/client.h>

#include <test.h>

#include <errno.h>

static int
attach(struct ivshmem_client **ret_client, const char *target, const char *backend,
	struct ivshmem_error *reterr)
{
	const struct ivshmem_options options = {.struct_size = sizeof(options), .backend = backend};

	return ivshmem_attach(ret_client, target, &options, reterr);
}

TEST(pci_targets_are_the_device)
{
	static const char *const names[] = {NULL, "sysfs"};
	char bytes[5] = "";

	make_tree();
	make_resources("0000:00:05.0", 7, false);
	pci_memtype_list = "/nonexistent";
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		unsigned fds = test_open_fds();
		struct ivshmem_client *client;

		CHECK_EQ(attach(&client, i ? "pci:00:05.0" : "pci:auto", names[i], NULL), 0);
		CHECK_STR(ivshmem_backend(client), "sysfs");
		CHECK_STR(ivshmem_doorbell(client), "register");
		CHECK(ivshmem_has_id(client));
		CHECK_EQ(ivshmem_id(client), 7);
		CHECK_EQ(ivshmem_size(client), 1 << 20);
		CHECK_EQ(ivshmem_memory_mapping(client), PCI_MAPPING_PLAIN);
		CHECK(!ivshmem_read_only(client));
		CHECK_EQ(ivshmem_write(client, 100, "word", 4), 0);
		CHECK_EQ(ivshmem_read(client, 100, bytes, 4), 0);
		CHECK_STR(bytes, "word");
		CHECK_EQ(ivshmem_ring(client, 3, 1), 0);
		CHECK_EQ(ivshmem_vectors(client), 0);
		CHECK_EQ(ivshmem_wait(client, IVSHMEM_ANY_VECTOR, 0), -EOPNOTSUPP);
		CHECK_EQ(ivshmem_peers(client, NULL, 0), -EOPNOTSUPP);
		CHECK_EQ(ivshmem_memory_fd(client), -EOPNOTSUPP);
		ivshmem_detach(client);
		CHECK_EQ(test_open_fds(), fds);
	}
}

TEST(pci_targets_that_fail)
{
	struct ivshmem_error error = {0};
	struct ivshmem_client *client = NULL;
	unsigned fds = test_open_fds();

	make_tree();
	CHECK_EQ(attach(&client, "pci:auto", NULL, &error), -ENOENT);
	CHECK_HAS(error.message, "no ivshmem PCI device");
	make_resources("0000:00:05.0", 7, false);
	CHECK_EQ(attach(&client, "pci:00:06.0", NULL, &error), -ENOENT);
	CHECK_HAS(error.message, "there is no PCI device 0000:00:06.0");
	CHECK_EQ(attach(&client, "pci:auto", "unix", &error), -EINVAL);
	CHECK_HAS(error.message, "it is kernel, vfio or sysfs");
	CHECK_EQ(attach(&client, "pci:auto", "vfio", &error), -ENODEV);
	CHECK_EQ(attach(&client, "pci:auto", "kernel", &error), -ENODEV);
	CHECK_HAS(error.message, "not bound to the driver ivshmem; as root: modprobe ivshmem");
	CHECK_EQ(attach(&client, "dev:ivshmem0", NULL, &error), -EINVAL);
	CHECK_HAS(error.message, "write dev:/dev/ivshmem0");
	CHECK_EQ(attach(&client, "dev:/nowhere", NULL, &error), -ENOENT);
	CHECK_HAS(error.message, "cannot look at /nowhere");
	CHECK_EQ(attach(&client, "dev:/dev/null", NULL, &error), -ENODEV);
	CHECK_HAS(error.message, "/dev/null is not a node of the driver ivshmem");
	CHECK_EQ(attach(&client, "dev:/", NULL, &error), -ENODEV);
	CHECK_EQ(attach(&client, "pci", NULL, &error), -EINVAL);
	CHECK_HAS(error.message, "'pci' is no target");
	CHECK(!client);
	CHECK_EQ(test_open_fds(), fds);
}
