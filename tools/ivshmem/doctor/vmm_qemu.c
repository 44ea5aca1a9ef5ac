/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * The devices on a QEMU's command line. What QEMU makes of each fault was tried with 7.2 and 11.1
 * (docs/vmms.md).
 */

#include "vmm.h"

#include <base/parse.h>

#include <ivshmem/abi.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define PAGE 4096

/* ---- what is on the command line ------------------------------------------------------------- */

const char *
qemu_driver(const struct vmm_option *device)
{
	return vmm_option_type(device, "driver");
}

static bool
is_driver(const struct vmm_option *device, const char *driver)
{
	return strcmp(qemu_driver(device), driver) == 0;
}

static bool
is_ours(const struct vmm_option *device)
{
	return is_driver(device, "ivshmem-doorbell") || is_driver(device, "ivshmem-plain") ||
	       is_driver(device, "ivshmem") || is_driver(device, "vfio-user-pci");
}

const struct vmm_option *
qemu_next_device(const struct vmm *vmm, const struct vmm_option *from)
{
	const struct vmm_option *device = from;

	do
		device = vmm_options_next(&vmm->options, "device", device);
	while (device && !is_ours(device));
	return device;
}

bool
qemu_concerns_us(const struct vmm *vmm)
{
	return qemu_next_device(vmm, NULL) != NULL;
}

const struct vmm_option *
qemu_find(const struct vmm *vmm, const char *name, const char *id)
{
	const struct vmm_option *option = NULL;

	while (id && (option = vmm_options_next(&vmm->options, name, option))) {
		const char *own = vmm_option_get(option, "id");

		if (own && strcmp(own, id) == 0)
			return option;
	}
	return NULL;
}

static const struct vmm_option *
find_chardev(const struct vmm *vmm, const struct vmm_option *device)
{
	return qemu_find(vmm, "chardev", vmm_option_get(device, "chardev"));
}

static const struct vmm_option *
find_backend(const struct vmm *vmm, const struct vmm_option *device)
{
	return qemu_find(vmm, "object", vmm_option_get(device, "memdev"));
}

/* The file of a backend; NULL if it has none that others can open. */
static const char *
backend_file(const struct vmm_option *backend)
{
	return strcmp(vmm_option_type(backend, "qom-type"), "memory-backend-file") == 0
		       ? vmm_option_get(backend, "mem-path")
		       : NULL;
}

/* Of a chardev to a server: it names a socket and connects to it. */
static const char *
chardev_path(const struct vmm_option *chardev)
{
	return strcmp(vmm_option_type(chardev, "backend"), "socket") == 0
		       ? vmm_option_get(chardev, "path")
		       : NULL;
}

static bool
chardev_listens(const struct vmm_option *chardev)
{
	return vmm_option_is_on(chardev, "server", false);
}

void
qemu_targets(const struct vmm *vmm, void (*fn)(void *data, const char *scheme, const char *path),
	void *data)
{
	const struct vmm_option *device = NULL;
	char path[PATH_MAX];

	while ((device = qemu_next_device(vmm, device))) {
		const struct vmm_option *chardev = find_chardev(vmm, device);
		const struct vmm_option *backend = find_backend(vmm, device);
		const char *socket =
			chardev && !chardev_listens(chardev) ? chardev_path(chardev) : NULL;
		const char *served = vmm_option_get(device, "socket.path");

		if (socket)
			fn(data, "unix", vmm_path(vmm, socket, path));
		if (served)
			fn(data, "device", vmm_path(vmm, served, path));
		if (backend && backend_file(backend))
			fn(data, "file", vmm_path(vmm, backend_file(backend), path));
	}
}

uint64_t
qemu_memory_size(
	const struct doctor *doctor, const struct vmm *vmm, const struct vmm_option *device)
{
	const struct vmm_option *backend = find_backend(vmm, device);
	const struct vmm_option *chardev = find_chardev(vmm, device);
	const struct known_server *server;
	char path[PATH_MAX];

	if (backend)
		return vmm_option_size(backend, "size", 1);
	if (!chardev || !chardev_path(chardev))
		return 0;
	server = doctor_server(doctor, vmm_path(vmm, chardev_path(chardev), path));
	return server ? server->size : 0;
}

/* ---- the checks ------------------------------------------------------------------------------ */

static void
check_name(struct doctor *doctor, const struct vmm *vmm, const struct vmm_option *device)
{
	(void)vmm;
	if (is_driver(device, "ivshmem")) {
		mend(doctor,
			"with a server: -device ivshmem-doorbell,chardev=ID,vectors=N; without: -object memory-backend-file,id=m,share=on,mem-path=PATH,size=SIZE -device ivshmem-plain,memdev=m");
		found(doctor, "qemu.old-device",
			"-device ivshmem is the device of 2010, which QEMU 4.0 and later do not have");
	}
	if (is_driver(device, "vfio-user-pci") && !device->is_json) {
		mend(doctor,
			"-device '{\"driver\":\"vfio-user-pci\",\"socket\":{\"type\":\"unix\",\"path\":\"PATH\"}}'");
		found(doctor, "qemu.vfio-user-form",
			"-device vfio-user-pci is not written as JSON, and no other form can name its socket");
	}
}

static void
check_chardev(struct doctor *doctor, const struct vmm *vmm, const struct vmm_option *device)
{
	const char *id = vmm_option_get(device, "chardev");
	const struct vmm_option *chardev = find_chardev(vmm, device);

	if (!is_driver(device, "ivshmem-doorbell"))
		return;
	if (!chardev || strcmp(vmm_option_type(chardev, "backend"), "socket") != 0) {
		mend(doctor, "-chardev socket,id=%s,path=SOCKET-OF-THE-SERVER", id ? id : "ID");
		found(doctor, "qemu.no-socket", "ivshmem-doorbell %s%s%s",
			id ? "names the chardev '" : "names no chardev", id ? id : "",
			!id       ? ""
			: chardev ? "', which is no socket"
				  : "', and there is none");
		return;
	}
	if (chardev_listens(chardev)) {
		mend(doctor, "leave out server=on and wait=: -chardev socket,id=%s,path=%s", id,
			chardev_path(chardev) ? chardev_path(chardev) : "PATH");
		found(doctor, "qemu.server-side",
			"the chardev '%s' has server=on: QEMU listens where it should connect to ivshmem-server",
			id);
	}
}

static void
check_reconnect(struct doctor *doctor, const struct vmm *vmm, const struct vmm_option *device)
{
	static const char *const keys[] = {"reconnect", "reconnect-ms"};
	const struct vmm_option *chardev = find_chardev(vmm, device);

	for (size_t i = 0; chardev && i < sizeof(keys) / sizeof(keys[0]); i++) {
		const char *value = vmm_option_get(chardev, keys[i]);

		if (!value || strtoul(value, NULL, 10) == 0)
			continue;
		mend(doctor, "leave out %s=%s, and start the server before QEMU", keys[i], value);
		found(doctor, "qemu.reconnect", "the chardev '%s' has %s=%s",
			vmm_option_get(device, "chardev"), keys[i], value);
	}
}

static void
check_backend(struct doctor *doctor, const struct vmm *vmm, const struct vmm_option *device)
{
	const char *id = vmm_option_get(device, "memdev");
	const struct vmm_option *backend = find_backend(vmm, device);
	const char *type = backend ? vmm_option_type(backend, "qom-type") : "";
	bool shared = strcmp(type, "memory-backend-memfd") == 0 ||
		      strcmp(type, "memory-backend-shm") == 0;

	if (!is_driver(device, "ivshmem-plain"))
		return;
	if (!backend) {
		mend(doctor,
			"-object memory-backend-file,id=%s,share=on,mem-path=/dev/shm/NAME,size=SIZE",
			id ? id : "m");
		found(doctor, "qemu.no-memory", "ivshmem-plain %s%s%s",
			id ? "names the memory '" : "names no memory", id ? id : "",
			id ? "', and there is none" : "");
		return;
	}
	if (!vmm_option_is_on(backend, "share", shared)) {
		mend(doctor, "add share=on: -object %s,id=%s,share=on,...", type, id);
		found(doctor, "qemu.not-shared", "the memory '%s' of ivshmem-plain has no share=on",
			id);
	}
	if (!backend_file(backend)) {
		mend(doctor,
			"-object memory-backend-file,id=%s,share=on,mem-path=/dev/shm/NAME,size=%s",
			id,
			vmm_option_get(backend, "size") ? vmm_option_get(backend, "size") : "SIZE");
		found(doctor, "qemu.unreachable-memory",
			"the memory '%s' of ivshmem-plain is a %s, which has no name", id, type);
	}
}

static void
check_size(struct doctor *doctor, const struct vmm *vmm, const struct vmm_option *device)
{
	const struct vmm_option *backend = find_backend(vmm, device);
	uint64_t size = backend ? vmm_option_size(backend, "size", 1) : 0;
	char text[SIZE_TEXT_MAX], path[PATH_MAX];
	struct stat info;

	if (size == 0 || !is_driver(device, "ivshmem-plain"))
		return;
	if ((size & (size - 1)) != 0 || size < PAGE) {
		mend(doctor, "choose a power of two of at least 4096 bytes, such as size=64M");
		found(doctor, "qemu.size",
			"the memory '%s' has %s, which is no power of two of at least a page",
			vmm_option_get(device, "memdev"), format_size(size, text));
	}
	if (!backend_file(backend) || stat(vmm_path(vmm, backend_file(backend), path), &info) < 0 ||
		!S_ISREG(info.st_mode) || info.st_size == 0 || (uint64_t)info.st_size == size)
		return;
	mend(doctor,
		"give QEMU size=%" PRIu64 ", or, while nobody uses the file: truncate -s %" PRIu64
		" %s",
		(uint64_t)info.st_size, size, path);
	found(doctor, "qemu.file-size",
		"%s has %" PRIu64 " bytes, and the command line says %" PRIu64, path,
		(uint64_t)info.st_size, size);
}

static void
check_vectors(struct doctor *doctor, const struct vmm *vmm, const struct vmm_option *device)
{
	const char *text = vmm_option_get(device, "vectors");
	uint64_t vectors = text ? strtoull(text, NULL, 0) : 1;
	const struct vmm_option *chardev = find_chardev(vmm, device);
	const struct known_server *server = NULL;
	char path[PATH_MAX];

	if (!is_driver(device, "ivshmem-doorbell"))
		return;
	if (vectors < 1 || vectors > IVSHMEM_MAX_VECTORS) {
		mend(doctor, "vectors=N with N from 1 to %d, as ivshmem-server -n N",
			IVSHMEM_MAX_VECTORS);
		found(doctor, "qemu.vectors-range", "ivshmem-doorbell has vectors=%s", text);
		return;
	}
	if (chardev && chardev_path(chardev))
		server = doctor_server(doctor, vmm_path(vmm, chardev_path(chardev), path));
	if (!server || server->vectors < 0 || (uint64_t)server->vectors == vectors)
		return;
	mend(doctor, "-device ivshmem-doorbell,...,vectors=%d", server->vectors);
	found(doctor, "qemu.vectors",
		"ivshmem-doorbell has %" PRIu64
		" vectors%s, and the server on %s gives each peer %d",
		vectors, text ? "" : " (the default)", server->path, server->vectors);
}

static void
check_ioeventfd(struct doctor *doctor, const struct vmm *vmm, const struct vmm_option *device)
{
	(void)vmm;
	if (!is_driver(device, "ivshmem-doorbell") || vmm_option_is_on(device, "ioeventfd", true))
		return;
	mend(doctor, "leave out ioeventfd=off: it is on by default");
	found(doctor, "qemu.ioeventfd-off", "ivshmem-doorbell has ioeventfd=off");
}

static void
check_migration(struct doctor *doctor, const struct vmm *vmm, const struct vmm_option *device)
{
	const char *master = vmm_option_get(device, "master");
	bool is_master = master && strcmp(master, "off") != 0;
	bool is_doorbell = is_driver(device, "ivshmem-doorbell");

	if (!is_doorbell && !is_driver(device, "ivshmem-plain"))
		return;
	if (vmm_options_have(&vmm->options, "only-migratable") && !is_master) {
		mend(doctor, "-device %s,...,master=on, for at most one guest of the group",
			qemu_driver(device));
		found(doctor, "qemu.not-migratable",
			"QEMU has -only-migratable, and %s is without master=on",
			qemu_driver(device));
	}
	if (is_master && is_doorbell) {
		mend(doctor, "start this QEMU before all other clients of the server");
		found(doctor, "qemu.master", "ivshmem-doorbell has master=%s", master);
	}
}

/* Unplugging is possible behind a port, and on the root bus of the machine pc. */
static void
check_unplug(struct doctor *doctor, const struct vmm *vmm, const struct vmm_option *device)
{
	const struct vmm_option *machine = vmm_options_next(&vmm->options, "machine", NULL);
	const char *type = machine ? vmm_option_type(machine, "type") : "";
	const char *bus = vmm_option_get(device, "bus");
	bool is_q35 = strncmp(type, "q35", 3) == 0 || strncmp(type, "pc-q35", 6) == 0;

	if (is_driver(device, "ivshmem-plain") || (is_q35 && (!bus || strcmp(bus, "pcie.0") == 0)))
		return;
	mend(doctor,
		"do not unplug it; in the guest: echo ADDRESS > /sys/bus/pci/devices/ADDRESS/driver/unbind");
	found(doctor, "qemu.unplug", "%s can be unplugged where it is, which crashes QEMU",
		qemu_driver(device));
}

static void
check_order(struct doctor *doctor, const struct vmm *vmm, const struct vmm_option *device)
{
	const char *vectors = vmm_option_get(device, "vectors");
	const char *from = vmm_option_get(device, "chardev");

	(void)vmm;
	if (!from)
		from = vmm_option_get(device, "memdev");
	if (!from)
		from = vmm_option_get(device, "socket.path");
	found(doctor, "qemu.looked-at", "%s%s%s%s%s", qemu_driver(device), from ? " with " : "",
		from ? from : "", vectors ? ", vectors " : "", vectors ? vectors : "");
}

typedef void (*device_check)(
	struct doctor *doctor, const struct vmm *vmm, const struct vmm_option *device);

static const device_check checks[] = {
	check_order,
	check_name,
	check_chardev,
	check_reconnect,
	check_backend,
	check_size,
	check_vectors,
	check_ioeventfd,
	check_migration,
	check_unplug,
};

void
qemu_check(struct doctor *doctor, const struct vmm *vmm)
{
	const struct vmm_option *device = NULL;

	while ((device = qemu_next_device(vmm, device)))
		for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]); i++)
			checks[i](doctor, vmm, device);
}
