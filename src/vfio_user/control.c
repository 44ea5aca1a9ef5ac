/* SPDX-License-Identifier: BSD-2-Clause */
#include <vfio_user/control.h>

#include <base/clock.h>
#include <base/error.h>
#include <base/json.h>
#include <control/control.h>
#include <control/metrics.h>
#include <vfio_user/vfio_user_parts.h>

#include <ivshmem/abi.h>

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define PENDING_WORDS_MAX 32 /* of 64 vectors each */

static const char *const registers[TALLY_REGISTERS] = {
	"IntrMask", "IntrStatus", "IVPosition", "Doorbell", "other"};

static const char *const server_states[] = {
	[REJOIN_JOINED] = "joined",
	[REJOIN_ALONE] = "gone: looking for the next one",
	[REJOIN_JOINING] = "gone: joining the next one",
	[REJOIN_RESTING] = "gone: the next one did not take us; resting",
};

/* ---- status ---------------------------------------------------------------------------------- */

static void
put_server(struct json *json, const struct vfio_user *vfio_user)
{
	const struct rejoin *rejoin = &vfio_user->successor.rejoin;
	int32_t id = member_id(vfio_user->function->member);
	bool waits = rejoin->state == REJOIN_ALONE && !rejoin->allowed;

	json_object(json, "server");
	json_string(json, "socket", vfio_user->facts->server);
	json_string(json, "state",
		waits ? "gone: the VM goes on without it" : server_states[rejoin->state]);
	if (id >= 0)
		json_number(json, "id", (uint64_t)id);
	else
		json_null(json, "id");
	json_number(json, "peers", member_peers(vfio_user->function->member, NULL, 0));
	json_end(json);
}

static void
put_vmm(struct json *json, const struct vfio_user *vfio_user)
{
	const struct process *vmm = &vfio_user->vmm;

	if (vfio_user->socket < 0) {
		json_null(json, "vmm");
		return;
	}
	json_object(json, "vmm");
	json_number(json, "pid", (uint64_t)vmm->pid);
	json_number(json, "uid", vmm->uid);
	json_string(json, "program", vmm->program);
	json_decimal(json, "since", clock_date(vfio_user->vmm_since), 3);
	json_bool(json, "negotiated", vfio_user->session.negotiated);
	json_number(json, "max_fds", vfio_user->session.max_fds);
	json_number(json, "max_transfer_bytes", vfio_user->session.max_transfer);
	json_end(json);
}

static int
answer_status(
	void *data, const struct control_request *request, FILE *out, struct ivshmem_error *reterr)
{
	const struct vfio_user *vfio_user = data;
	const struct vfio_user_facts *facts = vfio_user->facts;
	const struct ivshmem_device_config *device = &vfio_user->device;
	struct json json = {.out = out};

	(void)request;
	(void)reterr;
	json_object(&json, NULL);
	json_string(&json, "program", "ivshmem-device");
	json_string(&json, "version", facts->version);
	json_number(&json, "pid", (uint64_t)getpid());
	json_decimal(&json, "since", clock_date(vfio_user->since), 3);
	json_string(&json, "socket", facts->socket);
	json_number(&json, "revision", device->revision);
	json_number(&json, "memory_bytes", member_memory_size(vfio_user->function->member));
	json_number(&json, "vectors", facts->server ? device->vectors : 0);
	if (facts->server)
		put_server(&json, vfio_user);
	else
		json_string(&json, "backing", facts->memory);
	put_vmm(&json, vfio_user);
	json_close(&json);
	return 0;
}

/* ---- peers ----------------------------------------------------------------------------------- */

static uint64_t
rings_of(const struct tally *tally, uint16_t peer)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < TALLY_RINGS; i++)
		if (tally->rings[i].n > 0 && tally_peer(&tally->rings[i]) == peer)
			n += tally->rings[i].n;
	return n;
}

static int
answer_peers(
	void *data, const struct control_request *request, FILE *out, struct ivshmem_error *reterr)
{
	const struct vfio_user *vfio_user = data;
	const struct function *function = vfio_user->function;
	size_t n = member_peers(function->member, NULL, 0);
	uint16_t *ids = calloc(n + 1, sizeof(*ids));
	struct json json = {.out = out};

	(void)request;
	if (!ids)
		return error_set(reterr, -ENOMEM, "there is no memory for the list of peers");
	member_peers(function->member, ids, n);
	json_object(&json, NULL);
	json_array(&json, "peers");
	for (size_t i = 0; i < n; i++) {
		json_object(&json, NULL);
		json_number(&json, "id", ids[i]);
		json_number(
			&json, "vectors", ivshmem_device_peer_vectors(function->device, ids[i]));
		json_bool(&json, "self", ids[i] == member_id(function->member));
		json_number(&json, "doorbells", rings_of(&function->tally, ids[i]));
		json_end(&json);
	}
	json_close(&json);
	free(ids);
	return 0;
}

/* ---- counters -------------------------------------------------------------------------------- */

static void
put_accesses(struct json *json, const char *key, const char *name, const uint64_t counts[2])
{
	json_object(json, NULL);
	json_string(json, key, name);
	json_number(json, "reads", counts[0]);
	json_number(json, "writes", counts[1]);
	json_end(json);
}

static void
name_bar(unsigned bar, char name[8])
{
	snprintf(name, 8, "BAR%u", bar % 10);
}

static void
put_all_accesses(struct json *json, const struct tally *tally)
{
	char name[8];

	json_array(json, "registers");
	for (unsigned i = 0; i < TALLY_REGISTERS; i++)
		put_accesses(json, "register", registers[i], tally->registers[i]);
	json_end(json);
	json_array(json, "regions");
	put_accesses(json, "region", "config", tally->config);
	for (unsigned i = 0; i < TALLY_BARS; i++) {
		name_bar(i, name);
		if (tally->bars[i][0] + tally->bars[i][1] > 0)
			put_accesses(json, "region", name, tally->bars[i]);
	}
	json_end(json);
}

static void
put_doorbells(struct json *json, const struct function *function)
{
	const struct tally *tally = &function->tally;

	json_array(json, "doorbells_out");
	for (unsigned i = 0; i < TALLY_RINGS; i++) {
		if (tally->rings[i].n == 0)
			continue;
		json_object(json, NULL);
		json_number(json, "peer", tally_peer(&tally->rings[i]));
		json_number(json, "vector", tally_vector(&tally->rings[i]));
		json_number(json, "rings", tally->rings[i].n);
		json_end(json);
	}
	json_end(json);
	json_number(json, "doorbells_out_to_others", tally->other_rings);
	json_array(json, "doorbells_in");
	for (unsigned i = 0; i < member_own_vectors(function->member); i++) {
		uint64_t rings, wakeups;
		bool watched;

		member_count_rings(function->member, i, &rings, &wakeups, &watched);
		json_object(json, NULL);
		json_number(json, "vector", i);
		json_number(json, "rings", rings);
		json_number(json, "wakeups", wakeups);
		json_bool(json, "watched", watched);
		json_end(json);
	}
	json_end(json);
}

/* Vectors that were rung and whose interrupt was not sent yet. */
static unsigned
count_pending(struct ivshmem_device *device)
{
	uint64_t offset = ivshmem_device_pba_offset(device);
	unsigned vectors = ivshmem_device_msix_vectors(device), n = 0;

	for (unsigned i = 0; i * 64 < vectors && i < PENDING_WORDS_MAX; i++)
		n += (unsigned)__builtin_popcountll(
			ivshmem_device_read(device, IVSHMEM_BAR_MSIX, offset + i * UINT64_C(8), 8));
	return n;
}

static unsigned
count_eventfds(const struct irqs *irqs)
{
	const struct irq_index *msix = &irqs->index[VFIO_PCI_MSIX_IRQ_INDEX];
	unsigned n = 0;

	for (unsigned i = 0; i < msix->count; i++)
		n += msix->fds[i] >= 0;
	return n;
}

static int
answer_counters(
	void *data, const struct control_request *request, FILE *out, struct ivshmem_error *reterr)
{
	const struct vfio_user *vfio_user = data;
	const struct function *function = vfio_user->function;
	const struct tally *tally = &function->tally;
	struct json json = {.out = out};

	(void)request;
	(void)reterr;
	json_object(&json, NULL);
	json_decimal(&json, "since", clock_date(vfio_user->since), 3);
	put_all_accesses(&json, tally);
	put_doorbells(&json, function);
	json_object(&json, "interrupts");
	json_number(&json, "sent", tally->sent);
	json_number(&json, "deferred", tally->deferred);
	json_number(&json, "pending", count_pending(function->device));
	json_number(&json, "vectors_with_eventfd", count_eventfds(&function->irqs));
	json_number(&json, "intx_raised", tally->raised);
	json_bool(&json, "intx_masked", function->irqs.intx_masked);
	json_end(&json);
	json_number(&json, "dma_maps", tally->dma_maps);
	json_number(&json, "dma_unmaps", tally->dma_unmaps);
	json_number(&json, "ioeventfds_given", tally->io_fds);
	json_close(&json);
	return 0;
}

/* ---- metrics --------------------------------------------------------------------------------- */

static void
put_state(struct metrics *metrics, const struct vfio_user *vfio_user)
{
	const struct function *function = vfio_user->function;

	metrics_gauge(metrics, "device_build", NULL, "Always 1; the label is the version.");
	metrics_put(metrics, "version", vfio_user->facts->version, 1);
	metrics_gauge(metrics, "device_start_time", "seconds",
		"When this process began, in seconds since 1970.");
	metrics_put_decimal(metrics, NULL, NULL, clock_date(vfio_user->since));
	metrics_gauge(metrics, "device_vmm_connected", NULL, "1 while a VMM has the device, or 0.");
	metrics_put(metrics, NULL, NULL, vfio_user->socket >= 0);
	metrics_gauge(metrics, "device_server_joined", NULL,
		"1 while the device is a member of a group, or 0.");
	metrics_put(metrics, NULL, NULL,
		vfio_user->facts->server && vfio_user->successor.rejoin.state == REJOIN_JOINED);
	metrics_gauge(metrics, "device_peers", NULL, "Peers of the group, this one included.");
	metrics_put(metrics, NULL, NULL, member_peers(function->member, NULL, 0));
	metrics_gauge(metrics, "device_pending", NULL,
		"Vectors that were rung, and whose interrupt was not sent yet.");
	metrics_put(metrics, NULL, NULL, count_pending(function->device));
}

static void
put_access_metrics(struct metrics *metrics, const struct tally *tally, bool write)
{
	char name[8];

	metrics_counter(metrics, write ? "device_register_writes" : "device_register_reads", NULL,
		"Accesses to registers of BAR0.");
	for (unsigned i = 0; i < TALLY_REGISTERS; i++)
		metrics_put(metrics, "register", registers[i], tally->registers[i][write]);
	metrics_counter(metrics, write ? "device_region_writes" : "device_region_reads", NULL,
		"Accesses to config space and BARs.");
	metrics_put(metrics, "region", "config", tally->config[write]);
	for (unsigned i = 0; i < TALLY_BARS; i++) {
		name_bar(i, name);
		metrics_put(metrics, "region", name, tally->bars[i][write]);
	}
}

static void
put_ring_metrics(struct metrics *metrics, const struct function *function)
{
	uint64_t n = function->tally.other_rings, rings, wakeups;
	char vector[16];
	bool watched;

	for (unsigned i = 0; i < TALLY_RINGS; i++)
		n += function->tally.rings[i].n;
	metrics_counter(metrics, "device_doorbells_out", NULL,
		"Doorbells of the guest that passed through this process.");
	metrics_put(metrics, NULL, NULL, n);
	metrics_counter(metrics, "device_doorbells_in", NULL,
		"Rings by peers that passed through this process.");
	for (unsigned i = 0; i < member_own_vectors(function->member); i++) {
		member_count_rings(function->member, i, &rings, &wakeups, &watched);
		snprintf(vector, sizeof(vector), "%u", i);
		metrics_put(metrics, "vector", vector, rings);
	}
	if (member_own_vectors(function->member) == 0)
		metrics_put(metrics, "vector", "0", 0);
}

static int
answer_metrics(
	void *data, const struct control_request *request, FILE *out, struct ivshmem_error *reterr)
{
	const struct vfio_user *vfio_user = data;
	const struct tally *tally = &vfio_user->function->tally;
	struct metrics metrics = {.out = out, .label = "device", .value = vfio_user->facts->name};

	(void)request;
	(void)reterr;
	put_state(&metrics, vfio_user);
	put_access_metrics(&metrics, tally, false);
	put_access_metrics(&metrics, tally, true);
	put_ring_metrics(&metrics, vfio_user->function);
	metrics_counter(
		&metrics, "device_interrupts_sent", NULL, "MSI-X interrupts that were sent.");
	metrics_put(&metrics, NULL, NULL, tally->sent);
	metrics_counter(&metrics, "device_interrupts_deferred", NULL,
		"MSI-X interrupts that the VMM could not take at once.");
	metrics_put(&metrics, NULL, NULL, tally->deferred);
	metrics_end(&metrics);
	return 0;
}

/* ---- the socket ------------------------------------------------------------------------------ */

static const struct control_command commands[] = {
	{"status", "", 0, 0, answer_status},
	{"peers", "", 0, 0, answer_peers},
	{"counters", "", 0, 0, answer_counters},
	{"metrics", "", 0, 0, answer_metrics},
};

int
vfio_user_open_control(struct control **ret_control, struct vfio_user *vfio_user,
	const struct vfio_user_facts *facts, int listen_fd)
{
	const struct control_config config = {
		.loop = vfio_user->loop,
		.listen_fd = listen_fd,
		.commands = commands,
		.n_commands = sizeof(commands) / sizeof(commands[0]),
		.data = vfio_user,
	};

	vfio_user->facts = facts;
	return control_new(ret_control, &config);
}
