/* SPDX-License-Identifier: BSD-2-Clause */
#include <guest/words.h>

#include <guest/capability.h>

#include <ivshmem/abi.h>

#include <endian.h>

#define N_BARS 6

/* 1 << 11 is IVSHMEM_MAX_VECTORS. */
#define MAX_SHIFT 11

static uint32_t
get_dword(const uint8_t *bytes)
{
	return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 |
	       (uint32_t)bytes[3] << 24;
}

static struct words
parse(const uint8_t *capability)
{
	struct words words = {
		.peers = get_dword(capability + IVSHMEM_CAP_PEERS),
		.shift = capability[IVSHMEM_CAP_SHIFT],
		.bar = capability[IVSHMEM_CAP_BAR],
	};

	if (capability[IVSHMEM_CAP_LENGTH] < IVSHMEM_CAP_SIZE ||
		capability[IVSHMEM_CAP_TYPE] != IVSHMEM_CAP_TYPE_DOORBELL ||
		get_dword(capability + IVSHMEM_CAP_SIGNATURE) != IVSHMEM_CAP_SIGNATURE_IVDB ||
		words.bar >= N_BARS || words.bar <= IVSHMEM_BAR_MEMORY ||
		words.peers > IVSHMEM_MAX_ID + 1 || words.shift > MAX_SHIFT)
		return (struct words){0};
	words.bar_size = ((uint64_t)words.peers << words.shift) * 4;
	return words;
}

struct words
words_find(const uint8_t *config, size_t length)
{
	struct words words = {0};
	size_t at = 0;

	for (unsigned i = 0; i < CAPABILITIES_MAX && words.peers == 0; i++) {
		at = capability_next(config, length, at, IVSHMEM_CAP_ID, IVSHMEM_CAP_SIZE);
		if (at == 0)
			break;
		words = parse(config + at);
	}
	return words;
}

bool
words_have(const struct words *words, uint16_t peer, unsigned vector)
{
	return peer < words->peers && vector >> words->shift == 0;
}

void
words_ring(const struct words *words, volatile uint32_t *area, uint16_t peer, unsigned vector)
{
	uint64_t offset = ivshmem_doorbell_offset(peer, (uint16_t)vector, words->shift);

	/* Any value rings. */
	area[offset / sizeof(*area)] = htole32(1);
}
