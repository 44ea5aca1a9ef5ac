/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * The triggers of a peer are added in the order of its vectors. So a count says which ones exist,
 * even if the host refuses one in the middle.
 */

#include <device/triggers.h>

#include <device/report.h>

#include <errno.h>
#include <stdlib.h>

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
			"the host does not add an ioeventfd for vector %u of peer %u (error %d): rings that have none take the way through this process, which is slower",
			trigger.vector, peer, -r);
	}
}

/* Returns whether there were any. */
static bool
remove_all(struct ivshmem_device *device, struct triggers *triggers, uint16_t peer)
{
	struct ivshmem_device_ioeventfd trigger;
	bool any;

	if (triggers->at == 0 || !triggers->counts)
		return false;
	any = triggers->counts[peer] > 0;
	while (triggers->counts[peer] > 0) {
		encode(device, triggers, peer, --triggers->counts[peer], &trigger);
		device->ops.remove_ioeventfd(device, &trigger, device->config.data);
	}
	return any;
}

void
triggers_add(struct ivshmem_device *device, uint16_t peer)
{
	for (unsigned i = 0; i < N_DOORBELLS; i++)
		add(device, &device->triggers[i], peer);
}

bool
triggers_remove(struct ivshmem_device *device, uint16_t peer)
{
	bool made_room = false, refused = false;

	for (unsigned i = 0; i < N_DOORBELLS; i++) {
		made_room |= remove_all(device, &device->triggers[i], peer);
		refused |= device->triggers[i].refused;
	}
	return made_room && refused;
}

void
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
