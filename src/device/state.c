/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Save and load. The whole saved state is checked against this device before anything of it is
 * used. Then only the bits that a guest can write are taken over.
 *
 *	native				2010
 *	magic		8 bytes
 *	version		0
 *	length		of everything
 *	revision
 *	kind		1 server, 2 MSI-X, 4 doorbell words
 *	vectors
 *	reserved	0
 *	memory size	64 bits
 *					version of what follows	2
 *	config space	256 bytes	config space		256 bytes
 *					requests of INTA to INTD	4
 *	MSI-X table	16 bytes per vector, and the pending bits, a byte for 8 vectors
 *	IntrStatus			IntrStatus		only if msi is off
 *	IntrMask			IntrMask		only if msi is off
 *
 * Numbers are big-endian and 32 bits wide; config space and table are as on the bus.
 *
 * The 2010 form is that of QEMU's streams. There, the property msi decides, and not whether there
 * is MSI-X: a plain device has none, but msi is on by default. The request of INTA follows config
 * space, whose status register does not show it; a request may be there even if the pin is
 * disabled.
 */

#include <device/checkpoint.h>
#include <device/config.h>
#include <device/doorbells.h>
#include <device/effects.h>
#include <device/msix.h>

#include <base/error.h>

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define MAGIC_SIZE     8
#define HEADER_SIZE    (MAGIC_SIZE + 6 * 4 + 8)
#define STATE_VERSION  0
#define KIND_SERVER    1u
#define KIND_MSIX      2u
#define KIND_WORDS     4u
#define PCI_VERSION    2
#define PCI_PINS       4
#define PBA_MAX_BYTES  (IVSHMEM_MAX_VECTORS / 8)
#define REGISTERS_SIZE 8

static const uint8_t magic[MAGIC_SIZE] = {'i', 'v', 's', 'h', 'm', 'e', 'm', 0};

/* ---- a place in the buffer; the lengths are checked before ----------------------------------- */

static void
put_be32(uint8_t **at, uint32_t value)
{
	for (unsigned i = 0; i < 4; i++)
		*(*at)++ = (uint8_t)(value >> (24 - 8 * i));
}

static void
put_le32(uint8_t **at, uint32_t value)
{
	for (unsigned i = 0; i < 4; i++)
		*(*at)++ = (uint8_t)(value >> (8 * i));
}

static void
put_bytes(uint8_t **at, const void *bytes, size_t length)
{
	memcpy(*at, bytes, length);
	*at += length;
}

static uint32_t
get_be32(const uint8_t **at)
{
	uint32_t value = 0;

	for (unsigned i = 0; i < 4; i++)
		value = value << 8 | *(*at)++;
	return value;
}

static uint32_t
get_le32(const uint8_t **at)
{
	uint32_t value = 0;

	for (unsigned i = 0; i < 4; i++)
		value |= (uint32_t) * (*at)++ << (8 * i);
	return value;
}

static const uint8_t *
get_bytes(const uint8_t **at, size_t length)
{
	const uint8_t *bytes = *at;

	*at += length;
	return bytes;
}

/* ---- shape ----------------------------------------------------------------------------------- */

static unsigned
pba_bytes(const struct ivshmem_device *device)
{
	return (device->msix_vectors + 7) / 8;
}

/* What a form of the state has around config space, table and pending bits. */
struct format {
	size_t header_size;
	unsigned pins; /* their requests follow config space, which then does not show them */
	void (*put_header)(const struct ivshmem_device *device, uint8_t **at);
	/* Whether header and size of a saved state fit this device. */
	int (*check_header)(const struct ivshmem_device *device, const uint8_t *at, size_t size,
		struct ivshmem_error *reterr);
	/* The bits of a byte of config space that must be ours. */
	unsigned (*fixed_bits)(const struct ivshmem_device *device, unsigned offset);
	bool (*has_registers)(const struct ivshmem_device *device);
};

static const struct format *
find_format(const struct ivshmem_device *device, enum ivshmem_device_format number)
{
	return (unsigned)number < IVSHMEM_DEVICE_FORMAT_COUNT ? device->personality->formats[number]
							      : NULL;
}

static size_t
state_size(const struct ivshmem_device *device, const struct format *format)
{
	return format->header_size + CONFIG_SIZE + format->pins * sizeof(uint32_t) +
	       (size_t)device->msix_vectors * ENTRY_SIZE + pba_bytes(device) +
	       (format->has_registers(device) ? REGISTERS_SIZE : 0);
}

size_t
ivshmem_device_state_size(const struct ivshmem_device *device, enum ivshmem_device_format number)
{
	const struct format *format = find_format(device, number);

	return format ? state_size(device, format) : 0;
}

static int
check_size(const struct ivshmem_device *device, const struct format *format, size_t size,
	struct ivshmem_error *reterr)
{
	size_t need = state_size(device, format);

	if (size != need)
		return error_set(reterr, -EINVAL,
			"saved state has %zu bytes, but this device needs %zu", size, need);
	return 0;
}

/* ---- the native form ------------------------------------------------------------------------- */

static uint32_t
kind_of(const struct ivshmem_device *device)
{
	return (device->config.server ? KIND_SERVER : 0) | (device->msix_vectors ? KIND_MSIX : 0) |
	       (device->config.doorbell_bar ? KIND_WORDS : 0);
}

static void
put_native_header(const struct ivshmem_device *device, uint8_t **at)
{
	put_bytes(at, magic, MAGIC_SIZE);
	put_be32(at, STATE_VERSION);
	put_be32(at, (uint32_t)state_size(device, &format_native));
	put_be32(at, device->personality->number);
	put_be32(at, kind_of(device));
	put_be32(at, device->config.vectors);
	put_be32(at, 0);
	put_be32(at, (uint32_t)(device->config.memory_size >> 32));
	put_be32(at, (uint32_t)device->config.memory_size);
}

static int
check_native_header(const struct ivshmem_device *device, const uint8_t *at, size_t size,
	struct ivshmem_error *reterr)
{
	uint32_t version, length, revision, kind, vectors, reserved;
	uint64_t memory;

	if (size < HEADER_SIZE || memcmp(at, magic, MAGIC_SIZE) != 0)
		return error_set(reterr, -EINVAL, "this is no saved state of an ivshmem device");
	at += MAGIC_SIZE;
	version = get_be32(&at);
	length = get_be32(&at);
	revision = get_be32(&at);
	kind = get_be32(&at);
	vectors = get_be32(&at);
	reserved = get_be32(&at);
	memory = (uint64_t)get_be32(&at) << 32;
	memory |= get_be32(&at);
	if (version > STATE_VERSION)
		return error_set(reterr, -EPROTONOSUPPORT,
			"saved state has version %" PRIu32 ", newer than %d", version,
			STATE_VERSION);
	if (length != size)
		return error_set(reterr, -EINVAL,
			"saved state has %zu bytes instead of the %" PRIu32 " it should have", size,
			length);
	if (revision != device->personality->number)
		return error_set(reterr, -EINVAL,
			"saved state is of revision %" PRIu32 ", the device is of revision %u",
			revision, device->personality->number);
	if (kind != kind_of(device) || reserved != 0)
		return error_set(reterr, -EINVAL,
			"saved state is of another kind of device (server, msi, doorbell-bar): %#" PRIx32
			" instead of %#" PRIx32,
			kind, kind_of(device));
	if (vectors != device->config.vectors)
		return error_set(reterr, -EINVAL,
			"saved state has %" PRIu32 " vectors, the device has %u", vectors,
			device->config.vectors);
	if (memory != device->config.memory_size)
		return error_set(reterr, -EINVAL,
			"saved state has %" PRIu64 " bytes of memory, the device has %" PRIu64,
			memory, device->config.memory_size);
	return check_size(device, &format_native, size, reterr);
}

/* Those that a guest cannot write, but for the status of INTx, which follows from the rest. */
static unsigned
native_fixed_bits(const struct ivshmem_device *device, unsigned offset)
{
	unsigned bits = 0xff & ~(unsigned)device->writable[offset];

	return offset == CONFIG_STATUS ? bits & ~(unsigned)STATUS_INTERRUPT : bits;
}

static bool
always(const struct ivshmem_device *device)
{
	(void)device;
	return true;
}

const struct format format_native = {
	.header_size = HEADER_SIZE,
	.put_header = put_native_header,
	.check_header = check_native_header,
	.fixed_bits = native_fixed_bits,
	.has_registers = always,
};

/* ---- the form of 2010 ------------------------------------------------------------------------ */

static void
put_2010_header(const struct ivshmem_device *device, uint8_t **at)
{
	(void)device;
	put_be32(at, PCI_VERSION);
}

static int
check_2010_header(const struct ivshmem_device *device, const uint8_t *at, size_t size,
	struct ivshmem_error *reterr)
{
	int r = check_size(device, &format_2010, size, reterr);
	uint32_t version;

	if (r < 0)
		return r;
	version = get_be32(&at);
	if (version != PCI_VERSION)
		return error_set(reterr, version > PCI_VERSION ? -EPROTONOSUPPORT : -EINVAL,
			"saved PCI state has version %" PRIu32 " instead of %d", version,
			PCI_VERSION);
	return 0;
}

/* The guest of a 2010 device could write to all that follows header and capabilities, so those bytes
 * mean nothing. */
static unsigned
fixed_bits_of_2010(const struct ivshmem_device *device, unsigned offset)
{
	if (offset == CONFIG_STATUS)
		return STATUS_CAPABILITIES;
	if (offset == CONFIG_STATUS + 1 || offset >= device->capabilities_end)
		return 0;
	return 0xff & ~(unsigned)device->writable[offset];
}

static bool
without_msi(const struct ivshmem_device *device)
{
	return !device->config.msi;
}

const struct format format_2010 = {
	.header_size = 4,
	.pins = PCI_PINS,
	.put_header = put_2010_header,
	.check_header = check_2010_header,
	.fixed_bits = fixed_bits_of_2010,
	.has_registers = without_msi,
};

/* ---- permission ------------------------------------------------------------------------------ */

static int
no_format(const struct ivshmem_device *device, enum ivshmem_device_format number,
	struct ivshmem_error *reterr)
{
	return error_set(reterr, -EINVAL, "revision %u has no saved state of format %d",
		device->personality->number, (int)number);
}

static int
check_master(const struct ivshmem_device *device, const char *what, struct ivshmem_error *reterr)
{
	if (!ivshmem_device_is_master(device))
		return error_set(reterr, -EPERM,
			"cannot %s the device: migration is disabled because of peer mode; only the master (role=master, master=on) can",
			what);
	return 0;
}

/* ---- save ------------------------------------------------------------------------------------ */

static void
save_msix(const struct ivshmem_device *device, uint8_t **at)
{
	uint8_t pending[PBA_MAX_BYTES] = {0};

	for (unsigned i = 0; i < device->msix_vectors; i++) {
		const struct vector *vector = &device->vectors[i];

		for (unsigned dword = 0; dword < ENTRY_DWORDS; dword++)
			put_le32(at, vector->entry[dword]);
		if (vector->pending)
			pending[i / 8] = (uint8_t)(pending[i / 8] | 1u << i % 8);
	}
	put_bytes(at, pending, pba_bytes(device));
}

/* Rings that the host has not seen yet belong to the state. */
static void
take_rings(struct ivshmem_device *device)
{
	for (unsigned i = 0; i < doorbells_own_vectors(device); i++) {
		if (device->msix_vectors && device->vectors[i].attached)
			continue;
		if (doorbells_take_ring(device, i))
			ivshmem_device_interrupt(device, i);
	}
}

static void
put_state(const struct ivshmem_device *device, const struct format *format, uint8_t *at)
{
	format->put_header(device, &at);
	put_bytes(&at, device->space, CONFIG_SIZE);
	if (format->pins > 0)
		at[CONFIG_STATUS - CONFIG_SIZE] &= (uint8_t)~STATUS_INTERRUPT;
	for (unsigned pin = 0; pin < format->pins; pin++)
		put_be32(&at, pin == 0 && intx_requested(device));
	save_msix(device, &at);
	if (format->has_registers(device)) {
		put_be32(&at, device->intr_status);
		put_be32(&at, device->intr_mask);
	}
}

int
ivshmem_device_save(struct ivshmem_device *device, enum ivshmem_device_format number, void *buffer,
	size_t size, struct ivshmem_error *reterr)
{
	const struct format *format = find_format(device, number);
	size_t need;
	int r;

	if (!format)
		return no_format(device, number, reterr);
	r = check_master(device, "save", reterr);
	if (r < 0)
		return r;
	need = state_size(device, format);
	if (size < need)
		return error_set(reterr, -ENOSPC,
			"a buffer of %zu bytes is too small for a state of %zu bytes", size, need);
	take_rings(device);
	put_state(device, format, buffer);
	return 0;
}

bool
device_is_touched(const struct ivshmem_device *device)
{
	return device->touched;
}

void
device_checkpoint(struct ivshmem_device *device, void *buffer)
{
	put_state(device, &format_native, buffer);
	device->touched = false;
}

/* ---- load: checks ---------------------------------------------------------------------------- */

static int
check_space(const struct ivshmem_device *device, const struct format *format, const uint8_t *space,
	struct ivshmem_error *reterr)
{
	for (unsigned i = 0; i < CONFIG_SIZE; i++)
		if ((space[i] ^ device->space[i]) & format->fixed_bits(device, i))
			return error_set(reterr, -EINVAL,
				"saved state has another config space: at %#x it holds %#04x instead of %#04x",
				i, space[i], device->space[i]);
	return 0;
}

/* Each request is 0 or 1, and only INTA is ours. Its level then follows from the registers. */
static int
check_pins(const struct format *format, const uint8_t *at, struct ivshmem_error *reterr)
{
	for (unsigned pin = 0; pin < format->pins; pin++) {
		uint32_t level = get_be32(&at);

		if (level > (pin == 0 ? 1u : 0u))
			return error_set(reterr, -EINVAL,
				"saved state has level %" PRIu32 " for INT%c, which must be %s",
				level, 'A' + (int)pin, pin == 0 ? "0 or 1" : "0");
	}
	return 0;
}

static int
check_pending(
	const struct ivshmem_device *device, const uint8_t *pending, struct ivshmem_error *reterr)
{
	unsigned rest = device->msix_vectors % 8;

	if (rest != 0 && pending[device->msix_vectors / 8] >> rest != 0)
		return error_set(reterr, -EINVAL,
			"saved state has interrupts pending for vectors that do not exist");
	return 0;
}

/* ---- load ------------------------------------------------------------------------------------ */

static void
load_msix(struct ivshmem_device *device, const uint8_t *table, const uint8_t *pending)
{
	for (unsigned i = 0; i < device->msix_vectors; i++) {
		struct vector *vector = &device->vectors[i];

		for (unsigned dword = 0; dword < ENTRY_DWORDS; dword++)
			vector->entry[dword] = get_le32(&table);
		vector->pending = pending[i / 8] >> i % 8 & 1;
	}
	device->vectors_changed = true;
}

static int
load(struct ivshmem_device *device, const struct format *format, const void *buffer, size_t size,
	struct ivshmem_error *reterr)
{
	const uint8_t *at = buffer, *space, *pins, *table, *pending;
	int r = format->check_header(device, at, size, reterr);

	if (r < 0)
		return r;
	at += format->header_size;
	space = get_bytes(&at, CONFIG_SIZE);
	pins = get_bytes(&at, format->pins * sizeof(uint32_t));
	table = get_bytes(&at, (size_t)device->msix_vectors * ENTRY_SIZE);
	pending = get_bytes(&at, pba_bytes(device));
	r = check_space(device, format, space, reterr);
	if (r >= 0)
		r = check_pins(format, pins, reterr);
	if (r >= 0)
		r = check_pending(device, pending, reterr);
	if (r < 0)
		return r;

	config_store(device, 0, space, CONFIG_SIZE);
	load_msix(device, table, pending);
	device->intr_status = device->intr_mask = 0;
	if (format->has_registers(device)) {
		device->intr_status = get_be32(&at);
		device->intr_mask = get_be32(&at);
	}
	device->touched = true;
	effects_sync(device);
	return 0;
}

int
ivshmem_device_load(struct ivshmem_device *device, enum ivshmem_device_format number,
	const void *buffer, size_t size, struct ivshmem_error *reterr)
{
	const struct format *format = find_format(device, number);
	int r;

	if (!format)
		return no_format(device, number, reterr);
	r = check_master(device, "load", reterr);
	return r < 0 ? r : load(device, format, buffer, size, reterr);
}

int
device_recover(struct ivshmem_device *device, const void *buffer, size_t size,
	struct ivshmem_error *reterr)
{
	return load(device, &format_native, buffer, size, reterr);
}
