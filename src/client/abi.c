/* SPDX-License-Identifier: BSD-2-Clause */

/* The functions of abi.h as symbols, for languages that cannot include them. */
#include <stdint.h>

#define EXPORT __attribute__((visibility("default")))

EXPORT uint32_t ivshmem_doorbell_value(uint16_t peer, uint16_t vector);
EXPORT uint64_t ivshmem_doorbell_offset(uint16_t peer, uint16_t vector, unsigned shift);

#define IVSHMEM_ABI_INLINE
#include <ivshmem/abi.h>
