/* SPDX-License-Identifier: BSD-2-Clause */
#include <function/record.h>

#include <base/error.h>
#include <base/log.h>
#include <device/checkpoint.h>

#include <errno.h>
#include <stdint.h>
#include <string.h>

/* Then the state of the device. */
struct record {
	uint32_t migration;
	uint32_t n_fds;
	bool intx_masked, intx_fired;
	int resample;
	int fds[]; /* of all indices, one after the other */
};

static uint32_t
count_fds(const struct irqs *irqs)
{
	uint32_t n = 0;

	for (unsigned i = 0; i < VFIO_PCI_NUM_IRQS; i++)
		n += irqs->index[i].count;
	return n;
}

static size_t
device_size(const struct function *function)
{
	return ivshmem_device_state_size(function->device, IVSHMEM_DEVICE_FORMAT_NATIVE);
}

size_t
function_record_size(const struct function *function)
{
	return sizeof(struct record) + count_fds(&function->irqs) * sizeof(int) +
	       device_size(function);
}

bool
function_is_touched(const struct function *function)
{
	return function->irqs.touched || device_is_touched(function->device);
}

void
function_write(struct function *function, void *buffer)
{
	struct irqs *irqs = &function->irqs;
	struct record *record = buffer;
	uint32_t n = 0;

	record->migration = function->migration.state;
	record->n_fds = count_fds(irqs);
	record->intx_masked = irqs->intx_masked;
	record->intx_fired = irqs->intx_fired;
	record->resample = irqs->resample.loop ? irqs->resample.fd : -1;
	for (unsigned i = 0; i < VFIO_PCI_NUM_IRQS; i++)
		for (unsigned k = 0; k < irqs->index[i].count; k++)
			record->fds[n++] = irqs->index[i].fds[k];
	device_checkpoint(function->device, record->fds + n);
	irqs->touched = false;
}

/* Nothing fires here: the device has no interrupt yet. */
static int
read_irqs(struct function *function, const struct record *record)
{
	struct irqs *irqs = &function->irqs;
	int fd = record->resample, r = irqs_set_resample(irqs, &fd);
	uint32_t n = 0;

	for (unsigned i = 0; i < VFIO_PCI_NUM_IRQS; i++)
		for (unsigned k = 0; k < irqs->index[i].count; k++) {
			fd = record->fds[n++];
			if (fd >= 0)
				function_assign(function, i, k, &fd);
		}
	/* The resample eventfd may have been read, and nothing done yet. To fire once more is harmless. */
	irqs->intx_masked = record->intx_masked && !(record->intx_fired && irqs->resample.fd >= 0);
	irqs->intx_fired = record->intx_fired;
	return r;
}

static void
read_migration(struct function *function, const struct record *record)
{
	struct migration *migration = &function->migration;

	migration->state = record->migration;
	if (migration->state == MIGRATION_STOP_COPY || migration->state == MIGRATION_RESUMING) {
		log_error(function->log,
			"the migration that was going on has failed, because its stream is lost: the VMM has to reset the device");
		migration->state = MIGRATION_ERROR;
	}
	function->irqs.stopped = !migration_is_running(migration);
}

int
function_read(
	struct function *function, const void *buffer, size_t size, struct ivshmem_error *reterr)
{
	const struct record *record = buffer;
	int r;

	if (size != function_record_size(function) || record->n_fds != count_fds(&function->irqs))
		return error_set(reterr, -EINVAL, "the record is that of another device");
	r = read_irqs(function, record);
	if (r < 0)
		return error_set(
			reterr, r, "the resample eventfd cannot be watched: %s", strerror(-r));
	read_migration(function, record);
	return device_recover(
		function->device, record->fds + record->n_fds, device_size(function), reterr);
}

void
function_list(const void *buffer, void (*note)(int fd, void *data), void *data)
{
	const struct record *record = buffer;

	note(record->resample, data);
	for (uint32_t i = 0; i < record->n_fds; i++)
		note(record->fds[i], data);
}
