/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * The device model: any accesses, any events, any answers of the host. What the host is asked for
 * must make sense (checked_host.h): messages only when the guest allows them, and in the end nothing is left.
 *
 * The first three bytes are the configuration; then steps of a byte for what, and their arguments.
 */

#include <checked_host.h>
#include <fuzz.h>
#include <test.h>

#include <errno.h>
#include <stdarg.h>

#define MAX_TRIGGERS 1024
#define STATE_SIZE   8192

static struct fuzz_input input;

static uint64_t
take(unsigned bytes)
{
	return fuzz_take(&input, bytes);
}

/* ---- the host -------------------------------------------------------------------------------- */

static struct ivshmem_device *device;
static struct ivshmem_device_config config;
static uint8_t memory[8192] __attribute__((aligned(4096)));
static unsigned n_logged;

/* The checked host complains like a test, and that ends this run. */
void
test_fail(const char *file, int line, const char *format, ...)
{
	va_list args;

	fprintf(stderr, "%s:%d: ", file, line);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	abort();
}

/* The guest allows them. */
static void
check_message(void)
{
	uint8_t control[2], command[2];

	ivshmem_device_config_read(device, 0x04, command, 2);
	ivshmem_device_config_read(device, 0x42, control, 2);
	DEMAND(config.host_msix || ((control[1] & 0xc0) == 0x80 && (command[0] & 4)));
}

/* The input says what is refused. */
static int
answer(const struct host_request *request)
{
	if (request->type == HOST_MAP)
		return take(1) == 0xee ? -ENOSPC : 0;
	if (request->type == HOST_ADD && in_force.n_ioeventfds == MAX_TRIGGERS)
		return -ENOSPC;
	if (request->type == HOST_ADD)
		return in_force.n_ioeventfds % 16 == 15 && take(1) == 0xee ? -ENOSPC : 0;
	if (request->type == HOST_TAKE)
		return take(1) & 1;
	if (request->type == HOST_SEND || request->type == HOST_ATTACH) {
		check_message();
		DEMAND(request->type == HOST_SEND || !config.host_msix);
		return take(1) == 0xee ? -EAGAIN : 0;
	}
	DEMAND(request->type != HOST_LOG || ++n_logged <= 3);
	return 0;
}

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
	DEMAND(ivshmem_device_intx(device) == in_force.intx);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const unsigned vectors[] = {1, 2, 3, 64, 65, 128, 129, 130};
	unsigned first, second;

	input = (struct fuzz_input){data, size};
	checked_host_init(answer);
	n_logged = 0;
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
	config.ops = &checked_ops;
	config.data = &in_force;
	if (ivshmem_device_new(&device, &config, NULL) < 0)
		return 0;
	while (input.size > 0)
		step();
	device = ivshmem_device_free(device);
	checked_host_empty();
	return 0;
}
