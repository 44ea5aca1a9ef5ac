/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SUPPORT_VFIO_CLIENT_H
#define SUPPORT_VFIO_CLIENT_H

/*
 * The VMM's side of vfio-user: one request, one reply. Safe for several threads. Errors are those of
 * the device, or of the socket: 0, or a negative errno. -EPROTO: no reply that a VMM understands.
 */

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

/* Connect. vfio_client_version() comes next. To be closed in any case. */
int vfio_client_connect(struct vfio_client *client, const char *path);
void vfio_client_close(struct vfio_client *client);

/* ---- any message ------------------------------------------------------------------------------- */

/* What a request consists of, and where its reply goes. */
struct vfio_exchange {
	uint16_t command;
	uint32_t flags;
	void *head; /* of the body; if reply_head_length is not 0, the reply's goes there */
	size_t head_length, reply_head_length;
	const void *data; /* behind it */
	size_t length;
	const int *fds;
	uint32_t n_fds;

	void *reply_data; /* behind the reply's head, as much as there is */
	size_t reply_room, reply_length;
	int *reply_fds; /* room for VFIO_CLIENT_MAX_FDS; NULL: none are expected */
	uint32_t reply_n_fds;
};

/* A request, and its reply; for one thread. */
int vfio_client_send(struct vfio_client *client, const struct vfio_exchange *exchange);
int vfio_client_receive(struct vfio_client *client, struct vfio_exchange *exchange);

/* ---- the messages there are -------------------------------------------------------------------- */

/* Agree on a version. `capabilities` is JSON; the device's text is cut off if there is no room. */
int vfio_client_version(
	struct vfio_client *client, const char *capabilities, char *ret_text, size_t room);

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

/*
 * The eventfd of an interrupt: with VFIO_USER_IRQ_SET_ACTION_TRIGGER, the one that the device is to
 * write; with ..._UNMASK, the one that we write when INTx may be raised again.
 */
int vfio_client_set_irq(
	struct vfio_client *client, uint32_t action, uint32_t index, uint32_t number, int eventfd);

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
