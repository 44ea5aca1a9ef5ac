/* SPDX-License-Identifier: BSD-2-Clause */

/* What the driver says of the device: by its node, and in sysfs. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <linux/ivshmem.h>

#include <test.h>

#include "node.h"

TEST(info_of_the_device)
{
	int fd = open_node(O_RDWR);
	struct ivshmem_dev_info info = info_of(fd);

	CHECK_EQ(info.size, sizeof(info));
	CHECK(info.memory_size >= PAGE && (info.memory_size & (info.memory_size - 1)) == 0);
	if (info.vectors != 0)
		CHECK(info.peer >= 0 && info.peer <= 65535);
	CHECK((info.features & IVSHMEM_DEV_FEATURE_WORDS) != 0 || info.doorbell_size == 0);
	if (info.doorbell_size != 0)
		CHECK_EQ(info.doorbell_size,
			(uint64_t)info.doorbell_peers << info.doorbell_shift << 2);
	CHECK_SYS(close(fd));
}

/* A shorter struct gets what fits; a longer one is cleared beyond what the kernel knows. */
TEST(info_of_another_size)
{
	int fd = open_node(O_RDONLY);
	struct ivshmem_dev_info info = info_of(fd);
	struct {
		struct ivshmem_dev_info info;
		uint8_t more[64];
	} longer = {.info.size = sizeof(longer)};
	struct ivshmem_dev_info shorter = {.size = 16, .doorbell_offset = 77, .generation = 88};

	memset(longer.more, 0xee, sizeof(longer.more));
	CHECK_SYS(ioctl(fd, IVSHMEM_DEV_INFO, &longer));
	CHECK_EQ(longer.info.memory_size, info.memory_size);
	for (size_t i = 0; i < sizeof(longer.more); i++)
		CHECK_EQ(longer.more[i], 0);
	CHECK_SYS(ioctl(fd, IVSHMEM_DEV_INFO, &shorter));
	CHECK_EQ(shorter.memory_size, info.memory_size);
	CHECK_EQ(shorter.doorbell_offset, 77);
	CHECK_EQ(shorter.generation, 88);
	CHECK_SYS(close(fd));
}

/* For each command: sizes that are wrong, and a tail that this kernel does not know. */
TEST(sizes_of_arguments)
{
	static const unsigned long commands[] = {IVSHMEM_DEV_RING, IVSHMEM_DEV_SUBSCRIBE,
		IVSHMEM_DEV_UNSUBSCRIBE, IVSHMEM_DEV_RESTRICT, IVSHMEM_DEV_ON_CLOSE};
	int fd = open_node(O_RDWR);
	uint8_t bytes[5000] = {0};
	uint32_t size;

	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		size = 3;
		memcpy(bytes, &size, sizeof(size));
		CHECK_EQ(ioctl(fd, commands[i], bytes), -1);
		CHECK_EQ(errno, EINVAL);
		size = 4097;
		memcpy(bytes, &size, sizeof(size));
		CHECK_EQ(ioctl(fd, commands[i], bytes), -1);
		CHECK_EQ(errno, E2BIG);
		size = 200;
		memcpy(bytes, &size, sizeof(size));
		bytes[199] = 1;
		CHECK_EQ(ioctl(fd, commands[i], bytes), -1);
		CHECK_EQ(errno, E2BIG);
		bytes[199] = 0;
		CHECK_EQ(ioctl(fd, commands[i], NULL), -1);
		CHECK_EQ(errno, EFAULT);
	}
	CHECK_EQ(ioctl(fd, _IO(IVSHMEM_DEV_IOC_TYPE, 99), bytes), -1);
	CHECK_EQ(errno, ENOTTY);
	CHECK_SYS(close(fd));
}

/* ---- in sysfs ---- */

/* The text ends with a zero. */
static void
read_attribute(const char *name, char *text, size_t size)
{
	char path[64];
	ssize_t length;
	int fd;

	snprintf(path, sizeof(path), "/sys/class/ivshmem/ivshmem0/%s", name);
	fd = CHECK_SYS(open(path, O_RDONLY | O_CLOEXEC));
	length = CHECK_SYS(read(fd, text, size - 1));

	CHECK(length < (ssize_t)size - 1); /* that was all */
	text[length] = '\0';
	CHECK_SYS(close(fd));
}

TEST(attributes_say_what_the_node_says)
{
	int fd = open_node(O_RDWR);
	volatile uint32_t *memory = map(fd, PAGE, PROT_READ);
	struct ivshmem_dev_info info = info_of(fd);
	char text[64], expected[64];
	const struct {
		const char *name;
		long long value;
	} rows[] = {
		{"peer_id", info.peer},
		{"vectors", info.vectors},
		{"size", (long long)info.memory_size},
		{"revision", info.revision},
		{"generation", (long long)info.generation},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		snprintf(expected, sizeof(expected), "%lld\n", rows[i].value);
		read_attribute(rows[i].name, text, sizeof(text));
		CHECK_STR(text, expected);
	}
	(void)memory[0];
	read_attribute("cache", text, sizeof(text));
	CHECK_STR(text, "write-back\n");
	unmap(memory, PAGE);
	CHECK_SYS(close(fd));
}

TEST(each_holder_has_a_line)
{
	char text[2 * PAGE], expected[64];
	int one, two, with_vectors = 0;

	read_attribute("holders", text, sizeof(text));
	CHECK_STR(text, "");
	one = open_node(O_RDONLY);
	two = open_node(O_RDONLY);
	if (info_of(two).vectors > 1) {
		CHECK_SYS(subscribe(two, 0, 0, -1));
		CHECK_SYS(subscribe(two, IVSHMEM_DEV_EXCLUSIVE, 1, -1));
		with_vectors = 1;
	}
	snprintf(expected, sizeof(expected), "%d\n%d%s\n", getpid(), getpid(),
		with_vectors ? " 0 1!" : "");
	read_attribute("holders", text, sizeof(text));
	CHECK_STR(text, expected);
	CHECK_SYS(close(one));
	CHECK_SYS(close(two));
}

/* The node is opened until the lines no longer fit into a page. They are whole up to the dots. */
TEST(holders_that_do_not_fit_are_dots)
{
	static const char dots[] = "...\n";
	struct rlimit limit;
	char text[2 * PAGE], line[16];
	int first = open_node(O_RDONLY), last = first;
	size_t length, lines;

	CHECK_SYS(getrlimit(RLIMIT_NOFILE, &limit));
	limit.rlim_cur = limit.rlim_max;
	CHECK_SYS(setrlimit(RLIMIT_NOFILE, &limit));
	length = (size_t)snprintf(line, sizeof(line), "%d\n", getpid());
	lines = PAGE / length;
	while (last - first < (int)lines - 2)
		last = open_node(O_RDONLY);
	read_attribute("holders", text, sizeof(text));
	CHECK_EQ(strlen(text), (lines - 1) * length);
	CHECK(strstr(text, dots) == NULL);

	last = open_node(O_RDONLY);
	last = open_node(O_RDONLY);
	read_attribute("holders", text, sizeof(text));
	CHECK(strlen(text) < PAGE);
	CHECK_STR(strstr(text, dots), dots);
	for (const char *at = text; strcmp(at, dots) != 0; at += length)
		CHECK_MEM(at, line, length);
	CHECK_SYS(close_range((unsigned)first, (unsigned)last, 0));
}
