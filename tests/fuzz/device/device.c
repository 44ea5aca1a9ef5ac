/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * The device model: any accesses, any events, any answers of the host. What the host is asked for
 * must make sense: nothing twice, nothing undone that was not done, messages only when the guest
 * allows them, and in the end nothing is left.
 *
 * The first three bytes are the configuration; then steps of a byte for what, and their arguments.
 */

#include <fuzz.h>

#include <ivshmem/abi.h>
#include <ivshmem/device.h>

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#define MAX_VECTORS  130
#define MAX_TRIGGERS 1024
#define STATE_SIZE   8192

/* ---- input ----------------------------------------------------------------------------------- */

static const uint8_t *input;
static size_t input_left;

static uint64_t
take(unsigned bytes)
{
	uint64_t value = 0;

	while (bytes-- > 0 && input_left > 0) {
		value = value << 8 | *input++;
		input_left--;
	}
	return value;
}

/* ---- the host -------------------------------------------------------------------------------- */

static struct ivshmem_device *device;
static struct ivshmem_device_config config;
static uint8_t memory[8192] __attribute__((aligned(4096)));

static struct {
	uint64_t mapped_at;
	bool intx;
	struct ivshmem_device_ioeventfd triggers[MAX_TRIGGERS];
	unsigned n_triggers;
	bool attached[MAX_VECTORS];
	unsigned n_logged;
} host;

static int
map_memory(struct ivshmem_device *source, uint64_t address, uint64_t size, void *data)
{
	(void)source, (void)data;
	DEMAND(host.mapped_at == 0 && address != 0);
	DEMAND(size == config.memory_size && address % size == 0 && address + size > address);
	if (take(1) == 0xee)
		return -ENOSPC;
	host.mapped_at = address;
	return 0;
}

static void
unmap_memory(struct ivshmem_device *source, uint64_t address, uint64_t size, void *data)
{
	(void)source, (void)data;
	DEMAND(host.mapped_at == address && address != 0 && size == config.memory_size);
	host.mapped_at = 0;
}

static void
set_intx(struct ivshmem_device *source, bool level, void *data)
{
	(void)source, (void)data;
	DEMAND(level != host.intx && config.revision == 0);
	host.intx = level;
}

static int
send_message(
	struct ivshmem_device *source, const struct ivshmem_device_message *message, void *data)
{
	uint8_t control[2], command[2];

	(void)data;
	DEMAND(message->vector < config.vectors && message->address % 4 == 0);
	ivshmem_device_config_read(source, 0x04, command, 2);
	ivshmem_device_config_read(source, 0x42, control, 2);
	if (!config.host_msix)
		DEMAND((control[1] & 0xc0) == 0x80 && (command[0] & 4));
	return take(1) == 0xee ? -EAGAIN : 0;
}

static void
ring(struct ivshmem_device *source, uint16_t peer, unsigned vector, void *data)
{
	(void)data;
	DEMAND(vector < ivshmem_device_peer_vectors(source, peer));
}

static unsigned
trigger_find(const struct ivshmem_device_ioeventfd *wanted)
{
	unsigned i = 0;

	while (i < host.n_triggers && (host.triggers[i].peer != wanted->peer ||
					      host.triggers[i].vector != wanted->vector ||
					      host.triggers[i].match != wanted->match))
		i++;
	return i;
}

/* Of the register, or of the words in BAR4, whose addresses make one array. */
static void
trigger_check(const struct ivshmem_device_ioeventfd *ioeventfd)
{
	uint64_t word = (uint64_t)ioeventfd->peer << ivshmem_device_doorbell_shift(device);

	word += ioeventfd->vector;
	DEMAND(ioeventfd->width == 4);
	if (ioeventfd->match) {
		DEMAND(ioeventfd->address % 256 == 12);
		DEMAND(ioeventfd->datamatch ==
			((uint32_t)ioeventfd->peer << 16 | ioeventfd->vector));
	} else {
		DEMAND(config.doorbell_bar && ioeventfd->datamatch == 0);
		DEMAND((ioeventfd->address - 4 * word) % ivshmem_device_bar_size(device, 4) == 0);
		DEMAND(ioeventfd->address > 4 * word);
	}
}

static int
add_ioeventfd(
	struct ivshmem_device *source, const struct ivshmem_device_ioeventfd *ioeventfd, void *data)
{
	(void)data;
	DEMAND(ioeventfd->vector < ivshmem_device_peer_vectors(source, ioeventfd->peer));
	trigger_check(ioeventfd);
	DEMAND(trigger_find(ioeventfd) == host.n_triggers);
	if (host.n_triggers == MAX_TRIGGERS || (host.n_triggers % 16 == 15 && take(1) == 0xee))
		return -ENOSPC;
	host.triggers[host.n_triggers++] = *ioeventfd;
	return 0;
}

static void
remove_ioeventfd(
	struct ivshmem_device *source, const struct ivshmem_device_ioeventfd *ioeventfd, void *data)
{
	unsigned i = trigger_find(ioeventfd);

	(void)data;
	DEMAND(i < host.n_triggers && host.triggers[i].address == ioeventfd->address);
	DEMAND(ioeventfd->vector < ivshmem_device_peer_vectors(source, ioeventfd->peer));
	host.triggers[i] = host.triggers[--host.n_triggers];
}

static unsigned
own_vectors(void)
{
	int32_t id = ivshmem_device_id(device);

	return id < 0 ? 0 : ivshmem_device_peer_vectors(device, (uint16_t)id);
}

static int
attach_irqfd(
	struct ivshmem_device *source, const struct ivshmem_device_message *message, void *data)
{
	(void)source, (void)data;
	DEMAND(!config.host_msix && message->vector < own_vectors());
	DEMAND(!host.attached[message->vector]);
	if (take(1) == 0xee)
		return -EMFILE;
	host.attached[message->vector] = true;
	return 0;
}

static void
detach_irqfd(struct ivshmem_device *source, unsigned vector, void *data)
{
	(void)source, (void)data;
	DEMAND(vector < config.vectors && host.attached[vector]);
	host.attached[vector] = false;
}

static bool
take_ring(struct ivshmem_device *source, unsigned vector, void *data)
{
	(void)source, (void)data;
	DEMAND(vector < own_vectors() && !host.attached[vector]);
	return take(1) & 1;
}

static void
log_message(struct ivshmem_device *source, enum ivshmem_log_level level, const char *message,
	void *data)
{
	(void)source, (void)data;
	DEMAND(level == IVSHMEM_LOG_WARNING && message[0] != '\0');
	DEMAND(++host.n_logged <= 3);
}

static const struct ivshmem_device_ops ops = {
	.struct_size = sizeof(ops),
	.map_memory = map_memory,
	.unmap_memory = unmap_memory,
	.set_intx = set_intx,
	.send_message = send_message,
	.ring = ring,
	.add_ioeventfd = add_ioeventfd,
	.remove_ioeventfd = remove_ioeventfd,
	.attach_irqfd = attach_irqfd,
	.detach_irqfd = detach_irqfd,
	.take_ring = take_ring,
	.log = log_message,
};

/* ---- steps ----------------------------------------------------------------------------------- */

static uint8_t saved[STATE_SIZE];
static size_t saved_size;
static enum ivshmem_device_format saved_format;

static void
save(enum ivshmem_device_format format)
{
	size_t size = ivshmem_device_state_size(device, format);

	DEMAND(size <= STATE_SIZE);
	if (size == 0)
		return;
	DEMAND(ivshmem_device_save(device, format, saved, size, NULL) == 0);
	saved_format = format;
	saved_size = size;
}

static void
step(void)
{
	unsigned what = (unsigned)take(1), size = 1u << (what >> 6);
	unsigned bar = (what >> 4 & 3) == 3 ? 4 : what >> 4 & 3;
	uint8_t bytes[256];
	uint64_t value;

	switch (what & 0xf) {
	case 0:
	case 1:
		value = take(1);
		for (unsigned i = 0; i < size; i++)
			bytes[i] = (uint8_t)take(1);
		ivshmem_device_config_write(device, (unsigned)value, bytes, size);
		break;
	case 2:
		ivshmem_device_config_read(device, (unsigned)take(2), bytes, (size_t)take(1));
		break;
	case 3:
	case 4:
		value = take(1);
		ivshmem_device_write(device, bar, value, size, take(size));
		break;
	case 5:
		value = take(2);
		ivshmem_device_write(device, bar, value, size, take(size));
		break;
	case 6:
		ivshmem_device_read(device, bar, take(2), size);
		break;
	case 7:
		ivshmem_device_write(
			device, (unsigned)take(1), take(8), (unsigned)take(1), take(8));
		break;
	case 8:
		ivshmem_device_read(device, (unsigned)take(1), take(8), (unsigned)take(1));
		break;
	case 9:
	case 10:
		ivshmem_device_interrupt(device, (unsigned)take(1));
		break;
	case 11:
		value = take(1);
		if (what & 0x10)
			value |= 0xff00;
		if (what & 0x20)
			ivshmem_device_remove_peer(device, (uint16_t)value);
		else
			ivshmem_device_add_vector(device, (uint16_t)value);
		break;
	case 12:
		if (what & 0x10)
			ivshmem_device_reset(device);
		else if (what & 0x20)
			ivshmem_device_set_memory(device, memory, take(2), NULL);
		else
			ivshmem_device_set_id(device, (uint16_t)take(2));
		break;
	case 13:
		save(what & 0x10 ? IVSHMEM_DEVICE_FORMAT_2010 : IVSHMEM_DEVICE_FORMAT_NATIVE);
		break;
	case 14:
		if (saved_size == 0)
			break;
		/* one byte of it changed, perhaps */
		value = take(2);
		if (value < saved_size)
			saved[value] = (uint8_t)take(1);
		ivshmem_device_load(device, saved_format, saved, saved_size, NULL);
		break;
	default:
		ivshmem_device_retry(device, (unsigned)take(1));
		break;
	}
	DEMAND(ivshmem_device_intx(device) == host.intx);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const unsigned vectors[] = {1, 2, 3, 64, 65, 128, 129, 130};
	unsigned first, second;

	input = data;
	input_left = size;
	memset(&host, 0, sizeof(host));
	saved_size = 0;
	first = (unsigned)take(1);
	second = (unsigned)take(1);
	ivshmem_device_config_init(&config, sizeof(config), first & 1);
	config.server = !(first & 2);
	config.msi = !(first & 4);
	config.ioeventfd = !(first & 8);
	config.host_msix = first & 16;
	config.legacy_doorbell = first & 32;
	config.memory_size = first & 64 ? 8192 : 4096;
	config.vectors = vectors[second & 7];
	config.doorbell_bar = config.revision == 1 && (second & 16);
	if (second & 8)
		config.id = 0;
	config.master = IVSHMEM_DEVICE_MASTER_ON;
	config.ops = &ops;
	if (ivshmem_device_new(&device, &config, NULL) < 0)
		return 0;
	while (input_left > 0)
		step();
	device = ivshmem_device_free(device);
	DEMAND(host.mapped_at == 0 && !host.intx && host.n_triggers == 0);
	for (unsigned i = 0; i < MAX_VECTORS; i++)
		DEMAND(!host.attached[i]);
	return 0;
}
