/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SUPPORT_CHECKED_HOST_H
#define SUPPORT_CHECKED_HOST_H

/*
 * A host for the device model that remembers what is in force. It demands what must be true of every
 * request: nothing is added twice, nothing is removed that is not there, and nothing is about a peer or a
 * vector that nobody announced. What it answers is up to the test.
 */

#include <ivshmem/abi.h>
#include <ivshmem/device.h>

#define IN_FORCE_TRIGGERS 8192

struct host_request {
	enum host_request_type {
		HOST_MAP,    /* address */
		HOST_UNMAP,  /* address */
		HOST_INTX,   /* level */
		HOST_SEND,   /* message, vector */
		HOST_RING,   /* peer, vector */
		HOST_ADD,    /* ioeventfd */
		HOST_REMOVE, /* ioeventfd */
		HOST_ATTACH, /* message, vector */
		HOST_DETACH, /* vector */
		HOST_TAKE,   /* vector */
		HOST_LOG,    /* text */
	} type;
	uint64_t address;
	bool level;
	uint16_t peer;
	unsigned vector;
	const struct ivshmem_device_message *message;
	const struct ivshmem_device_ioeventfd *ioeventfd;
	const char *text;
};

extern struct in_force {
	uint64_t mapped_at; /* 0: it is not */
	bool intx;
	struct ivshmem_device_ioeventfd ioeventfds[IN_FORCE_TRIGGERS];
	unsigned n_ioeventfds;
	bool attached[IVSHMEM_MAX_VECTORS];
} in_force;

/* All of them. Their data is &in_force. */
extern const struct ivshmem_device_ops checked_ops;

/* Nothing is in force, and `answer` is asked: 0 or a negative errno, or for HOST_TAKE whether there was one. */
void checked_host_init(int (*answer)(const struct host_request *request));

/* Demands that nothing is in force. */
void checked_host_empty(void);

#endif
