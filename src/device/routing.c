/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Who can be rung, the two doorbells (the register in BAR0, the words in BAR4), and their triggers.
 *
 * All there is to know about a peer is how many vectors it has, so all 65536 of them fit into an
 * array, and a hostile server has nothing to make grow. Triggers of a peer are added in the order of
 * its vectors, so a count says which exist, even if the host refuses one in the middle.
 */

#include <device/model.h>

#include <errno.h>
#include <stdlib.h>

/* ---- peers ----------------------------------------------------------------------------------- */

int
routing_init(struct ivshmem_device *device)
{
	if (!device->config.server)
		return 0;
	device->peer_vectors = calloc(IVSHMEM_MAX_ID + 1, sizeof(device->peer_vectors[0]));
	return device->peer_vectors ? 0 : -ENOMEM;
}

void
routing_done(struct ivshmem_device *device)
{
	free(device->peer_vectors);
}

static int
routing_add_vector(struct ivshmem_device *device, uint16_t peer)
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

/* Ringing nobody is no error: a peer may have left while the guest was writing. */
static void
ring(struct ivshmem_device *device, uint16_t peer, unsigned vector)
{
	if (vector < ivshmem_device_peer_vectors(device, peer) && device->ops.ring)
		device->ops.ring(device, peer, vector, device->config.data);
}

/* ---- the register: the value says who -------------------------------------------------------- */

/* The bits of a value that are the vector. */
static unsigned
vector_bits(const struct ivshmem_device *device)
{
	return device->config.legacy_doorbell ? 0xff : 0xffff;
}

void
routing_doorbell(struct ivshmem_device *device, uint32_t value)
{
	ring(device, (uint16_t)(value >> 16), value & vector_bits(device));
}

/* Where vectors have 8 bits, a value with more bits set means another vector. */
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

/* ---- the words: the address says who, so the value says nothing ------------------------------ */

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

/* Reading it has no effect, and there is no other kind of 64-bit window behind a bridge. */
const struct bar words_bar = {
	.size = words_size,
	.type = BAR_TYPE_64 | BAR_PREFETCHABLE,
	.widths = 4,
	.write = words_write,
};

/* ---- triggers -------------------------------------------------------------------------------- */

int
triggers_init(struct ivshmem_device *device)
{
	for (unsigned i = 0; device->can_ioeventfd && i < N_DOORBELLS; i++) {
		const struct doorbell *doorbell = device->personality->doorbells[i];
		struct triggers *triggers = &device->triggers[i];

		if (!doorbell || device->bar_sizes[doorbell->bar] == 0)
			continue;
		triggers->doorbell = doorbell;
		triggers->counts = calloc(IVSHMEM_MAX_ID + 1, sizeof(triggers->counts[0]));
		if (!triggers->counts)
			return -ENOMEM;
	}
	return 0;
}

void
triggers_done(struct ivshmem_device *device)
{
	for (unsigned i = 0; i < N_DOORBELLS; i++)
		free(device->triggers[i].counts);
}

static bool
encode(const struct ivshmem_device *device, const struct triggers *triggers, uint16_t peer,
	uint16_t vector, struct ivshmem_device_ioeventfd *ret_trigger)
{
	*ret_trigger =
		(struct ivshmem_device_ioeventfd){.width = 4, .peer = peer, .vector = vector};
	if (!triggers->doorbell->encode(device, peer, vector, ret_trigger))
		return false;
	ret_trigger->address += triggers->at;
	return true;
}

static void
add(struct ivshmem_device *device, struct triggers *triggers, uint16_t peer)
{
	struct ivshmem_device_ioeventfd trigger;

	if (triggers->at == 0)
		return;
	while (!triggers->refused && triggers->counts[peer] < device->peer_vectors[peer] &&
		encode(device, triggers, peer, triggers->counts[peer], &trigger)) {
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

/* Returns whether there were any. */
static bool
remove_all(struct ivshmem_device *device, struct triggers *triggers, uint16_t peer)
{
	struct ivshmem_device_ioeventfd trigger;
	bool any = triggers->at != 0 && triggers->counts[peer] > 0;

	while (triggers->at != 0 && triggers->counts[peer] > 0) {
		encode(device, triggers, peer, --triggers->counts[peer], &trigger);
		device->ops.remove_ioeventfd(device, &trigger, device->config.data);
	}
	return any;
}

static void
triggers_add(struct ivshmem_device *device, uint16_t peer)
{
	for (unsigned i = 0; i < N_DOORBELLS; i++)
		add(device, &device->triggers[i], peer);
}

static bool
triggers_remove(struct ivshmem_device *device, uint16_t peer)
{
	bool made_room = false, refused = false;

	for (unsigned i = 0; i < N_DOORBELLS; i++) {
		made_room |= remove_all(device, &device->triggers[i], peer);
		refused |= device->triggers[i].refused;
	}
	return made_room && refused;
}

static void
triggers_fill(struct ivshmem_device *device)
{
	for (unsigned i = 0; i < N_DOORBELLS; i++)
		device->triggers[i].refused = false;
	for (uint32_t peer = 0; peer < device->peer_limit; peer++)
		triggers_add(device, (uint16_t)peer);
}

void
triggers_sync(struct ivshmem_device *device)
{
	bool moved = false;

	for (unsigned i = 0; i < N_DOORBELLS; i++) {
		struct triggers *triggers = &device->triggers[i];
		uint64_t at = triggers->counts
				      ? ivshmem_device_bar_address(device, triggers->doorbell->bar)
				      : 0;

		if (at == triggers->at)
			continue;
		for (uint32_t peer = 0; peer < device->peer_limit; peer++)
			remove_all(device, triggers, (uint16_t)peer);
		triggers->at = at;
		moved = true;
	}
	if (moved)
		triggers_fill(device);
}

/* ---- events from the server ------------------------------------------------------------------ */

int
ivshmem_device_add_vector(struct ivshmem_device *device, uint16_t peer)
{
	int vector;

	if (!device->config.server)
		return -EINVAL;
	vector = routing_add_vector(device, peer);
	if (vector < 0)
		return vector;
	triggers_add(device, peer);
	if (peer == device->id && device->msix_vectors)
		msix_sync_vector(device, (unsigned)vector);
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
	made_room = triggers_remove(device, peer);
	device->peer_vectors[peer] = 0;
	if (made_room)
		triggers_fill(device);
	return 0;
}
