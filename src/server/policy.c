/* SPDX-License-Identifier: BSD-2-Clause */
#include <server/policy.h>

static bool
is_listed(const struct policy_accounts *accounts, const struct policy_client *client)
{
	for (unsigned i = 0; i < accounts->n_users; i++)
		if (accounts->users[i] == client->user)
			return true;
	for (unsigned i = 0; i < accounts->n_groups; i++)
		for (size_t j = 0; j < client->n_groups; j++)
			if (accounts->groups[i] == client->groups[j])
				return true;
	return false;
}

static bool
is_empty(const struct policy_accounts *accounts)
{
	return accounts->n_users == 0 && accounts->n_groups == 0;
}

bool
policy_allows(const struct policy *policy, const struct policy_client *client)
{
	return is_empty(&policy->allowed) || is_listed(&policy->allowed, client);
}

bool
policy_reads_only(const struct policy *policy, const struct policy_client *client)
{
	return is_listed(&policy->read_only, client);
}

bool
policy_asks_groups(const struct policy *policy)
{
	return policy->allowed.n_groups > 0 || policy->read_only.n_groups > 0;
}

bool
policy_has_readers(const struct policy *policy)
{
	return !is_empty(&policy->read_only);
}
