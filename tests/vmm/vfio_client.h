/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VMM_VFIO_CLIENT_H
#define VMM_VFIO_CLIENT_H

/*
 * The VMM's side of vfio-user: one request, one reply. Safe for several threads. Errors are those of
 * the device, or of the socket: 0, or a negative errno.
 */

#include <ivshmem/common.h>

#include <vfio_user/protocol.h>

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

/* Descriptors that we take in one message. */
#define VFIO_CLIENT_MAX_FDS 128

struct vfio_client {
	int socket;
	uint64_t requests; /* so far */
	pthread_mutex_t lock;
};

/* Connect and agree on a version. */
int vfio_client_connect(struct vfio_client *client, const char *path, struct ivshmem_error *reterr);
void vfio_client_close(struct vfio_client *client);

/* Size of a region, and the descriptor to map it with (the caller's), or -1. */
int vfio_client_region(
	struct vfio_client *client, uint32_t region, uint64_t *ret_size, int *ret_fd);
/* How many interrupts of this kind there are. */
int vfio_client_irqs(struct vfio_client *client, uint32_t index, uint32_t *ret_count);

int vfio_client_read(
	struct vfio_client *client, uint32_t region, uint64_t offset, void *data, uint32_t length);
int vfio_client_write(struct vfio_client *client, uint32_t region, uint64_t offset,
	const void *data, uint32_t length);
int vfio_client_reset(struct vfio_client *client);

/* Eventfds to be written for interrupts start ... start + n - 1, at most 16. */
int vfio_client_set_irqs(struct vfio_client *client, uint32_t index, uint32_t start,
	const int *eventfds, uint32_t n);
/* An eventfd that we write when INTx may be raised again. */
int vfio_client_set_resample(struct vfio_client *client, int eventfd);

/*
 * Writes to a region that the device wants to be eventfds: entries from `first` on and their
 * descriptors (the caller's), which are numbered as the entries are. How many there are in all from
 * `first` on, of which at most VFIO_CLIENT_MAX_FDS are handed out: *ret_n.
 */
int vfio_client_io_fds(struct vfio_client *client, uint32_t region, uint32_t first,
	struct vfio_user_io_fd entries[VFIO_CLIENT_MAX_FDS], int fds[VFIO_CLIENT_MAX_FDS],
	uint32_t *ret_n, uint32_t *ret_total);

/* Migration: states as in linux/vfio.h; how many bytes of the stream came. */
int vfio_client_set_state(struct vfio_client *client, uint32_t state);
int vfio_client_read_state(
	struct vfio_client *client, void *data, uint32_t length, uint32_t *ret_length);
int vfio_client_write_state(struct vfio_client *client, const void *data, uint32_t length);

#endif
