/* SPDX-License-Identifier: BSD-2-Clause */
#include <device_host.h>

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct host host;

static uint8_t memory[1 << 20] __attribute__((aligned(4096)));

static void note(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void
note(const char *format, ...)
{
	size_t length = strlen(host.effects);
	va_list args;

	if (length > 0)
		length += (size_t)snprintf(
			host.effects + length, sizeof(host.effects) - length, "; ");
	CHECK(length < sizeof(host.effects) - 128);
	va_start(args, format);
	vsnprintf(host.effects + length, sizeof(host.effects) - length, format, args);
	va_end(args);
}

static void
note_message(const char *what, const struct ivshmem_device_message *message)
{
	note("%s %u %" PRIx64 ":%x", what, message->vector, message->address, message->data);
}

/* As text: an address, and the value that it matches. */
static void
note_ioeventfd(const char *what, const struct ivshmem_device_ioeventfd *ioeventfd)
{
	if (ioeventfd->match)
		note("%s %" PRIx64 "=%x", what, ioeventfd->address, ioeventfd->datamatch);
	else
		note("%s %" PRIx64, what, ioeventfd->address);
}

static int
answer(const struct host_request *request)
{
	bool waiting;

	switch (request->type) {
	case HOST_MAP:
		note("map %" PRIx64, request->address);
		return host.refuse_map ? -ENOSPC : 0;
	case HOST_UNMAP:
		note("unmap %" PRIx64, request->address);
		return 0;
	case HOST_INTX:
		note("intx %d", request->level);
		return 0;
	case HOST_SEND:
		note_message("send", request->message);
		return host.refuse_messages ? -EAGAIN : 0;
	case HOST_RING:
		note("ring %u.%u", request->peer, request->vector);
		return 0;
	case HOST_ADD:
		note_ioeventfd("+io", request->ioeventfd);
		return in_force.n_ioeventfds == host.trigger_room ? -ENOSPC : 0;
	case HOST_REMOVE:
		note_ioeventfd("-io", request->ioeventfd);
		return 0;
	case HOST_ATTACH:
		note_message("+irq", request->message);
		return host.refuse_irqfd ? -EOPNOTSUPP : 0;
	case HOST_DETACH:
		note("-irq %u", request->vector);
		return 0;
	case HOST_TAKE:
		waiting = host.waiting[request->vector];
		host.waiting[request->vector] = false;
		return waiting;
	case HOST_LOG:
		snprintf(host.warning, sizeof(host.warning), "%s", request->text);
		note("warn");
		return 0;
	}
	return 0;
}

void
host_config(unsigned revision, bool server, unsigned vectors)
{
	if (host.device)
		host_close();
	host = (struct host){.ops = checked_ops};
	memset(memory, 0, sizeof(memory));
	ivshmem_device_config_init(&host.config, sizeof(host.config), revision);
	CHECK(host.config.server);
	host.config.server = server;
	host.config.vectors = vectors;
	host.config.memory_size = sizeof(memory);
	host.config.ioeventfd = false;
	host.config.ops = &host.ops;
	host.config.data = &in_force;
}

void
host_open(void)
{
	struct ivshmem_error error = {0};
	int r;

	if (host.device)
		host_close();
	host = (struct host){
		.config = host.config, .ops = host.ops, .trigger_room = IN_FORCE_TRIGGERS};
	checked_host_init(answer);
	r = ivshmem_device_new(&host.device, &host.config, &error);
	if (r < 0)
		FAIL("ivshmem_device_new: %d %s", r, error.message);
	CHECK_STR(host_effects(), "");
}

void
host_refused(const char *reason)
{
	struct ivshmem_device *device = (struct ivshmem_device *)&host;
	struct ivshmem_error error = {0};

	CHECK_EQ(ivshmem_device_new(&device, &host.config, &error), -EINVAL);
	CHECK_EQ(error.code, -EINVAL);
	CHECK(device == (struct ivshmem_device *)&host);
	CHECK_HAS(error.message, reason);
	CHECK_EQ(ivshmem_device_new(&device, &host.config, NULL), -EINVAL);
}

void
host_close(void)
{
	host.device = ivshmem_device_free(host.device);
	CHECK(host.device == NULL);
	checked_host_empty();
}

void
test_after(void)
{
	if (host.device)
		host_close();
}

void
host_open_simple(unsigned revision, bool server, unsigned vectors)
{
	host_config(revision, server, vectors);
	host.ops.attach_irqfd = NULL;
	host.ops.take_ring = NULL;
	host.config.id = 0;
	host_open();
	CHECK_EQ(ivshmem_device_set_memory(host.device, memory, sizeof(memory), NULL), 0);
}

const char *
host_effects(void)
{
	static char text[sizeof(host.effects)];

	memcpy(text, host.effects, sizeof(text));
	host.effects[0] = '\0';
	return text;
}

uint32_t
config_get(unsigned offset, unsigned size)
{
	uint8_t bytes[4] = {0};

	ivshmem_device_config_read(host.device, offset, bytes, size);
	return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 |
	       (uint32_t)bytes[3] << 24;
}

void
config_put(unsigned offset, unsigned size, uint32_t value)
{
	uint8_t bytes[4] = {(uint8_t)value, (uint8_t)(value >> 8), (uint8_t)(value >> 16),
		(uint8_t)(value >> 24)};

	ivshmem_device_config_write(host.device, offset, bytes, size);
}

uint64_t
bar_read(unsigned bar, uint64_t offset, unsigned size)
{
	return ivshmem_device_read(host.device, bar, offset, size);
}

void
bar_write(unsigned bar, uint64_t offset, unsigned size, uint64_t value)
{
	ivshmem_device_write(host.device, bar, offset, size, value);
}

uint32_t
reg_get(unsigned offset)
{
	return (uint32_t)bar_read(0, offset, 4);
}

void
reg_put(unsigned offset, uint32_t value)
{
	bar_write(0, offset, 4, value);
}

uint32_t
bar1_get(unsigned offset)
{
	return (uint32_t)bar_read(1, offset, 4);
}

void
bar1_put(unsigned offset, uint32_t value)
{
	bar_write(1, offset, 4, value);
}

void
connect_peer(uint16_t peer, unsigned n)
{
	unsigned before = ivshmem_device_peer_vectors(host.device, peer);

	for (unsigned i = 0; i < n; i++)
		CHECK_EQ(ivshmem_device_add_vector(host.device, peer), before + i);
	CHECK_EQ(ivshmem_device_peer_vectors(host.device, peer), before + n);
}

void
remove_peer(uint16_t peer)
{
	CHECK_EQ(ivshmem_device_remove_peer(host.device, peer), 0);
}

void
give_memory(void)
{
	CHECK_EQ(ivshmem_device_set_memory(host.device, NULL, sizeof(memory), NULL), 0);
}

void
interrupt(unsigned vector)
{
	CHECK_EQ(ivshmem_device_interrupt(host.device, vector), 0);
}

void
entry_open(unsigned vector)
{
	bar1_put(vector * 16, 0xfee00000 + 0x1000 * vector);
	bar1_put(vector * 16 + 4, 0);
	bar1_put(vector * 16 + 8, 0x40 + vector);
	entry_mask(vector, false);
}

void
entry_mask(unsigned vector, bool masked)
{
	bar1_put(vector * 16 + 12, masked);
}

void
msix_control(unsigned bits)
{
	config_put(0x42, 2, bits);
}

/* ---- saved states ---------------------------------------------------------------------------- */

uint8_t saved[SAVED_SPACE];
size_t saved_size;

void
save(enum ivshmem_device_format format)
{
	saved_size = ivshmem_device_state_size(host.device, format);
	CHECK(saved_size > 0 && saved_size <= SAVED_SPACE);
	CHECK_EQ(ivshmem_device_save(host.device, format, saved, saved_size, NULL), 0);
}

void
load(enum ivshmem_device_format format)
{
	struct ivshmem_error error = {0};
	int r = ivshmem_device_load(host.device, format, saved, saved_size, &error);

	if (r < 0)
		FAIL("load: %d %s", r, error.message);
}

/* The device before loading, to be compared with itself after a refused load. */
void
load_refused(enum ivshmem_device_format format, size_t size, int code, const char *reason)
{
	static uint8_t before[SAVED_SPACE], after[SAVED_SPACE];
	size_t own = ivshmem_device_state_size(host.device, format);
	struct ivshmem_error error = {0};
	/* exactly as large as it says, for the sanitizer */
	uint8_t *copy = malloc(size + 1);

	CHECK(copy);
	memcpy(copy, saved, size);
	host_effects();
	CHECK_EQ(ivshmem_device_save(host.device, format, before, sizeof(before), NULL), 0);
	CHECK_EQ(ivshmem_device_load(host.device, format, copy, size, &error), code);
	CHECK_EQ(error.code, code);
	CHECK_HAS(error.message, reason);
	CHECK_STR(host_effects(), "");
	CHECK_EQ(ivshmem_device_save(host.device, format, after, sizeof(after), NULL), 0);
	CHECK_MEM(after, before, own);
	CHECK_EQ(ivshmem_device_load(host.device, format, copy, size, NULL), code);
	free(copy);
}

void
master_config(unsigned revision, bool msi, unsigned vectors)
{
	host_config(revision, true, vectors);
	host.config.msi = msi;
	host.config.id = 0;
	host.config.master = IVSHMEM_DEVICE_MASTER_ON;
}

void
open_master(unsigned revision, bool msi, unsigned vectors)
{
	master_config(revision, msi, vectors);
	host_open();
}

uint32_t
be32(size_t offset)
{
	return (uint32_t)saved[offset] << 24 | (uint32_t)saved[offset + 1] << 16 |
	       (uint32_t)saved[offset + 2] << 8 | saved[offset + 3];
}

void
put_be32(size_t offset, uint32_t value)
{
	for (unsigned i = 0; i < 4; i++)
		saved[offset + i] = (uint8_t)(value >> (24 - 8 * i));
}
