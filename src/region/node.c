/* SPDX-License-Identifier: BSD-2-Clause */
#include <region/node.h>

#include <base/error.h>

#include <errno.h>
#include <linux/magic.h>
#include <linux/mempolicy.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#define WORD_BITS (8 * sizeof(unsigned long))

/* The nodes that have memory, such as "0-1". */
static void
read_nodes(char *ret_text, size_t size)
{
	FILE *file = fopen("/sys/devices/system/node/has_memory", "re");

	if (!file || !fgets(ret_text, (int)size, file))
		snprintf(ret_text, size, "unknown");
	ret_text[strcspn(ret_text, "\n")] = '\0';
	if (file)
		fclose(file);
}

static int
refuse(int code, unsigned node, struct ivshmem_error *reterr)
{
	char nodes[64];

	if (code == -ENOSYS)
		return error_set(reterr, code,
			"cannot use NUMA node %u: this kernel knows no nodes; do without --numa-node",
			node);
	read_nodes(nodes, sizeof(nodes));
	if (code == -EINVAL)
		return error_set(reterr, code,
			"cannot use NUMA node %u: there is no such node with memory that we may use; nodes "
			"with memory: %s",
			node, nodes);
	return error_set(reterr, code, "cannot use NUMA node %u: %s", node, strerror(-code));
}

/* Other file systems keep no such wish, and do not say so. */
static bool
keeps_node(int fd)
{
	struct statfs fs;

	return fstatfs(fd, &fs) == 0 && ((unsigned long)fs.f_type == TMPFS_MAGIC ||
						(unsigned long)fs.f_type == HUGETLBFS_MAGIC);
}

int
node_bind(int fd, uint64_t size, unsigned node, const char *what, struct ivshmem_error *reterr)
{
	unsigned long nodes[(NODE_MAX + 1) / WORD_BITS] = {0};
	void *memory;
	int r = 0;

	if (!keeps_node(fd))
		return error_set(reterr, -EOPNOTSUPP,
			"cannot take %s from NUMA node %u: its file system does not keep the node; use a "
			"tmpfs or huge pages, or do without --numa-node",
			what, node);
	if (node > NODE_MAX)
		return refuse(-EINVAL, node, reterr);
	/* The kernel notes it for the object, not for the mapping. */
	memory = mmap(NULL, (size_t)size, PROT_NONE, MAP_SHARED | MAP_NORESERVE, fd, 0);
	if (memory == MAP_FAILED)
		return error_set(reterr, -errno, "cannot map %s: %s", what, strerror(errno));
	nodes[node / WORD_BITS] |= 1UL << node % WORD_BITS;
	if (syscall(SYS_mbind, memory, size, MPOL_BIND, nodes, (unsigned long)NODE_MAX + 2, 0) < 0)
		r = -errno;
	munmap(memory, (size_t)size);
	return r < 0 ? refuse(r, node, reterr) : 0;
}
