/* SPDX-License-Identifier: BSD-2-Clause */
#include <function/function.h>

#include <base/error.h>
#include <base/eventfd.h>
#include <base/log.h>
#include <trace/trace.h>

#include <ivshmem/abi.h>

#include <errno.h>
#include <string.h>

/* As many vectors as the 8 bits of the legacy doorbell can name. */
#define LEGACY_VECTORS 256

/* ---- what the device asks for; the VMM maps the memory and emulates BAR1 itself -------------- */

static void
op_set_intx(struct ivshmem_device *device, bool level, void *data)
{
	struct function *function = data;

	(void)device;
	function->tally.raised += level;
	irqs_set_intx(&function->irqs, level);
}

static int
op_send_message(
	struct ivshmem_device *device, const struct ivshmem_device_message *message, void *data)
{
	struct function *function = data;

	int r;

	(void)device;
	/* Without an eventfd, the vector stays pending until the VMM brings one. */
	r = irqs_fire(&function->irqs, VFIO_PCI_MSIX_IRQ_INDEX, message->vector);
	if (r == 0)
		function->tally.sent++;
	else
		function->tally.deferred++;
	return r;
}

static void
op_ring(struct ivshmem_device *device, uint16_t peer, unsigned vector, void *data)
{
	struct function *function = data;

	(void)device;
	tally_ring(&function->tally, peer, vector);
	member_ring(function->member, peer, vector);
}

static bool
op_take_ring(struct ivshmem_device *device, unsigned vector, void *data)
{
	struct function *function = data;

	(void)device;
	return member_take_ring(function->member, vector);
}

static void
op_drop_rings(struct ivshmem_device *device, void *data)
{
	struct function *function = data;

	(void)device;
	member_drop_rings(function->member);
}

static void
op_log(struct ivshmem_device *device, enum ivshmem_log_level level, const char *message, void *data)
{
	const struct function *function = data;

	(void)device;
	log_printf(function->log,
		level == IVSHMEM_LOG_WARNING ? LOG_LEVEL_WARNING : LOG_LEVEL_DEBUG, "%s", message);
}

static const struct ivshmem_device_ops ops = {
	.struct_size = sizeof(ops),
	.set_intx = op_set_intx,
	.send_message = op_send_message,
	.ring = op_ring,
	.take_ring = op_take_ring,
	.drop_rings = op_drop_rings,
	.log = op_log,
};

/* ---- life ------------------------------------------------------------------------------------- */

static int
new_device(struct function *function, const struct ivshmem_device_config *config,
	struct ivshmem_error *reterr)
{
	struct ivshmem_device_config ours = *config;
	struct ivshmem_error error = {0};
	int r;

	ours.host_msix = true;
	ours.ops = &ops;
	ours.data = function;
	r = ivshmem_device_new(&function->device, &ours, &error);
	return r < 0 ? error_set(reterr, r, "%s", error.message) : 0;
}

int
function_init(struct function *function, struct loop *loop, struct member *member,
	const struct ivshmem_device_config *config, const struct log *log,
	struct ivshmem_error *reterr)
{
	struct migration_subject subject;
	struct ivshmem_device *device;
	int r;

	*function = (struct function){
		.log = log,
		.member = member,
	};
	/* A value matches exactly one vector only where the device does not fold vectors. */
	if (config->server && config->ioeventfd)
		function->io_vectors =
			config->legacy_doorbell ? LEGACY_VECTORS : IVSHMEM_MAX_VECTORS;
	if (config->server && config->ioeventfd && config->doorbell_bar)
		function->io_words = IVSHMEM_MAX_VECTORS;
	r = new_device(function, config, reterr);
	if (r < 0)
		return r;
	device = function->device;
	subject = (struct migration_subject){
		.device = device,
		.memory = member_memory(member),
		.member = member,
		.memory_size = ivshmem_device_bar_size(device, IVSHMEM_BAR_MEMORY),
		.log = log,
	};
	migration_init(&function->migration, &subject);
	r = irqs_init(&function->irqs, loop, ivshmem_device_has_intx(device),
		ivshmem_device_msix_vectors(device));
	if (r < 0)
		error_set(reterr, r, "out of memory");
	else
		r = member_attach(member, device, reterr);
	if (r < 0)
		function_done(function);
	return r;
}

void
function_done(struct function *function)
{
	if (!function->device)
		return;
	member_detach(function->member);
	migration_done(&function->migration);
	function->device = ivshmem_device_free(function->device);
	irqs_done(&function->irqs);
}

void
function_assign(struct function *function, unsigned index, unsigned number, int *fd)
{
	if (index == VFIO_PCI_MSIX_IRQ_INDEX) {
		int32_t id = member_id(function->member);
		int own = id >= 0 ? member_eventfd(function->member, (uint16_t)id, number) : -1;

		member_watch(
			function->member, number, own < 0 || *fd < 0 || !eventfd_same(own, *fd));
	}
	irqs_assign(&function->irqs, index, number, fd);
	/* Deliver what came before there was an eventfd. */
	if (index == VFIO_PCI_MSIX_IRQ_INDEX)
		ivshmem_device_retry(function->device, number);
}

void
function_disable(struct function *function, unsigned index)
{
	irqs_disable(&function->irqs, index);
	for (unsigned i = 0;
		index == VFIO_PCI_MSIX_IRQ_INDEX && i < function->irqs.index[index].count; i++)
		member_watch(function->member, i, true);
}

/* Stop delivering interrupts, or go on, with those that came meanwhile. */
static void
set_stopped(struct function *function, bool stopped)
{
	bool was = function->irqs.stopped;

	irqs_set_stopped(&function->irqs, stopped);
	if (was && !stopped)
		for (unsigned i = 0; i < function->irqs.index[VFIO_PCI_MSIX_IRQ_INDEX].count; i++)
			ivshmem_device_retry(function->device, i);
}

void
function_reset(struct function *function)
{
	TRACE(device_reset, member_id(function->member));
	ivshmem_device_reset(function->device);
	migration_reset(&function->migration);
	set_stopped(function, false);
}

void
function_restart(struct function *function)
{
	for (unsigned i = 0; i < VFIO_PCI_NUM_IRQS; i++)
		function_disable(function, i);
	function_reset(function);
}

void
function_drop_write(struct function *function)
{
	if (function->n_dropped_writes++ == 0)
		log_warning(function->log,
			"the guest wrote to the shared memory, which it may only read; this and later writes are dropped");
}

int
function_set_state(struct function *function, uint32_t state, struct ivshmem_error *reterr)
{
	struct migration *migration = &function->migration;
	enum migration_state from = migration->state;
	int r;

	/* The memory may have arrived meanwhile. */
	migration_set_memory(migration, member_memory(function->member));
	/* Saving the state finds the rings that nobody has looked at. They belong to it. */
	set_stopped(function, true);
	r = migration_set_state(migration, state, reterr);
	TRACE(migration_state, from, state, r);
	set_stopped(function, !migration_is_running(migration));
	return r;
}
