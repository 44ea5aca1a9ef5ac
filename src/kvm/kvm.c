/* SPDX-License-Identifier: BSD-2-Clause */

/* The life of a device in a VM, the lock, and what a VMM calls. */

#include <base/error.h>
#include <kvm/binding.h>
#include <kvm/ioctls.h>

#include <base/parse.h>
#include <base/sized.h>
#include <trace/trace.h>

#include <ivshmem/abi.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The first GSI that is not a pin of the I/O APIC of an x86 VM. */
#define DEFAULT_FIRST_GSI 24

/* The BARs of a PCI function, and where their addresses are in config space. */
#define N_BARS          6
#define CONFIG_BARS     0x10
#define CONFIG_BARS_END (CONFIG_BARS + 4 * N_BARS)

static void
lock(struct ivshmem_kvm *kvm)
{
	pthread_mutex_lock(&kvm->lock);
}

static void
unlock(struct ivshmem_kvm *kvm)
{
	pthread_mutex_unlock(&kvm->lock);
}

/* ---- configuration --------------------------------------------------------------------------- */

void
ivshmem_kvm_config_init(struct ivshmem_kvm_config *config, size_t struct_size)
{
	static const struct ivshmem_kvm_config defaults = {
		.vm_fd = -1,
		.first_gsi = DEFAULT_FIRST_GSI,
		.intx_gsi = IVSHMEM_KVM_NO_GSI,
	};

	sized_out(config, struct_size, &defaults, sizeof(defaults));
}

static int
check_config(const struct ivshmem_kvm_config *config, const struct ivshmem_device_config *device,
	struct ivshmem_error *reterr)
{
	if (device->host_msix)
		return error_set(reterr, -EINVAL,
			"host_msix is for hosts that have an MSI-X table of their own; switch it off");
	if (!config->server && !config->shm && !config->file)
		return error_set(reterr, -EINVAL,
			"neither a server nor memory: give the path of a server's socket, the name "
			"of a shared memory object, or the path of a file");
	return kvm_check_vm(config->vm_fd, reterr);
}

/* Fill in what the server and the memory decide about the device. */
static int
complete(
	struct ivshmem_kvm *kvm, struct ivshmem_device_config *device, struct ivshmem_error *reterr)
{
	uint64_t size = member_memory_size(kvm->member);
	char wanted[SIZE_TEXT_MAX], there[SIZE_TEXT_MAX];

	device->server = member_has_server(kvm->member);
	device->ops = &effects;
	device->data = kvm;
	device->id = member_id(kvm->member);
	if (device->revision == 0)
		return 0;
	if (device->memory_size != 0 && device->memory_size != size)
		return error_set(reterr, -EINVAL,
			"the memory has %s, but memory_size says %s: in revision 1 they must be "
			"the same; leave it 0 to take what there is",
			format_size(size, there), format_size(device->memory_size, wanted));
	device->memory_size = size;
	return 0;
}

/* ---- life ------------------------------------------------------------------------------------ */

static void
write_log(void *data, enum log_level level, const char *message)
{
	const struct ivshmem_kvm *kvm = data;

	kvm->log_fn(level <= LOG_LEVEL_WARNING ? IVSHMEM_LOG_WARNING : IVSHMEM_LOG_DEBUG, message,
		kvm->data);
}

static void
lost(struct member *member, const struct ivshmem_error *error, void *data)
{
	struct ivshmem_kvm *kvm = data;

	kvm->connected = false;
	log_warning(&kvm->log, "%s; %s", error->message,
		member_id(member) >= 0 && member_memory(member)
			? "the VM goes on with the memory and the peers it has"
			: "the guest will never get its id and its memory: free the device and make it again");
}

static int
join(struct ivshmem_kvm *kvm, const struct ivshmem_kvm_config *config,
	const struct ivshmem_device_config *device, struct ivshmem_error *reterr)
{
	struct member_config member = {
		.server = config->server,
		.shm = config->shm,
		.file = config->file,
		.size = device->memory_size,
		.late = device->revision == 0,
		.timeout_ms = config->timeout_ms,
		.lost = lost,
		.data = kvm,
	};
	int r = loop_new(&kvm->loop);

	if (r < 0)
		return error_set(reterr, r, "cannot make an event loop: %s", strerror(-r));
	kvm->connected = config->server != NULL;
	return member_open(&kvm->member, kvm->loop, &member, &kvm->log, reterr);
}

static int
start(struct ivshmem_kvm *kvm, const struct ivshmem_kvm_config *config,
	struct ivshmem_device_config *device, struct ivshmem_error *reterr)
{
	int r = join(kvm, config, device, reterr);

	if (r == 0)
		r = complete(kvm, device, reterr);
	if (r < 0)
		return r;
	r = ivshmem_device_new(&kvm->device, device, reterr);
	if (r < 0)
		return r;
	r = routes_init(&kvm->routes, config, ivshmem_device_msix_vectors(kvm->device));
	if (r < 0)
		return error_set(reterr, r, "out of memory");
	r = intx_init(&kvm->intx, kvm->loop, kvm->vm_fd,
		ivshmem_device_has_intx(kvm->device) ? config->intx_gsi : IVSHMEM_KVM_NO_GSI,
		&kvm->log, reterr);
	return r < 0 ? r : member_attach(kvm->member, kvm->device, reterr);
}

static int
new_kvm(struct ivshmem_kvm **ret_kvm, const struct ivshmem_kvm_config *given,
	struct ivshmem_error *reterr)
{
	struct ivshmem_device_config device;
	struct ivshmem_kvm_config config;
	struct ivshmem_kvm *kvm;
	int r = SIZED_IN(struct ivshmem_kvm_config, data, &config, given, reterr);

	ivshmem_device_config_init(&device, sizeof(device), 1);
	if (r == 0 && config.device)
		r = SIZED_IN(struct ivshmem_device_config, data, &device, config.device, reterr);
	if (r == 0)
		r = check_config(&config, &device, reterr);
	if (r < 0)
		return r;
	kvm = calloc(1, sizeof(*kvm));
	if (!kvm)
		return error_set(reterr, -ENOMEM, "out of memory");
	pthread_mutex_init(&kvm->lock, NULL);
	kvm->vm_fd = config.vm_fd;
	kvm->memory_slot = config.memory_slot;
	kvm->first_gsi = config.first_gsi;
	kvm->log_fn = config.log;
	kvm->data = config.data;
	kvm->intx = INTX_NONE;
	if (config.log)
		kvm->log = (struct log){LOG_LEVEL_DEBUG, write_log, kvm};
	r = start(kvm, &config, &device, reterr);
	if (r < 0) {
		ivshmem_kvm_free(kvm);
		return r;
	}
	*ret_kvm = kvm;
	return 0;
}

int
ivshmem_kvm_new(struct ivshmem_kvm **ret_kvm, const struct ivshmem_kvm_config *config,
	struct ivshmem_error *reterr)
{
	struct ivshmem_error error = {0};
	int r = new_kvm(ret_kvm, config, &error);

	if (r < 0 && reterr)
		*reterr = error;
	return r;
}

struct ivshmem_kvm *
ivshmem_kvm_free(struct ivshmem_kvm *kvm)
{
	if (!kvm)
		return NULL;
	if (kvm->member)
		member_detach(kvm->member);
	ivshmem_device_free(kvm->device);
	intx_done(&kvm->intx);
	routes_done(&kvm->routes);
	member_close(kvm->member);
	if (kvm->loop)
		loop_free(kvm->loop);
	pthread_mutex_destroy(&kvm->lock);
	free(kvm);
	return NULL;
}

/* ---- events ---------------------------------------------------------------------------------- */

int
ivshmem_kvm_fd(const struct ivshmem_kvm *kvm)
{
	return loop_fd(kvm->loop);
}

int
ivshmem_kvm_dispatch(struct ivshmem_kvm *kvm)
{
	int r;

	lock(kvm);
	r = loop_dispatch(kvm->loop, 0);
	unlock(kvm);
	return r < 0 && r != -EINTR ? r : 0;
}

/* ---- accesses of the guest ------------------------------------------------------------------- */

void
ivshmem_kvm_config_read(struct ivshmem_kvm *kvm, unsigned offset, void *buffer, size_t length)
{
	lock(kvm);
	ivshmem_device_config_read(kvm->device, offset, buffer, length);
	unlock(kvm);
}

void
ivshmem_kvm_config_write(
	struct ivshmem_kvm *kvm, unsigned offset, const void *buffer, size_t length)
{
	bool only_bars = offset >= CONFIG_BARS && offset < CONFIG_BARS_END &&
			 length <= CONFIG_BARS_END - offset;

	lock(kvm);
	/* The command register and the MSI-X capability may open all vectors. */
	if (!only_bars)
		effects_prepare_routes(kvm);
	ivshmem_device_config_write(kvm->device, offset, buffer, length);
	unlock(kvm);
}

/* The shared memory can vanish under an access, which then fails. */
struct memory_access {
	struct ivshmem_device *device;
	uint64_t offset, value;
	unsigned size;
	bool is_write;
};

static void
access_memory(void *data)
{
	struct memory_access *access = data;

	if (access->is_write)
		ivshmem_device_write(access->device, IVSHMEM_BAR_MEMORY, access->offset,
			access->size, access->value);
	else
		access->value = ivshmem_device_read(
			access->device, IVSHMEM_BAR_MEMORY, access->offset, access->size);
}

static uint64_t
device_read(struct ivshmem_kvm *kvm, unsigned bar, uint64_t offset, unsigned size)
{
	struct memory_access access = {.device = kvm->device, .offset = offset, .size = size};

	if (bar != IVSHMEM_BAR_MEMORY)
		return ivshmem_device_read(kvm->device, bar, offset, size);
	if (member_access(kvm->member, access_memory, &access) < 0)
		return UINT64_MAX >> (64 - 8 * size);
	return access.value;
}

static void
device_write(struct ivshmem_kvm *kvm, unsigned bar, uint64_t offset, unsigned size, uint64_t value)
{
	struct memory_access access = {kvm->device, offset, value, size, true};

	if (bar == IVSHMEM_BAR_MEMORY && member_is_reader(kvm->member))
		return;
	if (bar == IVSHMEM_BAR_MEMORY)
		member_access(kvm->member, access_memory, &access);
	else
		ivshmem_device_write(kvm->device, bar, offset, size, value);
}

uint64_t
ivshmem_kvm_read(struct ivshmem_kvm *kvm, unsigned bar, uint64_t offset, unsigned size)
{
	uint64_t value;

	lock(kvm);
	value = device_read(kvm, bar, offset, size);
	unlock(kvm);
	return value;
}

void
ivshmem_kvm_write(
	struct ivshmem_kvm *kvm, unsigned bar, uint64_t offset, unsigned size, uint64_t value)
{
	lock(kvm);
	device_write(kvm, bar, offset, size, value);
	unlock(kvm);
}

static void
access_part(struct ivshmem_kvm *kvm, unsigned bar, uint64_t offset, uint8_t *bytes, unsigned size,
	bool is_write)
{
	uint64_t value = 0;

	if (is_write) {
		for (unsigned i = 0; i < size; i++)
			value |= (uint64_t)bytes[i] << (8 * i);
		device_write(kvm, bar, offset, size, value);
		return;
	}
	value = device_read(kvm, bar, offset, size);
	for (unsigned i = 0; i < size; i++)
		bytes[i] = (uint8_t)(value >> (8 * i));
}

/* KVM splits an access that crosses a page, so there may be any number of bytes. */
static void
access_bar(struct ivshmem_kvm *kvm, unsigned bar, uint64_t offset, uint8_t *bytes, unsigned length,
	bool is_write)
{
	uint64_t room = ivshmem_device_bar_size(kvm->device, bar) - offset;
	bool whole = length == 1 || length == 2 || length == 4 || length == 8;

	if (whole && length <= room) {
		access_part(kvm, bar, offset, bytes, length, is_write);
		return;
	}
	for (unsigned i = 0; i < length; i++)
		access_part(kvm, bar, offset + i, bytes + i, 1, is_write);
}

bool
ivshmem_kvm_mmio(
	struct ivshmem_kvm *kvm, uint64_t address, void *data, unsigned length, bool is_write)
{
	bool handled = false;

	lock(kvm);
	for (unsigned bar = 0; bar < N_BARS && !handled; bar++) {
		uint64_t base = ivshmem_device_bar_address(kvm->device, bar);

		handled = base != 0 && address >= base &&
			  address - base < ivshmem_device_bar_size(kvm->device, bar);
		if (handled)
			access_bar(kvm, bar, address - base, data, length, is_write);
	}
	unlock(kvm);
	return handled;
}

void
ivshmem_kvm_reset(struct ivshmem_kvm *kvm)
{
	lock(kvm);
	TRACE(device_reset, ivshmem_device_id(kvm->device));
	ivshmem_device_reset(kvm->device);
	intx_restart(&kvm->intx);
	unlock(kvm);
}

/* ---- save and load --------------------------------------------------------------------------- */

size_t
ivshmem_kvm_state_size(struct ivshmem_kvm *kvm, enum ivshmem_device_format format)
{
	/* It never changes. */
	return ivshmem_device_state_size(kvm->device, format);
}

int
ivshmem_kvm_save(struct ivshmem_kvm *kvm, enum ivshmem_device_format format, void *buffer,
	size_t size, struct ivshmem_error *reterr)
{
	int r;

	lock(kvm);
	r = ivshmem_device_save(kvm->device, format, buffer, size, reterr);
	unlock(kvm);
	return r;
}

int
ivshmem_kvm_load(struct ivshmem_kvm *kvm, enum ivshmem_device_format format, const void *buffer,
	size_t size, struct ivshmem_error *reterr)
{
	int r;

	lock(kvm);
	r = ivshmem_device_load(kvm->device, format, buffer, size, reterr);
	if (r >= 0)
		intx_restart(&kvm->intx);
	unlock(kvm);
	return r;
}

/* ---- questions ------------------------------------------------------------------------------- */

void *
ivshmem_kvm_memory(struct ivshmem_kvm *kvm)
{
	void *memory;

	lock(kvm);
	memory = member_memory(kvm->member);
	unlock(kvm);
	return memory;
}

uint64_t
ivshmem_kvm_memory_size(struct ivshmem_kvm *kvm)
{
	uint64_t size;

	lock(kvm);
	size = member_memory_size(kvm->member);
	unlock(kvm);
	return size;
}

void
ivshmem_kvm_sigbus(void)
{
	member_fault();
}

uint64_t
ivshmem_kvm_bar_size(struct ivshmem_kvm *kvm, unsigned bar)
{
	/* It never changes. */
	return ivshmem_device_bar_size(kvm->device, bar);
}

uint64_t
ivshmem_kvm_bar_address(struct ivshmem_kvm *kvm, unsigned bar)
{
	uint64_t address;

	lock(kvm);
	address = ivshmem_device_bar_address(kvm->device, bar);
	unlock(kvm);
	return address;
}

int32_t
ivshmem_kvm_id(struct ivshmem_kvm *kvm)
{
	int32_t id;

	lock(kvm);
	id = ivshmem_device_id(kvm->device);
	unlock(kvm);
	return id;
}

unsigned
ivshmem_kvm_peer_vectors(struct ivshmem_kvm *kvm, uint16_t peer)
{
	unsigned vectors;

	lock(kvm);
	vectors = ivshmem_device_peer_vectors(kvm->device, peer);
	unlock(kvm);
	return vectors;
}

bool
ivshmem_kvm_is_master(struct ivshmem_kvm *kvm)
{
	bool is_master;

	lock(kvm);
	is_master = ivshmem_device_is_master(kvm->device);
	unlock(kvm);
	return is_master;
}

int
ivshmem_kvm_get_status(struct ivshmem_kvm *kvm, struct ivshmem_kvm_status *status)
{
	struct ivshmem_kvm_status ours = {0};
	int r = SIZED_CHECK(struct ivshmem_kvm_status, route_changes, status, NULL);

	if (r < 0)
		return r;
	lock(kvm);
	ours.connected = kvm->connected;
	ours.memory_mapped = kvm->mapped;
	ours.ioeventfds = kvm->ioeventfds;
	ours.irqfds = kvm->irqfds;
	ours.rings = kvm->rings;
	ours.messages = kvm->messages;
	ours.route_changes = kvm->routes.changes;
	unlock(kvm);
	sized_out(status, status->struct_size, &ours, sizeof(ours));
	return 0;
}
