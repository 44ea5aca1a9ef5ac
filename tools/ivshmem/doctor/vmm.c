/* SPDX-License-Identifier: BSD-2-Clause */

/* Finding virtual machine monitors, and what matters for each of them, whichever it is. */

#include "vmm.h"

#include "look.h"
#include "topics.h"

#include <base/fd.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef void (*target_fn)(void *data, const char *scheme, const char *path);

static bool
concerns_us(const struct vmm *vmm)
{
	return vmm->words.kind == VMM_QEMU ? qemu_concerns_us(vmm)
					   : cloud_hypervisor_concerns_us(vmm);
}

static void
each_target(const struct vmm *vmm, target_fn fn, void *data)
{
	if (vmm->words.kind == VMM_QEMU)
		qemu_targets(vmm, fn, data);
	else
		cloud_hypervisor_targets(vmm, fn, data);
}

char *
vmm_path(const struct vmm *vmm, const char *path, char buffer[PATH_MAX])
{
	bool relative = path[0] != '/' && vmm->folder[0];

	snprintf(buffer, PATH_MAX, "%.2000s%s%.2000s", relative ? vmm->folder : "",
		relative ? "/" : "", path);
	return buffer;
}

/* ---- reading --------------------------------------------------------------------------------- */

static void
vmm_clear(struct vmm *vmm)
{
	vmm_options_free(&vmm->options);
	vmm_words_free(&vmm->words);
}

static int
parse(struct vmm *vmm, const char *bytes, size_t length)
{
	int r = vmm_words_split(&vmm->words, bytes, length);

	if (r < 0)
		return r;
	r = vmm_options_parse(&vmm->options, &vmm->words);
	if (r < 0)
		vmm_words_free(&vmm->words);
	return r;
}

/* A shell or grep can name a VMM, too. One may be started by the loader of its libraries. */
static bool
may_be_vmm(const char *program)
{
	const char *slash = strrchr(program, '/');

	return vmm_kind_of(program) != VMM_NONE ||
	       strncmp(slash ? slash + 1 : program, "ld-linux", 8) == 0;
}

static int
read_process(struct doctor *doctor, struct vmm *vmm, pid_t pid)
{
	char path[64], *bytes, *slash;
	ssize_t n;
	int r;

	*vmm = (struct vmm){.pid = pid};
	snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)pid);
	n = look_bytes(doctor, path, VMM_LINE_MAX, &bytes);
	if (n < 0)
		return (int)n;
	r = n > 0 && may_be_vmm(bytes) ? parse(vmm, bytes, (size_t)n) : -ENOENT;
	free(bytes);
	if (r < 0)
		return r;
	slash = strrchr(vmm->words.words[0], '/');
	snprintf(vmm->name, sizeof(vmm->name), "process %d (%.32s)", (int)pid,
		slash ? slash + 1 : vmm->words.words[0]);
	snprintf(path, sizeof(path), "/proc/%d/cwd", (int)pid);
	look_link(doctor, path, vmm->folder, sizeof(vmm->folder));
	return 0;
}

/* Up to VMM_LINE_MAX bytes of a file or of stdin, which may be a pipe. */
static ssize_t
read_file(const char *path, char *bytes)
{
	bool is_stdin = strcmp(path, "-") == 0;
	_fd_cleanup_ int file = is_stdin ? -1 : open(path, O_RDONLY | O_CLOEXEC);
	int fd = is_stdin ? STDIN_FILENO : file;
	size_t length = 0;

	while (fd >= 0 && length < VMM_LINE_MAX) {
		ssize_t n = read(fd, bytes + length, VMM_LINE_MAX - length);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return (ssize_t)length;
		length += (size_t)n;
	}
	return fd < 0 ? -errno : (ssize_t)length;
}

static bool
tell_unreadable(struct doctor *doctor, const char *what, int r)
{
	doctor->subject = what;
	if (r == -ENOENT) {
		mend(doctor,
			"name the process or the command line of qemu-system-... or cloud-hypervisor");
		found(doctor, "vmm.unknown",
			"there is no virtual machine monitor that the doctor knows");
	} else {
		mend(doctor, "look as root, or as the user of the virtual machine monitor");
		found(doctor, "vmm.unreadable", "the command line cannot be read: %s",
			r == -EINVAL ? "a quote is not closed" : strerror(-r));
	}
	return false;
}

static bool
keep(struct doctor *doctor, struct vmms *vmms, const struct vmm *vmm)
{
	if (concerns_us(vmm)) {
		vmms->list[vmms->n++] = *vmm;
		return true;
	}
	doctor->subject = vmm->name;
	mend(doctor, "give it -device ivshmem-doorbell,chardev=ID,vectors=N, or see docs/vmms.md");
	found(doctor, "vmm.no-device", "this virtual machine has no ivshmem device");
	return false;
}

bool
vmms_add_process(struct doctor *doctor, struct vmms *vmms, pid_t pid)
{
	struct vmm vmm;
	char what[64];
	int r = read_process(doctor, &vmm, pid);

	if (r < 0) {
		/* That there is no such process is another thing than that it is no VMM. */
		snprintf(what, sizeof(what), "/proc/%d", (int)pid);
		if (r == -ENOENT && access(what, F_OK) < 0)
			r = -ESRCH;
		snprintf(what, sizeof(what), "process %d", (int)pid);
		return tell_unreadable(doctor, what, r);
	}
	if (keep(doctor, vmms, &vmm))
		return true;
	vmm_clear(&vmm);
	return false;
}

bool
vmms_add_file(struct doctor *doctor, struct vmms *vmms, const char *path)
{
	struct vmm vmm = {.pid = 0};
	char *bytes = malloc(VMM_LINE_MAX);
	ssize_t n = bytes ? read_file(path, bytes) : -ENOMEM;
	int r = n < 0 ? (int)n : parse(&vmm, bytes, (size_t)n);

	free(bytes);
	if (r < 0)
		return tell_unreadable(doctor, path, n < 0 && r == -ENOENT ? -ESRCH : r);
	snprintf(vmm.name, sizeof(vmm.name), "command line %.48s", path);
	if (!getcwd(vmm.folder, sizeof(vmm.folder)))
		vmm.folder[0] = '\0';
	if (keep(doctor, vmms, &vmm))
		return true;
	vmm_clear(&vmm);
	return false;
}

static bool
add_if_ours(struct doctor *doctor, pid_t pid, void *data)
{
	struct vmms *vmms = data;
	struct vmm vmm;

	if (read_process(doctor, &vmm, pid) < 0)
		return true;
	if (concerns_us(&vmm) && vmms->n < DOCTOR_MOST) {
		vmms->list[vmms->n++] = vmm;
		return true;
	}
	doctor->left_out = doctor->left_out || concerns_us(&vmm);
	vmm_clear(&vmm);
	return !doctor->left_out;
}

void
vmms_add_all(struct doctor *doctor, struct vmms *vmms)
{
	look_processes(doctor, add_if_ours, vmms);
}

void
vmms_free(struct vmms *vmms)
{
	for (size_t i = 0; i < vmms->n; i++)
		vmm_clear(&vmms->list[i]);
	free(vmms);
}

/* ---- targets --------------------------------------------------------------------------------- */

/* What a VMM that does not run would create is not missing. */
struct adding {
	struct doctor *doctor;
	bool runs;
};

static void
add_target(void *data, const char *scheme, const char *path)
{
	const struct adding *adding = data;

	if (adding->runs || strcmp(scheme, "file") != 0 || access(path, F_OK) == 0)
		doctor_add_target(adding->doctor, scheme, path);
}

void
vmms_add_targets(struct doctor *doctor, const struct vmms *vmms)
{
	for (size_t i = 0; i < vmms->n; i++) {
		struct adding adding = {.doctor = doctor, .runs = vmms->list[i].pid > 0};

		each_target(&vmms->list[i], add_target, &adding);
	}
}

struct relation {
	const struct doctor *doctor;
	bool is_one;
};

static void
compare_target(void *data, const char *scheme, const char *path)
{
	struct relation *relation = data;
	size_t length = strlen(scheme);

	for (size_t i = 0; i < relation->doctor->n_targets; i++) {
		const char *target = relation->doctor->targets[i];

		if (strncmp(target, scheme, length) == 0 && target[length] == ':' &&
			strcmp(target + length + 1, path) == 0)
			relation->is_one = true;
	}
}

void
vmms_keep_related(struct doctor *doctor, struct vmms *vmms)
{
	size_t n = 0;

	for (size_t i = 0; i < vmms->n; i++) {
		struct relation relation = {.doctor = doctor};

		each_target(&vmms->list[i], compare_target, &relation);
		if (relation.is_one)
			vmms->list[n++] = vmms->list[i];
		else
			vmm_clear(&vmms->list[i]);
	}
	vmms->n = n;
}

/* ---- of a process ---------------------------------------------------------------------------- */

/* What a check of a process and its server needs. */
struct meeting {
	struct doctor *doctor;
	const struct vmm *vmm;
};

/*
 * QEMU connects once, when it starts. A server that is younger can have taken over the clients of the
 * one before (docs/restart.md); if we may not see whether it has, we say nothing.
 */
static void
check_same_group(struct doctor *doctor, const struct vmm *vmm, const struct known_server *server)
{
	uint64_t server_started, vmm_started;

	if (server->pid == 0 || vmm->words.kind != VMM_QEMU)
		return;
	server_started = look_process_started(doctor, server->pid);
	vmm_started = look_process_started(doctor, vmm->pid);
	if (vmm_started == 0 || vmm_started >= server_started ||
		look_connected(doctor, vmm->pid, server->pid) != 0)
		return;
	mend(doctor, "shut the virtual machine down and start it again");
	found(doctor, "vmm.other-group",
		"it runs for longer than the server on %s, and is not connected to it: it is in the group of an earlier server",
		server->path);
}

/* Each peer of ours costs as many descriptors as it has vectors. */
static void
check_descriptors(struct doctor *doctor, const struct vmm *vmm, const struct known_server *server)
{
	uint64_t limit = look_process_limit(doctor, vmm->pid);
	uint64_t open = look_process_open(doctor, vmm->pid);
	uint64_t each = server->vectors > 0 ? (uint64_t)server->vectors : 1;
	uint64_t room;

	if (limit == 0 || open == 0 || server->pid == 0)
		return;
	room = limit > open ? (limit - open) / each : 0;
	if (room >= 8)
		return;
	mend(doctor, "prlimit --pid %d --nofile=%" PRIu64 ":%" PRIu64, (int)vmm->pid, limit * 16,
		limit * 16);
	found(doctor, "vmm.few-descriptors",
		"it has %" PRIu64 " of %" PRIu64 " file descriptors open: room for %" PRIu64
		" more peer%s of %" PRIu64 " vector%s",
		open, limit, room, plural(room), each, plural(each));
}

static void
check_meeting(void *data, const char *scheme, const char *path)
{
	const struct meeting *meeting = data;
	const struct known_server *server = doctor_server(meeting->doctor, path);

	if (strcmp(scheme, "unix") != 0 || !server)
		return;
	check_same_group(meeting->doctor, meeting->vmm, server);
	check_descriptors(meeting->doctor, meeting->vmm, server);
}

void
vmms_check(struct doctor *doctor, const struct vmms *vmms)
{
	for (size_t i = 0; i < vmms->n; i++) {
		const struct vmm *vmm = &vmms->list[i];
		struct meeting meeting = {.doctor = doctor, .vmm = vmm};

		doctor->subject = vmm->name;
		if (vmm->words.kind == VMM_QEMU) {
			qemu_check(doctor, vmm);
			qemu_check_machine(doctor, vmm);
		} else {
			cloud_hypervisor_check(doctor, vmm);
		}
		if (vmm->pid > 0) {
			each_target(vmm, check_meeting, &meeting);
			labels_check_vmm(doctor, vmm);
		}
	}
}
