/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * MSI-X: table and pending bits (BAR1), delivery, irqfds.
 *
 * A vector is open when its message may be sent. A ring sets the pending bit and then tries to send
 * the message. If that is not possible, the vector stays pending, and the model tries again when
 * the vector opens. So a ring is delivered once, whether it comes before MSI-X is enabled, while
 * the vector or the function is masked, or while the guest has turned bus mastering off.
 *
 * An irqfd is attached to exactly those vectors that are open and that the server has announced.
 * While it is attached, neither the host nor this model sees the rings. When a vector closes, the
 * irqfd is detached first, and then the host watches the eventfd again. When it opens, the model
 * takes the rings that came meanwhile, attaches the irqfd, and sends the message for them. A ring
 * that arrives in between stays in the eventfd, for the irqfd.
 */

#include <device/msix.h>

#include <device/config.h>
#include <device/doorbells.h>
#include <device/report.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- layout ---------------------------------------------------------------------------------- */

#define MIN_PBA_OFFSET 0x800
#define MIN_BAR_SIZE   4096

/* The pending bits come in units of 64. */
static unsigned
pba_bytes(unsigned vectors)
{
	return (vectors + 63) / 64 * 8;
}

static uint32_t
pba_offset(unsigned vectors)
{
	uint32_t table = vectors * ENTRY_SIZE;

	return table > MIN_PBA_OFFSET ? table : MIN_PBA_OFFSET;
}

static uint64_t
msix_size(const struct ivshmem_device *device)
{
	uint64_t need = device->pba_offset + pba_bytes(device->msix_vectors), size = MIN_BAR_SIZE;

	if (device->msix_vectors == 0)
		return 0;
	while (size < need)
		size *= 2;
	return size;
}

/* ---- capability ------------------------------------------------------------------------------ */

#define CAPABILITY_SIZE  12
#define CONTROL          2 /* offsets in it */
#define TABLE            4
#define PBA              8
#define CONTROL_MASK_ALL 0x4000
#define CONTROL_ENABLE   0x8000

static unsigned
capability_size(const struct ivshmem_device *device)
{
	return device->msix_vectors > 0 ? CAPABILITY_SIZE : 0;
}

static void
capability_init(struct ivshmem_device *device, unsigned offset)
{
	device->msix_offset = offset;
	config_put_word(device->space, offset + CONTROL, device->msix_vectors - 1);
	config_put_word(device->writable, offset + CONTROL, CONTROL_ENABLE | CONTROL_MASK_ALL);
	config_put_dword(device->space, offset + TABLE, IVSHMEM_BAR_MSIX);
	config_put_dword(device->space, offset + PBA, device->pba_offset | IVSHMEM_BAR_MSIX);
}

const struct capability msix_capability = {0x11, capability_size, capability_init};

static uint16_t
control(const struct ivshmem_device *device)
{
	return device->msix_vectors > 0 ? config_word(device, device->msix_offset + CONTROL) : 0;
}

/* ---- delivery -------------------------------------------------------------------------------- */

bool
msix_enabled(const struct ivshmem_device *device)
{
	return (control(device) & CONTROL_ENABLE) != 0;
}

/* Whether any message may be sent. It is a write to memory, so it needs bus mastering. */
static bool
gate(const struct ivshmem_device *device)
{
	return (control(device) & (CONTROL_ENABLE | CONTROL_MASK_ALL)) == CONTROL_ENABLE &&
	       (config_word(device, CONFIG_COMMAND) & COMMAND_MASTER);
}

static bool
is_open(const struct ivshmem_device *device, const struct vector *vector)
{
	if (device->config.host_msix)
		return true;
	return gate(device) && !(vector->entry[ENTRY_CONTROL] & ENTRY_CONTROL_MASKED);
}

static struct ivshmem_device_message
message_of(const struct ivshmem_device *device, unsigned index)
{
	const uint32_t *entry = device->vectors[index].entry;
	struct ivshmem_device_message message = {.vector = index};

	if (!device->config.host_msix) {
		message.address = (uint64_t)entry[ENTRY_ADDRESS_HIGH] << 32 |
				  (entry[ENTRY_ADDRESS] & ~UINT32_C(3));
		message.data = entry[ENTRY_DATA];
	}
	return message;
}

static bool
same_message(const struct ivshmem_device_message *a, const struct ivshmem_device_message *b)
{
	return a->address == b->address && a->data == b->data;
}

static void
attach(struct ivshmem_device *device, struct vector *vector,
	const struct ivshmem_device_message *message)
{
	int r;

	if (doorbells_take_ring(device, message->vector)) {
		vector->pending = true;
		device->touched = true;
	}
	r = device->ops.attach_irqfd(device, message, device->config.data);
	vector->attached = r >= 0;
	vector->attached_message = *message;
	if (r < 0)
		report_warning(device, WARNING_IRQFD,
			"the host does not attach an irqfd to vector %u: interrupts take the way through this process, which is slower",
			message->vector);
}

static void
detach(struct ivshmem_device *device, struct vector *vector, unsigned index)
{
	if (vector->attached)
		device->ops.detach_irqfd(device, index, device->config.data);
	vector->attached = false;
}

static void
send(struct ivshmem_device *device, struct vector *vector,
	const struct ivshmem_device_message *message)
{
	/* It is not pending during the op, which may look. */
	vector->pending = false;
	vector->pending = !device->ops.send_message ||
			  device->ops.send_message(device, message, device->config.data) < 0;
}

void
msix_sync_vector(struct ivshmem_device *device, unsigned index)
{
	struct vector *vector = &device->vectors[index];
	struct ivshmem_device_message message = message_of(device, index);
	bool open = is_open(device, vector);
	bool want = open && device->can_irqfd && index < doorbells_own_vectors(device);

	if (vector->wanted && (!want || !same_message(&vector->attached_message, &message))) {
		detach(device, vector, index);
		vector->wanted = false;
	}
	if (want && !vector->wanted) {
		vector->wanted = true;
		attach(device, vector, &message);
	}
	if (open && vector->pending) {
		send(device, vector, &message);
		device->touched |= !vector->pending;
	}
}

void
msix_sync(struct ivshmem_device *device)
{
	bool now = gate(device);

	if (now == device->gate && !device->vectors_changed)
		return;
	device->gate = now;
	device->vectors_changed = false;
	for (unsigned i = 0; i < device->msix_vectors; i++)
		msix_sync_vector(device, i);
}

void
msix_interrupt(struct ivshmem_device *device, unsigned vector)
{
	bool touched = device->touched, was_pending = device->vectors[vector].pending;

	device->vectors[vector].pending = true;
	msix_sync_vector(device, vector);
	/* A ring that is delivered at once leaves nothing behind. */
	device->touched = touched || device->vectors[vector].pending != was_pending;
}

int
msix_init(struct ivshmem_device *device)
{
	unsigned vectors = device->config.msi ? device->config.vectors : 0;

	if (vectors == 0)
		return 0;
	device->vectors = calloc(vectors, sizeof(device->vectors[0]));
	if (!device->vectors)
		return -ENOMEM;
	device->msix_vectors = vectors;
	device->pba_offset = pba_offset(vectors);
	msix_reset(device);
	return 0;
}

void
msix_done(struct ivshmem_device *device)
{
	free(device->vectors);
}

void
msix_reset(struct ivshmem_device *device)
{
	for (unsigned i = 0; i < device->msix_vectors; i++) {
		struct vector *vector = &device->vectors[i];

		memset(vector->entry, 0, sizeof(vector->entry));
		vector->entry[ENTRY_CONTROL] = ENTRY_CONTROL_MASKED;
		vector->pending = false;
	}
}

/* ---- BAR1 ------------------------------------------------------------------------------------ */

static uint32_t *
table_dword(struct ivshmem_device *device, uint64_t offset)
{
	return &device->vectors[offset / ENTRY_SIZE].entry[offset % ENTRY_SIZE / 4];
}

/*
 * 32 pending bits, with the rings that the host has not seen yet. Otherwise, a guest that masks a
 * vector and polls its bit would depend on how busy the host is.
 */
static uint32_t
pba_dword(struct ivshmem_device *device, unsigned first)
{
	uint32_t bits = 0;

	for (unsigned i = 0; i < 32 && first + i < device->msix_vectors; i++) {
		unsigned index = first + i;
		struct vector *vector = &device->vectors[index];

		if (!vector->attached && doorbells_take_ring(device, index))
			msix_interrupt(device, index);
		bits |= (uint32_t)vector->pending << i;
	}
	return bits;
}

static uint32_t
read_dword(struct ivshmem_device *device, uint64_t offset)
{
	unsigned vectors = device->msix_vectors;

	if (offset < (uint64_t)vectors * ENTRY_SIZE)
		return *table_dword(device, offset);
	if (offset >= device->pba_offset && offset < device->pba_offset + pba_bytes(vectors))
		return pba_dword(device, (unsigned)(offset - device->pba_offset) * 8);
	return 0;
}

static uint64_t
msix_read(struct ivshmem_device *device, uint64_t offset, unsigned size)
{
	uint64_t value = read_dword(device, offset);

	if (size == 8)
		value |= (uint64_t)read_dword(device, offset + 4) << 32;
	return value;
}

/* The pending bits cannot be written. */
static void
msix_write(struct ivshmem_device *device, uint64_t offset, unsigned size, uint64_t value)
{
	if (offset >= (uint64_t)device->msix_vectors * ENTRY_SIZE)
		return;
	device->touched = true;
	*table_dword(device, offset) = (uint32_t)value;
	if (size == 8)
		*table_dword(device, offset + 4) = (uint32_t)(value >> 32);
	msix_sync_vector(device, (unsigned)(offset / ENTRY_SIZE));
}

const struct bar msix_bar = {
	.size = msix_size,
	.widths = 4 | 8,
	.read = msix_read,
	.write = msix_write,
};

uint32_t
ivshmem_device_pba_offset(const struct ivshmem_device *device)
{
	return device->pba_offset;
}

unsigned
ivshmem_device_msix_vectors(const struct ivshmem_device *device)
{
	return device->msix_vectors;
}
