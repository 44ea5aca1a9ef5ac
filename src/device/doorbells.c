/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * The peers that can be rung, and the two doorbells: the register in BAR0, and the words in BAR4.
 *
 * The model knows of a peer only how many vectors it has. So an array has room for all 65536 peers,
 * and a hostile server cannot make it grow.
 */

#include <device/doorbells.h>

#include <device/config.h>

#include <errno.h>
#include <stdlib.h>

/* ---- peers ----------------------------------------------------------------------------------- */

int
doorbells_init(struct ivshmem_device *device)
{
	if (!device->config.server)
		return 0;
	device->peer_vectors = calloc(IVSHMEM_MAX_ID + 1, sizeof(device->peer_vectors[0]));
	return device->peer_vectors ? 0 : -ENOMEM;
}

void
doorbells_done(struct ivshmem_device *device)
{
	free(device->peer_vectors);
}

int
doorbells_add_vector(struct ivshmem_device *device, uint16_t peer)
{
	if (device->peer_vectors[peer] >= device->config.vectors)
		return -ENOSPC;
	if (peer >= device->peer_limit)
		device->peer_limit = (uint32_t)peer + 1;
	return device->peer_vectors[peer]++;
}

unsigned
ivshmem_device_peer_vectors(const struct ivshmem_device *device, uint16_t peer)
{
	return device->peer_vectors ? device->peer_vectors[peer] : 0;
}

unsigned
doorbells_own_vectors(const struct ivshmem_device *device)
{
	return device->id < 0 ? 0 : ivshmem_device_peer_vectors(device, (uint16_t)device->id);
}

bool
doorbells_take_ring(struct ivshmem_device *device, unsigned vector)
{
	return vector < doorbells_own_vectors(device) && device->ops.take_ring &&
	       device->ops.take_ring(device, vector, device->config.data);
}

/* A ring of a peer that is not there is no error: it may have left while the guest was writing. */
static void
ring(struct ivshmem_device *device, uint16_t peer, unsigned vector)
{
	if (vector < ivshmem_device_peer_vectors(device, peer) && device->ops.ring)
		device->ops.ring(device, peer, vector, device->config.data);
}

/* ---- the register: the value names peer and vector ------------------------------------------- */

/* Which bits of a value are the vector. */
static unsigned
vector_bits(const struct ivshmem_device *device)
{
	return device->config.legacy_doorbell ? 0xff : 0xffff;
}

void
doorbells_register_write(struct ivshmem_device *device, uint32_t value)
{
	ring(device, (uint16_t)(value >> 16), value & vector_bits(device));
}

/* With legacy_doorbell, no value names a vector above 255. */
static bool
register_encode(const struct ivshmem_device *device, uint16_t peer, unsigned vector,
	struct ivshmem_device_ioeventfd *ret_trigger)
{
	if (vector > vector_bits(device))
		return false;
	ret_trigger->address = IVSHMEM_REG_DOORBELL;
	ret_trigger->match = true;
	ret_trigger->datamatch = ivshmem_doorbell_value(peer, (uint16_t)vector);
	return true;
}

const struct doorbell doorbell_register = {IVSHMEM_BAR_REGISTERS, register_encode};

/* ---- the words: the address names peer and vector, and the value means nothing --------------- */

unsigned
ivshmem_device_doorbell_shift(const struct ivshmem_device *device)
{
	unsigned shift = 0;

	if (device->config.doorbell_bar)
		while (1u << shift < device->config.vectors)
			shift++;
	return shift;
}

static uint64_t
words_size(const struct ivshmem_device *device)
{
	unsigned shift = ivshmem_device_doorbell_shift(device);

	if (!device->config.doorbell_bar)
		return 0;
	return ivshmem_doorbell_offset(IVSHMEM_MAX_ID, 0, shift) +
	       ivshmem_doorbell_offset(1, 0, shift);
}

static unsigned
words_capability_size(const struct ivshmem_device *device)
{
	return device->config.doorbell_bar ? IVSHMEM_CAP_SIZE : 0;
}

static void
words_capability_init(struct ivshmem_device *device, unsigned offset)
{
	uint8_t *capability = &device->space[offset];

	capability[IVSHMEM_CAP_LENGTH] = IVSHMEM_CAP_SIZE;
	capability[IVSHMEM_CAP_TYPE] = IVSHMEM_CAP_TYPE_DOORBELL;
	capability[IVSHMEM_CAP_BAR] = IVSHMEM_BAR_DOORBELL;
	capability[IVSHMEM_CAP_SHIFT] = (uint8_t)ivshmem_device_doorbell_shift(device);
	config_put_dword(device->space, offset + IVSHMEM_CAP_PEERS, IVSHMEM_MAX_ID + 1);
	config_put_dword(device->space, offset + IVSHMEM_CAP_SIGNATURE, IVSHMEM_CAP_SIGNATURE_IVDB);
}

const struct capability words_capability = {
	IVSHMEM_CAP_ID, words_capability_size, words_capability_init};

static void
words_write(struct ivshmem_device *device, uint64_t offset, unsigned size, uint64_t value)
{
	unsigned shift = ivshmem_device_doorbell_shift(device);
	uint64_t word = offset / 4;

	(void)size, (void)value;
	ring(device, (uint16_t)(word >> shift), (unsigned)word & ((1u << shift) - 1));
}

static bool
words_encode(const struct ivshmem_device *device, uint16_t peer, unsigned vector,
	struct ivshmem_device_ioeventfd *ret_trigger)
{
	ret_trigger->address = ivshmem_doorbell_offset(
		peer, (uint16_t)vector, ivshmem_device_doorbell_shift(device));
	return true;
}

const struct doorbell doorbell_words = {IVSHMEM_BAR_DOORBELL, words_encode};

/* Prefetchable: reading it has no effect, and bridges have no other kind of 64-bit window. */
const struct bar words_bar = {
	.size = words_size,
	.type = BAR_TYPE_64 | BAR_PREFETCHABLE,
	.widths = 4,
	.write = words_write,
};
