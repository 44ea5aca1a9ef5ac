/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef UNIT_VFIO_USER_VMM_H
#define UNIT_VFIO_USER_VMM_H

/*
 * A device that is served by both its threads, in a group (member_stage.h has the server's side), and
 * VMMs that connect to its socket.
 */

#include <vfio_user/vfio_user.h>

#include <member_stage.h>
#include <vfio_client.h>

#include <pthread.h>
#include <sys/un.h>

/* One device at a time. */
extern struct device {
	struct vfio_user *vfio_user;
	struct sockaddr_un address;
	int listener;
	pthread_t thread;
	struct loop_source quit; /* an eventfd */
	uint64_t grace_ns;       /* 0, unless a test sets it before */
} device;

/* ---- the device -------------------------------------------------------------------------------- */

/* Everything but the thread that runs the loop. */
void prepare_device(unsigned revision, uint64_t spin_ns);
void start_device(void);
/* The loop ends, then the device; VMMs may be there. */
void stop_device(void);
/* What is left then. */
void remove_device(void);

/* Revision 1: prepare and start; stop and remove. */
void open_device(void);
void close_device(void);

/* An eventfd that the server gives away as a vector of `peer`; a copy is ours until the test ends. */
int give_vector(int64_t peer);
/* Wait for one to be rung. */
void wait_for_event(int fd);

/* ---- VMMs -------------------------------------------------------------------------------------- */

#define VERSION_TEXT "{\"capabilities\":{\"max_msg_fds\":16,\"max_data_xfer_size\":1048576}}"

/* Without a word. */
void vmm_connect(struct vfio_client *vmm);
/* Agreed on the version: it has the device then. */
void vmm_open(struct vfio_client *vmm);

/* A message without waiting for a reply. */
void vmm_send(
	struct vfio_client *vmm, uint16_t command, uint32_t flags, const void *body, size_t length);
void vmm_send_version(struct vfio_client *vmm);

uint32_t vmm_read(struct vfio_client *vmm, uint32_t region, uint64_t offset);
void vmm_write(
	struct vfio_client *vmm, uint32_t flags, uint32_t region, uint64_t offset, uint32_t value);

/* The connection has ended, and in an orderly way. */
void check_end(struct vfio_client *vmm);
/* One that comes is told that there is another one. */
void vmm_is_refused(void);

#endif
