/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_ABI_H
#define IVSHMEM_ABI_H

/*
 * The numbers that ivshmem's parties agree on: what a guest sees on the PCI bus, and what travels
 * over the socket between a server and its clients. Constants only; nothing here needs linking. The
 * layouts are QEMU's (docs/specs/ivshmem-spec in its tree), devices of revision 1 and server
 * protocol version 0, which QEMU has spoken since 2.5.
 */

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- the PCI function ------------------------------------------------------------------------ */

#define IVSHMEM_PCI_VENDOR 0x1af4
#define IVSHMEM_PCI_DEVICE 0x1110

#define IVSHMEM_BAR_REGISTERS 0 /* 256 bytes, 32-bit memory */
#define IVSHMEM_BAR_MSIX      1 /* MSI-X table and pending bits; absent without interrupts */
#define IVSHMEM_BAR_MEMORY    2 /* the shared memory; 64-bit prefetchable in revision 1 */

#define IVSHMEM_BAR_REGISTERS_SIZE 256

/* Registers in BAR0: little-endian, 32 bits wide, to be accessed as aligned 32-bit words only. */
#define IVSHMEM_REG_INTR_MASK   0x00 /* INTx only (revision 0) */
#define IVSHMEM_REG_INTR_STATUS 0x04 /* INTx only (revision 0); reading clears it */
#define IVSHMEM_REG_IV_POSITION 0x08 /* own id, read-only */
#define IVSHMEM_REG_DOORBELL    0x0c /* write-only: (peer << 16) | vector */

/* The value to write to the doorbell register to interrupt `peer` on `vector`. */
static inline uint32_t
ivshmem_doorbell_value(uint16_t peer, uint16_t vector)
{
	return ((uint32_t)peer << 16) | vector;
}

/* ---- limits ---------------------------------------------------------------------------------- */

#define IVSHMEM_MAX_ID      65535 /* ids are 16 bits wide */
#define IVSHMEM_MAX_VECTORS 2048  /* what an MSI-X table can hold */

/* ---- the server's socket protocol, version 0 ------------------------------------------------- */

/*
 * A UNIX stream socket, server to client only. Each message is one signed 64-bit little-endian
 * number with at most one file descriptor (SCM_RIGHTS) attached to it. docs/protocol.md has the
 * sequences.
 */
#define IVSHMEM_WIRE_MESSAGE_SIZE 8
#define IVSHMEM_WIRE_VERSION      0    /* the first message, without descriptor */
#define IVSHMEM_WIRE_MEMORY       (-1) /* announces the shared memory, with its descriptor */

#ifdef __cplusplus
}
#endif

#endif
