/* SPDX-License-Identifier: BSD-2-Clause */

/* The command: gathers what there is, and has each topic look. */

#include "bus_error.h"
#include "finding.h"
#include "guest.h"
#include "look.h"
#include "output.h"
#include "target.h"
#include "topics.h"
#include "vmm.h"

#include <ivshmem/abi.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_SOCKET "/tmp/ivshmem_socket"

static unsigned vmm_pid;
static const char *command_line, *root = "";
static bool list, no_ring;

static const struct argument doctor_options[] = {
	{"vmm", "PID", "look at this virtual machine monitor, and at what it uses", .letter = 'p',
		.number = &vmm_pid, .min = 1, .max = INT32_MAX},
	{"command-line", "FILE",
		"look at the command line of a virtual machine monitor in FILE, such as a script or a log of libvirt, and at what it uses; - is stdin",
		.letter = 'c', .text = &command_line, .min = 1},
	{"no-ring", NULL, "in a guest, ring nobody, not even ourselves", .flag = &no_ring},
	{"list", NULL, "print everything that can be found, and end", .letter = 'l', .flag = &list},
	/* For tests: where /proc, /sys and /var are. It has no help text, and so is not in the help. */
	{"root", "FOLDER", NULL, .text = &root, .min = 1},
};

/* ---- what there is to look at ---------------------------------------------------------------- */

/* The socket that a server was told: -S PATH, -SPATH, --socket PATH or --socket=PATH. */
static const char *
find_socket(const char *words, size_t length)
{
	const char *socket = DEFAULT_SOCKET;

	for (size_t i = 0; i < length; i += strlen(words + i) + 1) {
		const char *word = words + i;
		const char *next = i + strlen(word) + 1 < length ? word + strlen(word) + 1 : "";

		if (strcmp(word, "-S") == 0 || strcmp(word, "--socket") == 0)
			socket = next;
		else if (strncmp(word, "-S", 2) == 0)
			socket = word + 2;
		else if (strncmp(word, "--socket=", 9) == 0)
			socket = word + 9;
	}
	return socket;
}

static bool
add_server(struct doctor *doctor, pid_t pid, void *data)
{
	char name[PROCESS_NAME_MAX], path[PATH_MAX], folder[PATH_MAX], *words;
	const char *socket;
	ssize_t n;

	(void)data;
	if (strcmp(look_process_name(doctor, pid, name), "ivshmem-server") != 0)
		return true;
	snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)pid);
	n = look_bytes(doctor, path, VMM_LINE_MAX, &words);
	if (n < 0)
		return true;
	socket = find_socket(words, (size_t)n);
	snprintf(path, sizeof(path), "/proc/%d/cwd", (int)pid);
	if (socket[0] == '/' || !look_link(doctor, path, folder, sizeof(folder)))
		snprintf(path, sizeof(path), "%s", socket);
	else
		snprintf(path, sizeof(path), "%.2000s/%.2000s", folder, socket);
	free(words);
	doctor_add_target(doctor, "unix", path);
	return true;
}

/* Servers that run, the socket that they have by default, and the devices of a guest. */
static void
gather(struct doctor *doctor)
{
	struct stat info;

	if (stat(DEFAULT_SOCKET, &info) == 0)
		doctor_add_target(doctor, "unix", DEFAULT_SOCKET);
	look_processes(doctor, add_server, NULL);
	if (guest_is_here(doctor))
		doctor_add_target(doctor, "pci", "auto");
}

/* The user's target, if there is one. */
static enum status
add_given(struct doctor *doctor)
{
	const char *environment = getenv("IVSHMEM_TARGET");
	char target[TARGET_MAX];
	enum status status;
	char *colon;

	if (!doctor->cli->target && !(environment && *environment))
		return STATUS_OK;
	status = target_choose(doctor->cli, target);
	if (status != STATUS_OK)
		return status;
	colon = strchr(target, ':');
	*colon = '\0';
	doctor_add_target(doctor, target, colon + 1);
	return STATUS_OK;
}

/* ---- looking --------------------------------------------------------------------------------- */

static void
check_target(struct doctor *doctor, const char *target)
{
	doctor->subject = target;
	bus_error_handle(target);
	if (strncmp(target, "unix:", 5) == 0 || strncmp(target, "observe:", 8) == 0)
		socket_check(doctor, target);
	else if (strncmp(target, "device:", 7) == 0)
		socket_check_device(doctor, target + 7);
	else if (target_is_memory(target))
		memory_check(doctor, target);
	else
		guest_check(doctor, target);
}

static void
summarize(const struct doctor *doctor)
{
	unsigned errors = doctor->counts[SEVERITY_ERROR],
		 warnings = doctor->counts[SEVERITY_WARNING];
	unsigned notes = doctor->counts[SEVERITY_NOTE];

	if (!doctor->cli->json)
		print_line("%u error%s, %u warning%s, %u note%s", errors, plural(errors), warnings,
			plural(warnings), notes, plural(notes));
}

/* A VMM that was named and cannot be looked at is an error that was told. */
static void
choose_vmms(struct doctor *doctor, struct vmms *vmms)
{
	bool given = doctor->n_targets > 0;

	if (vmm_pid > 0)
		vmms_add_process(doctor, vmms, (pid_t)vmm_pid);
	if (command_line)
		vmms_add_file(doctor, vmms, command_line);
	if (vmm_pid > 0 || command_line) {
		vmms_add_targets(doctor, vmms);
		return;
	}
	vmms_add_all(doctor, vmms);
	if (given) {
		vmms_keep_related(doctor, vmms);
		return;
	}
	gather(doctor);
	vmms_add_targets(doctor, vmms);
}

static enum status
look(struct doctor *doctor, struct vmms *vmms)
{
	enum status status = add_given(doctor);

	if (status != STATUS_OK)
		return status;
	choose_vmms(doctor, vmms);
	for (size_t i = 0; i < doctor->n_targets; i++)
		check_target(doctor, doctor->targets[i]);
	vmms_check(doctor, vmms);
	labels_check(doctor, vmms->n > 0);
	if (doctor->n_targets == 0 && vmms->n == 0 && vmm_pid == 0 && !command_line) {
		doctor->subject = "this machine";
		mend(doctor,
			"on a host: ivshmem-server -F -S /tmp/ivshmem_socket; for a guest: docs/vmms.md");
		found(doctor, "here.nothing",
			"there is no server, no VMM with an ivshmem device, and no such device");
	}
	if (doctor->left_out) {
		doctor->subject = "this machine";
		mend(doctor,
			"look at the others one by one: ivshmem doctor --vmm PID, or --target");
		found(doctor, "here.too-many",
			"there are more than %d VMMs, or sockets and memory, and some were left out",
			DOCTOR_MOST);
	}
	summarize(doctor);
	return doctor->counts[SEVERITY_ERROR] > 0 ? STATUS_FAILURE : STATUS_OK;
}

static enum status
doctor_run(const struct cli *cli, char *const *operands)
{
	struct doctor doctor = {.cli = cli, .root = root, .rings = !no_ring, .subject = ""};
	struct vmms *vmms;
	enum status status;

	(void)operands;
	if (list) {
		findings_list(&doctor);
		return STATUS_OK;
	}
	vmms = calloc(1, sizeof(*vmms));
	if (!vmms)
		return fail("out of memory");
	status = look(&doctor, vmms);
	vmms_free(vmms);
	for (size_t i = 0; i < doctor.n_targets; i++)
		free(doctor.targets[i]);
	return status;
}

const struct command command_doctor = {
	.name = "doctor",
	.operands = "",
	.summary = "what is wrong, why it matters, and what mends it",
	.description =
		"Looks at everything that is known to go wrong, on the host, in a guest and on a virtual "
		"machine monitor's command line. For each finding it prints how bad it is, a name "
		"for scripts, what was found, why it matters, and the command that mends it. An error "
		"keeps something from working; with a warning it works, but not for ever or not well; "
		"a note is worth knowing; ok says what was looked at, and is left out with --quiet.\n"
		"Without --target, --vmm and --command-line it looks at all that this machine has: "
		"servers and their sockets, QEMU and Cloud Hypervisor processes with an ivshmem device "
		"and the sockets and memory that they name, and the PCI devices of a guest. With --target, "
		"it looks at that, and at the virtual machine monitors that use it. Root sees more than "
		"others do.\n"
		"It only looks, and disturbs nobody, with two exceptions, both of which it tells. In a guest, "
		"it rings its own id once, to see whether interrupts arrive, unless --no-ring is given. And "
		"where the server has no socket for observers, it becomes a peer for a moment.",
	CLI_OPTIONS(doctor_options),
	.json = "{\"id\":NAME,\"severity\":\"ok\"|\"note\"|\"warning\"|\"error\",\"subject\":WHAT,\n"
		" \"finding\":SENTENCE,\"why\":TEXT,\"remedy\":COMMAND}\n"
		"\"why\" and \"remedy\" are null if there is nothing to say.\n"
		"With --list: {\"id\":NAME,\"severity\":S,\"what\":TEXT,\"why\":TEXT}",
	.statuses = "0 also with warnings and notes; 1 if there is an error.",
	.examples = "ivshmem doctor\n"
		    "ivshmem --target /run/group.sock doctor\n"
		    "ivshmem doctor --vmm $(pidof qemu-system-x86_64)\n"
		    "ivshmem doctor --command-line /var/log/libvirt/qemu/guest.log --json",
	.run = doctor_run,
};
