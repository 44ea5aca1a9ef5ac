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

#include <server/circle.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* So many users, and so many groups, a list may have. */
#define POLICY_ACCOUNTS_MAX 64

struct policy_accounts {
	uid_t users[POLICY_ACCOUNTS_MAX];
	gid_t groups[POLICY_ACCOUNTS_MAX];
	unsigned n_users, n_groups;
};

/* Who sees, and so can ring, whom. Observers see everybody. */
enum policy_see {
	SEE_ALL,    /* everybody everybody */
	SEE_STAR,   /* the centres, and the centres everybody */
	SEE_PAIRS,  /* the other one of two: of 0 and 1, of 2 and 3, ... */
	SEE_USERS,  /* those of the same user */
	SEE_GROUPS, /* those of the same main group */
};

#define POLICY_CENTRES_MAX 64

struct policy {
	enum policy_see see;
	uint16_t centres[POLICY_CENTRES_MAX];
	unsigned n_centres;

	struct policy_accounts allowed;   /* nobody: everybody who can open the socket */
	struct policy_accounts read_only; /* who gets the memory for reading only */
	unsigned max_peers_per_user;      /* 0: no limit */
	unsigned max_observers_per_user;  /* 0: no limit */
};

/* Who wants to come in. */
struct policy_client {
	uid_t user;
	gid_t group;         /* the main one; only if policy_asks_groups() */
	const gid_t *groups; /* all of them */
	size_t n_groups;
};

/* May it come in? */
bool policy_allows(const struct policy *policy, const struct policy_client *client);
/* Does it get the memory for reading only? */
bool policy_reads_only(const struct policy *policy, const struct policy_client *client);
/* Whom does it see, if it has this id? Not for observers. */
struct view policy_view(
	const struct policy *policy, uint16_t id, const struct policy_client *client);
/* Does an answer need the client's groups? */
bool policy_asks_groups(const struct policy *policy);
/* Is there anybody who gets the memory for reading only? */
bool policy_has_readers(const struct policy *policy);

#endif
