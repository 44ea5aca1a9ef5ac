/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef DRIVER_NODE_H
#define DRIVER_NODE_H

/*
 * What the tests of ivshmem.ko ask a node for. All but those that return int fail the test if it fails.
 *
 * The tests run in a guest (tests/vm/test_driver.py), as root, with one device that rings itself: what a
 * peer rings is the same interrupt. Each ring of its own id is waited for, or it would come to the next
 * test.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <linux/ivshmem.h>

#define NODE "/dev/ivshmem0"
#define PAGE 4096

int open_node(int flags);
struct ivshmem_dev_info info_of(int fd);
struct ivshmem_dev_info need_vectors(int fd, unsigned vectors);
int ring(int fd, unsigned peer, unsigned vector);
void ring_self(int fd, unsigned vector);
int change(int fd, unsigned long command, unsigned flags, unsigned vector, int eventfd);
int subscribe(int fd, unsigned flags, unsigned vector, int eventfd);
int unsubscribe(int fd, unsigned flags, unsigned vector, int eventfd);
int restrict_file(int fd, struct ivshmem_dev_restriction wish);
short events_of(int fd, int timeout_ms);
void wait_for(int fd);
uint64_t count_of(int eventfd);
bool is_quiet(int fd);
volatile uint32_t *map(int fd, size_t length, int protection);
void unmap(volatile uint32_t *memory, size_t length);

/* The device itself. PCI in the environment is its folder in sysfs. */
const char *folder(void);
int put(const char *path, const char *text);
int put_in_folder(const char *file); /* "1" into a file of the folder: reset, remove */
int put_device(const char *file);    /* its name into a file of the driver in sysfs */
void bind_device(void);
void unbind_device(void);

#endif
