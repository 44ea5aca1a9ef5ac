/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef COMMON_ACCOUNTS_H
#define COMMON_ACCOUNTS_H

/*
 * argument::take for a user, where `to` is a uid_t, and for a group, where it is a gid_t. The text is a
 * name that the system knows, or a number. -EINVAL, or another errno if the system cannot look it up.
 */

struct ivshmem_error;

int account_user(void *to, const char *what, const char *text, struct ivshmem_error *reterr);
int account_group(void *to, const char *what, const char *text, struct ivshmem_error *reterr);

#endif
