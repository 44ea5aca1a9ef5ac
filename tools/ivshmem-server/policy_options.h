/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef POLICY_OPTIONS_H
#define POLICY_OPTIONS_H

/* The values of the options that make a policy. Each adds to what earlier options gave. */

struct ivshmem_error;

/* argument::take; `to` is a struct policy_accounts. */
int policy_take_users(void *to, const char *what, const char *text, struct ivshmem_error *reterr);
int policy_take_groups(void *to, const char *what, const char *text, struct ivshmem_error *reterr);

/* The same; `to` is a struct policy. The last one counts. */
int policy_take_see(void *to, const char *what, const char *text, struct ivshmem_error *reterr);

/* What policy_take_see() takes. */
#define POLICY_SEE_MAX 512
struct policy;
void policy_describe_see(const struct policy *policy, char text[POLICY_SEE_MAX]);

#endif
