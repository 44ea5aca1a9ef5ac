/* SPDX-License-Identifier: BSD-2-Clause */
#include "info.h"

#include "json.h"
#include "output.h"

#include <base/parse.h>

#include <ivshmem/abi.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void
info_json_id(const struct session *session, struct json *json)
{
	const struct ivshmem_client *client = session->client;

	if (ivshmem_has_id(client)) {
		json_number(json, "id", ivshmem_id(client));
		json_number(json, "vectors", ivshmem_vectors(client));
	} else {
		json_null(json, "id");
		json_number(json, "vectors",
			session->is_memory ? 0 : (uint64_t)ivshmem_group_vectors(client));
	}
}

enum status
info_show(const struct session *session)
{
	const struct ivshmem_client *client = session->client;
	struct target_pci pci = {.address = ""};
	char size[SIZE_TEXT_MAX];
	const char *mapping;

	if (session_check_attached(session) != STATUS_OK)
		return STATUS_FAILURE;
	mapping = ivshmem_mapping_name(ivshmem_memory_mapping(client));
	target_find_pci(session->target, &pci);

	if (session->cli->json) {
		struct json json = JSON_BEGIN;

		json_object(&json, NULL);
		json_string(&json, "target", session->target);
		json_string(&json, "backend", ivshmem_backend(client));
		info_json_id(session, &json);
		json_number(&json, "size", ivshmem_size(client));
		json_string(&json, "mapping", mapping);
		if (session->is_pci) {
			json_string(&json, "address", pci.address);
			json_string(&json, "driver", pci.driver);
			json_string(&json, "doorbell", ivshmem_doorbell(client));
		}
		if (session->is_memory) {
			json_bool(&json, "memory_only", true);
			json_bool(&json, "read_only", ivshmem_read_only(client));
		}
		json_finish(&json);
		return STATUS_OK;
	}

	print_line("target:   %s", session->target);
	print_line("back end: %s", ivshmem_backend(client));
	if (session->is_pci) {
		print_line("address:  %s", pci.address);
		print_line("driver:   %s", pci.driver[0] ? pci.driver : "none");
		print_line("doorbell: %s", ivshmem_doorbell(client));
	}
	if (session->is_memory) {
		print_line("own id:   none, memory alone");
		print_line("peers:    none, nobody can be rung");
		print_line("vectors:  none, no interrupts");
	} else if (ivshmem_has_id(client)) {
		print_line("own id:   %u", ivshmem_id(client));
		print_line("vectors:  %u", ivshmem_vectors(client));
	} else {
		print_line("own id:   none, looking without one");
		print_line("vectors:  %d for each peer", ivshmem_group_vectors(client));
	}
	print_line("memory:   %s (%" PRIu64 " bytes)", format_size(ivshmem_size(client), size),
		ivshmem_size(client));
	print_line("mapping:  %s%s", mapping, ivshmem_read_only(client) ? ", read-only" : "");
	return STATUS_OK;
}

static void
peers_show_json(const struct session *session, const uint16_t *ids, int n)
{
	struct json json = JSON_BEGIN;

	json_object(&json, NULL);
	info_json_id(session, &json);
	if (n < 0) {
		json_null(&json, "peers");
	} else {
		json_array(&json, "peers");
		for (int i = 0; i < n; i++) {
			int vectors = ivshmem_peer_vectors(session->client, ids[i]);

			json_object(&json, NULL);
			json_number(&json, "id", ids[i]);
			json_number(&json, "vectors", vectors < 0 ? 0 : (unsigned)vectors);
			json_end(&json);
		}
	}
	json_finish(&json);
}

enum status
peers_show(const struct session *session)
{
	uint16_t *ids = NULL;
	char text[VECTORS_TEXT_MAX];
	int n;

	if (session_check_attached(session) != STATUS_OK ||
		session_check_peers(session) != STATUS_OK)
		return STATUS_FAILURE;
	n = ivshmem_peers(session->client, NULL, 0);
	if (n < 0 && n != -EOPNOTSUPP)
		return fail("cannot list the peers: %s", strerror(-n));
	if (n > 0) {
		ids = calloc((size_t)n, sizeof(*ids));
		if (!ids)
			return fail("out of memory");
		n = ivshmem_peers(session->client, ids, (size_t)n);
	}

	if (session->cli->json) {
		peers_show_json(session, ids, n);
		free(ids);
		return STATUS_OK;
	}

	if (ivshmem_has_id(session->client))
		print_line("own id %u: %s", ivshmem_id(session->client),
			vectors_text(ivshmem_vectors(session->client), text));
	if (n < 0)
		print_line("other peers: unknown, the device does not tell who is connected");
	else if (n == 0)
		print_line(
			"no %speer is connected", ivshmem_has_id(session->client) ? "other " : "");
	for (int i = 0; i < n; i++) {
		int vectors = ivshmem_peer_vectors(session->client, ids[i]);

		print_line("peer %u: %s", ids[i],
			vectors_text(vectors < 0 ? 0 : (unsigned)vectors, text));
	}
	free(ids);
	return STATUS_OK;
}

static enum status
run_with(const struct cli *cli, enum status (*show)(const struct session *session))
{
	_session_free_ struct session *session = session_new();
	enum status status;

	if (!session)
		return STATUS_FAILURE;
	session->looks = true;
	status = session_open(session, cli, NULL, false, STATUS_OK);
	if (status == STATUS_OK && !session->is_pci && ivshmem_has_id(session->client))
		note(cli,
			"this took an id, %u, because there is no socket for observers next to the server's",
			ivshmem_id(session->client));
	return status == STATUS_OK ? show(session) : status;
}

static enum status
info_run(const struct cli *cli, char *const *operands)
{
	(void)operands;
	return run_with(cli, info_show);
}

static enum status
peers_run(const struct cli *cli, char *const *operands)
{
	(void)operands;
	return run_with(cli, peers_show);
}

const struct command command_info = {
	.name = "info",
	.operands = "",
	.summary = "what we are attached to",
	.description =
		"Attaches and prints the target, the back end that serves it, our own id if we have "
		"one, the number of vectors, the size of the shared memory and how it is mapped, "
		"and for a PCI device its address, its driver and its doorbell. Then it detaches.\n"
		"On the host, info, peers, read, write, ring, channels and format take no id if the "
		"server has a socket for observers, and the server tells nobody of them. The path of "
		"that socket is the path of the server's socket followed by " IVSHMEM_OBSERVER_SUFFIX
		". If there is none, each run is a peer with an id of its own, as it is with all "
		"other commands. In a guest, the id is the device's and does not change.\n"
		"If the target is memory alone, shm:NAME or file:PATH, the command says that there "
		"is no id, and that there are no peers and no interrupts.\n"
		"The mapping tells how the processor may cache the memory: write-back is as fast "
		"as any memory, with write-combining reads are slow, uncached is slow both ways, "
		"and uncached-minus is what the guest asked for and the host may have "
		"overruled.\n"
		"The doorbell is the register that every device has, or the words that a device "
		"with doorbell-bar=on has in addition. Words are as quick with thousands of peers as "
		"with one.",
	.json = "{\"target\":T,\"backend\":\"unix\"|\"observe\"|\"kernel\"|\"vfio\"|\"sysfs\",\n"
		" \"id\":I,\"vectors\":N,\"size\":BYTES,\"mapping\":M}\n"
		"Without an id, \"id\" is null and \"vectors\" is the number that each peer has.\n"
		"Memory alone, with \"backend\":\"shm\"|\"file\", also has \"memory_only\":true and\n"
		"\"read_only\":BOOL; \"id\" is null and \"vectors\" is 0.\n"
		"A PCI device also has \"address\":\"0000:00:05.0\", \"driver\":NAME (\"\" if none)\n"
		"and \"doorbell\":\"register\"|\"words\".",
	.examples = "ivshmem info\n"
		    "ivshmem --target pci:00:05.0 --json info",
	.run = info_run,
};

const struct command command_peers = {
	.name = "peers",
	.operands = "",
	.summary = "who is connected",
	.description =
		"Prints our own id and number of vectors, unless we are attached without an id. Then "
		"prints one line for each other peer, in the order of their ids, with the number of "
		"vectors on which it can be rung.\n"
		"In a guest, the device does not tell who is connected; the command says so and "
		"succeeds. If the target is memory alone, shm:NAME or file:PATH, the command fails.",
	.json = "{\"id\":I,\"vectors\":N,\"peers\":[{\"id\":P,\"vectors\":N},...]}\n"
		"Without an id, \"id\" is null and \"vectors\" is the number that each peer has.\n"
		"In a guest, \"peers\" is null.",
	.examples = "ivshmem peers\n"
		    "ivshmem --target unix:/run/vm.sock peers --json",
	.run = peers_run,
};
