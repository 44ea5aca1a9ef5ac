/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SERVER_POLICY_H
#define SERVER_POLICY_H

/*
 * Who may come in, who gets the memory for reading only, and how many clients a user may have.
 *
 * This knows users and groups by number, as the kernel noted them when the client connected. It
 * looks at no socket and keeps no state: admission.c asks it about each newcomer. All zero is the
 * policy that allows everything.
 */

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* So many users, and so many groups, a list may have. */
#define POLICY_ACCOUNTS_MAX 64

struct policy_accounts {
	uid_t users[POLICY_ACCOUNTS_MAX];
	gid_t groups[POLICY_ACCOUNTS_MAX];
	unsigned n_users, n_groups;
};

struct policy {
	struct policy_accounts allowed;   /* nobody: everybody who can open the socket */
	struct policy_accounts read_only; /* who gets the memory for reading only */
	unsigned max_peers_per_user;      /* 0: no limit */
	unsigned max_observers_per_user;  /* 0: no limit */
};

/* Who wants to come in. */
struct policy_client {
	uid_t user;
	const gid_t *groups; /* all of them */
	size_t n_groups;
};

/* May it come in? */
bool policy_allows(const struct policy *policy, const struct policy_client *client);
/* Does it get the memory for reading only? */
bool policy_reads_only(const struct policy *policy, const struct policy_client *client);
/* Does an answer need the client's groups? */
bool policy_asks_groups(const struct policy *policy);
/* Is there anybody who gets the memory for reading only? */
bool policy_has_readers(const struct policy *policy);

#endif
