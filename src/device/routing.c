/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Who can be rung, the two doorbells, and their triggers.
 *
 * All there is to know about a peer is how many vectors it has, so all 65536 of them fit into an
 * array, and a hostile server has nothing to make grow. Triggers of a peer are added in the order
 * of its vectors, so a count says which exist, even if the host refuses one in the middle.
 */

#include <device/model.h>

#include <errno.h>
#include <stdlib.h>

#define N_IDS (IVSHMEM_MAX_ID + 1)

int
routing_init(struct ivshmem_device *device)
{
	if (!device->config.server)
		return 0;
	device->peer_vectors = calloc(N_IDS, sizeof(device->peer_vectors[0]));
	if (!device->peer_vectors)
		return -ENOMEM;
	for (enum doorbell doorbell = 0; doorbell < N_DOORBELLS; doorbell++) {
		uint16_t **counts = &device->triggers[doorbell].counts;

		if (doorbell == DOORBELL_WORDS && !device->config.doorbell_bar)
			continue;
		*counts = calloc(N_IDS, sizeof(**counts));
		if (!*counts)
			return -ENOMEM;
	}
	return 0;
}

void
routing_done(struct ivshmem_device *device)
{
	free(device->peer_vectors);
	for (enum doorbell doorbell = 0; doorbell < N_DOORBELLS; doorbell++)
		free(device->triggers[doorbell].counts);
}

unsigned
ivshmem_device_peer_vectors(const struct ivshmem_device *device, uint16_t peer)
{
	return device->peer_vectors ? device->peer_vectors[peer] : 0;
}

unsigned
routing_own_vectors(const struct ivshmem_device *device)
{
	return device->id < 0 ? 0 : ivshmem_device_peer_vectors(device, (uint16_t)device->id);
}

bool
routing_take_ring(struct ivshmem_device *device, unsigned vector)
{
	return vector < routing_own_vectors(device) && device->ops.take_ring &&
	       device->ops.take_ring(device, vector, device->config.data);
}

/* ---- doorbells ------------------------------------------------------------------------------- */

/* Ringing nobody is no error: a peer may have left while the guest was writing. */
static void
ring(struct ivshmem_device *device, uint16_t peer, unsigned vector)
{
	if (vector < ivshmem_device_peer_vectors(device, peer) && device->ops.ring)
		device->ops.ring(device, peer, vector, device->config.data);
}

void
routing_doorbell(struct ivshmem_device *device, uint32_t value)
{
	uint16_t peer = (uint16_t)(value >> 16);
	unsigned vector = value & (device->config.legacy_doorbell ? 0xff : 0xffff);

	ring(device, peer, vector);
}

unsigned
ivshmem_device_doorbell_shift(const struct ivshmem_device *device)
{
	unsigned shift = 0;

	if (device->config.doorbell_bar)
		while (1u << shift < device->config.vectors)
			shift++;
	return shift;
}

uint64_t
words_bar_size(const struct ivshmem_device *device)
{
	if (!device->config.doorbell_bar)
		return 0;
	return ivshmem_doorbell_offset(IVSHMEM_MAX_ID, 0, ivshmem_device_doorbell_shift(device)) +
	       ivshmem_doorbell_offset(1, 0, ivshmem_device_doorbell_shift(device));
}

/* The address says who, so the value says nothing. */
void
routing_words_write(struct ivshmem_device *device, uint64_t offset, unsigned size)
{
	uint64_t word = offset / 4;
	unsigned shift = ivshmem_device_doorbell_shift(device),
		 vector = (unsigned)word & ((1u << shift) - 1);
	uint16_t peer = (uint16_t)(word >> shift);

	if (size == 4 && offset % 4 == 0)
		ring(device, peer, vector);
}

/* ---- triggers -------------------------------------------------------------------------------- */

static struct ivshmem_device_ioeventfd
trigger_of(
	const struct ivshmem_device *device, enum doorbell doorbell, uint16_t peer, uint16_t vector)
{
	struct ivshmem_device_ioeventfd trigger = {
		.address = device->triggers[doorbell].at,
		.width = 4,
		.peer = peer,
		.vector = vector,
	};

	if (doorbell == DOORBELL_WORDS) {
		trigger.address += ivshmem_doorbell_offset(
			peer, vector, ivshmem_device_doorbell_shift(device));
	} else {
		trigger.match = true;
		trigger.datamatch = ivshmem_doorbell_value(peer, vector);
	}
	return trigger;
}

/* Where the register has 8-bit vectors, a value with more bits set means another vector, so it gets
 * no trigger. */
static unsigned
trigger_limit(const struct ivshmem_device *device, enum doorbell doorbell, uint16_t peer)
{
	unsigned n = device->peer_vectors[peer];
	bool folds = doorbell == DOORBELL_REGISTER && device->config.legacy_doorbell;

	return folds && n > 0x100 ? 0x100 : n;
}

static void
triggers_add(struct ivshmem_device *device, enum doorbell doorbell, uint16_t peer)
{
	struct triggers *triggers = &device->triggers[doorbell];

	if (triggers->at == 0)
		return;
	while (!triggers->refused &&
		triggers->counts[peer] < trigger_limit(device, doorbell, peer)) {
		struct ivshmem_device_ioeventfd trigger =
			trigger_of(device, doorbell, peer, triggers->counts[peer]);
		int r = device->ops.add_ioeventfd(device, &trigger, device->config.data);

		if (r >= 0) {
			triggers->counts[peer]++;
			continue;
		}
		/* Most likely there is no room for more; do not ask until there may be. */
		triggers->refused = true;
		report_warning(device, WARNING_IOEVENTFD,
			"the host does not add an ioeventfd for vector %u of peer %u (error %d): "
			"rings that have none take the way through this process, which is slower",
			trigger.vector, peer, -r);
	}
}

/* All that are missing: there may be room now that there was not. */
static void
triggers_fill(struct ivshmem_device *device)
{
	for (enum doorbell doorbell = 0; doorbell < N_DOORBELLS; doorbell++)
		device->triggers[doorbell].refused = false;
	for (uint32_t peer = 0; peer < device->peer_limit; peer++)
		for (enum doorbell doorbell = 0; doorbell < N_DOORBELLS; doorbell++)
			triggers_add(device, doorbell, (uint16_t)peer);
}

/* Returns whether there were any. */
static bool
triggers_remove(struct ivshmem_device *device, enum doorbell doorbell, uint16_t peer)
{
	struct triggers *triggers = &device->triggers[doorbell];

	if (triggers->at == 0 || triggers->counts[peer] == 0)
		return false;
	while (triggers->counts[peer] > 0) {
		struct ivshmem_device_ioeventfd trigger =
			trigger_of(device, doorbell, peer, --triggers->counts[peer]);

		device->ops.remove_ioeventfd(device, &trigger, device->config.data);
	}
	return true;
}

void
triggers_sync(struct ivshmem_device *device, const uint64_t at[N_DOORBELLS])
{
	bool moved = false;

	if (!device->can_ioeventfd)
		return;
	for (enum doorbell doorbell = 0; doorbell < N_DOORBELLS; doorbell++) {
		if (at[doorbell] == device->triggers[doorbell].at)
			continue;
		for (uint32_t peer = 0; peer < device->peer_limit; peer++)
			triggers_remove(device, doorbell, (uint16_t)peer);
		device->triggers[doorbell].at = at[doorbell];
		moved = true;
	}
	if (moved)
		triggers_fill(device);
}

/* ---- events from the server ------------------------------------------------------------------ */

int
ivshmem_device_add_vector(struct ivshmem_device *device, uint16_t peer)
{
	uint16_t vector;

	if (!device->config.server)
		return -EINVAL;
	vector = device->peer_vectors[peer];
	if (vector >= device->config.vectors)
		return -ENOSPC;
	device->peer_vectors[peer]++;
	if (peer >= device->peer_limit)
		device->peer_limit = (uint32_t)peer + 1;
	for (enum doorbell doorbell = 0; doorbell < N_DOORBELLS; doorbell++)
		triggers_add(device, doorbell, peer);
	if (peer == device->id && vector < device->msix_vectors)
		msix_sync_vector(device, vector);
	return vector;
}

/* Room that a peer's triggers leave behind goes to those that found none. */
int
ivshmem_device_remove_peer(struct ivshmem_device *device, uint16_t peer)
{
	bool made_room = false, refused = false;

	if (!device->config.server || peer == device->id)
		return -EINVAL;
	if (device->peer_vectors[peer] == 0)
		return -ENOENT;
	for (enum doorbell doorbell = 0; doorbell < N_DOORBELLS; doorbell++) {
		made_room |= triggers_remove(device, doorbell, peer);
		refused |= device->triggers[doorbell].refused;
	}
	device->peer_vectors[peer] = 0;
	if (made_room && refused)
		triggers_fill(device);
	return 0;
}
