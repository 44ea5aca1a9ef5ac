/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * driver-fuzz SECONDS [SEED]: asks the nodes of ivshmem.ko for anything, from several processes at
 * once, while another one binds and unbinds the device. What the kernel says about it is the result:
 * tests/vm/test_driver.py looks at the console. PCI in the environment is the folder of the device in
 * sysfs. Prints how many calls there were, and how many of them worked.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <linux/ivshmem.h>

#define NODE       "/dev/ivshmem0"
#define PAGE       4096
#define N_FILES    6
#define N_MAPPINGS 4
#define N_FUZZERS  3

struct result {
	unsigned long calls, worked;
};

static uint64_t state;

/* xorshift64: the same seed, the same calls. */
static uint64_t
random_bits(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static unsigned
below(unsigned n)
{
	return (unsigned)(random_bits() % n);
}

/* A number that is likely to matter. */
static uint64_t
number(void)
{
	static const uint64_t edges[] = {0, 1, 2, 3, 4, 5, 7, 8, 63, 64, 65, 1023, 1024, 1025, 4095,
		4096, 65535, 65536, 65537, 1 << 22, UINT32_MAX, UINT64_C(1) << 32,
		UINT64_C(1) << 42, INT64_MAX, UINT64_MAX};

	return below(8) == 0 ? random_bits() : edges[below(sizeof(edges) / sizeof(edges[0]))];
}

static sigjmp_buf on_fault;

static void
faulted(int signal)
{
	(void)signal;
	siglongjmp(on_fault, 1);
}

static void
touch(volatile uint32_t *word)
{
	if (sigsetjmp(on_fault, 1) != 0)
		return;
	if (below(2))
		*word = (uint32_t)random_bits();
	else
		(void)*word;
}

/* ---- the calls ------------------------------------------------------------------------------- */

static int files[N_FILES];
static struct {
	void *start;
	size_t size;
} mappings[N_MAPPINGS];
static int some_eventfd;

/* Room that structs point to: targets, stores, bitmaps. */
static uint64_t room[2048];

static uint64_t
address(void)
{
	return below(6) == 0 ? number() : (uintptr_t)room;
}

static int
ask(int fd)
{
	union {
		uint8_t bytes[256];
		struct ivshmem_dev_info info;
		struct ivshmem_dev_ring ring;
		struct ivshmem_dev_subscription subscription;
		struct ivshmem_dev_restriction restriction;
		struct ivshmem_dev_on_close on_close;
	} wish = {0};
	unsigned command = below(12);

	for (size_t i = 0; i < 64; i++)
		room[i] = number() & (below(3) ? UINT64_C(0x0000000300000003) : UINT64_MAX);
	switch (command) {
	case 1:
		wish.ring = (struct ivshmem_dev_ring){.size = sizeof(wish.ring),
			.targets = address(),
			.n = below(3) ? below(70) : (uint32_t)number()};
		break;
	case 2:
	case 3:
	case 6:
	case 7:
		command = 2 + command % 2;
		wish.subscription = (struct ivshmem_dev_subscription){
			.size = sizeof(wish.subscription),
			.flags = below(3) ? 0 : below(4),
			.vector = below(6) ? below(5) : (uint32_t)number(),
			.eventfd = below(3) ? (below(2) ? -1 : some_eventfd) : (int)number()};
		break;
	case 4:
		wish.restriction =
			(struct ivshmem_dev_restriction){.size = sizeof(wish.restriction),
				.flags = below(9),
				.peers = address(),
				.ring_vectors = address(),
				.vectors = address(),
				.peers_words = below(40),
				.ring_vectors_words = below(2),
				.vectors_words = below(2)};
		break;
	case 5:
	case 8:
		command = 5;
		wish.on_close = (struct ivshmem_dev_on_close){.size = sizeof(wish.on_close),
			.stores = address(),
			.targets = address(),
			.n_stores = below(66),
			.n_targets = below(66)};
		for (size_t i = 0; i < 64; i++) {
			struct ivshmem_dev_store store = {
				.offset = number() & ~7ull, .width = 8, .value = random_bits()};

			memcpy(&room[i * 3], &store, sizeof(store));
		}
		break;
	default:
		wish.info.size = sizeof(wish.info);
		break;
	}
	/* One field wrong, whichever it is. */
	if (below(4) == 0) {
		uint64_t wrong = number();

		memcpy(wish.bytes + 4 * below(16), &wrong, below(2) ? 4 : 8);
	}
	return ioctl(
		fd, _IO(IVSHMEM_DEV_IOC_TYPE, command % 8), below(100) ? (void *)&wish : (void *)8);
}

static int
map_something(int fd)
{
	unsigned slot = below(N_MAPPINGS);
	size_t size = below(4) ? (size_t)(1 + below(8)) * PAGE : (size_t)number();
	off_t offset =
		(off_t)(below(2) ? (uint64_t)below(8) * PAGE : number() & ~(uint64_t)(PAGE - 1));
	void *start;

	if (mappings[slot].start)
		munmap(mappings[slot].start, mappings[slot].size);
	mappings[slot].start = NULL;
	start = mmap(NULL, size, below(2) ? PROT_READ : PROT_READ | PROT_WRITE,
		below(9) ? MAP_SHARED : MAP_PRIVATE, fd, offset);
	if (start == MAP_FAILED)
		return -1;
	mappings[slot].start = start;
	mappings[slot].size = size;
	return 0;
}

static int
use_mapping(void)
{
	unsigned slot = below(N_MAPPINGS);
	char *start = mappings[slot].start;

	if (!start)
		return -1;
	switch (below(6)) {
	case 0:
		return mprotect(start, PAGE, below(2) ? PROT_READ : PROT_READ | PROT_WRITE);
	case 1:
		return madvise(
			start, mappings[slot].size, below(2) ? MADV_DONTNEED : MADV_WILLNEED);
	case 2:
		return mremap(start, mappings[slot].size, mappings[slot].size + PAGE, 0) ==
				       MAP_FAILED
			       ? -1
			       : 0;
	case 3:
		if (fork() == 0) {
			touch((volatile uint32_t *)(void *)start);
			_exit(0);
		}
		return wait(NULL) < 0 ? -1 : 0;
	default:
		touch((volatile uint32_t *)(void *)(start +
						    below((unsigned)(mappings[slot].size / 4 + 1)) /
							    4 * 4));
		return 0;
	}
}

static int
one_call(void)
{
	unsigned slot = below(N_FILES);
	uint64_t events[32];

	if (files[slot] < 0 || below(40) == 0) {
		if (files[slot] >= 0)
			close(files[slot]);
		files[slot] = open(NODE, (below(4) ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK);
		return files[slot];
	}
	switch (below(8)) {
	case 0:
		return map_something(files[slot]);
	case 1:
		return use_mapping();
	case 2:
		return (int)read(files[slot], below(4) ? events : (void *)8,
			below((unsigned)sizeof(events)));
	case 3:
		return poll(&(struct pollfd){.fd = files[slot], .events = (short)number()}, 1, 0);
	default:
		return ask(files[slot]);
	}
}

/* ---- the processes --------------------------------------------------------------------------- */

static void
put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		usleep(1000);
	if (fd >= 0)
		close(fd);
}

/* Where the kernel can, it now and then refuses memory to who asks for that (tests/vm/test_driver.py). */
static void
be_refused(void)
{
	put("/proc/self/make-it-fail", "1");
}

static _Noreturn void
fuzz(uint64_t seed, time_t end, struct result *result)
{
	struct sigaction action = {.sa_handler = faulted};

	state = seed | 1;
	sigaction(SIGBUS, &action, NULL);
	sigaction(SIGSEGV, &action, NULL); /* a store to what may only be read */
	some_eventfd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	for (unsigned i = 0; i < N_FILES; i++)
		files[i] = -1;
	be_refused();
	while (time(NULL) < end) {
		result->calls++;
		if (one_call() >= 0)
			result->worked++;
	}
	_exit(0);
}

static _Noreturn void
come_and_go(uint64_t seed, time_t end)
{
	const char *folder = getenv("PCI");
	const char *name = folder ? strrchr(folder, '/') + 1 : "";
	char reset[256];

	be_refused();
	state = seed | 1;
	snprintf(reset, sizeof(reset), "%s/reset", folder ? folder : "");
	while (time(NULL) < end) {
		usleep(below(20000));
		if (below(3) == 0) {
			put(reset, "1");
			continue;
		}
		put("/sys/bus/pci/drivers/ivshmem/unbind", name);
		usleep(below(2000));
		put("/sys/bus/pci/drivers/ivshmem/bind", name);
	}
	_exit(0);
}

int
main(int argc, char **argv)
{
	time_t end = time(NULL) + (argc > 1 ? atoi(argv[1]) : 10);
	uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : (uint64_t)time(NULL);
	struct result *results =
		mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct result all = {0};

	if (results == MAP_FAILED)
		return 1;
	printf("seed %llu\n", (unsigned long long)seed);
	fflush(stdout);
	for (unsigned i = 0; i < N_FUZZERS; i++)
		if (fork() == 0)
			fuzz(seed + i * 7919, end, &results[i]);
	if (fork() == 0)
		come_and_go(seed + 104729, end);
	for (unsigned i = 0; i <= N_FUZZERS; i++) {
		int status;

		if (wait(&status) < 0 || status != 0) {
			printf("a process ended with %d\n", status);
			return 1;
		}
	}
	for (unsigned i = 0; i < N_FUZZERS; i++) {
		all.calls += results[i].calls;
		all.worked += results[i].worked;
	}
	printf("%lu calls, %lu of them worked\n", all.calls, all.worked);
	return 0;
}
