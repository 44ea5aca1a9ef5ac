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

static bool
is_centre(const struct policy *policy, uint16_t id)
{
	for (unsigned i = 0; i < policy->n_centres; i++)
		if (policy->centres[i] == id)
			return true;
	return false;
}

struct view
policy_view(const struct policy *policy, uint16_t id, const struct policy_client *client)
{
	switch (policy->see) {
	case SEE_ALL:
		break;
	case SEE_STAR:
		return (struct view){is_centre(policy, id) ? VIEW_ALL : VIEW_ALONE, 0};
	case SEE_PAIRS:
		return (struct view){VIEW_CIRCLE, id / 2};
	case SEE_USERS:
		return (struct view){VIEW_CIRCLE, client->user};
	case SEE_GROUPS:
		return (struct view){VIEW_CIRCLE, client->group};
	}
	return (struct view){VIEW_ALL, 0};
}

bool
policy_asks_groups(const struct policy *policy)
{
	return policy->allowed.n_groups > 0 || policy->read_only.n_groups > 0 ||
	       policy->see == SEE_GROUPS;
}

bool
policy_has_readers(const struct policy *policy)
{
	return !is_empty(&policy->read_only);
}
