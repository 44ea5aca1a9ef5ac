/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef DOCTOR_VMM_WORDS_H
#define DOCTOR_VMM_WORDS_H

/*
 * The words of a command line that starts a virtual machine monitor: from /proc/PID/cmdline, where each
 * ends with a NUL, or from a text as a shell reads it, such as a script or a log of libvirt. In a text,
 * the first command with the program of a VMM is the one that counts. Others wrote either of them, so
 * nothing in it is trusted.
 */

#include <stdbool.h>
#include <stddef.h>

/* More than the kernel lets a program have by default. */
#define VMM_LINE_MAX ((size_t)2 << 20)

enum vmm_kind { VMM_NONE, VMM_QEMU, VMM_CLOUD_HYPERVISOR };

struct vmm_words {
	enum vmm_kind kind;
	char **words; /* the first one is the program */
	size_t n;
	char *bytes; /* that they lie in */
};

/* 0; -E2BIG, -ENOMEM, -EINVAL (a quote is not closed), -ENOENT (there is no VMM in it). */
int vmm_words_split(struct vmm_words *ret_words, const char *bytes, size_t length);
void vmm_words_free(struct vmm_words *words);

/* Which VMM has a program of this name. */
enum vmm_kind vmm_kind_of(const char *program);

#endif
