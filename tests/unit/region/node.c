/* SPDX-License-Identifier: BSD-2-Clause */

/* The NUMA node that shared memory comes from. */

#include <region/node.h>
#include <region/region.h>

#include <ivshmem/common.h>

#include <test.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SIZE  (UINT64_C(1) << 20)
#define WORDS ((NODE_MAX + 1) / (8 * sizeof(unsigned long)))

static const struct region_config on_node_0 = {.kind = REGION_MEMFD, .size = SIZE, .on_node = true};

static void
need_nodes(void)
{
	if (access("/sys/devices/system/node/node0", F_OK) < 0)
		SKIP("this kernel knows no nodes");
}

/* What the kernel says of a page of it to anybody who maps it. */
static int
policy_of(int fd, unsigned long *ret_nodes)
{
	void *memory = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, fd, 0);
	int mode = -1;

	CHECK(memory != MAP_FAILED);
	CHECK_SYS(syscall(SYS_get_mempolicy, &mode, ret_nodes, WORDS * 8 * sizeof(unsigned long),
		memory, MPOL_F_ADDR));
	CHECK_SYS(munmap(memory, SIZE));
	return mode;
}

TEST(the_object_has_the_node)
{
	unsigned long nodes[WORDS] = {0};
	struct region_config anywhere = on_node_0;
	struct region region;
	struct ivshmem_error error = {0};

	need_nodes();
	if (region_open(&region, &on_node_0, &error) < 0)
		FAIL("%s", error.message);
	CHECK_EQ(policy_of(region.fd, nodes), MPOL_BIND);
	CHECK_EQ(nodes[0], 1);
	region_close(&region);

	anywhere.on_node = false;
	CHECK_EQ(region_open(&region, &anywhere, &error), 0);
	CHECK_EQ(policy_of(region.fd, nodes), MPOL_DEFAULT);
	region_close(&region);
}

TEST(a_named_object_has_it_too)
{
	struct region_config config = on_node_0;
	unsigned long nodes[WORDS] = {0};
	struct region region;
	struct ivshmem_error error = {0};

	need_nodes();
	config.kind = REGION_SHM;
	config.name = test_object();
	config.mode = 0600;
	config.preallocate = true;
	if (region_open(&region, &config, &error) < 0)
		FAIL("%s", error.message);
	CHECK_EQ(policy_of(region.fd, nodes), MPOL_BIND);
	CHECK_EQ(nodes[0], 1);
	region_close(&region);
}

TEST(no_such_node)
{
	struct region_config config = on_node_0;
	struct region region;
	struct ivshmem_error error = {0};

	need_nodes();
	config.numa_node = NODE_MAX;
	CHECK_EQ(region_open(&region, &config, &error), -EINVAL);
	CHECK_HAS(error.message, "cannot use NUMA node 1023: there is no such node with memory");
	CHECK_HAS(error.message, "nodes with memory: 0");
}

TEST(a_file_system_that_keeps_none)
{
	struct ivshmem_error error = {0};
	_test_close_pair_ int ends[2];

	CHECK_SYS(pipe2(ends, O_CLOEXEC));
	CHECK_EQ(node_bind(ends[0], SIZE, 0, "the pipe", &error), -EOPNOTSUPP);
	CHECK_HAS(error.message, "cannot take the pipe from NUMA node 0: its file system");
}
