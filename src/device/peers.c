/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Who can be rung, the doorbell, and its triggers.
 *
 * All there is to know about a peer is how many vectors it has, so all 65536 of them fit into an
 * array, and a hostile server has nothing to make grow. Triggers of a peer are added in the order
 * of its vectors, so a count says which exist, even if the host refuses one in the middle.
 */

#include <model.h>

#include <errno.h>
#include <stdlib.h>

#define N_IDS (IVSHMEM_MAX_ID + 1)

int
peers_init(struct ivshmem_device *device)
{
	if (!device->config.server)
		return 0;
	device->peer_vectors = calloc(N_IDS, sizeof(device->peer_vectors[0]));
	device->triggers = calloc(N_IDS, sizeof(device->triggers[0]));
	return device->peer_vectors && device->triggers ? 0 : -ENOMEM;
}

void
peers_done(struct ivshmem_device *device)
{
	free(device->peer_vectors);
	free(device->triggers);
}

unsigned
ivshmem_device_peer_vectors(const struct ivshmem_device *device, uint16_t peer)
{
	return device->peer_vectors ? device->peer_vectors[peer] : 0;
}

unsigned
peers_own_vectors(const struct ivshmem_device *device)
{
	return device->id < 0 ? 0 : ivshmem_device_peer_vectors(device, (uint16_t)device->id);
}

/* ---- doorbell -------------------------------------------------------------------------------- */

/* Ringing nobody is no error: a peer may have left while the guest was writing. */
void
peers_doorbell(struct ivshmem_device *device, uint32_t value)
{
	uint16_t peer = (uint16_t)(value >> 16);
	unsigned vector = value & (device->config.legacy_doorbell ? 0xff : 0xffff);

	if (vector < ivshmem_device_peer_vectors(device, peer))
		device->ops.ring(device, peer, vector, device->config.data);
}

/* ---- triggers -------------------------------------------------------------------------------- */

static struct ivshmem_device_ioeventfd
trigger_of(const struct ivshmem_device *device, uint16_t peer, uint16_t vector)
{
	return (struct ivshmem_device_ioeventfd){.address = device->triggers_at,
		.width = 4,
		.datamatch = ivshmem_doorbell_value(peer, vector),
		.peer = peer,
		.vector = vector};
}

/* With 8-bit vectors, a value with more bits set means another vector, so it gets no trigger. */
static unsigned
trigger_limit(const struct ivshmem_device *device, uint16_t peer)
{
	unsigned n = device->peer_vectors[peer];

	return device->config.legacy_doorbell && n > 0x100 ? 0x100 : n;
}

static void
triggers_add(struct ivshmem_device *device, uint16_t peer)
{
	if (device->triggers_at == 0)
		return;
	while (!device->triggers_refused && device->triggers[peer] < trigger_limit(device, peer)) {
		struct ivshmem_device_ioeventfd trigger =
			trigger_of(device, peer, device->triggers[peer]);
		int r = device->ops.add_ioeventfd(device, &trigger, device->config.data);

		if (r >= 0) {
			device->triggers[peer]++;
			continue;
		}
		/* Most likely there is no room for more; do not ask until there may be. */
		device->triggers_refused = true;
		report_warning(device, WARNING_IOEVENTFD,
			"the host does not add an ioeventfd for vector %u of peer %u (error %d): "
			"rings that have none take the way through this process, which is slower",
			trigger.vector, peer, -r);
	}
}

static void
triggers_remove(struct ivshmem_device *device, uint16_t peer)
{
	while (device->triggers[peer] > 0) {
		struct ivshmem_device_ioeventfd trigger =
			trigger_of(device, peer, --device->triggers[peer]);

		device->ops.remove_ioeventfd(device, &trigger, device->config.data);
	}
}

void
triggers_sync(struct ivshmem_device *device, uint64_t doorbell)
{
	if (!device->can_ioeventfd || doorbell == device->triggers_at)
		return;
	for (uint32_t peer = 0; peer < device->peer_limit; peer++)
		triggers_remove(device, (uint16_t)peer);
	device->triggers_at = doorbell;
	device->triggers_refused = false;
	for (uint32_t peer = 0; peer < device->peer_limit; peer++)
		triggers_add(device, (uint16_t)peer);
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
	triggers_add(device, peer);
	if (peer == device->id && vector < device->msix_vectors)
		msix_sync_vector(device, vector);
	return vector;
}

/* Room that a peer's triggers leave behind goes to those that found none. */
int
ivshmem_device_remove_peer(struct ivshmem_device *device, uint16_t peer)
{
	bool made_room;

	if (!device->config.server || peer == device->id)
		return -EINVAL;
	if (device->peer_vectors[peer] == 0)
		return -ENOENT;
	made_room = device->triggers_refused && device->triggers[peer] > 0;
	triggers_remove(device, peer);
	device->peer_vectors[peer] = 0;
	if (made_room) {
		device->triggers_refused = false;
		for (uint32_t other = 0; other < device->peer_limit; other++)
			triggers_add(device, (uint16_t)other);
	}
	return 0;
}
