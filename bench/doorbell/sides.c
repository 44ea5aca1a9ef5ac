/* SPDX-License-Identifier: BSD-2-Clause */
#include "sides.h"

#include "crowd.h"

#include <bare.h>
#include <embedded.h>
#include <remote.h>

#include <ivshmem/abi.h>

#include <sys/eventfd.h>
#include <unistd.h>

#define DEVICE_SLOT 0

/* Whoever has to hear of somebody may take so long for it, and we look so often. */
#define PATIENCE_MS 60000
#define PAUSE_US    1000

static void
pause_or_die(unsigned *looks, const char *what)
{
	if (++*looks == PATIENCE_MS * 1000 / PAUSE_US)
		vm_die("%s", what);
	usleep(PAUSE_US);
}

/* ---- pairs ------------------------------------------------------------------------------------ */

static bool
heard(struct guest *from, struct guest *to)
{
	guest_call(from, GUEST_RING, ivshmem_doorbell_value(to->id, 0), 1);
	guest_call(to, GUEST_NOP);
	return to->mailbox->interrupts[GUEST_MSIX_INTERRUPT] > 0;
}

/* Until the rings of each arrive at the other, and none is on the way. Who knows the last of a group
 * knows the others: the server tells of them in the order in which they came. */
static void
pair_settle(struct pair *pair)
{
	unsigned looks = 0;

	guest_wake(&pair->a);
	guest_wake(&pair->b);
	while (!heard(&pair->a, &pair->b) || !heard(&pair->b, &pair->a))
		pause_or_die(&looks, "two guests do not hear each other");
	usleep(10 * PAUSE_US);
	guest_call(&pair->a, GUEST_NOP);
	guest_call(&pair->b, GUEST_NOP);
	guest_rest(&pair->a);
	guest_rest(&pair->b);
}

void
pair_free(struct pair *pair)
{
	guest_destroy(&pair->a);
	guest_destroy(&pair->b);
}

static void
set_by_hand(struct guest *guest, uint16_t id, const int eventfds[3], int cpu)
{
	guest_create(guest, cpu);
	guest->id = id;
	if (bare_interrupt(guest->vm, 0, eventfds[id]) < 0)
		vm_die("no irqfd");
	/* As many as the devices register, in the same order: one's own is among them. */
	for (uint16_t i = 0; i < 3; i++)
		if (bare_doorbell(guest->vm, ivshmem_doorbell_value(i, 0), eventfds[i]) < 0)
			vm_die("no ioeventfd");
	guest_boot(guest);
	guest_call(guest, GUEST_SETUP_FIXED, GUEST_BAR0_AT);
}

void
pair_bare(struct pair *pair, struct cpus cpus)
{
	int eventfds[3]; /* of IDLE_ID, and of the two; open until the end */

	pair->name = "bare";
	for (int i = 0; i < 3; i++) {
		eventfds[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (eventfds[i] < 0)
			vm_die("no eventfd");
	}
	set_by_hand(&pair->a, 1, eventfds, cpus.a);
	set_by_hand(&pair->b, 2, eventfds, cpus.b);
	pair_settle(pair);
}

static void
embed(struct guest *guest, int cpu, const char *server, unsigned vectors, bool words)
{
	struct ivshmem_device_config device;
	struct embedded_config config = {.server = server, .device = &device};

	ivshmem_device_config_init(&device, sizeof(device), 1);
	device.vectors = (uint16_t)vectors;
	device.doorbell_bar = words;
	guest_create(guest, cpu);
	embedded_attach(guest->vm, DEVICE_SLOT, &config);
	guest_boot(guest);
	guest_setup(guest);
}

void
pair_embedded(struct pair *pair, struct cpus cpus, const char *server)
{
	pair->name = "embedded";
	embed(&pair->a, cpus.a, server, 1, false);
	embed(&pair->b, cpus.b, server, 1, false);
	pair_settle(pair);
}

uint8_t *
pair_memory(struct pair *pair)
{
	return ivshmem_kvm_memory(embedded_device(pair->a.vm, DEVICE_SLOT));
}

static void
connect_to(struct guest *guest, int cpu, const char *device, bool ioeventfds)
{
	struct remote_config config = {.path = device, .io_fds = ioeventfds};

	guest_create(guest, cpu);
	remote_attach(guest->vm, DEVICE_SLOT, &config);
	guest_boot(guest);
	guest_setup(guest);
}

/* Until a device knows so many doorbells, which it then hands out. */
static void
remote_settle(struct guest *guest, unsigned doorbells)
{
	unsigned looks = 0;

	while (remote_count(guest->vm, DEVICE_SLOT) != doorbells)
		pause_or_die(&looks, "an ivshmem-device does not hear of everybody");
	remote_refresh(guest->vm, DEVICE_SLOT);
}

void
pair_remote(struct pair *pair, struct cpus cpus, const char *a, const char *b, bool ioeventfds)
{
	pair->name = ioeventfds ? "remote" : "trapped";
	connect_to(&pair->a, cpus.a, a, ioeventfds);
	connect_to(&pair->b, cpus.b, b, ioeventfds);
	remote_settle(&pair->a, 3);
	remote_settle(&pair->b, 3);
	pair_settle(pair);
}

void
pair_qemu(struct pair *pair, pid_t a, const char *a_memory, pid_t b, const char *b_memory)
{
	pair->name = "qemu";
	guest_adopt(&pair->a, a, a_memory);
	guest_adopt(&pair->b, b, b_memory);
	guest_setup(&pair->a);
	guest_setup(&pair->b);
	pair_settle(pair);
}

/* ---- many doorbells --------------------------------------------------------------------------- */

unsigned
scale_vectors(unsigned doorbells)
{
	return doorbells < 100 ? doorbells : 100;
}

static void
embedded_settle(struct guest *guest, uint16_t last, unsigned vectors)
{
	struct ivshmem_kvm *kvm = embedded_device(guest->vm, DEVICE_SLOT);
	unsigned looks = 0;

	while (ivshmem_kvm_peer_vectors(kvm, last) != vectors)
		pause_or_die(&looks, "the library does not hear of everybody");
}

void
scale_make(struct scale *scale, int cpu, unsigned doorbells, const char *server, const char *device)
{
	unsigned vectors = scale_vectors(doorbells);
	struct guest *guest = &scale->guest;
	uint16_t last = 0;

	scale->way = device ? "remote" : "embedded";
	scale->doorbells = doorbells;
	if (device)
		connect_to(guest, cpu, device, true);
	else
		embed(guest, cpu, server, vectors, true);
	/* After the guest has set up its device, so that each is added behind the others. */
	for (unsigned i = 0; i < doorbells / vectors; i++)
		last = crowd_join(server);
	if (device)
		remote_settle(guest, doorbells + vectors);
	else
		embedded_settle(guest, last, vectors);
	scale->value = ivshmem_doorbell_value(last, (uint16_t)(vectors - 1));
	scale->word = (uint32_t)guest_call(guest, GUEST_WORD, last, vectors - 1);
	if (scale->word == 0)
		vm_die("a guest finds no doorbell words");
}

void
scale_free(struct scale *scale)
{
	guest_destroy(&scale->guest);
}
