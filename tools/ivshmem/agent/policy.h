/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_AGENT_POLICY_H
#define IVSHMEM_AGENT_POLICY_H

/*
 * Which services an agent offers. The first of these decides:
 *	--allow of the agent
 *	the host, through QEMU's fw_cfg, at the start of the VM
 *	the host, through the kernel command line of the guest
 * Without any of them, nothing is allowed.
 */

#include <ivshmem/common.h>

#include <stdbool.h>
#include <stddef.h>

#define POLICY_FW_CFG  "/sys/firmware/qemu_fw_cfg/by_name/opt/org.ivshmem/agent/raw"
#define POLICY_CMDLINE "/proc/cmdline"

struct policy {
	char list[256];     /* the names, with commas between them */
	const char *source; /* who has decided, for people; NULL: nobody */
};

/* `allow` is the value of --allow, or NULL. -EINVAL with a sentence: it makes no sense. */
int policy_read(struct policy *ret_policy, const char *allow, struct ivshmem_error *reterr);

/* Whether this service is allowed. If not, a sentence for the caller is in `ret_why`. */
bool policy_allows(const struct policy *policy, const char *service, char *ret_why, size_t size);

/* The words of `list` that are no service; "" if there are none. Returns `buffer`. */
const char *policy_unknown(const struct policy *policy, char *buffer, size_t size);

#endif
