/* SPDX-License-Identifier: BSD-2-Clause */
#include "answers.h"

#include <measure.h>

#include <linux/ivshmem.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

static struct pollfd entries[1 + 2 * MAX_DEVICES]; /* the first one is the standard input */
static struct bell {
	const struct device *device;
	unsigned vector;
} bells[1 + 2 * MAX_DEVICES];
static unsigned n_entries;

static void
add(const struct device *device, unsigned vector, int eventfd, int fd)
{
	device_connect(device, vector, eventfd);
	entries[n_entries] = (struct pollfd){.fd = fd, .events = POLLIN};
	bells[n_entries++] = (struct bell){device, vector};
}

void
answers_begin(const struct device *devices, unsigned n)
{
	entries[n_entries++] = (struct pollfd){.fd = STDIN_FILENO, .events = POLLIN};
	for (const struct device *device = devices; device < devices + n; device++) {
		int fd = -1;

		if (device->node < 0 && device->vfio < 0)
			continue;
		fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (fd < 0)
			die("eventfd");
		add(device, 0, fd, fd);
		if (device->node >= 0)
			add(device, 1, -1, device->node);
	}
}

/* Both kinds of descriptor give up what they have by one read. */
static void
take(int fd)
{
	struct ivshmem_dev_event event;

	_Static_assert(sizeof(event) >= sizeof(uint64_t), "an eventfd gives 8 bytes");
	if (read(fd, &event, sizeof(event)) < 0)
		die("read");
}

void
answers_give(unsigned caller)
{
	char line[64];

	while (!(entries[0].revents & (POLLIN | POLLHUP))) {
		if (poll(entries, n_entries, -1) < 0)
			die("poll");
		for (unsigned i = 1; i < n_entries; i++) {
			if (!(entries[i].revents & POLLIN))
				continue;
			take(entries[i].fd);
			device_ring(bells[i].device, caller, bells[i].vector);
		}
	}
	entries[0].revents = 0;
	if (read(STDIN_FILENO, line, sizeof(line)) < 0)
		die("the standard input");
}
