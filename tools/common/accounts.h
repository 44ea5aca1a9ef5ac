/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef COMMON_ACCOUNTS_H
#define COMMON_ACCOUNTS_H

/*
 * argument::take for a user, with a uid_t as `to`, and for a group, with a gid_t: a name that the
 * system knows, or a number. Another errno than EINVAL if the system cannot look it up.
 */

struct ivshmem_error;

int account_user(void *to, const char *what, const char *text, struct ivshmem_error *reterr);
int account_group(void *to, const char *what, const char *text, struct ivshmem_error *reterr);

#endif
