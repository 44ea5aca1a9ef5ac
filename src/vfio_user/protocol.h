/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VFIO_USER_PROTOCOL_H
#define VFIO_USER_PROTOCOL_H

/*
 * The vfio-user protocol: messages as they are on the socket, in the byte order of the host.
 * Sources: the specification (QEMU's docs/interop/vfio-user), and the kernel's linux/vfio.h, whose
 * structures and numbers the specification takes over.
 */

#include <linux/vfio.h>
#include <stdint.h>

enum {
	VFIO_USER_VERSION = 1,
	VFIO_USER_DMA_MAP = 2,
	VFIO_USER_DMA_UNMAP = 3,
	VFIO_USER_DEVICE_GET_INFO = 4,
	VFIO_USER_DEVICE_GET_REGION_INFO = 5,
	VFIO_USER_DEVICE_GET_REGION_IO_FDS = 6,
	VFIO_USER_DEVICE_GET_IRQ_INFO = 7,
	VFIO_USER_DEVICE_SET_IRQS = 8,
	VFIO_USER_REGION_READ = 9,
	VFIO_USER_REGION_WRITE = 10,
	VFIO_USER_DEVICE_RESET = 13,
	VFIO_USER_REGION_WRITE_MULTI = 15,
	VFIO_USER_DEVICE_FEATURE = 16,
	VFIO_USER_MIG_DATA_READ = 17,
	VFIO_USER_MIG_DATA_WRITE = 18,
};

#define VFIO_USER_MAJOR 0
#define VFIO_USER_MINOR 1

/* header.flags */
#define VFIO_USER_TYPE_MASK    0xfU
#define VFIO_USER_TYPE_COMMAND 0U
#define VFIO_USER_TYPE_REPLY   1U
#define VFIO_USER_NO_REPLY     0x10U
#define VFIO_USER_ERROR        0x20U

/* A client that names no limit takes one descriptor in a message. We take 16, because QEMU fails if
 * we announce more, and send as many as the client and the kernel (SCM_MAX_FD) take. */
#define VFIO_USER_DEFAULT_FDS   1
#define VFIO_USER_MAX_FDS       16
#define VFIO_USER_MAX_REPLY_FDS 253

/* Most bytes of data in a message, in either direction. It is the default of the specification. */
#define VFIO_USER_MAX_TRANSFER (UINT32_C(1) << 20)

struct vfio_user_header {
	uint16_t id; /* chosen by the sender, echoed */
	uint16_t command;
	uint32_t size; /* of the whole message */
	uint32_t flags;
	uint32_t error; /* a positive errno, with VFIO_USER_ERROR */
};

struct vfio_user_version {
	uint16_t major, minor;
	/* then JSON text and its NUL */
};

struct vfio_user_dma_map {
	uint32_t argsz, flags;
	uint64_t offset, address, size;
};

struct vfio_user_dma_unmap {
	uint32_t argsz, flags;
	uint64_t address, size;
};

/* GET_INFO: flags 1 RESET, 2 PCI */
struct vfio_user_device_info {
	uint32_t argsz, flags, num_regions, num_irqs;
};

#define VFIO_USER_DEVICE_RESETS 1U
#define VFIO_USER_DEVICE_PCI    2U

enum {
	VFIO_USER_REGION_BAR0 = 0,
	VFIO_USER_REGION_BAR4 = 4,
	VFIO_USER_REGION_CONFIG = 7,
	VFIO_USER_N_REGIONS = 9,
};

struct vfio_user_region_info {
	uint32_t argsz, flags, index, cap_offset;
	uint64_t size, offset;
};

#define VFIO_USER_REGION_READABLE 1U
#define VFIO_USER_REGION_WRITABLE 2U
#define VFIO_USER_REGION_MMAP     4U

/* `index` is the kernel's: VFIO_PCI_INTX_IRQ_INDEX and so on. */
struct vfio_user_irq_info {
	uint32_t argsz, flags, index, count;
};

#define VFIO_USER_IRQ_EVENTFD    1U
#define VFIO_USER_IRQ_MASKABLE   2U
#define VFIO_USER_IRQ_AUTOMASKED 4U

struct vfio_user_irq_set {
	uint32_t argsz, flags, index, start, count;
	/* then `count` bytes with DATA_BOOL */
};

#define VFIO_USER_IRQ_SET_DATA_NONE      1U
#define VFIO_USER_IRQ_SET_DATA_BOOL      2U
#define VFIO_USER_IRQ_SET_DATA_EVENTFD   4U
#define VFIO_USER_IRQ_SET_ACTION_MASK    8U
#define VFIO_USER_IRQ_SET_ACTION_UNMASK  16U
#define VFIO_USER_IRQ_SET_ACTION_TRIGGER 32U

struct vfio_user_region_access {
	uint64_t offset;
	uint32_t region, count;
	/* then `count` bytes, in a write and in the reply to a read */
};

struct vfio_user_write_multi {
	uint64_t count;
	/* then `count` of the next */
};

struct vfio_user_one_write {
	uint64_t offset;
	uint32_t region, count; /* at most 8 bytes */
	uint8_t data[8];
};

struct vfio_user_io_fds {
	uint32_t argsz, flags, index, count;
	/* then `count` of the next */
};

struct vfio_user_io_fd {
	uint64_t offset, size;
	uint32_t fd_index; /* of the descriptors that came with the message */
	uint32_t type;     /* VFIO_USER_IO_FD_... */
	uint32_t flags;    /* KVM_IOEVENTFD_FLAG_... */
	uint32_t padding;
	uint64_t datamatch;
};

#define VFIO_USER_IO_FD_IOEVENTFD 0U
#define VFIO_USER_IO_FD_DATAMATCH 1U /* KVM_IOEVENTFD_FLAG_DATAMATCH */

struct vfio_user_feature {
	uint32_t argsz;
	uint32_t flags; /* the feature's number in the lower half, and the operation */
			/* then the feature's data */
};

#define VFIO_USER_FEATURE_MASK  0xffffU
#define VFIO_USER_FEATURE_GET   0x10000U
#define VFIO_USER_FEATURE_SET   0x20000U
#define VFIO_USER_FEATURE_PROBE 0x40000U

enum {
	VFIO_USER_FEATURE_MIGRATION = 1,
	VFIO_USER_FEATURE_MIG_DEVICE_STATE = 2,
};

#define VFIO_USER_MIGRATION_STOP_COPY 1U
#define VFIO_USER_MIGRATION_PRE_COPY  4U

struct vfio_user_device_state {
	uint32_t device_state; /* enum migration_state */
	uint32_t data_fd;      /* means nothing on a socket */
};

struct vfio_user_mig_data {
	uint32_t argsz, size;
	/* then `size` bytes, in a write and in the reply to a read */
};

#endif
