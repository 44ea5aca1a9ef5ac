/* SPDX-License-Identifier: BSD-2-Clause */

/* The life of a device, what the server and the host tell it, and questions about it. */

#include <device/config.h>
#include <device/doorbells.h>
#include <device/effects.h>
#include <device/msix.h>
#include <device/triggers.h>

#include <base/error.h>
#include <base/sized.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- life ------------------------------------------------------------------------------------ */

void
ivshmem_device_config_init(
	struct ivshmem_device_config *config, size_t struct_size, unsigned revision)
{
	const struct personality *known = personality_find(revision);
	struct ivshmem_device_config defaults = {
		.revision = revision,
		.server = true,
		.msi = true,
		.vectors = 1,
	};
	if (known) {
		defaults.memory_size = known->default_memory;
		defaults.id = known->default_id;
		defaults.master = known->default_master;
		defaults.ioeventfd = known->default_ioeventfd;
	}
	sized_out(config, struct_size, &defaults, sizeof(defaults));
}

/* Take what the host gave. It may know other versions of the structs. */
static int
take(struct ivshmem_device_config *config, struct ivshmem_device_ops *ops,
	const struct ivshmem_device_config *given, struct ivshmem_error *reterr)
{
	int r = SIZED_IN(struct ivshmem_device_config, data, config, given, reterr);

	return r == 0 && config->ops
		       ? SIZED_IN(struct ivshmem_device_ops, log, ops, config->ops, reterr)
		       : r;
}

static int
check_server(const struct ivshmem_device_config *config, const struct personality *personality,
	struct ivshmem_error *reterr)
{
	int r;

	if (config->vectors < 1 || config->vectors > IVSHMEM_MAX_VECTORS)
		return error_set(reterr, -EINVAL, "vectors must be 1 to %d, not %u",
			IVSHMEM_MAX_VECTORS, config->vectors);
	r = personality_check_interrupts(personality, config, reterr);
	if (r < 0)
		return r;
	if (config->doorbell_bar && !personality->bars[IVSHMEM_BAR_DOORBELL])
		return error_set(reterr, -EINVAL,
			"revision %u has no doorbell-bar: switch it off, or use revision 1",
			personality->number);
	if (config->id > IVSHMEM_MAX_ID || config->id < IVSHMEM_DEVICE_NO_ID)
		return error_set(reterr, -EINVAL, "id must be 0 to %d, not %" PRId32,
			IVSHMEM_MAX_ID, config->id);
	if (config->id == IVSHMEM_DEVICE_NO_ID && personality->default_id != IVSHMEM_DEVICE_NO_ID)
		return error_set(reterr, -EINVAL,
			"revision %u cannot be created before the server told its id",
			personality->number);
	if (config->master == IVSHMEM_DEVICE_MASTER_ON && personality->check_master)
		return personality->check_master(config, reterr);
	return 0;
}

static int
check_config(const struct ivshmem_device_config *config, const struct personality *personality,
	struct ivshmem_error *reterr)
{
	uint64_t size = config->memory_size;

	if (size == 0 || (size & (size - 1)) != 0)
		return error_set(reterr, -EINVAL,
			"memory size must be a power of two, which %" PRIu64 " bytes is not", size);
	if (size < IVSHMEM_DEVICE_MIN_MEMORY || size > personality->max_memory)
		return error_set(reterr, -EINVAL,
			"memory size must be %" PRIu64 " to %" PRIu64
			" bytes in revision %u, not %" PRIu64,
			IVSHMEM_DEVICE_MIN_MEMORY, personality->max_memory, personality->number,
			size);
	if ((unsigned)config->master >= IVSHMEM_DEVICE_MASTER_COUNT)
		return error_set(reterr, -EINVAL, "master must be on, off or auto, not %u",
			(unsigned)config->master);
	return config->server ? check_server(config, personality, reterr) : 0;
}

/*
 * A plain device has id 0, and ignores what its configuration says about peers and interrupts. Only
 * msi stays: without vectors there is no MSI-X, but the 2010 form of a saved state depends on this
 * property.
 */
static void
make_plain(struct ivshmem_device_config *config)
{
	config->id = 0;
	config->vectors = 0;
	config->ioeventfd = false;
	config->doorbell_bar = false;
}

static void
ops_init(struct ivshmem_device *device)
{
	struct ivshmem_device_ops *ops = &device->ops;

	/* One without the other is useless. */
	device->can_ioeventfd =
		device->config.ioeventfd && ops->add_ioeventfd && ops->remove_ioeventfd;
	device->can_irqfd = !device->config.host_msix && ops->attach_irqfd && ops->detach_irqfd;
}

int
ivshmem_device_new(struct ivshmem_device **ret_device, const struct ivshmem_device_config *given,
	struct ivshmem_error *reterr)
{
	struct ivshmem_device_config config;
	struct ivshmem_device_ops ops = {0};
	const struct personality *personality;
	struct ivshmem_device *device;
	int r;

	r = take(&config, &ops, given, reterr);
	if (r < 0)
		return r;
	personality = personality_find(config.revision);
	if (!personality)
		return error_set(
			reterr, -EINVAL, "revision must be 0 or 1, not %u", config.revision);
	r = check_config(&config, personality, reterr);
	if (r < 0)
		return r;

	device = calloc(1, sizeof(*device));
	if (!device)
		return error_set(reterr, -ENOMEM, "out of memory");
	device->personality = personality;
	device->config = config;
	device->ops = ops;
	if (!config.server)
		make_plain(&device->config);
	device->id = device->config.id;
	ops_init(device);
	r = doorbells_init(device);
	if (r >= 0)
		r = msix_init(device);
	config_init(device);
	if (r >= 0)
		r = triggers_init(device);
	if (r < 0) {
		ivshmem_device_free(device);
		return error_set(reterr, r, "out of memory");
	}
	*ret_device = device;
	return 0;
}

/* In the state after power-on, nothing asks for an effect. So effects_sync() undoes them all. */
static void
power_on(struct ivshmem_device *device)
{
	config_reset(device);
	msix_reset(device);
	device->intr_mask = device->intr_status = 0;
	device->touched = true;
	effects_sync(device);
}

struct ivshmem_device *
ivshmem_device_free(struct ivshmem_device *device)
{
	if (!device)
		return NULL;
	power_on(device);
	msix_done(device);
	triggers_done(device);
	doorbells_done(device);
	free(device);
	return NULL;
}

void
ivshmem_device_reset(struct ivshmem_device *device)
{
	power_on(device);
	/* Otherwise, rings from before the reset that still wait in their eventfds would be pending
	 * after it. */
	if (device->ops.drop_rings) {
		device->ops.drop_rings(device, device->config.data);
		return;
	}
	for (unsigned i = 0; i < doorbells_own_vectors(device); i++)
		doorbells_take_ring(device, i);
}

/* ---- what the server and the host tell ------------------------------------------------------- */

int
ivshmem_device_set_id(struct ivshmem_device *device, uint16_t id)
{
	if (!device->config.server)
		return -EINVAL;
	if (device->id != IVSHMEM_DEVICE_NO_ID)
		return -EALREADY;
	device->id = id;
	/* The server may have announced vectors of this id before. */
	device->vectors_changed = true;
	effects_sync(device);
	return 0;
}

int
ivshmem_device_set_memory(
	struct ivshmem_device *device, void *memory, uint64_t size, struct ivshmem_error *reterr)
{
	int r;

	if (device->has_memory)
		return error_set(reterr, -EALREADY,
			"unexpected shared memory message: the device has its memory already");
	r = device->personality->check_memory(device, size, reterr);
	if (r < 0)
		return r;
	device->has_memory = true;
	device->memory = memory;
	effects_sync(device);
	return 0;
}

int
ivshmem_device_add_vector(struct ivshmem_device *device, uint16_t peer)
{
	int vector;

	if (!device->config.server)
		return -EINVAL;
	vector = doorbells_add_vector(device, peer);
	if (vector < 0)
		return vector;
	triggers_add(device, peer);
	if (peer == device->id && device->msix_vectors)
		msix_sync_vector(device, (unsigned)vector);
	return vector;
}

/* Triggers that found no room get the room that this peer's triggers leave. */
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

int
ivshmem_device_interrupt(struct ivshmem_device *device, unsigned vector)
{
	if (vector >= doorbells_own_vectors(device))
		return -EINVAL;
	if (device->msix_vectors)
		msix_interrupt(device, vector);
	else
		device->personality->pin->interrupt(device);
	effects_sync(device);
	return 0;
}

void
ivshmem_device_retry(struct ivshmem_device *device, unsigned vector)
{
	if (vector < device->msix_vectors)
		msix_sync_vector(device, vector);
}

/* ---- questions ------------------------------------------------------------------------------- */

bool
ivshmem_device_has_intx(const struct ivshmem_device *device)
{
	return device->personality->pin != NULL;
}

bool
ivshmem_device_intx(const struct ivshmem_device *device)
{
	return device->intx;
}

int32_t
ivshmem_device_id(const struct ivshmem_device *device)
{
	return device->id;
}

bool
ivshmem_device_is_master(const struct ivshmem_device *device)
{
	return device->config.master == IVSHMEM_DEVICE_MASTER_ON ||
	       (device->config.master == IVSHMEM_DEVICE_MASTER_AUTO && device->id == 0);
}
