/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef UNIT_FEATURE_STAGE_H
#define UNIT_FEATURE_STAGE_H

/*
 * A device that is a member of a real group, and a VMM: requests go into a session, and replies come
 * out of it. What every reply has in common is checked here.
 */

#include <base/log.h>
#include <base/pace.h>
#include <function/function.h>
#include <vfio_user/handlers.h>

#include <test.h>

#include <sys/un.h>

#define MEMORY     (64 << 10)
#define VECTORS    4
#define TIMEOUT_MS 20000
#define LENGTH(a)  (sizeof(a) / sizeof((a)[0]))
#define GET        VFIO_USER_FEATURE_GET
#define SET        VFIO_USER_FEATURE_SET
#define PROBE      VFIO_USER_FEATURE_PROBE
#define STATE      VFIO_USER_FEATURE_MIG_DEVICE_STATE
#define FLAGS      VFIO_USER_FEATURE_MIGRATION
#define HEAD       8

struct stage {
	struct loop *loop;
	struct log log;
	char logged[1024];
	struct sockaddr_un address;
	int listener;
	pid_t server;
	struct member *member;
	struct function function;
	struct session session;
	struct pace complaints;

	/* what the VMM gets */
	struct vfio_user_header header;
	struct reply reply;
	int eventfds[VECTORS];
};

extern struct stage a, b;

/* A server, and the device with id 0 in its group, with all vectors. */
void stage_open(struct stage *stage, unsigned revision, enum ivshmem_device_master master);
void stage_close(struct stage *stage);

/* The same in parts. */
struct ivshmem_device_config device_config(unsigned revision, enum ivshmem_device_master master);
void stage_listen(struct stage *stage);
void stage_serve(struct stage *stage);
void stage_join(struct stage *stage, struct ivshmem_device_config *config, bool late);
void loop_until_vectors(struct stage *stage, unsigned n);

/* One request; 0 or the errno of the reply. */
unsigned request(struct stage *stage, uint16_t command, const void *body, size_t length);
unsigned feature(
	struct stage *stage, uint32_t argsz, uint32_t flags, const void *data, size_t length);
unsigned set_state(struct stage *stage, uint32_t state);
uint32_t state_of(struct stage *stage);

/* To a state where it must be able to go. */
void go(struct stage *stage, uint32_t state);

/* Read `size` bytes of the stream; how many came, or the errno, negative. */
int64_t read_data(struct stage *stage, uint32_t argsz, uint32_t size);
unsigned write_data(
	struct stage *stage, uint32_t argsz, uint32_t size, const void *data, size_t length);

void region_write(struct stage *stage, uint32_t region, uint64_t offset, uint32_t value);
uint32_t region_read(struct stage *stage, uint32_t region, uint64_t offset);

/* The first `n` of the VMM's eventfds become those of interrupt index `index`. */
void set_irqs(struct stage *stage, uint32_t index, unsigned n);
/* Whether it was written since the last call. */
bool fired(struct stage *stage, unsigned vector);

/* Ring one of our own vectors with the doorbell, and let the loop see it if `seen`. */
void ring_self(struct stage *stage, unsigned vector, bool seen);

#endif
