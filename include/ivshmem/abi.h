/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_ABI_H
#define IVSHMEM_ABI_H

/*
 * The numbers on which all parts of ivshmem agree: what a guest sees on the PCI bus, and what
 * travels over the socket between a server and its clients. Nothing here needs linking; for other
 * languages, libivshmem has the functions as symbols, too. The layouts are those of QEMU
 * (docs/specs/ivshmem-spec in its tree): devices of revision 1, and version 0 of the server
 * protocol, which QEMU has spoken since 2.5.
 */

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The library itself makes functions of them. */
#ifndef IVSHMEM_ABI_INLINE
#define IVSHMEM_ABI_INLINE static inline
#endif

/* ---- the PCI function ------------------------------------------------------------------------ */

#define IVSHMEM_PCI_VENDOR 0x1af4
#define IVSHMEM_PCI_DEVICE 0x1110

#define IVSHMEM_BAR_REGISTERS 0 /* 256 bytes, 32-bit memory */
#define IVSHMEM_BAR_MSIX      1 /* MSI-X table and pending bits; absent without interrupts */
#define IVSHMEM_BAR_MEMORY    2 /* the shared memory; 64-bit prefetchable in revision 1 */
#define IVSHMEM_BAR_DOORBELL  4 /* doorbell words, only with the capability below; 64 bits */

#define IVSHMEM_BAR_REGISTERS_SIZE 256

/* Registers in BAR0: little-endian, 32 bits wide. Access them as aligned 32-bit words only. */
#define IVSHMEM_REG_INTR_MASK   0x00 /* INTx only (revision 0) */
#define IVSHMEM_REG_INTR_STATUS 0x04 /* INTx only (revision 0); reading clears it */
#define IVSHMEM_REG_IV_POSITION 0x08 /* own id, read-only */
#define IVSHMEM_REG_DOORBELL    0x0c /* write-only: (peer << 16) | vector */

/* The value that rings `vector` of `peer` when it is written to the doorbell register. */
IVSHMEM_ABI_INLINE uint32_t
ivshmem_doorbell_value(uint16_t peer, uint16_t vector)
{
	return ((uint32_t)peer << 16) | vector;
}

/* ---- doorbell words: an extension of this project -------------------------------------------- */

/*
 * In addition to the doorbell register, a device may have a BAR with one 32-bit word for each
 * vector of each peer. Writing any value to a word, as an aligned 32-bit access, rings. A host
 * finds the eventfd of a word by its address, however many words there are, but it tries the
 * eventfds of the register one by one. A vendor-specific capability of these 16 bytes announces the
 * BAR; numbers are little-endian.
 */
#define IVSHMEM_CAP_ID        0x09 /* byte 0; byte 1 leads to the next capability */
#define IVSHMEM_CAP_LENGTH    2    /* 8 bits: at least IVSHMEM_CAP_SIZE */
#define IVSHMEM_CAP_TYPE      3    /* 8 bits: IVSHMEM_CAP_TYPE_DOORBELL */
#define IVSHMEM_CAP_BAR       4    /* 8 bits: the BAR with the words, which begin at its start */
#define IVSHMEM_CAP_SHIFT     5    /* 8 bits: each peer has 1 << SHIFT words */
#define IVSHMEM_CAP_RESERVED  6    /* 16 bits: 0 */
#define IVSHMEM_CAP_PEERS     8    /* 32 bits: there are words for the ids 0 .. PEERS - 1 */
#define IVSHMEM_CAP_SIGNATURE 12   /* 32 bits: "IVDB", because the vendor id is not ours alone */
#define IVSHMEM_CAP_SIZE      16

#define IVSHMEM_CAP_TYPE_DOORBELL  1
#define IVSHMEM_CAP_SIGNATURE_IVDB UINT32_C(0x42445649)

/* The offset, in bytes from the start of the BAR, of the word that rings `vector` of `peer`.
 * `shift` is IVSHMEM_CAP_SHIFT of the capability. */
IVSHMEM_ABI_INLINE uint64_t
ivshmem_doorbell_offset(uint16_t peer, uint16_t vector, unsigned shift)
{
	return (((uint64_t)peer << shift) + vector) * 4;
}

/* ---- limits ---------------------------------------------------------------------------------- */

#define IVSHMEM_MAX_ID      65535 /* ids are 16 bits wide */
#define IVSHMEM_MAX_VECTORS 2048  /* what an MSI-X table can hold */

/* ---- the server's socket protocol, version 0 ------------------------------------------------- */

/*
 * A UNIX stream socket; only the server sends. Each message is one signed 64-bit little-endian
 * number with at most one file descriptor (SCM_RIGHTS) attached. docs/protocol.md has the
 * sequences.
 */
#define IVSHMEM_WIRE_MESSAGE_SIZE 8
#define IVSHMEM_WIRE_VERSION      0    /* the first message, without descriptor */
#define IVSHMEM_WIRE_MEMORY       (-1) /* announces the shared memory, with its descriptor */

/* On the socket for observers only; clients of the other socket never see these. */
#define IVSHMEM_WIRE_OBSERVER 65536 /* the first message there: neither a version nor an id */
#define IVSHMEM_WIRE_COMPLETE (-2)  /* all peers that were there have been announced */

/* The path of a server's socket followed by this is the path of its socket for observers, unless
 * the server was given another one. */
#define IVSHMEM_OBSERVER_SUFFIX ".observe"
/* The same for its control socket, which speaks another protocol. */
#define IVSHMEM_CONTROL_SUFFIX ".control"

#ifdef __cplusplus
}
#endif

#endif
