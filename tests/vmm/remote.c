/* SPDX-License-Identifier: BSD-2-Clause */
#include <remote.h>

#include <doorbells.h>
#include <msix.h>
#include <vfio_client.h>

#include <base/error.h>
#include <base/fd.h>
#include <base/list.h>

#include <ivshmem/abi.h>

#include <errno.h>
#include <linux/pci_regs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#define CAPABILITIES "{\"capabilities\":{\"max_msg_fds\":128,\"max_data_xfer_size\":1048576}}"

#define CONFIG_SIZE 256

/* Of a migration stream, in one message. */
#define PIECE 65536

#define N_BARS 5

struct remote {
	struct attachment attachment;
	struct vfio_client client;
	unsigned slot;
	bool io_fds;
	uint32_t id;

	pthread_mutex_t lock;                     /* for all below */
	uint64_t bar_sizes[N_BARS], bars[N_BARS]; /* address 0: it is nowhere */
	unsigned msix_at;                         /* the capability; 0: none */
	uint32_t pending_at;                      /* in BAR1 */
	struct msix msix;

	uint8_t *memory; /* NULL: accesses to BAR2 are messages */
	uint64_t mapped_at;

	struct doorbells registers, words; /* of BAR0, of BAR4 */

	int intx, resample;
};

static struct remote *
remote_of(struct attachment *attachment)
{
	return container_of(attachment, struct remote, attachment);
}

/* What cannot fail, unless the device is broken. */
static void
must(int r)
{
	if (r < 0)
		vm_die("the device does not do as it should: %s", strerror(-r));
}

/* ---- what the kernel does for us -------------------------------------------------------------- */

static void
sync_memory(struct remote *remote)
{
	struct vm *vm = remote->attachment.vm;
	unsigned slot = VM_SLOT_DEVICE + remote->slot;

	if (!remote->memory || remote->mapped_at == remote->bars[2])
		return;
	if (remote->mapped_at)
		machine_map(&vm->machine, slot, remote->mapped_at, 0, remote->memory);
	remote->mapped_at = 0;
	if (remote->bars[2] && machine_map(&vm->machine, slot, remote->bars[2],
				       remote->bar_sizes[2], remote->memory) == 0)
		remote->mapped_at = remote->bars[2];
}

static void
sync_doorbells(struct remote *remote)
{
	doorbells_place(&remote->registers, remote->bars[0]);
	doorbells_place(&remote->words, remote->bars[IVSHMEM_BAR_DOORBELL]);
}

/* Read the config space, and follow it. */
static void
sync_config(struct remote *remote)
{
	uint8_t config[CONFIG_SIZE];
	uint16_t command, control = 0;

	if (vfio_client_read(&remote->client, VFIO_USER_REGION_CONFIG, 0, config, CONFIG_SIZE) < 0)
		return;
	memcpy(&command, config + PCI_COMMAND, sizeof(command));
	for (unsigned i = 0; i < N_BARS; i++) {
		uint64_t low_mask = PCI_BASE_ADDRESS_MEM_MASK & ~(remote->bar_sizes[i] - 1),
			 address = 0;
		bool is_64 = config[PCI_BASE_ADDRESS_0 + 4 * i] & PCI_BASE_ADDRESS_MEM_TYPE_64;

		memcpy(&address, config + PCI_BASE_ADDRESS_0 + 4 * i, is_64 ? 8 : 4);
		address &= low_mask;
		/* All ones is what sizing leaves. */
		if (!(command & PCI_COMMAND_MEMORY) || remote->bar_sizes[i] == 0 ||
			address == (is_64 ? low_mask : (low_mask & UINT32_MAX)))
			address = 0;
		remote->bars[i] = address;
	}
	if (remote->msix_at)
		memcpy(&control, config + remote->msix_at + 2, sizeof(control));
	sync_memory(remote);
	sync_doorbells(remote);
	msix_set_gate(&remote->msix, (control & PCI_MSIX_FLAGS_ENABLE) &&
					     !(control & PCI_MSIX_FLAGS_MASKALL) &&
					     (command & PCI_COMMAND_MASTER));
}

static void
assign(void *data, unsigned vector, int eventfd)
{
	struct remote *remote = data;

	vfio_client_set_irq(&remote->client, VFIO_USER_IRQ_SET_ACTION_TRIGGER,
		VFIO_PCI_MSIX_IRQ_INDEX, vector, eventfd);
}

/* Reading the pending bits makes the device look at all its eventfds first. */
static void
flush(void *data)
{
	struct remote *remote = data;
	uint32_t bits;

	vfio_client_read(&remote->client, 1, remote->pending_at, &bits, sizeof(bits));
}

/* ---- doorbells -------------------------------------------------------------------------------- */

/* Our own vectors are in the list as well: by these eventfds the others ring us. */
static void
take_own(struct remote *remote)
{
	for (size_t i = 0; i < remote->registers.n; i++) {
		const struct doorbell *doorbell = &remote->registers.list[i];
		unsigned peer = (unsigned)(doorbell->entry.datamatch >> 16);
		unsigned vector = (unsigned)(doorbell->entry.datamatch & 0xffff);

		if (peer == remote->id && vector < remote->msix.n)
			msix_set_direct(&remote->msix, vector, doorbell->eventfd);
	}
}

static void
fetch_doorbells(struct remote *remote)
{
	doorbells_fetch(&remote->registers);
	if (remote->bar_sizes[IVSHMEM_BAR_DOORBELL] > 0)
		doorbells_fetch(&remote->words);
	take_own(remote);
}

unsigned
remote_refresh(struct vm *vm, unsigned slot)
{
	struct remote *remote = remote_of(vm->pci.functions[slot]);
	unsigned n;

	pthread_mutex_lock(&remote->lock);
	if (remote->io_fds)
		fetch_doorbells(remote);
	sync_doorbells(remote);
	n = (unsigned)remote->registers.n;
	pthread_mutex_unlock(&remote->lock);
	return n;
}

unsigned
remote_count(struct vm *vm, unsigned slot)
{
	struct remote *remote = remote_of(vm->pci.functions[slot]);
	struct vfio_user_io_fd entries[VFIO_CLIENT_MAX_FDS];
	int fds[VFIO_CLIENT_MAX_FDS];
	uint32_t n, total;

	must(vfio_client_io_fds(
		&remote->client, VFIO_USER_REGION_BAR0, 0, entries, fds, &n, &total));
	while (n > 0)
		fd_close(fds[--n]);
	return total;
}

uint32_t
remote_id(struct vm *vm, unsigned slot)
{
	uint32_t id = UINT32_MAX;

	vfio_client_read(&remote_of(vm->pci.functions[slot])->client, 0, IVSHMEM_REG_IV_POSITION,
		&id, sizeof(id));
	return id;
}

uint64_t
remote_requests(struct vm *vm, unsigned slot)
{
	return remote_of(vm->pci.functions[slot])->client.requests;
}

/* ---- the guest's accesses --------------------------------------------------------------------- */

static void
config_read(struct attachment *attachment, unsigned offset, void *data, unsigned length)
{
	struct remote *remote = remote_of(attachment);

	if (vfio_client_read(&remote->client, VFIO_USER_REGION_CONFIG, offset, data, length) < 0)
		memset(data, 0xff, length);
}

static void
config_write(struct attachment *attachment, unsigned offset, const void *data, unsigned length)
{
	struct remote *remote = remote_of(attachment);

	pthread_mutex_lock(&remote->lock);
	vfio_client_write(&remote->client, VFIO_USER_REGION_CONFIG, offset, data, length);
	sync_config(remote);
	pthread_mutex_unlock(&remote->lock);
}

/* BAR1 is ours: aligned words only. */
static void
access_table(struct remote *remote, uint64_t offset, void *data, unsigned length, bool is_write)
{
	uint32_t value = 0;

	if (length == sizeof(value) && offset % sizeof(value) == 0) {
		if (is_write)
			memcpy(&value, data, sizeof(value));
		if (is_write)
			msix_write(&remote->msix, offset, value);
		else if (offset >= remote->pending_at)
			value = msix_pending(
				&remote->msix, (unsigned)(offset - remote->pending_at) * 8);
		else
			value = msix_read(&remote->msix, offset);
	}
	if (!is_write) {
		memset(data, 0, length);
		memcpy(data, &value, length < sizeof(value) ? length : sizeof(value));
	}
}

static bool
memory(struct attachment *attachment, uint64_t address, void *data, unsigned length, bool is_write)
{
	struct remote *remote = remote_of(attachment);
	uint64_t offset = 0;
	unsigned bar;

	pthread_mutex_lock(&remote->lock);
	for (bar = 0; bar < N_BARS; bar++) {
		offset = address - remote->bars[bar];
		if (remote->bars[bar] && address >= remote->bars[bar] &&
			offset < remote->bar_sizes[bar])
			break;
	}
	if (bar == 1)
		access_table(remote, offset, data, length, is_write);
	pthread_mutex_unlock(&remote->lock);

	/* Without our lock: this one takes its time, and has a lock of its own. */
	if (bar < N_BARS && bar != 1 && is_write)
		vfio_client_write(&remote->client, bar, offset, data, length);
	else if (bar < N_BARS && bar != 1 &&
		 vfio_client_read(&remote->client, bar, offset, data, length) < 0)
		memset(data, 0xff, length);
	return bar < N_BARS;
}

/* ---- reset, save, load ------------------------------------------------------------------------ */

static int
reset(struct attachment *attachment)
{
	struct remote *remote = remote_of(attachment);
	int r;

	pthread_mutex_lock(&remote->lock);
	r = vfio_client_reset(&remote->client);
	msix_reset(&remote->msix);
	sync_config(remote);
	pthread_mutex_unlock(&remote->lock);
	return r;
}

/* The table, which is ours, and then the stream of the device, memory included. */
static int
save_all(struct remote *remote, uint8_t **state, size_t *size)
{
	size_t table = GUEST_MSIX_VECTORS * sizeof(struct msix_state);
	uint32_t n;
	int r = vfio_client_set_state(&remote->client, VFIO_DEVICE_STATE_STOP_COPY);

	*size = table;
	do {
		uint8_t *grown = realloc(*state, *size + PIECE);

		if (!grown)
			return -ENOMEM;
		*state = grown;
		n = 0;
		if (r == 0)
			r = vfio_client_read_state(&remote->client, *state + *size, PIECE, &n);
		*size += n;
	} while (r == 0 && n > 0);
	if (r == 0)
		r = vfio_client_set_state(&remote->client, VFIO_DEVICE_STATE_RUNNING);
	if (r == 0)
		msix_save(&remote->msix, (struct msix_state *)(void *)*state);
	return r;
}

static int
save(struct attachment *attachment, void **ret_state, size_t *ret_size,
	struct ivshmem_error *reterr)
{
	struct remote *remote = remote_of(attachment);
	uint8_t *state = NULL;
	int r;

	pthread_mutex_lock(&remote->lock);
	r = save_all(remote, &state, ret_size);
	pthread_mutex_unlock(&remote->lock);
	if (r < 0) {
		free(state);
		return error_set(reterr, r, "the device cannot be saved: %s", strerror(-r));
	}
	*ret_state = state;
	return 0;
}

static int
load_all(struct remote *remote, const uint8_t *state, size_t size)
{
	size_t at = GUEST_MSIX_VECTORS * sizeof(struct msix_state);
	int r = vfio_client_set_state(&remote->client, VFIO_DEVICE_STATE_RESUMING);

	for (size_t piece; r == 0 && at < size; at += piece) {
		piece = size - at < PIECE ? size - at : PIECE;
		r = vfio_client_write_state(&remote->client, state + at, (uint32_t)piece);
	}
	if (r == 0)
		r = vfio_client_set_state(&remote->client, VFIO_DEVICE_STATE_RUNNING);
	if (r < 0)
		return r;
	msix_load(&remote->msix, (const struct msix_state *)(const void *)state);
	sync_config(remote);
	return 0;
}

static int
load(struct attachment *attachment, const void *state, size_t size, struct ivshmem_error *reterr)
{
	struct remote *remote = remote_of(attachment);
	int r = -EINVAL;

	pthread_mutex_lock(&remote->lock);
	if (size >= GUEST_MSIX_VECTORS * sizeof(struct msix_state))
		r = load_all(remote, state, size);
	pthread_mutex_unlock(&remote->lock);
	return r < 0 ? error_set(reterr, r, "the device does not take this state: %s", strerror(-r))
		     : 0;
}

/* ---- life ------------------------------------------------------------------------------------- */

static void
find_regions(struct remote *remote)
{
	struct vfio_client *client = &remote->client;
	uint8_t config[CONFIG_SIZE];
	int fds[N_BARS];

	for (uint32_t i = 0; i < N_BARS; i++)
		must(vfio_client_region(client, i, &remote->bar_sizes[i], &fds[i]));
	if (fds[2] >= 0) {
		remote->memory = mmap(
			NULL, remote->bar_sizes[2], PROT_READ | PROT_WRITE, MAP_SHARED, fds[2], 0);
		if (remote->memory == MAP_FAILED)
			must(-errno);
	}
	for (uint32_t i = 0; i < N_BARS; i++)
		fd_close(fds[i]);
	must(vfio_client_read(client, VFIO_USER_REGION_CONFIG, 0, config, CONFIG_SIZE));
	for (unsigned at = config[PCI_CAPABILITY_LIST]; at; at = config[at + 1])
		if (config[at] == PCI_CAP_ID_MSIX) {
			remote->msix_at = at;
			memcpy(&remote->pending_at, config + at + 8, sizeof(remote->pending_at));
			remote->pending_at &= PCI_MSIX_PBA_OFFSET;
		}
	must(vfio_client_read(client, 0, IVSHMEM_REG_IV_POSITION, &remote->id, sizeof(remote->id)));
}

static void
set_up_msix(struct remote *remote)
{
	uint32_t n;

	must(vfio_client_irqs(&remote->client, VFIO_PCI_MSIX_IRQ_INDEX, &n));
	must(msix_init(&remote->msix, remote->attachment.vm,
		VM_GSI_MSI + remote->slot * GUEST_MSIX_VECTORS, n));
	remote->msix.assign = assign;
	remote->msix.flush = flush;
	remote->msix.data = remote;
	for (uint32_t i = 0; i < remote->msix.n; i++)
		must(vfio_client_set_irq(&remote->client, VFIO_USER_IRQ_SET_ACTION_TRIGGER,
			VFIO_PCI_MSIX_IRQ_INDEX, i, remote->msix.vectors[i].eventfd));
}

/* The device raises the line by one eventfd; the guest's end of interrupt, which the kernel tells by
 * the other, makes it look whether the line has to be raised again. */
static void
set_up_intx(struct remote *remote)
{
	uint32_t n;

	must(vfio_client_irqs(&remote->client, VFIO_PCI_INTX_IRQ_INDEX, &n));
	if (n == 0)
		return;
	remote->intx = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	remote->resample = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (remote->intx < 0 || remote->resample < 0)
		must(-errno);
	must(vm_irqfd(remote->attachment.vm, VM_GSI_INTX, remote->intx, remote->resample, true));
	must(vfio_client_set_irq(&remote->client, VFIO_USER_IRQ_SET_ACTION_TRIGGER,
		VFIO_PCI_INTX_IRQ_INDEX, 0, remote->intx));
	must(vfio_client_set_irq(&remote->client, VFIO_USER_IRQ_SET_ACTION_UNMASK,
		VFIO_PCI_INTX_IRQ_INDEX, 0, remote->resample));
}

static void
remote_free(struct attachment *attachment)
{
	struct remote *remote = remote_of(attachment);

	doorbells_drop(&remote->registers);
	doorbells_drop(&remote->words);
	msix_done(&remote->msix);
	remote->bars[2] = 0;
	sync_memory(remote);
	if (remote->memory)
		munmap(remote->memory, remote->bar_sizes[2]);
	if (remote->intx >= 0)
		vm_irqfd(remote->attachment.vm, VM_GSI_INTX, remote->intx, -1, false);
	fd_close(remote->intx);
	fd_close(remote->resample);
	vfio_client_close(&remote->client);
	pthread_mutex_destroy(&remote->lock);
	free(remote);
}

static const struct attachment_ops ops = {
	.config_read = config_read,
	.config_write = config_write,
	.memory = memory,
	.reset = reset,
	.save = save,
	.load = load,
	.free = remote_free,
};

void
remote_attach(struct vm *vm, unsigned slot, const struct remote_config *config)
{
	struct remote *remote = calloc(1, sizeof(*remote));
	char text[4096];
	int r;

	if (!remote)
		vm_die("no memory");
	remote->attachment = (struct attachment){.ops = &ops, .vm = vm};
	remote->slot = slot;
	remote->registers = (struct doorbells){
		.vm = vm, .client = &remote->client, .bar = VFIO_USER_REGION_BAR0};
	remote->words = (struct doorbells){
		.vm = vm, .client = &remote->client, .bar = VFIO_USER_REGION_BAR4};
	remote->io_fds = config->io_fds;
	remote->intx = remote->resample = -1;
	pthread_mutex_init(&remote->lock, NULL);

	r = vfio_client_connect(&remote->client, config->path);
	if (r < 0)
		vm_die("cannot connect to %s: %s", config->path, strerror(-r));
	must(vfio_client_version(&remote->client, CAPABILITIES, text, sizeof(text)));
	find_regions(remote);
	set_up_msix(remote);
	set_up_intx(remote);
	if (remote->io_fds)
		fetch_doorbells(remote);
	vm->pci.functions[slot] = &remote->attachment;
}
