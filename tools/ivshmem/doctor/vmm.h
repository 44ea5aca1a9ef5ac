/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef DOCTOR_VMM_H
#define DOCTOR_VMM_H

/* Virtual machine monitors: a process that runs, or a command line that does not. */

#include "finding.h"
#include "vmm_options.h"

#include <limits.h>

struct vmm {
	pid_t pid;             /* 0: it does not run */
	char name[64];         /* what findings are about */
	char folder[PATH_MAX]; /* that relative paths begin in; "": unknown */
	struct vmm_words words;
	struct vmm_options options;
};

struct vmms {
	struct vmm list[DOCTOR_MOST];
	size_t n;
};

/* Add the VMM of a process, or one from a file, "-" for stdin. False after a finding that says why it cannot
 * be looked at. */
bool vmms_add_process(struct doctor *doctor, struct vmms *vmms, pid_t pid);
bool vmms_add_file(struct doctor *doctor, struct vmms *vmms, const char *path);

/* Add all that run here and have a device of ours. */
void vmms_add_all(struct doctor *doctor, struct vmms *vmms);

/* Remember what the VMMs use as targets to be looked at. */
void vmms_add_targets(struct doctor *doctor, const struct vmms *vmms);

/* Drop the VMMs that do not use a target of the doctor's. */
void vmms_keep_related(struct doctor *doctor, struct vmms *vmms);

void vmms_check(struct doctor *doctor, const struct vmms *vmms);
void vmms_free(struct vmms *vmms);

/* The absolute form of a path on the command line. Returns `buffer`. */
char *vmm_path(const struct vmm *vmm, const char *path, char buffer[PATH_MAX]);

/* ---- of each kind ------------------------------------------------------------------------------ */

/* Whether a QEMU has a device of ours, or one that it gets over vfio-user. */
bool qemu_concerns_us(const struct vmm *vmm);
/* Call `fn` with each target that its devices use. */
void qemu_targets(const struct vmm *vmm,
	void (*fn)(void *data, const char *scheme, const char *path), void *data);
/* The devices, and the machine around them. */
void qemu_check(struct doctor *doctor, const struct vmm *vmm);
void qemu_check_machine(struct doctor *doctor, const struct vmm *vmm);

bool cloud_hypervisor_concerns_us(const struct vmm *vmm);
void cloud_hypervisor_targets(const struct vmm *vmm,
	void (*fn)(void *data, const char *scheme, const char *path), void *data);
void cloud_hypervisor_check(struct doctor *doctor, const struct vmm *vmm);

/* ---- of a QEMU's devices ---------------------------------------------------------------------- */

/* The next option `device` whose driver is one that concerns us. */
const struct vmm_option *qemu_next_device(const struct vmm *vmm, const struct vmm_option *from);
const char *qemu_driver(const struct vmm_option *device);

/* The option `name` with this id, which may be NULL; or NULL. */
const struct vmm_option *qemu_find(const struct vmm *vmm, const char *name, const char *id);

/* How much memory a device shows to its guest; 0: unknown. */
uint64_t qemu_memory_size(
	const struct doctor *doctor, const struct vmm *vmm, const struct vmm_option *device);

/* Whether it is said to use KVM. */
bool qemu_uses_kvm(const struct vmm *vmm);

#endif
